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
