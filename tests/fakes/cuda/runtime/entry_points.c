/* entry_points: the way out to the driver. */
#include "runtime/binding.h"

static cudaError_t entry_point(const char *name, void **out, unsigned version, unsigned long long flags,
                               enum cudaDriverEntryPointQueryResult *status) {
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    CUresult result = driver.look_up(name, out, (int)version, flags, &found);
    if (status) *status = (enum cudaDriverEntryPointQueryResult)found;
    return result == CUDA_ERROR_NOT_FOUND && status ? cudaSuccess : binding_done(result);
}

cudaError_t cudaGetDriverEntryPoint(const char *name, void **out, unsigned long long flags,
                                    enum cudaDriverEntryPointQueryResult *status) {
    return ATTACH() ?: entry_point(name, out, RUNTIME_VERSION, flags, status);
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *status) {
    return ATTACH() ?: entry_point(name, out, version, flags, status);
}

/* Per-thread streams: what a program compiled for them asks for. */
cudaError_t cudaGetDriverEntryPoint_ptsz(const char *name, void **out, unsigned long long flags,
                                         enum cudaDriverEntryPointQueryResult *status) {
    return ATTACH()
               ?: entry_point(name, out, RUNTIME_VERSION, flags | cudaEnablePerThreadDefaultStream, status);
}

cudaError_t cudaGetDriverEntryPointByVersion_ptsz(const char *name, void **out, unsigned version,
                                                  unsigned long long flags,
                                                  enum cudaDriverEntryPointQueryResult *status) {
    return ATTACH() ?: entry_point(name, out, version, flags | cudaEnablePerThreadDefaultStream, status);
}
