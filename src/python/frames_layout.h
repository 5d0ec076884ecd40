/* frames_layout: where each version of CPython keeps what a stack consists of. Pure.
 *
 * GIL builds for 64 bits only. Patch releases may move things up to 3.12, where the offsets are those of the releases that
 * they were taken from; frames_test decides. From 3.13 on the interpreter tells them (_Py_DebugOffsets, pycore_runtime.h). */
#ifndef COMFYDD_FRAMES_LAYOUT_H
#define COMFYDD_FRAMES_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum frames_lines {
    FRAMES_LNOTAB,    /* 3.9: co_lnotab */
    FRAMES_LINETABLE, /* 3.10: co_linetable of PEP 626 */
    FRAMES_LOCATIONS, /* from 3.11 on: CPython's Objects/locations.md */
};

/* Offsets in bytes, 0 for what the version does not have. A frame is a PyFrameObject up to 3.10, an _PyInterpreterFrame from
 * 3.11 on. */
struct frames_layout {
    /* Of the thread's pointer to the struct that holds its frame; 0: it holds it itself. */
    uint16_t thread_cframe;
    uint16_t thread_frame;
    uint16_t thread_id; /* pthread_self() of the thread */
    uint16_t frame_previous, frame_code;
    uint16_t frame_instruction; /* int f_lasti up to 3.10; else a pointer into the bytecode */
    uint16_t frame_owner;
    uint16_t frame_locals; /* an array of references; 0 from 3.14 on, where they have tags */
    uint16_t code_filename, code_name, code_lines, code_first_line;
    uint16_t code_first_traceable; /* int: instructions that run before the function's own */
    uint16_t code_bytecode;
    /* uint32_t, unique among all code objects of a process; 0 when they have run out. */
    uint16_t code_version;
    uint16_t text_ascii, text_compact;
    uint8_t lasti_unit; /* bytes; 0 where the instruction is a pointer */
    uint8_t lines;      /* enum frames_lines */
};

/* The same since 3.9: of PyObject, PyVarObject, str, and the content of bytes. */
enum { FRAMES_TYPE = 8, FRAMES_SIZE = 16, FRAMES_HASH = 24, FRAMES_STATE = 32, FRAMES_BYTES = 32 };

/* frame_owner: a generator's frame has run its first instructions long since; from the third value on it is no function's. */
enum { FRAMES_OWNED_BY_GENERATOR = 1, FRAMES_OWNED_BY_INTERPRETER = 3 };

/* `minor` of Python 3; `offsets` is _PyRuntime (may be NULL before 3.13). NULL when *layout is filled in, else why not. */
const char *frames_layout_choose(struct frames_layout *layout, int minor, const uint64_t *offsets);

#endif
