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

#define EXPORT __attribute__((visibility("default")))
EXPORT struct probe probe_read(void);
EXPORT bool probe_find(enum ledger_space space, uint64_t address, struct ledger_entry *found);

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
                          .told_free = taken ? picture->free : OOM_UNKNOWN,
                          .failed_on = taken ? picture->device : -1};
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

EXPORT struct probe_usage probe_usage(uint8_t device);
struct probe_usage probe_usage(uint8_t device) {
    struct usage now = usage_now_on(device);
    return (struct probe_usage){now.live, now.allocated, now.torch_allocated, now.torch_reserved,
                                usage_pinned()};
}

/* Owners are opened by one thread at a time, as under the GIL. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static __thread uint32_t node;

EXPORT void probe_work(void);
void probe_work(void) {
    pthread_mutex_lock(&opening);
    node = owners_open(owner, "1", "Probe");
    owners_enter(node);
    pthread_mutex_unlock(&opening);
}

EXPORT struct probe_work probe_worked(void);
struct probe_work probe_worked(void) {
    struct owner_counts counts = owners_counts(node);
    return (struct probe_work){counts.allocations, counts.bytes};
}

EXPORT uint64_t probe_peak_since_opened(void);
uint64_t probe_peak_since_opened(void) {
    static struct usage_window window;
    usage_close(&window);
    uint64_t peak = window.peak;
    usage_open(&window);
    return peak;
}

/* Of every second allocation. */
static uint32_t give_a_stack(uint64_t size) {
    return size / 512 % 2;
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
    if (getenv("PROBE_STACKS")) ledger_set_stack_source(give_a_stack);
    cuda_hooks_start(!getenv("PYTORCH_NO_CUDA_MEMORY_CACHING"));
}
