#include "python/shim_abi.h"

#include "comfydd/shim.h"
#include "config.h"
#include "python/bridge.h"
#include "trace/ids.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define ID_DIGITS  32
#define HEX_DIGITS "0123456789abcdef"

static int (*start_function)(void);
static char runtime_id[ID_DIGITS + 1];
static pid_t runtime_id_owner; /* the process that runtime_id is of; 0: none yet */

void shim_on_start(int (*start)(void)) {
    start_function = start;
}

const char *shim_runtime_id(void) {
    pid_t pid = getpid();
    if (runtime_id_owner != pid) {
        uint64_t random[2];
        ids_random(random);
        snprintf(runtime_id, sizeof runtime_id, "%016llx%016llx", (unsigned long long)random[0],
                 (unsigned long long)random[1]);
        runtime_id_owner = pid;
    }
    return runtime_id;
}

EXPORT int comfydd_shim_abi(void) {
    return COMFYDD_SHIM_ABI;
}

int shim_abi(void) __attribute__((alias("comfydd_shim_abi")));

EXPORT int comfydd_start(void) {
    return start_function ? start_function() : 0;
}

EXPORT const char *comfydd_service(void) {
    return config()->service;
}

EXPORT const char *comfydd_env(void) {
    return config()->env;
}

EXPORT int comfydd_set_runtime_id(const char *id) {
    if (!id || strlen(id) != ID_DIGITS || strspn(id, HEX_DIGITS) != ID_DIGITS) return -1;
    memcpy(runtime_id, id, sizeof runtime_id);
    runtime_id_owner = getpid();
    return 0;
}

EXPORT int comfydd_set_bridge(PyObject *enter, PyObject *leave, PyObject *current) {
    return bridge_set(enter, leave, current) ? 0 : -1;
}
