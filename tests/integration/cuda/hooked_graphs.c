/* What is allocated while a stream captures is the graph's, not in the ledger; all else is, also at that time. argument: how
 * the capture begins. */
#include "cuda_probe.h"
#include "test.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <string.h>

cudaError_t cudaMallocAsync_ptsz(void **out, size_t size, cudaStream_t stream);
cudaError_t cudaFreeAsync_ptsz(void *pointer, cudaStream_t stream);

static void begin(const char *how, cudaStream_t stream) {
    if (strcmp(how, "runtime") == 0)
        MUST_GIVE(0, cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    else if (strcmp(how, "driver") == 0)
        MUST_GIVE(0, cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    else
        MUST_GIVE(0, cuStreamBeginCaptureToGraph(stream, NULL, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL));
}

int main(int argc, char **argv) {
    cudaStream_t streams[2];
    cudaMemPool_t pool;
    cudaGraph_t graph;
    void *graphs[4], *mine;
    MUST(argc == 2);
    MUST_GIVE(0, cudaStreamCreate(&streams[0]));
    MUST_GIVE(0, cudaDeviceGetDefaultMemPool(&pool, 0));
    streams[1] = cudaStreamPerThread;
    uint64_t asked = fake_gpu_calls("cuStreamIsCapturing");
    MUST_GIVE(0, cudaMallocAsync(&mine, 512, streams[0]));
    MUST_GIVE(0, cudaFreeAsync(mine, streams[0]));
    MUST(fake_gpu_calls("cuStreamIsCapturing") == asked); /* not before there has been a capture */
    begin(argv[1], streams[0]);
    begin(argv[1], streams[1]);
    MUST_GIVE(0, cudaMallocAsync(&graphs[0], 512, streams[0]));
    MUST_GIVE(0, cudaMallocFromPoolAsync(&graphs[1], 512, pool, streams[0]));
    MUST_GIVE(0, cuMemAllocAsync((CUdeviceptr *)&graphs[2], 512, streams[0]));
    MUST_GIVE(0, cudaMallocAsync_ptsz(&graphs[3], 512, NULL)); /* the thread's own stream */
    MUST(books_of(0).count[FAKE_GPU_GRAPH] == 4 && books_of(0).count[FAKE_GPU_ASYNC] == 0);
    MUST(probe_read().count[LEDGER_ASYNC] == 0 && probe_read().allocations == 1);
    MUST_GIVE(0, cudaMallocAsync(&mine, 512, NULL));
    MUST(probe_read().count[LEDGER_ASYNC] == 1 && probe_read().allocations == 2);
    MUST_GIVE(0, cudaFreeAsync(graphs[0], streams[0]));
    for (int i = 0; i < 2; i++)
        MUST_GIVE(0, cudaStreamEndCapture(streams[i], &graph));
    for (int i = 1; i < 4; i++) /* the program may free what the graph has left, when it has run */
        MUST_GIVE(0, cudaFree(graphs[i]));
    MUST(probe_read().count[LEDGER_ASYNC] == 1);
    MUST_GIVE(0, cudaFree(mine));
    MUST_GIVE(0, cudaMallocAsync(&mine, 512, streams[0]));
    MUST(probe_read().count[LEDGER_ASYNC] == 1);
    MUST_GIVE(0, cudaFreeAsync(mine, streams[0]));
    MUST(probe_read().count[LEDGER_ASYNC] == 0);
    return 0;
}
