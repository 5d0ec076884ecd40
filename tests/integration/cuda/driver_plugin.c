/* A library that is linked with the driver, and allocates. */
#include <stddef.h>
#include <stdint.h>

int cuMemAlloc_v2(uint64_t *out, size_t size);

int plugin_allocate(void **out, size_t size);
int plugin_allocate(void **out, size_t size) {
    uint64_t address = 0;
    int result = cuMemAlloc_v2(&address, size);
    *out = (void *)(uintptr_t)address;
    return result;
}
