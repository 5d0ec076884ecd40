/* What has broken other interposers, one at a time. arguments: which, and the library it is about. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaMallocAsync(void **out, size_t size, void *stream);
int cudaFreeAsync(void *pointer, void *stream);
int cudaSetDevice(int device);
int cudaDeviceReset(void);

static const char *library;

/* ---- no memory for the ledger: it says so once, and the program goes on ---- */

static void without(int resource) {
    void *pointers[3];
    unsigned long pages, data;
    FILE *statm = fopen("/proc/self/statm", "r");
    int (*reserve)(unsigned long long *, size_t, size_t, unsigned long long, unsigned long long);
    unsigned long long range;
    *(void **)&reserve = dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuMemAddressReserve");
    MUST_GIVE(0, cudaFree(NULL));
    MUST_GIVE(0, reserve(&range, 2 << 20, 0, 0, 0)); /* the fake has its addresses */
    MUST(statm && fscanf(statm, "%lu %*u %*u %*u %*u %lu", &pages, &data) == 2 && fclose(statm) == 0 &&
         dup2(1, 2) == 2);
    struct rlimit limit, before;
    MUST(getrlimit((__rlimit_resource_t)resource, &before) == 0);
    limit = before;
    limit.rlim_cur =
        (resource == RLIMIT_AS ? pages : data) * (unsigned long)sysconf(_SC_PAGESIZE) + (32 << 20);
    MUST(setrlimit((__rlimit_resource_t)resource, &limit) == 0);
    errno = 77;
    MUST_GIVE(0, cudaMalloc(&pointers[0], 1000));
    MUST_GIVE(0, cudaMallocAsync(&pointers[1], 1000, NULL));
    MUST_GIVE(0, cudaFree(pointers[0]));
    MUST(errno == 77 && setrlimit((__rlimit_resource_t)resource, &before) == 0);
    MUST_GIVE(0, cudaMalloc(&pointers[2], 1000)); /* for good */
    MUST_GIVE(0, cudaFreeAsync(pointers[1], NULL));
    MUST_GIVE(0, cudaFree(pointers[2]));
    MUST(probe_read().allocations == 0);
    struct fake_gpu_books books = books_of(0);
    MUST(books.count[FAKE_GPU_PLAIN] == 0 && books.count[FAKE_GPU_ASYNC] == 0);
}

static void no_addresses(void) {
    without(RLIMIT_AS);
}

static void no_data(void) {
    without(RLIMIT_DATA);
}

/* ---- a device that is reset while others use it: their figures may be wrong until then, but no longer ---- */

static bool stop;

/* Plain memory goes with the next reset, and is not freed: its address may be another thread's by then. */
static void *churn(void *argument) {
    void *pointer;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        cudaMalloc(&pointer, 4096);
        MUST_GIVE(0, cudaMallocAsync(&pointer, 4096, NULL));
        MUST_GIVE(0, cudaFreeAsync(pointer, NULL));
    }
    return argument;
}

