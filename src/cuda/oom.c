#include "cuda/oom.h"

#include "base/clock.h"
#include "base/each_node.h"
#include "base/spin.h"
#include "cuda/ledger.h"
#include "cuda/owners.h"
#include "cuda/usage.h"

#include <stdio.h>
#include <string.h>

#define PICTURES 4   /* the last ones are kept: threads may fail at the same time */
#define TABLE    512 /* groups that can be told apart while counting; the rest is left out */

struct candidate {
    uint64_t size, count;
    uint32_t owner, stack;
    uint8_t device;
};

/* All under `lock`. */
static uint32_t lock;
static struct oom_picture pictures[PICTURES];
EACH_NODE static uint64_t serial;
static struct candidate table[TABLE];

/* What the driver last said. One for all threads: PyTorch asks right after the failed call. */
static struct told {
    uint64_t free, total;
    uint64_t idle;  /* what the async pool kept back */
    uint64_t after; /* the serial at that time */
    uint8_t device;
} told;

static void count(const struct ledger_entry *entry, void *context) {
    (void)context;
    if (!ledger_is_counted(&entry->is)) return;
    uint64_t hash = (entry->size * 31 + entry->is.owner) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    for (unsigned tried = 0; tried < 16; tried++) {
        struct candidate *place = &table[(hash + tried) % TABLE];
        if (place->count == 0)
            *place =
                (struct candidate){.size = entry->size, .owner = entry->is.owner, .device = entry->is.device};
        else if (place->size != entry->size || place->owner != entry->is.owner ||
                 place->device != entry->is.device)
            continue;
        place->count++;
        if (entry->stack) place->stack = entry->stack;
        return;
    }
}

static struct candidate *largest(void) {
    struct candidate *best = NULL;
    for (struct candidate *one = table; one < table + TABLE; one++)
        if (one->count && (!best || one->size * one->count > best->size * best->count)) best = one;
    return best;
}

static void gather_groups(struct oom_picture *picture) {
    memset(table, 0, sizeof table);
    ledger_each(count, NULL);
    for (picture->groups = 0; picture->groups < OOM_GROUPS; picture->groups++) {
        struct candidate *best = largest();
        if (!best) return;
        struct oom_group *group = &picture->group[picture->groups];
        *group = (struct oom_group){
            .size = best->size, .count = best->count, .stack = best->stack, .device = best->device};
        snprintf(group->id, sizeof group->id, "%s", owners_id(best->owner));
        snprintf(group->class_type, sizeof group->class_type, "%s", owners_class_type(best->owner));
        best->count = 0;
    }
}

static void complete(struct oom_picture *picture) {
    picture->free = told.free;
    picture->total = told.total;
    picture->reserved += told.idle;
}

static void take_picture(struct oom_picture known) {
    struct usage now = usage_now_on(known.device);
    spin_lock(&lock);
    struct oom_picture *picture = &pictures[(serial + 1) % PICTURES];
    *picture = known;
    picture->time_ns = clock_wall_ns();
    picture->allocated = now.allocated;
    picture->reserved = now.live;
    picture->free = picture->total = OOM_UNKNOWN;
    /* c10 reports after it has asked. */
    if (known.reported && serial && told.after == serial && told.device == known.device) complete(picture);
    gather_groups(picture);
    picture->serial = serial + 1;
    __atomic_store_n(&serial, serial + 1, __ATOMIC_RELEASE);
    spin_unlock(&lock);
}

void oom_failed(uint8_t device, uint64_t requested, uint32_t owner) {
    take_picture((struct oom_picture){.owner = owner, .device = device, .requested = requested});
}

void oom_reported(uint8_t device, uint64_t requested, uint32_t owner) {
    take_picture(
        (struct oom_picture){.owner = owner, .device = device, .requested = requested, .reported = true});
}

void oom_refused(uint8_t device, uint32_t owner) {
    take_picture((struct oom_picture){.owner = owner, .device = device, .requested = OOM_UNKNOWN});
}

/* The latest one, when it waits; `lock` is held. */
static struct oom_picture *waiting(void) {
    struct oom_picture *last = &pictures[serial % PICTURES];
    return serial && last->free == OOM_UNKNOWN ? last : NULL;
}

bool oom_waits(void) {
    spin_lock(&lock);
    bool waits = waiting();
    spin_unlock(&lock);
    return waits;
}

void oom_meminfo(uint8_t device, uint64_t free, uint64_t total, uint64_t pool) {
    uint64_t used = pool ? usage_now_on(device).async : 0;
    spin_lock(&lock);
    struct oom_picture *last = waiting();
    /* Of one failure the pool is asked about once, and the report comes last. */
    uint64_t idle = pool > used ? pool - used : told.after == serial && told.device == device ? told.idle : 0;
    told = (struct told){.free = free, .total = total, .idle = idle, .after = serial, .device = device};
    if (last && last->device == device) complete(last);
    spin_unlock(&lock);
}

uint64_t oom_serial(void) {
    return __atomic_load_n(&serial, __ATOMIC_ACQUIRE);
}

bool oom_take(uint64_t since, uint32_t owner, struct oom_picture *picture) {
    const struct oom_picture *best = NULL;
    spin_lock(&lock);
    for (const struct oom_picture *one = pictures; one < pictures + PICTURES; one++) {
        if (one->serial <= since) continue;
        bool better = !best || (one->owner == owner) > (best->owner == owner) ||
                      ((one->owner == owner) == (best->owner == owner) && one->serial > best->serial);
        if (better) best = one;
    }
    if (best) *picture = *best;
    spin_unlock(&lock);
    return best != NULL;
}

void oom_forked(void) {
    lock = 0;
    serial = 0;
    memset(pictures, 0, sizeof pictures);
    memset(&told, 0, sizeof told);
}
