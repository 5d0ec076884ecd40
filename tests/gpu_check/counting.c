#include "counting.h"

#include <string.h>

static struct counter *counters;

void counting_note(struct counter *counter) {
    if (__atomic_fetch_add(&counter->calls, 1, __ATOMIC_RELAXED) > 0) return;
    counter->next = __atomic_load_n(&counters, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&counters, &counter->next, counter, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
}

/* How often a hooked function has been called since the program began. */
__attribute__((visibility("default"))) uint64_t probe_calls(const char *function);
uint64_t probe_calls(const char *function) {
    static const char prefix[] = "hook_"; /* of the driver's */
    for (struct counter *i = __atomic_load_n(&counters, __ATOMIC_ACQUIRE); i; i = i->next) {
        const char *name =
            strncmp(i->hook, prefix, sizeof prefix - 1) == 0 ? i->hook + sizeof prefix - 1 : i->hook;
        if (strcmp(name, function) == 0) return __atomic_load_n(&i->calls, __ATOMIC_RELAXED);
    }
    return 0;
}
