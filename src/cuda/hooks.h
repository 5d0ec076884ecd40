/* hooks: the functions of CUDA, HIP and PyTorch's c10 that stand between the program and the real ones, and report to the
 * ledger (cuda/cuda_api.def lists them, cuda/hook_effects.h says what they report).
 *
 * They are exported from the moment the library is loaded, and pass everything on untouched until cuda_hooks_start. */
#ifndef COMFYDD_HOOKS_H
#define COMFYDD_HOOKS_H

#include <stdbool.h>

/* Begins recording. `torch_caches`: whether PyTorch's allocator caches. Once, before the program uses its GPUs: what is
 * allocated already stays unknown. */
void cuda_hooks_start(bool torch_caches);

/* In the child of a fork: forgets the parent's contexts and goes on. The ledger is told by itself (comfy/memory). */
void cuda_hooks_forked(void);

/* The real dlsym, which the exported one jumps to; NULL leaves it to be found when it is needed. */
void cuda_hooks_set_dlsym(void *real);

#endif
