/* addresses: of device memory, out of one range of address space that nobody else uses. Nothing can be read or written there,
 * unless FAKE_CUDA_COPY says so. The caller holds the books' lock. */
#ifndef FAKE_ADDRESSES_H
#define FAKE_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESSES_UNIT ((size_t)512)     /* what small allocations are rounded up to */
#define ADDRESSES_PAGE ((size_t)2 << 20) /* what large ones are aligned to, and VMM works in */

size_t addresses_round_up(size_t size, size_t unit);

/* The address that was given back last among those of exactly this size, as the real driver soon hands out a freed address
 * again; else a new one; 0 when there is none. `alignment` 0: what the size deserves. */
uintptr_t addresses_take(size_t size, size_t alignment);
void addresses_give_back(uintptr_t address, size_t size);

/* Whether it lies in the range. No lock needed. */
bool addresses_known(uintptr_t address);

#endif
