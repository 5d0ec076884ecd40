#include "gpu/failures.h"

#include "fake_gpu.h"
#include "gpu/errors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLANS 64

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

int failures_next(const char *function) {
    int error = 0;
    if (!planned) return 0;
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

__attribute__((constructor)) static void read_environment(void) {
    const char *list = getenv("FAKE_CUDA_FAIL");
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
