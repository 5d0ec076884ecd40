/* memory: device memory outside pools, managed memory, page-locked memory of the host, arrays. */
#include "gpu/memory.h"
#include "driver/driver.h"
#include "gpu/addresses.h"
#include "gpu/physical.h"

/* The device that memory comes from, among all; its context is needed for it. */
static CUresult here(int *device, CUcontext *context) {
    *context = contexts_current();
    if (!*context) return CUDA_ERROR_INVALID_CONTEXT;
    *device = contexts_device(*context);
    return CUDA_SUCCESS;
}

static CUresult allocate(CUdeviceptr *out, size_t bytes, enum fake_gpu_kind kind) {
    CUcontext context;
    int device;
    CUresult error = here(&device, &context);
    uintptr_t address;
    if (error) return error;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    error = (CUresult)memory_allocate(&address, bytes, kind, device, context);
    if (!error) *out = address;
    return error;
}

static CUresult map(void **out, size_t bytes, enum fake_gpu_kind kind) {
    CUcontext context;
    int device;
    CUresult error = here(&device, &context);
    if (error) return error;
    return (CUresult)memory_map(out, bytes, kind, kind == FAKE_GPU_PINNED ? FAKE_GPU_HOST : device, context);
}

CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
    CUcontext context;
    int device;
    CUresult error = CALL_UNSAFE() ?: here(&device, &context);
    if (error) return error;
    if (available) *available = memory_free_bytes(device);
    if (total) *total = settings.memory;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
    return CALL_UNSAFE() ?: allocate(out, bytes, FAKE_GPU_PLAIN);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned element) {
    CUresult error = CALL_UNSAFE();
    if (error) return error;
    *pitch = addresses_round_up(width, ADDRESSES_UNIT);
    return allocate(out, *pitch * height, FAKE_GPU_PLAIN);
}

CUresult cuMemFree_v2(CUdeviceptr address) {
    return CALL_UNSAFE() ?: (CUresult)memory_free(address, MEMORY_DEVICE);
}

CUresult cuMemAllocManaged(CUdeviceptr *out, size_t bytes, unsigned flags) {
    return CALL_UNSAFE() ?: map((void **)out, bytes, FAKE_GPU_MANAGED);
}

/* ---- host ---- */

CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
    return CALL_UNSAFE() ?: map(out, bytes, FAKE_GPU_PINNED);
}

CUresult cuMemAllocHost_v2(void **out, size_t bytes) {
    return CALL_UNSAFE() ?: map(out, bytes, FAKE_GPU_PINNED);
}

CUresult cuMemFreeHost(void *memory) {
    return CALL_UNSAFE() ?: (CUresult)memory_free((uintptr_t)memory, 1u << FAKE_GPU_PINNED);
}

CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags) {
    CUcontext context;
    int device;
    return CALL_UNSAFE() ?: here(&device, &context) ?: (CUresult)memory_register(memory, bytes, context);
}

CUresult cuMemHostUnregister(void *memory) {
    CUresult error = CALL_UNSAFE();
    if (error) return error;
    return memory_free((uintptr_t)memory, 1u << FAKE_GPU_REGISTERED) ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
                                                                     : CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *memory, unsigned flags) {
    *out = (CUdeviceptr)(uintptr_t)memory;
    return CALL();
}

CUresult cuMemHostGetFlags(unsigned *flags, void *memory) {
    *flags = 0;
    return CALL();
}

/* ---- other processes' memory: an address, and nothing in the books ---- */

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *out, CUipcMemHandle handle, unsigned flags) {
    uintptr_t address;
    CUresult error = CALL_UNSAFE();
    if (error) return error;
    error = (CUresult)physical_reserve(&address, ADDRESSES_PAGE, 0);
    *out = address;
    return error;
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
    return CALL_UNSAFE() ?: (CUresult)physical_unreserve(address, ADDRESSES_PAGE);
}
