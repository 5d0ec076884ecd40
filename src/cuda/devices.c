#include "cuda/devices.h"

#include "cuda/hooks_driver.h"
#include "cuda/ledger.h"
#include "resolve.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Of the CUDA driver API (cuda.h of CUDA 13.0). All results are 0 for success. */
typedef struct {
    unsigned char bytes[16];
} cu_uuid;

/* The driver's own functions, not those that we hand out. A driver without one of them (older than CUDA 11.4) is not asked
 * for what needs it. */
static struct {
    int (*cuDeviceGetCount)(int *);
    int (*cuDeviceGetName)(char *, int, int);
    int (*cuDeviceGetUuid)(cu_uuid *, int);
    int (*cuDeviceGetUuid_v2)(cu_uuid *, int);
    int (*cuDevicePrimaryCtxGetState)(int, unsigned *, int *);
    int (*cuDevicePrimaryCtxRetain)(void **, int);
    int (*cuDevicePrimaryCtxRelease_v2)(int);
    int (*cuCtxPushCurrent_v2)(void *);
    int (*cuCtxPopCurrent_v2)(void **);
    int (*cuMemGetInfo_v2)(size_t *, size_t *);
} driver;

static struct device devices[LEDGER_DEVICES];
static bool asked[LEDGER_DEVICES];

static bool have_driver(void) {
    static const void *found_in;
    const void *library = hooks_driver_library();
    if (!library) return false; /* not loaded yet */
    if (library == found_in) return true;
    found_in = library;
#define FIND(name) *(void **)&driver.name = resolve_in("libcuda.so", #name)
    FIND(cuDeviceGetCount);
    FIND(cuDeviceGetName);
    FIND(cuDeviceGetUuid);
    FIND(cuDeviceGetUuid_v2);
    FIND(cuDevicePrimaryCtxGetState);
    FIND(cuDevicePrimaryCtxRetain);
    FIND(cuDevicePrimaryCtxRelease_v2);
    FIND(cuCtxPushCurrent_v2);
    FIND(cuCtxPopCurrent_v2);
    FIND(cuMemGetInfo_v2);
#undef FIND
    return true;
}

unsigned devices_count(void) {
    int count = 0;
    return have_driver() && driver.cuDeviceGetCount && driver.cuDeviceGetCount(&count) == 0 && count > 0
               ? (unsigned)count
               : 0;
}

/* In MIG mode the second version tells the instance's id, the first that of the GPU it is part of. */
static void read_uuid(int index, struct device *device) {
    cu_uuid own, whole;
    bool have_own = driver.cuDeviceGetUuid_v2 && driver.cuDeviceGetUuid_v2(&own, index) == 0;
    bool have_whole = driver.cuDeviceGetUuid && driver.cuDeviceGetUuid(&whole, index) == 0;
    if (!have_own && !have_whole) return;
    bool instance = have_own && have_whole && memcmp(&own, &whole, sizeof own) != 0;
    const unsigned char *b = have_own ? own.bytes : whole.bytes;
    snprintf(device->uuid, sizeof device->uuid,
             "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             instance ? "MIG" : "GPU", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
}

const struct device *devices_get(uint8_t index) {
    if (index >= LEDGER_DEVICES || index >= devices_count()) return NULL;
    struct device *device = &devices[index];
    if (!asked[index]) {
        asked[index] = true;
        read_uuid(index, device);
        if (!driver.cuDeviceGetName || driver.cuDeviceGetName(device->name, sizeof device->name, index) != 0)
            device->name[0] = '\0';
    }
    return device;
}

/* Only with a context may one ask. The primary one is borrowed where it is active already; none is made. */
bool devices_memory(uint8_t index, uint64_t *used, uint64_t *total) {
    unsigned flags;
    int active = 0;
    void *context, *popped;
    size_t free_bytes = 0, total_bytes = 0;
    if (index >= devices_count() || !driver.cuDevicePrimaryCtxGetState || !driver.cuDevicePrimaryCtxRetain ||
        !driver.cuDevicePrimaryCtxRelease_v2 || !driver.cuCtxPushCurrent_v2 || !driver.cuCtxPopCurrent_v2 ||
        !driver.cuMemGetInfo_v2)
        return false;
    if (driver.cuDevicePrimaryCtxGetState(index, &flags, &active) != 0 || !active) return false;
    if (driver.cuDevicePrimaryCtxRetain(&context, index) != 0) return false;
    bool told = false;
    if (driver.cuCtxPushCurrent_v2(context) == 0) {
        told = driver.cuMemGetInfo_v2(&free_bytes, &total_bytes) == 0;
        driver.cuCtxPopCurrent_v2(&popped);
    }
    driver.cuDevicePrimaryCtxRelease_v2(index);
    *used = total_bytes - free_bytes;
    *total = total_bytes;
    return told;
}
