/* async: stream-ordered memory and its pools. A CUmemoryPool is a struct pool. */
#include "driver/driver.h"
#include "gpu/memory.h"
#include "gpu/pools.h"

static struct pool *pool_of(CUmemoryPool handle) {
    return (struct pool *)handle;
}

/* From the pool of the stream's device; on a stream that captures it is the graph's instead (cuda.h, cuMemAllocAsync). */
static CUresult allocate(CUdeviceptr *out, size_t bytes, struct pool *pool, CUstream stream) {
    CUcontext context = streams_context(stream);
    uintptr_t address;
    CUresult error;
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!pool) pool = pools_current(contexts_device(context));
    error = streams_capturing(stream) ? (CUresult)memory_of_graph(&address, bytes, contexts_device(context))
                                      : (CUresult)pools_allocate(&address, bytes, pool);
    if (!error) *out = address;
    return error;
}

/* Captured, it can free nothing but the graph's (cuda.h, cuMemFreeAsync). */
static CUresult give_back(CUdeviceptr address, CUstream stream) {
    return (CUresult)memory_free(address, streams_capturing(stream) ? MEMORY_GRAPH : MEMORY_DEVICE);
}

/* What no stream means to the functions for threads with a default stream each. */
static CUstream own(CUstream stream) {
    return stream ? stream : CU_STREAM_PER_THREAD;
}

CUresult cuMemAllocAsync(CUdeviceptr *out, size_t bytes, CUstream stream) {
    return CALL() ?: allocate(out, bytes, NULL, stream);
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *out, size_t bytes, CUstream stream) {
    return CALL() ?: allocate(out, bytes, NULL, own(stream));
}

static CUresult from_pool(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return pool ? allocate(out, bytes, pool_of(pool), stream) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return CALL() ?: from_pool(out, bytes, pool, stream);
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return CALL() ?: from_pool(out, bytes, pool, own(stream));
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    return CALL() ?: give_back(address, stream);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) {
    return CALL() ?: give_back(address, own(stream));
}

/* ---- pools ---- */

static CUresult give_pool(CUmemoryPool *out, struct pool *(*which)(int), CUdevice device) {
    int physical = devices_physical(device);
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    *out = (CUmemoryPool)which(physical);
    return CUDA_SUCCESS;
}

static CUdevice at(const CUmemLocation *location) {
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE ? location->id : 0;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    return CALL() ?: give_pool(pool, pools_default, device);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
    return CALL() ?: give_pool(pool, pools_current, device);
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
    int physical = devices_physical(device);
    CUresult error = CALL();
    if (error) return error;
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    pools_set_current(physical, pool_of(pool));
    return CUDA_SUCCESS;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) {
    return CALL() ?: give_pool(pool, pools_default, at(location));
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) {
    return CALL() ?: give_pool(pool, pools_current, at(location));
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties) {
    bool of_device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    int physical = of_device ? devices_physical(properties->location.id) : 0;
    CUresult error = CALL_UNSAFE();
    if (error) return error;
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    *pool = (CUmemoryPool)pools_create(of_device ? physical : FAKE_GPU_HOST);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    return CALL_UNSAFE() ?: (CUresult)pools_destroy(pool_of(pool));
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
    CUresult error = CALL();
    if (!error) pools_trim(pool_of(pool), keep);
    return error;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    struct pool_figures figures;
    CUresult error = CALL();
    if (error) return error;
    figures = pools_figures(pool_of(pool));
    switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        *(cuuint64_t *)value = figures.threshold;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
        *(cuuint64_t *)value = figures.reserved;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        *(cuuint64_t *)value = figures.reserved_high;
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        *(cuuint64_t *)value = figures.used;
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        *(cuuint64_t *)value = figures.used_high;
        break;
    default: /* the switches of how freed memory is used again */
        *(int *)value = 1;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CUresult error = CALL();
    if (error) return error;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        pools_set_threshold(pool_of(pool), *(cuuint64_t *)value);
    else
        pools_reset_peaks(pool_of(pool), attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH,
                          attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH);
    return CUDA_SUCCESS;
}

/* No graph allocates here. */
CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void *value) {
    *(cuuint64_t *)value = 0;
    return CALL();
}
