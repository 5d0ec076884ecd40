/* The books are right under every way of allocating. argument: none. Memory must be 64M. */
#include "test.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#define MIB (1ull << 20)

static void plain(void) {
    void *first, *second, *again;
    size_t available, total;
    MUST_GIVE(0, cudaMalloc(&first, 1000));
    MUST(books_of(0).live[FAKE_GPU_PLAIN] == 1024 && books_of(0).count[FAKE_GPU_PLAIN] == 1);
    MUST_GIVE(0, cudaMalloc(&second, 3 * MIB));
    MUST(books_of(0).in_use == 1024 + 3 * MIB);
    MUST_GIVE(0, cudaMemGetInfo(&available, &total));
    MUST(total == 64 * MIB && available == total - books_of(0).in_use);
    MUST_GIVE(0, cudaFree(second));
    MUST_GIVE(0, cudaMalloc(&again, 3 * MIB));
    MUST(again == second); /* a freed address is given out again at once */
    MUST_GIVE(0, cudaFree(again));
    MUST_GIVE(cudaErrorInvalidValue, cudaFree(again));
    MUST_GIVE(cudaErrorInvalidValue, cudaGetLastError());
    MUST_GIVE(0, cudaFree(NULL));
    MUST_GIVE(0, cudaFree(first));
    MUST(books_of(0).in_use == 0 && books_of(0).peak == 1024 + 3 * MIB);
}

static void out_of_memory(void) {
    void *all, *more;
    MUST_GIVE(0, cudaMalloc(&all, 64 * MIB - 512));
    MUST_GIVE(cudaErrorMemoryAllocation, cudaMalloc(&more, 513));
    MUST_GIVE(cudaErrorMemoryAllocation, cudaPeekAtLastError()); /* it sticks */
    MUST_GIVE(0, cudaMalloc(&more, 512));
    MUST_GIVE(cudaErrorMemoryAllocation, cudaGetLastError());
    MUST_GIVE(0, cudaGetLastError());
    MUST_GIVE(0, cudaFree(all));
    MUST_GIVE(0, cudaFree(more));
}

static void pools(void) {
    cudaMemPool_t pool, own;
    struct cudaMemPoolProps wanted = {.allocType = cudaMemAllocationTypePinned,
                                      .location = {.type = cudaMemLocationTypeDevice, .id = 0}};
    unsigned long long value, keep = 1 * MIB;
    void *first, *second;

    MUST_GIVE(0, cudaDeviceGetDefaultMemPool(&pool, 0));
    MUST_GIVE(0, cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
    MUST_GIVE(0, cudaMallocAsync(&first, 4 * MIB, NULL));
    MUST_GIVE(0, cudaMallocAsync(&second, 2 * MIB, NULL));
    MUST_GIVE(0, cudaFreeAsync(first, NULL));
    MUST(books_of(0).in_use == 6 * MIB && books_of(0).live[FAKE_GPU_ASYNC] == 2 * MIB);
    MUST_GIVE(0, cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &value));
    MUST(value == 6 * MIB);
    MUST_GIVE(0, cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &value));
    MUST(value == 6 * MIB);
    MUST_GIVE(0, cudaFree(second)); /* cudaFree frees these too */
    MUST_GIVE(0, cudaDeviceSynchronize());
    MUST(books_of(0).in_use == 1 * MIB);
    MUST_GIVE(0, cudaMemPoolTrimTo(pool, 0));
    MUST(books_of(0).in_use == 0);

    MUST_GIVE(0, cudaMemPoolCreate(&own, &wanted));
    MUST_GIVE(0, cudaMallocFromPoolAsync(&first, 4 * MIB, own, NULL));
    MUST_GIVE(0, cudaMemPoolDestroy(own));
    MUST(books_of(0).live[FAKE_GPU_ASYNC] == 4 * MIB); /* as documented: what is held stays */
    MUST_GIVE(0, cudaFreeAsync(first, NULL));
    MUST(books_of(0).in_use == 0);
}

static void virtual_memory(void) {
    CUmemAllocationProp wanted = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
    CUmemGenericAllocationHandle first, second, held;
    CUdeviceptr address;

    MUST_GIVE(0, cuMemAddressReserve(&address, 1ull << 30, 0, 0, 0));
    MUST(books_of(0).in_use == 0); /* addresses only */
    MUST_GIVE(0, cuMemCreate(&first, 4 * MIB, &wanted, 0));
    MUST_GIVE(0, cuMemCreate(&second, 2 * MIB, &wanted, 0));
    MUST_GIVE(0, cuMemMap(address, 4 * MIB, 0, first, 0));
    MUST_GIVE(0, cuMemMap(address + 4 * MIB, 2 * MIB, 0, second, 0));
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, 4 * MIB, 0, first, 0));
    MUST_GIVE(0, cuMemRelease(first));
    MUST(books_of(0).in_use == 6 * MIB); /* mapped memory outlives its handle */
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemRetainAllocationHandle(&held, (void *)(address + 6 * MIB)));
    MUST_GIVE(0, cuMemRetainAllocationHandle(&held, (void *)(address + 3 * MIB))); /* anywhere in it */
    MUST(held == first);
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemMap(address + 2 * MIB, 2 * MIB, 0, second, 0));
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address, 2 * MIB)); /* no part of one */
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address + 2 * MIB, 4 * MIB));
    MUST_GIVE(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address, 8 * MIB)); /* nor with a hole */
    MUST_GIVE(0, cuMemUnmap(address, 6 * MIB));                        /* both in one */
    MUST(books_of(0).in_use == 6 * MIB && books_of(0).count[FAKE_GPU_MAPPING] == 0);
    MUST_GIVE(0, cuMemRelease(held));
    MUST(books_of(0).live[FAKE_GPU_PHYSICAL] == 2 * MIB);
    MUST_GIVE(0, cuMemRelease(second));
    MUST_GIVE(0, cuMemAddressFree(address, 1ull << 30));
    wanted.location.type = CU_MEM_LOCATION_TYPE_HOST;
    MUST_GIVE(0, cuMemCreate(&first, 2 * MIB, &wanted, 0));
    MUST(books_of(FAKE_GPU_HOST).live[FAKE_GPU_PINNED] == 2 * MIB && books_of(0).in_use == 0);
    MUST_GIVE(0, cuMemRelease(first));
}

