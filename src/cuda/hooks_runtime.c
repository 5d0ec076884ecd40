/* The exported functions of CUDA's runtime. Unversioned: they satisfy callers of every version of it. */
#include "cuda/callers.h"
#include "cuda/hook_effects.h"
#include "cuda/hooks_driver.h"

#define PLACE()               hooks_driver_place()
#define PLACE_ASYNC(pointer)  hooks_driver_place_async((cuda_pointer)(pointer))
#define PLACE_OF(pointer)     hooks_driver_place_of((cuda_pointer)(pointer))
#define PLACE_AFTER_FAILURE() hooks_driver_place()
#define CUTS_TENSORS(kind)    ((kind) == LEDGER_PLAIN && caller.is_torch)
#define ASKED_BY_TORCH        caller.is_torch
#define IS_CAPTURING(stream)  hooks_driver_is_capturing(stream)
#define POOL_RESERVED(device) hooks_driver_pool_reserved(device)
#define RESOLVED(name, out, version, flags)                                                                  \
    *(out) = hooks_driver_wrapper_named(*(out), name, version, flags, __builtin_return_address(0))

#define RUNTIME(name, parameters, arguments, effect)                                                         \
    __attribute__((visibility("default"))) cuda_result name parameters;                                      \
    cuda_result name parameters {                                                                            \
        struct caller caller = callers_find(__builtin_return_address(0), true);                              \
        cuda_result(*real) parameters = NULL;                                                                \
        if (caller.runtime)                                                                                  \
            *(void **)&real = __atomic_load_n(&caller.runtime[RUNTIME_##name], __ATOMIC_RELAXED);            \
        if (__builtin_expect(!real, 0)) return CUDA_NOT_INITIALIZED;                                         \
        HOOK_BODY(real, arguments, effect);                                                                  \
    }
#include "cuda/cuda_api.def"
