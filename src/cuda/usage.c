#include "cuda/usage.h"

#include "base/each_node.h"
#include "base/spin.h"

#include <stdbool.h>
#include <string.h>

/* What every allocation changes is a share; the rest changes seldom (segments, weights), or follows from it. */
struct device_usage {
    int64_t peak;           /* of what is allocated, since a window was last opened or closed; under `lock` */
    uint64_t segments;      /* PyTorch's, as the ledger has them */
    uint64_t mapped;        /* by VMM calls */
    uint64_t c10_allocated; /* as c10 last reported */
};

struct usage_share usage_shares[USAGE_SHARES];
__thread unsigned usage_share_here;
uint16_t usage_simple_async = USAGE_NOT_SIMPLE, usage_simple_plain = USAGE_NOT_SIMPLE;
/* Of what is allocated, what is neither in segments nor in async pools. */
uint64_t usage_direct[LEDGER_DEVICES];

static uint32_t lock;
static struct device_usage devices[LEDGER_DEVICES];
static int64_t peak_of_all; /* of the sum of all devices, under `lock`; kept from the second device on */
static uint64_t pinned, out_of_memory;
EACH_NODE static uint32_t used, async; /* bit n: device n */
static unsigned shares_given;          /* how often a thread has been given a share to itself */
EACH_NODE static struct usage_window windows = {.next = &windows, .previous = &windows};

