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
