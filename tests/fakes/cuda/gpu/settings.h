/* settings: what the environment says about the fake GPU; read once, when the library is loaded. README.md lists it. */
#ifndef FAKE_SETTINGS_H
#define FAKE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#define SETTINGS_DEVICES 32 /* at most */

struct settings {
    int devices;   /* that the machine has; CUDA_VISIBLE_DEVICES may show fewer */
    int version;   /* of the driver, as in 13000 */
    size_t memory; /* bytes of each device */
    bool copy;     /* device memory is real host memory and copies copy */
    bool mig;      /* every device is an instance of a partitioned one */
};

extern struct settings settings;

#endif
