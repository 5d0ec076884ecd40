/* Prints what every kind of question to cuGetProcAddress is answered: code, status, and the function's name, or "hooked"
 * where a wrapper is given. Asks as the runtime does (dlsym, then the pointer). argument: "aimdo" to ask through a
 * library of that name, given as the second argument. */
#include "cuda/cuda_abi.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>

typedef void *(*lookup_function)(void *handle, const char *name);

static const char *const names[] = {
    "",
    "cuGetProcAddress",
    "cuInit",
    "cuMemAlloc",
    "cuMemFree",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemAllocHost",
    "cuMemHostRegister",
    "cuMemGetInfo",
    "cuMemCreate",
    "cuMemMap",
    "cuCtxCreate",
    "cuCtxGetDevice",
    "cuCtxDestroy",
    "cuDevicePrimaryCtxRelease",
    "cuArrayCreate",
    "cuStreamSynchronize",
    "cuFunctionOfTheFuture",
    "cudnnCreate",
};
static const int versions[] = {0,     2000,  3020,  4000,  6050,  7000,  10020, 11000, 11020,
                               11030, 12000, 12060, 12080, 13000, 13010, 14000, 99999};

static const char *name_of(void *function) {
    Dl_info info;
    if (!function || !dladdr(function, &info)) return "none";
    return strstr(info.dli_fname, "libcuda.so") ? info.dli_sname : "hooked";
}

int main(int argc, char **argv) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    lookup_function look_up = dlsym;
    int (*one)(const char *, void **, int, uint64_t), (*two)(const char *, void **, int, uint64_t, int *),
        (*init)(unsigned);
    MUST(driver);
    if (argc > 1) {
        void *library = dlopen(argv[1], RTLD_NOW);
        MUST(library);
        *(void **)&look_up = dlsym(library, "aimdo_look_up");
        MUST(look_up);
        printf("%s\n", name_of(look_up(driver, "cuMemAlloc_v2")));
        printf("%s\n", name_of(look_up(driver, "cuMemCreate")));
    }
    *(void **)&init = dlsym(driver, "cuInit");
    MUST_GIVE(0, init(0));
    *(void **)&one = look_up(driver, "cuGetProcAddress");
    *(void **)&two = look_up(driver, "cuGetProcAddress_v2");
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t v = 0; v < sizeof versions / sizeof *versions; v++)
            for (uint64_t flags = 0; flags < 3; flags++) {
                void *found[3] = {&found, &found, &found};
                int status = -1, codes[3] = {one(names[n], &found[0], versions[v], flags),
                                             two(names[n], &found[1], versions[v], flags, &status),
                                             two(names[n], &found[2], versions[v], flags, NULL)};
                printf("%s@%d/%d: %d %d %d %d", names[n], versions[v], (int)flags, codes[0], codes[1],
                       codes[2], status);
                for (int i = 0; i < 3; i++)
                    printf(" %s", found[i] == &found ? "untouched" : name_of(found[i]));
                printf("\n");
            }
    return 0;
}
