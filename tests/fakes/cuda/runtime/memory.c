/* memory: every memory call is one of the driver. */
#include "runtime/binding.h"

#include <string.h>

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    return ENTER() ?: binding_done(driver.mem_info(available, total));
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
    cudaError_t error = ENTER();
    if (error) return error;
    if (!bytes) {
        *out = NULL;
        return cudaSuccess;
    }
    return binding_done(driver.alloc((CUdeviceptr *)out, bytes));
}

cudaError_t cudaMallocPitch(void **out, size_t *pitch, size_t width, size_t height) {
    return ENTER() ?: binding_done(driver.alloc_pitch((CUdeviceptr *)out, pitch, width, height, 4));
}

cudaError_t cudaMallocManaged(void **out, size_t bytes, unsigned flags) {
    return ENTER() ?: binding_done(driver.alloc_managed((CUdeviceptr *)out, bytes, flags));
}

cudaError_t cudaFree(void *memory) {
    return ENTER() ?: (memory ? binding_done(driver.free((CUdeviceptr)memory)) : cudaSuccess);
}

cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.alloc_async((CUdeviceptr *)out, bytes, stream));
}

cudaError_t cudaMallocFromPoolAsync(void **out, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.alloc_from_pool((CUdeviceptr *)out, bytes, pool, stream));
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.free_async((CUdeviceptr)memory, stream));
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
    return ENTER() ?: binding_done(driver.host_alloc(out, bytes, 0));
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags) {
    return ENTER() ?: binding_done(driver.host_alloc(out, bytes, flags));
}

cudaError_t cudaFreeHost(void *memory) {
    return ENTER() ?: (memory ? binding_done(driver.host_free(memory)) : cudaSuccess);
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned flags) {
    return ENTER() ?: binding_done(driver.host_register(memory, bytes, flags));
}

cudaError_t cudaHostUnregister(void *memory) {
    return ENTER() ?: binding_done(driver.host_unregister(memory));
}

cudaError_t cudaHostGetDevicePointer(void **out, void *memory, unsigned flags) {
    return ENTER() ?: binding_done(driver.host_device_pointer((CUdeviceptr *)out, memory, flags));
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
    return ATTACH() ?: binding_done(driver.default_pool(pool, device));
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *pool, int device) {
    return ATTACH() ?: binding_done(driver.get_pool(pool, device));
}

cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t pool) {
    return ATTACH() ?: binding_done(driver.set_pool(device, pool));
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const struct cudaMemPoolProps *properties) {
    return ATTACH() ?: binding_done(driver.pool_create(pool, (const CUmemPoolProps *)properties));
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
    return ATTACH() ?: binding_done(driver.pool_destroy(pool));
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep) {
    return ATTACH() ?: binding_done(driver.pool_trim(pool, keep));
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    return ATTACH() ?: binding_done(driver.pool_get(pool, (CUmemPool_attribute)attribute, value));
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    return ATTACH() ?: binding_done(driver.pool_set(pool, (CUmemPool_attribute)attribute, value));
}

cudaError_t cudaDeviceGetGraphMemAttribute(int device, enum cudaGraphMemAttributeType attribute,
                                           void *value) {
    return ATTACH() ?: binding_done(driver.graph_memory(device, (CUgraphMem_attribute)attribute, value));
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *pointer) {
    unsigned type = 0;
    bool managed = false;
    CUdeviceptr on_device = 0;
    CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                    CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                    CU_POINTER_ATTRIBUTE_HOST_POINTER};
    void *values[] = {&type, &managed, &out->device, &on_device, &out->hostPointer};

    cudaError_t error = ENTER();

    if (error) return error;
    memset(out, 0, sizeof *out);
    driver.pointer_attributes(sizeof wanted / sizeof *wanted, wanted, values, (CUdeviceptr)pointer);
    out->type = managed ? cudaMemoryTypeManaged : (enum cudaMemoryType)type;
    out->devicePointer = (void *)on_device;
    if (out->type == cudaMemoryTypeUnregistered) out->hostPointer = (void *)pointer;
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    return ENTER() ?: binding_done(driver.copy((CUdeviceptr)to, (CUdeviceptr)from, bytes));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.copy_async((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream));
}

