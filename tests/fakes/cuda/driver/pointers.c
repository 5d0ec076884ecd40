/* pointers: what they point to, and copies. */
#include "driver/driver.h"
#include "gpu/addresses.h"
#include "gpu/memory.h"

#include <string.h>

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr address) {
    struct block block;
    CUresult error = CALL();
    if (error) return error;
    if (!memory_block(address, &block)) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = block.address;
    if (size) *size = block.size;
    return CUDA_SUCCESS;
}

/* Memory is recognised by its first byte only; torch and the runtime ask no more. */
static CUresult pointer_attribute(void *value, CUpointer_attribute attribute, uintptr_t address) {
    struct block block = {.device = 0};
    bool found = memory_block(address, &block);
    bool managed = found && block.kind == FAKE_GPU_MANAGED;
    bool host = found && block.device == FAKE_GPU_HOST;
    bool known = found || addresses_known(address);
    int device = block.device == FAKE_GPU_HOST ? 0 : block.device;

    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)value = known ? contexts_primary(device) : NULL;
        break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)value = host ? CU_MEMORYTYPE_HOST : known ? CU_MEMORYTYPE_DEVICE : 0;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)value = known ? address : 0;
        break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *(void **)value = host || managed ? (void *)address : NULL;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(bool *)value = managed;
        break;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(bool *)value = known;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)value = known ? devices_ordinal(device) : -2;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)value = block.size;
        break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
        *(unsigned long long *)value = address;
        break;
    default:
        *(int *)value = 0;
    }
    return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address) {
    return CALL() ?: pointer_attribute(value, attribute, address);
}

CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **values,
                                CUdeviceptr address) {
    CUresult error = CALL();
    if (error) return error;
    for (unsigned i = 0; i < count; i++)
        pointer_attribute(values[i], attributes[i], address);
    return CUDA_SUCCESS;
}

/* Where device memory cannot be read, copies to the host give zeros. */
static CUresult copy(uintptr_t to, uintptr_t from, size_t bytes) {
    if (settings.copy || !(addresses_known(to) || addresses_known(from)))
        memmove((void *)to, (void *)from, bytes);
    else if (!addresses_known(to))
        memset((void *)to, 0, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return CALL() ?: copy(to, from, bytes);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return CALL() ?: copy(to, from, bytes);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    return CALL() ?: copy(to, (uintptr_t)from, bytes);
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    return CALL() ?: copy((uintptr_t)to, from, bytes);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return CALL() ?: copy(to, from, bytes);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    return CALL() ?: copy(to, (uintptr_t)from, bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return CALL() ?: copy((uintptr_t)to, from, bytes);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return CALL() ?: copy(to, from, bytes);
}
