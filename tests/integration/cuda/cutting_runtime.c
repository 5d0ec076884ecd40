/* For test_gpu_check.py: a runtime that cuts small allocations from one of the driver's, as NVIDIA's might. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK (16u << 20)
#define SMALL (1u << 20)

static uint64_t block, used;

static void *driver(const char *name) {
    return dlsym(dlopen("libcuda.so.1", RTLD_NOW), name);
}

static int allocate(uint64_t *out, size_t size) {
    return ((int (*)(uint64_t *, size_t))driver("cuMemAlloc_v2"))(out, size);
}

int cudaMalloc(uint64_t *out, size_t size);
int cudaMalloc(uint64_t *out, size_t size) {
    if (size > SMALL) return allocate(out, size);
    if (!block && allocate(&block, BLOCK)) return 2;
    *out = block + used;
    used += (size + 511) / 512 * 512;
    return used <= BLOCK ? 0 : 2;
}

int cudaFree(uint64_t pointer);
int cudaFree(uint64_t pointer) {
    if (!pointer || (block && pointer - block < BLOCK)) return 0;
    return ((int (*)(uint64_t))driver("cuMemFree_v2"))(pointer);
}
