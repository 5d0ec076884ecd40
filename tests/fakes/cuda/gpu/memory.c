#include "gpu/memory.h"

#include "gpu/addresses.h"
#include "gpu/pools.h"

#include <sys/mman.h>

enum gpu_error memory_allocate(uintptr_t *address, size_t bytes, enum fake_gpu_kind kind, int device,
                               const void *owner) {
    size_t size = addresses_round_up(bytes, ADDRESSES_UNIT);
    enum gpu_error error = GPU_OUT_OF_MEMORY;
    uintptr_t found;
    if (!address || !bytes) return GPU_INVALID_VALUE;
    books_lock();
    if (size >= bytes && books_charge(device, size)) {
        found = addresses_take(size, 0);
        if (found) {
            books_add(found, size, kind, device)->owner = owner;
            *address = found;
            error = GPU_OK;
        } else {
            books_refund(device, size);
        }
    }
    books_unlock();
    return error;
}

enum gpu_error memory_of_graph(uintptr_t *address, size_t bytes, int device) {
    size_t size = addresses_round_up(bytes, ADDRESSES_UNIT);
    if (!bytes) return GPU_INVALID_VALUE;
    books_lock();
    *address = addresses_take(size, 0);
    if (*address) books_add(*address, size, FAKE_GPU_GRAPH, device);
    books_unlock();
    return *address ? GPU_OK : GPU_OUT_OF_MEMORY;
}

enum gpu_error memory_map(void **memory, size_t bytes, enum fake_gpu_kind kind, int device,
                          const void *owner) {
    void *mapped;
    if (!memory || !bytes) return GPU_INVALID_VALUE;
    mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return GPU_OUT_OF_MEMORY;
    books_lock();
    books_add((uintptr_t)mapped, bytes, kind, device)->owner = owner;
    books_unlock();
    *memory = mapped;
    return GPU_OK;
}

enum gpu_error memory_register(void *memory, size_t bytes, const void *owner) {
    enum gpu_error error = GPU_ALREADY_REGISTERED;
    if (!memory || !bytes) return GPU_INVALID_VALUE;
    books_lock();
    if (!books_find((uintptr_t)memory)) {
        books_add((uintptr_t)memory, bytes, FAKE_GPU_REGISTERED, FAKE_GPU_HOST)->owner = owner;
        error = GPU_OK;
    }
    books_unlock();
    return error;
}

/* Books' lock held. */
static void release(struct block *block) {
    struct block removed;
    books_remove(block, &removed);
    switch (removed.kind) {
    case FAKE_GPU_ASYNC:
        pools_take_back(removed.pool, removed.size);
        addresses_give_back(removed.address, removed.size);
        break;
    case FAKE_GPU_PLAIN:
    case FAKE_GPU_ARRAY:
        books_refund(removed.device, removed.size);
        addresses_give_back(removed.address, removed.size);
        break;
    case FAKE_GPU_GRAPH:
        addresses_give_back(removed.address, removed.size);
        break;
    case FAKE_GPU_MANAGED:
    case FAKE_GPU_PINNED:
        munmap((void *)removed.address, removed.size);
        break;
    default:
        break;
    }
}

enum gpu_error memory_free(uintptr_t address, unsigned kinds) {
    enum gpu_error error = GPU_INVALID_VALUE;
    struct block *block;
    if (!address) return GPU_OK;
    books_lock();
    block = books_find(address);
    if (block && kinds & 1u << block->kind) {
        release(block);
        error = GPU_OK;
    }
    books_unlock();
    return error;
}

void memory_free_all(const void *owner) {
    struct block *block;
    unsigned from = 0;
    books_lock();
    while ((block = books_any(owner, &from)))
        release(block);
    books_unlock();
}

size_t memory_free_bytes(int device) {
    size_t bytes;
    books_lock();
    bytes = books_free(device);
    books_unlock();
    return bytes;
}

bool memory_block(uintptr_t address, struct block *copy) {
    struct block *block;
    books_lock();
    block = books_find(address);
    if (block) *copy = *block;
    books_unlock();
    return block;
}
