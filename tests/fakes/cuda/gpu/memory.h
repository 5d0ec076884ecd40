/* memory: allocations on a device outside pools, managed memory, and page-locked memory of the host. Any thread. Devices go
 * by their number among all; `owner` is the context that the memory dies with. */
#ifndef FAKE_MEMORY_H
#define FAKE_MEMORY_H

#include "gpu/books.h"
#include "gpu/errors.h"

/* PLAIN or ARRAY: `bytes` of the device, rounded up to 512. */
enum gpu_error memory_allocate(uintptr_t *address, size_t bytes, enum fake_gpu_kind kind, int device,
                               const void *owner);

/* MANAGED or PINNED: memory that the program can read and write. */
enum gpu_error memory_map(void **memory, size_t bytes, enum fake_gpu_kind kind, int device,
                          const void *owner);

enum gpu_error memory_register(void *memory, size_t bytes, const void *owner);

/* Frees what is of one of these kinds (bit n: kind n). An address that is not is an invalid value; 0 is fine. ASYNC memory
 * goes back to its pool. */
enum gpu_error memory_free(uintptr_t address, unsigned kinds);

#define MEMORY_GRAPH  (1u << FAKE_GPU_GRAPH)
#define MEMORY_DEVICE (1u << FAKE_GPU_PLAIN | 1u << FAKE_GPU_ASYNC | 1u << FAKE_GPU_MANAGED | MEMORY_GRAPH)

/* An allocation node of a graph: an address, which the graph has memory for when it runs. */
enum gpu_error memory_of_graph(uintptr_t *address, size_t bytes, int device);

/* Everything of a context is freed. Stream-ordered and physical memory is of none. */
void memory_free_all(const void *owner);

/* Bytes that the device has left. */
size_t memory_free_bytes(int device);

/* A copy of the block that begins at `address`; false when none does. */
bool memory_block(uintptr_t address, struct block *block);

#endif
