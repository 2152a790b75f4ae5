/* The stored JPEG tiles under one output tile, turned into that tile's JPEG at half scale.
 *
 *     halve(streams, columns, quality, planes) -> bytes
 *
 * Written from ITU-T T.81 (09/92), whose clauses are named where they are followed. It does only
 * what whole-slide scanners write: baseline, 8 bits, YCbCr at 4:2:0, 4:2:2 or 4:4:4. Anything else
 * and anything damaged is refused with a reason, and the caller asks libjpeg instead; that makes
 * it safe to be strict. The interpreter's lock is released while it works.
 *
 * What makes it fast: half of the picture comes out of the inverse transform directly; colors are
 * never converted; one table lookup gives a Huffman code with its coefficient; two streams are read
 * in turns, so that one's lookup is under way while the other's result is used; and the transforms
 * work on eight neighboring blocks at a time, one in each lane of a vector. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__)
#error "needs the builtins of gcc or clang"
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* ------------------------------------------------------------------------------------------------
 * Sizes. Eight blocks lie side by side in a group: coefficient k (in zigzag order) of the block in
 * lane l is at [k * LANES + l]. A group has room for twice 64 coefficients, because the reader
 * stores a value before it asks whether the block has ended; what lies behind 64 is never read. */

enum {
    LANES = 8,
    END = 64 * LANES,               /* of a block's coefficients */
    LAST = 63 * LANES,              /* the last coefficient */
    GROUP = 128 * LANES,
    CHUNK = 8,                      /* MCUs read before they are transformed */
    MAX_GROUPS = 6,                 /* 4:2:0: four of luma, one of each chroma */
    MAX_PLACES = CHUNK * 6,
    FAST = 11,                      /* bits of a lookup; five of them fit in one refill */
    PAD = 512,                      /* zeros behind a scan: more than the bits of one block */
    MAX_TABLES = 32,
    MAX_BLOCK_BYTES = 64 * 26 / 8 + 8, /* of one encoded block: 64 codes of 16 + 10 bits */
    MAX_STREAMS = 256,
    MAX_IDLE = 16                   /* workspaces kept for the next calls */
};

typedef const char *Reason; /* why a stream is refused; NULL: it is not */

/* Figure A.6: the coefficient at row * 8 + column has this place in the zigzag order. */
static const uint8_t ZIGZAG[64] = {
    0,  1,  5,  6,  14, 15, 27, 28, 2,  4,  7,  13, 16, 26, 29, 42, 3,  8,  12, 17, 25, 30,
    41, 43, 9,  11, 18, 24, 31, 40, 44, 53, 10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38,
    46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61, 35, 36, 48, 49, 57, 58, 62, 63};

/* ------------------------------------------------------------------------------------------------
 * Huffman tables (Annex C, F.2.2.3). The next FAST bits of the scan find an entry; it holds
 *   bits 0-5    how many bits to consume, code and value together; 0: not known from FAST bits
 *   bits 6-15   how far the place in the block moves, in coefficients times LANES; END: to the end
 *   bits 16-31  the signed value
 * Where the code is short but its value is not, the entry has the code's length in bits 24-31 and
 * its symbol in 16-23; where the code itself is longer, nothing. */

typedef struct {
    int is_ac;
    uint32_t age;                   /* the last call that used it; 0: empty */
    uint8_t counts[16];             /* codes of each length, as in the DHT segment */
    uint8_t symbols[256];
    uint32_t entries[1 << FAST];
    uint32_t above[17];             /* the first 16 bits behind all codes of this length */
    int32_t shift[17];              /* from a code of this length to its symbol's place */
} Table;

/* What a symbol means, with the bits behind its code; 0: it means nothing in a baseline scan. */
static uint32_t entry_of(int is_ac, uint32_t symbol, uint32_t length, uint64_t behind) {
    uint32_t size = symbol & 15, run = symbol >> 4;
    int32_t value = 0;
    if (is_ac && size == 0) {
        if (run != 0 && run != 15) return 0;
        return length | (uint32_t)(run ? 16 * LANES : END) << 6;
    }
    if (size > (is_ac ? 10u : 11u) || (!is_ac && run)) return 0;
    if (size) { /* F.2.2.1, EXTEND */
        value = (int32_t)(behind >> (64 - size));
        if (value < 1 << (size - 1)) value -= (1 << size) - 1;
    }
    return (length + size) | (is_ac ? (run + 1) * LANES : 0) << 6 | (uint32_t)value << 16;
}

/* The entry for the next bits where the lookup did not give it; 0: no such code. */
static __attribute__((noinline)) uint32_t long_entry(const Table *table, uint64_t bits) {
    uint32_t known = table->entries[bits >> (64 - FAST)] >> 16;
    uint32_t next = (uint32_t)(bits >> 48), length;
    if (known) return entry_of(table->is_ac, known & 255, known >> 8, bits << (known >> 8));
    for (length = FAST + 1; length <= 16; length++)
        if (next < table->above[length]) {
            int32_t place = (int32_t)(next >> (16 - length)) + table->shift[length];
            return entry_of(table->is_ac, table->symbols[place & 255], length, bits << length);
        }
    return 0;
}

