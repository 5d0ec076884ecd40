#include "cuda/hooks_driver.h"

#include "cuda/callers.h"
#include "cuda/hook_effects.h"
#include "cuda/usage.h"
#include "resolve.h"

#include <errno.h>
#include <string.h>

#define DRIVER_FILE "libcuda.so"
#define SLOTS       1024u /* 2^10, many times the number of functions: most of what is looked for is not there */

enum driver_function {
#define DRIVER(name, ...) DRIVER_##name,
#include "cuda/cuda_api.def"
    FUNCTIONS,
};

/* Texts, not pointers: each pointer would cost every child process a relocation. */
static const struct {
    char name[40], base[36]; /* as it is exported; as cuGetProcAddress knows it */
    int since;               /* which version it wants at least */
    int streams;             /* see cuda_api.def */
} functions[] = {
#define DRIVER(exported, known_as, version, twin, ...) {#exported, known_as, version, twin},
#include "cuda/cuda_api.def"
};

/* ---- the real functions ---- */

static const void *library; /* the driver's dynamic section; set last */
static void *reals[FUNCTIONS];
static cuda_result (*get_current)(cuda_context *);
static cuda_result (*get_device)(cuda_device *);
static cuda_result (*ask_pointer)(unsigned, const int *, void **, cuda_pointer); /* since CUDA 7.0 */
static cuda_result (*ask_stream)(cuda_stream, int *);                            /* since CUDA 10.0 */
static cuda_result (*get_pool)(cuda_pool *, cuda_device);                        /* since CUDA 11.3 */
static cuda_result (*get_attribute)(cuda_pool, int, void *);
static uint8_t slots[SLOTS];      /* 1 + the function whose real address hashes to here, or before */
static uint8_t name_slots[SLOTS]; /* the same of `base`; versions of one function are neighbours */

