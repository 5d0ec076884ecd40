/* A program with the runtime inside, as cuBLAS and NCCL have it: seen through the driver. */
#include "cuda_probe.h"
#include "test.h"

#include <cuda_runtime_api.h>

int main(void) {
    void *p, *q;
    MUST_GIVE(0, cudaMalloc(&p, 1000));
    MUST_GIVE(0, cudaMallocAsync(&q, 1 << 20, NULL));
    struct probe probe = probe_read();
    MUST(probe.bytes[LEDGER_PLAIN] == 1000 && probe.bytes[LEDGER_ASYNC] == 1 << 20 && probe.allocations == 2);
    struct ledger_entry entry;
    MUST(probe_find(LEDGER_POINTER, (uint64_t)(size_t)p, &entry) && entry.is.device == 0 &&
         entry.is.context && !entry.is.segment);
    MUST_GIVE(0, cudaFree(p));
    MUST_GIVE(0, cudaFreeAsync(q, NULL));
    MUST_GIVE(cudaErrorMemoryAllocation, cudaMalloc(&p, 1ull << 50));
    probe = probe_read();
    MUST(!probe.bytes[LEDGER_PLAIN] && !probe.bytes[LEDGER_ASYNC] && probe.failures == 1);
    MUST(probe.requested == 1ull << 50);
    return 0;
}
