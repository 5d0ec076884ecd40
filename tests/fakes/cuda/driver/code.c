/* code: modules and kernels, loaded into nothing and launched into nothing. */
#include "driver/driver.h"

static CUresult give(void *out) {
    *(void **)out = streams_new_handle();
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return CALL() ?: give(module);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options,
                            void **values) {
    return CALL() ?: give(module);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
    return CALL() ?: give(module);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    return CALL() ?: give(function);
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit, void **jit_values,
                           unsigned jit_count, CUlibraryOption *options, void **values, unsigned count) {
    return CALL() ?: give(library);
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    return CALL() ?: give(kernel);
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library) {
    return CALL() ?: give(module);
}

CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    return CALL() ?: give(function);
}

static int function_attribute(CUfunction_attribute attribute) {
    return attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024
           : attribute == CU_FUNC_ATTRIBUTE_BINARY_VERSION      ? 86
                                                                : 0;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    *value = function_attribute(attribute);
    return CALL();
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device) {
    *value = function_attribute(attribute);
    return CALL();
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int size,
                                                     size_t shared) {
    *blocks = 2;
    return CALL();
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function, int size,
                                                              size_t shared, unsigned flags) {
    *blocks = 2;
    return CALL();
}
