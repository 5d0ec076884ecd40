#include "cuda/callers.h"

#include "resolve.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define RUNTIMES 32 /* further ones share the last */
#define TRIED    8  /* slots for a place; without room it is looked up each time */

/* ---- runtimes ---- */

static const char names[][40] = {
#define RUNTIME(name, ...) #name,
#include "cuda/cuda_api.def"
};

static const void *runtimes[RUNTIMES]; /* which libraries: their dynamic sections; NULL: free */
static void *functions_of[RUNTIMES][RUNTIME_FUNCTIONS];

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

/* Its functions, NULL without one. Filled anew for every new caller: an interposer may have come. */
static void *const *find_runtime(const struct resolve_library *caller) {
    struct resolve_library runtime;
    if (!runtime_of(caller, &runtime)) return NULL;
    for (unsigned i = 0; i < RUNTIMES; i++) {
        const void *known = NULL;
        if (__atomic_compare_exchange_n(&runtimes[i], &known, runtime.dynamic, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE) ||
            known == runtime.dynamic || i == RUNTIMES - 1) {
            fill(functions_of[i], &runtime);
            return functions_of[i];
        }
    }
    return NULL;
}

/* ---- callers ---- */

struct callers_slot callers_slots[CALLERS_SLOTS];
static bool any_remembered, torch_caches;
static unsigned unloading; /* calls of dlclose that are under way */

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

static struct caller look_up(const void *return_address, bool wants_runtime) {
    int saved_errno = errno;
    struct resolve_library library, *in = resolve_library_at(return_address, &library) ? &library : NULL;
    struct caller caller = {.runtime = wants_runtime ? find_runtime(in) : NULL,
                            .is_torch = in && is_torch(in),
                            .is_aimdo = in && begins(resolve_file_name(in), "aimdo")};
    errno = saved_errno;
    return caller;
}

enum { FREE, BEING_FILLED }; /* instead of an address */

static void put(struct callers_slot *slot, const struct caller *caller) {
    slot->caller.is_torch = caller->is_torch;
    slot->caller.is_aimdo = caller->is_aimdo;
    __atomic_store_n(&slot->caller.runtime, caller->runtime, __ATOMIC_RELEASE);
}

/* Puts what has been found where it is found again; a slot that another thread fills is left to that one. */
static void remember(struct callers_slot *slot, uint64_t address, const struct caller *caller) {
    uint64_t before = FREE;
    if (callers_unloading()) return;
    if (__atomic_compare_exchange_n(&slot->address, &before, BEING_FILLED, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        __atomic_store_n(&any_remembered, true, __ATOMIC_RELAXED);
        put(slot, caller);
        __atomic_store_n(&slot->address, address, __ATOMIC_RELEASE);
    } else if (before == address && caller->runtime) {
        put(slot, caller);
    }
}

struct caller callers_look_up(const void *return_address, bool wants_runtime) {
    uint64_t address = (uint64_t)(uintptr_t)return_address;
    for (unsigned i = 0; i < TRIED; i++) {
        struct callers_slot *slot = &callers_slots[(address + i) % CALLERS_SLOTS];
        uint64_t holds = __atomic_load_n(&slot->address, __ATOMIC_ACQUIRE);
        if (holds != FREE && holds != address) continue;
        if (holds == address) {
            struct caller caller = {.runtime = __atomic_load_n(&slot->caller.runtime, __ATOMIC_ACQUIRE),
                                    .is_torch = slot->caller.is_torch,
                                    .is_aimdo = slot->caller.is_aimdo};
            if (caller.runtime || !wants_runtime) return caller;
        }
        struct caller found = look_up(return_address, wants_runtime);
        remember(slot, address, &found);
        return found;
    }
    return look_up(return_address, wants_runtime);
}

bool callers_unloading(void) {
    return __atomic_load_n(&unloading, __ATOMIC_SEQ_CST) != 0;
}

void callers_unloading_begins(void) {
    __atomic_add_fetch(&unloading, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&any_remembered, __ATOMIC_RELAXED)) return;
    for (unsigned i = 0; i < CALLERS_SLOTS; i++)
        if (__atomic_load_n(&callers_slots[i].address, __ATOMIC_RELAXED) != FREE)
            __atomic_store_n(&callers_slots[i].caller.runtime, NULL, __ATOMIC_RELEASE);
}

void callers_unloading_ends(void) {
    __atomic_sub_fetch(&unloading, 1, __ATOMIC_SEQ_CST);
}

void callers_forked(void) {
    unloading = 0; /* those were other threads' */
}

/* No more than whether it is there may be asked: another thread may be unloading it. */
static bool is_gone(const void *address) {
    struct resolve_library holder;
    return !resolve_library_at(address, &holder);
}

/* Who has found it before it was unloaded, and remembered it since, is no longer to. */
static void forget_runtime(unsigned index) {
    for (unsigned i = 0; i < CALLERS_SLOTS; i++) {
        void *const *gone = functions_of[index];
        __atomic_compare_exchange_n(&callers_slots[i].caller.runtime, &gone, NULL, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED);
    }
    __atomic_store_n(&runtimes[index], NULL, __ATOMIC_RELEASE);
}

void callers_forget_unloaded(void) {
    for (unsigned i = 0; i < RUNTIMES; i++) {
        const void *known = __atomic_load_n(&runtimes[i], __ATOMIC_ACQUIRE);
        if (known && is_gone(known)) forget_runtime(i);
    }
    for (unsigned i = 0; i < CALLERS_SLOTS; i++) {
        uint64_t address = __atomic_load_n(&callers_slots[i].address, __ATOMIC_ACQUIRE);
        if (address > BEING_FILLED && is_gone((const void *)(uintptr_t)address))
            __atomic_store_n(&callers_slots[i].address, FREE, __ATOMIC_RELEASE);
    }
}