static void reset(void) {
    pthread_t threads[4];
    void *pointer;
    MUST_GIVE(0, cudaFree(NULL));
    for (int i = 0; i < 4; i++)
        MUST_GIVE(0, pthread_create(&threads[i], NULL, churn, NULL));
    for (int i = 0; i < 300; i++) {
        MUST_GIVE(0, cudaMalloc(&pointer, 8192));
        MUST_GIVE(0, cudaDeviceReset());
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 4; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    MUST_GIVE(0, cudaDeviceReset());
    MUST(probe_read().count[LEDGER_PLAIN] == 0 && probe_read().count[LEDGER_ASYNC] == 0);
    MUST(probe_usage(0).live == 0 && probe_usage(0).allocated == 0);
    MUST_GIVE(0, cudaMallocAsync(&pointer, 4096, NULL)); /* it is no context's, though there is but one */
    MUST_GIVE(0, cudaDeviceReset());
    MUST(probe_read().count[LEDGER_ASYNC] == 1);
    MUST_GIVE(0, cudaFreeAsync(pointer, NULL));
    MUST(probe_read().count[LEDGER_ASYNC] == 0);
}

/* ---- freed while another device is current; addresses that come again ---- */

static void another_device(void) {
    void *first, *second;
    struct ledger_entry entry;
    for (int round = 0; round < 3; round++) {
        MUST_GIVE(0, cudaSetDevice(0));
        MUST_GIVE(0, cudaMalloc(&first, 4096));
        MUST_GIVE(0, cudaSetDevice(1));
        MUST_GIVE(0, cudaMallocAsync(&second, 4096, NULL));
        MUST(probe_find(LEDGER_POINTER, (uintptr_t)first, &entry) && entry.is.device == 0);
        MUST(probe_find(LEDGER_POINTER, (uintptr_t)second, &entry) && entry.is.device == 1);
        MUST_GIVE(0, cudaFreeAsync(second, NULL));
        MUST(fake_gpu_fail("cuPointerGetAttributes", 1, 0, 1)); /* then the current one will do */
        MUST_GIVE(0, cudaMallocAsync(&second, 4096, NULL));
        MUST(probe_find(LEDGER_POINTER, (uintptr_t)second, &entry) && entry.is.device == 1);
        MUST_GIVE(0, cudaFree(first));
        MUST_GIVE(0, cudaSetDevice(0));
        MUST_GIVE(0, cudaFreeAsync(second, NULL));
        MUST(!probe_find(LEDGER_POINTER, (uintptr_t)first, &entry));
        MUST(!probe_find(LEDGER_POINTER, (uintptr_t)second, &entry));
        MUST_GIVE(0, cudaMallocAsync(&second, 4096, NULL)); /* the driver may give the address out again */
        MUST(probe_find(LEDGER_POINTER, (uintptr_t)second, &entry) && entry.is.device == 0);
        MUST(entry.is.kind == LEDGER_ASYNC);
        MUST_GIVE(0, cudaFree(second));
    }
    MUST(probe_read().count[LEDGER_PLAIN] == 0 && probe_read().count[LEDGER_ASYNC] == 0);
}

/* ---- the loader's locks and ours ---- */

enum { ROUNDS = 100 };

static int allocate_with_the_loader_locked(struct dl_phdr_info *info, size_t size, void *context) {
    (void)info, (void)size;
    void *pointer;
    MUST_GIVE(0, cudaMalloc(&pointer, 512));
    MUST_GIVE(0, cudaFree(pointer));
    return ++*(int *)context == 3;
}

static void *look(void *argument) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    for (int i = 0; i < ROUNDS; i++) {
        int seen = 0;
        dl_iterate_phdr(allocate_with_the_loader_locked, &seen);
        MUST(driver && dlsym(driver, "cuMemCreate") && !dlsym(driver, "cuNoSuchFunction"));
    }
    return argument;
}

/* Its calls are of a place that the hooks have not seen: they ask the loader about it. */
static void *load(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *pointer;
        int (*allocate)(void **, size_t), (*give)(void *);
        MUST(handle);
        *(void **)&allocate = dlsym(handle, "plugin_allocate");
        *(void **)&give = dlsym(handle, "plugin_free");
        MUST_GIVE(0, allocate(&pointer, 4096));
        MUST_GIVE(0, give(pointer));
        MUST_GIVE(0, dlclose(handle));
    }
    return argument;
}

static void loader_locks(void) {
    pthread_t threads[4];
    alarm(120);
    MUST_GIVE(0, cudaFree(NULL));
    for (int i = 0; i < 4; i++)
        MUST_GIVE(0, pthread_create(&threads[i], NULL, i % 2 ? look : load, NULL));
    for (int i = 0; i < 4; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    MUST(probe_read().count[LEDGER_PLAIN] == 0);
}

/* ---- exit while a library is being loaded ---- */

static void exit_in_a_constructor(void) {
    alarm(120);
    dlopen(library, RTLD_NOW);
    MUST(false);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } hazards[] = {
        {"addresses", no_addresses}, {"data", no_data},        {"reset", reset},
        {"device", another_device},  {"loader", loader_locks}, {"constructor", exit_in_a_constructor}};
    MUST(argc >= 2);
    library = argv[2];
    for (size_t i = 0; i < sizeof hazards / sizeof *hazards; i++)
        if (strcmp(argv[1], hazards[i].name) == 0) hazards[i].run();
    return 0;
}
