/* Three allocators behind one interface. Native and expandable: blocks are cut from segments, first fit, neighbours are
 * joined again, and every block is reported. Async: the driver's pool does all of it, and nothing is reported. */
#include "c10.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MIB     ((size_t)1 << 20)
#define DEVICES 32

struct block {
    struct block *next; /* by address, in the segment; the first one is the segment's own */
    char *address;
    size_t size;
    bool used;
};

struct segment {
    struct segment *next;
    int device;
    size_t size;
    CUmemGenericAllocationHandle physical; /* expandable segments */
    struct block *blocks;
};

static enum { NATIVE, ASYNC, EXPANDABLE } backend;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct segment *segments;
static size_t allocated[DEVICES], reserved[DEVICES], limit = SIZE_MAX;
static struct {
    __typeof__(cuMemCreate) *create;
    __typeof__(cuMemRelease) *release;
    __typeof__(cuMemMap) *map;
    __typeof__(cuMemUnmap) *unmap;
    __typeof__(cuMemAddressReserve) *reserve;
    __typeof__(cuMemAddressFree) *give_back;
    __typeof__(cuMemSetAccess) *access;
} driver;

static void *entry_point(const char *name) {
    void *found = NULL;
    enum cudaDriverEntryPointQueryResult result;
    cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
    return found;
}

static void choose(void) {
    const char *text = getenv("PYTORCH_CUDA_ALLOC_CONF");
    backend = text && strstr(text, "backend:cudaMallocAsync")    ? ASYNC
              : text && strstr(text, "expandable_segments:True") ? EXPANDABLE
                                                                 : NATIVE;
    if (backend != EXPANDABLE) return;
    driver.create = entry_point("cuMemCreate");
    driver.release = entry_point("cuMemRelease");
    driver.map = entry_point("cuMemMap");
    driver.unmap = entry_point("cuMemUnmap");
    driver.reserve = entry_point("cuMemAddressReserve");
    driver.give_back = entry_point("cuMemAddressFree");
    driver.access = entry_point("cuMemSetAccess");
}

/* ---- segments ---- */

static size_t segment_size(size_t size) {
    return size <= MIB ? 2 * MIB : size < 10 * MIB ? 20 * MIB : (size + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
}

static char *map_segment(struct segment *segment) {
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, segment->device}};
    CUmemAccessDesc access = {properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUdeviceptr address = 0;
    if (driver.create(&segment->physical, segment->size, &properties, 0) != CUDA_SUCCESS) return NULL;
    driver.reserve(&address, segment->size, 0, 0, 0);
    driver.map(address, segment->size, 0, segment->physical, 0);
    driver.access(address, segment->size, &access, 1);
    return (char *)address;
}

static char *get_memory(struct segment *segment) {
    void *address = NULL;
    if (backend == EXPANDABLE) return map_segment(segment);
    if (cudaMalloc(&address, segment->size) == cudaSuccess) return address;
    cudaGetLastError();
    return NULL;
}

static struct segment *make_segment(int device, size_t size) {
    struct segment *segment = calloc(1, sizeof *segment);
    *segment = (struct segment){.device = device, .size = segment_size(size)};
    char *address = get_memory(segment);
    if (!address) {
        free(segment);
        return NULL;
    }
    segment->blocks = calloc(1, sizeof *segment->blocks);
    *segment->blocks = (struct block){.address = address, .size = segment->size};
    segment->next = segments;
    segments = segment;
    reserved[device] += segment->size;
    return segment;
}

static void drop_segment(struct segment *segment) {
    char *address = segment->blocks->address;
    if (backend == EXPANDABLE) {
        driver.unmap((CUdeviceptr)address, segment->size);
        driver.release(segment->physical);
        driver.give_back((CUdeviceptr)address, segment->size);
    } else {
        cudaFree(address);
    }
    reserved[segment->device] -= segment->size;
    free(segment->blocks);
    free(segment);
}

static void drop_unused(void) {
    for (struct segment **link = &segments; *link;) {
        struct segment *segment = *link;
        if (segment->blocks->used || segment->blocks->next) {
            link = &segment->next;
        } else {
            *link = segment->next;
            drop_segment(segment);
        }
    }
}

/* ---- blocks ---- */

static void report(const struct block *block, int device, int64_t size) {
    c10_report(block->address, size, allocated[device], reserved[device],
               (struct c10_device){1, (int8_t)device});
}

