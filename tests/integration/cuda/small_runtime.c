/* A runtime that can be unloaded, unlike the fake one, and of which there may be many: what it gives out begins at FIRST. */
#include <stddef.h>
#include <stdint.h>

#ifndef FIRST
#define FIRST 0x700000000000
#endif

int cudaRuntimeGetVersion(int *version);
int cudaRuntimeGetVersion(int *version) {
    *version = 13000;
    return 0;
}

int cudaMalloc(void **out, size_t size);
int cudaMalloc(void **out, size_t size) {
    static uintptr_t last = FIRST;
    *out = (void *)(last += size);
    return 0;
}
