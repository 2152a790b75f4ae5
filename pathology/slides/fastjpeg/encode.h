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