static void other_kinds(void) {
    static char own[8192];
    struct cudaChannelFormatDesc format = {.x = 32, .y = 32, .f = cudaChannelFormatKindFloat};
    struct cudaPitchedPtr cube;
    cudaMipmappedArray_t levels;
    cudaArray_t array;
    void *pointer;
    size_t pitch;

    MUST_GIVE(0, cudaMallocPitch(&pointer, &pitch, 1000, 10));
    MUST(pitch == 1024 && books_of(0).in_use == 10240);
    MUST_GIVE(0, cudaFree(pointer));
    MUST_GIVE(0, cudaMalloc3D(&cube, (struct cudaExtent){1000, 10, 3}));
    MUST(books_of(0).in_use == 3 * 10240);
    MUST_GIVE(0, cudaFree(cube.ptr));
    MUST_GIVE(0, cudaMallocArray(&array, &format, 64, 32, 0));
    MUST(books_of(0).live[FAKE_GPU_ARRAY] == 64 * 32 * 8);
    MUST_GIVE(0, cudaFreeArray(array));
    MUST_GIVE(0, cudaMallocMipmappedArray(&levels, &format, (struct cudaExtent){64, 64, 0}, 2, 0));
    MUST(books_of(0).live[FAKE_GPU_ARRAY] == (64 * 64 + 32 * 32) * 8);
    MUST_GIVE(0, cudaFreeMipmappedArray(levels));
    MUST_GIVE(0, cudaMallocManaged(&pointer, 5000, cudaMemAttachGlobal));
    *(volatile char *)pointer = 1;
    MUST(books_of(0).live[FAKE_GPU_MANAGED] == 5000 && books_of(0).in_use == 0);
    MUST_GIVE(0, cudaFree(pointer));
    MUST_GIVE(0, cudaHostAlloc(&pointer, 5000, 0));
    *(volatile char *)pointer = 1;
    MUST(books_of(FAKE_GPU_HOST).live[FAKE_GPU_PINNED] == 5000);
    MUST_GIVE(cudaErrorInvalidValue, cudaFree(pointer));
    MUST_GIVE(0, cudaFreeHost(pointer));
    MUST_GIVE(0, cudaHostRegister(own, sizeof own, 0));
    MUST_GIVE(cudaErrorHostMemoryAlreadyRegistered, cudaHostRegister(own, sizeof own, 0));
    MUST(books_of(FAKE_GPU_HOST).live[FAKE_GPU_REGISTERED] == sizeof own);
    MUST_GIVE(0, cudaHostUnregister(own));
    MUST_GIVE(cudaErrorHostMemoryNotRegistered, cudaHostUnregister(own));
}

/* Everything of a context goes with it. */
static void bulk(void) {
    CUcontext context;
    CUdeviceptr address;
    void *pointer;
    MUST_GIVE(0, cuCtxCreate_v4(&context, NULL, 0, 0));
    for (int i = 0; i < 1000; i++)
        MUST_GIVE(0, cuMemAlloc(&address, 4096));
    MUST_GIVE(0, cuCtxDestroy(context));
    MUST(books_of(0).in_use == 0);
    void *kept;
    MUST_GIVE(0, cudaMalloc(&pointer, 4096));
    MUST_GIVE(0, cudaMallocAsync(&kept, 4096, NULL));
    MUST_GIVE(0, cudaHostAlloc(&pointer, 4096, 0));
    MUST_GIVE(0, cudaDeviceReset());
    MUST(books_of(0).live[FAKE_GPU_PLAIN] == 0 && books_of(FAKE_GPU_HOST).live[FAKE_GPU_PINNED] == 0);
    MUST(books_of(0).live[FAKE_GPU_ASYNC] == 4096); /* cuda_runtime_api.h, cudaDeviceReset */
    MUST_GIVE(0, cudaFreeAsync(kept, NULL));
}

int main(void) {
    CUdeviceptr address;
    MUST_GIVE(CUDA_ERROR_NOT_INITIALIZED, cuMemAlloc(&address, 512));
    MUST_GIVE(0, cuInit(0));
    MUST_GIVE(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc(&address, 512));
    plain();
    out_of_memory();
    pools();
    virtual_memory();
    other_kinds();
    bulk();
    return 0;
}
