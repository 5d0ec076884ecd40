/* HIP's calls keep the same books. */
#include "test.h"

typedef struct stream *hipStream_t;
struct properties {
    int type, requested_handles, location_type, location_id;
};

int hipMalloc(void **out, size_t bytes);
int hipFree(void *memory);
int hipMallocAsync(void **out, size_t bytes, hipStream_t stream);
int hipFreeAsync(void *memory, hipStream_t stream);
int hipHostMalloc(void **out, size_t bytes, unsigned flags);
int hipHostFree(void *memory);
int hipMallocManaged(void **out, size_t bytes, unsigned flags);
int hipMallocPitch(void **out, size_t *pitch, size_t width, size_t height);
int hipMemGetInfo(size_t *available, size_t *total);
int hipMemAddressReserve(void **out, size_t size, size_t alignment, void *hint, unsigned long long flags);
int hipMemCreate(uint64_t *out, size_t size, const struct properties *properties, unsigned long long flags);
int hipMemMap(void *address, size_t size, size_t offset, uint64_t handle, unsigned long long flags);
int hipMemUnmap(void *address, size_t size);
int hipMemRelease(uint64_t handle);
int hipGetLastError(void);
int hipDeviceSynchronize(void);

#define MIB (1ull << 20)

int main(void) {
    struct properties wanted = {.type = 1, .location_type = 1};
    size_t available, total, pitch;
    uint64_t handle;
    void *pointer;

    MUST_GIVE(0, hipMalloc(&pointer, 1000));
    MUST(books_of(0).live[FAKE_GPU_PLAIN] == 1024);
    MUST_GIVE(0, hipMemGetInfo(&available, &total));
    MUST(total - available == 1024);
    MUST_GIVE(0, hipFree(pointer));
    MUST_GIVE(0, hipMallocAsync(&pointer, MIB, NULL));
    MUST(books_of(0).live[FAKE_GPU_ASYNC] == MIB);
    MUST_GIVE(0, hipFreeAsync(pointer, NULL));
    MUST_GIVE(0, hipDeviceSynchronize());
    MUST_GIVE(0, hipHostMalloc(&pointer, 5000, 0));
    MUST(books_of(FAKE_GPU_HOST).live[FAKE_GPU_PINNED] == 5000);
    MUST_GIVE(0, hipHostFree(pointer));
    MUST_GIVE(0, hipMallocManaged(&pointer, 5000, 1));
    MUST(books_of(0).live[FAKE_GPU_MANAGED] == 5000);
    MUST_GIVE(0, hipFree(pointer));
    MUST_GIVE(0, hipMallocPitch(&pointer, &pitch, 1000, 10));
    MUST(pitch == 1024 && books_of(0).in_use == 10240);
    MUST_GIVE(0, hipFree(pointer));
    MUST_GIVE(0, hipMemAddressReserve(&pointer, 4 * MIB, 0, NULL, 0));
    MUST_GIVE(0, hipMemCreate(&handle, 4 * MIB, &wanted, 0));
    MUST_GIVE(0, hipMemMap(pointer, 4 * MIB, 0, handle, 0));
    MUST_GIVE(0, hipMemRelease(handle));
    MUST(books_of(0).live[FAKE_GPU_PHYSICAL] == 4 * MIB);
    MUST_GIVE(0, hipMemUnmap(pointer, 4 * MIB));
    MUST(books_of(0).in_use == 0);
    MUST_GIVE(2, hipMalloc(&pointer, total + 1));
    MUST_GIVE(2, hipGetLastError());
    MUST_GIVE(0, hipGetLastError());
    return 0;
}
