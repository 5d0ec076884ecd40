/* For gpu.py: loops over the (fake) CUDA runtime, in C, so that only the calls are counted. */
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void plain_pairs(long count) {
    for (long i = 0; i < count; i++) {
        void *pointer = NULL;
        cudaMalloc(&pointer, 1 << 20);
        cudaFree(pointer);
    }
}

EXPORT void async_pairs(long count) {
    for (long i = 0; i < count; i++) {
        void *pointer = NULL;
        cudaMallocAsync(&pointer, 1 << 20, NULL);
        cudaFreeAsync(pointer, NULL);
    }
}

/* What libcudart does when it starts: it asks the driver for all its functions. */
EXPORT int resolve(const char *const names[], long count) {
    typedef int (*get_function)(const char *, void **, int, unsigned long long, void *);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    get_function get = driver ? (get_function)dlsym(driver, "cuGetProcAddress_v2") : NULL;
    int found = 0;
    for (long i = 0; get && i < count; i++)
        for (unsigned long long flags = 0; flags <= 2; flags += 2) {
            void *function = NULL;
            found += get(names[i], &function, 13000, flags, NULL) == 0 && function;
        }
    return found;
}
