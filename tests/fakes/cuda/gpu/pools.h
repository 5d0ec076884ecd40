/* pools: stream-ordered memory. A pool reserves memory of its device as it needs it and keeps what is freed, until it is
 * trimmed or the device is waited for. Every stream is always done here, so what is freed can be used again at once. Any
 * thread. */
#ifndef FAKE_POOLS_H
#define FAKE_POOLS_H

#include "gpu/books.h"
#include "gpu/errors.h"

struct pool_figures {
    uint64_t used, used_high;         /* bytes that the program holds of it, and the most that it has held */
    uint64_t reserved, reserved_high; /* bytes that it has taken from its device */
    uint64_t threshold;               /* bytes that it keeps when its device is waited for */
};

/* A device's own pool, and the one that allocations come from which name none. */
struct pool *pools_default(int device);
struct pool *pools_current(int device);
void pools_set_current(int device, struct pool *pool);

/* A further pool, of a device or of FAKE_GPU_HOST; NULL when memory is gone. Destroyed, it lives on until nothing of it is
 * held. */
struct pool *pools_create(int device);
enum gpu_error pools_destroy(struct pool *pool);

enum gpu_error pools_allocate(uintptr_t *address, size_t bytes, struct pool *pool);

/* An allocation of the pool has been freed. Books' lock held. */
void pools_take_back(struct pool *pool, size_t size);

/* Gives memory back to the device until `keep` bytes stay reserved, or what is held. */
void pools_trim(struct pool *pool, size_t keep);

/* A device, or all, have been waited for: pools give back what they keep beyond their threshold. */
void pools_synchronize(void);

struct pool_figures pools_figures(struct pool *pool);
void pools_set_threshold(struct pool *pool, uint64_t bytes);
void pools_reset_peaks(struct pool *pool, bool used, bool reserved);

#endif
