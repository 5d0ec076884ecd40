/* arrays: their handles are addresses in the books; an array of N elements takes N times the element's size. */
#include "driver/driver.h"
#include "gpu/memory.h"

static size_t element_size(CUarray_format format, unsigned channels) {
    switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
        return 2 * (size_t)channels;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
        return 4 * (size_t)channels;
    default:
        return channels;
    }
}

static size_t at_least_one(size_t extent) {
    return extent ? extent : 1;
}

/* All levels, each half as wide, high and deep as the one before; at least one, and none after the smallest. */
static size_t size_of(const CUDA_ARRAY3D_DESCRIPTOR *array, unsigned levels) {
    size_t bytes = 0, element = element_size(array->Format, array->NumChannels);
    for (unsigned level = 0;
         level == 0 || (level < levels && (array->Width | array->Height | array->Depth) >> level); level++)
        bytes += element * at_least_one(array->Width >> level) * at_least_one(array->Height >> level) *
                 at_least_one(array->Depth >> level);
    return bytes;
}

static CUresult create(void **handle, const CUDA_ARRAY3D_DESCRIPTOR *array, unsigned levels) {
    CUcontext context = contexts_current();
    uintptr_t address;
    CUresult error;
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    if (!array->Width || !array->NumChannels) return CUDA_ERROR_INVALID_VALUE;
    error = (CUresult)memory_allocate(&address, size_of(array, levels), FAKE_GPU_ARRAY,
                                      contexts_device(context), context);
    if (!error) *handle = (void *)address;
    return error;
}

static CUresult destroy(void *handle) {
    if (!handle) return CUDA_ERROR_INVALID_HANDLE;
    return memory_free((uintptr_t)handle, 1u << FAKE_GPU_ARRAY) ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

static CUresult requirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, const void *handle) {
    struct block block;
    if (!memory_block((uintptr_t)handle, &block)) return CUDA_ERROR_INVALID_HANDLE;
    *out = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = block.size, .alignment = 512};
    return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *wanted) {
    CUDA_ARRAY3D_DESCRIPTOR full = {.Width = wanted->Width,
                                    .Height = wanted->Height,
                                    .Format = wanted->Format,
                                    .NumChannels = wanted->NumChannels};

    return CALL_UNSAFE() ?: create((void **)array, &full, 1);
}

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *wanted) {
    return CALL_UNSAFE() ?: create((void **)array, wanted, 1);
}

CUresult cuArrayDestroy(CUarray array) {
    return CALL_UNSAFE() ?: destroy(array);
}

CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, CUarray array, CUdevice device) {
    return CALL() ?: requirements(out, array);
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *wanted,
                                unsigned levels) {
    return CALL_UNSAFE() ?: create((void **)array, wanted, levels);
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    return CALL_UNSAFE() ?: destroy(array);
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, CUmipmappedArray array,
                                               CUdevice device) {
    return CALL() ?: requirements(out, array);
}
