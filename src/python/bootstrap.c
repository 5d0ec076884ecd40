#include "python/bootstrap.h"

#include "python/discovery.h"
#include "python/python_api.h"

#include <errno.h>

enum state { IDLE, ARMED, BEGUN };
static int state; /* enum state; leaves ARMED once, under the GIL */
static void (*begin_function)(void);

void bootstrap_arm(void (*begin)(void)) {
    begin_function = begin;
    __atomic_store_n(&state, ARMED, __ATOMIC_RELEASE);
}

bool bootstrap_begun(void) {
    return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == BEGUN;
}

/* Py_Finalize is done. Should the program make another interpreter, nothing begins there: we hold objects of the one that
 * is gone. */
static void interpreter_ended(void) {
    __atomic_store_n(&state, IDLE, __ATOMIC_RELEASE);
}

void bootstrap_now(void) {
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != ARMED) return;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) return;
    if (!PySys_GetObject("meta_path") || !PySys_GetObject("implementation")) return; /* too early */
    __atomic_store_n(&state, BEGUN, __ATOMIC_RELEASE);
    Py_AtExit(interpreter_ended);
    begin_function();
}

/* Runs `work` with the GIL and the error indicator set aside. Waiting for the GIL here is what the opening thread, a
 * Python thread, does anyway as soon as its file is open. */
static void with_python(void (*work)(void)) {
    PyGILState_STATE gil = PyGILState_Ensure();
    struct python_error error;
    python_error_save(&error);
    work();
    python_error_restore(&error);
    PyGILState_Release(gil);
}

static void candidate_opened(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) discovery_file_opened();
}

static __attribute__((cold)) void look_at(const char *path, int current) {
    int saved_errno = errno;
    /* Only a thread Python knows: another one's PyGILState_Ensure would make a thread state, or wait. */
    if (Py_IsInitialized() && PyGILState_GetThisThreadState()) {
        if (current == ARMED) with_python(bootstrap_now);
        if (bootstrap_begun() && discovery_is_candidate(path)) with_python(candidate_opened);
    }
    errno = saved_errno;
}

void bootstrap_file_opened(const char *path) {
    int current = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
    if (current == IDLE || !path || (current == BEGUN && !discovery_is_candidate(path))) return;
    look_at(path, current);
}
