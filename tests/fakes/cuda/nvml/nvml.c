/* libnvidia-ml.so.1: count, uuid, name and memory of the fake's devices, by their number among all. torch asks it for fabric
 * support before its first cuMemCreate and, with no NVML at all, calls a NULL pointer. Every function returns an
 * nvmlReturn_t; a device handle is the device's number plus one. NVML's header comes with the driver's tools only: the
 * few types are here. */
#include "gpu/books.h"
#include "gpu/calls.h"
#include "gpu/memory.h"
#include "gpu/settings.h"
#include "gpu/uuids.h"

#include <stdio.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

typedef struct nvmlDevice *nvmlDevice_t;

struct nvmlMemory {
    unsigned long long total, free, used;
};

struct nvmlMemory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

#define CALL()                                                                                               \
    ({                                                                                                       \
        static struct call_site site_ = {.name = __func__, .anytime = true};                                 \
        calls_note(&site_);                                                                                  \
    })

static int number(nvmlDevice_t device) {
    uintptr_t handle = (uintptr_t)device;
    return handle && handle <= (uintptr_t)settings.devices ? (int)handle - 1 : -1;
}

static int give(nvmlDevice_t *device, unsigned index) {
    if (index >= (unsigned)settings.devices) return INVALID_ARGUMENT;
    *device = (nvmlDevice_t)(uintptr_t)(index + 1);
    return SUCCESS;
}

int nvmlInit_v2(void) {
    return CALL();
}

int nvmlShutdown(void) {
    return CALL();
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)settings.devices;
    return CALL();
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    return CALL() ?: give(device, index);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    unsigned domain, bus;
    int error = CALL();
    if (error) return error;
    return sscanf(bus_id, "%x:%x", &domain, &bus) == 2 ? give(device, bus - 1) : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    return CALL() ?: give(device, (unsigned)uuids_device(uuid));
}

int nvmlDeviceGetUUID(nvmlDevice_t device, char *text, unsigned size) {
    int error = CALL();
    if (error) return error;
    if (number(device) < 0) return INVALID_ARGUMENT;
    uuids_text(text, size, number(device), settings.mig);
    return SUCCESS;
}

int nvmlDeviceGetName(nvmlDevice_t device, char *text, unsigned size) {
    int error = CALL();
    if (error) return error;
    if (number(device) < 0) return INVALID_ARGUMENT;
    snprintf(text, size, "Fake CUDA Device");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, struct nvmlMemory *memory) {
    int error = CALL();
    if (error) return error;
    if (number(device) < 0) return INVALID_ARGUMENT;
    memory->total = settings.memory;
    memory->free = memory_free_bytes(number(device));
    memory->used = memory->total - memory->free;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, struct nvmlMemory_v2 *memory) {
    int error = CALL();
    if (error) return error;
    if (number(device) < 0) return INVALID_ARGUMENT;
    memory->total = settings.memory;
    memory->reserved = 0;
    memory->free = memory_free_bytes(number(device));
    memory->used = memory->total - memory->free;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned *count, void *processes) {
    *count = 0;
    return CALL();
}

/* Leaves the caller's zeroes: no fabric. */
int nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, void *info) {
    return CALL();
}

#define UNSUPPORTED(name)                                                                                    \
    int name(void) {                                                                                         \
        return CALL() ?: NOT_SUPPORTED;                                                                      \
    }
UNSUPPORTED(nvmlDeviceGetNvLinkRemoteDeviceType)
UNSUPPORTED(nvmlDeviceGetNvLinkRemotePciInfo_v2)
UNSUPPORTED(nvmlSystemGetCudaDriverVersion_v2)
#undef UNSUPPORTED
