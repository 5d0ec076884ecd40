/* A driver whose resolver gives other addresses than those that it exports, as a driver to come might. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint64_t last = 0x700000000000;

static int allocate_old(unsigned *out, unsigned size) {
    *out = size;
    return 0;
}

static int allocate(uint64_t *out, size_t size) {
    *out = last += size;
    return 0;
}

static int allocate_new(uint64_t *out, size_t size, int more) {
    *out = last += size + (size_t)more;
    return 0;
}

int cuMemAlloc_v2(uint64_t *out, size_t size);
int cuMemAlloc_v2(uint64_t *out, size_t size) {
    return allocate(out, size);
}

int cuCtxGetCurrent(void **context);
int cuCtxGetCurrent(void **context) {
    *context = &last;
    return 0;
}

int cuCtxGetDevice(int *device);
int cuCtxGetDevice(int *device) {
    *device = 2;
    return 0;
}

int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status);
int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    if (strcmp(name, "cuMemAlloc") != 0) return 500;
    *out = version < 3020 ? (void *)allocate_old : version < 15000 ? (void *)allocate : (void *)allocate_new;
    if (status) *status = 0;
    return flags ? 1 : 0;
}
