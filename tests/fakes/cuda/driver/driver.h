/* driver: what the files of libcuda.so.1 share. Every exported function begins with a CALL, and fails with what that
 * returns. */
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H

/* cuda.h then declares every ABI version under its exported name. */
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include "gpu/calls.h"
#include "gpu/errors.h"
#include "gpu/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The calling function is counted and logged; CUDA_SUCCESS, or what it has to fail with. */
#define CALL()                                                                                               \
    ({                                                                                                       \
        static struct call_site site_ = {.name = __func__};                                                  \
        (CUresult) calls_note(&site_);                                                                       \
    })

/* For those that work before cuInit. */
#define CALL_ANYTIME()                                                                                       \
    ({                                                                                                       \
        static struct call_site site_ = {.name = __func__, .anytime = true};                                 \
        (CUresult) calls_note(&site_);                                                                       \
    })

/* For those that must not be called while a stream captures; they end the capture. */
#define CALL_UNSAFE()                                                                                        \
    ({                                                                                                       \
        CUresult error_ = CALL();                                                                            \
        error_ ? error_ : capture_refusal();                                                                 \
    })

/* ---- devices.c ---- */

/* Which of all devices this program sees as `device`, and the other way round; -1 without such a one. */
int devices_physical(CUdevice device);
int devices_ordinal(int physical);
int devices_count_visible(void);
void devices_read_visible(void); /* in cuInit */

/* ---- contexts.c ---- */

CUcontext contexts_current(void); /* NULL: none */
/* The primary one of a device, by its number among all. */
CUcontext contexts_primary(int physical);
int contexts_device(CUcontext context); /* its device among all */
CUdevice contexts_ordinal(CUcontext context);

/* ---- streams.c ---- */

/* What an unsafe call of this thread fails with: 0 when no capture forbids it. Invalidates the captures that do. */
CUresult capture_refusal(void);

/* Whether what is done on it becomes a graph. */
bool streams_capturing(CUstream stream);

/* The one that it was made in, of a default stream the current one; NULL: none. */
CUcontext streams_context(CUstream stream);

/* A handle of no meaning; freed with free. */
void *streams_new_handle(void);

#endif
