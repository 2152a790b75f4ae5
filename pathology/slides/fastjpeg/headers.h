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
