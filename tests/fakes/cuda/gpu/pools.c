#include "gpu/pools.h"

#include "gpu/addresses.h"
#include "gpu/settings.h"

#include <stdlib.h>

struct pool {
    int device;
    bool destroyed;
    struct pool_figures figures;
};

static struct pool defaults[SETTINGS_DEVICES];
static struct pool *current[SETTINGS_DEVICES]; /* NULL: the default */

__attribute__((constructor)) static void number_defaults(void) {
    for (int device = 0; device < SETTINGS_DEVICES; device++)
        defaults[device].device = device;
}

struct pool *pools_default(int device) {
    return &defaults[device];
}

struct pool *pools_current(int device) {
    return current[device] ? current[device] : &defaults[device];
}

void pools_set_current(int device, struct pool *pool) {
    current[device] = pool;
}

struct pool *pools_create(int device) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool) pool->device = device;
    return pool;
}

static void trim(struct pool *pool, uint64_t keep) {
    struct pool_figures *figures = &pool->figures;
    uint64_t target = figures->used > keep ? figures->used : keep;
    if (figures->reserved <= target) return;
    books_refund(pool->device, figures->reserved - target);
    figures->reserved = target;
}

enum gpu_error pools_destroy(struct pool *pool) {
    bool of_device = pool && pool->device != FAKE_GPU_HOST;
    if (!pool || (of_device && pool == &defaults[pool->device])) return GPU_INVALID_VALUE;
    if (of_device && current[pool->device] == pool) current[pool->device] = NULL;
    books_lock();
    trim(pool, 0);
    pool->destroyed = true;
    books_unlock();
    return GPU_OK; /* never freed: allocations may refer to it */
}

enum gpu_error pools_allocate(uintptr_t *address, size_t bytes, struct pool *pool) {
    size_t size = addresses_round_up(bytes, ADDRESSES_UNIT);
    enum gpu_error error = GPU_OUT_OF_MEMORY;
    uint64_t idle, missing;
    uintptr_t found;
    if (!address || !pool || pool->destroyed) return GPU_INVALID_VALUE;
    if (!bytes) {
        *address = 0;
        return GPU_OK;
    }
    books_lock();

    struct pool_figures *figures = &pool->figures;

    idle = figures->reserved - figures->used;
    missing = size > idle ? size - idle : 0;
    if (size >= bytes && books_charge(pool->device, missing)) {
        found = addresses_take(size, 0);
        figures->reserved += missing;
        figures->used += size;
        if (figures->reserved > figures->reserved_high) figures->reserved_high = figures->reserved;
        if (figures->used > figures->used_high) figures->used_high = figures->used;
        books_add(found, size, FAKE_GPU_ASYNC, pool->device)->pool = pool;
        *address = found;
        error = GPU_OK;
    }
    books_unlock();
    return error;
}

void pools_take_back(struct pool *pool, size_t size) {
    pool->figures.used -= size;
    if (pool->destroyed) trim(pool, 0);
}

void pools_trim(struct pool *pool, size_t keep) {
    books_lock();
    trim(pool, keep);
    books_unlock();
}

void pools_synchronize(void) {
    books_lock();
    for (int device = 0; device < settings.devices; device++) {
        trim(&defaults[device], defaults[device].figures.threshold);
        if (current[device]) trim(current[device], current[device]->figures.threshold);
    }
    books_unlock();
}

struct pool_figures pools_figures(struct pool *pool) {
    struct pool_figures figures;
    books_lock();
    figures = pool->figures;
    books_unlock();
    return figures;
}

void pools_set_threshold(struct pool *pool, uint64_t bytes) {
    books_lock();
    pool->figures.threshold = bytes;
    books_unlock();
}

void pools_reset_peaks(struct pool *pool, bool used, bool reserved) {
    books_lock();
    if (used) pool->figures.used_high = pool->figures.used;
    if (reserved) pool->figures.reserved_high = pool->figures.reserved;
    books_unlock();
}
