/* hooks_driver: the functions of CUDA's driver that are hooked: the real ones, the wrappers, and which belongs to which.
 *
 * A wrapper is given out in place of the address of the real function, wherever a program asks for that: dlsym,
 * cuGetProcAddress, cudaGetDriverEntryPoint. By address, because names do not tell: what cuGetProcAddress gives for a name
 * depends on the version asked for (HAMi-core issues 57, 65, 233, 320). Programs that are linked with the driver's library
 * itself: cuda/hooks_linked.c.
 *
 * Any thread; takes the loader's lock until the driver's library has been found. */
#ifndef COMFYDD_HOOKS_DRIVER_H
#define COMFYDD_HOOKS_DRIVER_H

#include "cuda/hook_calls.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether a hooked function is exported by that name, which begins with "cu". */
bool hooks_driver_has(const char *name);

/* The wrapper to give the caller for this address of the driver; `real` itself when there is none, or when the caller is
 * comfy-aimdo and patches the code at what it is given. */
void *hooks_driver_wrapper(void *real, const void *caller);

/* The same for what cuGetProcAddress has given for a name: also where that is not the address that the library exports. */
void *hooks_driver_wrapper_named(void *real, const char *name, int version, uint64_t flags,
                                 const void *caller);

/* Which library the driver is, as long as it stays where it is; NULL: none is loaded. */
const void *hooks_driver_library(void);

/* Whether what is done on the stream becomes a graph. */
bool hooks_driver_is_capturing(cuda_stream stream);

/* Bytes that the device's current stream-ordered pool has reserved; 0 when nothing was allocated from one, or the driver
 * does not tell. Two questions to the driver: in a hook only right after it has answered one of the program's that is
 * like them. */
uint64_t hooks_driver_pool_reserved(uint8_t device);

/* The calling thread's context and device. */
struct hook_place hooks_driver_place(void);

/* Where stream-ordered memory is, which is no context's, as the driver tells; where it does not, on the calling thread's
 * device. Of a pool that the program has named, which may be anybody's; of a stream, whose device is known when there is
 * but one. */
struct hook_place hooks_driver_place_of(uint64_t pointer);
static inline struct hook_place hooks_driver_place_async(uint64_t pointer) {
    const struct hook_place *only = __atomic_load_n(&hook_calls_only_place, __ATOMIC_ACQUIRE);
    if (__builtin_expect(only != NULL, 1)) return (struct hook_place){.device = only->device};
    return hooks_driver_place_of(pointer);
}

#endif
