/* libamdhip64.so.6: as much of AMD's runtime as allocates memory, over the same books. HIP's header is not at hand where
 * there is no ROCm: the few types are here. Devices go by their number; HIP_VISIBLE_DEVICES is not read. */
#include "gpu/addresses.h"
#include "gpu/calls.h"
#include "gpu/errors.h"
#include "gpu/memory.h"
#include "gpu/physical.h"
#include "gpu/pools.h"
#include "gpu/settings.h"

#include <stdio.h>

typedef int hipError_t; /* numbered as enum gpu_error */
typedef struct ihipStream_t *hipStream_t;
typedef struct ihipMemPool_t *hipMemPool_t;
typedef uint64_t hipMemGenericAllocationHandle_t;

typedef struct {
    int type, requested_handles;
    struct {
        int type, id; /* type 1: a device */
    } location;
} hipMemAllocationProp; /* as far as it is read */

static __thread hipError_t last_error;
static __thread int device;

static hipError_t note(struct call_site *site) {
    hipError_t error = calls_note(site);
    calls_initialised(); /* HIP initialises itself */
    if (error) last_error = error;
    return error;
}

static hipError_t done(enum gpu_error error) {
    if (error) last_error = (hipError_t)error;
    return (hipError_t)error;
}

#define CALL()                                                                                               \
    ({                                                                                                       \
        static struct call_site site_ = {.name = __func__, .anytime = true};                                 \
        note(&site_);                                                                                        \
    })

hipError_t hipInit(unsigned flags) {
    return CALL();
}

hipError_t hipGetLastError(void) {
    hipError_t error = last_error;
    CALL();
    last_error = GPU_OK;
    return error;
}

hipError_t hipPeekAtLastError(void) {
    CALL();
    return last_error;
}

const char *hipGetErrorString(hipError_t error) {
    return error == GPU_OK              ? "no error"
           : error == GPU_OUT_OF_MEMORY ? "out of memory"
                                        : "an error of the fake";
}

/* ---- devices ---- */

hipError_t hipGetDeviceCount(int *count) {
    *count = settings.devices;
    return CALL();
}

hipError_t hipGetDevice(int *current) {
    *current = device;
    return CALL();
}

hipError_t hipSetDevice(int wanted) {
    hipError_t error = CALL();
    if (error) return error;
    if (wanted < 0 || wanted >= settings.devices) return done(GPU_INVALID_DEVICE);
    device = wanted;
    return GPU_OK;
}

hipError_t hipDeviceGetName(char *name, int size, int of) {
    snprintf(name, (size_t)size, "Fake HIP Device");
    return CALL();
}

static hipError_t synchronize(void) {
    pools_synchronize();
    return GPU_OK;
}

hipError_t hipDeviceSynchronize(void) {
    return CALL() ?: synchronize();
}

hipError_t hipStreamSynchronize(hipStream_t stream) {
    return CALL() ?: synchronize();
}

/* HIP has one context per device: the books know it by where its number is. */
static const char contexts[SETTINGS_DEVICES];

hipError_t hipDeviceReset(void) {
    hipError_t error = CALL();
    if (!error) memory_free_all(&contexts[device]);
    return error;
}

/* ---- memory ---- */

hipError_t hipMemGetInfo(size_t *available, size_t *total) {
    if (available) *available = memory_free_bytes(device);
    if (total) *total = settings.memory;
    return CALL();
}

static hipError_t allocate(void **out, size_t bytes) {
    *out = NULL;
    if (!bytes) return GPU_OK;
    return done(memory_allocate((uintptr_t *)out, bytes, FAKE_GPU_PLAIN, device, &contexts[device]));
}

hipError_t hipMalloc(void **out, size_t bytes) {
    return CALL() ?: allocate(out, bytes);
}

hipError_t hipExtMallocWithFlags(void **out, size_t bytes, unsigned flags) {
    return CALL() ?: allocate(out, bytes);
}

