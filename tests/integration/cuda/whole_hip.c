/* A libamdhip64 with every function of cuda_api.def, made from it: gives out addresses, counts calls, fails on request. */
#include "cuda/cuda_abi.h"

#include <string.h>

static char *next = (char *)0x700000000000;
static int error;
static void *handle;

#define FAKE_ALLOCATES(space, kind, out, size)  *(out) = next += 4096
#define FAKE_REGISTERS(pointer, size)           (void)0
#define FAKE_PITCHES(out, pitch, width, height) *(out) = next += 4096, *(pitch) = 1024
#define FAKE_PITCHES_3D(out, extent)            (out)->pointer = next += 4096, (out)->pitch = 1024
#define FAKE_ARRAYS(out, size)                  *(out) = next += 4096
#define FAKE_CREATES(out, size, properties)     *(out) = handle = next += 4096
#define FAKE_RETAINS(out, address)              *(out) = handle
#define FAKE_MAPS(address, size, handle)        (void)0
#define FAKE_UNMAPS(address, size)              (void)0
#define FAKE_RELEASES(handle)                   (void)0
#define FAKE_FREES(space, address)              (void)0
#define FAKE_RESETS                             (void)0
#define FAKE_TELLS_MEMORY(free, total)          *(free) = 5, *(total) = 9

enum {
#define HIP(name, ...) HIP_##name,
#include "cuda/cuda_api.def"
    FUNCTIONS,
};
static int calls[FUNCTIONS];

#define HIP(name, parameters, arguments, effect)                                                             \
    int name parameters;                                                                                     \
    int name parameters {                                                                                    \
        calls[HIP_##name]++;                                                                                 \
        if (error) return error;                                                                             \
        FAKE_##effect;                                                                                       \
        return 0;                                                                                            \
    }
#include "cuda/cuda_api.def"

int hipGetDevice(int *device);
int hipGetDevice(int *device) {
    *device = 3;
    return error;
}

int whole_hip_calls(const char *name);
int whole_hip_calls(const char *name) {
#define HIP(known, ...)                                                                                      \
    if (strcmp(name, #known) == 0) return calls[HIP_##known];
#include "cuda/cuda_api.def"
    return -1;
}

void whole_hip_fail(int with);
void whole_hip_fail(int with) {
    error = with;
}
