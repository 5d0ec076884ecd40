/* streams: work is done when it is given to a stream. Events; capturing streams, and what must not be called meanwhile. */
#include "driver/driver.h"
#include "gpu/pools.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct CUstream_st {
    CUstreamCaptureStatus status;
    CUstreamCaptureMode mode;
    pthread_t by;      /* the thread that began the capture */
    CUstream next;     /* of the capturing ones */
    CUcontext context; /* NULL of default streams, which are the current one's */
};

struct CUevent_st {
    struct timespec time;
};

static struct CUstream_st default_streams[3]; /* NULL, and the two handles that cuda.h defines */
static CUstream capturing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread CUstreamCaptureMode mode_of_thread = CU_STREAM_CAPTURE_MODE_GLOBAL;

void *streams_new_handle(void) {
    return calloc(1, 64);
}

static CUstream of(CUstream stream) {
    return (uintptr_t)stream < 3 ? &default_streams[(uintptr_t)stream] : stream;
}

CUcontext streams_context(CUstream stream) {
    CUcontext context = of(stream)->context;
    return context ? context : contexts_current();
}

/* ---- capture ---- */

/* As CUDA's manual has it for cuStreamBeginCapture and cuThreadExchangeStreamCaptureMode. */
static bool forbids(CUstream stream) {
    if (stream->mode == CU_STREAM_CAPTURE_MODE_RELAXED || mode_of_thread == CU_STREAM_CAPTURE_MODE_RELAXED)
        return false;
    if (pthread_equal(stream->by, pthread_self())) return true;
    return stream->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && mode_of_thread == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

CUresult capture_refusal(void) {
    CUresult error = CUDA_SUCCESS;
    if (!__atomic_load_n(&capturing, __ATOMIC_ACQUIRE)) return CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    for (CUstream stream = capturing; stream; stream = stream->next) {
        if (!forbids(stream)) continue;
        stream->status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
        error = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

bool streams_capturing(CUstream stream) {
    bool capturing_now;
    pthread_mutex_lock(&lock);
    capturing_now = of(stream)->status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
    pthread_mutex_unlock(&lock);
    return capturing_now;
}

static CUresult begin_capture(CUstream stream, CUstreamCaptureMode mode) {
    CUresult error = CUDA_ERROR_ILLEGAL_STATE;
    if (!stream || stream == CU_STREAM_LEGACY) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    pthread_mutex_lock(&lock);
    if (of(stream)->status == CU_STREAM_CAPTURE_STATUS_NONE) {
        stream = of(stream);
        stream->status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
        stream->mode = mode;
        stream->by = pthread_self();
        stream->next = capturing;
        __atomic_store_n(&capturing, stream, __ATOMIC_RELEASE);
        error = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static CUresult end_capture(CUstream stream, CUgraph *graph) {
    CUresult error = CUDA_ERROR_ILLEGAL_STATE;
    pthread_mutex_lock(&lock);
    for (CUstream *link = &capturing; *link; link = &(*link)->next) {
        if (*link != of(stream)) continue;
        error = (*link)->status == CU_STREAM_CAPTURE_STATUS_ACTIVE ? CUDA_SUCCESS
                                                                   : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        (*link)->status = CU_STREAM_CAPTURE_STATUS_NONE;
        __atomic_store_n(link, (*link)->next, __ATOMIC_RELEASE);
        break;
    }
    pthread_mutex_unlock(&lock);
    *graph = error ? NULL : streams_new_handle();
    return error;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    return CALL() ?: begin_capture(stream, mode);
}

CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode) {
    return CALL() ?: begin_capture(stream ? stream : CU_STREAM_PER_THREAD, mode);
}

/* The graph stays as empty as all of them are. */
CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *nodes,
                                     const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode) {
    return CALL() ?: begin_capture(stream, mode);
}

CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode *nodes,
                                          const CUgraphEdgeData *edges, size_t count,
                                          CUstreamCaptureMode mode) {
    return CALL() ?: begin_capture(stream ? stream : CU_STREAM_PER_THREAD, mode);
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    return CALL() ?: end_capture(stream, graph);
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    *status = of(stream)->status;
    return CALL();
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **nodes, size_t *count) {
    *status = of(stream)->status;
    if (id) *id = (uintptr_t)of(stream);
    if (count) *count = 0;
    return CALL();
}

CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **nodes, const CUgraphEdgeData **edges,
                                   size_t *count) {
    *status = of(stream)->status;
    if (id) *id = (uintptr_t)of(stream);
    if (count) *count = 0;
    return CALL();
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUstreamCaptureMode before = mode_of_thread;
    mode_of_thread = *mode;
    *mode = before;
    return CALL();
}

/* ---- waiting: when pools give back what they keep ---- */

static CUresult synchronize(void) {
    pools_synchronize();
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
    return CALL_UNSAFE() ?: synchronize();
}

CUresult cuCtxSynchronize_v2(CUcontext context) {
    return CALL_UNSAFE() ?: synchronize();
}

CUresult cuStreamSynchronize(CUstream stream) {
    return CALL_UNSAFE() ?: synchronize();
}

CUresult cuEventSynchronize(CUevent event) {
    return CALL_UNSAFE() ?: synchronize();
}

/* ---- streams ---- */

static CUresult create(CUstream *stream) {
    if (!contexts_current()) return CUDA_ERROR_INVALID_CONTEXT;
    *stream = calloc(1, sizeof **stream);
    if (!*stream) return CUDA_ERROR_OUT_OF_MEMORY;
    (*stream)->context = contexts_current();
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    return CALL() ?: create(stream);
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
    return CALL() ?: create(stream);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
    CUresult error = CALL();
    if (!error && (uintptr_t)stream > 2) free(stream);
    return error;
}

CUresult cuStreamGetPriority(CUstream stream, int *priority) {
    *priority = 0;
    return CALL();
}

CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
    *flags = 0;
    return CALL();
}

CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
    *id = (uintptr_t)of(stream);
    return CALL();
}

CUresult cuStreamGetDevice(CUstream stream, CUdevice *device) {
    CUcontext context = streams_context(stream);
    *device = context ? contexts_ordinal(context) : 0;
    return CALL();
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
    *context = streams_context(stream);
    return CALL();
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *argument) {
    CUresult error = CALL();
    if (!error) function(argument);
    return error;
}

/* ---- events ---- */

static CUresult elapsed(float *milliseconds, CUevent start, CUevent end) {
    *milliseconds = (float)(end->time.tv_sec - start->time.tv_sec) * 1e3f +
                    (float)(end->time.tv_nsec - start->time.tv_nsec) * 1e-6f;
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    *event = calloc(1, sizeof **event);
    return CALL();
}

CUresult cuEventDestroy_v2(CUevent event) {
    CUresult error = CALL();
    if (!error) free(event);
    return error;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    return CALL();
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    return CALL();
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return CALL() ?: elapsed(milliseconds, start, end);
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return CALL() ?: elapsed(milliseconds, start, end);
}
