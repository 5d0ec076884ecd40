/* A driver that is closed, and later opened at another place: what was found out about the first one holds no more. Over
 * hidden_driver.c. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 50 };

static void *open_driver(int (**allocate)(uint64_t *, size_t)) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    Dl_info info;
    MUST(driver);
    *(void **)allocate = dlsym(driver, "cuMemAlloc_v2");
    MUST(*allocate && dladdr(*(void **)allocate, &info) && strstr(info.dli_fname, "cuda_probe"));
    return driver;
}

int main(void) {
    int (*allocate)(uint64_t *, size_t);
    struct ledger_entry entry;
    uint64_t address;
    for (int round = 0; round < ROUNDS; round++) {
        void *driver = open_driver(&allocate);
        Dl_info place;
        MUST(dladdr(dlsym(driver, "cuCtxGetCurrent"), &place));
        MUST_GIVE(0, allocate(&address, 1000 + (size_t)round));
        MUST(probe_find(LEDGER_POINTER, address, &entry) && entry.is.device == 2);
        MUST_GIVE(0, dlclose(driver));
        MUST(mmap(place.dli_fbase, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                  0) == place.dli_fbase); /* it is gone, and the next one comes elsewhere */
    }
    MUST(probe_read().allocations == ROUNDS);
    return 0;
}
