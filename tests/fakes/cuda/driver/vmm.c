/* vmm: virtual memory management. */
#include "driver/driver.h"
#include "gpu/addresses.h"
#include "gpu/physical.h"

CUresult cuMemGetAllocationGranularity(size_t *unit, const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option) {
    *unit = ADDRESSES_PAGE;
    return CALL();
}

CUresult cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t alignment, CUdeviceptr hint,
                             unsigned long long flags) {
    uintptr_t address = 0;
    CUresult error = CALL() ?: (CUresult)physical_reserve(&address, size, alignment);
    if (!error) *out = address;
    return error;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t size) {
    return CALL() ?: (CUresult)physical_unreserve(address, size);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *out, size_t size, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    bool on_device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    int physical = on_device ? devices_physical(properties->location.id) : FAKE_GPU_HOST;
    CUresult error = CALL_UNSAFE();
    uint64_t handle;
    if (error) return error;
    if (on_device && physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    error = (CUresult)physical_create(&handle, size, physical);
    if (!error) *out = handle;
    return error;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    return CALL_UNSAFE() ?: (CUresult)physical_release(handle);
}

CUresult cuMemMap(CUdeviceptr address, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    return CALL() ?: (CUresult)physical_map(address, size, offset, handle);
}

CUresult cuMemUnmap(CUdeviceptr address, size_t size) {
    return CALL() ?: (CUresult)physical_unmap(address, size);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *out, void *address) {
    uint64_t handle = 0;
    CUresult error = CALL() ?: (CUresult)physical_retain(&handle, (uintptr_t)address);
    if (!error) *out = handle;
    return error;
}

/* Exporting is a stub; what is imported is another process's, one page long. */
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *out, void *shared,
                                        CUmemAllocationHandleType type) {
    uint64_t handle = 0;
    CUresult error = CALL() ?: (CUresult)physical_import(&handle, ADDRESSES_PAGE);
    if (!error) *out = handle;
    return error;
}
