/* resolver: cuInit, versions, and cuGetProcAddress. */
#include "driver/driver.h"
#include "gpu/stubs.h"

#include <stdio.h>
#include <string.h>

CUresult cuInit(unsigned flags) {
    CUresult error = CALL_ANYTIME();
    if (error) return error;
    devices_read_visible();
    if (!devices_count_visible()) return CUDA_ERROR_NO_DEVICE;
    calls_initialised();
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
    if (!version) return CUDA_ERROR_INVALID_VALUE;
    *version = settings.version;
    return CALL_ANYTIME();
}

static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
};

CUresult cuGetErrorName(CUresult code, const char **name) {
    *name = "CUDA_ERROR";
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) *name = errors[i].name;
    return CALL_ANYTIME();
}

CUresult cuGetErrorString(CUresult code, const char **text) {
    *text = "error";
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) *text = errors[i].text;
    return CALL_ANYTIME();
}

/* Since which driver each ABI version of a function exists: a caller built for an old CUDA gets the old ABI. */
static const struct {
    const char *name;
    int since;
} versions[] = {
#define SINCE(function, version) {#function, version},
#include "driver_versions.inc"
#undef SINCE
};

static int introduced(const char *name) {
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (!strcmp(versions[i].name, name)) return versions[i].since;
    return 0;
}

static any_function find_version(const char *base, int version, const char *stream_suffix) {
    static const char *const abi[] = {"_v4", "_v3", "_v2", ""};

    for (size_t i = 0; i < sizeof abi / sizeof *abi; i++) {
        char name[128];
        any_function found;

        snprintf(name, sizeof name, "%s%s", base, abi[i]);
        if (introduced(name) > version) continue;
        strncat(name, stream_suffix, sizeof name - strlen(name) - 1);
        if ((found = stubs_find(name))) return found;
    }
    return NULL;
}

static CUresult look_up(const char *base, void **out, int version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult *status) {
    CUdriverProcAddressQueryResult result = CU_GET_PROC_ADDRESS_SUCCESS;
    any_function found = NULL;
    if (!base || !out) return CUDA_ERROR_INVALID_VALUE;
    if (version > settings.version) version = settings.version;
    if (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) {
        found = find_version(base, version, "_ptsz");
        if (!found) found = find_version(base, version, "_ptds");
    }
    if (!found) found = find_version(base, version, "");
    if (!found && find_version(base, 1 << 30, ""))
        result = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    else if (!found && !strncmp(base, "cu", 2)) /* cuGL..., cuEGL..., and what is newer than cuda.h */
        found = (any_function)stubs_unknown;
    else if (!found)
        result = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    calls_log("  look up %s @%d flags %d: %d", base, version, (int)flags, (int)result);
    *out = (void *)found;
    if (status) *status = result;
    return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *name, void **out, int version, cuuint64_t flags) {
    return CALL_ANYTIME() ?: look_up(name, out, version, flags, NULL);
}

CUresult cuGetProcAddress_v2(const char *name, void **out, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    return CALL_ANYTIME() ?: look_up(name, out, version, flags, status);
}

/* The private tables are not imitated: NVIDIA's runtime authenticates the driver through one. See README.md. */
CUresult cuGetExportTable(const void **table, const CUuuid *id) {
    *table = NULL;
    return CALL_ANYTIME() ?: CUDA_ERROR_NOT_FOUND;
}
