/* A runtime that can be unloaded, unlike the fake one. */
#include <stddef.h>
#include <stdint.h>

int cudaRuntimeGetVersion(int *version);
int cudaRuntimeGetVersion(int *version) {
    *version = 13000;
    return 0;
}

int cudaMalloc(void **out, size_t size);
int cudaMalloc(void **out, size_t size) {
    static uintptr_t last = 0x700000000000;
    *out = (void *)(last += size);
    return 0;
}
