/* cuda_probe: what the programs of tests/integration/cuda ask the hooks under test (cuda_probe.c). */
#ifndef CUDA_PROBE_H
#define CUDA_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/ledger.h"

struct probe {
    uint64_t bytes[LEDGER_KINDS],
        count[LEDGER_KINDS]; /* live entries by enum ledger_kind, segments included */
    uint64_t segment_bytes, segments, tensors;
    uint64_t allocations, failures; /* that the program saw */
    uint64_t pictures;              /* of out-of-memory */
    uint64_t reported;              /* by c10 */
    uint64_t requested;             /* by the last failure */
    uint64_t told_free;             /* what the last picture that c10 reported knows was free */
    int failed_on;                  /* the device of the last picture */
};

/* Weak: NULL in a program that runs without the probe. */
struct probe probe_read(void) __attribute__((weak));
/* The counters: bytes live on a device, what PyTorch has allocated and reserved there, and what is page-locked. */
struct probe_usage {
    uint64_t live, allocated, torch_allocated, torch_reserved, pinned;
};
struct probe_usage probe_usage(uint8_t device) __attribute__((weak));
/* The calling thread works for a node of its own from now on. Then what that node has allocated so far. */
void probe_work(void) __attribute__((weak));
struct probe_work {
    uint64_t allocations, bytes;
} probe_worked(void) __attribute__((weak));
/* What a node sees, from one opening to the next: the most that was allocated, on all devices together. */
uint64_t probe_peak_since_opened(void) __attribute__((weak));
/* The entry at an address; false when there is none. */
bool probe_find(enum ledger_space space, uint64_t address, struct ledger_entry *found) __attribute__((weak));

#endif
