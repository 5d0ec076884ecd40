#include "gpu/physical.h"

#include "gpu/addresses.h"

#include <stdlib.h>

struct physical {
    size_t size;
    int device;
    bool foreign;   /* imported */
    int references; /* handles and mappings */
};

static struct physical *of(uint64_t handle) {
    return (struct physical *)(uintptr_t)handle;
}

static enum fake_gpu_kind kind_of(const struct physical *physical) {
    return physical->device == FAKE_GPU_HOST ? FAKE_GPU_PINNED : FAKE_GPU_PHYSICAL;
}

static bool whole_pages(size_t size) {
    return size && size % ADDRESSES_PAGE == 0;
}

enum gpu_error physical_create(uint64_t *handle, size_t size, int device) {
    struct physical *physical;
    bool room;
    if (!whole_pages(size)) return GPU_INVALID_VALUE;
    physical = malloc(sizeof *physical);
    if (!physical) return GPU_OUT_OF_MEMORY;
    *physical = (struct physical){.size = size, .device = device, .references = 1};
    books_lock();
    room = books_charge(device, size);
    if (room) books_count(device, kind_of(physical), size, 1);
    books_unlock();
    if (!room) {
        free(physical);
        return GPU_OUT_OF_MEMORY;
    }
    *handle = (uintptr_t)physical;
    return GPU_OK;
}

enum gpu_error physical_import(uint64_t *handle, size_t size) {
    struct physical *physical = malloc(sizeof *physical);
    if (!physical) return GPU_OUT_OF_MEMORY;
    *physical = (struct physical){.size = size, .foreign = true, .references = 1};
    *handle = (uintptr_t)physical;
    return GPU_OK;
}

/* Books' lock held. */
static void drop(struct physical *physical) {
    if (--physical->references) return;
    if (!physical->foreign) {
        books_refund(physical->device, physical->size);
        books_count(physical->device, kind_of(physical), physical->size, -1);
    }
    free(physical);
}

enum gpu_error physical_release(uint64_t handle) {
    if (!handle) return GPU_INVALID_VALUE;
    books_lock();
    drop(of(handle));
    books_unlock();
    return GPU_OK;
}

/* The mapping that `address` lies in, which need not be its beginning, or NULL. Books' lock held. */
static struct block *mapping_at(uintptr_t address) {
    for (uintptr_t page = address - address % ADDRESSES_PAGE; addresses_known(page); page -= ADDRESSES_PAGE) {
        struct block *block = books_find(page);
        if (block) return block->kind == FAKE_GPU_MAPPING && address < page + block->size ? block : NULL;
    }
    return NULL;
}

enum gpu_error physical_retain(uint64_t *handle, uintptr_t address) {
    enum gpu_error error = GPU_INVALID_VALUE;
    struct block *block;
    books_lock();
    block = mapping_at(address);
    if (block) {
        block->physical->references++;
        *handle = (uintptr_t)block->physical;
        error = GPU_OK;
    }
    books_unlock();
    return error;
}

enum gpu_error physical_reserve(uintptr_t *address, size_t size, size_t alignment) {
    if (!whole_pages(size)) return GPU_INVALID_VALUE;
    books_lock();
    *address = addresses_take(size, alignment > ADDRESSES_PAGE ? alignment : ADDRESSES_PAGE);
    books_unlock();
    return *address ? GPU_OK : GPU_OUT_OF_MEMORY;
}

enum gpu_error physical_unreserve(uintptr_t address, size_t size) {
    if (!addresses_known(address) || !whole_pages(size)) return GPU_INVALID_VALUE;
    books_lock();
    addresses_give_back(address, size);
    books_unlock();
    return GPU_OK;
}

/* Books' lock held. */
static bool is_free(uintptr_t address, size_t size) {
    for (uintptr_t end = address + size; address < end; address += ADDRESSES_PAGE)
        if (mapping_at(address)) return false;
    return true;
}

/* Whether the range is made of whole mappings, without a hole. Books' lock held. */
static bool is_mapped(uintptr_t address, size_t size) {
    uintptr_t end = address + size;
    while (address < end) {
        struct block *block = books_find(address);
        if (!block || block->kind != FAKE_GPU_MAPPING) return false;
        address += block->size;
    }
    return address == end;
}

enum gpu_error physical_map(uintptr_t address, size_t size, size_t offset, uint64_t handle) {
    enum gpu_error error = GPU_INVALID_VALUE;
    struct block *block;
    if (!addresses_known(address) || !handle || !whole_pages(size) || address % ADDRESSES_PAGE) return error;
    books_lock();
    if (is_free(address, size) && (of(handle)->foreign || offset + size <= of(handle)->size)) {
        block = books_add(address, size, FAKE_GPU_MAPPING, of(handle)->device);
        block->physical = of(handle);
        block->physical->references++;
        error = GPU_OK;
    }
    books_unlock();
    return error;
}

enum gpu_error physical_unmap(uintptr_t address, size_t size) {
    enum gpu_error error = GPU_INVALID_VALUE;
    if (!addresses_known(address) || !whole_pages(size)) return error;
    books_lock();
    if (is_mapped(address, size)) {
        for (uintptr_t end = address + size; address < end;) {
            struct block removed;
            books_remove(books_find(address), &removed);
            drop(removed.physical);
            address += removed.size;
        }
        error = GPU_OK;
    }
    books_unlock();
    return error;
}
