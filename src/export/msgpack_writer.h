/* msgpack_writer: msgpack-c's packer templates, writing through a bare pointer.
 *
 * Nothing is checked while writing: writer_begin makes room for the worst case first. All functions are
 * inline; the templates give pack_map, pack_array, pack_str, pack_uint64, pack_int64, pack_int32,
 * pack_double, ... */
#ifndef COMFYDD_MSGPACK_WRITER_H
#define COMFYDD_MSGPACK_WRITER_H

#include "base/buf.h"
#include "base/utf8.h"

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct writer {
    char *at;
};

/* Room for `size` bytes at the end of `out`; `at` is NULL without memory (out->failed says so). */
static inline struct writer writer_begin(struct buf *out, size_t size) {
    return (struct writer){buf_room(out, size)};
}

static inline void writer_end(const struct writer *w, struct buf *out) {
    out->size = (size_t)(w->at - out->data);
}

static inline int writer_put(struct writer *w, const void *bytes, size_t size) {
    memcpy(w->at, bytes, size);
    w->at += size;
    return 0;
}

#include <msgpack/pack_define.h>
#include <msgpack/timestamp.h>
#define msgpack_pack_inline_func(name)                  static inline int pack##name
#define msgpack_pack_inline_func_cint(name)             static inline int pack##name
#define msgpack_pack_inline_func_fixint(name)           static inline int pack_fix##name
#define msgpack_pack_user                               struct writer *
#define msgpack_pack_append_buffer(user, bytes, length) return writer_put(user, bytes, length)
#include <msgpack/pack_template.h>

#define HEADER_ROOM 5 /* of a string, an array or a map */
#define NUMBER_ROOM 9

static inline void pack_literal(struct writer *w, const char *text) {
    pack_str(w, strlen(text));
    pack_str_body(w, text, strlen(text));
}

/* The number that pack_double has written at `at`. */
static inline double packed_double(const char *at) {
    uint64_t bits;
    double number;
    memcpy(&bits, at + 1, sizeof bits);
    bits = be64toh(bits);
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Room that pack_text may need. */
static inline size_t text_room(size_t size, size_t limit) {
    return HEADER_ROOM + (size < limit / 3 ? 3 * size : limit);
}

static inline size_t text_header_size(size_t size) {
    return size < 32 ? 1 : size < 256 ? 2 : size < 65536 ? 3 : 5;
}

/* Packs text made valid UTF-8 and cut to `limit` bytes. The header's size depends on the cleaned text's: the
 * text is placed as if cleaning changed nothing, and moved when it did. */
static inline void pack_text(struct writer *w, const char *text, size_t size, size_t limit) {
    size_t assumed = text_header_size(size < limit ? size : limit);
    size_t used = utf8_copy(w->at + assumed, text, size, limit);
    size_t header = text_header_size(used);
    if (header != assumed) memmove(w->at + header, w->at + assumed, used);
    pack_str(w, used);
    w->at += used;
}

#endif
