/* What hooks must leave alone: errno, dlerror, the runtime's last error, stream captures, NULL arguments. Prints what must be
 * the same without them. */
#include "test.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <errno.h>

#define SAY(call) printf("%s: %d\n", #call, (int)(call))

int main(void) {
    void *p, *q;
    size_t n;
    MUST_GIVE(0, cudaFree(NULL)); /* the runtime's own start is over */
    errno = 77;
    dlsym(RTLD_DEFAULT, "no_such_function"); /* a pending error */
    int first = cudaMalloc(&p, 1000), second = cudaFree(p), kept = errno;
    printf("%d %d, errno %d, %s\n", first, second, kept, dlerror() ? "pending" : "lost");
    SAY(cudaMalloc(&q, 1ull << 50)); /* sets the last error, and what succeeds leaves it */
    SAY(cudaMalloc(&p, 1000));
    SAY(cudaMallocAsync(&q, 1000, NULL));
    SAY(cudaFreeAsync(q, NULL));
    SAY(cudaFree(p));
    SAY(cudaPeekAtLastError());
    SAY(cudaGetLastError());
    SAY(cudaGetLastError());
    SAY(cudaFree((void *)0x1234));
    SAY(cudaFreeHost((void *)0x1234));
    SAY(cudaHostUnregister((void *)0x1234));
    SAY(cudaGetLastError());
    SAY(cudaMemGetInfo(NULL, &n)); /* HAMi-core issue 333 */
    SAY(cudaMemGetInfo(&n, NULL));
    SAY(cudaMemGetInfo(NULL, NULL));
    SAY(cudaGetLastError());
    SAY(cudaMalloc(&p, 0));
    MUST(fake_gpu_fail("cudaMalloc", 1, 0, 1) && fake_gpu_fail("cudaMallocPitch", 1, 0, 1));
    SAY(cudaMalloc(NULL, 100));
    SAY(cudaMallocPitch(NULL, NULL, 100, 100));
    SAY(cudaGetLastError());

    cudaStream_t stream;
    enum cudaStreamCaptureStatus status;
    cudaGraph_t graph;
    MUST_GIVE(0, cudaStreamCreate(&stream));
    MUST_GIVE(0, cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    MUST_GIVE(0, cudaMallocAsync(&p, 1000, stream));
    MUST_GIVE(0, cudaFreeAsync(p, stream));
    MUST_GIVE(0, cudaStreamIsCapturing(stream, &status));
    printf("capturing %d\n", status);
    printf("end %d\n", cudaStreamEndCapture(stream, &graph));
    return 0;
}
