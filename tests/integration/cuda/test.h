/* What the programs on the fake GPU share: they end with status 1 and a line on stderr at the first thing that is not so. */
#ifndef CUDA_TEST_H
#define CUDA_TEST_H

#include "fake_gpu.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                          \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* For results: prints the one that came. */
#define MUST_GIVE(expected, call)                                                                            \
    do {                                                                                                     \
        int result_ = (int)(call);                                                                           \
        if (result_ != (int)(expected)) {                                                                    \
            fprintf(stderr, "%s:%d: %s gave %d, not %d\n", __FILE__, __LINE__, #call, result_,               \
                    (int)(expected));                                                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static inline struct fake_gpu_books books_of(int device) {
    struct fake_gpu_books books;
    MUST(fake_gpu_books(device, &books));
    return books;
}

#endif
