/* PyTorch's reports: tensors are recorded, segments told apart from other allocations, and libc10 still hears everything.
 * arguments: the folder of libc10.so and libc10_cuda.so, then whether its allocator caches ("caches" or not). */
#include "cuda/cuda_abi.h"
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>

#define MIB (1ull << 20)

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaMemGetInfo(size_t *available, size_t *total);

static int (*segment)(void **, size_t), (*async)(void **, size_t), (*give)(void *),
    (*physical)(uint64_t *, size_t);
static void (*report)(void *, int64_t, size_t, size_t, int, int), (*out_of_memory)(int64_t, size_t, size_t);
static int64_t *last;
static int *calls, *ooms;

static void *open_in(const char *folder, const char *file) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    MUST(handle);
    return handle;
}

static void load(const char *folder) {
    void *c10 = open_in(folder, "libc10.so"), *cuda = open_in(folder, "libc10_cuda.so");
    *(void **)&segment = dlsym(cuda, "torch_segment");
    *(void **)&async = dlsym(cuda, "torch_async");
    *(void **)&give = dlsym(cuda, "torch_free");
    *(void **)&physical = dlsym(cuda, "torch_physical");
    *(void **)&report = dlsym(cuda, "torch_report");
    *(void **)&out_of_memory = dlsym(cuda, "torch_out_of_memory");
    last = dlsym(c10, "c10_last");
    calls = dlsym(c10, "c10_calls");
    ooms = dlsym(c10, "c10_ooms");
}

static void tensors(bool is_recorded) {
    void *tensor = (void *)0x7f0000001000;
    struct ledger_entry entry;

    report(tensor, 512, 512, 2 * MIB, C10_CUDA, 1);
    MUST(*calls == 1 && last[0] == (int64_t)(size_t)tensor && last[1] == 512 && last[2] == 512);
    MUST(last[3] == 2 * MIB && last[4] == C10_CUDA * 256 + 1);
    if (!is_recorded) return;
    MUST(probe_find(LEDGER_TENSOR, (uint64_t)(size_t)tensor, &entry) && entry.size == 512 &&
         entry.is.device == 1);
    MUST(entry.is.kind == LEDGER_PART && probe_read().tensors == 1);
    report(tensor, -512, 0, 2 * MIB, C10_CUDA, 1);
    MUST(probe_read().tensors == 0 && *calls == 2);
    report(tensor, 512, 512, 0, 0, -1); /* the CPU's, when that is profiled */
    MUST(probe_read().tensors == 0 && *calls == 3);
    report(tensor, 512, 512, 0, 12, 0); /* Intel's */
    MUST(probe_read().tensors == 0 && *calls == 4);
    report(tensor, 512, 512, 2 * MIB, C10_HIP, 0);
    MUST(probe_read().tensors == 1);
    report(tensor, -512, 0, 2 * MIB, C10_HIP, 0);
    MUST(probe_read().tensors == 0);
}

static void segments(bool caches) {
    void *mine, *torchs, *tensor;
    uint64_t handle;

    MUST_GIVE(0, cudaMalloc(&mine, MIB));
    MUST(probe_read().segments == 0);
    MUST_GIVE(0, segment(&torchs, 2 * MIB));
    MUST(probe_read().segments == caches && probe_read().bytes[LEDGER_PLAIN] == 3 * MIB);
    MUST_GIVE(0, async(&tensor, MIB));
    MUST(probe_read().segments == caches); /* under that backend each is a tensor */
    MUST_GIVE(0, physical(&handle, 2 * MIB));
    MUST(probe_read().segments == 2 * caches && probe_read().bytes[LEDGER_PHYSICAL] == 2 * MIB);
    MUST_GIVE(0, cudaFree(mine));
    MUST_GIVE(0, give(torchs));
    MUST_GIVE(0, give(tensor));
    MUST(probe_read().segments == caches && probe_read().bytes[LEDGER_PLAIN] == 0);
}

static void failures(void) {
    size_t available, total;
    void *pointer;
    uint64_t before = probe_read().reported;

    MUST_GIVE(2, segment(&pointer, 1ull << 50));
    MUST_GIVE(0, cudaMemGetInfo(&available, &total));
    out_of_memory(1ll << 50, MIB, 2 * MIB);
    MUST(*ooms == 1 && last[0] == 1ll << 50 && last[2] == MIB && last[3] == 2 * MIB &&
         last[4] == C10_CUDA * 256);
    MUST(probe_read().reported == before + 1);
    MUST(probe_read().requested == 1ull << 50 && probe_read().told_free == available);
}

int main(int argc, char **argv) {
    MUST(argc == 3);
    bool is_recorded = probe_read && !getenv("PROBE_IDLE");
    load(argv[1]);
    tensors(is_recorded);
    if (!is_recorded) return 0;
    segments(strcmp(argv[2], "caches") == 0);
    failures();
    return 0;
}
