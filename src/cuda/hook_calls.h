/* hook_calls: what a hooked call means for the ledger; what the generated wrappers (hooks_runtime, hooks_driver, hooks_hip)
 * have in common.
 *
 * Hooks nest: cudaMalloc calls cuMemAlloc_v2, which is hooked too, and comfy-aimdo may free weights in between. So nothing
 * is switched off inside of another hook; each reports what it sees, and the ledger takes an allocation once. Only failures
 * are the outermost call's alone: what an inner call could not get may have been got in another way.
 *
 * Any thread, in any CUDA call. Calls of the driver from here: cuCtxGetCurrent, cuCtxGetDevice; once a stream has captured,
 * cuStreamIsCapturing; where the program has named a pool, or has several devices or contexts,
 * cuPointerGetAttributes; where it has asked how much memory is free after a failure, cuDeviceGetMemPool and
 * cuMemPoolGetAttribute; of HIP: hipGetDevice. No malloc, no lock but the ledger's, errno preserved. */
#ifndef COMFYDD_HOOK_CALLS_H
#define COMFYDD_HOOK_CALLS_H

#include "cuda/cuda_abi.h"
#include "cuda/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an allocation is made. */
struct hook_place {
    const void *context; /* whose end frees it; NULL: none's, or unknown */
    uint8_t device;      /* or LEDGER_NO_DEVICE */
    bool on_host;        /* of a pool's memory: it is the host's (CUDA 13) */
};

/* Whether hooks record; until then they only pass on. */
extern bool hook_calls_on __attribute__((visibility("hidden")));

static inline bool hook_calls_record(void) {
    return __builtin_expect(__atomic_load_n(&hook_calls_on, __ATOMIC_RELAXED), 1);
}

/* Whether a stream has ever captured. Then what is allocated on one may be a graph's, and who is asked is the driver. */
extern bool hook_calls_captured __attribute__((visibility("hidden")));

static inline bool hook_calls_captures(void) {
    return __builtin_expect(__atomic_load_n(&hook_calls_captured, __ATOMIC_RELAXED), 0);
}
static inline void hook_calls_capture_began(void) {
    __atomic_store_n(&hook_calls_captured, true, __ATOMIC_RELAXED);
}

/* The hooked calls that this thread is inside of. Plain data, so that it is there for hooks in a thread's last moments. */
struct hook_calls_here {
    uint64_t added; /* the address that the outermost one's inner calls have added last */
    /* The address that an outer one has taken out, and is freeing now; 0: none, and freeing that does nothing. */
    uint64_t freed;
    uint32_t depth;
    uint8_t hip_device; /* 1 + the one that HIP told last; 0: none yet, which as 0 - 1 is LEDGER_NO_DEVICE */
    uint8_t segment_kind; /* what the outermost one's caller cuts tensors from, or LEDGER_KINDS */
};
extern __thread struct hook_calls_here hook_calls_here;

/* Around an allocating call. `segment`: by PyTorch's allocator, to cut tensors from it. */
static inline void hook_calls_begin(enum ledger_kind kind, bool segment) {
    struct hook_calls_here *here = &hook_calls_here;
    if (here->depth == 0) {
        here->added = 0;
        here->segment_kind = segment ? kind : LEDGER_KINDS;
    }
    here->depth++;
}

/* Whether an address is one, and no inner call has added it. */
static inline bool hook_calls_is_new(uint64_t address) {
    return address != 0 && address != hook_calls_here.added;
}
static inline void hook_calls_allocated(enum ledger_space space, enum ledger_kind kind, uint64_t address,
                                        uint64_t size, struct hook_place place) {
    struct hook_calls_here *here = &hook_calls_here;
    bool may_be_segment = kind == LEDGER_PLAIN || kind == LEDGER_PHYSICAL;
    if (size == 0) return;
    if (kind == LEDGER_ASYNC && __builtin_expect(place.on_host, 0)) kind = LEDGER_PINNED;
    here->added = address;
    struct ledger_what what = {.device = place.device,
                               .space = space,
                               .kind = kind,
                               .segment = may_be_segment && kind == here->segment_kind};
    if (space == LEDGER_HANDLE)
        what.holds = 1;
    else
        what.context = ledger_context(place.context);
    ledger_add(address, size, what);
}

/* Whether the call, which has asked for `size` bytes, has failed in the eyes of the program: then the place is wanted. */
static inline bool hook_calls_end(cuda_result result) {
    return --hook_calls_here.depth == 0 && __builtin_expect(result == CUDA_OUT_OF_MEMORY, 0);
}
/* Nothing when it is host memory that could not be had. */
void hook_calls_failed(enum ledger_kind kind, uint64_t size, struct hook_place place);

/* Whether an outer call that frees has done what is to be done. */
static inline bool hook_calls_is_freed(uint64_t address) {
    return address == hook_calls_here.freed;
}

/* Before any other call that frees; true with the entry in *removed when it is to be given to hook_calls_freed afterwards. */
static inline bool hook_calls_freeing(enum ledger_space space, uint64_t address,
                                      struct ledger_entry *removed) {
    if (!ledger_remove(space, address, removed)) return false;
    hook_calls_here.freed = address;
    return true;
}

static inline void hook_calls_freed(const struct ledger_entry *removed, cuda_result result) {
    hook_calls_here.freed = 0;
    if (__builtin_expect(result != CUDA_OK, 0)) ledger_restore(removed);
}

/* The one place where the program can allocate: on a device whose primary context is the only context that there has been.
 * NULL: there are several, or none is known. Nearly every program has one, and asking the driver for the thread's context
 * costs more than all the rest of a hook. */
extern const struct hook_place *hook_calls_only_place __attribute__((visibility("hidden")));

/* The primary contexts of devices. Counted from the start on; a device that was used before is taken to be in use for
 * ever. */
void hook_calls_primary_retained(const void *context, int device);
void hook_calls_primary_released(int device);
void hook_calls_primary_reset(int device);
/* A context that is no primary one. */
void hook_calls_context_began(const void *context);
/* The context as such, or that of cudaDeviceReset. */
void hook_calls_context_ended(const void *context);
void hook_calls_device_reset(struct hook_place before);

/* What cuCtxGetDevice has said of a context, so that it is not asked again; false when it has not. */
bool hook_calls_device_of(const void *context, uint8_t *device);
void hook_calls_remember_device(const void *context, uint8_t device);

/* Forgets real functions; pages that hold none are not written to. */
void hook_calls_forget(void *reals[], unsigned count);

/* Of the files of hooks, each for the real functions that it has looked up: see hooks_dlclose.c. */
void hooks_driver_forget_unloaded(void); /* in resolve_undisturbed */
void hooks_linked_forget(void);
void hooks_hip_forget(void);
void hooks_c10_forget(void);

/* The driver has been unloaded, and its contexts with it. What they held stays in the ledger. */
void hook_calls_forget_contexts(void);

/* In the child of a fork. */
void hook_calls_forked(void);

/* Bytes of arrays; 0 when not known, or without memory of their own. */
uint64_t hook_calls_array_bytes(uint64_t element_bits, size_t width, size_t height, size_t depth,
                                unsigned levels, unsigned flags);
unsigned hook_calls_format_bits(int format);

#endif
