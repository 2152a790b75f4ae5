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
