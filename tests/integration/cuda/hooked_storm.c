/* Threads that allocate and free all the time while the process forks (HAMi-core issue 199: a lock that another thread holds
 * is held in the child for ever) or exits. argument: which. */
#include "cuda_probe.h"
#include "test.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, FORKS = 60, SIZE = 2 << 20 };

static uint64_t rounds[THREADS];
static bool stop;
static CUdeviceptr ranges[THREADS];

/* All that the hooks have locks for. The same places in the program call in the child: it asks the loader nothing. */
static __attribute__((noinline)) void allocate(CUdeviceptr range, int expected) {
    static const CUmemAllocationProp on_device = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    void *plain, *async, *host, *none;
    CUmemGenericAllocationHandle handle;
    size_t available, total;
    MUST_GIVE(expected, cudaMalloc(&plain, 4096));
    MUST_GIVE(expected, cudaMallocAsync(&async, 4096, NULL));
    MUST_GIVE(expected, cudaMallocHost(&host, 4096));
    MUST_GIVE(expected, (int)cuMemCreate(&handle, SIZE, &on_device, 0));
    MUST_GIVE(expected, (int)cuMemMap(range, SIZE, 0, handle, 0));
    MUST(cudaMalloc(&none, 1ull << 50) != 0); /* a picture is taken */
    MUST_GIVE(expected, cudaMemGetInfo(&available, &total));
    MUST_GIVE(expected, (int)cuMemUnmap(range, SIZE));
    MUST_GIVE(expected, (int)cuMemRelease(handle));
    MUST_GIVE(expected, cudaFreeHost(host));
    MUST_GIVE(expected, cudaFreeAsync(async, NULL));
    MUST_GIVE(expected, cudaFree(plain));
    cudaGetLastError();
}

static void *churn(void *argument) {
    size_t number = (size_t)argument;
    MUST_GIVE(0, cudaFree(NULL));
    if (probe_work) probe_work();
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        allocate(ranges[number], 0);
        __atomic_add_fetch(&rounds[number], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void wait_for(uint64_t count) {
    for (int i = 0; i < THREADS; i++)
        while (__atomic_load_n(&rounds[i], __ATOMIC_RELAXED) < count)
            sched_yield();
}

/* CUDA does not survive it; the hooks do, and begin anew. */
static int child(void) {
    alarm(60);
    allocate(ranges[0], 3);
    if (!probe_read) return 5;
    struct probe probe = probe_read();
    for (int kind = 0; kind < LEDGER_KINDS; kind++)
        MUST(probe.count[kind] == 0);
    MUST(probe.failures == 0 && probe.pictures == 0 && probe_usage(0).live == 0 &&
         probe_usage(0).pinned == 0);
    return 5;
}

static void fork_now_and_then(void) {
    for (int i = 0; i < FORKS; i++) {
        int status;
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) _exit(child());
        MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
    }
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    MUST(argc == 2);
    alarm(240);
    MUST_GIVE(0, cudaFree(NULL));
    for (size_t i = 0; i < THREADS; i++) {
        MUST_GIVE(0, (int)cuMemAddressReserve(&ranges[i], SIZE, 0, 0, 0));
        MUST_GIVE(0, pthread_create(&threads[i], NULL, churn, (void *)i));
    }
    wait_for(100);
    if (strcmp(argv[1], "exit") == 0) exit(0); /* while they go on */
    fork_now_and_then();
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    if (!probe_read) return 0;
    struct probe probe = probe_read();
    for (int kind = 0; kind < LEDGER_KINDS; kind++)
        MUST(probe.count[kind] == 0);
    return 0;
}