static struct block *cut(struct segment *segment, size_t size) {
    for (struct block *block = segment->blocks; block; block = block->next) {
        if (block->used || block->size < size) continue;
        if (block->size > size) {
            struct block *rest = calloc(1, sizeof *rest);
            *rest = (struct block){
                .next = block->next, .address = block->address + size, .size = block->size - size};
            block->next = rest;
            block->size = size;
        }
        block->used = true;
        return block;
    }
    return NULL;
}

static struct block *cut_anywhere(int device, size_t size) {
    struct block *block = NULL;
    for (struct segment *segment = segments; segment && !block; segment = segment->next)
        if (segment->device == device && segment->size == segment_size(size)) block = cut(segment, size);
    if (block) return block;
    struct segment *segment = make_segment(device, size);
    if (!segment) {
        drop_unused();
        segment = make_segment(device, size);
    }
    return segment ? cut(segment, size) : NULL;
}

static void join_free(struct block *block) {
    while (block && block->next) {
        struct block *next = block->next;
        if (block->used || next->used) {
            block = next;
        } else {
            block->size += next->size;
            block->next = next->next;
            free(next);
        }
    }
}

static void *allocate_block(int device, size_t size) {
    size = (size + 511) / 512 * 512;
    struct block *block = cut_anywhere(device, size);
    if (!block) {
        size_t free_bytes, total;
        cudaMemGetInfo(&free_bytes, &total);
        c10_report_oom((int64_t)size, allocated[device], reserved[device],
                       (struct c10_device){1, (int8_t)device});
        return NULL;
    }
    allocated[device] += block->size;
    report(block, device, (int64_t)block->size);
    return block->address;
}

static void free_block(void *pointer) {
    for (struct segment *segment = segments; segment; segment = segment->next)
        for (struct block *block = segment->blocks; block; block = block->next)
            if (block->used && block->address == pointer) {
                block->used = false;
                allocated[segment->device] -= block->size;
                report(block, segment->device, -(int64_t)block->size);
                join_free(segment->blocks);
                return;
            }
}

/* ---- the interface ---- */

static void *allocate_async(int device, size_t size) {
    void *pointer = NULL;
    bool allowed = c10_cuda_allocated(device) + size <= limit;
    if (allowed && cudaMallocAsync(&pointer, size, NULL) == cudaSuccess) return pointer;
    size_t free_bytes, total;
    cudaGetLastError();
    cudaMemGetInfo(&free_bytes, &total);
    return NULL;
}

void *c10_cuda_allocate(int device, size_t size) {
    int before;
    void *pointer;
    pthread_once(&once, choose);
    cudaGetDevice(&before);
    cudaSetDevice(device);
    pthread_mutex_lock(&lock);
    pointer = backend == ASYNC ? allocate_async(device, size) : allocate_block(device, size);
    pthread_mutex_unlock(&lock);
    cudaSetDevice(before);
    return pointer;
}

void c10_cuda_free(void *pointer) {
    pthread_mutex_lock(&lock);
    if (backend == ASYNC)
        cudaFreeAsync(pointer, NULL);
    else
        free_block(pointer);
    pthread_mutex_unlock(&lock);
}

void c10_cuda_empty_cache(void) {
    pthread_mutex_lock(&lock);
    if (backend == ASYNC) {
        cudaMemPool_t pool;
        cudaDeviceGetDefaultMemPool(&pool, 0);
        cudaMemPoolTrimTo(pool, 0);
    } else {
        drop_unused();
    }
    pthread_mutex_unlock(&lock);
}

void c10_cuda_set_limit(size_t bytes) {
    limit = bytes;
}

static size_t of_pool(int device, enum cudaMemPoolAttr attribute) {
    cudaMemPool_t pool;
    uint64_t value = 0;
    if (cudaDeviceGetDefaultMemPool(&pool, device) == cudaSuccess)
        cudaMemPoolGetAttribute(pool, attribute, &value);
    return value; /* 0 for a device that is not there */
}

size_t c10_cuda_allocated(int device) {
    return backend == ASYNC ? of_pool(device, cudaMemPoolAttrUsedMemCurrent) : allocated[device];
}

size_t c10_cuda_reserved(int device) {
    return backend == ASYNC ? of_pool(device, cudaMemPoolAttrReservedMemCurrent) : reserved[device];
}