static uint64_t get(const uint64_t *value) {
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static uint64_t add(uint64_t *value, uint64_t by) {
    return __atomic_add_fetch(value, by, __ATOMIC_RELAXED);
}

/* A free may overtake its allocation here; then a sum is negative for a moment. */
static uint64_t at_least_0(int64_t value) {
    return value > 0 ? (uint64_t)value : 0;
}

/* Of sums that others change one after the other. */
static uint64_t difference(uint64_t sum, uint64_t part) {
    return at_least_0((int64_t)(sum - part));
}

/* ---- shares; `lock` is held ---- */

static unsigned shares_in_use(void) {
    unsigned given = __atomic_load_n(&shares_given, __ATOMIC_RELAXED);
    return given < USAGE_SHARES ? given + 1 : USAGE_SHARES;
}

static int64_t allocated_on(unsigned device) {
    int64_t left = 0;
    for (unsigned i = 0; i < shares_in_use(); i++)
        left += __atomic_load_n(&usage_shares[i].left[device], __ATOMIC_RELAXED);
    return devices[device].peak - left;
}

static int64_t allocated_on_all(void) {
    int64_t sum = 0;
    for (uint32_t mask = usage_devices(); mask; mask &= mask - 1)
        sum += allocated_on((unsigned)__builtin_ctz(mask));
    return sum;
}

/* Takes all shares of a device, and returns what was left; when that is too little, the peak is a new one. */
static int64_t gather(unsigned device) {
    int64_t left = 0;
    for (unsigned i = 0; i < shares_in_use(); i++)
        if (__atomic_load_n(&usage_shares[i].left[device], __ATOMIC_RELAXED))
            left += __atomic_exchange_n(&usage_shares[i].left[device], 0, __ATOMIC_RELAXED);
    if (left >= 0) return left;
    devices[device].peak -= left;
    return 0;
}

static void raise_peak(int64_t *peak, int64_t value) {
    if (value > *peak) *peak = value;
}

static void note_use(unsigned device) {
    uint32_t mask = usage_devices(), bit = 1u << device;
    if (mask & bit) return;
    /* Up to now the sum was that of the one device that was in use. */
    for (uint32_t before = mask; before; before &= before - 1)
        raise_peak(&peak_of_all, devices[__builtin_ctz(before)].peak);
    __atomic_store_n(&used, mask | bit, __ATOMIC_RELAXED);
    struct ledger_what plain = {.device = (uint8_t)device, .space = LEDGER_POINTER, .kind = LEDGER_PLAIN};
    __atomic_store_n(&usage_simple_plain, mask ? USAGE_NOT_SIMPLE : usage_key(plain), __ATOMIC_RELAXED);
    __atomic_store_n(&usage_simple_async, USAGE_NOT_SIMPLE, __ATOMIC_RELAXED);
}

/* ---- in hooks ---- */

__attribute__((cold)) void usage_share_ran_out(unsigned device) {
    if (usage_share_here == 0)
        usage_share_here = 1 + __atomic_fetch_add(&shares_given, 1, __ATOMIC_RELAXED) % (USAGE_SHARES - 1);
    spin_lock(&lock);
    note_use(device);
    int64_t left = gather(device);
    __atomic_add_fetch(&usage_shares[usage_share_here].left[device], left, __ATOMIC_RELAXED);
    spin_unlock(&lock);
}

__attribute__((noinline)) static void note_sum(void) {
    spin_lock(&lock);
    raise_peak(&peak_of_all, allocated_on_all());
    spin_unlock(&lock);
}

static inline void change_allocated(unsigned device, int64_t by) {
    int64_t *left = &usage_shares[usage_share_here].left[device];
    bool ran_out = __atomic_sub_fetch(left, by, __ATOMIC_RELAXED) < 0;
    if (by <= 0) return;
    if (__builtin_expect(ran_out, 0)) usage_share_ran_out(device);
    uint32_t mask = usage_devices();
    if (__builtin_expect(mask & (mask - 1), 0)) note_sum();
}

__attribute__((noinline)) static void note_segments(unsigned device) {
    spin_lock(&lock);
    note_use(device);
    spin_unlock(&lock);
}

__attribute__((noinline)) static void note_async(unsigned device) {
    struct ledger_what async_one = {.device = (uint8_t)device, .space = LEDGER_POINTER, .kind = LEDGER_ASYNC};
    spin_lock(&lock);
    note_use(device);
    __atomic_or_fetch(&async, 1u << device, __ATOMIC_RELAXED);
    if (usage_devices() == 1u << device)
        __atomic_store_n(&usage_simple_async, usage_key(async_one), __ATOMIC_RELAXED);
    spin_unlock(&lock);
}

__attribute__((noinline)) static void change_segments(unsigned device, int64_t by) {
    add(&devices[device].segments, (uint64_t)by);
    if (!(usage_devices() & 1u << device)) note_segments(device);
}

void usage_change(struct ledger_what what, int64_t by) {
    unsigned device = ledger_device_index(what.device);
    switch (what.kind) {
    case LEDGER_PINNED:
    case LEDGER_REGISTERED:
        add(&pinned, (uint64_t)by);
        return;
    case LEDGER_PART: /* counted by c10's totals */
        return;
    case LEDGER_PHYSICAL:
        add(&devices[device].mapped, (uint64_t)by);
        break;
    case LEDGER_ASYNC:
        if (!(usage_async_devices() & 1u << device)) note_async(device);
        break;
    }
    if (what.segment) {
        change_segments(device, by);
        return;
    }
    if (what.kind != LEDGER_ASYNC) usage_change_direct((uint8_t)device, by);
    change_allocated(device, by);
}

void usage_c10(uint8_t device, uint64_t allocated) {
    unsigned index = ledger_device_index(device);
    uint64_t before = __atomic_exchange_n(&devices[index].c10_allocated, allocated, __ATOMIC_RELAXED);
    if (allocated != before) change_allocated(index, (int64_t)(allocated - before));
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
    unsigned index = ledger_device_index(device);
    const struct device_usage *usage = &devices[index];
    spin_lock(&lock);
    uint64_t allocated = at_least_0(allocated_on(index));
    spin_unlock(&lock);
    uint64_t direct = get(&usage_direct[index]), in_segments = get(&usage->c10_allocated);
    uint64_t segments = get(&usage->segments);
    return (struct usage){
        .live = difference(allocated + segments, in_segments),
        .allocated = allocated,
        .mapped = get(&usage->mapped),
        .async = difference(allocated, direct + in_segments),
        .torch_allocated = difference(allocated, direct),
        .torch_reserved = difference(allocated + segments, direct + in_segments),
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

/* Device n has figures from now on, if it had none. */
static void add_device(struct usage_window *window, unsigned device) {
    if (window->devices & 1u << device) return;
    window->devices |= 1u << device;
    window->before_on[device] = window->peak_on[device] = 0;
}

/* All that are open learn the peaks so far; the next ones begin at what is allocated now. */
static void fold(void) {
    uint64_t peaks[LEDGER_DEVICES], of_all;
    uint32_t mask = usage_devices();
    if (!mask) return;
    spin_lock(&lock);
    of_all = at_least_0(peak_of_all);
    for (uint32_t left = mask; left; left &= left - 1) {
        unsigned device = (unsigned)__builtin_ctz(left);
        int64_t unused = gather(device);
        peaks[device] = at_least_0(devices[device].peak);
        devices[device].peak -= unused;
    }
    peak_of_all = allocated_on_all();
    spin_unlock(&lock);
    for (struct usage_window *window = windows.next; window != &windows; window = window->next) {
        for (uint32_t left = mask; left; left &= left - 1) {
            unsigned device = (unsigned)__builtin_ctz(left);
            add_device(window, device);
            if (peaks[device] > window->peak_on[device]) window->peak_on[device] = peaks[device];
            if (peaks[device] > window->peak) window->peak = peaks[device];
        }
        if (of_all > window->peak) window->peak = of_all;
    }
}

/* What is allocated now. */
static void begin(struct usage_window *window, uint32_t mask) {
    spin_lock(&lock);
    for (; mask; mask &= mask - 1) {
        unsigned device = (unsigned)__builtin_ctz(mask);
        add_device(window, device);
        window->before_on[device] = window->peak_on[device] = at_least_0(allocated_on(device));
        window->before += window->before_on[device];
    }
    spin_unlock(&lock);
    window->peak = window->before;
}

void usage_open(struct usage_window *window) {
    usage_close(window);
    fold();
    window->before = window->peak = 0;
    window->devices = 0;
    uint32_t mask = usage_devices();
    if (mask) begin(window, mask);
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
    memset(usage_shares, 0, sizeof usage_shares);
    lock = 0;
    peak_of_all = 0;
    pinned = out_of_memory = 0;
    used = async = 0;
    usage_simple_async = usage_simple_plain = USAGE_NOT_SIMPLE;
    memset(usage_direct, 0, sizeof usage_direct);
    windows.next = windows.previous = &windows;
}
