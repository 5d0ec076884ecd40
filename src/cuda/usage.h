/* usage: how much GPU memory this process holds, now and at most.
 *
 *   live       every allocation in the ledger on devices (plain, async, managed, physical), in bytes
 *   allocated  live, with PyTorch's segments replaced by the tensors in them (c10's reports); the same as live without them
 *   reserved   live, and what the async pools keep back (asked of the driver: cuda/devices)
 *   mapped     of live, what VMM calls made (cuMemCreate)
 *   pinned     page-locked host memory, registered memory included
 *
 * Counters are changed by cuda/ledger and the hooks, on any thread, without locks; windows are opened and closed by one
 * thread at a time (the GIL). All is O(1) in the number of allocations; opening and closing a window is O(open windows). */
#ifndef COMFYDD_USAGE_H
#define COMFYDD_USAGE_H

#include "cuda/ledger.h"

#include <stdbool.h>
#include <stdint.h>

#define USAGE_DEVICES 16 /* figures by device; further ones share the last */

/* ---- from the ledger and the hooks ---- */

/* An entry came (+1) or went (-1). */
void usage_change(const struct ledger_entry *entry, int sign);

/* PyTorch's caching allocator has `allocated` bytes in tensors and `reserved` bytes in segments of that device. */
void usage_c10(uint8_t device, uint64_t allocated, uint64_t reserved);

/* PyTorch has reported an out-of-memory of its own allocator. */
void usage_c10_out_of_memory(void);

/* ---- now ---- */

struct usage {
    uint64_t live, allocated, mapped, pinned; /* bytes, of all devices */
    uint64_t tensors;                         /* what PyTorch counts as allocated: in its segments, or in async pools */
    uint64_t segments;                        /* what it counts as reserved, async pools not included */
    uint64_t out_of_memory;                   /* how often it reported that */
    uint64_t tensor_count;                    /* live ones */
};
struct usage usage_now(void);
struct usage usage_now_on(uint8_t device);

/* Bit n: device n has been allocated on. */
uint32_t usage_devices(void);

/* ---- between two moments ---- */

struct usage_window {
    struct usage_window *next, *previous;
    uint64_t before;                         /* allocated at the start */
    uint64_t peak;                           /* highest allocated so far, once closed of the whole window */
    uint64_t before_on[USAGE_DEVICES], peak_on[USAGE_DEVICES];
};

/* The window is the caller's and must stay where it is until it is closed. Opening an open one starts it anew. */
void usage_open(struct usage_window *window);
void usage_close(struct usage_window *window);
bool usage_is_open(const struct usage_window *window);

/* In the child of a fork: nothing is allocated, no window is open. */
void usage_forked(void);

#endif
