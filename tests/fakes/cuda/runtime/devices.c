/* devices: errors, versions and devices, as the runtime tells of them. */
#include "runtime/binding.h"

#include <string.h>

cudaError_t cudaGetLastError(void) {
    CALL();
    return binding_last_error(true);
}

cudaError_t cudaPeekAtLastError(void) {
    CALL();
    return binding_last_error(false);
}

const char *cudaGetErrorName(cudaError_t error) {
    return error == cudaSuccess                 ? "cudaSuccess"
           : error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
                                                : "cudaError";
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                 ? "no error"
           : error == cudaErrorMemoryAllocation ? "out of memory"
                                                : "an error of the fake runtime";
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = RUNTIME_VERSION;
    return CALL();
}

cudaError_t cudaDriverGetVersion(int *version) {
    return ATTACH() ?: binding_done(driver.version(version));
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    return ATTACH() ?: binding_done(driver.device_count(count));
}

cudaError_t cudaGetDevice(int *device) {
    CUcontext context = NULL;
    CUdevice current;
    cudaError_t error = ATTACH();
    if (error) return error;
    *device = binding_device();
    if (!driver.get_current(&context) && context && !driver.current_device(&current)) *device = current;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    return ATTACH() ?: binding_choose_device(device);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    return ATTACH() ?: binding_done(driver.device_attribute(value, (CUdevice_attribute)attribute, device));
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device) {
    static const struct {
        size_t offset;
        CUdevice_attribute attribute;
    } ints[] = {
#define INT(member, attribute) {offsetof(struct cudaDeviceProp, member), CU_DEVICE_ATTRIBUTE_##attribute}
        INT(major, COMPUTE_CAPABILITY_MAJOR),
        INT(minor, COMPUTE_CAPABILITY_MINOR),
        INT(multiProcessorCount, MULTIPROCESSOR_COUNT),
        INT(warpSize, WARP_SIZE),
        INT(regsPerBlock, MAX_REGISTERS_PER_BLOCK),
        INT(regsPerMultiprocessor, MAX_REGISTERS_PER_MULTIPROCESSOR),
        INT(maxThreadsPerBlock, MAX_THREADS_PER_BLOCK),
        INT(maxThreadsDim[0], MAX_BLOCK_DIM_X),
        INT(maxThreadsDim[1], MAX_BLOCK_DIM_Y),
        INT(maxThreadsDim[2], MAX_BLOCK_DIM_Z),
        INT(maxGridSize[0], MAX_GRID_DIM_X),
        INT(maxGridSize[1], MAX_GRID_DIM_Y),
        INT(maxGridSize[2], MAX_GRID_DIM_Z),
        INT(maxThreadsPerMultiProcessor, MAX_THREADS_PER_MULTIPROCESSOR),
        INT(l2CacheSize, L2_CACHE_SIZE),
        INT(memoryBusWidth, GLOBAL_MEMORY_BUS_WIDTH),
        INT(pciBusID, PCI_BUS_ID),
        INT(unifiedAddressing, UNIFIED_ADDRESSING),
        INT(managedMemory, MANAGED_MEMORY),
        INT(canMapHostMemory, CAN_MAP_HOST_MEMORY),
        INT(concurrentKernels, CONCURRENT_KERNELS),
        INT(memoryPoolsSupported, MEMORY_POOLS_SUPPORTED),
#undef INT
    };
    int shared = 0;
    cudaError_t error = ATTACH();

    if (error) return error;
    memset(out, 0, sizeof *out);
    if (driver.device_name(out->name, sizeof out->name, device) ||
        driver.device_memory(&out->totalGlobalMem, device) || driver.device_uuid(&out->uuid, device))
        return binding_done(CUDA_ERROR_INVALID_DEVICE);
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        driver.device_attribute((int *)((char *)out + ints[i].offset), ints[i].attribute, device);
    driver.device_attribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, device);
    out->sharedMemPerBlock = (size_t)shared;
    driver.device_attribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
    out->sharedMemPerBlockOptin = (size_t)shared;
    driver.device_attribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, device);
    out->sharedMemPerMultiprocessor = (size_t)shared;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device) {
    return ATTACH() ?: binding_done(driver.device_bus_id(text, size, device));
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    return ATTACH() ?: binding_done(driver.can_access_peer(can, device, peer));
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    return ENTER() ?: binding_done(driver.priority_range(least, greatest));
}

cudaError_t cudaDeviceSynchronize(void) {
    return ENTER() ?: binding_done(driver.synchronize());
}

cudaError_t cudaDeviceReset(void) {
    return ATTACH() ?: binding_done(driver.reset(binding_device()));
}
