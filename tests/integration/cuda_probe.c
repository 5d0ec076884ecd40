/* The library's hooks, begun as soon as they are loaded and in any program, and a window into what they record. */
#include "cuda_probe.h"

#include "cuda/hooks.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The exported functions are of nobody's use in here, so the linker must be told to take them. */
#define RUNTIME(name, ...) extern int name();
#define HIP(name, ...)     extern int name();
#define C10(name)          extern int name();
#define DRIVER(name, ...)  extern int hooks_linked_##name();
#include "cuda/cuda_api.def"
static int (*const exported[])() __attribute__((used)) = {
#define RUNTIME(name, ...) name,
#define HIP(name, ...)     name,
#define C10(name)          name,
#define DRIVER(name, ...)  hooks_linked_##name,
#include "cuda/cuda_api.def"
};

static uint32_t owner;

__attribute__((visibility("default"))) struct probe probe_read(void);
__attribute__((visibility("default"))) bool probe_find(enum ledger_space space, uint64_t address,
                                                       struct ledger_entry *found);

static void add(const struct ledger_entry *entry, void *context) {
    struct probe *probe = context;
    if (entry->is.space == LEDGER_MAPPING) return;
    probe->bytes[entry->is.kind] += entry->size;
    probe->count[entry->is.kind]++;
    probe->tensors += entry->is.space == LEDGER_TENSOR;
    if (!entry->is.segment) return;
    probe->segments++;
    probe->segment_bytes += entry->size;
}

struct probe probe_read(void) {
    struct owner_counts counts = owners_counts(owner);
    struct oom_picture *picture = calloc(1, sizeof *picture);
    bool taken = oom_take(0, owner, picture);
    struct probe probe = {.allocations = counts.allocations,
                          .failures = counts.failed,
                          .pictures = oom_serial(),
                          .reported = usage_out_of_memory(),
                          .requested = taken ? picture->requested : 0,
                          .told_free = taken ? picture->free : OOM_UNKNOWN};
    free(picture);
    ledger_each(add, &probe);
    return probe;
}

struct wanted {
    enum ledger_space space;
    uint64_t address;
    struct ledger_entry *found;
    bool seen;
};

static void match(const struct ledger_entry *entry, void *context) {
    struct wanted *wanted = context;
    if (entry->is.space != wanted->space || entry->address != wanted->address) return;
    *wanted->found = *entry;
    wanted->seen = true;
}

bool probe_find(enum ledger_space space, uint64_t address, struct ledger_entry *found) {
    struct wanted wanted = {space, address, found, false};
    ledger_each(match, &wanted);
    return wanted.seen;
}

static void forked(void) {
    cuda_hooks_forked();
    ledger_forked();
    owners_forked();
    usage_forked();
    oom_forked();
}

__attribute__((constructor)) static void load(void) {
    if (getenv("PROBE_IDLE")) return; /* hooks that were never begun */
    pthread_atfork(NULL, NULL, forked);
    owner = owners_open(OWNER_NOBODY, "probe", "");
    cuda_hooks_start(!getenv("PYTORCH_NO_CUDA_MEMORY_CACHING"));
}
