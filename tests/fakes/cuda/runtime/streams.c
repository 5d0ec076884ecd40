/* streams: streams and events. */
#include "runtime/binding.h"

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return ENTER() ?: binding_done(driver.stream_create(stream, 0, 0));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return ENTER() ?: binding_done(driver.stream_create(stream, flags, 0));
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    return ENTER() ?: binding_done(driver.stream_create(stream, flags, priority));
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.stream_destroy(stream));
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    return ENTER() ?: binding_done(driver.stream_priority(stream, priority));
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.stream_query(stream));
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.stream_synchronize(stream));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    return ENTER() ?: binding_done(driver.stream_wait(stream, event, flags));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    return ENTER() ?: binding_done(driver.stream_capturing(stream, (CUstreamCaptureStatus *)status));
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges,
                                     size_t *count) {
    return ENTER()
               ?: binding_done(driver.capture_info(stream, (CUstreamCaptureStatus *)status, (cuuint64_t *)id,
                                                   graph, nodes, (const CUgraphEdgeData **)edges, count));
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    return ENTER() ?: binding_done(driver.capture_mode((CUstreamCaptureMode *)mode));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument) {
    return ENTER() ?: binding_done(driver.host_function(stream, function, argument));
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return ENTER() ?: binding_done(driver.event_create(event, 0));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    return ENTER() ?: binding_done(driver.event_create(event, flags));
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    return ENTER() ?: binding_done(driver.event_destroy(event));
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return ENTER() ?: binding_done(driver.event_record(event, stream));
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    return ENTER() ?: binding_done(driver.event_record(event, stream));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    return ENTER() ?: binding_done(driver.event_query(event));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return ENTER() ?: binding_done(driver.event_synchronize(event));
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    return ENTER() ?: binding_done(driver.event_elapsed(milliseconds, start, end));
}

/* Declared in cuda_profiler_api.h, which the runtime wheel lacks. */
cudaError_t cudaProfilerStart(void) {
    return CALL();
}

cudaError_t cudaProfilerStop(void) {
    return CALL();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    return ENTER() ?: binding_done(driver.begin_capture(stream, (CUstreamCaptureMode)mode));
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    return ENTER() ?: binding_done(driver.end_capture(stream, graph));
}
