/* owners: whom an allocation belongs to: a node, else the workflow, else nobody (owner 0).
 *
 * An owner lives as long as its node or workflow runs, and then as long as something that it allocated is live: models
 * outlast the workflow that loaded them, and an out-of-memory wants to name them.
 *
 * Opening, closing and entering happen with the GIL held; the rest is called from CUDA hooks: no malloc, no GIL, no CUDA.
 * When the table is full, allocations belong to the workflow, or to nobody. */
#ifndef COMFYDD_OWNERS_H
#define COMFYDD_OWNERS_H

#include "cuda/ledger.h"

#include <stdbool.h>
#include <stdint.h>

#define OWNER_NOBODY 0u

/* What an owner has allocated so far, by device. */
struct owner_counts {
    uint64_t allocations, bytes, failed; /* failed: calls that the program saw fail for want of memory */
};

/* A new owner; OWNER_NOBODY when there is no room. `workflow` is its workflow's owner, or OWNER_NOBODY for a workflow. Texts
 * are copied, cut to 63 bytes: node id and class type, or prompt id and "". */
uint32_t owners_open(uint32_t workflow, const char *id, const char *class_type);

/* It waits for something else to be done, and nothing that is allocated meanwhile is its own (true), or works again. */
void owners_wait(uint32_t owner, bool waiting);

/* It allocates no more. Its counts are added to its workflow's. */
void owners_close(uint32_t owner);

/* What this thread does from now on is done for `owner`; returns whom it worked for before, to be set again. */
uint32_t owners_enter(uint32_t owner);

/* What a thread counts for the node that it works for, without atomic additions. For owners_current and
 * owners_count_allocation alone. */
struct owners_mine {
    const void *thread; /* that works for it: the address of its owners_here */
    struct {
        uint64_t allocations, bytes;
    } on[LEDGER_DEVICES];
};
struct owners_here {
    uint16_t owner; /* whom this thread works for */
    uint16_t node;  /* the same when that is a node, else OWNER_NOBODY */
};
extern struct owners_mine *owners_mine __attribute__((visibility("hidden"))); /* by owner */
extern __thread struct owners_here owners_here;
uint32_t owners_by_default(void);

/* Who owns what this thread allocates: the node that it works for; else the only node at work of the workflow that it works
 * for, or of the only workflow (autograd's threads, say, are the node's as long as that can be told); else that workflow;
 * else nobody. */
static inline uint32_t owners_current(void) {
    uint32_t node = owners_here.node;
    return __builtin_expect(node != OWNER_NOBODY, 1) ? node : owners_by_default();
}

/* What this thread has allocated for owners_here.node, which is one, on a device that has figures of its own; false when
 * it is to be counted by owners_count_allocation. */
static inline bool owners_count_mine(uint8_t device, uint64_t bytes) {
    struct owners_mine *mine = &owners_mine[owners_here.node];
    if (__atomic_load_n(&mine->thread, __ATOMIC_RELAXED) != &owners_here) return false;
    uint64_t *allocations = &mine->on[device % LEDGER_DEVICES].allocations,
             *sum = &mine->on[device % LEDGER_DEVICES].bytes;
    uint64_t before = __atomic_load_n(allocations, __ATOMIC_RELAXED);
    if (before == 0) return false; /* the first one on a device is noted */
    __atomic_store_n(allocations, before + 1, __ATOMIC_RELAXED);
    __atomic_store_n(sum, __atomic_load_n(sum, __ATOMIC_RELAXED) + bytes, __ATOMIC_RELAXED);
    return true;
}

void owners_count_allocation(uint32_t owner, uint8_t device, uint64_t bytes);
void owners_count_failure(uint32_t owner, uint8_t device);

/* Sums over all devices, and of one (0 .. LEDGER_DEVICES-1). */
struct owner_counts owners_counts(uint32_t owner);
struct owner_counts owners_counts_on(uint32_t owner, uint8_t device);

/* Texts of an owner, valid as long as it is open or referred to; "" for nobody. */
const char *owners_id(uint32_t owner);
const char *owners_class_type(uint32_t owner);

/* In the child of a fork: none of the parent's. */
void owners_forked(void);

#endif
