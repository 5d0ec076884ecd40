/* Two majors of the runtime in one process: each its own functions and last error, both the same GPU. */
#include "test.h"

#include <dlfcn.h>

struct runtime {
    int (*version)(int *), (*allocate)(void **, size_t), (*release)(void *), (*last_error)(void);
};

static struct runtime load(const char *library, const char *symbol_version) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    struct runtime runtime;
    MUST(handle);
    runtime.version = (int (*)(int *))dlvsym(handle, "cudaRuntimeGetVersion", symbol_version);
    runtime.allocate = (int (*)(void **, size_t))dlvsym(handle, "cudaMalloc", symbol_version);
    runtime.release = (int (*)(void *))dlvsym(handle, "cudaFree", symbol_version);
    runtime.last_error = (int (*)(void))dlvsym(handle, "cudaGetLastError", symbol_version);
    MUST(runtime.version && runtime.allocate && runtime.release && runtime.last_error);
    return runtime;
}

int main(void) {
    struct runtime old = load("libcudart.so.12", "libcudart.so.12"),
                   new = load("libcudart.so.13", "libcudart.so.13");
    void *first, *second;
    int version;

    MUST(old.allocate != new.allocate);
    MUST_GIVE(0, old.version(&version));
    MUST(version == 12000);
    MUST_GIVE(0, new.version(&version));
    MUST(version == 13000);
    MUST_GIVE(0, old.allocate(&first, 512));
    MUST_GIVE(0, new.allocate(&second, 512));
    MUST(first != second && books_of(0).in_use == 1024);
    MUST_GIVE(0, new.release(first)); /* whoever allocated it */
    MUST_GIVE(1, old.release(first));
    MUST_GIVE(0, new.last_error());
    MUST_GIVE(1, old.last_error());
    MUST_GIVE(0, old.release(second));
    return 0;
}
