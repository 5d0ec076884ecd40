/* The exported dlclose. Real functions of a library that has been unloaded must not be called again when it comes back at
 * another place (a program that only looks whether there is a GPU; a plugin that is linked with the driver and closed), so
 * what was found out is forgotten: before, because another thread may load something at the same place before dlclose comes
 * back, and what is kept for longer afterwards, when it is known what has gone.
 *
 * The real one is looked up when it is needed, not at the start: that takes the loader's lock, but so does dlclose. */
#include "cuda/callers.h"
#include "cuda/hook_calls.h"
#include "resolve.h"

#include <errno.h>

static void before(void) {
    callers_unloading_begins();
    hooks_linked_forget();
    hooks_hip_forget();
    hooks_c10_forget();
}

static void forget_unloaded(void) {
    hooks_driver_forget_unloaded();
    callers_forget_unloaded();
}

/* Libraries also go on other ways (a dlopen that fails): those are noticed at the next call. */
static void after(void) {
    static unsigned long long known;
    unsigned long long unloaded = resolve_unloaded();
    if (__atomic_exchange_n(&known, unloaded, __ATOMIC_ACQ_REL) != unloaded)
        resolve_undisturbed(forget_unloaded);
    callers_unloading_ends();
}

__attribute__((visibility("default"))) int dlclose(void *library);
__attribute__((visibility("default"))) int dlclose(void *library) {
    static int (*known)(void *);
    int saved_errno = errno;
    int (*real)(void *) = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!real) *(void **)&real = resolve_next("dlclose"); /* libdl.so.2 (glibc before 2.34) may come late */
    errno = saved_errno;
    if (!real) return -1;
    __atomic_store_n(&known, real, __ATOMIC_RELAXED);
    before();
    errno = saved_errno;
    int result = real(library);
    saved_errno = errno;
    after();
    errno = saved_errno;
    return result;
}
