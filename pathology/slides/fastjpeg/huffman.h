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
