/* usage: how much GPU memory this process holds, now and at most.
 *
 *   live       every allocation in the ledger on devices (plain, async, managed, physical), in bytes
 *   allocated  live, with PyTorch's segments replaced by the tensors in them (c10's reports); the same as live without them
 *   reserved   live, and what the async pools keep back (asked of the driver: cuda/devices)
 *   mapped     of live, what VMM calls made (cuMemCreate)
 *   pinned     page-locked host memory, registered memory included
 *
 * Counters are changed by cuda/ledger and the hooks, on any thread; windows are opened and closed by one thread at a time
 * (the GIL). All is O(1) in the number of allocations; opening and closing a window is O(open windows).
 *
 * The highest value of a sum wants the sum at every change, and a sum that all threads write to costs each of them a cache
 * miss. So it is turned round: what is left up to the highest value is shared out among threads. An allocation takes from
 * its thread's share, a free gives to it; only when a share runs out, all shares are gathered, under a spin lock, and
 * either one that had some left helps out, or there is a new highest value. The sum is that value less all shares. */
#ifndef COMFYDD_USAGE_H
#define COMFYDD_USAGE_H

#include "cuda/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- from the ledger and the hooks ---- */

/* For usage_change alone: shares, of several threads each when there are many. */
#define USAGE_SHARES 16
struct usage_share {
    _Alignas(64) int64_t left[LEDGER_DEVICES]; /* bytes */
};
extern struct usage_share usage_shares[USAGE_SHARES];
extern __thread unsigned usage_share_here; /* 0, which threads have in common, until its share runs out */

/* By usage_key what stream-ordered and plain allocations are on the only device that there have been allocations on;
 * USAGE_NOT_SIMPLE: there is none, or there are several. */
#define USAGE_NOT_SIMPLE UINT16_MAX
extern uint16_t usage_simple_async __attribute__((visibility("hidden")));
extern uint16_t usage_simple_plain __attribute__((visibility("hidden")));
extern uint64_t usage_direct[LEDGER_DEVICES] __attribute__((visibility("hidden"))); /* bytes; see usage.c */

void usage_share_ran_out(unsigned device);
void usage_change(struct ledger_what what, int64_t by); /* in any case */

/* Device, space, kind and segment. */
static inline uint16_t usage_key(struct ledger_what what) {
    uint16_t key;
    memcpy(&key, (const char *)&what + offsetof(struct ledger_what, device), sizeof key);
    return key;
}

static inline bool usage_is_simple_async(struct ledger_what what) {
    return __builtin_expect(__atomic_load_n(&usage_simple_async, __ATOMIC_RELAXED) == usage_key(what), 1);
}

static inline bool usage_is_simple_plain(struct ledger_what what) {
    return __atomic_load_n(&usage_simple_plain, __ATOMIC_RELAXED) == usage_key(what);
}

static inline int64_t *usage_left(uint8_t device) {
    return &usage_shares[usage_share_here].left[device % LEDGER_DEVICES];
}

static inline void usage_change_direct(uint8_t device, int64_t by) {
    __atomic_add_fetch(&usage_direct[device % LEDGER_DEVICES], (uint64_t)by, __ATOMIC_RELAXED);
}

/* A simple allocation of so many bytes came. */
static inline void usage_allocated(struct ledger_what what, uint64_t size) {
    if (what.kind != LEDGER_ASYNC) usage_change_direct(what.device, (int64_t)size);
    if (__builtin_expect(__atomic_sub_fetch(usage_left(what.device), (int64_t)size, __ATOMIC_RELAXED) < 0, 0))
        usage_share_ran_out(what.device);
}

/* Any one went. */
static inline void usage_freed(struct ledger_what what, uint64_t size) {
    if (!usage_is_simple_async(what)) {
        if (!usage_is_simple_plain(what)) {
            usage_change(what, -(int64_t)size);
            return;
        }
        usage_change_direct(what.device, -(int64_t)size);
    }
    __atomic_add_fetch(usage_left(what.device), (int64_t)size, __ATOMIC_RELAXED);
}

/* PyTorch's caching allocator has `allocated` bytes in tensors of that device. What it has in segments the ledger knows: c10
 * does not report that segments are given back (torch.cuda.empty_cache). */
void usage_c10(uint8_t device, uint64_t allocated);

/* PyTorch has reported an out-of-memory of its own allocator. */
void usage_c10_out_of_memory(void);

/* ---- now ---- */

struct usage {
    uint64_t live, allocated, mapped; /* bytes */
    uint64_t async;                   /* of live, what is in stream-ordered pools */
    uint64_t torch_allocated; /* what PyTorch counts as allocated: in its segments, or by async allocations */
    uint64_t torch_reserved;  /* what it counts as reserved, less what the async pools keep back */
};

/* Of all devices, and of one (0 .. LEDGER_DEVICES-1). */
struct usage usage_now(void);
struct usage usage_now_on(uint8_t device);

uint64_t usage_pinned(void);        /* bytes of page-locked host memory */
uint64_t usage_out_of_memory(void); /* how often PyTorch's allocator has reported that */

/* Bit n: device n has been allocated on. */
uint32_t usage_devices(void);

/* Bit n: device n has been allocated on from stream-ordered pools. */
uint32_t usage_async_devices(void);

/* ---- between two moments ---- */

/* What a node or workflow sees: how much was allocated at its start, and at most. */
struct usage_window {
    struct usage_window *next, *previous; /* NULL when closed */
    uint64_t before, peak;                /* bytes, of all devices together */
    uint32_t devices;                     /* bit n: the figures of device n are there */
    uint64_t before_on[LEDGER_DEVICES], peak_on[LEDGER_DEVICES];
};

/* The window is the caller's, its `next` NULL at first, and must stay where it is until it is closed. Opening an open
 * one starts it anew; closing makes the peaks final; closing a closed one does nothing. */
void usage_open(struct usage_window *window);
void usage_close(struct usage_window *window);

/* In the child of a fork: nothing is allocated, and the parent's open windows are forgotten; they are not to be closed. */
void usage_forked(void);

#endif