static unsigned slot_of(const void *address) {
    return (unsigned)((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 54);
}

/* Two characters tell most of the 440 names that a runtime asks for from ours, and ours from each other. */
static inline unsigned slot_of_name(const char *name) {
    bool is_long = name[0] && name[1] && name[2] && name[3] && name[4] && name[5] && name[6] && name[7] &&
                   name[8] && name[9];
    return is_long ? ((unsigned char)name[5] * 32u + (unsigned char)name[10]) % SLOTS : 0;
}

static void fill_slots(void) {
    for (unsigned at = 0; at < SLOTS; at++)
        __atomic_store_n(&slots[at], 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        unsigned of_name = slot_of_name(functions[i].base);
        for (; name_slots[of_name] && name_slots[of_name] != i + 1; of_name = (of_name + 1) % SLOTS) {
        }
        __atomic_store_n(&name_slots[of_name], (uint8_t)(i + 1), __ATOMIC_RELEASE);
        if (!reals[i]) continue;
        unsigned at = slot_of(reals[i]);
        for (; slots[at] && reals[slots[at] - 1] != reals[i]; at = (at + 1) % SLOTS) {
        }
        __atomic_store_n(&slots[at], (uint8_t)(i + 1), __ATOMIC_RELEASE);
    }
}

/* Two threads at once write the same; who looks meanwhile may miss a function. */
static void take(const struct resolve_library *driver) {
    for (unsigned i = 0; i < FUNCTIONS; i++)
        __atomic_store_n(&reals[i], resolve_symbol(driver, functions[i].name), __ATOMIC_RELEASE);
    *(void **)&get_current = resolve_symbol(driver, "cuCtxGetCurrent");
    *(void **)&get_device = resolve_symbol(driver, "cuCtxGetDevice");
    *(void **)&ask_pointer = resolve_symbol(driver, "cuPointerGetAttributes");
    *(void **)&ask_stream = resolve_symbol(driver, "cuStreamIsCapturing");
    *(void **)&get_pool = resolve_symbol(driver, "cuDeviceGetMemPool");
    *(void **)&get_attribute = resolve_symbol(driver, "cuMemPoolGetAttribute");
    fill_slots();
    __atomic_store_n(&library, driver->dynamic, __ATOMIC_RELEASE);
}

/* Finds the driver's library, unless that is done. */
static bool is_found(void) {
    if (__atomic_load_n(&library, __ATOMIC_ACQUIRE)) return true;
    int saved_errno = errno;
    struct resolve_library driver;
    bool loaded = resolve_library(DRIVER_FILE, &driver);
    if (loaded) take(&driver);
    errno = saved_errno;
    return loaded;
}

void hooks_driver_forget_unloaded(void) {
    const void *known = __atomic_load_n(&library, __ATOMIC_ACQUIRE);
    struct resolve_library holder;
    if (!known || resolve_library_at(known, &holder)) return;
    __atomic_store_n(&library, NULL, __ATOMIC_RELEASE);
    hook_calls_forget_contexts();
}

const void *hooks_driver_library(void) {
    return is_found() ? __atomic_load_n(&library, __ATOMIC_ACQUIRE) : NULL;
}

/* Which function has this address; FUNCTIONS: none. */
static unsigned function_at(const void *real) {
    for (unsigned at = slot_of(real); slots[at]; at = (at + 1) % SLOTS)
        if (reals[slots[at] - 1] == real) return slots[at] - 1u;
    return FUNCTIONS;
}

bool hooks_driver_has(const char *name) {
    if (name[2] < 'A' || name[2] > 'Z') return false; /* cudnn…, cublas… */
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (strcmp(functions[i].name, name) == 0) return true;
    return false;
}

struct hook_place hooks_driver_place(void) {
    const struct hook_place *only = __atomic_load_n(&hook_calls_only_place, __ATOMIC_ACQUIRE);
    if (__builtin_expect(only != NULL, 1)) return *only;
    struct hook_place place = {.device = LEDGER_NO_DEVICE};
    cuda_context context = NULL;
    cuda_device device;
    if (!is_found() || !get_current || get_current(&context) != CUDA_OK || !context) return place;
    place.context = context;
    if (hook_calls_device_of(context, &place.device)) return place;
    if (get_device && get_device(&device) == CUDA_OK) {
        place.device = (uint8_t)device;
        hook_calls_remember_device(context, place.device);
    }
    return place;
}

struct hook_place hooks_driver_place_of(uint64_t pointer) {
    static const int questions[] = {CUDA_POINTER_MEMORY, CUDA_POINTER_DEVICE};
    unsigned memory = 0; /* what is answered where the pointer is not known */
    int device;
    void *answers[] = {&memory, &device};
    bool told =
        is_found() && ask_pointer && ask_pointer(2, questions, answers, pointer) == CUDA_OK && memory != 0;
    if (!told) return (struct hook_place){.device = hooks_driver_place().device};
    if (memory == CUDA_MEMORY_OF_HOST)
        return (struct hook_place){.device = LEDGER_NO_DEVICE, .on_host = true};
    return (struct hook_place){.device = (uint8_t)device};
}

/* The legacy stream never is, and must not be asked while others are. */
__attribute__((noinline, cold)) bool hooks_driver_is_capturing(cuda_stream stream) {
    int status = CUDA_NOT_CAPTURING;
    if (!stream || stream == CUDA_STREAM_LEGACY || !is_found() || !ask_stream) return false;
    return ask_stream(stream, &status) == CUDA_OK && status != CUDA_NOT_CAPTURING;
}

/* The pool is looked up each time: the program may have set another one, and destroyed that. */
uint64_t hooks_driver_pool_reserved(uint8_t device) {
    cuda_pool pool = NULL;
    uint64_t reserved = 0;
    bool is_used = device < LEDGER_DEVICES && usage_async_devices() & 1u << device;
    if (!is_used || !is_found() || !get_pool || !get_attribute || get_pool(&pool, device) != CUDA_OK)
        return 0;
    return get_attribute(pool, CUDA_POOL_RESERVED, &reserved) == CUDA_OK ? reserved : 0;
}

/* ---- the wrappers: given out for functions that have been found ---- */

#define PLACE()               hooks_driver_place()
#define PLACE_ASYNC(pointer)  hooks_driver_place_async((cuda_pointer)(pointer))
#define PLACE_OF(pointer)     hooks_driver_place_of((cuda_pointer)(pointer))
#define PLACE_AFTER_FAILURE() hooks_driver_place()
#define CUTS_TENSORS(kind)                                                                                   \
    ((kind) == LEDGER_PHYSICAL && callers_find(__builtin_return_address(0), false).is_torch)
#define ASKED_BY_TORCH        false /* it asks the runtime */
#define IS_CAPTURING(stream)  hooks_driver_is_capturing(stream)
#define POOL_RESERVED(device) hooks_driver_pool_reserved(device)
#define RESOLVED(name, out, version, flags)                                                                  \
    *(out) = hooks_driver_wrapper_named(*(out), name, version, flags, __builtin_return_address(0))

#define DRIVER(name, base, since, streams, parameters, arguments, effect)                                    \
    static cuda_result hook_##name parameters {                                                              \
        cuda_result(*real) parameters;                                                                       \
        *(void **)&real = __atomic_load_n(&reals[DRIVER_##name], __ATOMIC_RELAXED);                          \
        HOOK_BODY(real, arguments, effect);                                                                  \
    }
#include "cuda/cuda_api.def"

/* Code, not a table: see above. */
static void *wrapper_of(unsigned function) {
    switch (function) {
#define DRIVER(name, ...)                                                                                    \
    case DRIVER_##name:                                                                                      \
        return (void *)hook_##name;
#include "cuda/cuda_api.def"
    }
    return NULL;
}

/* What comfy-aimdo patches (src/cuda-hooks-shared.h in 0.3 and later). It must get the driver's code, or it would sit above
 * the wrappers, where its retries look like failures of the program. */
static bool is_patched_by_aimdo(unsigned function) {
    return function == DRIVER_cuMemAlloc_v2 || function == DRIVER_cuMemFree_v2 ||
           function == DRIVER_cuMemAllocAsync || function == DRIVER_cuMemAllocAsync_ptsz ||
           function == DRIVER_cuMemFreeAsync || function == DRIVER_cuMemFreeAsync_ptsz;
}

static void *substitute(unsigned function, void *real, const void *caller) {
    if (is_patched_by_aimdo(function) && callers_find(caller, false).is_aimdo) return real;
    return wrapper_of(function);
}

void *hooks_driver_wrapper(void *real, const void *caller) {
    if (!real || !is_found()) return real;
    unsigned function = function_at(real);
    return function == FUNCTIONS ? real : substitute(function, real, caller);
}

/* ---- addresses that are not exported ---- */

static bool is_in_driver(const void *address) {
    struct resolve_library holder;
    return resolve_library_at(address, &holder) && holder.dynamic == library;
}

/* Which function a name means to a program of that version. Of versions to come nothing is known. */
static unsigned function_named(const char *name, int version, uint64_t flags) {
    unsigned best = FUNCTIONS;
    if (version > CUDA_NEWEST_KNOWN) return best;
    bool per_thread = flags & CUDA_PER_THREAD_STREAM;
    for (unsigned at = slot_of_name(name); name_slots[at]; at = (at + 1) % SLOTS) {
        unsigned i = name_slots[at] - 1u;
        if (functions[i].since > version || strcmp(functions[i].base, name) != 0) continue;
        if (functions[i].streams && per_thread != (functions[i].streams == 2)) continue;
        if (best == FUNCTIONS || functions[i].since > functions[best].since) best = i;
    }
    return best;
}

__attribute__((noinline)) static void *look_closer(void *real, const char *name, int version, uint64_t flags,
                                                   const void *caller) {
    if (!is_found()) return real;
    unsigned function = function_at(real);
    if (function == FUNCTIONS) function = function_named(name, version, flags);
    if (function == FUNCTIONS || !reals[function]) return real;
    return reals[function] == real || is_in_driver(real) ? substitute(function, real, caller) : real;
}

/* A runtime asks for 440 functions when it starts; most are not ours by their looks. */
void *hooks_driver_wrapper_named(void *real, const char *name, int version, uint64_t flags,
                                 const void *caller) {
    bool found = __atomic_load_n(&library, __ATOMIC_ACQUIRE);
    if (found && !slots[slot_of(real)] && !name_slots[slot_of_name(name)]) return real;
    return look_closer(real, name, version, flags, caller);
}
