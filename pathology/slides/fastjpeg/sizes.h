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
