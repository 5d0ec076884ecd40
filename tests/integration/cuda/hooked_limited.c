/* A program that is linked with the driver, under limiter.c: what it is refused and allowed, the hooks record. */
#include "cuda_probe.h"
#include "test.h"

int cudaFree(void *pointer);
int cuMemAlloc_v2(uint64_t *out, size_t size);
int cuMemFree_v2(uint64_t address);

int main(void) {
    uint64_t address;
    MUST_GIVE(0, cudaFree(NULL)); /* makes the context */
    printf("refused: %d\n", cuMemAlloc_v2(&address, 2 << 20));
    printf("allowed: %d\n", cuMemAlloc_v2(&address, 1000));
    if (probe_read) {
        MUST(probe_read().failures == 1 && probe_read().bytes[LEDGER_PLAIN] == 1000);
        MUST_GIVE(0, cuMemFree_v2(address));
        MUST(probe_read().count[LEDGER_PLAIN] == 0);
    }
    return 0;
}
