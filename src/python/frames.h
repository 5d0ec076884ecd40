/* frames: the Python stack of the calling thread, read from memory, without the GIL.
 *
 * For allocation hooks: PyTorch allocates with the GIL released and its allocator's lock held, so nothing may be asked of
 * Python there. The layouts of CPython 3.9 - 3.15 are known here (from 3.13 on CPython publishes its own); a self-test
 * decides at the start whether this interpreter is as expected, otherwise no stack is ever read.
 *
 * Names are interned for ever in append-only tables of bounded size (no malloc, lock-free for readers). */
#ifndef COMFYDD_FRAMES_H
#define COMFYDD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_MAX 32 /* innermost frames kept of a stack */

/* Needs the GIL. Runs the self-test; true when stacks can be read from now on. */
bool frames_start(void);

/* No stack is read from now on (the interpreter is about to end); any thread. */
void frames_stop(void);

/* In the child of a fork. Async-signal-safe. */
void frames_forked(void);

/* The id of the calling thread's stack: the same for the same stack. 0: no Python on this thread, or the tables are full, or
 * not started. Any thread, GIL held or not; no malloc, no locks, errno preserved. */
uint32_t frames_capture(void);

struct frame {
    const char *file, *function; /* UTF-8, stay valid; function is the qualified name from 3.11 on */
    int line;
};

/* Resolves an id: writes up to `room` frames, the innermost first, and returns how many there are. */
size_t frames_of(uint32_t stack, struct frame *out, size_t room);

#endif
