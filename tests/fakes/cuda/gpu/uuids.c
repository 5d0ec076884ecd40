#include "gpu/uuids.h"

#include "gpu/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void uuids_bytes(unsigned char bytes[16], int device, bool instance) {
    memset(bytes, 0, 16);
    memcpy(bytes, instance ? "fake-cuda-mig" : "fake-cuda-gpu", 13);
    bytes[15] = (unsigned char)device;
}

void uuids_text(char *text, size_t size, int device, bool instance) {
    unsigned char b[16];
    uuids_bytes(b, device, instance);
    snprintf(text, size, "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             instance ? "MIG" : "GPU", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
}

int uuids_device(const char *name) {
    char *end, text[64];
    long number = strtol(name, &end, 10);
    if (end != name && !*end) return number >= 0 && number < settings.devices ? (int)number : -1;
    for (int device = 0; device < settings.devices; device++) {
        uuids_text(text, sizeof text, device, settings.mig);
        if (*name && !strncmp(text, name, strlen(name))) return device;
    }
    return -1;
}
