/* devices: what the driver tells about devices. A program sees those that CUDA_VISIBLE_DEVICES named when it called cuInit:
 * numbers, or beginnings of uuids. */
#include "driver/driver.h"
#include "gpu/uuids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int visible[SETTINGS_DEVICES];
static int visible_count = -1;

void devices_read_visible(void) {
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    char name[64];
    int count = 0, length;
    if (visible_count >= 0) return;
    for (; !list && count < settings.devices; count++)
        visible[count] = count;
    /* As the real driver: what follows the first one that does not exist is not seen. */
    while (list && count < SETTINGS_DEVICES && sscanf(list, " %63[^,]%n", name, &length) == 1) {
        int device = uuids_device(name);

        if (device < 0) break;
        visible[count++] = device;
        list += length;
        list += *list == ',';
    }
    visible_count = count;
}

int devices_count_visible(void) {
    return visible_count < 0 ? 0 : visible_count;
}

int devices_physical(CUdevice device) {
    return device < 0 || device >= devices_count_visible() ? -1 : visible[device];
}

int devices_ordinal(int physical) {
    int ordinal = 0;
    while (ordinal < devices_count_visible() && visible[ordinal] != physical)
        ordinal++;
    return ordinal < devices_count_visible() ? ordinal : -1;
}

CUresult cuDeviceGetCount(int *count) {
    *count = devices_count_visible();
    return CALL();
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(ordinal) < 0) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(device) < 0) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, (size_t)size, "Fake CUDA Device%s", settings.mig ? " MIG 1g.10gb" : "");
    return CUDA_SUCCESS;
}

static CUresult fill_uuid(CUuuid *uuid, CUdevice device, bool instance) {
    if (devices_physical(device) < 0) return CUDA_ERROR_INVALID_DEVICE;
    uuids_bytes((unsigned char *)uuid->bytes, devices_physical(device), instance);
    return CUDA_SUCCESS;
}

/* The whole GPU's, on partitioned ones too. */
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    return CALL() ?: fill_uuid(uuid, device, false);
}

/* The instance's on partitioned ones. */
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    return CALL() ?: fill_uuid(uuid, device, settings.mig);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(device) < 0) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = settings.memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice device) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(device) < 0) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(text, (size_t)size, "0000:%02x:00.0", (unsigned)devices_physical(device) + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *text) {
    unsigned domain, bus;
    CUresult error = CALL();
    if (error) return error;
    if (sscanf(text, "%x:%x", &domain, &bus) != 2) return CUDA_ERROR_INVALID_VALUE;
    for (int ordinal = 0; ordinal < devices_count_visible(); ordinal++) {
        if (devices_physical(ordinal) != (int)bus - 1) continue;
        *device = ordinal;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

/* Ampere-like: from 9.0 on torch asks NVML about fabric memory. What is absent is 0. */
static const int attributes[CU_DEVICE_ATTRIBUTE_MAX] = {
    [CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = 1024,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X] = 1024,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y] = 1024,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] = 64,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X] = 2147483647,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y] = 65535,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] = 65535,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK] = 49152,
    [CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY] = 65536,
    [CU_DEVICE_ATTRIBUTE_WARP_SIZE] = 32,
    [CU_DEVICE_ATTRIBUTE_MAX_PITCH] = 2147483647,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK] = 65536,
    [CU_DEVICE_ATTRIBUTE_CLOCK_RATE] = 1980000,
    [CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT] = 512,
    [CU_DEVICE_ATTRIBUTE_GPU_OVERLAP] = 1,
    [CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT] = 132,
    [CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 1,
    [CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS] = 1,
    [CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE] = 2619000,
    [CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH] = 5120,
    [CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE] = 52428800,
    [CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR] = 2048,
    [CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT] = 3,
    [CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING] = 1,
    [CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT] = 32,
    [CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] = 8,
    [CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR] = 6,
    [CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR] = 233472,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR] = 65536,
    [CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY] = 1,
    [CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS] = 1,
    [CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH] = 1,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN] = 232448,
    [CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM] = 1,
    [CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR] = 32,
    [CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK] = 1024,
    [CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES] = 1,
};

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(device) < 0) return CUDA_ERROR_INVALID_DEVICE;
    if (attribute == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)
        *value = devices_physical(device) + 1;
    else
        *value = attribute < CU_DEVICE_ATTRIBUTE_MAX ? attributes[attribute] : 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
    CUresult error = CALL();
    if (error) return error;
    if (devices_physical(device) < 0 || devices_physical(peer) < 0) return CUDA_ERROR_INVALID_DEVICE;
    *can = device != peer;
    return CUDA_SUCCESS;
}
