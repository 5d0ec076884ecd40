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

#include <stdint.h>

/* ---- from the ledger and the hooks ---- */

/* An entry came (+1) or went (-1). */
void usage_change(const struct ledger_entry *entry, int sign);

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
    uint64_t before_on[LEDGER_DEVICES], peak_on[LEDGER_DEVICES];
};

/* The window is the caller's, zeroed at first, and must stay where it is until it is closed. Opening an open one starts it
 * anew; closing makes the peaks final; closing a closed one does nothing. */
void usage_open(struct usage_window *window);
void usage_close(struct usage_window *window);

/* In the child of a fork: nothing is allocated, and the parent's open windows are forgotten; they are not to be closed. */
void usage_forked(void);

#endif
