/* What must not be called while a stream captures ends the capture, and only that. */
#include "test.h"

#include <cuda_runtime_api.h>
#include <pthread.h>

static cudaStream_t stream;

static cudaError_t allocate(void) {
    void *pointer;
    cudaError_t error = cudaMalloc(&pointer, 512);
    return error ? error : cudaFree(pointer);
}

static cudaError_t ask_for_memory(void) {
    return cudaMemGetInfo(NULL, NULL);
}

static void *elsewhere(void *call) {
    cudaError_t (*function)(void) = (cudaError_t(*)(void))call;
    return (void *)(size_t)function();
}

static cudaError_t on_another_thread(cudaError_t (*call)(void)) {
    pthread_t thread;
    void *error;

    MUST_GIVE(0, pthread_create(&thread, NULL, elsewhere, (void *)call));
    MUST_GIVE(0, pthread_join(thread, &error));
    return (cudaError_t)(size_t)error;
}

static void begin(enum cudaStreamCaptureMode mode) {
    enum cudaStreamCaptureStatus status;
    MUST_GIVE(0, cudaStreamBeginCapture(stream, mode));
    MUST_GIVE(0, cudaStreamIsCapturing(stream, &status));
    MUST(status == cudaStreamCaptureStatusActive);
}

static void end(cudaError_t expected) {
    enum cudaStreamCaptureStatus status;
    cudaGraph_t graph;

    MUST_GIVE(expected, cudaStreamEndCapture(stream, &graph));
    MUST(!graph == !!expected);
    MUST_GIVE(0, cudaStreamIsCapturing(stream, &status));
    MUST(status == cudaStreamCaptureStatusNone);
    cudaGetLastError();
}

int main(void) {
    enum cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
    void *pointer;
    int device;
    MUST_GIVE(0, cudaStreamCreate(&stream));

    begin(cudaStreamCaptureModeGlobal); /* harmless ones leave it alone */
    MUST_GIVE(0, cudaGetDevice(&device));
    MUST_GIVE(0, cudaMallocAsync(&pointer, 512, stream)); /* the graph's */
    MUST(books_of(0).in_use == 0 && books_of(0).live[FAKE_GPU_GRAPH] == 512);
    MUST_GIVE(0, cudaFreeAsync(pointer, stream));
    MUST(books_of(0).count[FAKE_GPU_GRAPH] == 0);
    end(cudaSuccess);

    MUST_GIVE(0, cudaMallocAsync(&pointer, 512, NULL)); /* the pool's, which no graph may free */
    begin(cudaStreamCaptureModeRelaxed);
    MUST_GIVE(cudaErrorInvalidValue, cudaFreeAsync(pointer, stream));
    MUST_GIVE(0, cudaFreeAsync(pointer, NULL));
    end(cudaSuccess);
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed));

    begin(cudaStreamCaptureModeGlobal);
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, allocate());
    end(cudaErrorStreamCaptureInvalidated);
    begin(cudaStreamCaptureModeGlobal);
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, ask_for_memory());
    end(cudaErrorStreamCaptureInvalidated);
    begin(cudaStreamCaptureModeGlobal); /* whichever thread calls */
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, on_another_thread(allocate));
    end(cudaErrorStreamCaptureInvalidated);

    begin(cudaStreamCaptureModeThreadLocal); /* this thread only */
    MUST_GIVE(0, on_another_thread(allocate));
    end(cudaSuccess);
    begin(cudaStreamCaptureModeThreadLocal);
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, allocate());
    end(cudaErrorStreamCaptureInvalidated);

    begin(cudaStreamCaptureModeRelaxed); /* nobody */
    MUST_GIVE(0, allocate());
    end(cudaSuccess);
    begin(cudaStreamCaptureModeGlobal); /* a thread that takes it upon itself, as PyTorch's allocator */
    MUST_GIVE(0, cudaThreadExchangeStreamCaptureMode(&relaxed));
    MUST_GIVE(0, allocate());
    MUST_GIVE(0, cudaThreadExchangeStreamCaptureMode(&relaxed));
    MUST_GIVE(cudaErrorStreamCaptureUnsupported, allocate());
    end(cudaErrorStreamCaptureInvalidated);
    return 0;
}
