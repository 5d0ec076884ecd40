/* physical: the virtual memory calls: physical memory by handle, reserved addresses, and mappings of one into the other.
 * Physical memory lives until its handle has been released as often as it was given out and nothing maps it. Any thread. */
#ifndef FAKE_PHYSICAL_H
#define FAKE_PHYSICAL_H

#include "gpu/books.h"
#include "gpu/errors.h"

/* Sizes and addresses are multiples of ADDRESSES_PAGE. `device` FAKE_GPU_HOST: pinned memory of the host. */
enum gpu_error physical_create(uint64_t *handle, size_t size, int device);

/* A handle of memory that another process has made: takes nothing here. */
enum gpu_error physical_import(uint64_t *handle, size_t size);
enum gpu_error physical_release(uint64_t handle);

/* The handle of what is mapped at `address`, held once more. */
enum gpu_error physical_retain(uint64_t *handle, uintptr_t address);

enum gpu_error physical_reserve(uintptr_t *address, size_t size, size_t alignment);
enum gpu_error physical_unreserve(uintptr_t address, size_t size);
enum gpu_error physical_map(uintptr_t address, size_t size, size_t offset, uint64_t handle);

/* Takes away the mappings that the range is made of; it fails when there is a hole, or a part of one (cuda.h, cuMemUnmap). */
enum gpu_error physical_unmap(uintptr_t address, size_t size);

#endif
