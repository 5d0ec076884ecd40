/* The driver's functions for programs that are linked with its library and call them by name (PyTorch's libcaffe2_nvrtc.so,
 * or an extension's own allocator).
 *
 * They are exported for such calls alone, as an old version of functions that have no newer one: a reference without a
 * version binds to the first version that a library has, whatever came later, and dlsym does not find it. (glibc,
 * elf/dl-lookup.c, check_match; all since 2.1.) So a program that looks whether there is a driver does not find one
 * here, and one that patches the code of what it has found patches the driver's. A driver with versions would be called
 * past us. */
#include "cuda/callers.h"
#include "cuda/hook_effects.h"
#include "cuda/hooks_driver.h"
#include "resolve.h"

#include <errno.h>

enum linked_function {
#define DRIVER(name, ...) LINKED_##name,
#include "cuda/cuda_api.def"
    FUNCTIONS,
};

static void *reals[FUNCTIONS];

/* What the program would call without us: the driver's, or another interposer's. NULL in a program that only would, had it a
 * driver. */
static void *real_of(enum linked_function function, const char *name) {
    void *real = __atomic_load_n(&reals[function], __ATOMIC_ACQUIRE);
    if (__builtin_expect(real != NULL, 1)) return real;
    int saved_errno = errno;
    real = resolve_next(name);
    if (!callers_unloading()) __atomic_store_n(&reals[function], real, __ATOMIC_RELEASE);
    errno = saved_errno;
    return real;
}

#define PLACE()               hooks_driver_place()
#define PLACE_ASYNC(pointer)  hooks_driver_place_async((cuda_pointer)(pointer))
#define PLACE_OF(pointer)     hooks_driver_place_of((cuda_pointer)(pointer))
#define PLACE_AFTER_FAILURE() hooks_driver_place()
#define CUTS_TENSORS(kind)    false
#define ASKED_BY_TORCH        false
#define IS_CAPTURING(stream)  hooks_driver_is_capturing(stream)
#define POOL_RESERVED(device) hooks_driver_pool_reserved(device)
#define RESOLVED(name, out, version, flags)                                                                  \
    *(out) = hooks_driver_wrapper_named(*(out), name, version, flags, __builtin_return_address(0))

#define DRIVER(name, base, since, streams, parameters, arguments, effect)                                    \
    __asm__(".symver hooks_linked_" #name ", " #name "@COMFYDD_LINKED");                                     \
    __attribute__((visibility("default"), used)) cuda_result hooks_linked_##name parameters;                 \
    cuda_result hooks_linked_##name parameters {                                                             \
        cuda_result(*real) parameters;                                                                       \
        *(void **)&real = real_of(LINKED_##name, #name);                                                     \
        if (__builtin_expect(!real, 0)) return CUDA_NOT_INITIALIZED;                                         \
        HOOK_BODY(real, arguments, effect);                                                                  \
    }
#include "cuda/cuda_api.def"

void hooks_linked_forget(void) {
    hook_calls_forget(reals, FUNCTIONS);
}
