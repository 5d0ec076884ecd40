/* A random walk through everything that allocates, with failures on the way: at each step the ledger and its counters are
 * what the fake GPU's books say, to the byte, and so are the highest value and what the node has allocated. arguments: seed,
 * steps, threads. Several threads are compared when all have come as far. Sizes are such that the fake does not round. Memory
 * must be 256M, devices 2, PyTorch's allocator any; the program must be linked with the driver. */
#include "cuda_probe.h"
#include "test.h"

#include "c10/c10.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIT     512u
#define PAGE     (2u << 20)
#define DEVICES  2
#define THINGS   48 /* of each thread */
#define SHARED   16 /* handed from thread to thread */
#define MAPPINGS 4
#define THREADS  8
#define TURNS    50 /* steps of all threads from one comparison to the next */

enum kind { NOTHING, POINTER, TENSOR, HOST, REGISTERED, ARRAY, LEVELS, PHYSICAL, IMPORTED };

struct thing {
    enum kind kind;
    void *address;
    CUmemGenericAllocationHandle handle; /* PHYSICAL and IMPORTED, as the rest: */
    CUdeviceptr range;
    size_t size, mapped[MAPPINGS]; /* bytes; mappings lie side by side */
    unsigned held;
};

static int threads;
static void *shared[SHARED];
static CUmemoryPool pools[DEVICES + 1];   /* the last one is of host memory */
static cudaStream_t streams[DEVICES + 1]; /* one of each device; NULL */
static pthread_barrier_t barrier;

static __thread struct thing things[THINGS];
static __thread uint64_t state;
static __thread uint64_t taken, taken_bytes; /* of devices by this thread, since its start */
static uint64_t highest; /* of what was allocated, since it was last compared; of one thread alone */
static __thread char memory[THINGS][8192] __attribute__((aligned(4096)));

static unsigned draw(unsigned below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

/* Mostly small; at times more than there is. */
static size_t draw_size(void) {
    switch (draw(20)) {
    case 0:
        return (size_t)(1 + draw(200)) << 20;
    case 1:
    case 2:
        return (size_t)UNIT * (1 + draw(8192));
    }
    return (size_t)UNIT * (1 + draw(64));
}

/* ---- failures ---- */

static void perhaps_fail(void) {
    static const char *const functions[] = {
        "cudaMalloc",
        "cudaFree",
        "cudaMallocAsync",
        "cudaFreeAsync",
        "cuMemAlloc_v2",
        "cuMemFree_v2",
        "cuMemCreate",
        "cuMemMap",
        "cuMemUnmap",
        "cuMemHostAlloc",
        "cudaHostAlloc",
        "cuMemFreeHost",
        "cuMemFreeAsync",
        "cuMemAllocAsync",
        "cuArrayDestroy",
        "cuArrayCreate_v2",
        "cuMemAllocPitch_v2",
        "cuMemHostUnregister",
        "cuMemAllocFromPoolAsync",
        "cudaMallocManaged",
        "cuMipmappedArrayDestroy",
        "cuMemHostRegister_v2",
        "cudaFreeHost",
    };
    static const int errors[] = {1, 2, 2, 2, 201, 999};
    if (draw(6)) return;
    MUST(fake_gpu_fail(functions[draw(sizeof functions / sizeof *functions)], errors[draw(6)], draw(3),
                       1 + draw(2)));
}

/* ---- what it should be ---- */

static uint64_t allocated_now(void) {
    return probe_usage(0).allocated + probe_usage(1).allocated;
}

/* After something was allocated on a device. With several threads the number alone is known. */
static void note_taken(uint64_t allocated_before) {
    uint64_t allocated = allocated_now();
    taken++;
    taken_bytes += allocated - allocated_before;
    if (threads == 1 && allocated > highest) highest = allocated;
}

/* ---- one thing ---- */

static void create_physical(struct thing *thing) {
    CUmemAllocationProp where = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, (int)draw(DEVICES)}};
    size_t size = (size_t)PAGE * (1 + draw(4));
    uint64_t before = allocated_now();
    if (draw(8) == 0) where.location.type = CU_MEM_LOCATION_TYPE_HOST;
    if (cuMemCreate(&thing->handle, size, &where, 0)) return;
    MUST_GIVE(0, cuMemAddressReserve(&thing->range, size * MAPPINGS, 0, 0, 0));
    thing->kind = PHYSICAL;
    thing->size = size;
    thing->held = 1;
    memset(thing->mapped, 0, sizeof thing->mapped);
    if (where.location.type == CU_MEM_LOCATION_TYPE_DEVICE) note_taken(before);
}

