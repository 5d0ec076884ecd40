/* The exported functions of ROCm's runtime: CUDA's effects on the ledger under other names. */
#include "cuda/callers.h"
#include "cuda/hook_effects.h"
#include "resolve.h"

#include <errno.h>

#define DEVICES 64

enum hip_function {
#define HIP(name, ...) HIP_##name,
#include "cuda/cuda_api.def"
    HIP_hipGetDevice, /* called, not hooked */
    FUNCTIONS,
};

static const char names[][32] = {
#define HIP(name, ...) #name,
#include "cuda/cuda_api.def"
    "hipGetDevice",
};

static void *reals[FUNCTIONS];

/* What stands next in the search order: there is one libamdhip64. Until it is loaded it is looked for again. */
static void *real_of(enum hip_function function) {
    void *real = __atomic_load_n(&reals[function], __ATOMIC_ACQUIRE);
    if (__builtin_expect(real != NULL, 1)) return real;
    int saved_errno = errno;
    const char *wanted[FUNCTIONS];
    void *found[FUNCTIONS];
    for (unsigned i = 0; i < FUNCTIONS; i++)
        wanted[i] = names[i];
    resolve_all_next(wanted, found, FUNCTIONS);
    for (unsigned i = 0; i < FUNCTIONS && !callers_unloading(); i++)
        __atomic_store_n(&reals[i], found[i], __ATOMIC_RELEASE);
    errno = saved_errno;
    return found[function];
}

/* HIP has no contexts that end one by one; each device has one thing that stands for all it was asked for. */
static const char contexts[DEVICES];

static struct hook_place place_of_device(uint8_t device) {
    return (struct hook_place){.context = device < DEVICES ? &contexts[device] : NULL, .device = device};
}

/* After a success only: up to ROCm 6 every call sets what hipGetLastError returns. */
static struct hook_place place(void) {
    cuda_result (*get_device)(int *);
    *(void **)&get_device = real_of(HIP_hipGetDevice);
    int device;
    if (!get_device || get_device(&device) != CUDA_OK) return place_of_device(LEDGER_NO_DEVICE);
    hook_calls_here.hip_device = (uint8_t)(device + 1);
    return place_of_device((uint8_t)device);
}

#define PLACE()               place()
#define PLACE_AFTER_FAILURE() place_of_device((uint8_t)(hook_calls_here.hip_device - 1))
#define CUTS_TENSORS(kind)                                                                                   \
    (((kind) == LEDGER_PLAIN || (kind) == LEDGER_PHYSICAL) &&                                                \
     callers_find(__builtin_return_address(0), false).is_torch)

#define ASKED_BY_TORCH        false
#define POOL_RESERVED(device) 0 /* not after a failure: see place */

#define HIP(name, parameters, arguments, effect)                                                             \
    __attribute__((visibility("default"))) cuda_result name parameters;                                      \
    cuda_result name parameters {                                                                            \
        cuda_result(*real) parameters;                                                                       \
        *(void **)&real = real_of(HIP_##name);                                                               \
        if (__builtin_expect(!real, 0)) return CUDA_NOT_INITIALIZED;                                         \
        HOOK_BODY(real, arguments, effect);                                                                  \
    }
#include "cuda/cuda_api.def"

void hooks_hip_forget(void) {
    hook_calls_forget(reals, FUNCTIONS);
}
