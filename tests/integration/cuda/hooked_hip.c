/* Every HIP function of cuda_api.def, over whole_hip.c: recorded, restored after a failed free, counted when failing. */
#include "cuda/cuda_abi.h"
#include "cuda_probe.h"
#include "test.h"

#include <string.h>

#define MIB (1ull << 20)

#define HIP(name, parameters, ...) int name parameters;
#include "cuda/cuda_api.def"
int whole_hip_calls(const char *name);
void whole_hip_fail(int with);

static bool same(struct probe a, struct probe b) {
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0 && memcmp(a.count, b.count, sizeof a.count) == 0;
}

#define PAIR(kind, size, take, give)                                                                         \
    do {                                                                                                     \
        struct probe before = probe_read();                                                                  \
        MUST_GIVE(0, take);                                                                                  \
        struct probe after = probe_read();                                                                   \
        MUST(after.bytes[kind] - before.bytes[kind] == (size) &&                                             \
             after.count[kind] == before.count[kind] + 1);                                                   \
        whole_hip_fail(1);                                                                                   \
        MUST_GIVE(1, give);                                                                                  \
        whole_hip_fail(0);                                                                                   \
        MUST(same(probe_read(), after));                                                                     \
        MUST_GIVE(0, give);                                                                                  \
        MUST(same(probe_read(), before));                                                                    \
        whole_hip_fail(2);                                                                                   \
        MUST_GIVE(2, take);                                                                                  \
        whole_hip_fail(0);                                                                                   \
        bool on_host = kind == LEDGER_PINNED || kind == LEDGER_REGISTERED;                                   \
        MUST(same(probe_read(), before) && probe_read().failures == before.failures + !on_host);             \
    } while (0)

int main(void) {
    static char memory[8192];
    struct cuda_channels floats = {32, 32, 0, 0, 2};
    struct cuda_extent box = {64, 32, 4};
    struct cuda_array_2d flat = {64, 32, 0x20, 2};
    struct cuda_array_3d deep = {64, 32, 4, 0x10, 4, 0};
    struct cuda_physical on_device = {.type = 1, .location = {CUDA_LOCATION_DEVICE, 3}};
    struct cuda_pitched pitched;
    struct ledger_entry entry;
    size_t pitch, available, total;
    void *p, *held;

    PAIR(LEDGER_PLAIN, 1000, hipMalloc(&p, 1000), hipFree(p));
    PAIR(LEDGER_PLAIN, 1000, hipExtMallocWithFlags(&p, 1000, 0), hipFree(p));
    PAIR(LEDGER_ASYNC, MIB, hipMallocAsync(&p, MIB, NULL), hipFreeAsync(p, NULL));
    PAIR(LEDGER_ASYNC, MIB, hipMallocFromPoolAsync(&p, MIB, NULL, NULL), hipFree(p));
    PAIR(LEDGER_MANAGED, 4096, hipMallocManaged(&p, 4096, 1), hipFree(p));
    PAIR(LEDGER_PLAIN, 1024 * 10, hipMallocPitch(&p, &pitch, 1000, 10), hipFree(p));
    PAIR(LEDGER_PLAIN, 1024 * 10, hipMemAllocPitch(&p, &pitch, 1000, 10, 4), hipFree(p));
    PAIR(LEDGER_PLAIN, 1024 * 32 * 4, hipMalloc3D(&pitched, box), hipFree(pitched.pointer));
    PAIR(LEDGER_PINNED, 5000, hipHostMalloc(&p, 5000, 0), hipHostFree(p));
    PAIR(LEDGER_PINNED, 5000, hipHostAlloc(&p, 5000, 0), hipFreeHost(p));
    PAIR(LEDGER_PINNED, 5000, hipMallocHost(&p, 5000), hipHostFree(p));
    PAIR(LEDGER_PINNED, 5000, hipMemAllocHost(&p, 5000), hipHostFree(p));
    PAIR(LEDGER_REGISTERED, 8192, hipHostRegister(memory, 8192, 0), hipHostUnregister(memory));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32, hipMallocArray(&p, &floats, 64, 32, 0), hipFreeArray(p));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32 * 4, hipMalloc3DArray(&p, &floats, box, 0), hipFreeArray(p));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32 * 4, hipMallocMipmappedArray(&p, &floats, box, 1, 0),
         hipFreeMipmappedArray(p));
    PAIR(LEDGER_PLAIN, 8 * (64 * 32 * 4 + 32 * 16 * 2), hipMipmappedArrayCreate(&p, &deep, 2),
         hipMipmappedArrayDestroy(p));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32, hipArrayCreate(&p, &flat), hipArrayDestroy(p));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32 * 4, hipArray3DCreate(&p, &deep), hipArrayDestroy(p));

    MUST(probe_read().failed_on == 3); /* as it was told before: nothing is asked after a failure */
    MUST_GIVE(0, hipMalloc(&p, 1000));
    MUST(probe_find(LEDGER_POINTER, (uint64_t)(size_t)p, &entry) && entry.is.device == 3);
    MUST_GIVE(0, hipMallocAsync(&held, 1000, NULL));
    MUST_GIVE(0, hipDeviceReset()); /* of pools too, other than CUDA's */
    MUST(probe_read().count[LEDGER_PLAIN] == 0 && probe_read().count[LEDGER_ASYNC] == 0);

    void *address = (void *)0x600000000000;
    MUST_GIVE(0, hipMemCreate(&p, 4 * MIB, &on_device, 0));
    MUST_GIVE(0, hipMemMap(address, 4 * MIB, 0, p, 0));
    MUST_GIVE(0, hipMemRetainAllocationHandle(&held, address));
    MUST_GIVE(0, hipMemRelease(p));
    MUST_GIVE(0, hipMemRelease(held));
    MUST(probe_read().bytes[LEDGER_PHYSICAL] == 4 * MIB);
    MUST_GIVE(0, hipMemUnmap(address, 4 * MIB));
    MUST(probe_read().count[LEDGER_PHYSICAL] == 0);
    MUST_GIVE(0, hipMemGetInfo(&available, &total));
    MUST(available == 5 && total == 9);

#define HIP(name, ...) MUST(whole_hip_calls(#name) > 0);
#include "cuda/cuda_api.def"
    return 0;
}
