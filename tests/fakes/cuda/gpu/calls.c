#include "gpu/calls.h"

#include "fake_gpu.h"
#include "gpu/books.h"
#include "gpu/errors.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLANS 64

static _Atomic(struct call_site *) sites;
static int log_file = -1;
static atomic_bool initialised, forked;

/* Failures that a test has asked for. */
static struct plan {
    char function[64];
    int error;
    uint64_t after, times;
} plans[PLANS];
static atomic_uint planned;
static pthread_mutex_t plan_lock = PTHREAD_MUTEX_INITIALIZER;

bool fake_gpu_fail(const char *function, int error, uint64_t after, uint64_t times) {
    unsigned i = 0;

    pthread_mutex_lock(&plan_lock);
    while (i < planned && strcmp(plans[i].function, function))
        i++;
    if (i < PLANS) {
        plans[i] = (struct plan){.error = error, .after = after, .times = times};
        snprintf(plans[i].function, sizeof plans[i].function, "%s", function);
        if (i == planned) planned++;
    }
    pthread_mutex_unlock(&plan_lock);
    return i < PLANS;
}

static int planned_failure(const char *function) {
    int error = 0;

    pthread_mutex_lock(&plan_lock);
    for (unsigned i = 0; i < planned; i++) {
        struct plan *plan = &plans[i];

        if (strcmp(plan->function, function)) continue;
        if (plan->after) {
            plan->after--;
        } else if (plan->times) {
            plan->times--;
            error = plan->error;
        }
    }
    pthread_mutex_unlock(&plan_lock);
    return error;
}

uint64_t fake_gpu_calls(const char *function) {
    for (struct call_site *site = atomic_load(&sites); site; site = site->next)
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
    int error = 0;

    if (atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed) == 0) {
        site->next = atomic_load(&sites);
        while (!atomic_compare_exchange_weak(&sites, &site->next, site)) {
        }
    }
    if (planned) error = planned_failure(site->name);
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

static int open_to_append(const char *path) {
    return path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
}

static void read_failures(const char *list) {
    char name[64];
    int length;

    while (list && *list && sscanf(list, "%63[^:,]%n", name, &length) == 1) {
        unsigned long times = 1, after = 0;
        int error = GPU_OUT_OF_MEMORY;

        list += length;
        sscanf(list, ":%d:%lu:%lu", &error, &times, &after);
        fake_gpu_fail(name, error, after, times);
        list += strcspn(list, ",");
        list += strspn(list, ",");
    }
}

__attribute__((constructor)) static void read_environment(void) {
    log_file = open_to_append(getenv("FAKE_CUDA_LOG"));
    read_failures(getenv("FAKE_CUDA_FAIL"));
}

static void print_calls(FILE *out, bool stubs) {
    const char *separator = "";

    for (struct call_site *site = atomic_load(&sites); site; site = site->next) {
        if (site->stub != stubs) continue;
        fprintf(out, "%s\"%s\": %lu", separator, site->name, atomic_load(&site->count));
        separator = ", ";
    }
}

static void print_books(FILE *out, int device) {
    static const char *const kinds[] = {"plain",    "async",  "managed",    "array",
                                        "physical", "pinned", "registered", "mapping"};
    struct fake_gpu_books books;

    fake_gpu_books(device, &books);
    fprintf(out, "{\"total\": %lu, \"in_use\": %lu, \"peak\": %lu", books.total, books.in_use, books.peak);
    for (int kind = 0; kind < FAKE_GPU_KINDS; kind++)
        fprintf(out, ", \"%s\": %lu, \"%s_count\": %lu", kinds[kind], books.live[kind], kinds[kind],
                books.count[kind]);
    fprintf(out, "}");
}

__attribute__((destructor)) static void write_stats(void) {
    int file = open_to_append(getenv("FAKE_CUDA_STATS"));
    struct fake_gpu_books books;
    char *text = NULL;
    size_t length = 0;
    FILE *out = file >= 0 ? open_memstream(&text, &length) : NULL;

    if (!out) return;
    fprintf(out, "{\"pid\": %d, \"calls\": {", getpid());
    print_calls(out, false);
    fprintf(out, "}, \"stubs\": {");
    print_calls(out, true);
    fprintf(out, "}, \"devices\": [");
    for (int device = 0; fake_gpu_books(device, &books); device++) {
        if (device) fprintf(out, ", ");
        print_books(out, device);
    }
    fprintf(out, "], \"host\": ");
    print_books(out, FAKE_GPU_HOST);
    fprintf(out, "}\n");
    fclose(out);
    if (write(file, text, length) < 0) perror("FAKE_CUDA_STATS");
    close(file);
    free(text);
}