static void import(struct thing *thing) {
    MUST_GIVE(0,
              cuMemImportFromShareableHandle(&thing->handle, NULL, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    MUST_GIVE(0, cuMemAddressReserve(&thing->range, (size_t)PAGE * MAPPINGS, 0, 0, 0));
    thing->kind = IMPORTED;
    thing->size = PAGE;
    thing->held = 1;
    memset(thing->mapped, 0, sizeof thing->mapped);
}

static void take(struct thing *thing, unsigned number) {
    static const struct cudaChannelFormatDesc floats = {.x = 32, .f = cudaChannelFormatKindFloat};
    size_t size = draw_size(), pitch;
    uint64_t before = allocated_now();
    struct cudaPitchedPtr pitched;
    unsigned pool;
    bool on_host = false;
    int failed = 1;
    thing->kind = POINTER;
    switch (draw(18)) {
    case 0:
    case 1:
        failed = cudaMalloc(&thing->address, size);
        break;
    case 2:
    case 3:
        failed = cudaMallocAsync(&thing->address, size, streams[draw(DEVICES + 1)]);
        break;
    case 4:
        pool = draw(DEVICES + 1);
        on_host = pool == DEVICES;
        failed = cudaMallocFromPoolAsync(&thing->address, size, (cudaMemPool_t)pools[pool], NULL);
        break;
    case 5:
        failed = cudaMallocManaged(&thing->address, UNIT * (1 + draw(64)), cudaMemAttachGlobal);
        break;
    case 6:
        failed = cudaMallocPitch(&thing->address, &pitch, 1 + draw(5000), 1 + draw(20));
        break;
    case 7:
        failed = cudaMalloc3D(&pitched, (struct cudaExtent){1 + draw(3000), 1 + draw(5), 1 + draw(4)});
        thing->address = failed ? NULL : pitched.ptr;
        break;
    case 8:
        failed = cuMemAlloc((CUdeviceptr *)&thing->address, size);
        break;
    case 9:
        failed = cuMemAllocAsync((CUdeviceptr *)&thing->address, size, streams[draw(DEVICES + 1)]);
        break;
    case 10:
        thing->kind = HOST;
        failed = draw(2) ? cudaMallocHost(&thing->address, 4096) : cudaHostAlloc(&thing->address, 8192, 0);
        break;
    case 11:
        thing->kind = REGISTERED;
        thing->address = memory[number];
        failed = cudaHostRegister(thing->address, sizeof memory[number], 0);
        if (!failed) MUST(cudaHostRegister(thing->address, 4096, 0) != 0); /* it is registered already */
        break;
    case 12:
        thing->kind = ARRAY;
        failed = cudaMallocArray((cudaArray_t *)&thing->address, &floats, 128 * (1 + draw(4)), draw(9), 0);
        break;
    case 13:
        thing->kind = LEVELS;
        failed = cudaMallocMipmappedArray((cudaMipmappedArray_t *)&thing->address, &floats,
                                          (struct cudaExtent){1024, 0, 0}, 1 + draw(3), 0);
        break;
    case 14:
        thing->kind = NOTHING;
        create_physical(thing);
        return;
    case 15:
        thing->kind = NOTHING;
        import(thing);
        return;
    default:
        thing->kind = TENSOR;
        thing->address = c10_cuda_allocate((int)draw(DEVICES), size);
        failed = !thing->address;
    }
    if (failed)
        thing->kind = NOTHING;
    else if (thing->kind != HOST && thing->kind != REGISTERED && !on_host)
        note_taken(before);
}

/* Maps, unmaps one or two neighbours, retains or releases. */
static void change_physical(struct thing *thing) {
    unsigned at = draw(MAPPINGS);
    CUdeviceptr address = thing->range + at * thing->size;
    size_t part = draw(4) ? thing->size : PAGE; /* of the handle's memory */
    CUmemGenericAllocationHandle again;
    if (thing->mapped[at]) {
        bool two = at + 1 < MAPPINGS && thing->mapped[at] == thing->size && thing->mapped[at + 1];
        if (draw(3) == 0) {
            if (cuMemRetainAllocationHandle(
                    &again, (void *)(uintptr_t)(address + draw((unsigned)thing->mapped[at]))) == 0) {
                MUST(again == thing->handle);
                thing->held++;
            }
        } else if (cuMemUnmap(address, thing->mapped[at] + (two ? thing->mapped[at + 1] : 0)) == 0) {
            thing->mapped[at] = 0;
            if (two) thing->mapped[at + 1] = 0;
        }
    } else if (thing->held && draw(3)) {
        if (cuMemMap(address, part, thing->size - part, thing->handle, 0) == 0) thing->mapped[at] = part;
    } else if (thing->held) {
        MUST_GIVE(0, cuMemRelease(thing->handle));
        thing->held--;
    }
    size_t mapped = 0;
    for (unsigned i = 0; i < MAPPINGS; i++)
        mapped += thing->mapped[i];
    if (mapped || thing->held) return;
    MUST_GIVE(0, cuMemAddressFree(thing->range, thing->size * MAPPINGS));
    thing->kind = NOTHING;
}

static void give(struct thing *thing) {
    int failed = 0;
    switch (thing->kind) {
    case POINTER:
        switch (draw(4)) {
        case 0:
            failed = cuMemFree((CUdeviceptr)thing->address);
            break;
        case 1:
            failed = cudaFreeAsync(thing->address, NULL);
            break;
        default:
            failed = cudaFree(thing->address);
        }
        break;
    case TENSOR:
        c10_cuda_free(thing->address);
        break;
    case HOST:
        failed = cudaFreeHost(thing->address);
        break;
    case REGISTERED:
        failed = cudaHostUnregister(thing->address);
        break;
    case ARRAY:
        failed = cudaFreeArray(thing->address);
        break;
    case LEVELS:
        failed = cudaFreeMipmappedArray(thing->address);
        break;
    case PHYSICAL:
    case IMPORTED:
        change_physical(thing);
        return;
    case NOTHING:
        return;
    }
    if (!failed) thing->kind = NOTHING;
}

/* Planned failures make it try again. */
static void give_at_last(struct thing *thing) {
    for (int tries = 0; tries < 10 && thing->kind != NOTHING; tries++)
        give(thing);
}

/* ---- contexts, of one thread alone ---- */

static void live_in_a_context(void) {
    CUcontext context, before;
    struct thing kept = {.kind = POINTER};
    CUdeviceptr pointer;
    void *host;
    MUST_GIVE(0, cuCtxGetCurrent(&before));
    MUST_GIVE(0, cuCtxCreate_v4(&context, NULL, 0, (int)draw(DEVICES)));
    for (unsigned i = 0; i < 4; i++) {
        uint64_t allocated = allocated_now();
        if (cuMemAlloc(&pointer, draw_size()) == 0) note_taken(allocated);
    }
    cuMemHostAlloc(&host, 4096, 0);
    uint64_t allocated = allocated_now();
    if (cuMemAllocAsync((CUdeviceptr *)&kept.address, UNIT, NULL) == 0) note_taken(allocated);
    MUST_GIVE(0, cuCtxDestroy(context));
    MUST_GIVE(0, cuCtxSetCurrent(before));
    give_at_last(&kept);
}

/* What the device's context had is gone: the driver refuses to free it. PyTorch's memory is not reset behind its back. */
static void reset(void) {
    for (unsigned i = 0; i < THINGS; i++)
        if (things[i].kind == TENSOR) return;
    c10_cuda_empty_cache();
    MUST_GIVE(0, cudaDeviceReset());
    for (unsigned i = 0; i < THINGS; i++) {
        struct thing *thing = &things[i];
        if (thing->kind == PHYSICAL || thing->kind == IMPORTED) continue;
        give_at_last(thing);
        thing->kind = NOTHING;
    }
    for (unsigned i = 0; i < SHARED; i++) {
        struct thing thing = {.kind = POINTER, .address = shared[i]};
        give_at_last(&thing);
        shared[i] = NULL;
    }
}

/* ---- comparing ---- */

static __thread int steps_done;

#define MUST_EQUAL(ledger, books)                                                                            \
    do {                                                                                                     \
        uint64_t ledger_ = (ledger), books_ = (books);                                                       \
        if (ledger_ != books_) {                                                                             \
            fprintf(stderr, "%s:%d: step %d: " #ledger " %llu, " #books " %llu\n", __FILE__, __LINE__,       \
                    steps_done, (unsigned long long)ledger_, (unsigned long long)books_);                    \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static uint64_t on_device(const struct fake_gpu_books *books) {
    return books->live[FAKE_GPU_PLAIN] + books->live[FAKE_GPU_ASYNC] + books->live[FAKE_GPU_MANAGED] +
           books->live[FAKE_GPU_ARRAY] + books->live[FAKE_GPU_PHYSICAL];
}

static void compare(void) {
    struct fake_gpu_books host = books_of(FAKE_GPU_HOST), sum = {0};
    struct probe probe = probe_read();
    const char *allocator = getenv("PYTORCH_CUDA_ALLOC_CONF");
    bool caches = !allocator || !strstr(allocator, "cudaMallocAsync");
    for (int device = 0; device < DEVICES; device++) {
        struct fake_gpu_books books = books_of(device);
        struct probe_usage usage = probe_usage((uint8_t)device);
        for (int kind = 0; kind < FAKE_GPU_KINDS; kind++) {
            sum.live[kind] += books.live[kind];
            sum.count[kind] += books.count[kind];
        }
        MUST_EQUAL(usage.live, on_device(&books));
        MUST_EQUAL(usage.torch_allocated,
                   books.live[FAKE_GPU_ASYNC] + (caches ? c10_cuda_allocated(device) : 0));
        MUST_EQUAL(usage.pinned,
                   host.live[FAKE_GPU_PINNED] + host.live[FAKE_GPU_REGISTERED] + host.live[FAKE_GPU_ASYNC]);
    }
    MUST_EQUAL(probe.bytes[LEDGER_PLAIN], sum.live[FAKE_GPU_PLAIN] + sum.live[FAKE_GPU_ARRAY]);
    MUST_EQUAL(probe.count[LEDGER_PLAIN], sum.count[FAKE_GPU_PLAIN] + sum.count[FAKE_GPU_ARRAY]);
    MUST_EQUAL(probe.bytes[LEDGER_ASYNC], sum.live[FAKE_GPU_ASYNC]);
    MUST_EQUAL(probe.count[LEDGER_ASYNC], sum.count[FAKE_GPU_ASYNC]);
    MUST_EQUAL(probe.bytes[LEDGER_MANAGED], sum.live[FAKE_GPU_MANAGED]);
    MUST_EQUAL(probe.bytes[LEDGER_PHYSICAL], sum.live[FAKE_GPU_PHYSICAL]);
    MUST_EQUAL(probe.count[LEDGER_PHYSICAL], sum.count[FAKE_GPU_PHYSICAL]);
    MUST_EQUAL(probe.bytes[LEDGER_PINNED], host.live[FAKE_GPU_PINNED] + host.live[FAKE_GPU_ASYNC]);
    MUST_EQUAL(probe.count[LEDGER_PINNED], host.count[FAKE_GPU_PINNED] + host.count[FAKE_GPU_ASYNC]);
    MUST_EQUAL(probe.bytes[LEDGER_REGISTERED], host.live[FAKE_GPU_REGISTERED]);
}

/* ---- walking ---- */

static void step(void) {
    unsigned number = draw(THINGS);
    struct thing *thing = &things[number];
    perhaps_fail();
    if (draw(16) == 0) MUST_GIVE(0, cudaSetDevice((int)draw(DEVICES)));
    if (draw(64) == 0) c10_cuda_empty_cache();
    if (threads == 1 && draw(64) == 0) live_in_a_context();
    if (threads == 1 && draw(256) == 0) reset();
    if (thing->kind == NOTHING)
        take(thing, number);
    else
        give(thing);
    if (thing->kind == POINTER && draw(2)) {
        thing->address = __atomic_exchange_n(&shared[draw(SHARED)], thing->address, __ATOMIC_ACQ_REL);
        if (!thing->address) thing->kind = NOTHING;
    }
}

static void *walk(void *argument) {
    struct walker {
        uint64_t seed;
        int steps;
    } const *walker = argument;
    state = walker->seed;
    MUST_GIVE(0, cudaFree(NULL));
    probe_work();
    pthread_barrier_wait(&barrier); /* before the first failure */
    for (int i = 0; i < walker->steps; i++) {
        step();
        steps_done++;
        if (threads == 1) {
            compare();
            uint64_t peak = probe_peak_since_opened();
            if (i) MUST_EQUAL(peak, highest);
            highest = allocated_now();
            MUST_EQUAL(probe_worked().bytes, taken_bytes);
        } else if (i % TURNS == 0) {
            pthread_barrier_wait(&barrier);
            compare();
            pthread_barrier_wait(&barrier);
        }
        MUST_EQUAL(probe_worked().allocations, taken);
    }
    return NULL;
}

int main(int argc, char **argv) {
    struct walker {
        uint64_t seed;
        int steps;
    } walkers[THREADS];
    pthread_t thread[THREADS];
    MUST(argc == 4);
    alarm(240);
    threads = atoi(argv[3]);
    MUST_GIVE(0, cudaFree(NULL));
    for (int device = 0; device < DEVICES; device++) {
        CUmemPoolProps where = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
        MUST_GIVE(0, cuMemPoolCreate(&pools[device], &where));
        MUST_GIVE(0, cudaSetDevice(device));
        MUST_GIVE(0, cudaStreamCreate(&streams[device]));
    }
    CUmemPoolProps on_host = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                              .location.type = CU_MEM_LOCATION_TYPE_HOST};
    MUST_GIVE(0, cuMemPoolCreate(&pools[DEVICES], &on_host));
    MUST_GIVE(0, pthread_barrier_init(&barrier, NULL, (unsigned)threads));
    for (int i = 0; i < threads; i++) {
        walkers[i].seed = (uint64_t)atoi(argv[1]) * 1000 + (uint64_t)i;
        walkers[i].steps = atoi(argv[2]);
        MUST_GIVE(0, pthread_create(&thread[i], NULL, walk, &walkers[i]));
    }
    for (int i = 0; i < threads; i++)
        MUST_GIVE(0, pthread_join(thread[i], NULL));
    return 0;
}