/* Fill a table from the bytes of a DHT segment. */
static Reason build_table(Table *table, int is_ac, const uint8_t *counts, const uint8_t *symbols) {
    uint32_t code = 0, place = 0, length, i, count, fill;
    memset(table, 0, sizeof *table);
    table->is_ac = is_ac;
    memcpy(table->counts, counts, 16);
    for (i = 0; i < 1 << FAST; i++) table->entries[i] = (uint32_t)END << 6;
    for (length = 1; length <= 16; length++, code <<= 1) { /* C.2 */
        count = counts[length - 1];
        table->shift[length] = (int32_t)place - (int32_t)code;
        if (count && code + count >= 1u << length) return "a Huffman table has too many codes";
        for (i = 0; i < count; i++, code++, place++) {
            uint32_t symbol = table->symbols[place] = symbols[place];
            if (!is_ac && symbol > 11) return "a Huffman table has a bad symbol";
            if (length > FAST) continue;
            for (fill = 0; fill < 1u << (FAST - length); fill++) {
                uint64_t behind = (uint64_t)fill << (64 - FAST) << length;
                uint32_t entry = entry_of(is_ac, symbol, length, behind);
                if (!entry || (entry & 63) > FAST)
                    entry = (uint32_t)END << 6 | (length << 8 | symbol) << 16;
                table->entries[code << (FAST - length) | fill] = entry;
            }
        }
        table->above[length] = code << (16 - length);
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * The stream's headers (Annex B). */

typedef struct {
    const uint8_t *scan, *end;      /* the entropy-coded bytes and all behind them */
    uint32_t width, height, restart;
    uint32_t across, down;          /* luma blocks in an MCU: 2x2, 2x1 or 1x1 */
    const Table *dc[3], *ac[3];
    const uint8_t *quantizers[3];   /* 64 of each component, in zigzag order */
} Header;

typedef struct {
    Table tables[MAX_TABLES];
    uint32_t age;
    uint8_t *scans[2];
    size_t room[2];
    uint8_t *narrow;                /* the chroma of 4:2:2, before it is widened */
    size_t narrow_room;
    uint8_t *out;
    size_t out_room;
    uint8_t *stripe;                /* an encoded row of MCUs before bytes are stuffed */
    size_t stripe_room;
    int16_t groups[2][MAX_GROUPS * GROUP];
} Workspace;

static Reason grow(uint8_t **bytes, size_t *room, size_t needed) {
    uint8_t *larger;
    if (*room >= needed) return NULL;
    needed += needed / 4;
    larger = realloc(*bytes, needed);
    if (!larger) return "out of memory";
    *bytes = larger;
    *room = needed;
    return NULL;
}

/* The table of a DHT segment, built at its first sight. */
static Reason find_table(Workspace *work, int is_ac, const uint8_t *segment, const Table **found) {
    size_t number = 0, oldest = 0, i;
    Reason why;
    for (i = 0; i < 16; i++) number += segment[i];
    for (i = 0; i < MAX_TABLES; i++) {
        Table *table = &work->tables[i];
        if (table->age && table->is_ac == is_ac && !memcmp(table->counts, segment, 16) &&
            !memcmp(table->symbols, segment + 16, number)) {
            table->age = work->age;
            *found = table;
            return NULL;
        }
        if (table->age < work->tables[oldest].age) oldest = i;
    }
    why = build_table(&work->tables[oldest], is_ac, segment, segment + 16);
    work->tables[oldest].age = why ? 0 : work->age;
    *found = &work->tables[oldest];
    return why;
}

static uint32_t two_bytes(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

/* B.2.4.1; pointers into the stream are all that is kept. */
static Reason read_dqt(const uint8_t *at, const uint8_t *end, const uint8_t *quantizers[4]) {
    for (; at < end; at += 65) {
        int i;
        if (at[0] > 3 || end - at < 65) return "a quantization table is not of 8 bits, or cut";
        for (i = 1; i < 65; i++)
            if (!at[i]) return "a quantizer is zero";
        quantizers[at[0]] = at + 1;
    }
    return NULL;
}

/* B.2.4.2 */
static Reason read_dht(const uint8_t *at, const uint8_t *end, const uint8_t *huffman[2][4]) {
    while (at < end) {
        size_t number = 0, i;
        if (end - at < 17 || at[0] > 0x1F || (at[0] & 15) > 3) return "a bad Huffman table";
        for (i = 1; i < 17; i++) number += at[i];
        if (number > 256 || (size_t)(end - at) < 17 + number) return "a Huffman table is cut";
        huffman[at[0] >> 4][at[0] & 15] = at + 1;
        at += 17 + number;
    }
    return NULL;
}

/* B.2.2, of a baseline frame with three components. */
static Reason read_frame(const uint8_t *at, Header *header, uint8_t ids[3], uint8_t use[3]) {
    int i;
    if (at[0] != 8 || at[5] != 3) return "not three components of 8 bits";
    header->height = two_bytes(at + 1);
    header->width = two_bytes(at + 3);
    if (!header->width || !header->height || header->width % 16 || header->height % 16)
        return "an edge is not a multiple of 16 pixels";
    for (i = 0; i < 3; i++) {
        ids[i] = at[6 + 3 * i];
        use[i] = at[8 + 3 * i];
        if (use[i] > 3) return "a bad quantization table number";
        if (i && at[7 + 3 * i] != 0x11) return "an unusual subsampling";
    }
    header->across = at[7] >> 4;
    header->down = at[7] & 15;
    if (at[7] != 0x11 && at[7] != 0x21 && at[7] != 0x22) return "an unusual subsampling";
    return NULL;
}

/* B.2.3, of the one scan with all components. */
static Reason read_scan(const uint8_t *at, const uint8_t ids[3], Workspace *work,
                        const uint8_t *huffman[2][4], Header *header) {
    int i;
    Reason why = NULL;
    if (at[0] != 3 || at[7] != 0 || at[8] != 63 || at[9] != 0) return "not a sequential scan";
    for (i = 0; i < 3 && !why; i++) {
        uint8_t dc = at[2 + 2 * i] >> 4, ac = at[2 + 2 * i] & 15;
        if (at[1 + 2 * i] != ids[i]) return "the scan's components are not the frame's";
        if (dc > 3 || ac > 3 || !huffman[0][dc] || !huffman[1][ac])
            return "a Huffman table is missing";
        why = find_table(work, 0, huffman[0][dc], &header->dc[i]);
        if (!why) why = find_table(work, 1, huffman[1][ac], &header->ac[i]);
    }
    return why;
}

static Reason read_header(const uint8_t *at, const uint8_t *end, Workspace *work, Header *header) {
    const uint8_t *quantizers[4] = {0}, *huffman[2][4] = {{0}};
    uint8_t ids[3] = {0}, use[3] = {0};
    int has_frame = 0, is_ycbcr = 0, i;
    Reason why = NULL;
    memset(header, 0, sizeof *header);
    if (end - at < 4 || two_bytes(at) != 0xFFD8) return "no JPEG stream where one should begin";
    at += 2;
    for (;;) {
        const uint8_t *body = at + 4;
        uint32_t marker, length;
        if (end - at < 4) return "the stream ends in its headers";
        marker = two_bytes(at);
        length = two_bytes(at + 2);
        if (length < 2 || (size_t)(end - at) < length + 2) return "a segment is cut";
        length -= 2;
        at = body + length;
        if (marker == 0xFFDA) {
            if (!has_frame || length != 10) return "a bad scan header";
            if (!is_ycbcr && (ids[0] != 1 || ids[1] != 2 || ids[2] != 3))
                return "the colors may not be YCbCr";
            for (i = 0; i < 3; i++)
                if (!(header->quantizers[i] = quantizers[use[i]]))
                    return "a quantization table is missing";
            header->scan = at;
            header->end = end;
            return read_scan(body, ids, work, huffman, header);
        }
        if (marker == 0xFFDB) {
            why = read_dqt(body, at, quantizers);
        } else if (marker == 0xFFC4) {
            why = read_dht(body, at, huffman);
        } else if (marker == 0xFFC0) {
            if (has_frame || length != 15) return "a bad frame header";
            has_frame = 1;
            why = read_frame(body, header, ids, use);
        } else if (marker == 0xFFDD) {
            if (length != 2) return "a bad restart interval";
            header->restart = two_bytes(body);
        } else if (marker == 0xFFE0 && length >= 12 && !memcmp(body, "JFIF", 5)) {
            if (body[5] != 1) return "an unknown version of JFIF";
            is_ycbcr = 1;
        } else if (marker == 0xFFEE && length >= 12 && !memcmp(body, "Adobe", 5)) {
            if (body[11] != 1) return "the colors are not YCbCr";
            is_ycbcr = 1;
        } else if ((marker & 0xFFF0) != 0xFFE0 && marker != 0xFFFE) {
            return "not a baseline stream";
        }
        if (why) return why;
    }
}

/* ------------------------------------------------------------------------------------------------
 * The scan's bytes without the stuffed zeros (B.1.1.5), up to the next marker, into a buffer that
 * ends with PAD zeros. Then the reader may always load eight bytes and need not look at them. */

static Reason unstuff(const uint8_t **from, const uint8_t *end, uint8_t *to, uint8_t **to_end) {
    const uint8_t *at = *from;
    for (;;) {
#if defined(__SSE2__)
        while (end - at >= 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)at);
            int found = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(-1)));
            _mm_storeu_si128((__m128i *)to, bytes);
            if (found) {
                int before = __builtin_ctz((unsigned)found);
                at += before;
                to += before;
                break;
            }
            at += 16;
            to += 16;
        }
#endif
        while (at < end && *at != 0xFF) *to++ = *at++;
        if (end - at < 2) return "the scan is cut";
        if (at[1]) break;
        *to++ = 0xFF;
        at += 2;
    }
    memset(to, 0, PAD);
    *from = at;
    *to_end = to;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Decoding coefficients (F.2.2). The bits not yet read are the upper ones of a 64-bit word. Two
 * streams are read in turns where possible: they share nothing, so a processor overlaps them. */

typedef struct {
    uint16_t offset;                /* of the block in the groups of its chunk */
    uint8_t component;
} Place;

typedef struct {
    uint64_t bits;
    uint32_t left;                  /* how many of them are valid, modulo 64 */
    const uint8_t *next, *end;
    int32_t prediction[3];
    uint8_t *buffer;
    int16_t *groups;
    const Header *header;
    const uint8_t *rest;            /* of the stream, where the bytes in the buffer end */
    uint32_t until_restart, num_restarts;
} Scan;

/* Bits are collected at the upper end of a word and leave it in whole bytes. */
typedef struct {
    uint64_t bits;
    uint32_t used;
    uint8_t *next;
} Writer;

/* What is compiled twice: for every processor and for those with AVX2 and BMI2. Both give the same
 * bytes, because neither fuses or reorders additions. */
typedef struct {
    Reason (*read_one)(Scan *, const Place *, const Place *);
    Reason (*read_two)(Scan *, Scan *, const Place *, const Place *);
    int (*half_group)(const int16_t *group, const float *weights, uint8_t *rows, size_t stride);
    int (*whole_group)(const int16_t *group, const float *weights, uint8_t *rows, size_t stride);
    void (*forward_group)(const uint8_t *rows, size_t stride, const float *weights,
                          int16_t *blocks);
    void (*put_blocks)(Writer *, int16_t (*blocks)[64 * LANES], uint32_t lanes, int32_t *);
} Kernels;

