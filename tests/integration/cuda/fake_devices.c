/* Prints what the program sees of devices: per line uuid, whole GPU's uuid, name, total and, after it has allocated N+1
 * KiB on device N, used bytes by the books; then NVML's devices: uuid and used bytes. */
#include "test.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cuda_runtime_api.h>

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetUUID(void *device, char *text, unsigned size);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);

static void print_uuid(CUuuid uuid) {
    for (int i = 0; i < 16; i++)
        printf("%02x", (unsigned char)uuid.bytes[i]);
    printf(" ");
}

int main(void) {
    int count = 0, current;
    unsigned all;
    MUST_GIVE(0, cudaGetDeviceCount(&count));
    for (int device = 0; device < count; device++) {
        CUuuid instance, whole;
        char name[64];
        size_t available, total;
        void *pointer;

        MUST_GIVE(0, cudaSetDevice(device));
        MUST_GIVE(0, cudaGetDevice(&current));
        MUST(current == device);
        MUST_GIVE(0, cudaMalloc(&pointer, (size_t)(device + 1) << 10));
        MUST_GIVE(0, cuDeviceGetUuid_v2(&instance, device));
        MUST_GIVE(0, cuDeviceGetUuid(&whole, device));
        MUST_GIVE(0, cuDeviceGetName(name, sizeof name, device));
        MUST_GIVE(0, cudaMemGetInfo(&available, &total));
        print_uuid(instance);
        print_uuid(whole);
        printf("%s: %zu of %zu\n", name, total - available, total);
    }
    MUST_GIVE(cudaErrorInvalidDevice, cudaSetDevice(count));
    MUST_GIVE(0, nvmlInit_v2());
    MUST_GIVE(0, nvmlDeviceGetCount_v2(&all));
    for (unsigned i = 0; i < all; i++) {
        unsigned long long memory[3]; /* total, free, used */
        char text[64];
        void *device;

        MUST_GIVE(0, nvmlDeviceGetHandleByIndex_v2(i, &device));
        MUST_GIVE(0, nvmlDeviceGetUUID(device, text, sizeof text));
        MUST_GIVE(0, nvmlDeviceGetMemoryInfo(device, memory));
        printf("%s: %llu\n", text, memory[2]);
    }
    return 0;
}
