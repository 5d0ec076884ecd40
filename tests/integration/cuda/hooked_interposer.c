/* comfy-aimdo up to 0.2.9 beside us: still called, its retry is no failure, and what it evicts is gone from the ledger.
 * argument: the interposer. Memory must be 64M. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>

#define MIB (1ull << 20)

int main(int argc, char **argv) {
    MUST(argc == 2);
    void *interposer = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    MUST(interposer);
    void *runtime = dlopen("libcudart.so.13", RTLD_NOW | RTLD_GLOBAL);
    MUST(runtime);
    int (*allocate)(void **, size_t, void *), (*release)(void *, void *), (*init)(void *);
    void (*load_weight)(size_t);
    *(void **)&init = dlsym(runtime, "cudaFree");
    *(void **)&load_weight = dlsym(interposer, "interposer_load_weight");
    int *calls = dlsym(interposer, "interposer_calls");
    /* What a library that is linked with the runtime would be bound to. */
    *(void **)&allocate = dlsym(RTLD_DEFAULT, "cudaMallocAsync");
    *(void **)&release = dlsym(RTLD_DEFAULT, "cudaFreeAsync");
    MUST_GIVE(0, init(NULL));
    load_weight(48 * MIB);
    struct probe before = {0};
    if (probe_read) {
        before = probe_read();
        MUST(before.bytes[LEDGER_PHYSICAL] == 48 * MIB);
    }
    void *p;
    MUST_GIVE(0, allocate(&p, 48 * MIB, NULL));
    MUST(*calls == 1);
    MUST(books_of(0).live[FAKE_GPU_PHYSICAL] == 0 && books_of(0).live[FAKE_GPU_ASYNC] == 48 * MIB);
    if (probe_read) {
        struct probe after = probe_read();
        MUST(after.bytes[LEDGER_PHYSICAL] == 0 && after.bytes[LEDGER_ASYNC] == 48 * MIB);
        MUST(after.failures == 0 && after.pictures == 0 && after.allocations == before.allocations + 1);
    }
    void *q;
    MUST_GIVE(2, allocate(&q, 48 * MIB, NULL));
    if (probe_read) MUST(probe_read().failures == 1 && probe_read().requested == 48 * MIB);
    MUST_GIVE(0, release(p, NULL));
    MUST(*calls == 3 && books_of(0).live[FAKE_GPU_ASYNC] == 0);
    if (probe_read) MUST(probe_read().count[LEDGER_ASYNC] == 0);
    return 0;
}
