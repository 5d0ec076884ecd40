/* calls: counts every call of an exported function, and logs it and every change of the books to the file FAKE_CUDA_LOG,
 * which is appended to: children and further processes write it too. Any thread; errno is left alone. */
#ifndef FAKE_CALLS_H
#define FAKE_CALLS_H

#include <stdatomic.h>
#include <stdbool.h>

/* One per exported function, static, made where the function is. */
struct call_site {
    const char *name;
    bool stub;    /* does nothing */
    bool anytime; /* works before the GPU is initialised, and after a fork */
    atomic_ulong count;
    struct call_site *next;
};

/* Those called so far, linked by `next`. */
const struct call_site *calls_first(void);

/* What the call has to fail with, 0 when it may go on. */
int calls_note(struct call_site *site);

/* The driver was initialised: from now on, calls that are not `anytime` work, but not in children of a fork. */
void calls_initialised(void);

/* Adds a line to the log, when there is one. */
void calls_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
