#include "gpu/calls.h"

#include "fake_gpu.h"
#include "gpu/errors.h"
#include "gpu/failures.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(struct call_site *) sites;
static int log_file = -1;
static atomic_bool initialised, forked;

const struct call_site *calls_first(void) {
    return atomic_load(&sites);
}

uint64_t fake_gpu_calls(const char *function) {
    for (const struct call_site *site = calls_first(); site; site = site->next)
        if (!strcmp(site->name, function)) return atomic_load(&site->count);
    return 0;
}

void calls_log(const char *format, ...) {
    char line[256];
    int before = errno, length;
    va_list arguments;
    if (log_file < 0) return;
    va_start(arguments, format);
    length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    if (write(log_file, line, (size_t)length) < 0) log_file = -1;
    errno = before;
}

int calls_note(struct call_site *site) {
    int error = failures_next(site->name);
    if (atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed) == 0) {
        site->next = atomic_load(&sites);
        while (!atomic_compare_exchange_weak(&sites, &site->next, site)) {
        }
    }
    if (!error && !site->anytime && (!initialised || forked)) error = GPU_NOT_INITIALIZED;
    if (error)
        calls_log("%s%s: %d", site->name, site->stub ? " (stub)" : "", error);
    else
        calls_log("%s%s", site->name, site->stub ? " (stub)" : "");
    return error;
}

static void in_child(void) {
    forked = true;
}

void calls_initialised(void) {
    if (!atomic_exchange(&initialised, true)) pthread_atfork(NULL, NULL, in_child);
}

__attribute__((constructor)) static void read_environment(void) {
    const char *path = getenv("FAKE_CUDA_LOG");
    if (path && *path) log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}
