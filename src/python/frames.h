/* frames: the Python stack of the calling thread, read from memory, without the GIL.
 *
 * For allocation hooks: PyTorch allocates with the GIL released and its allocator's lock held, so nothing may be asked of
 * Python there. The layouts of CPython 3.9 - 3.15 are known here (from 3.13 on CPython publishes its own); a self-test
 * decides at the start whether this interpreter is as expected, otherwise no stack is ever read.
 *
 * Stacks are kept for ever (python/stacks), in at most 12 MiB, of which nothing is resident before the first capture. Only
 * the main interpreter's stacks are read; up to 3.11 none while there are subinterpreters. */
#ifndef COMFYDD_FRAMES_H
#define COMFYDD_FRAMES_H

#include "python/python_api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_MAX 32 /* innermost frames kept of a stack */

/* Needs the GIL, which is released and taken again, and config() and python_init done. Runs the self-test; true when stacks
 * can be read from now on, until frames_stop or until Python's own atexit functions run. When false it may be tried again
 * (a Python without memory, say); frames_failure tells why. */
bool frames_start(void);

/* One line for the log: why frames_start returned false. */
const char *frames_failure(void);

/* The self-test alone, which is part of frames_start, under the same conditions: whether it succeeds, which decides about
 * frames_innermost for good. The answer does not change later, as calls under way are known by what frames_innermost says. */
bool frames_test(void);

/* The calling thread's frame, when it is executing `code`, for frames_local; NULL where only PyEval_GetFrame can tell:
 * unless frames_test has succeeded, before 3.12, from 3.14 on. No frame object is made, and until the frame ends no other one
 * has that address. Under the GIL. Works on after frames_stop. */
const void *frames_innermost(PyObject *code);

/* Its parameter of that number: borrowed; NULL when it is unbound; the cell of one that inner functions share. Under the
 * GIL, while the frame is being executed. */
PyObject *frames_local(const void *frame, int number);

/* No stack is read any more when this returns, and never again: the interpreter is about to end, and would free what is
 * read. Any thread; waits for the other threads' captures, which take microseconds. */
void frames_stop(void);

/* In the child of a fork. Async-signal-safe. */
void frames_forked(void);

/* The id of the calling thread's stack: the same for the same stack. 0: no Python on this thread, or the tables are full, or
 * not started. Any thread, GIL held or not; no malloc, no locks, errno preserved. */
uint32_t frames_capture(void);

/* frames_capture for an allocation of `size` bytes, or 0 for one that is left out: of those smaller than
 * COMFYDD_STACK_SAMPLE_BYTES, each thread takes one per that many bytes on average, large ones more often than small ones. */
uint32_t frames_sample(uint64_t size);

struct frame {
    const char *file, *function; /* UTF-8, stay valid; function is the qualified name from 3.11 on */
    int line;                    /* 0: none */
};

/* Resolves an id: writes up to `room` frames, the innermost first, and returns how many there are; 0 for id 0. */
size_t frames_of(uint32_t stack, struct frame *out, size_t room);

/* An id as lines "file:line function", the innermost first, a file by its path within site-packages or its last three parts.
 * Whole lines only; frames without room become a last line "...". Returns the length; terminated. `room` is 4 or more. */
size_t frames_text(uint32_t stack, char *out, size_t room);

#endif
