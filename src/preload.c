/* The library's table of contents: the one constructor, and then start, fork, exec and exit in the order in which a
 * process meets them. */
#include "preload.h"

#include "base/log.h"
#include "comfy/executor.h"
#include "comfy/memory.h"
#include "config.h"
#include "config_log.h"
#include "cuda/hooks.h"
#include "export/exporter.h"
#include "export/orphans.h"
#include "flight.h"
#include "flight_files.h"
#include "gate.h"
#include "hooks_libc.h"
#include "host/meminfo.h"
#include "identity.h"
#include "python/bootstrap.h"
#include "python/discovery.h"
#include "python/frames.h"
#include "python/shim_abi.h"
#include "resolve.h"
#include "trace/ids.h"
#include "trace/sampler.h"
#include "trace/span.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_MS 2000

static struct flight *flight; /* owned: this process's, or in a forked child still the parent's */
static bool watching;         /* begin succeeded: executors will be found */
static pid_t owner;           /* the process whose spans `flight` holds; 0 before the first workflow */

/* The library is linked without the compiler's start files, whose references to symbols that nearly nobody defines cost
 * every child process three fruitless searches. This is what atexit and pthread_atfork want of them: an address that
 * stands for this library. */
extern void *__dso_handle __attribute__((visibility("hidden")));
void *__dso_handle = &__dso_handle;

/* ---- exit and exec ---- */

static void stop(void) {
    if (owner != getpid()) return; /* nothing started here, or a fork's child that traced nothing */
    executor_shutdown();           /* before the flush: it finishes spans */
    exporter_stop(FLUSH_MS);
    span_disconnect();
    flight_set_clean_exit(flight); /* the mapping itself stays: threads may still be about */
    flight_remove_delivered(flight);
    struct flight_counts spans = flight_counts(flight);
    if (spans.sent < spans.recorded)
        log_line("%llu of %llu spans did not reach the Datadog agent%s",
                 (unsigned long long)(spans.recorded - spans.sent), (unsigned long long)spans.recorded,
                 flight_files_has_own() ? "; those not dropped are kept for the next start" : "");
}

void preload_before_exec(void) {
    if (owner == 0 || owner != getpid()) return; /* getpid: a vfork child shares our memory */
    int saved_errno = errno;
    exporter_flush(FLUSH_MS);
    errno = saved_errno;
}

void preload_before_exit(void) {
    preload_before_exec();
    if (owner != 0 && owner == getpid()) flight_remove_delivered(flight);
}

/* ---- fork ---- */

/* Only notes; the work is done when the child runs a workflow itself. Most children exec something else instead. */
static void forked(void) {
    cuda_hooks_forked();
    memory_forked();
    executor_forked();
    frames_forked();
    span_disconnect();
    exporter_forked();
}

/* What pthread_atfork stands for in glibc. Looked up, because a reference to it would keep programs of another libc, which
 * inherit the library too, from starting; where it is missing, so is what the rest of the library relies on. */
static bool watch_forks(void) {
    typedef int (*register_atfork)(void (*)(void), void (*)(void), void (*)(void), void *);
    register_atfork found = (register_atfork)resolve_next("__register_atfork");
    return found && found(NULL, NULL, forked, &__dso_handle) == 0;
}

/* ---- the first executor found, or the shim ---- */

/* Not earlier: Python programs that are no ComfyUI inherit the library too, and shall hear nothing about its settings. */
static void read_settings(void) {
    static bool done;
    if (done) return;
    done = true;
    log_set_silent(python_lacks_stderr());
    config_load(NULL);
    log_set_debug(config()->debug);
    if (config()->startup_logs) config_log(config());
}

/* ---- the first workflow of this process ---- */

static void start_tracing(void) {
    pid_t self = getpid();
    bool is_child = owner != 0 && owner != self;
    if (is_child) {
        flight_destroy(flight);
        meminfo_reset();
    }
    ids_reseed();
    sampler_init(config());
    orphans_note_replaced(config());
    flight = identity_create_flight(config());
    if (!flight) {
        log_line("no shared memory for spans; workflows are not traced");
        return;
    }
    exporter_on_beat(memory_beat);
    meminfo_on_demand(exporter_sample_memory);
    int error = exporter_start(flight, config());
    if (error) {
        log_line("the sending thread cannot be started (%s); workflows are not traced", strerror(-error));
        flight_files_remove();
        flight_destroy(flight);
        flight = NULL;
        return;
    }
    span_connect(flight, exporter_wake); /* last: from here on spans are recorded */
    if (owner == 0) atexit(stop);
    owner = self;
}

/* ---- the first file opened by Python code ---- */

static void begin(void) {
    struct config switches;
    if (!config_wanted(NULL, &switches)) return;
    if (!python_init(resolve_all_first)) {
        discovery_refuse(python_refused());
        return;
    }
    if (!watch_forks()) return;
    if (switches.gpu_memory)
        cuda_hooks_start(!switches.torch_uncached); /* before the program imports torch */
    executor_init(read_settings, start_tracing);
    watching = discovery_start(executor_module_found);
    if (!watching) log_line("Python's import system cannot be watched; nothing is traced");
}

/* comfydd_start: the shim has loaded the library, or wants to know whether a preloaded one is at work. */
static int start_by_shim(void) {
    bootstrap_now();
    if (watching) read_settings(); /* the shim asks for some; it runs in ComfyUIs only */
    return watching && bootstrap_begun();
}

/* ---- loading ---- */

__attribute__((constructor)) static void load(void) {
    hooks_libc_resolve();
    if (!gate_is_open()) return;
    bootstrap_arm(begin);
    shim_on_start(start_by_shim);
}
