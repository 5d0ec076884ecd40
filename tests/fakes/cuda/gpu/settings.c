#include "gpu/settings.h"

#include <stdlib.h>

struct settings settings = {.devices = 1, .version = 13000, .memory = (size_t)8 << 30};

static size_t bytes(const char *text) {
    char *end;
    size_t number = strtoull(text, &end, 0);
    return *end == 'G' ? number << 30 : *end == 'M' ? number << 20 : number;
}

/* Before the other constructors of this library: they use what is read here. */
__attribute__((constructor(101))) static void read_environment(void) {
    const char *text;
    if ((text = getenv("FAKE_CUDA_MEMORY"))) settings.memory = bytes(text);
    if ((text = getenv("FAKE_CUDA_DEVICES"))) settings.devices = atoi(text);
    if (settings.devices > SETTINGS_DEVICES) settings.devices = SETTINGS_DEVICES;
    if ((text = getenv("FAKE_CUDA_VERSION"))) settings.version = atoi(text);
    if ((text = getenv("FAKE_CUDA_COPY"))) settings.copy = *text == '1';
    if ((text = getenv("FAKE_CUDA_MIG"))) settings.mig = *text == '1';
}
