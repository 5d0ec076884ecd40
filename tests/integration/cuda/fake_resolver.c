/* Functions by name and version. argument: the driver's version, as in FAKE_CUDA_VERSION. */
#include "test.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <dlfcn.h>
#include <string.h>

static void *exported(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    MUST(found);
    return found;
}

static void must_be(const char *expected, const char *name, int version, cuuint64_t flags) {
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    void *found = NULL;
    MUST_GIVE(0, cuGetProcAddress_v2(name, &found, version, flags, &status));
    MUST(found == exported(expected) && status == CU_GET_PROC_ADDRESS_SUCCESS);
    found = NULL;
    MUST_GIVE(0, cuGetProcAddress(name, &found, version, flags)); /* the one without a status */
    MUST(found == exported(expected));
}

static void must_not_be(CUdriverProcAddressQueryResult expected, const char *name, int version) {
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    void *found = &status;
    MUST_GIVE(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2(name, &found, version, 0, &status));
    MUST(!found && status == expected);
    MUST_GIVE(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2(name, &found, version, 0, NULL));
}

int main(int argc, char **argv) {
    int driver = argc > 1 ? atoi(argv[1]) : 13000, told = 0;
    MUST_GIVE(0, cuDriverGetVersion(&told));
    MUST(told == driver);
    must_be("cuMemAlloc", "cuMemAlloc", 2000, 0); /* with 32-bit sizes */
    must_be("cuMemAlloc_v2", "cuMemAlloc", 3020, 0);
    must_be("cuMemAlloc_v2", "cuMemAlloc", 12060, 1);
    must_be("cuMemAllocAsync", "cuMemAllocAsync", 11020, 0);
    must_be("cuMemAllocAsync_ptsz", "cuMemAllocAsync", 11020, 2);
    must_be("cuStreamSynchronize_ptsz", "cuStreamSynchronize", 12000, 2);
    must_be("cuMemAlloc_v2", "cuMemAlloc", 12000, 2); /* has no such twin */
    must_be("cuGetProcAddress", "cuGetProcAddress", 11030, 0);
    must_be("cuGetProcAddress_v2", "cuGetProcAddress", 12000, 0);
    must_be("cuCtxCreate_v2", "cuCtxCreate", 3020, 0);
    must_be("cuCtxCreate_v3", "cuCtxCreate", 11040, 0);
    must_be("cuCtxGetDevice", "cuCtxGetDevice", 12060, 0);
    must_be(driver < 13000 ? "cuCtxGetDevice" : "cuCtxGetDevice_v2", "cuCtxGetDevice", 13000, 0);
    must_not_be(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, "", 0);
    must_not_be(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, "malloc", 13000);
    must_not_be(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT, "cuMemCreate", 10010);
    if (driver < 13000)
        must_not_be(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT, "cuMemGetMemPool", 13000);
    else
        must_be("cuMemGetMemPool", "cuMemGetMemPool", 13000, 0);
    return 0;
}
