/* A library that allocates, as extensions of PyTorch do; compiled with a runtime of some major, or with none. Returns what
 * the call gave. */
#include <stddef.h>

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaGetLastError(void);

int plugin_allocate(void **out, size_t size);
int plugin_allocate(void **out, size_t size) {
    return cudaMalloc(out, size);
}

int plugin_free(void *pointer);
int plugin_free(void *pointer) {
    return cudaFree(pointer);
}

/* Of the runtime that the library is linked with: not hooked. */
int plugin_last_error(void);
int plugin_last_error(void) {
    return cudaGetLastError();
}
