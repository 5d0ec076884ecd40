/* Functions at addresses that the driver's library does not export are known by name and version, of versions that are known.
 * Over hidden_driver.c. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>

static bool is_ours(void *address) {
    Dl_info info;
    return address && dladdr(address, &info) && strstr(info.dli_fname, "cuda_probe");
}

int main(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *found;
    int (*get)(const char *, void **, int, uint64_t, int *), (*allocate)(uint64_t *, size_t);
    struct ledger_entry entry;
    uint64_t address;

    MUST(driver);
    *(void **)&get = dlsym(driver, "cuGetProcAddress_v2");
    MUST(is_ours((void *)get));
    MUST_GIVE(0, get("cuMemAlloc", &found, 2000, 0, NULL)); /* 32-bit sizes */
    MUST(!is_ours(found));
    MUST_GIVE(0, get("cuMemAlloc", &found, 99999, 0, NULL)); /* nobody knows */
    MUST(!is_ours(found));
    MUST_GIVE(0, get("cuMemAlloc", &found, 12000, 0, NULL));
    MUST(is_ours(found));
    *(void **)&allocate = found;
    MUST_GIVE(0, allocate(&address, 1000));
    MUST(probe_find(LEDGER_POINTER, address, &entry) && entry.size == 1000 && entry.is.device == 2);
    MUST_GIVE(0, get("cuMemAllocAsync", &found, 12000, 0, NULL));
    MUST(found == dlsym(driver, "cuMemAllocAsync") && is_ours(found));
    MUST_GIVE(0, get("cuMemAllocAsync", &found, 12000, 2, NULL));
    MUST(found == dlsym(driver, "cuMemAllocAsync_ptsz") && is_ours(found));
    MUST_GIVE(0, get("cuCtxCreate", &found, 11000, 0, NULL));
    MUST(found == dlsym(driver, "cuCtxCreate_v2") && is_ours(found));
    MUST_GIVE(0, get("cuCtxCreate", &found, 12000, 0, NULL));
    MUST(found == dlsym(driver, "cuCtxCreate_v3") && is_ours(found));
    MUST_GIVE(0, get("cuMemHostAlloc", &found, 12000, 0, NULL)); /* another interposer's, not the driver's */
    MUST(found == (void *)memset);
    found = NULL;
    MUST_GIVE(1, get("cuMemAlloc", &found, 12000, 2, NULL));
    MUST(!is_ours(found)); /* of a failed call nothing is touched */
    return 0;
}
