#include "cuda/callers.h"

#include "resolve.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define TRIED 8 /* slots for a place; without room it is looked up each time */

/* ---- runtimes ---- */

static const char names[][40] = {
#define RUNTIME(name, ...) #name,
#include "cuda/cuda_api.def"
};

static const void *runtimes[CALLERS_RUNTIMES]; /* which libraries: their dynamic sections; NULL: free */
void *callers_functions[CALLERS_RUNTIMES][RUNTIME_FUNCTIONS];

static bool is_runtime(const struct resolve_library *library) {
    return resolve_symbol(library, "cudaRuntimeGetVersion") != NULL;
}

static bool see_runtime(const struct resolve_library *library, void *found) {
    if (!is_runtime(library)) return false;
    *(struct resolve_library *)found = *library;
    return true;
}

/* Whose cudaMalloc a library would get, were we not there: its own, the one it is linked with, else the first. */
static bool runtime_of(const struct resolve_library *caller, struct resolve_library *runtime) {
    if (caller && caller->dynamic != _DYNAMIC && is_runtime(caller)) {
        *runtime = *caller;
        return true;
    }
    const char *needed = caller ? resolve_needed(caller, "libcudart") : NULL;
    return (needed && resolve_library(needed, runtime)) || resolve_each(see_runtime, runtime);
}

struct interposed {
    const void *runtime; /* its dynamic section */
    void **functions;
};

/* Libraries between us and the runtime that have some of its functions, but are none. */
static bool see_interposer(const struct resolve_library *library, void *context) {
    const struct interposed *interposed = context;
    if (library->dynamic == interposed->runtime) return true;
    if (is_runtime(library)) return false;
    for (size_t i = 0; i < RUNTIME_FUNCTIONS; i++) {
        void *found = resolve_symbol(library, names[i]);
        if (found && !interposed->functions[i]) interposed->functions[i] = found;
    }
    return false;
}

static void fill(void **functions, const struct resolve_library *runtime) {
    void *found[RUNTIME_FUNCTIONS] = {NULL};
    struct interposed interposed = {runtime->dynamic, found};
    if (!resolve_each(see_interposer, &interposed)) memset(found, 0, sizeof found); /* it stands before us */
    for (size_t i = 0; i < RUNTIME_FUNCTIONS; i++) {
        if (!found[i]) found[i] = resolve_symbol(runtime, names[i]);
        __atomic_store_n(&functions[i], found[i], __ATOMIC_RELEASE);
    }
}

/* 1 + its index, 0 without one. Filled anew for every new caller: an interposer may have come. */
static unsigned find_runtime(const struct resolve_library *caller) {
    struct resolve_library runtime;
    if (!runtime_of(caller, &runtime)) return 0;
    for (unsigned i = 0; i < CALLERS_RUNTIMES; i++) {
        const void *known = NULL;
        if (__atomic_compare_exchange_n(&runtimes[i], &known, runtime.dynamic, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE) ||
            known == runtime.dynamic || i == CALLERS_RUNTIMES - 1) {
            fill(callers_functions[i], &runtime);
            return i + 1;
        }
    }
    return 0;
}

/* ---- callers ---- */

uint64_t callers_slots[CALLERS_SLOTS];
static bool torch_caches;

static const char reports[][64] = {
#define C10(name) #name,
#include "cuda/cuda_api.def"
};

void callers_set_torch_caches(bool caches) {
    __atomic_store_n(&torch_caches, caches, __ATOMIC_RELAXED);
}

static bool begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_torch(const struct resolve_library *caller) {
    const char *file = resolve_file_name(caller);
    return (begins(file, "libc10_cuda.so") || begins(file, "libc10_hip.so")) &&
           __atomic_load_n(&torch_caches, __ATOMIC_RELAXED) && resolve_in("libc10.so", reports[0]);
}

static uint64_t look_up(const void *return_address) {
    int saved_errno = errno;
    struct resolve_library library, *caller = resolve_library_at(return_address, &library) ? &library : NULL;
    uint64_t known = (uint64_t)(uintptr_t)return_address << CALLERS_ADDRESS_SHIFT;
    known |= (uint64_t)find_runtime(caller) << CALLERS_RUNTIME_SHIFT;
    if (caller && is_torch(caller)) known |= CALLER_IS_TORCH;
    if (caller && begins(resolve_file_name(caller), "aimdo")) known |= CALLER_IS_AIMDO;
    errno = saved_errno;
    return known;
}

struct caller callers_look_up(const void *return_address, bool wants_runtime) {
    uint64_t address = (uint64_t)(uintptr_t)return_address, first = callers_first_slot(address);
    for (uint64_t i = first; i < first + TRIED; i++) {
        uint64_t *slot = &callers_slots[i % CALLERS_SLOTS], known = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        bool is_it = known >> CALLERS_ADDRESS_SHIFT == address;
        struct caller caller = callers_make(known);
        if (is_it && (caller.runtime || !wants_runtime)) return caller;
        if (known && !is_it) continue;
        uint64_t found = look_up(return_address);
        if (address >> (64 - CALLERS_ADDRESS_SHIFT) == 0)
            __atomic_compare_exchange_n(slot, &known, found, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
        return callers_make(found);
    }
    return callers_make(look_up(return_address));
}
