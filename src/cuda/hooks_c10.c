/* PyTorch's own reports. Its caching allocator calls these two functions of libc10.so at every allocation, free and
 * out-of-memory, under its lock: tensor by tensor what the runtime is not asked for (c10/core/Allocator.h; the same since
 * PyTorch 2.0). The names say what is passed; a version with other parameters has other names. */
#include "cuda/callers.h"
#include "cuda/hook_calls.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "resolve.h"

#include <errno.h>

#define EXPORT        __attribute__((visibility("default")))
#define report_memory _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE
#define report_oom    _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE

enum {
#define C10(name) C10_##name,
#include "cuda/cuda_api.def"
    FUNCTIONS,
};

static const char names[][64] = {
#define C10(name) #name,
#include "cuda/cuda_api.def"
};

static void *reals[FUNCTIONS];

/* Not next in the search order: the library is opened for itself alone. */
static void *real_of(unsigned function) {
    void *real = __atomic_load_n(&reals[function], __ATOMIC_ACQUIRE);
    if (__builtin_expect(real != NULL, 1)) return real;
    int saved_errno = errno;
    real = resolve_in("libc10.so", names[function]);
    if (!callers_unloading()) __atomic_store_n(&reals[function], real, __ATOMIC_RELEASE);
    errno = saved_errno;
    return real;
}

/* Of the CPU's allocator it hears too, when that is profiled. */
static bool is_gpu(struct c10_device device) {
    return (device.type == C10_CUDA || device.type == C10_HIP) && device.index >= 0 && hook_calls_record();
}

EXPORT void report_memory(void *pointer, int64_t change, size_t allocated, size_t reserved,
                          struct c10_device device);
EXPORT void report_memory(void *pointer, int64_t change, size_t allocated, size_t reserved,
                          struct c10_device device) {
    if (is_gpu(device)) {
        struct ledger_what tensor = {
            .space = LEDGER_TENSOR, .kind = LEDGER_PART, .device = (uint8_t)device.index};
        struct ledger_entry removed;
        if (change > 0)
            ledger_add((uintptr_t)pointer, (uint64_t)change, tensor);
        else
            ledger_remove(LEDGER_TENSOR, (uintptr_t)pointer, &removed);
        usage_c10((uint8_t)device.index, allocated);
    }
    void (*real)(void *, int64_t, size_t, size_t, struct c10_device);
    *(void **)&real = real_of(C10__ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE);
    if (real) real(pointer, change, allocated, reserved, device);
}

EXPORT void report_oom(int64_t requested, size_t allocated, size_t reserved, struct c10_device device);
EXPORT void report_oom(int64_t requested, size_t allocated, size_t reserved, struct c10_device device) {
    if (is_gpu(device)) {
        usage_c10((uint8_t)device.index, allocated);
        usage_c10_out_of_memory();
        oom_reported((uint8_t)device.index, (uint64_t)requested, owners_current());
    }
    void (*real)(int64_t, size_t, size_t, struct c10_device);
    *(void **)&real = real_of(C10__ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE);
    if (real) real(requested, allocated, reserved, device);
}

void hooks_c10_forget(void) {
    hook_calls_forget(reals, FUNCTIONS);
}
