#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

char *buf_grow(struct buf *b, size_t size) {
    if (b->failed) return NULL;
    size_t wanted = b->capacity ? b->capacity : 256;
    while (wanted - b->size < size) {
        if (wanted > (size_t)-1 / 2) {
            b->failed = true;
            return NULL;
        }
        wanted *= 2;
    }
    char *grown = realloc(b->data, wanted);
    if (!grown) {
        b->failed = true;
        return NULL;
    }
    b->data = grown;
    b->capacity = wanted;
    return b->data + b->size;
}

bool buf_append(struct buf *b, const void *bytes, size_t size) {
    if (!size) return !b->failed;
    char *room = buf_room(b, size);
    if (!room) return false;
    memcpy(room, bytes, size);
    b->size += size;
    return true;
}

bool buf_string(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

void buf_clear(struct buf *b) {
    b->size = 0;
    b->failed = false;
}

void buf_finish(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}
