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

static int allocate_async(uint64_t *out, size_t size, void *stream) {
    (void)stream;
    return allocate(out, size);
}

static int allocate_async_of_thread(uint64_t *out, size_t size, void *stream) {
    (void)stream;
    return allocate(out, size + 1);
}

int cuMemAllocAsync(uint64_t *out, size_t size, void *stream);
int cuMemAllocAsync(uint64_t *out, size_t size, void *stream) {
    return allocate_async(out, size, stream);
}

int cuMemAllocAsync_ptsz(uint64_t *out, size_t size, void *stream);
int cuMemAllocAsync_ptsz(uint64_t *out, size_t size, void *stream) {
    return allocate_async_of_thread(out, size, stream);
}

static int create(void **out, unsigned flags, int device) {
    (void)flags, (void)device;
    *out = &last;
    return 0;
}

static int create_with_affinity(void **out, void *affinities, int count, unsigned flags, int device) {
    (void)affinities, (void)count;
    return create(out, flags, device);
}

int cuCtxCreate_v2(void **out, unsigned flags, int device);
int cuCtxCreate_v2(void **out, unsigned flags, int device) {
    return create(out, flags, device);
}

int cuCtxCreate_v3(void **out, void *affinities, int count, unsigned flags, int device);
int cuCtxCreate_v3(void **out, void *affinities, int count, unsigned flags, int device) {
    return create_with_affinity(out, affinities, count, flags, device);
}

int cuMemHostAlloc(void **out, size_t size, unsigned flags);
int cuMemHostAlloc(void **out, size_t size, unsigned flags) {
    (void)out, (void)size, (void)flags;
    return 1;
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
    if (status) *status = 0;
    if (strcmp(name, "cuMemAllocAsync") == 0) {
        *out = flags & 2 ? (void *)allocate_async_of_thread : (void *)allocate_async;
        return 0;
    }
    if (strcmp(name, "cuCtxCreate") == 0) {
        *out = version < 11040 ? (void *)create : (void *)create_with_affinity;
        return 0;
    }
    if (strcmp(name, "cuMemHostAlloc") == 0) {
        *out = (void *)memset; /* somebody else's */
        return 0;
    }
    if (strcmp(name, "cuMemAlloc") != 0) return 500;
    *out = version < 3020 ? (void *)allocate_old : version < 15000 ? (void *)allocate : (void *)allocate_new;
    return flags ? 1 : 0;
}
