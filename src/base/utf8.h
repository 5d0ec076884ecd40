/* utf8: making text valid and short enough to send. Pure. */
#ifndef COMFYDD_UTF8_H
#define COMFYDD_UTF8_H

#include <stddef.h>

/* Copies `size` bytes of text, each byte that is not part of well-formed UTF-8 (overlong forms, surrogates
 * and numbers above U+10FFFF are not) replaced by U+FFFD. A result of more than `limit` bytes (at least 3) is
 * cut before a character and ends in "...". Returns the bytes written: at most `limit` and at most 3 * size.
 * Not terminated. */
size_t utf8_copy(char *to, const char *from, size_t size, size_t limit);

#endif
