#include "python/frames_lines.h"

/* Lines are added up as unsigned numbers: nonsense in a table must not be undefined behaviour. */

/* Pairs: so many bytes of code further, so many lines (signed) further. */
static int in_lnotab(const uint8_t *table, size_t size, unsigned line, uint32_t offset) {
    uint32_t start = 0;
    for (size_t i = 0; i + 1 < size; i += 2) {
        start += table[i];
        if (start > offset) break;
        line += (unsigned)(int8_t)table[i + 1];
    }
    return (int)line;
}

/* Pairs: lines (signed) further, then so many bytes of code; -128 is code without a line. */
static int in_linetable(const uint8_t *table, size_t size, unsigned line, uint32_t offset) {
    uint32_t end = 0;
    for (size_t i = 0; i + 1 < size; i += 2) {
        int8_t step = (int8_t)table[i + 1];
        end += table[i];
        if (step != -128) line += (unsigned)step;
        if (end > offset) return step == -128 ? 0 : (int)line;
    }
    return 0;
}

/* Entries that begin with a byte 1 kkkk nnn: nnn + 1 code units of kind kkkk; the bytes that follow have no top bit. */
static int in_locations(const uint8_t *table, size_t size, unsigned line, uint32_t offset) {
    enum { ONE_LINE = 10, NO_COLUMNS = 13, LONG = 14, NO_LINE = 15 };
    uint32_t end = 0;
    for (size_t i = 0; i < size;) {
        unsigned kind = table[i] >> 3 & 15;
        end += 2 * ((table[i] & 7u) + 1);
        i++;
        if (kind == NO_COLUMNS ||
            kind == LONG) { /* a number in groups of six bits, the sign is the lowest bit */
            unsigned step = 0;
            for (unsigned shift = 0, more = 1; more && i < size && shift < 32; shift += 6, i++) {
                step |= (table[i] & 63u) << shift;
                more = table[i] & 64;
            }
            line += step & 1 ? -(step >> 1) : step >> 1;
        } else if (kind >= ONE_LINE && kind < NO_COLUMNS) {
            line += kind - ONE_LINE;
        }
        if (end > offset) return kind == NO_LINE ? 0 : (int)line;
        while (i < size && !(table[i] & 128))
            i++;
    }
    return 0;
}

int frames_lines_find(enum frames_lines format, const uint8_t *table, size_t size, int first,
                      uint32_t offset) {
    switch (format) {
    case FRAMES_LNOTAB:
        return in_lnotab(table, size, (unsigned)first, offset);
    case FRAMES_LINETABLE:
        return in_linetable(table, size, (unsigned)first, offset);
    case FRAMES_LOCATIONS:
        return in_locations(table, size, (unsigned)first, offset);
    }
    return 0;
}
