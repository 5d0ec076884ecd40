/* fake_gpu: what a test may ask of the fake GPU and tell it, from inside the process that uses it. Link with -lfakegpu, or
 * look the names up in libfakegpu.so. Any thread. From outside the process: the environment variables in README.md. */
#ifndef FAKE_GPU_H
#define FAKE_GPU_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_GPU_HOST (-1) /* as a device: memory of the host */

enum fake_gpu_kind {                    /* as in tests/check_torch/books.py */
                     FAKE_GPU_PLAIN,    /* cuMemAlloc, pitched */
                     FAKE_GPU_ASYNC,    /* of a pool */
                     FAKE_GPU_MANAGED,  /* unified; takes nothing from the device here */
                     FAKE_GPU_ARRAY,    /* arrays and mipmapped arrays */
                     FAKE_GPU_PHYSICAL, /* cuMemCreate */
                     FAKE_GPU_PINNED, /* page-locked memory of the host, cuMemCreate's on the host included */
                     FAKE_GPU_REGISTERED, /* the program's own memory, page-locked */
                     FAKE_GPU_MAPPING,    /* addresses where physical memory is mapped; takes nothing */
                     FAKE_GPU_GRAPH,      /* allocated while a stream captured: a graph's; takes nothing */
                     FAKE_GPU_KINDS,
};

struct fake_gpu_books {
    uint64_t total;  /* bytes that the device has; 0 for the host */
    uint64_t in_use; /* bytes of them that are taken; pools' reserves count, not what was cut from them */
    uint64_t peak;   /* the most that in_use has been */
    uint64_t live[FAKE_GPU_KINDS],
        count[FAKE_GPU_KINDS]; /* what the program holds: bytes (rounded as charged), pieces */
};

/* The books of one device, by its number among all, whatever CUDA_VISIBLE_DEVICES says; false without such a device. */
bool fake_gpu_books(int device, struct fake_gpu_books *books);

/* How often an exported function was called, those that do nothing included. */
uint64_t fake_gpu_calls(const char *function);

/* The calls of `function` after the next `after` ones fail with `error`, `times` of them, and do nothing else. One plan per
 * function: a new one replaces the old. False when there is no room for another function. */
bool fake_gpu_fail(const char *function, int error, uint64_t after, uint64_t times);

#endif