static const Kernels *kernels; /* chosen when the module is loaded */

INLINE uint64_t eight_bytes(const uint8_t *at) {
    return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 |
           (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
           (uint64_t)at[6] << 8 | (uint64_t)at[7];
}

/* The macros work on local variables that all begin with the name of a Scan; only so does the
 * compiler keep them in registers. REFILL leaves at least 56 valid bits. */

#define OPEN(s, blocks)                                                                            \
    uint64_t s##_bits = s->bits;                                                                   \
    uint32_t s##_left = s->left;                                                                   \
    const uint8_t *s##_next = s->next;                                                             \
    const Place *s##_place = blocks;                                                               \
    const Table *s##_table = NULL;                                                                 \
    const uint32_t *s##_entries = NULL;                                                            \
    int16_t *s##_block = NULL;                                                                     \
    uint32_t s##_at = 0, s##_entry = 0

#define CLOSE(s) (s->bits = s##_bits, s->left = s##_left, s->next = s##_next)

#define REFILL(s)                                                                                  \
    do {                                                                                           \
        s##_left &= 63;                                                                            \
        s##_bits |= eight_bytes(s##_next) >> s##_left;                                             \
        s##_next += (63 - s##_left) >> 3;                                                          \
        s##_left |= 56;                                                                            \
    } while (0)

#define CONSUME(s) (s##_bits <<= s##_entry & 63, s##_left -= s##_entry)

/* One coefficient, stored before it is known whether it was one. */
#define STEP(s, end_of_block)                                                                      \
    do {                                                                                           \
        s##_entry = s##_entries[s##_bits >> (64 - FAST)];                                          \
        s##_at += (uint16_t)s##_entry >> 6;                                                        \
        s##_block[s##_at] = (int16_t)(s##_entry >> 16);                                            \
        CONSUME(s);                                                                                \
        if (s##_at >= LAST) goto end_of_block;                                                     \
    } while (0)

/* The block's DC coefficient; everything is made ready for the others. */
#define BEGIN(s)                                                                                   \
    do {                                                                                           \
        int32_t *prediction = &s->prediction[s##_place->component];                                \
        s##_table = s->header->dc[s##_place->component];                                           \
        s##_block = s->groups + s##_place->offset;                                                 \
        if (UNLIKELY(s##_next > s->end + 8)) return "the scan is too short";                       \
        REFILL(s);                                                                                 \
        s##_entry = s##_table->entries[s##_bits >> (64 - FAST)];                                   \
        if (UNLIKELY(!(s##_entry & 63))) s##_entry = long_entry(s##_table, s##_bits);              \
        if (UNLIKELY(!s##_entry)) return "a bad code in the scan";                                 \
        CONSUME(s);                                                                                \
        *prediction += (int32_t)s##_entry >> 16;                                                   \
        if (UNLIKELY(*prediction < -2048 || *prediction > 2047)) return "a DC value overflows";    \
        s##_block[0] = (int16_t)*prediction;                                                       \
        s##_table = s->header->ac[s##_place->component];                                           \
        s##_entries = s##_table->entries;                                                          \
        s##_at = 0;                                                                                \
    } while (0)

/* Behind STEP's jump: a code that the lookup did not know, or the next block's beginning. */
#define FINISH(s, blocks_end, when_done)                                                           \
    do {                                                                                           \
        if (!(s##_entry & 63)) {                                                                   \
            s##_at -= END;                                                                         \
            REFILL(s);                                                                             \
            s##_entry = long_entry(s##_table, s##_bits);                                           \
            if (UNLIKELY(!s##_entry)) return "a bad code in the scan";                             \
            s##_at += (uint16_t)s##_entry >> 6;                                                    \
            s##_block[s##_at] = (int16_t)(s##_entry >> 16);                                        \
            CONSUME(s);                                                                            \
            if (s##_at < LAST) break;                                                              \
        }                                                                                          \
        if (UNLIKELY(s##_at > LAST && (uint16_t)s##_entry >> 6 != END))                            \
            return "a block has too many coefficients";                                            \
        if (++s##_place == blocks_end) goto when_done;                                             \
        BEGIN(s);                                                                                  \
    } while (0)

#define ALONE(s, blocks_end, end_of_block, when_done)                                              \
    for (;;) {                                                                                     \
        REFILL(s);                                                                                 \
        STEP(s, end_of_block);                                                                     \
        STEP(s, end_of_block);                                                                     \
        STEP(s, end_of_block);                                                                     \
        STEP(s, end_of_block);                                                                     \
        STEP(s, end_of_block);                                                                     \
        continue;                                                                                  \
    end_of_block:                                                                                  \
        FINISH(s, blocks_end, when_done);                                                          \
    }

INLINE Reason read_one(Scan *a, const Place *places, const Place *places_end) {
    OPEN(a, places);
    BEGIN(a);
    ALONE(a, places_end, end_of_block, done)
done:
    CLOSE(a);
    return NULL;
}

INLINE Reason read_two(Scan *a, Scan *b, const Place *places, const Place *places_end) {
    OPEN(a, places);
    OPEN(b, places);
    BEGIN(a);
    BEGIN(b);
    for (;;) {
        REFILL(a);
        REFILL(b);
        STEP(a, end_of_a);
        STEP(b, end_of_b);
        STEP(a, end_of_a);
        STEP(b, end_of_b);
        STEP(a, end_of_a);
        STEP(b, end_of_b);
        STEP(a, end_of_a);
        STEP(b, end_of_b);
        STEP(a, end_of_a);
        STEP(b, end_of_b);
        continue;
    end_of_a:
        FINISH(a, places_end, a_is_done);
        continue;
    end_of_b:
        FINISH(b, places_end, b_is_done);
    }
a_is_done:
    ALONE(b, places_end, end_of_lone_b, both_are_done)
b_is_done:
    ALONE(a, places_end, end_of_lone_a, both_are_done)
both_are_done:
    CLOSE(a);
    CLOSE(b);
    return NULL;
}

/* Bring the next restart interval, or all of the scan, into the buffer (F.2.2.4 for what follows a
 * restart marker). */
static Reason begin_interval(Scan *scan) {
    uint8_t *end = scan->buffer;
    Reason why = unstuff(&scan->rest, scan->header->end, scan->buffer, &end);
    scan->next = scan->buffer;
    scan->end = end;
    scan->bits = 0;
    scan->left = 0;
    memset(scan->prediction, 0, sizeof scan->prediction);
    scan->until_restart = scan->header->restart ? scan->header->restart : UINT32_MAX;
    return why;
}

/* All bits of the interval but those that fill its last byte must have been read. */
static Reason end_interval(const Scan *scan) {
    ptrdiff_t remaining = (scan->end - scan->next) * 8 + (ptrdiff_t)(scan->left & 63);
    if (remaining < 0) return "the scan is too short";
    if (remaining > 7) return "the scan has more data than pixels";
    return NULL;
}

static Reason restart(Scan *scan) {
    Reason why = end_interval(scan);
    if (why) return why;
    if (scan->rest[1] != (0xD0 | (scan->num_restarts++ & 7))) return "a restart is out of order";
    scan->rest += 2;
    return begin_interval(scan);
}

/* Read the next MCUs of one stream. */
static Reason read_mcus(Scan *scan, const Place *places, uint32_t per_mcu, uint32_t number) {
    while (number) {
        uint32_t some = number < scan->until_restart ? number : scan->until_restart;
        Reason why = some ? kernels->read_one(scan, places, places + per_mcu * some)
                          : restart(scan);
        if (why) return why;
        places += per_mcu * some;
        number -= some;
        scan->until_restart -= some;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Vectors of eight lanes. The compiler makes of them what the processor has; SSE2 is named where it
 * would not see it, and the plain C beside it gives the same. */

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef int16_t Words __attribute__((vector_size(2 * LANES)));

INLINE void from_words(const int16_t *words, Lanes *values) {
    Words loaded;
    memcpy(&loaded, words, sizeof loaded);
    *values = __builtin_convertvector(__builtin_convertvector(loaded, Whole), Lanes);
}

INLINE void from_bytes(const uint8_t *bytes, Lanes *values) {
    int16_t words[LANES];
#if defined(__SSE2__)
    __m128i loaded = _mm_loadl_epi64((const __m128i *)bytes);
    _mm_storeu_si128((__m128i *)words, _mm_unpacklo_epi8(loaded, _mm_setzero_si128()));
#else
    int i;
    for (i = 0; i < LANES; i++) words[i] = bytes[i];
#endif
    from_words(words, values);
}

/* Rounded to nearest; without SSE2 by an addition that leaves no bits for a fraction. */
INLINE void to_words(const Lanes *values, int16_t *words) {
#if defined(__SSE2__)
    __m128 low, high;
    memcpy(&low, values, 16);
    memcpy(&high, (const float *)values + 4, 16);
    _mm_storeu_si128((__m128i *)words,
                     _mm_packs_epi32(_mm_cvtps_epi32(low), _mm_cvtps_epi32(high)));
#else
    Lanes moved = *values + 12582912.0f; /* 1.5 * 2^23 */
    Bits rounded;
    Words narrow;
    memcpy(&rounded, &moved, sizeof rounded);
    narrow = __builtin_convertvector(rounded - 0x4B400000u, Words);
    memcpy(words, &narrow, sizeof narrow);
#endif
}

/* Rounded, and values outside 0..255 clamped. */
INLINE void to_bytes(const Lanes *values, uint8_t *bytes) {
    int16_t words[LANES];
    to_words(values, words);
#if defined(__SSE2__)
    __m128i loaded = _mm_loadu_si128((const __m128i *)words);
    _mm_storel_epi64((__m128i *)bytes, _mm_packus_epi16(loaded, loaded));
#else
    int i;
    for (i = 0; i < LANES; i++)
        bytes[i] = (uint8_t)(words[i] < 0 ? 0 : words[i] > 255 ? 255 : words[i]);
#endif
}

/* from (8, 8) to its transpose: pixels of eight blocks by column <-> a row of 64 pixels. */
INLINE void turn_8x8(const uint8_t *from, uint8_t *to) {
#if defined(__SSE2__)
#define ROW(i) _mm_loadl_epi64((const __m128i *)(from + 8 * (i)))
    __m128i a = _mm_unpacklo_epi8(ROW(0), ROW(1)), b = _mm_unpacklo_epi8(ROW(2), ROW(3));
    __m128i c = _mm_unpacklo_epi8(ROW(4), ROW(5)), d = _mm_unpacklo_epi8(ROW(6), ROW(7));
    __m128i e = _mm_unpacklo_epi16(a, b), f = _mm_unpackhi_epi16(a, b);
    __m128i g = _mm_unpacklo_epi16(c, d), h = _mm_unpackhi_epi16(c, d);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi32(e, g));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi32(e, g));
    _mm_storeu_si128((__m128i *)(to + 32), _mm_unpacklo_epi32(f, h));
    _mm_storeu_si128((__m128i *)(to + 48), _mm_unpackhi_epi32(f, h));
#undef ROW
#else
    int i, j;
    for (i = 0; i < 8; i++)
        for (j = 0; j < 8; j++) to[8 * i + j] = from[8 * j + i];
#endif
}

/* from (4, 8) to its transpose: a row of 32 pixels. */
INLINE void turn_4x8(const uint8_t *from, uint8_t *to) {
#if defined(__SSE2__)
#define ROW(i) _mm_loadl_epi64((const __m128i *)(from + 8 * (i)))
    __m128i a = _mm_unpacklo_epi8(ROW(0), ROW(1)), b = _mm_unpacklo_epi8(ROW(2), ROW(3));
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi16(a, b));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi16(a, b));
#undef ROW
#else
    int i, j;
    for (i = 0; i < 8; i++)
        for (j = 0; j < 4; j++) to[4 * i + j] = from[8 * j + i];
#endif
}

/* from (8, 8) to its transpose, whose rows lie 64 apart: coefficients by lane -> by block. */
INLINE void turn_words(const int16_t *from, int16_t *to) {
#if defined(__SSE2__)
    __m128i rows[8], pairs[8], fours[8];
    int i;
    for (i = 0; i < 8; i++) rows[i] = _mm_loadu_si128((const __m128i *)(from + 8 * i));
    for (i = 0; i < 4; i++) {
        pairs[i] = _mm_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
        pairs[4 + i] = _mm_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
    }
    for (i = 0; i < 4; i++) {
        fours[2 * i] = _mm_unpacklo_epi32(pairs[2 * i], pairs[2 * i + 1]);
        fours[2 * i + 1] = _mm_unpackhi_epi32(pairs[2 * i], pairs[2 * i + 1]);
    }
    for (i = 0; i < 4; i++) { /* fours: 01/23 of rows 0-3, then of 4-7; then 45/67 */
        int k = i < 2 ? i : i + 2;
        _mm_storeu_si128((__m128i *)(to + 128 * i), _mm_unpacklo_epi64(fours[k], fours[k + 2]));
        _mm_storeu_si128((__m128i *)(to + 128 * i + 64),
                         _mm_unpackhi_epi64(fours[k], fours[k + 2]));
    }
#else
    int i, j;
    for (i = 0; i < 8; i++)
        for (j = 0; j < 8; j++) to[64 * i + j] = from[8 * j + i];
#endif
}

/* Which of a block's 64 coefficients are not zero, the first in the lowest bit. */
INLINE uint64_t nonzero(const int16_t *block) {
    uint64_t mask = 0;
    int i;
#if defined(__SSE2__)
    for (i = 0; i < 4; i++) {
        __m128i low = _mm_loadu_si128((const __m128i *)(block + 16 * i));
        __m128i high = _mm_loadu_si128((const __m128i *)(block + 16 * i + 8));
        __m128i zero = _mm_cmpeq_epi8(_mm_packs_epi16(low, high), _mm_setzero_si128());
        mask |= (uint64_t)(uint16_t)~_mm_movemask_epi8(zero) << (16 * i);
    }
#else
    for (i = 0; i < 64; i++) mask |= (uint64_t)(block[i] != 0) << i;
#endif
    return mask;
}

/* ------------------------------------------------------------------------------------------------
 * Transforms (A.3.3), each of eight blocks. Constant factors are not applied in them but belong to
 * the weights, which also quantize. */

INLINE Lanes *dequantize(const int16_t *group, const float *weights, int row, int column,
                         Lanes *to) {
    int k = ZIGZAG[8 * row + column];
    from_words(group + k * LANES, to);
    *to *= weights[k];
    return to;
}

#define DEQUANTIZED(row, column) (*dequantize(group, weights, row, column, &(Lanes){0}))

/* Whether no block is beyond what pixels give. Sums of squares between a transform's two passes
 * stay below a quarter of the limit; libjpeg's integers overflow, and so its pixels differ from
 * these, where a single value reaches its root. */
INLINE int is_moderate(const Lanes *energy) {
    int i, is_so = 1;
    for (i = 0; i < LANES; i++) is_so &= (*energy)[i] < 1024.0f * 1024.0f;
    return is_so;
}

/* The 4-point inverse transform without its constants cos(pi/8) and cos(pi/4). */
#define INVERSE4(f0, f1, f2, f3, to)                                                               \
    do {                                                                                           \
        const float tangent = 0.414213562f; /* of pi/8 */                                          \
        Lanes even = f0 + f2, odd = f0 - f2;                                                       \
        Lanes outer = f1 + tangent * f3, inner = tangent * f1 - f3;                                \
        to(0) = even + outer, to(3) = even - outer, to(1) = odd + inner, to(2) = odd - inner;      \
    } while (0)

/* Half scale: the mean of each two neighbors of an 8-point inverse transform is a 4-point one, in
 * which coefficient 8 - k is folded on k with cos((8 - k) pi/16) against cos(k pi/16), and 4 drops
 * out. That is the mean of 2x2 pixels, and what libjpeg gives. rows: 4 of 32 pixels. */
INLINE int half_group(const int16_t *group, const float *weights, uint8_t *rows, size_t stride) {
    Lanes columns[4][4], pixels[4], energy = {0};
    _Alignas(16) uint8_t bytes[4 * LANES];
    int y, x;
#define TO(y) columns[y][x]
#define PIXEL(x) pixels[x]
#define FOLDED(row) (DEQUANTIZED(row, x) + DEQUANTIZED(row, 8 - x))
    x = 0;
    {
        Lanes f0 = DEQUANTIZED(0, 0), f1 = DEQUANTIZED(1, 0) + DEQUANTIZED(7, 0);
        Lanes f2 = DEQUANTIZED(2, 0) + DEQUANTIZED(6, 0);
        Lanes f3 = DEQUANTIZED(3, 0) + DEQUANTIZED(5, 0);
        INVERSE4(f0, f1, f2, f3, TO);
    }
    for (x = 1; x < 4; x++) {
        Lanes f0 = FOLDED(0), f1 = FOLDED(1) + FOLDED(7);
        Lanes f2 = FOLDED(2) + FOLDED(6), f3 = FOLDED(3) + FOLDED(5);
        INVERSE4(f0, f1, f2, f3, TO);
    }
    for (y = 0; y < 4; y++) {
        for (x = 0; x < 4; x++) energy += columns[y][x] * columns[y][x];
        columns[y][0] += 128.0f; /* A.3.1 */
        INVERSE4(columns[y][0], columns[y][1], columns[y][2], columns[y][3], PIXEL);
        for (x = 0; x < 4; x++) to_bytes(&pixels[x], bytes + x * LANES);
        turn_4x8(bytes, rows + y * stride);
    }
    return is_moderate(&energy);
#undef TO
#undef PIXEL
#undef FOLDED
}

/* Full scale, after Arai, Agui and Nakajima (Trans. IEICE E-71, 1988): five multiplications for
 * eight points, the others are in the weights. */
#define INVERSE8(f, to)                                                                            \
    do {                                                                                           \
        Lanes sum04 = f(0) + f(4), dif04 = f(0) - f(4);                                            \
        Lanes sum26 = f(2) + f(6), dif26 = (f(2) - f(6)) * 1.414213562f - sum26;                   \
        Lanes e0 = sum04 + sum26, e1 = dif04 + dif26, e2 = dif04 - dif26, e3 = sum04 - sum26;      \
        Lanes sum53 = f(5) + f(3), dif53 = f(5) - f(3);                                            \
        Lanes sum17 = f(1) + f(7), dif17 = f(1) - f(7);                                            \
        Lanes turned = (dif53 + dif17) * 1.847759065f;                                             \
        Lanes o0 = sum17 + sum53, o1 = turned - dif53 * 2.613125930f - o0;                         \
        Lanes o2 = (sum17 - sum53) * 1.414213562f - o1;                                            \
        Lanes o3 = turned - dif17 * 1.082392200f - o2;                                             \
        to(0) = e0 + o0, to(7) = e0 - o0, to(1) = e1 + o1, to(6) = e1 - o1;                        \
        to(2) = e2 + o2, to(5) = e2 - o2, to(3) = e3 + o3, to(4) = e3 - o3;                        \
    } while (0)

/* rows: 8 of 64 pixels */
INLINE int whole_group(const int16_t *group, const float *weights, uint8_t *rows, size_t stride) {
    Lanes columns[8][8], coefficients[8], pixels[8], energy = {0};
    _Alignas(16) uint8_t bytes[8 * LANES];
    int y, x;
#define FROM(y) coefficients[y]
#define TO(y) columns[y][x]
#define PIXEL(x) pixels[x]
#define COLUMN(x) columns[y][x]
    for (x = 0; x < 8; x++) {
        for (y = 0; y < 8; y++) coefficients[y] = DEQUANTIZED(y, x);
        INVERSE8(FROM, TO);
    }
    for (y = 0; y < 8; y++) {
        for (x = 0; x < 8; x++) energy += columns[y][x] * columns[y][x];
        columns[y][0] += 128.0f;
        INVERSE8(COLUMN, PIXEL);
        for (x = 0; x < 8; x++) to_bytes(&pixels[x], bytes + x * LANES);
        turn_8x8(bytes, rows + y * stride);
    }
    return is_moderate(&energy);
#undef FROM
#undef TO
#undef PIXEL
#undef COLUMN
}

/* The forward transform of the same paper. */
#define FORWARD8(f, to)                                                                            \
    do {                                                                                           \
        Lanes s0 = f(0) + f(7), d0 = f(0) - f(7), s1 = f(1) + f(6), d1 = f(1) - f(6);              \
        Lanes s2 = f(2) + f(5), d2 = f(2) - f(5), s3 = f(3) + f(4), d3 = f(3) - f(4);              \
        Lanes outer = s0 + s3, inner = s1 + s2, slope = s0 - s3;                                   \
        Lanes bend = (s1 - s2 + slope) * 0.707106781f;                                             \
        Lanes o0 = d3 + d2, o1 = (d2 + d1) * 0.707106781f, o2 = d1 + d0;                           \
        Lanes turned = (o0 - o2) * 0.382683433f;                                                   \
        Lanes low = o0 * 0.541196100f + turned, high = o2 * 1.306562965f + turned;                 \
        Lanes near = d0 + o1, far = d0 - o1;                                                       \
        to(0) = outer + inner, to(4) = outer - inner, to(2) = slope + bend, to(6) = slope - bend;  \
        to(5) = far + low, to(3) = far - low, to(1) = near + high, to(7) = near - high;            \
    } while (0)

/* From 8 rows of 64 pixels to blocks of 64 quantized coefficients in zigzag order. */
INLINE void forward_group(const uint8_t *rows, size_t stride, const float *weights,
                          int16_t *blocks) {
    Lanes lines[8][8], pixels[8], column[8];
    _Alignas(16) uint8_t bytes[8 * LANES];
    _Alignas(16) int16_t words[64 * LANES];
    int k, y, x;
#define PIXEL(x) pixels[x]
#define LINE(x) lines[y][x]
#define FROM(y) lines[y][x]
#define TO(y) column[y]
    for (y = 0; y < 8; y++) {
        turn_8x8(rows + y * stride, bytes);
        for (x = 0; x < 8; x++) from_bytes(bytes + x * LANES, &pixels[x]);
        FORWARD8(PIXEL, LINE);
        lines[y][0] -= 8 * 128.0f; /* A.3.1: 128 is taken from each pixel */
    }
    for (x = 0; x < 8; x++) {
        FORWARD8(FROM, TO);
        for (y = 0; y < 8; y++) {
            k = ZIGZAG[8 * y + x];
            column[y] *= weights[k];
            to_words(&column[y], words + k * LANES);
        }
    }
    for (k = 0; k < 64; k += 8) turn_words(words + k * LANES, blocks + k);
#undef PIXEL
#undef LINE
#undef FROM
#undef TO
}

/* cos(k pi/16); the k-th factor of the 1988 paper's transform is sqrt(2) times that, 1 for k = 0 */
static const double COSINE[8] = {1.0,         0.980785280, 0.923879533, 0.831469612,
                                 0.707106781, 0.555570233, 0.382683432, 0.195090322};

static double paper_factor(int k) { return k ? COSINE[k] * 1.414213562373 : 1.0; }

/* The factor of coefficient k where half_group folds it. */
static double half_factor(int k) {
    static const double shared[4] = {0.707106781, 0.923879533, 0.707106781, 0.923879533};
    int folded = k > 4 ? 8 - k : k;
    if (k == 4) return 0.0;
    return (k > 4 ? -0.5 : 0.5) * COSINE[k] * shared[folded];
}

static void inverse_weights(const uint8_t *quantizers, int is_half, float *weights) {
    int row, column;
    for (row = 0; row < 8; row++)
        for (column = 0; column < 8; column++) {
            int k = ZIGZAG[8 * row + column];
            double factor = is_half ? half_factor(row) * half_factor(column)
                                    : paper_factor(row) * paper_factor(column) / 8;
            weights[k] = (float)(quantizers[k] * factor);
        }
}

/* ------------------------------------------------------------------------------------------------
 * Decoding a stream, or two of the same shape in turns, into its place in the planes. */

typedef struct {
    uint8_t *pixels[3];             /* top left of the stream's place in each plane */
    size_t stride;
    float weights[3][64];
    uint8_t *narrow;                /* 4:2:2 only: two planes of half the width */
} Target;

/* Where the blocks of a chunk's MCUs lie in its groups (A.2.3): luma rows first, then chroma. */
static uint32_t lay_out(const Header *header, Place *places) {
    uint32_t across = header->across, down = header->down, mcu, x, y, number = 0;
    for (mcu = 0; mcu < CHUNK; mcu++) {
        for (y = 0; y < down; y++)
            for (x = 0; x < across; x++, number++) {
                uint32_t lane = mcu * across + x, group = y * across + lane / LANES;
                places[number].offset = (uint16_t)(group * GROUP + lane % LANES);
                places[number].component = 0;
            }
        for (x = 0; x < 2; x++, number++) {
            places[number].offset = (uint16_t)((across * down + x) * GROUP + mcu);
            places[number].component = (uint8_t)(x + 1);
        }
    }
    return across * down + 2;
}

/* One group's pixels; lanes: how many of its blocks there are. False: they are out of range. */
static int put_group(const int16_t *group, const float *weights, uint32_t edge, uint32_t lanes,
                      uint8_t *rows, size_t stride) {
    uint8_t bytes[8 * 64], *to = lanes < LANES ? bytes : rows;
    size_t to_stride = lanes < LANES ? 64 : stride;
    uint32_t y;
    int is_good = edge == 4 ? kernels->half_group(group, weights, to, to_stride)
                            : kernels->whole_group(group, weights, to, to_stride);
    for (y = 0; y < edge && to == bytes; y++)
        memcpy(rows + y * stride, bytes + 64 * y, edge * lanes);
    return is_good;
}

/* A chunk's pixels; column, row: of its first MCU. */
static Reason put_chunk(const int16_t *groups, const Header *header, const Target *target,
                      uint32_t column, uint32_t row, uint32_t number) {
    uint32_t across = header->across, down = header->down, x, y, i;
    int is_good = 1;
    for (y = 0; y < down; y++)
        for (x = 0; x < across; x++) {
            size_t left = 4 * (column * across + x * LANES), top = 4 * (row * down + y);
            if (number * across <= x * LANES) continue;
            is_good &= put_group(groups + (y * across + x) * GROUP, target->weights[0], 4,
                                 number * across - x * LANES,
                                 target->pixels[0] + top * target->stride + left, target->stride);
        }
    for (i = 1; i < 3; i++) {
        const int16_t *group = groups + (across * down + i - 1) * GROUP;
        uint32_t edge = down == 2 ? 8 : 4;
        size_t stride = target->stride;
        uint8_t *pixels = target->pixels[i];
        if (across > down) {
            stride = header->width / 4;
            pixels = target->narrow + (i - 1) * stride * (header->height / 2);
        }
        is_good &= put_group(group, target->weights[i], edge, number,
                             pixels + (size_t)edge * (row * stride + column), stride);
    }
    return is_good ? NULL : "coefficients are out of range";
}

/* Twice the width, between neighbors 3 to 1, rounded down and up in turns, as libjpeg does it. */
static void widen(const uint8_t *from, uint32_t width, uint8_t *to) {
    uint32_t i;
    to[0] = from[0];
    for (i = 0; i + 1 < width; i++) {
        to[2 * i + 1] = (uint8_t)((3 * from[i] + from[i + 1] + 2) >> 2);
        to[2 * i + 2] = (uint8_t)((3 * from[i + 1] + from[i] + 1) >> 2);
    }
    to[2 * width - 1] = from[width - 1];
}

static void widen_chroma(const Header *header, const Target *target) {
    uint32_t width = header->width / 4, height = header->height / 2, i, y;
    for (i = 0; i < 2; i++)
        for (y = 0; y < height; y++)
            widen(target->narrow + ((size_t)i * height + y) * width, width,
                  target->pixels[i + 1] + y * target->stride);
}

/* Empty the groups that are about to be read; what lies behind their 64 coefficients stays.
 * bytes: of these; a variable, for compilers turn a constant into slow code here. */
static __attribute__((noinline)) void clear_groups(int16_t *groups, uint32_t number, size_t bytes) {
    uint32_t i;
    for (i = 0; i < number; i++) memset(groups + i * GROUP, 0, bytes);
}

/* Decode one or two streams of one shape. */
static Reason decode(Scan *scans, const Target *targets, int number) {
    const Header *header = scans[0].header;
    uint32_t width = header->width / 8 / header->across;
    uint32_t height = header->height / 8 / header->down, row, column;
    Place places[MAX_PLACES];
    uint32_t per_mcu = lay_out(header, places);
    size_t group_bytes = END * sizeof *scans[0].groups;
    int in_turns = number == 2 && !scans[0].header->restart && !scans[1].header->restart, i;
    Reason why = NULL;
    for (i = 0; i < number && !why; i++) why = begin_interval(&scans[i]);
    if (why) return why;
    for (row = 0; row < height; row++)
        for (column = 0; column < width; column += CHUNK) {
            uint32_t some = width - column < CHUNK ? width - column : CHUNK;
            for (i = 0; i < number; i++) clear_groups(scans[i].groups, per_mcu, group_bytes);
            if (in_turns)
                why = kernels->read_two(&scans[0], &scans[1], places, places + per_mcu * some);
            for (i = 0; i < number && !in_turns && !why; i++)
                why = read_mcus(&scans[i], places, per_mcu, some);
            for (i = 0; i < number && !why; i++)
                why = put_chunk(scans[i].groups, scans[i].header, &targets[i], column, row, some);
            if (why) return why;
        }
    for (i = 0; i < number && !why; i++) {
        why = end_interval(&scans[i]);
        if (!why && scans[i].rest[1] != 0xD9) why = "the scan does not end with the stream";
        if (!why && header->across > header->down) widen_chroma(header, &targets[i]);
    }
    return why;
}

/* ------------------------------------------------------------------------------------------------
 * Encoding the planes: baseline, 4:4:4, one interleaved scan, with the tables of Annex K. */

/* Tables K.1 and K.2 in zigzag order. */
static const uint8_t QUANTIZERS[2][64] = {
    {16, 11, 12, 14, 12, 10, 16, 14,  13,  14, 18, 17, 16,  19,  24,  40,  26,  24, 22,  22, 24, 49,
     35, 37, 29, 40, 58, 51, 61, 60,  57,  51, 56, 55, 64,  72,  92,  78,  64,  68, 87,  69, 55, 56,
     80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99},
    {17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99}};

/* Tables K.3 to K.6 as DHT segments have them: DC and AC of luma, then of chroma. */
static const uint8_t DC_CODES[2][16 + 12] = {
    {0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
    {0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};

static const uint8_t AC_CODES[2][16 + 162] = {
    {0,    2,    1,    3,    3,    2,    4,    3,    5,    5,    4,    4,    0,    0,    1,
     0x7D, 0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51,
     0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15,
     0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A,
     0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44,
     0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63,
     0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
     0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
     0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5,
     0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2,
     0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7,
     0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA},
    {0,    2,    1,    2,    4,    4,    3,    4,    7,    5,    4,    4,    0,    1,    2,
     0x77, 0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07,
     0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23,
     0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17,
     0x18, 0x19, 0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43,
     0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A,
     0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79,
     0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96,
     0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3,
     0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9,
     0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6,
     0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA}};

/* A code with its length in the low 5 bits: of each symbol, and of each run with a small value, the
 * value's bits included. Filled when the module is loaded. */
static uint32_t dc_codes[2][16], ac_codes[2][256], small_codes[2][16][128];
enum { SMALL = 64 }; /* values from -SMALL up to SMALL are small */

static void list_codes(const uint8_t *table, uint32_t *codes) {
    uint32_t code = 0, place = 16, length, i;
    for (length = 1; length <= 16; length++, code <<= 1)
        for (i = 0; i < table[length - 1]; i++, code++, place++)
            codes[table[place]] = code << 5 | length;
}

/* A code followed by its value in size bits (F.1.2.1, F.1.2.2). */
INLINE uint32_t with_value(uint32_t code, int32_t value, uint32_t size) {
    uint32_t bits = (uint32_t)(value + (value >> 31)) & ((1u << size) - 1);
    return ((code >> 5) << size | bits) << 5 | ((code & 31) + size);
}

INLINE uint32_t size_of(int32_t value) {
    return value ? 32 - (uint32_t)__builtin_clz((unsigned)abs(value)) : 0;
}

static void fill_codes(void) {
    int32_t chroma, run, value;
    for (chroma = 0; chroma < 2; chroma++) {
        list_codes(DC_CODES[chroma], dc_codes[chroma]);
        list_codes(AC_CODES[chroma], ac_codes[chroma]);
        for (run = 0; run < 16; run++)
            for (value = -SMALL; value < SMALL; value++) {
                uint32_t size = size_of(value);
                small_codes[chroma][run][value + SMALL] =
                    with_value(ac_codes[chroma][run << 4 | (int32_t)size], value, size);
            }
    }
}

INLINE void put_eight(uint8_t *to, uint64_t bits) {
    int i;
    for (i = 0; i < 8; i++) to[i] = (uint8_t)(bits >> (56 - 8 * i));
}

/* A code of at most 27 bits; after two of them flush must follow. */
INLINE void put_code(Writer *writer, uint32_t code) {
    writer->used += code & 31;
    writer->bits |= (uint64_t)(code >> 5) << (64 - writer->used);
}

INLINE void flush(Writer *writer) {
    put_eight(writer->next, writer->bits);
    writer->next += writer->used >> 3;
    writer->bits <<= writer->used & 56;
    writer->used &= 7;
}

/* The first value left in a block's mask, with the run of zeros before it. */
INLINE void put_value(Writer *writer, const int16_t *block, uint64_t *mask, uint32_t *before,
                      int chroma) {
    uint32_t k = (uint32_t)__builtin_ctzll(*mask), run = k - *before - 1;
    int32_t value = block[k];
    *before = k;
    *mask &= *mask - 1;
    for (; UNLIKELY(run > 15); run -= 16) {
        flush(writer);
        put_code(writer, ac_codes[chroma][0xF0]);
        flush(writer);
    }
    if (UNLIKELY((uint32_t)(value + SMALL) >= 2 * SMALL)) {
        uint32_t size = size_of(value);
        put_code(writer, with_value(ac_codes[chroma][run << 4 | size], value, size));
    } else {
        put_code(writer, small_codes[chroma][run][value + SMALL]);
    }
}

/* F.1.2: one block, its DC coefficient as the difference from the one before. */
INLINE void put_block(Writer *writer, const int16_t *block, int32_t difference, int chroma) {
    uint64_t mask = nonzero(block) & ~(uint64_t)1;
    uint32_t size = size_of(difference), before = 0;
    put_code(writer, with_value(dc_codes[chroma][size], difference, size));
    flush(writer);
    while (mask) {
        put_value(writer, block, &mask, &before, chroma);
        if (!mask) break;
        put_value(writer, block, &mask, &before, chroma);
        flush(writer);
    }
    if (before < 63) put_code(writer, ac_codes[chroma][0]);
    flush(writer);
}

/* A.2.3: blocks of the three components in turns. */
INLINE void put_blocks(Writer *writer, int16_t (*blocks)[64 * LANES], uint32_t lanes,
                       int32_t *prediction) {
    Writer local = *writer;
    uint32_t lane, i;
    for (lane = 0; lane < lanes; lane++)
        for (i = 0; i < 3; i++) {
            const int16_t *block = blocks[i] + 64 * lane;
            put_block(&local, block, block[0] - prediction[i], i > 0);
            prediction[i] = block[0];
        }
    *writer = local;
}

#define COMPILE(suffix, target)                                                                    \
    target static Reason read_one##suffix(Scan *a, const Place *places, const Place *end) {        \
        return read_one(a, places, end);                                                           \
    }                                                                                              \
    target static Reason read_two##suffix(Scan *a, Scan *b, const Place *places,                   \
                                          const Place *end) {                                      \
        return read_two(a, b, places, end);                                                        \
    }                                                                                              \
    target static int half_group##suffix(const int16_t *group, const float *weights,              \
                                          uint8_t *rows, size_t stride) {                          \
        return half_group(group, weights, rows, stride);                                           \
    }                                                                                              \
    target static int whole_group##suffix(const int16_t *group, const float *weights,             \
                                           uint8_t *rows, size_t stride) {                         \
        return whole_group(group, weights, rows, stride);                                          \
    }                                                                                              \
    target static void forward_group##suffix(const uint8_t *rows, size_t stride,                   \
                                             const float *weights, int16_t *blocks) {              \
        forward_group(rows, stride, weights, blocks);                                              \
    }                                                                                              \
    target static void put_blocks##suffix(Writer *writer, int16_t (*blocks)[64 * LANES],     \
                                          uint32_t lanes, int32_t *prediction) {                   \
        put_blocks(writer, blocks, lanes, prediction);                                             \
    }                                                                                              \
    static const Kernels kernels##suffix = {                                                       \
        read_one##suffix,    read_two##suffix,      half_group##suffix,                            \
        whole_group##suffix, forward_group##suffix, put_blocks##suffix};

COMPILE(_anywhere, )
#if defined(__x86_64__) && !defined(FASTJPEG_BASELINE) /* which a test may define */
#define HAS_AVX2
COMPILE(_avx2, __attribute__((target("avx2,bmi,bmi2"))))
#endif

static void choose_kernels(void) {
    kernels = &kernels_anywhere;
#if defined(HAS_AVX2)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        kernels = &kernels_avx2;
#endif
}

/* Append bytes, a zero behind each 0xFF (B.1.1.5). There must be room for 16 more than twice. */
static uint8_t *stuff(const uint8_t *from, const uint8_t *end, uint8_t *to) {
    for (;;) {
#if defined(__SSE2__)
        while (end - from >= 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)from);
            int found = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(-1)));
            int before = found ? __builtin_ctz((unsigned)found) : 16;
            _mm_storeu_si128((__m128i *)to, bytes);
            from += before;
            to += before;
            if (found) break;
        }
#endif
        while (from < end && *from != 0xFF) *to++ = *from++;
        if (from == end) return to;
        *to++ = *from++;
        *to++ = 0;
    }
}

static uint8_t *put_segment(uint8_t *to, uint8_t marker, size_t length) {
    to[0] = 0xFF;
    to[1] = marker;
    to[2] = (uint8_t)((length + 2) >> 8);
    to[3] = (uint8_t)(length + 2);
    return to + 4;
}

static uint8_t *put_bytes(uint8_t *to, const void *from, size_t number) {
    memcpy(to, from, number);
    return to + number;
}

/* Everything before the scan; also gives this quality's quantizers, scaled as libjpeg does it. */
static uint8_t *put_headers(uint8_t *to, uint32_t width, uint32_t height, int quality,
                            uint8_t quantizers[2][64]) {
    const uint8_t frame[15] = {8, (uint8_t)(height >> 8), (uint8_t)height, (uint8_t)(width >> 8),
                               (uint8_t)width, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1};
    int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality, i, k;
    to = put_bytes(to, "\xFF\xD8", 2);
    to = put_bytes(put_segment(to, 0xE0, 14), "JFIF\0\1\1\0\0\1\0\1\0\0", 14);
    for (i = 0; i < 2; i++) {
        for (k = 0; k < 64; k++) {
            int scaled = (QUANTIZERS[i][k] * percent + 50) / 100;
            quantizers[i][k] = (uint8_t)(scaled < 1 ? 1 : scaled > 255 ? 255 : scaled);
        }
        to = put_segment(to, 0xDB, 65);
        *to++ = (uint8_t)i;
        to = put_bytes(to, quantizers[i], 64);
    }
    to = put_bytes(put_segment(to, 0xC0, 15), frame, 15);
    for (i = 0; i < 2; i++) {
        to = put_segment(to, 0xC4, 1 + sizeof DC_CODES[i]);
        *to++ = (uint8_t)i;
        to = put_bytes(to, DC_CODES[i], sizeof DC_CODES[i]);
        to = put_segment(to, 0xC4, 1 + sizeof AC_CODES[i]);
        *to++ = (uint8_t)(0x10 | i);
        to = put_bytes(to, AC_CODES[i], sizeof AC_CODES[i]);
    }
    return put_bytes(put_segment(to, 0xDA, 10), "\3\1\0\2\x11\3\x11\0\x3F\0", 10);
}

/* planes (3, height, width), edges multiples of 8; the stream is in work->out. */
static Reason encode(Workspace *work, const uint8_t *planes, uint32_t width, uint32_t height,
                     int quality, size_t *length) {
    int32_t prediction[3] = {0};
    uint8_t quantizers[2][64], partial[8 * 64], *to;
    float weights[2][64];
    _Alignas(16) int16_t blocks[3][64 * LANES];
    Writer writer = {0};
    size_t plane = (size_t)width * height;
    uint32_t x, y, i, lane;
    Reason why = grow(&work->stripe, &work->stripe_room, (width / 8) * 3 * MAX_BLOCK_BYTES + 16);
    if (!why) why = grow(&work->out, &work->out_room, 1024);
    if (why) return why;
    to = put_headers(work->out, width, height, quality, quantizers);
    for (i = 0; i < 2; i++)
        for (y = 0; y < 8; y++)
            for (x = 0; x < 8; x++) {
                uint8_t k = ZIGZAG[8 * y + x];
                weights[i][k] = (float)(1 / (8 * paper_factor((int)y) * paper_factor((int)x) *
                                             quantizers[i][k]));
            }
    for (y = 0; y < height; y += 8) {
        size_t done = (size_t)(to - work->out);
        writer.next = work->stripe;
        for (x = 0; x < width; x += 8 * LANES) {
            uint32_t lanes = width - x < 8 * LANES ? (width - x) / 8 : LANES;
            for (i = 0; i < 3; i++) {
                const uint8_t *rows = planes + i * plane + (size_t)y * width + x;
                size_t stride = width;
                if (lanes < LANES) {
                    for (lane = 0; lane < 8; lane++)
                        memcpy(partial + 64 * lane, rows + lane * stride, 8 * lanes);
                    for (lane = 0; lane < 8; lane++)
                        memset(partial + 64 * lane + 8 * lanes, 0, 64 - 8 * lanes);
                    rows = partial;
                    stride = 64;
                }
                kernels->forward_group(rows, stride, weights[i > 0], blocks[i]);
            }
            kernels->put_blocks(&writer, blocks, lanes, prediction);
        }
        if (y + 8 == height && writer.used) { /* F.1.2.3: the last byte is filled with ones */
            *writer.next++ = (uint8_t)(writer.bits >> 56 | 0xFF >> writer.used);
        }
        why = grow(&work->out, &work->out_room,
                   done + 2 * (size_t)(writer.next - work->stripe) + 32);
        if (why) return why;
        to = stuff(work->stripe, writer.next, work->out + done);
    }
    to = put_bytes(to, "\xFF\xD9", 2);
    *length = (size_t)(to - work->out);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * All of it, without the interpreter's lock. */

typedef struct {
    const uint8_t *bytes;
    size_t length;
} Stream;

static Reason decode_some(Workspace *work, const Stream *streams, int number, Header *headers,
                          Target *targets) {
    Scan scans[2];
    Reason why = NULL;
    int i, j;
    memset(scans, 0, sizeof scans);
    for (i = 0; i < number && !why; i++) {
        const Header *header = &headers[i];
        int is_wide = header->across > header->down;
        size_t narrow = is_wide ? (size_t)header->width / 4 * header->height : 0;
        why = grow(&work->scans[i], &work->room[i], streams[i].length + PAD + 32);
        if (!why) why = grow(&work->narrow, &work->narrow_room, number * narrow);
        scans[i].header = header;
        scans[i].buffer = work->scans[i];
        scans[i].groups = work->groups[i];
        scans[i].rest = header->scan;
        for (j = 0; j < 3; j++)
            inverse_weights(header->quantizers[j], !j || header->down == 1, targets[i].weights[j]);
    }
    for (i = 0; i < number && !why; i++)
        targets[i].narrow = work->narrow ? work->narrow + i * (work->narrow_room / 2) : NULL;
    return why ? why : decode(scans, targets, number);
}

static Reason halve(Workspace *work, const Stream *streams, uint32_t number, uint32_t columns,
                    int quality, uint8_t *planes, size_t room, size_t *length) {
    uint32_t width = 0, height = 0, i, j, k;
    Reason why = NULL;
    for (i = 0; i < number; i += 2) {
        Header headers[2];
        Target targets[2];
        uint32_t some = number - i < 2 ? 1 : 2;
        work->age++;
        for (j = 0; j < some; j++) {
            const Stream *stream = &streams[i + j];
            why = read_header(stream->bytes, stream->bytes + stream->length, work, &headers[j]);
            if (why) return why;
            if (!width) {
                width = headers[0].width / 2;
                height = headers[0].height / 2;
                if ((uint64_t)width * columns > 65535 ||
                    (uint64_t)height * (number / columns) > 65535 ||
                    (uint64_t)width * height * number * 3 != room)
                    return "the planes do not have the size of the tiles";
            }
            if (headers[j].width != 2 * width || headers[j].height != 2 * height)
                return "the streams differ in size";
            targets[j].stride = (size_t)width * columns;
            for (k = 0; k < 3; k++)
                targets[j].pixels[k] = planes + k * (room / 3) + (i + j) % columns * (size_t)width +
                                       (i + j) / columns * targets[j].stride * height;
        }
        if (some == 2 && (headers[0].across != headers[1].across ||
                          headers[0].down != headers[1].down))
            return "the streams differ in subsampling";
        why = decode_some(work, streams + i, (int)some, headers, targets);
        if (why) return why;
    }
    return encode(work, planes, width * columns, height * (number / columns), quality, length);
}

/* ------------------------------------------------------------------------------------------------
 * The module. Workspaces are taken and given back under the interpreter's lock. */

static Workspace *idle[MAX_IDLE];
static int num_idle = 0;

static void discard(Workspace *work) {
    if (!work) return;
    free(work->scans[0]);
    free(work->scans[1]);
    free(work->narrow);
    free(work->out);
    free(work->stripe);
    free(work);
}

static PyObject *halve_to_bytes(const Stream *streams, uint32_t number, uint32_t columns,
                                int quality, Py_buffer *planes) {
    Workspace *work = num_idle ? idle[--num_idle] : calloc(1, sizeof *work);
    PyObject *result = NULL;
    size_t length = 0;
    Reason why;
    if (!work) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS;
    why = halve(work, streams, number, columns, quality, planes->buf, (size_t)planes->len, &length);
    Py_END_ALLOW_THREADS;
    if (why)
        PyErr_SetString(PyExc_ValueError, why);
    else
        result = PyBytes_FromStringAndSize((const char *)work->out, (Py_ssize_t)length);
    if (num_idle < MAX_IDLE)
        idle[num_idle++] = work;
    else
        discard(work);
    return result;
}

static PyObject *py_halve(PyObject *module, PyObject *arguments) {
    PyObject *sequence, *tuple, *planes, *result = NULL;
    Py_buffer view;
    Stream streams[MAX_STREAMS];
    Py_ssize_t number, i;
    int columns, quality;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OiiO:halve", &sequence, &columns, &quality, &planes))
        return NULL;
    if (!(tuple = PySequence_Tuple(sequence))) return NULL;
    number = PyTuple_Size(tuple);
    if (number < 1 || number > MAX_STREAMS || columns < 1 || columns > number ||
        number % columns || quality < 1 || quality > 100) {
        PyErr_SetString(PyExc_ValueError, "streams, columns or quality are out of range");
        Py_DECREF(tuple);
        return NULL;
    }
    for (i = 0; i < number; i++) {
        char *bytes;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &bytes, &length) < 0) {
            Py_DECREF(tuple);
            return NULL;
        }
        streams[i].bytes = (const uint8_t *)bytes;
        streams[i].length = (size_t)length;
    }
    if (PyObject_GetBuffer(planes, &view, PyBUF_CONTIG) == 0) {
        if (view.itemsize != 1)
            PyErr_SetString(PyExc_ValueError, "planes are not of bytes");
        else
            result = halve_to_bytes(streams, (uint32_t)number, (uint32_t)columns, quality, &view);
        PyBuffer_Release(&view);
    }
    Py_DECREF(tuple);
    return result;
}

static PyMethodDef methods[] = {
    {"halve", py_halve, METH_VARARGS,
     "halve(streams, columns, quality, planes)\n--\n\n"
     "The JPEG of a mosaic of JPEG streams at half scale.\n\n"
     "streams  rows * columns baseline YCbCr streams, bytes, all of one size\n"
     "quality  1 to 100, of the new stream, which is not subsampled\n"
     "planes   where the mosaic's YCbCr goes: writable bytes, (3, height, width)\n"
     "Raises ValueError for a stream that is damaged or not of this kind."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_fastjpeg", "JPEG tiles to a JPEG tile of half scale.", -1, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fastjpeg(void) {
    choose_kernels();
    fill_codes();
    return PyModule_Create(&definition);
}
