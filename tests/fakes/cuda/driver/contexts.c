/* contexts: a stack of current ones per thread, and the primary one of every device. What was allocated in a context is freed
 * with it, of a primary one at its reset or last release. */
#include "driver/driver.h"
#include "gpu/memory.h"

#include <stdlib.h>

#define DEPTH 32

struct CUctx_st {
    CUdevice ordinal;
    int device; /* among all */
    int references;
};

static struct CUctx_st primary[SETTINGS_DEVICES];
static __thread CUcontext stack[DEPTH];
static __thread int depth;

CUcontext contexts_current(void) {
    return depth ? stack[depth - 1] : NULL;
}

CUcontext contexts_primary(int physical) {
    return &primary[physical];
}

int contexts_device(CUcontext context) {
    return context->device;
}

CUdevice contexts_ordinal(CUcontext context) {
    return context->ordinal;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    int physical = devices_physical(device);
    CUresult error = CALL();
    if (error) return error;
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    primary[physical].ordinal = device;
    primary[physical].device = physical;
    __atomic_add_fetch(&primary[physical].references, 1, __ATOMIC_RELAXED);
    *context = &primary[physical];
    return CUDA_SUCCESS;
}

static CUresult release(CUdevice device) {
    int physical = devices_physical(device);
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    if (!primary[physical].references) return CUDA_ERROR_INVALID_CONTEXT;
    if (!__atomic_sub_fetch(&primary[physical].references, 1, __ATOMIC_RELAXED))
        memory_free_all(&primary[physical]);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    return CALL() ?: release(device);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return CALL() ?: release(device);
}

static CUresult reset(CUdevice device) {
    int physical = devices_physical(device);
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    memory_free_all(&primary[physical]);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) {
    return CALL() ?: reset(device);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    return CALL() ?: reset(device);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    int physical = devices_physical(device);
    CUresult error = CALL();
    if (error) return error;
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    *flags = 0;
    *active = primary[physical].references > 0;
    return CUDA_SUCCESS;
}

static CUresult push(CUcontext context) {
    if (depth == DEPTH) return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *context, CUdevice device) {
    int physical = devices_physical(device);
    if (physical < 0) return CUDA_ERROR_INVALID_DEVICE;
    *context = calloc(1, sizeof **context);
    if (!*context) return CUDA_ERROR_OUT_OF_MEMORY;
    (*context)->ordinal = device;
    (*context)->device = physical;
    return push(*context);
}

CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device) {
    return CALL() ?: create(context, device);
}

CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *affinities, int count, unsigned flags,
                        CUdevice device) {
    return CALL() ?: create(context, device);
}

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned flags, CUdevice device) {
    return CALL() ?: create(context, device);
}

CUresult cuCtxDestroy_v2(CUcontext context) {
    CUresult error = CALL();
    if (error) return error;
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    if (contexts_current() == context) depth--;
    memory_free_all(context);
    free(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = contexts_current();
    return CALL();
}

CUresult cuCtxSetCurrent(CUcontext context) {
    CUresult error = CALL();
    if (error) return error;
    if (!context)
        depth = depth ? depth - 1 : 0;
    else
        stack[depth ? depth - 1 : depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    return CALL() ?: push(context);
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    CUresult error = CALL();
    if (error) return error;
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (context) *context = stack[depth];
    return CUDA_SUCCESS;
}

static CUresult device_of(CUdevice *device, CUcontext context) {
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    *device = context->ordinal;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    return CALL() ?: device_of(device, contexts_current());
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext context) {
    return CALL() ?: device_of(device, context ? context : contexts_current());
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) {
    *version = 3020;
    return CALL();
}

CUresult cuCtxGetFlags(unsigned *flags) {
    *flags = 0;
    return CALL();
}

CUresult cuCtxGetId(CUcontext context, unsigned long long *id) {
    *id = (uintptr_t)(context ? context : contexts_current());
    return CALL();
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit) {
    *value = 0;
    return CALL();
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CALL();
}
