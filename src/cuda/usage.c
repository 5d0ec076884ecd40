#include "cuda/usage.h"

#include <stdbool.h>
#include <string.h>

/* What every allocation changes is one number; the rest changes seldom (segments, weights), or follows from it. */
struct device_usage {
    uint64_t allocated;     /* usage.h says what counts */
    uint64_t peak;          /* of `allocated`, since a window was last opened or closed */
    uint64_t segments;      /* PyTorch's, as the ledger has them */
    uint64_t direct;        /* of `allocated`, what is neither in segments nor in async pools */
    uint64_t mapped;        /* by VMM calls */
    uint64_t c10_allocated; /* as c10 last reported */
    uint64_t padding[2];    /* up to a cache line */
};

static struct device_usage devices[LEDGER_DEVICES];
static uint64_t peak_of_all; /* of the sum of all devices; kept from the second device on */
static uint64_t pinned, out_of_memory;
static uint32_t used, async; /* bit n: device n */
static struct usage_window windows = {.next = &windows, .previous = &windows};

static uint64_t get(const uint64_t *value) {
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static uint64_t add(uint64_t *value, uint64_t by) {
    return __atomic_add_fetch(value, by, __ATOMIC_RELAXED);
}

static uint64_t sum_allocated(void) {
    uint64_t sum = 0;
    for (uint32_t mask = usage_devices(); mask; mask &= mask - 1)
        sum += get(&devices[__builtin_ctz(mask)].allocated);
    return sum;
}

/* ---- in hooks ---- */

static inline void raise_peak(uint64_t *peak, uint64_t value) {
    uint64_t known = get(peak);
    /* As signed numbers: when a free overtakes its allocation here, a sum is negative for a moment. */
    while ((int64_t)(value - known) > 0 &&
           !__atomic_compare_exchange_n(peak, &known, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* Up to now the sum was that of the one device that was in use. Returns the new mask. */
static uint32_t first_use(unsigned device) {
    for (uint32_t before = usage_devices(); before; before &= before - 1)
        raise_peak(&peak_of_all, get(&devices[__builtin_ctz(before)].peak));
    return __atomic_or_fetch(&used, 1u << device, __ATOMIC_RELAXED);
}

static inline void change_allocated(unsigned device, uint64_t by) {
    struct device_usage *usage = &devices[device];
    uint64_t now = add(&usage->allocated, by);
    if ((int64_t)by <= 0) return;
    uint32_t mask = usage_devices(), bit = 1u << device;
    if (!(mask & bit)) mask = first_use(device);
    raise_peak(&usage->peak, now);
    if (mask & (mask - 1)) raise_peak(&peak_of_all, sum_allocated());
}

/* Whatever is no stream-ordered allocation. */
__attribute__((noinline)) static void change_other(const struct ledger_entry *entry, unsigned device,
                                                   uint64_t by) {
    struct device_usage *usage = &devices[device];
    switch (entry->kind) {
    case LEDGER_PINNED:
    case LEDGER_REGISTERED:
        add(&pinned, by);
        return;
    case LEDGER_PART: /* counted by c10's totals */
        return;
    case LEDGER_PHYSICAL:
        add(&usage->mapped, by);
        break;
    }
    if (entry->segment) {
        add(&usage->segments, by);
        if (!(usage_devices() & 1u << device)) first_use(device);
        return;
    }
    add(&usage->direct, by);
    change_allocated(device, by);
}

void usage_change(const struct ledger_entry *entry, int sign) {
    unsigned device = ledger_device_index(entry->device);
    uint64_t by = sign < 0 ? -entry->size : entry->size;
    if (entry->kind != LEDGER_ASYNC) {
        change_other(entry, device, by);
        return;
    }
    if (__builtin_expect(!(usage_async_devices() & 1u << device), 0))
        __atomic_or_fetch(&async, 1u << device, __ATOMIC_RELAXED);
    change_allocated(device, by);
}

void usage_c10(uint8_t device, uint64_t allocated) {
    unsigned index = ledger_device_index(device);
    struct device_usage *usage = &devices[index];
    uint64_t before = __atomic_exchange_n(&usage->c10_allocated, allocated, __ATOMIC_RELAXED);
    if (allocated != before) change_allocated(index, allocated - before);
}

void usage_c10_out_of_memory(void) {
    add(&out_of_memory, 1);
}

/* ---- now ---- */

uint32_t usage_devices(void) {
    return __atomic_load_n(&used, __ATOMIC_RELAXED);
}

uint32_t usage_async_devices(void) {
    return __atomic_load_n(&async, __ATOMIC_RELAXED);
}

struct usage usage_now_on(uint8_t device) {
    const struct device_usage *usage = &devices[ledger_device_index(device)];
    uint64_t allocated = get(&usage->allocated), direct = get(&usage->direct);
    uint64_t in_segments = get(&usage->c10_allocated);
    return (struct usage){
        .live = allocated - in_segments + get(&usage->segments),
        .allocated = allocated,
        .mapped = get(&usage->mapped),
        .async = allocated - direct - in_segments,
        .torch_allocated = allocated - direct,
        .torch_reserved = allocated - direct - in_segments + get(&usage->segments),
    };
}

struct usage usage_now(void) {
    struct usage sum = {0};
    for (uint32_t mask = usage_devices(); mask; mask &= mask - 1) {
        struct usage on = usage_now_on((uint8_t)__builtin_ctz(mask));
        sum.live += on.live;
        sum.allocated += on.allocated;
        sum.mapped += on.mapped;
        sum.async += on.async;
        sum.torch_allocated += on.torch_allocated;
        sum.torch_reserved += on.torch_reserved;
    }
    return sum;
}

uint64_t usage_pinned(void) {
    return get(&pinned);
}

uint64_t usage_out_of_memory(void) {
    return get(&out_of_memory);
}

/* ---- windows (the GIL) ---- */

/* Takes a peak, and lets the next one begin at what is allocated now. An allocation that is counted between the two lines
 * raises the peak again below. */
static uint64_t take_peak(uint64_t *peak, uint64_t now) {
    uint64_t taken = __atomic_exchange_n(peak, now, __ATOMIC_RELAXED);
    return (int64_t)(now - taken) > 0 ? now : taken;
}

/* All that are open learn the peaks so far. */
static void fold(void) {
    uint32_t mask = usage_devices();
    uint64_t of_all = take_peak(&peak_of_all, sum_allocated());
    bool several = mask & (mask - 1);
    for (uint32_t left = mask; left; left &= left - 1) {
        unsigned device = (unsigned)__builtin_ctz(left);
        uint64_t peak = take_peak(&devices[device].peak, get(&devices[device].allocated));
        raise_peak(&devices[device].peak, get(&devices[device].allocated));
        for (struct usage_window *window = windows.next; window != &windows; window = window->next) {
            if (peak > window->peak_on[device]) window->peak_on[device] = peak;
            if (!several && peak > window->peak) window->peak = peak;
        }
    }
    for (struct usage_window *window = windows.next; several && window != &windows; window = window->next)
        if (of_all > window->peak) window->peak = of_all;
}

void usage_open(struct usage_window *window) {
    usage_close(window);
    fold();
    memset(window, 0, sizeof *window);
    for (uint32_t mask = usage_devices(); mask; mask &= mask - 1) {
        unsigned device = (unsigned)__builtin_ctz(mask);
        window->before_on[device] = window->peak_on[device] = get(&devices[device].allocated);
        window->before += window->before_on[device];
    }
    window->peak = window->before;
    window->next = windows.next;
    window->previous = &windows;
    window->next->previous = window->previous->next = window;
}

void usage_close(struct usage_window *window) {
    if (!window->next) return;
    fold();
    window->next->previous = window->previous;
    window->previous->next = window->next;
    window->next = window->previous = NULL;
}

void usage_forked(void) {
    memset(devices, 0, sizeof devices);
    peak_of_all = pinned = out_of_memory = 0;
    used = async = 0;
    windows.next = windows.previous = &windows;
}
