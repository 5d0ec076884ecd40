/* devices: what the driver knows about GPUs, asked at workflow and node boundaries (never in a hook), on a thread that may
 * have no current context. Nothing here creates a context, changes the current one for the caller, or touches the
 * runtime's sticky error. Without a driver, or before the program has initialised it, every function says so and costs
 * nothing. Needs the GIL (that is what protects the tables). */
#ifndef COMFYDD_DEVICES_H
#define COMFYDD_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

struct device {
    char uuid
        [48]; /* "GPU-…" or "MIG-…", as nvidia-smi -L and Datadog's GPU monitoring write it; empty when unknown */
    char name[128]; /* "NVIDIA H200"; empty when unknown */
};

/* How many devices this process sees; 0 without a driver in use. */
unsigned devices_count(void);

/* NULL when there is no such device. Stays valid. */
const struct device *devices_get(uint8_t device);

/* The device's memory as a whole, other processes included; false when the driver does not tell. */
bool devices_memory(uint8_t device, uint64_t *used, uint64_t *total);

#endif
