/* Stands between the program and the runtime as comfy-aimdo up to 0.2.9 did: loaded for all before the runtime, with
 * cudaMallocAsync and cudaFreeAsync of its own. When there is no memory it gives up a weight (VMM) and tries again. */
#include "cuda/cuda_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef int (*allocate_function)(void **, size_t, void *);

static int (*allocate)(cuda_pointer *, size_t, void *), (*release)(cuda_handle),
    (*unmap)(cuda_pointer, size_t);
static cuda_handle weight;
static cuda_pointer weight_address;
int interposer_calls;

static void *driver(const char *name) {
    void *found = dlsym(dlopen("libcuda.so.1", RTLD_NOW), name);
    if (!found) abort();
    return found;
}

/* Gives it something to evict: `size` bytes that are mapped. */
void interposer_load_weight(size_t size);
void interposer_load_weight(size_t size) {
    int (*create)(cuda_handle *, size_t, const struct cuda_physical *, unsigned long long);
    int (*reserve)(cuda_pointer *, size_t, size_t, cuda_pointer, unsigned long long);
    int (*map)(cuda_pointer, size_t, size_t, cuda_handle, unsigned long long);
    struct cuda_physical on_device = {.type = 1, .location = {CUDA_LOCATION_DEVICE, 0}};
    *(void **)&allocate = driver("cuMemAllocAsync");
    *(void **)&release = driver("cuMemRelease");
    *(void **)&unmap = driver("cuMemUnmap");
    *(void **)&create = driver("cuMemCreate");
    *(void **)&reserve = driver("cuMemAddressReserve");
    *(void **)&map = driver("cuMemMap");
    if (create(&weight, size, &on_device, 0) || reserve(&weight_address, size, 0, 0, 0) ||
        map(weight_address, size, 0, weight, 0))
        abort();
}

int cudaMallocAsync(void **out, size_t size, void *stream);
int cudaMallocAsync(void **out, size_t size, void *stream) {
    interposer_calls++;
    int result = allocate((cuda_pointer *)out, size, stream);
    if (result != 2 || !weight) return result;
    unmap(weight_address, size);
    release(weight);
    weight = 0;
    return allocate((cuda_pointer *)out, size, stream);
}

/* Passes on to the runtime behind it. */
int cudaFreeAsync(void *pointer, void *stream);
int cudaFreeAsync(void *pointer, void *stream) {
    static int (*next)(void *, void *);
    interposer_calls++;
    if (!next) *(void **)&next = dlsym(dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD), "cudaFreeAsync");
    return next(pointer, stream);
}
