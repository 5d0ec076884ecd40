/* frames_reader: reads the calling thread's stack out of the interpreter's memory.
 *
 * The calling thread's own frames do not change while it is here, and hold their code objects, which never change; so
 * neither the GIL nor a lock is needed, and nothing is allocated. What is read is checked for plausible values only, not
 * for being mapped: a wrong layout crashes. Therefore each function comes in a careful variant, which reads through the
 * kernel and says false (or "no more frames") instead; it is for frames_test, which goes first. */
#ifndef COMFYDD_FRAMES_READER_H
#define COMFYDD_FRAMES_READER_H

#include "python/frames_layout.h"

#include <stddef.h>

/* Where a frame stands. Valid while the frame is being executed. */
struct frames_place {
    const char *code;
    uint32_t offset; /* of the current instruction, in bytes */
};

/* What that means to a human, in UTF-8. Names that are longer are cut before a character. */
struct frames_site {
    char file[1024], function[256];
    int line; /* 0: none */
};

/* Before everything else, under the GIL. `code_type` is borrowed for ever: types.CodeType. */
void frames_reader_init(const struct frames_layout *layout, const void *code_type);

/* The innermost `room` frames of this thread, innermost first; 0 on a thread that Python does not know. */
size_t frames_reader_walk(struct frames_place *out, size_t room);
size_t frames_reader_walk_carefully(struct frames_place *out, size_t room);

bool frames_reader_resolve(const struct frames_place *place, struct frames_site *site);
bool frames_reader_resolve_carefully(const struct frames_place *place, struct frames_site *site);

/* The frame of this thread that executes `code`, when it is the innermost; NULL when not, or where locals are not read. It
 * is at no other frame's address until it ends. Under the GIL. */
const char *frames_reader_innermost(const void *code);
const char *frames_reader_innermost_carefully(const void *code);

/* Its local variable of that number, parameters first: a reference, or NULL. Of a variable that inner functions share it is
 * the cell. Under the GIL, while the frame is being executed. */
const void *frames_reader_local(const char *frame, int number);

/* Whether that is its first local, and nothing in the frame before. */
bool frames_reader_begins_locals_carefully(const char *frame, const void *value);

/* Locals have proved to be elsewhere. */
void frames_reader_forget_locals(void);

/* A key for caches: the same only for the same instructions of the same code, in the same order. A code object may die and
 * another one take its place in memory; the key is then another. (Up to 3.11 two pieces of generated code that share first
 * line, names and size are told apart by the first 32 and the last 8 bytes of their line tables.) The same stack may get
 * two keys in its life. */
uint64_t frames_reader_key(const struct frames_place *places, size_t count);

/* The number that tells code objects apart, from 3.12 on. */
uint32_t frames_reader_version_carefully(const struct frames_place *place);

/* That number has proved to be none. */
void frames_reader_forget_version(void);

#endif
