/* A program that calls the driver by name, if there is one: prints what it finds in any way that programs look, which
 * must be the same with the library, and what an allocation does. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef WITHOUT
#define MAYBE __attribute__((weak))
#else
#define MAYBE
#endif
int cuInit(unsigned flags) __attribute__((weak));
int cuMemAlloc_v2(uint64_t *out, size_t size) MAYBE;

static void say(const char *what, void *found) {
    Dl_info info = {0};
    const char *file = found && dladdr(found, &info) ? strrchr(info.dli_fname, '/') : NULL;
    const char *error = found ? NULL : dlerror();
    printf("%s: %s%s%s\n", what,
           file    ? file + 1
           : found ? "?"
                   : "none",
           error ? ", " : "", error ? error : "");
}

int main(void) {
    static const char *const names[] = {"cuMemAlloc_v2", "cuMemFree_v2", "cuGetProcAddress_v2"};
    for (int i = 0; i < 3; i++) {
        say(names[i], dlsym(RTLD_DEFAULT, names[i]));
        say("of the program", dlsym(dlopen(NULL, RTLD_NOW), names[i]));
        say("next", dlsym(RTLD_NEXT, names[i]));
        say("versioned", dlvsym(RTLD_DEFAULT, names[i], "libcuda.so.1"));
    }
    uint64_t address = 0;
    int (*volatile allocate)(uint64_t *, size_t) = cuMemAlloc_v2;
    if (cuInit) printf("allocating without a context: %d\n", allocate(&address, 1000));
    return 0;
}
