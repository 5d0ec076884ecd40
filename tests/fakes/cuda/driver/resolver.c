/* resolver: cuInit, versions, and cuGetProcAddress. */
#include "driver/driver.h"
#include "gpu/stubs.h"

#include <stdbool.h>
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

/* ---- functions by name: what is asked for 440 times at the start of every program is not searched for ---- */

enum { NEWEST_ABI = 4, SLOTS = 4096 };
enum streams { COMMON, PER_THREAD };

/* All that one name can mean: the plain name any ABI version, a name with _vN just that one. */
static struct function {
    char name[64];
    struct {
        int since; /* the driver that has it first */
        any_function address;
    } abi[2][NEWEST_ABI]; /* by streams */
} functions[SLOTS];

static struct function *place_of(const char *name) {
    unsigned hash = 0;
    for (const char *at = name; *at; at++)
        hash = hash * 31 + (unsigned char)*at;
    for (hash %= SLOTS; *functions[hash].name && strcmp(functions[hash].name, name);
         hash = (hash + 1) % SLOTS) {
    }
    return &functions[hash];
}

static void add(const char *name, enum streams streams, int abi, int since, any_function address) {
    struct function *function = place_of(name);
    snprintf(function->name, sizeof function->name, "%s", name);
    function->abi[streams][abi - 1].since = since;
    function->abi[streams][abi - 1].address = address;
}

/* Since which driver each ABI version of a function exists: a caller built for an old CUDA gets the old ABI. */
static int introduced(const char *name) {
    static const struct {
        const char *name;
        int since;
    } versions[] = {
#define SINCE(function, version) {#function, version},
#include "driver_versions.inc"
#undef SINCE
    };
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (!strcmp(versions[i].name, name)) return versions[i].since;
    return 0;
}

static bool cut(char *name, const char *suffix) {
    size_t size = strlen(name), cut = strlen(suffix);
    if (size < cut || strcmp(name + size - cut, suffix)) return false;
    name[size - cut] = '\0';
    return true;
}

static void add_export(const char *exported, any_function address) {
    char name[64], suffix[] = "_v0";
    snprintf(name, sizeof name, "%s", exported);
    enum streams streams = cut(name, "_ptsz") || cut(name, "_ptds") ? PER_THREAD : COMMON;
    int since = introduced(name), abi = 1;
    add(name, streams, 1, since, address);
    for (int i = 2; i <= NEWEST_ABI; i++) {
        suffix[2] = (char)('0' + i);
        if (cut(name, suffix)) abi = i;
    }
    if (abi > 1) add(name, streams, abi, since, address);
}

__attribute__((constructor)) static void fill(void) {
    stubs_each(add_export);
}

static any_function find_version(const char *name, int version, enum streams streams) {
    const struct function *function = place_of(name);
    for (int i = NEWEST_ABI - 1; i >= 0; i--)
        if (function->abi[streams][i].address && function->abi[streams][i].since <= version)
            return function->abi[streams][i].address;
    return NULL;
}

static CUresult look_up(const char *base, void **out, int version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult *status) {
    CUdriverProcAddressQueryResult result = CU_GET_PROC_ADDRESS_SUCCESS;
    any_function found = NULL;
    if (!base || !out) return CUDA_ERROR_INVALID_VALUE;
    if (version > settings.version) version = settings.version;
    if (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
        found = find_version(base, version, PER_THREAD);
    if (!found) found = find_version(base, version, COMMON);
    if (!found && find_version(base, 1 << 30, COMMON))
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
