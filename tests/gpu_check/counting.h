/* counting: a variant of the library whose hooks count their calls, for scripts/gpu-check. To be included (gcc -include)
 * before a file that makes hooks of cuda_api.def: every hook asks hook_calls_record first, here it is counted then. */
#ifndef GPU_CHECK_COUNTING_H
#define GPU_CHECK_COUNTING_H

#include "cuda/hook_effects.h"

struct counter {
    const char *hook; /* the wrapper's name: cudaMalloc, hook_cuMemAlloc_v2 */
    uint64_t calls;
    struct counter *next;
};

/* Any thread. */
void counting_note(struct counter *counter);

#define hook_calls_record()                                                                                  \
    ({                                                                                                       \
        static struct counter counter_ = {.hook = __func__};                                                 \
        counting_note(&counter_);                                                                            \
        hook_calls_record();                                                                                 \
    })

#endif