/* ---- per-thread streams ---- */

cudaError_t cudaMallocAsync_ptsz(void **out, size_t bytes, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.alloc_async_ptsz((CUdeviceptr *)out, bytes, stream));
}

cudaError_t cudaMallocFromPoolAsync_ptsz(void **out, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.alloc_from_pool_ptsz((CUdeviceptr *)out, bytes, pool, stream));
}

cudaError_t cudaFreeAsync_ptsz(void *memory, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.free_async_ptsz((CUdeviceptr)memory, stream));
}

/* ---- pitched, arrays, other processes' ---- */

cudaError_t cudaMalloc3D(struct cudaPitchedPtr *out, struct cudaExtent extent) {
    CUdeviceptr address;
    size_t pitch;
    size_t rows = extent.height * extent.depth;
    cudaError_t error = ENTER() ?: binding_done(driver.alloc_pitch(&address, &pitch, extent.width, rows, 4));
    if (!error)
        *out = (struct cudaPitchedPtr){
            .ptr = (void *)address, .pitch = pitch, .xsize = extent.width, .ysize = extent.height};
    return error;
}

static CUDA_ARRAY3D_DESCRIPTOR described(const struct cudaChannelFormatDesc *format,
                                         struct cudaExtent extent) {
    int channels = !!format->x + !!format->y + !!format->z + !!format->w;
    CUarray_format of = format->x == 8    ? CU_AD_FORMAT_UNSIGNED_INT8
                        : format->x == 16 ? CU_AD_FORMAT_UNSIGNED_INT16
                                          : CU_AD_FORMAT_UNSIGNED_INT32;

    return (CUDA_ARRAY3D_DESCRIPTOR){.Width = extent.width,
                                     .Height = extent.height,
                                     .Depth = extent.depth,
                                     .Format = of,
                                     .NumChannels = (unsigned)channels};
}

cudaError_t cudaMallocArray(cudaArray_t *array, const struct cudaChannelFormatDesc *format, size_t width,
                            size_t height, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = described(format, (struct cudaExtent){width, height, 0});

    return ENTER() ?: binding_done(driver.array_create((CUarray *)array, &wanted));
}

cudaError_t cudaMalloc3DArray(cudaArray_t *array, const struct cudaChannelFormatDesc *format,
                              struct cudaExtent extent, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = described(format, extent);
    return ENTER() ?: binding_done(driver.array_create((CUarray *)array, &wanted));
}

cudaError_t cudaFreeArray(cudaArray_t array) {
    return ENTER() ?: (!array ? cudaSuccess : binding_done(driver.array_destroy((CUarray)array)));
}

cudaError_t cudaMallocMipmappedArray(cudaMipmappedArray_t *array, const struct cudaChannelFormatDesc *format,
                                     struct cudaExtent extent, unsigned levels, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = described(format, extent);
    return ENTER() ?: binding_done(driver.mipmap_create((CUmipmappedArray *)array, &wanted, levels));
}

cudaError_t cudaFreeMipmappedArray(cudaMipmappedArray_t array) {
    return ENTER() ?: (!array ? cudaSuccess : binding_done(driver.mipmap_destroy((CUmipmappedArray)array)));
}

cudaError_t cudaArrayGetMemoryRequirements(struct cudaArrayMemoryRequirements *out, cudaArray_t array,
                                           int device) {
    CUDA_ARRAY_MEMORY_REQUIREMENTS found;
    cudaError_t error = ENTER() ?: binding_done(driver.array_requirements(&found, (CUarray)array, device));
    if (!error) *out = (struct cudaArrayMemoryRequirements){.size = found.size, .alignment = found.alignment};
    return error;
}

cudaError_t cudaIpcOpenMemHandle(void **out, cudaIpcMemHandle_t handle, unsigned flags) {
    CUipcMemHandle theirs;
    memcpy(&theirs, &handle, sizeof theirs);
    return ENTER() ?: binding_done(driver.ipc_open((CUdeviceptr *)out, theirs, flags));
}

cudaError_t cudaIpcCloseMemHandle(void *memory) {
    return ENTER() ?: binding_done(driver.ipc_close((CUdeviceptr)memory));
}
