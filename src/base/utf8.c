#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* Copies the ASCII bytes at the beginning and returns how many they are. */
static size_t copy_ascii(char *to, const char *from, size_t size) {
    const uint64_t high_bits = UINT64_C(0x8080808080808080);
    size_t i = 0;
    for (; size - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        if (word & high_bits) break;
        memcpy(to + i, &word, 8);
    }
    for (; i < size && !(from[i] & 0x80); i++)
        to[i] = from[i];
    return i;
}

/* Bytes of the well-formed character at `s`, 0 when there is none (Unicode 15, table 3-7). */
static size_t character_size(const unsigned char *s, size_t size) {
    unsigned char lead = s[0], lowest = 0x80, highest = 0xbf;
    size_t wanted;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        wanted = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        wanted = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        wanted = 4;
    else
        return 0;
    if (wanted > size) return 0;
    if (lead == 0xe0) lowest = 0xa0;
    if (lead == 0xed) highest = 0x9f;
    if (lead == 0xf0) lowest = 0x90;
    if (lead == 0xf4) highest = 0x8f;
    if (s[1] < lowest || s[1] > highest) return 0;
    for (size_t i = 2; i < wanted; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return wanted;
}

/* Ends `size` valid bytes, limit - 3 or more of a text that is too long, with the mark. */
static size_t cut(char *text, size_t size, size_t limit) {
    size_t end = limit - 3;
    while (end < size && end > 0 && (text[end] & 0xc0) == 0x80)
        end--;
    memcpy(text + end, "...", 3);
    return end + 3;
}

size_t utf8_copy(char *to, const char *from, size_t size, size_t limit) {
    size_t in = copy_ascii(to, from, size < limit ? size : limit), out = in;
    while (in < size) {
        size_t valid = character_size((const unsigned char *)from + in, size - in);
        const char *character = valid ? from + in : "\xef\xbf\xbd";
        size_t length = valid ? valid : 3;
        if (length > limit - out) return cut(to, out, limit);
        memcpy(to + out, character, length);
        out += length;
        in += valid ? valid : 1;
    }
    return out;
}
