/* callers: who calls a hook, told by its return address; and CUDA's runtimes, of which a program may have several.
 *
 * A library's calls go to the runtime that it is linked with (torch's libcudart.so.13 beside another extension's
 * libcudart.so.12), or to whatever stood before it in the search order (comfy-aimdo up to 0.2.9, torch_memory_saver). What
 * is found out about a place in the program is remembered, so that a call costs some ten instructions.
 *
 * Any thread. Takes the loader's lock (of dl_iterate_phdr) when it meets a caller for the first time, nothing else. */
#ifndef COMFYDD_CALLERS_H
#define COMFYDD_CALLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* What is known of return addresses. For callers_find alone. */
#define CALLERS_SLOTS 1024u /* a power of two; programs have some tens of places that call */
struct callers_slot {
    _Alignas(32) uint64_t address; /* set last; 0: free, 1: being filled */
    struct caller caller;          /* its runtime may come later */
};
extern struct callers_slot callers_slots[CALLERS_SLOTS];

/* One that is not in its first slot, or not known at all. */
struct caller callers_look_up(const void *return_address, bool wants_runtime);

/* The runtime is looked for only with `wants_runtime`, and again as long as there is none: it may come. */
static inline struct caller callers_find(const void *return_address, bool wants_runtime) {
    uint64_t address = (uint64_t)(uintptr_t)return_address;
    const struct callers_slot *slot = &callers_slots[address % CALLERS_SLOTS];
    struct caller caller;
    if (__builtin_expect(__atomic_load_n(&slot->address, __ATOMIC_ACQUIRE) != address, 0))
        return callers_look_up(return_address, wants_runtime);
    caller.runtime = __atomic_load_n(&slot->caller.runtime, __ATOMIC_ACQUIRE);
    if (__builtin_expect(wants_runtime && !caller.runtime, 0))
        return callers_look_up(return_address, wants_runtime);
    caller.is_torch = slot->caller.is_torch;
    caller.is_aimdo = slot->caller.is_aimdo;
    return caller;
}

/* Around what may unload libraries. At its beginning everybody's runtime is forgotten, and none is remembered until its end:
 * another thread may load a library where one has just been before dlclose comes back. Pairs of them may overlap. */
void callers_unloading_begins(void);
void callers_unloading_ends(void);

/* In the child of a fork: other threads that were between the two are not there. */
void callers_forked(void);

/* Between the two, when something has gone: forgets it. A caller that calls now keeps what it needs loaded. In
 * resolve_undisturbed: what is found gone must not come back, with new callers, before it is forgotten. */
void callers_forget_unloaded(void);

/* Whether something is being unloaded: then nothing that is found in libraries is to be remembered. */
bool callers_unloading(void);

/* Whether PyTorch's allocator caches (see PYTORCH_NO_CUDA_MEMORY_CACHING). Before the first call of a hook by it. */
void callers_set_torch_caches(bool caches);

#endif
