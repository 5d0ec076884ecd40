/* Stands for libc10.so: what PyTorch's allocators report to. Counts. */
#include "cuda/cuda_abi.h"

int64_t c10_last[5];
int c10_calls, c10_ooms;

void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *, int64_t, size_t, size_t,
                                                           struct c10_device);
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *pointer, int64_t size, size_t allocated,
                                                           size_t reserved, struct c10_device device) {
    c10_calls++;
    c10_last[0] = (int64_t)(size_t)pointer;
    c10_last[1] = size;
    c10_last[2] = (int64_t)allocated;
    c10_last[3] = (int64_t)reserved;
    c10_last[4] = device.type * 256 + device.index;
}

void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t, size_t, size_t, struct c10_device);
void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t requested, size_t allocated, size_t reserved,
                                                         struct c10_device device) {
    c10_ooms++;
    c10_last[0] = requested;
    c10_last[2] = (int64_t)allocated;
    c10_last[3] = (int64_t)reserved;
    c10_last[4] = device.type * 256 + device.index;
}
