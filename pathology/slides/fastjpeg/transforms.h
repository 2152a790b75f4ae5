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
