/* calls: counts and logs every call of an exported function, and makes those fail that a test wants to fail.
 *
 *   FAKE_CUDA_LOG    file that gets a line per call, and one per change of the books
 *   FAKE_CUDA_STATS  file that gets a line of JSON when the process exits
 *   FAKE_CUDA_FAIL   NAME:ERROR[:TIMES[:AFTER]], several with commas; see fake_gpu_fail
 *
 * Both files are appended to: children and further processes write them too. Any thread; errno is left alone. */
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

/* What the call has to fail with, 0 when it may go on. */
int calls_note(struct call_site *site);

/* The driver was initialised: from now on, calls that are not `anytime` work, but not in children of a fork. */
void calls_initialised(void);

/* Adds a line to the log, when there is one. */
void calls_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
