/* Calls fail when they are told to, by FAKE_CUDA_FAIL=cudaMalloc:46:2:1 and from inside. */
#include "test.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

int main(void) {
    void *first, *second = NULL;
    MUST_GIVE(0, cudaMalloc(&first, 512)); /* after the first one ... */
    MUST_GIVE(cudaErrorDevicesUnavailable, cudaMalloc(&second, 512));
    MUST_GIVE(cudaErrorDevicesUnavailable, cudaMalloc(&second, 512)); /* ... two */
    MUST_GIVE(cudaErrorDevicesUnavailable, cudaGetLastError());
    MUST(!second && fake_gpu_calls("cuMemAlloc_v2") == 1);

    MUST(fake_gpu_fail("cuMemAlloc_v2", CUDA_ERROR_OUT_OF_MEMORY, 0, 1)); /* below the runtime */
    MUST_GIVE(cudaErrorMemoryAllocation, cudaMalloc(&second, 512));
    MUST_GIVE(0, cudaMalloc(&second, 512));
    MUST_GIVE(cudaErrorMemoryAllocation, cudaGetLastError());

    MUST(fake_gpu_fail("cudaFree", cudaErrorLaunchFailure, 0, 1)); /* what is not freed is held */
    MUST_GIVE(cudaErrorLaunchFailure, cudaFree(second));
    MUST(books_of(0).count[FAKE_GPU_PLAIN] == 2);
    MUST_GIVE(0, cudaFree(second));

    MUST(fake_gpu_fail("cuMemAdvise_v2", 1, 0, 1)); /* functions that do nothing, too */
    MUST_GIVE(1, cuMemAdvise_v2(0, 0, 0, (CUmemLocation){.id = 0}));
    MUST_GIVE(0, cuMemAdvise_v2(0, 0, 0, (CUmemLocation){.id = 0}));
    return 0;
}
