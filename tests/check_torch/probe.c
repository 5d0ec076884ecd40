/* probe: makes of libcomfydd.so a library that follows GPU memory in any program, from the moment it is loaded, and lets the
 * program read the figures: there is no ComfyUI here, no node, and no span. */
#include "cuda/devices.h"
#include "cuda/hooks.h"
#include "cuda/usage.h"

struct probe_figures {
    struct usage device;
    uint64_t pinned, out_of_memory;
};

#define EXPORT __attribute__((visibility("default")))
EXPORT bool probe_read(uint8_t device, struct probe_figures *figures);
EXPORT const struct device *probe_device(uint8_t index);

/* False when the ledger is not complete. */
bool probe_read(uint8_t device, struct probe_figures *figures) {
    *figures = (struct probe_figures){
        .device = usage_now_on(device),
        .pinned = usage_pinned(),
        .out_of_memory = usage_out_of_memory(),
    };
    return ledger_recording();
}

/* NULL when there is none: src/cuda/devices.h. */
EXPORT const struct device *probe_device(uint8_t index) {
    return devices_get(index);
}

__attribute__((constructor)) static void start(void) {
    cuda_hooks_start(true); /* PyTorch's allocator caches here */
}
