/* buf: a growable byte buffer that cannot surprise.
 *
 * Zero-initialised is empty and valid. When memory runs out `failed` is set, the bytes so far stay as they are,
 * and every later append does nothing: check once, at the end. Not thread-safe. */
#ifndef COMFYDD_BUF_H
#define COMFYDD_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned */
    size_t size;
    size_t capacity;
    bool failed;
};

/* Appends `size` bytes. Returns false (and sets failed) when there is no memory. */
bool buf_append(struct buf *b, const void *bytes, size_t size);

/* Appends a C string without its terminator. */
bool buf_string(struct buf *b, const char *text);

/* Makes room for `size` more bytes and returns where they go; NULL when there is no memory. Size is unchanged:
 * the caller adds what it wrote. */
__attribute__((cold)) char *buf_grow(struct buf *b, size_t size); /* the seldom part of buf_room */
static inline char *buf_room(struct buf *b, size_t size) {
    return !b->failed && size <= b->capacity - b->size ? b->data + b->size : buf_grow(b, size);
}

/* Empties the buffer, keeping its memory, and clears `failed`. */
void buf_clear(struct buf *b);

/* Frees the memory; the buffer is empty and valid again. */
void buf_finish(struct buf *b);

#endif