hipError_t hipMallocPitch(void **out, size_t *pitch, size_t width, size_t height) {
    *pitch = addresses_round_up(width, ADDRESSES_UNIT);
    return CALL() ?: allocate(out, *pitch * height);
}

hipError_t hipMallocManaged(void **out, size_t bytes, unsigned flags) {
    return CALL() ?: done(memory_map(out, bytes, FAKE_GPU_MANAGED, device, &contexts[device]));
}

hipError_t hipFree(void *memory) {
    return CALL() ?: done(memory_free((uintptr_t)memory, MEMORY_DEVICE));
}

hipError_t hipHostMalloc(void **out, size_t bytes, unsigned flags) {
    return CALL() ?: done(memory_map(out, bytes, FAKE_GPU_PINNED, FAKE_GPU_HOST, &contexts[device]));
}

hipError_t hipHostFree(void *memory) {
    return CALL() ?: done(memory_free((uintptr_t)memory, 1u << FAKE_GPU_PINNED));
}

hipError_t hipHostRegister(void *memory, size_t bytes, unsigned flags) {
    return CALL() ?: done(memory_register(memory, bytes, &contexts[device]));
}

hipError_t hipHostUnregister(void *memory) {
    return CALL() ?: done(memory_free((uintptr_t)memory, 1u << FAKE_GPU_REGISTERED));
}

/* ---- stream-ordered ---- */

hipError_t hipMallocAsync(void **out, size_t bytes, hipStream_t stream) {
    return CALL() ?: done(pools_allocate((uintptr_t *)out, bytes, pools_current(device)));
}

hipError_t hipMallocFromPoolAsync(void **out, size_t bytes, hipMemPool_t pool, hipStream_t stream) {
    return CALL() ?: done(pools_allocate((uintptr_t *)out, bytes, (struct pool *)pool));
}

hipError_t hipFreeAsync(void *memory, hipStream_t stream) {
    return CALL() ?: done(memory_free((uintptr_t)memory, MEMORY_DEVICE));
}

hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t *pool, int of) {
    hipError_t error = CALL();
    if (error) return error;
    if (of < 0 || of >= settings.devices) return done(GPU_INVALID_DEVICE);
    *pool = (hipMemPool_t)pools_default(of);
    return GPU_OK;
}

hipError_t hipMemPoolTrimTo(hipMemPool_t pool, size_t keep) {
    hipError_t error = CALL();
    if (!error) pools_trim((struct pool *)pool, keep);
    return error;
}

/* ---- virtual memory ---- */

hipError_t hipMemGetAllocationGranularity(size_t *unit, const hipMemAllocationProp *properties, int option) {
    *unit = ADDRESSES_PAGE;
    return CALL();
}

hipError_t hipMemAddressReserve(void **out, size_t size, size_t alignment, void *hint,
                                unsigned long long flags) {
    return CALL() ?: done(physical_reserve((uintptr_t *)out, size, alignment));
}

hipError_t hipMemAddressFree(void *address, size_t size) {
    return CALL() ?: done(physical_unreserve((uintptr_t)address, size));
}

hipError_t hipMemCreate(hipMemGenericAllocationHandle_t *out, size_t size,
                        const hipMemAllocationProp *properties, unsigned long long flags) {
    bool on_device = properties->location.type == 1;
    return CALL() ?: done(physical_create(out, size, on_device ? properties->location.id : FAKE_GPU_HOST));
}

hipError_t hipMemRelease(hipMemGenericAllocationHandle_t handle) {
    return CALL() ?: done(physical_release(handle));
}

hipError_t hipMemMap(void *address, size_t size, size_t offset, hipMemGenericAllocationHandle_t handle,
                     unsigned long long flags) {
    return CALL() ?: done(physical_map((uintptr_t)address, size, offset, handle));
}

hipError_t hipMemUnmap(void *address, size_t size) {
    return CALL() ?: done(physical_unmap((uintptr_t)address, size));
}

/* A location and what it may do: nothing to do here. */
hipError_t hipMemSetAccess(void *address, size_t size, const void *access, size_t count) {
    return CALL();
}
