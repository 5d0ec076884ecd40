/* books: what is allocated on every device and, page-locked, on the host. Every byte that the program holds is in here, so
 * that a test can compare it with what somebody else believes. The functions here need the books' lock to be held;
 * gpu/memory, gpu/pools and gpu/physical hold it themselves. Devices go by their number among all. */
#ifndef FAKE_BOOKS_H
#define FAKE_BOOKS_H

#include "fake_gpu.h"

#include <stddef.h>

struct pool;
struct physical;

/* A live allocation, mapping, or registration. */
struct block {
    uintptr_t address;
    size_t size; /* bytes, as charged */
    enum fake_gpu_kind kind;
    int device;                /* or FAKE_GPU_HOST */
    const void *owner;         /* the context that it goes with; NULL: none */
    struct pool *pool;         /* ASYNC only */
    struct physical *physical; /* MAPPING only */
    struct block *next;
};

void books_lock(void);
void books_unlock(void);

/* Takes `size` bytes of the device's memory; false when there are not so many. The host always has them. */
bool books_charge(int device, size_t size);
void books_refund(int device, size_t size);
size_t books_free(int device);

/* Adds to what the program holds; of physical memory, which has no address, only the figures. */
struct block *books_add(uintptr_t address, size_t size, enum fake_gpu_kind kind, int device);
void books_count(int device, enum fake_gpu_kind kind, size_t size, int sign);

/* "plain", "async", ... */
const char *books_kind(enum fake_gpu_kind kind);

/* The block that begins at `address`, NULL when none does. Valid while the lock is held. */
struct block *books_find(uintptr_t address);

/* Takes it out of the books; what it was is copied to *removed. */
void books_remove(struct block *block, struct block *removed);

/* Any one block of `owner`; NULL when there is none. *from is 0 at first, and lets the search go on where it has come to. */
struct block *books_any(const void *owner, unsigned *from);

#endif
