/* Every function of cuda_api.def, the driver's by the addresses that dlsym gives, or by name when compiled with LINKED:
 * what it allocates is in the ledger, once; what it frees is not; a failure changes nothing and is counted once; and
 * every call has reached the real function. With an argument: what comes in pairs, from so many threads at once; then
 * only sums are known. */
#include "cuda/cuda_abi.h"
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define MIB (1ull << 20)

#define RUNTIME(name, parameters, ...) int name parameters;
#define HIP(name, parameters, ...)     int name parameters;
#ifdef LINKED
#define DRIVER(name, base, since, streams, parameters, ...) int name parameters;
#else
#define DRIVER(name, base, since, streams, parameters, ...) static int(*name) parameters;
#endif
#include "cuda/cuda_api.def"

int cudaGetLastError(void);

static int (*get_current)(cuda_context *), (*get_device)(cuda_device *), (*set_current)(cuda_context),
    (*reserve)(cuda_pointer *, size_t, size_t, cuda_pointer, unsigned long long);

static void load_driver(void) {
    void *handle = dlopen("libcuda.so.1", RTLD_NOW);
    MUST(handle);
#ifdef LINKED
#define DRIVER(name, ...) must_be_ours(#name, (void *)name);
#else
#define DRIVER(name, ...)                                                                                    \
    *(void **)&name = dlsym(handle, #name);                                                                  \
    must_be_ours(#name, (void *)name);
#endif
    void must_be_ours(const char *name, void *address);
#include "cuda/cuda_api.def"
    *(void **)&get_current = dlsym(handle, "cuCtxGetCurrent");
    *(void **)&get_device = dlsym(handle, "cuCtxGetDevice");
    *(void **)&set_current = dlsym(handle, "cuCtxSetCurrent");
    *(void **)&reserve = dlsym(handle, "cuMemAddressReserve");
}

void must_be_ours(const char *name, void *address) {
    Dl_info info;
    MUST(address && dladdr(address, &info));
    if (strstr(info.dli_fname, "cuda_probe")) return;
    fprintf(stderr, "%s is in %s\n", name, info.dli_fname);
    exit(1);
}

static bool same(const struct probe *a, const struct probe *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0 &&
           memcmp(a->count, b->count, sizeof a->count) == 0;
}

#define MUST_BE(expected)                                                                                    \
    do {                                                                                                     \
        struct probe now_ = probe_read();                                                                    \
        MUST(same(&now_, &(expected)));                                                                      \
    } while (0)

static bool crowded; /* several threads: what another one does would be taken for ours */

/* `take` allocates `size` bytes of a kind, `give` frees them. */
#define PAIR(kind, size, take, take_arguments, give, give_arguments)                                         \
    do {                                                                                                     \
        struct probe before = probe_read();                                                                  \
        MUST_GIVE(0, take take_arguments);                                                                   \
        if (crowded) {                                                                                       \
            MUST_GIVE(0, give give_arguments);                                                               \
            break;                                                                                           \
        }                                                                                                    \
        struct probe after = probe_read();                                                                   \
        if (after.bytes[kind] - before.bytes[kind] != (size) ||                                              \
            after.count[kind] != before.count[kind] + 1) {                                                   \
            fprintf(stderr, "%s: %lld bytes, %lld entries\n", #take,                                         \
                    (long long)(after.bytes[kind] - before.bytes[kind]),                                     \
                    (long long)(after.count[kind] - before.count[kind]));                                    \
            exit(1);                                                                                         \
        }                                                                                                    \
        MUST(fake_gpu_fail(#give, 1, 0, 1));                                                                 \
        MUST_GIVE(1, give give_arguments);                                                                   \
        MUST_BE(after);                                                                                      \
        MUST_GIVE(0, give give_arguments);                                                                   \
        MUST_BE(before);                                                                                     \
        MUST(fake_gpu_fail(#take, 2, 0, 1));                                                                 \
        MUST_GIVE(2, take take_arguments);                                                                   \
        struct probe failed = probe_read();                                                                  \
        MUST_BE(before);                                                                                     \
        bool on_host = kind == LEDGER_PINNED || kind == LEDGER_REGISTERED;                                   \
        MUST(failed.failures == before.failures + !on_host);                                                 \
        MUST(failed.pictures == before.pictures + !on_host);                                                 \
        MUST(failed.allocations == before.allocations + !on_host);                                           \
    } while (0)

static __thread char memory[1 << 16] __attribute__((aligned(4096)));
static struct cuda_channels floats = {32, 32, 0, 0, 2};
static struct cuda_extent box = {64, 32, 4};

static void runtime(void) {
    void *p;
    size_t pitch;
    struct cuda_pitched pitched;
    cuda_pool pool;
    int cudaDeviceGetDefaultMemPool(cuda_pool *, int);

    PAIR(LEDGER_PLAIN, 1000, cudaMalloc, (&p, 1000), cudaFree, (p));
    PAIR(LEDGER_ASYNC, 5 * MIB, cudaMallocAsync, (&p, 5 * MIB, NULL), cudaFreeAsync, (p, NULL));
    PAIR(LEDGER_ASYNC, 5 * MIB, cudaMallocAsync_ptsz, (&p, 5 * MIB, NULL), cudaFreeAsync_ptsz, (p, NULL));
    PAIR(LEDGER_ASYNC, 5 * MIB, cudaMallocAsync, (&p, 5 * MIB, NULL), cudaFree, (p));
    MUST_GIVE(0, cudaDeviceGetDefaultMemPool(&pool, 0));
    PAIR(LEDGER_ASYNC, 300, cudaMallocFromPoolAsync, (&p, 300, pool, NULL), cudaFreeAsync, (p, NULL));
    PAIR(LEDGER_ASYNC, 300, cudaMallocFromPoolAsync_ptsz, (&p, 300, pool, NULL), cudaFreeAsync, (p, NULL));
    PAIR(LEDGER_MANAGED, 4096, cudaMallocManaged, (&p, 4096, 1), cudaFree, (p));
    PAIR(LEDGER_PLAIN, 1024 * 10, cudaMallocPitch, (&p, &pitch, 1000, 10), cudaFree, (p));
    MUST(pitch == 1024);
    PAIR(LEDGER_PLAIN, 512 * 32 * 4, cudaMalloc3D, (&pitched, box), cudaFree, (pitched.pointer));
    PAIR(LEDGER_PINNED, 5000, cudaMallocHost, (&p, 5000), cudaFreeHost, (p));
    PAIR(LEDGER_PINNED, 5000, cudaHostAlloc, (&p, 5000, 0), cudaFreeHost, (p));
    PAIR(LEDGER_REGISTERED, 8192, cudaHostRegister, (memory, 8192, 0), cudaHostUnregister, (memory));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32, cudaMallocArray, (&p, &floats, 64, 32, 0), cudaFreeArray, (p));
    PAIR(LEDGER_PLAIN, 8 * 64, cudaMallocArray, (&p, &floats, 64, 0, 0), cudaFreeArray, (p));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32 * 4, cudaMalloc3DArray, (&p, &floats, box, 0), cudaFreeArray, (p));
    PAIR(LEDGER_PLAIN, 8 * (64 * 32 * 4 + 32 * 16 * 2), cudaMallocMipmappedArray, (&p, &floats, box, 2, 0),
         cudaFreeMipmappedArray, (p));
    MUST_GIVE(0, cudaFree(NULL));
    MUST_GIVE(0, cudaFreeHost(NULL));
    if (crowded) return;
    MUST(fake_gpu_fail("cudaMallocPitch", 2, 0, 1) && fake_gpu_fail("cudaMalloc3D", 2, 0, 1));
    MUST_GIVE(2, cudaMallocPitch(&p, &pitch, 1000, 10)); /* what it would have been is not known */
    MUST(probe_read().requested == 1000 * 10);
    MUST_GIVE(2, cudaMalloc3D(&pitched, box));
    MUST(probe_read().requested == 64 * 32 * 4);
}

static void driver(void) {
    cuda_pointer p;
    cuda_pool pool;
    void *h;
    size_t pitch;
    struct cuda_array_2d flat = {64, 32, 0x20, 2};
    struct cuda_array_3d deep = {64, 32, 4, 0x10, 4, 0};
    int cudaDeviceGetDefaultMemPool(cuda_pool *, int);

    MUST_GIVE(0, cudaDeviceGetDefaultMemPool(&pool, 0));
    PAIR(LEDGER_PLAIN, 1000, cuMemAlloc_v2, (&p, 1000), cuMemFree_v2, (p));
    PAIR(LEDGER_PLAIN, 1024 * 10, cuMemAllocPitch_v2, (&p, &pitch, 1000, 10, 4), cuMemFree_v2, (p));
    PAIR(LEDGER_MANAGED, 4096, cuMemAllocManaged, (&p, 4096, 1), cuMemFree_v2, (p));
    PAIR(LEDGER_ASYNC, MIB, cuMemAllocAsync, (&p, MIB, NULL), cuMemFreeAsync, (p, NULL));
    PAIR(LEDGER_ASYNC, MIB, cuMemAllocAsync_ptsz, (&p, MIB, NULL), cuMemFreeAsync_ptsz, (p, NULL));
    PAIR(LEDGER_ASYNC, MIB, cuMemAllocFromPoolAsync, (&p, MIB, pool, NULL), cuMemFreeAsync, (p, NULL));
    PAIR(LEDGER_ASYNC, MIB, cuMemAllocFromPoolAsync_ptsz, (&p, MIB, pool, NULL), cuMemFreeAsync, (p, NULL));
    PAIR(LEDGER_PINNED, 5000, cuMemHostAlloc, (&h, 5000, 0), cuMemFreeHost, (h));
    PAIR(LEDGER_PINNED, 5000, cuMemAllocHost_v2, (&h, 5000), cuMemFreeHost, (h));
    PAIR(LEDGER_REGISTERED, 8192, cuMemHostRegister_v2, (memory, 8192, 0), cuMemHostUnregister, (memory));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32, cuArrayCreate_v2, (&h, &flat), cuArrayDestroy, (h));
    PAIR(LEDGER_PLAIN, 8 * 64 * 32 * 4, cuArray3DCreate_v2, (&h, &deep), cuArrayDestroy, (h));
    PAIR(LEDGER_PLAIN, 8 * (64 * 32 * 4 + 32 * 16 * 2 + 16 * 8), cuMipmappedArrayCreate, (&h, &deep, 3),
         cuMipmappedArrayDestroy, (h));
}

static void virtual_memory(void) {
    struct cuda_physical on_device = {.type = 1, .location = {CUDA_LOCATION_DEVICE, 0}},
                         on_host = {.type = 1, .location = {2, 0}};
    struct probe before = probe_read();
    cuda_handle first, second, held;
    cuda_pointer address;

    MUST_GIVE(0, reserve(&address, 1ull << 30, 0, 0, 0));
    MUST_BE(before); /* addresses are no memory */
    MUST_GIVE(0, cuMemCreate(&first, 4 * MIB, &on_device, 0));
    MUST_GIVE(0, cuMemCreate(&second, 2 * MIB, &on_device, 0));
    struct probe two = probe_read();
    MUST(two.bytes[LEDGER_PHYSICAL] == before.bytes[LEDGER_PHYSICAL] + 6 * MIB);
    MUST_GIVE(0, cuMemMap(address, 4 * MIB, 0, first, 0));
    MUST_GIVE(0, cuMemMap(address + 4 * MIB, 2 * MIB, 0, second, 0));
    MUST_GIVE(0, cuMemRelease(first));
    MUST_GIVE(0, cuMemRelease(second));
    MUST_BE(two); /* mapped memory outlives its handle */
    MUST_GIVE(0, cuMemRetainAllocationHandle(&held, (void *)(uintptr_t)address));
    MUST_GIVE(0, cuMemUnmap(address, 6 * MIB)); /* one for both */
    MUST(probe_read().bytes[LEDGER_PHYSICAL] == before.bytes[LEDGER_PHYSICAL] + 4 * MIB);
    MUST_GIVE(0, cuMemRelease(held));
    MUST_BE(before);

    MUST(fake_gpu_fail("cuMemCreate", 2, 0, 1));
    MUST_GIVE(2, cuMemCreate(&first, 4 * MIB, &on_device, 0));
    MUST_BE(before);
    MUST(probe_read().failures == before.failures + 1 && probe_read().requested == 4 * MIB);

    /* HAMi issues 1764, 1853, 2641: NCCL creates memory on the host this way. */
    MUST_GIVE(0, cuMemCreate(&first, 4 * MIB, &on_host, 0));
    MUST(probe_read().bytes[LEDGER_PINNED] == before.bytes[LEDGER_PINNED] + 4 * MIB);
    MUST_GIVE(0, cuMemRelease(first));
    MUST_BE(before);
    MUST(fake_gpu_fail("cuMemMap", 1, 0, 1) && fake_gpu_fail("cuMemUnmap", 1, 0, 1));
    MUST_GIVE(0, cuMemCreate(&first, 4 * MIB, &on_device, 0));
    struct probe created = probe_read();
    MUST_GIVE(1, cuMemMap(address, 4 * MIB, 0, first, 0));
    MUST_GIVE(0, cuMemMap(address, 4 * MIB, 0, first, 0));
    MUST_GIVE(0, cuMemRelease(first));
    MUST_GIVE(1, cuMemUnmap(address, 4 * MIB));
    MUST_BE(created);
    cuda_handle none = first;
    MUST(fake_gpu_fail("cuMemRetainAllocationHandle", 1, 0, 1));
    MUST_GIVE(1, cuMemRetainAllocationHandle(&none, (void *)(uintptr_t)address));
    MUST_GIVE(0, cuMemUnmap(address, 4 * MIB));
    MUST_BE(before);
}

static void bulk_releases(void) {
    struct probe before = probe_read();
    cuda_context primary, context, again;
    cuda_pointer p, kept;
    void *q;

    MUST_GIVE(0, get_current(&primary));
    MUST_GIVE(0, cuCtxCreate_v2(&context, 0, 0));
    MUST_GIVE(0, cuMemAlloc_v2(&p, MIB));
    MUST_GIVE(0, cuMemAllocAsync(&kept, MIB, NULL));
    MUST(fake_gpu_fail("cuCtxDestroy_v2", 1, 0, 1));
    MUST_GIVE(1, cuCtxDestroy_v2(context));
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST_GIVE(0, cuCtxDestroy_v2(context));
    struct probe after = probe_read();
    MUST(after.bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN]);
    MUST(after.bytes[LEDGER_ASYNC] == before.bytes[LEDGER_ASYNC] + MIB); /* cuda.h, cuCtxDestroy */
    MUST_GIVE(0, set_current(primary));
    MUST_GIVE(0, cuMemFreeAsync(kept, NULL));
    MUST_BE(before);

    MUST_GIVE(0, cuDevicePrimaryCtxRetain(&again, 0));
    MUST(again == primary);
    MUST_GIVE(0, cudaMalloc(&q, MIB));
    MUST(fake_gpu_fail("cuDevicePrimaryCtxRelease_v2", 1, 0, 1));
    MUST_GIVE(1, cuDevicePrimaryCtxRelease_v2(0));
    MUST_GIVE(0, cuDevicePrimaryCtxRelease_v2(0)); /* not the last */
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST(fake_gpu_fail("cuDevicePrimaryCtxReset_v2", 1, 0, 1));
    MUST_GIVE(1, cuDevicePrimaryCtxReset_v2(0));
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST_GIVE(0, cuDevicePrimaryCtxReset_v2(0));
    MUST_BE(before);
    MUST_GIVE(0, cuDevicePrimaryCtxRetain(&again, 0)); /* the older names, as FFmpeg asks for */
    MUST_GIVE(0, cudaMalloc(&q, MIB));
    MUST_GIVE(0, cuDevicePrimaryCtxRelease(0));
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST_GIVE(0, cuDevicePrimaryCtxReset(0));
    MUST_BE(before);
    MUST_GIVE(0, cudaMalloc(&q, MIB));
    MUST(fake_gpu_fail("cudaDeviceReset", 1, 0, 1));
    MUST_GIVE(1, cudaDeviceReset());
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST_GIVE(0, cudaDeviceReset());
    MUST_BE(before);
    MUST_GIVE(0, cuCtxCreate_v2(&context, 0, 0));
    MUST_GIVE(0, cuMemAlloc_v2(&p, MIB));
    MUST_GIVE(0, cudaDeviceReset()); /* no reset of a context that is not the primary one */
    MUST(probe_read().bytes[LEDGER_PLAIN] == before.bytes[LEDGER_PLAIN] + MIB);
    MUST_GIVE(0, cuCtxDestroy_v2(context));
    MUST_BE(before);
    MUST_GIVE(0, set_current(primary));
    MUST_GIVE(0, cudaMalloc(&q, MIB));
    MUST_GIVE(0, cudaFree(q));
}

/* While there is one context the driver is not asked whose an allocation is; from the second on it is. */
static void several_contexts(void) {
    struct ledger_entry entry;
    cuda_context primary, others[3];
    cuda_pointer p;

    MUST_GIVE(0, get_current(&primary));
    uint64_t asked = fake_gpu_calls("cuCtxGetCurrent");
    MUST_GIVE(0, cuMemAlloc_v2(&p, MIB));
    MUST(fake_gpu_calls("cuCtxGetCurrent") == asked);
    MUST(probe_find(LEDGER_POINTER, p, &entry) && entry.is.context == ledger_context(primary) &&
         entry.is.device == 0);
    MUST_GIVE(0, cuMemFree_v2(p));
    MUST_GIVE(0, cuCtxCreate_v2(&others[0], 0, 0));
    MUST_GIVE(0, cuCtxCreate_v3(&others[1], NULL, 0, 0, 0));
    MUST_GIVE(0, cuCtxCreate_v4(&others[2], NULL, 0, 0));
    MUST_GIVE(0, cuMemAlloc_v2(&p, MIB));
    MUST(probe_find(LEDGER_POINTER, p, &entry) && entry.is.context == ledger_context(others[2]) &&
         entry.is.device == 0);
    asked = fake_gpu_calls("cuCtxGetDevice");
    MUST_GIVE(0, cuMemFree_v2(p));
    MUST_GIVE(0, cuMemAlloc_v2(&p, MIB));
    MUST(fake_gpu_calls("cuCtxGetDevice") == asked); /* once of each context */
    for (int i = 2; i >= 0; i--)
        MUST_GIVE(0, cuCtxDestroy_v2(others[i]));
    MUST(!probe_find(LEDGER_POINTER, p, &entry));
    MUST_GIVE(0, set_current(primary));
    cuCtxFromGreenCtx(&primary, NULL); /* whatever it does here */
}

static void figures(void) {
    size_t available, total;

    MUST_GIVE(0, cudaMemGetInfo(&available, &total)); /* the last failure wants to know more */
    uint64_t asked = fake_gpu_calls("cuDeviceGetMemPool");
    MUST_GIVE(0, cudaMemGetInfo(&available, &total));
    MUST_GIVE(0, cuMemGetInfo_v2(&available, &total));
    MUST_GIVE(0, hipMemGetInfo(&available, &total));
    MUST(fake_gpu_calls("cuDeviceGetMemPool") == asked);
}

static void captures(void) {
    cuda_stream stream;
    void *graph;
    int (*create)(cuda_stream *, unsigned), (*end)(cuda_stream, void **);
    void *handle = dlopen("libcuda.so.1", RTLD_NOW);
    *(void **)&create = dlsym(handle, "cuStreamCreate");
    *(void **)&end = dlsym(handle, "cuStreamEndCapture");
    MUST_GIVE(0, create(&stream, 0));
    MUST_GIVE(0, cuStreamBeginCapture_v2(stream, 0));
    MUST_GIVE(0, end(stream, &graph));
    MUST_GIVE(0, cuStreamBeginCaptureToGraph(stream, graph, NULL, NULL, 0, 0));
    MUST_GIVE(0, end(stream, &graph));
    MUST_GIVE(0, cuStreamBeginCapture_v2_ptsz(CUDA_STREAM_PER_THREAD, 0));
    MUST_GIVE(0, end(CUDA_STREAM_PER_THREAD, &graph));
    MUST_GIVE(0, cuStreamBeginCaptureToGraph_ptsz(CUDA_STREAM_PER_THREAD, graph, NULL, NULL, 0, 0));
    MUST_GIVE(0, end(CUDA_STREAM_PER_THREAD, &graph));
}

static void addresses(void) {
    void *given[6], *wrapper = dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuMemAlloc_v2");
    int status;

    MUST_GIVE(0, cuGetProcAddress("cuMemAlloc", &given[0], 12000, 0));
    MUST_GIVE(0, cuGetProcAddress_v2("cuMemAlloc", &given[1], 12000, 0, &status));
    MUST_GIVE(0, cudaGetDriverEntryPoint("cuMemAlloc", &given[2], 0, &status));
    MUST_GIVE(0, cudaGetDriverEntryPoint_ptsz("cuMemAlloc", &given[3], 0, &status));
    MUST_GIVE(0, cudaGetDriverEntryPointByVersion("cuMemAlloc", &given[4], 12000, 0, &status));
    MUST_GIVE(0, cudaGetDriverEntryPointByVersion_ptsz("cuMemAlloc", &given[5], 12000, 0, &status));
    for (int i = 0; i < 6; i++)
        MUST(given[i] == wrapper);
    must_be_ours("cuMemAlloc", wrapper);
}

static void hip(void) {
    void *p;
    size_t pitch;
    struct cuda_pitched pitched;
    struct cuda_array_2d flat = {64, 32, 0x20, 2};
    struct cuda_array_3d deep = {64, 32, 4, 0x10, 4, 0};

    PAIR(LEDGER_PLAIN, 1000, hipMalloc, (&p, 1000), hipFree, (p));
#ifdef WHOLE_HIP
    PAIR(LEDGER_PLAIN, 1000, hipExtMallocWithFlags, (&p, 1000, 0), hipFree, (p));
    PAIR(LEDGER_PLAIN, 512 * 32 * 4, hipMalloc3D, (&pitched, box), hipFree, (pitched.pointer));
#endif
    PAIR(LEDGER_ASYNC, MIB, hipMallocAsync, (&p, MIB, NULL), hipFreeAsync, (p, NULL));
    PAIR(LEDGER_MANAGED, 4096, hipMallocManaged, (&p, 4096, 1), hipFree, (p));
    PAIR(LEDGER_PLAIN, 1024 * 10, hipMallocPitch, (&p, &pitch, 1000, 10), hipFree, (p));
    PAIR(LEDGER_PINNED, 5000, hipHostMalloc, (&p, 5000, 0), hipHostFree, (p));
    (void)pitched, (void)flat, (void)deep;
}

static void pairs(void) {
    runtime();
    driver();
    hip();
}

enum { ROUNDS = 40 };

static void *crowd(void *argument) {
    MUST_GIVE(0, cudaFree(NULL)); /* the thread's context */
    for (int i = 0; i < ROUNDS; i++)
        pairs();
    return argument;
}

static void run_crowd(int threads) {
    pthread_t thread[64];
    struct probe before = probe_read();
    pairs();
    uint64_t allocations = probe_read().allocations - before.allocations;
    before = probe_read();
    crowded = true;
    MUST(threads <= 64);
    for (int i = 0; i < threads; i++)
        MUST_GIVE(0, pthread_create(&thread[i], NULL, crowd, NULL));
    for (int i = 0; i < threads; i++)
        MUST_GIVE(0, pthread_join(thread[i], NULL));
    MUST_BE(before);
    MUST(probe_read().allocations == before.allocations + (uint64_t)threads * ROUNDS * allocations);
    MUST(probe_read().failures == before.failures);
}

int main(int argc, char **argv) {
    MUST(probe_read);
    MUST_GIVE(0, cudaFree(NULL));
    load_driver();
    if (argc == 2) {
        run_crowd(atoi(argv[1]));
        return 0;
    }
    runtime();
    driver();
    virtual_memory();
    several_contexts();
    figures();
    captures();
    addresses();
    hip();
    bulk_releases();
#define RUNTIME(name, ...) MUST(fake_gpu_calls(#name) > 0);
#define DRIVER(name, ...)  MUST(fake_gpu_calls(#name) > 0);
#include "cuda/cuda_api.def"
    return 0;
}
