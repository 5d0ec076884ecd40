/* binding: how the fake runtime reaches the driver, and what its files share.
 *
 * As NVIDIA's was seen to do: dlopen("libcuda.so.1"), one dlsym for "cuGetProcAddress_v2", everything else through that, with
 * flags 0 (2 for the functions of per-thread streams) and without a status, in one burst at the first call that needs the
 * driver. Each memory call is one driver call; whether that is so in NVIDIA's is for a machine with a GPU to say. */
#ifndef FAKE_BINDING_H
#define FAKE_BINDING_H

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "gpu/calls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* FIELD(name here, exported function whose type it has, name asked for, ABI version asked for, flags) */
struct driver {
#define FIELD(field, function, name, version, flags) __typeof__(&function) field;
#include "runtime/driver.def"
#undef FIELD
    __typeof__(&cuGetProcAddress_v2) look_up;
};

extern struct driver driver; /* complete once binding_enter has succeeded */

/* The call is counted and logged, and the driver bound; `context`: the thread then has a current context. 0, or what the call
 * has to fail with, which is then the thread's last error. */
cudaError_t binding_enter(struct call_site *site, bool context);

/* What a driver call said, as the runtime says it; an error becomes the thread's last one. */
cudaError_t binding_done(CUresult result);

/* The thread's last error; `clear`: it is none then. */
cudaError_t binding_last_error(bool clear);

/* The device that the thread has chosen, used when it has no current context. */
int binding_device(void);
cudaError_t binding_choose_device(int device);

#define SITE_() static struct call_site site_ = {.name = __func__, .anytime = true}

/* First part of every exported function: counted and logged only; with the driver; with a current context. */
#define CALL()                                                                                               \
    ({                                                                                                       \
        SITE_();                                                                                             \
        binding_done((CUresult)calls_note(&site_));                                                          \
    })
#define ATTACH()                                                                                             \
    ({                                                                                                       \
        SITE_();                                                                                             \
        binding_enter(&site_, false);                                                                        \
    })
#define ENTER()                                                                                              \
    ({                                                                                                       \
        SITE_();                                                                                             \
        binding_enter(&site_, true);                                                                         \
    })

#endif
