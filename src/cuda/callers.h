/* callers: who calls a hook, told by its return address; and CUDA's runtimes, of which a program may have several.
 *
 * A library's calls go to the runtime that it is linked with (torch's libcudart.so.13 beside another extension's
 * libcudart.so.12), or to whatever stood before it in the search order (comfy-aimdo up to 0.2.9, torch_memory_saver). What
 * is found out about a place in the program is remembered, so that a call costs some ten instructions.
 *
 * Any thread. Takes the loader's lock (of dl_iterate_phdr) when it meets a caller for the first time, nothing else. Entries
 * are never dropped: a caller keeps the runtime that it needs loaded, and another library that is loaded where one was
 * unloaded, with a call at the very same place, would have to be linked with another runtime to be led astray. */
#ifndef COMFYDD_CALLERS_H
#define COMFYDD_CALLERS_H

#include <stdbool.h>
#include <stddef.h>

/* RUNTIME_cudaMalloc and so on: the functions of a runtime that are hooked. */
enum runtime_function {
#define RUNTIME(name, ...) RUNTIME_##name,
#include "cuda/cuda_api.def"
    RUNTIME_FUNCTIONS,
};

struct caller {
    void *const *runtime; /* by enum runtime_function; NULL: there is none */
    bool is_torch;        /* PyTorch's caching allocator, which reports what it does with what it allocates */
    bool is_aimdo;        /* comfy-aimdo, which patches the functions whose addresses it is given */
};

/* With `wants_runtime` a caller that had none is looked at again: it may have come. */
struct caller callers_find(const void *return_address, bool wants_runtime);

/* Whether PyTorch's allocator caches (see PYTORCH_NO_CUDA_MEMORY_CACHING). Before the first call of a hook by it. */
void callers_set_torch_caches(bool caches);

#endif
