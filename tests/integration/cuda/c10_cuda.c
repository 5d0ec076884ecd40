/* Stands for libc10_cuda.so: takes segments from the runtime or the driver and reports the tensors in them. */
#include "cuda/cuda_abi.h"

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaMallocAsync(void **out, size_t size, void *stream);
int cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned version, unsigned long long flags,
                                     int *status);
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *, int64_t, size_t, size_t,
                                                           struct c10_device);
void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t, size_t, size_t, struct c10_device);

int torch_segment(void **out, size_t size);
int torch_segment(void **out, size_t size) {
    int result = cudaMalloc(out, size);
    return result;
}

int torch_async(void **out, size_t size);
int torch_async(void **out, size_t size) {
    int result = cudaMallocAsync(out, size, NULL);
    return result;
}

int torch_free(void *pointer);
int torch_free(void *pointer) {
    int result = cudaFree(pointer);
    return result;
}

/* expandable_segments: since 2.9 the driver's functions come from the runtime. */
int torch_physical(uint64_t *out, size_t size);
int torch_physical(uint64_t *out, size_t size) {
    struct cuda_physical on_device = {.type = 1, .location = {CUDA_LOCATION_DEVICE, 0}};
    int (*create)(uint64_t *, size_t, const struct cuda_physical *, unsigned long long), status;
    int result = cudaGetDriverEntryPointByVersion("cuMemCreate", (void **)&create, 12000, 0, &status);
    if (!result) result = create(out, size, &on_device, 0);
    return result;
}

void torch_report(void *pointer, int64_t size, size_t allocated, size_t reserved, int type, int index);
void torch_report(void *pointer, int64_t size, size_t allocated, size_t reserved, int type, int index) {
    struct c10_device device = {(int8_t)type, (int8_t)index};
    _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(pointer, size, allocated, reserved, device);
}

void torch_out_of_memory(int64_t requested, size_t allocated, size_t reserved);
void torch_out_of_memory(int64_t requested, size_t allocated, size_t reserved) {
    struct c10_device device = {C10_CUDA, 0};
    _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(requested, allocated, reserved, device);
}
