/* runtime: lets Python call CUDA's runtime as compiled programs do, by name and through the linker, so that what is preloaded
 * stands between. Linked with a runtime, or with one inside (its static library). CUDA's headers are not needed; functions
 * that the runtime does not have stay undefined (-z lazy) and are not to be called. */
#include "cuda/cuda_abi.h"

#include <dlfcn.h>
#include <time.h>

/* Not a jump (-fno-optimize-sibling-calls): a hook looks at who calls. */
#define RUNTIME(name, parameters, arguments, effect)                                                         \
    cuda_result name parameters;                                                                             \
    cuda_result call_##name parameters;                                                                      \
    cuda_result call_##name parameters {                                                                     \
        return name arguments;                                                                               \
    }
#include "cuda/cuda_api.def"

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Nanoseconds for `count` pairs of allocating and freeing; 0 when a call failed. */
uint64_t time_plain(long count, size_t size);
uint64_t time_plain(long count, size_t size) {
    void *pointer;
    uint64_t begin = now();
    for (long i = 0; i < count; i++)
        if (cudaMalloc(&pointer, size) != CUDA_OK || cudaFree(pointer) != CUDA_OK) return 0;
    return now() - begin;
}

uint64_t time_async(long count, size_t size);
uint64_t time_async(long count, size_t size) {
    void *pointer;
    uint64_t begin = now();
    for (long i = 0; i < count; i++)
        if (cudaMallocAsync(&pointer, size, NULL) != CUDA_OK || cudaFreeAsync(pointer, NULL) != CUDA_OK)
            return 0;
    return now() - begin;
}

/* Nanoseconds for what a runtime does at its first call: it asks the driver for all its functions. */
uint64_t time_resolver(const char *const names[], long count, int version);
uint64_t time_resolver(const char *const names[], long count, int version) {
    int (*get)(const char *, void **, int, uint64_t, int *);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *function;
    *(void **)&get = driver ? dlsym(driver, "cuGetProcAddress_v2") : NULL;
    if (!get) return 0;
    uint64_t begin = now();
    for (long i = 0; i < count; i++)
        for (uint64_t flags = 0; flags <= CUDA_PER_THREAD_STREAM; flags += CUDA_PER_THREAD_STREAM)
            get(names[i], &function, version, flags, NULL);
    return now() - begin;
}
