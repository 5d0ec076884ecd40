/* dlsym is the real one to everybody but those who ask the driver's library for its memory functions. argument: the library
 * of forwarder.c. Prints what must be the same without the hooks. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>

static void say(const char *what, void *found) {
    Dl_info info = {0};
    bool is_known = found && dladdr(found, &info);
    const char *file = is_known ? strrchr(info.dli_fname, '/') : NULL;
    printf("%s: %s %s\n", what,
           file    ? file + 1
           : found ? "?"
                   : "none",
           is_known && info.dli_sname ? info.dli_sname : "");
}

static void say_error(const char *what) {
    const char *error = dlerror();
    printf("%s: %s\n", what, error ? error : "no error");
}

int main(int argc, char **argv) {
    MUST(argc == 2);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL),
         *other = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    MUST(driver && other);
    int (*start_tool)(void), (*allocate)(unsigned long long *, size_t), (*init)(unsigned);

    *(void **)&start_tool = dlsym(other, "ompt_start_tool");
    printf("ompt_start_tool: %d (HAMi issue 2903)\n", start_tool());
    *(int *)dlsym(other, "depth") = 0;
    *(void **)&allocate = dlsym(other, "cuMemAlloc_v2");
    say("another library's cuMemAlloc_v2", (void *)allocate);
    printf("which forwards: %d\n", allocate(NULL, 0));
    *(void **)&init = dlsym(other, "cuInit");
    printf("another library's cuInit (HAMi-core issue 326): %d\n", init(77));
    say("another library's cudnnCreate (HAMi-core issue 215)", dlsym(other, "cudnnCreate"));

    void *first = dlsym(RTLD_NEXT, "open"), *second = dlsym(RTLD_NEXT, "open");
    printf("twice the same (HAMi-core issue 279): %d\n", first && first == second);
    say("RTLD_DEFAULT", dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"));
    say("RTLD_NEXT", dlsym(RTLD_NEXT, "cuMemAlloc_v2"));
    say("the 32-bit one", dlsym(driver, "cuMemAlloc"));
    say("cuInit", dlsym(driver, "cuInit"));
    say("c", dlsym(driver, "c"));
    dlerror();
    say("", dlsym(driver, ""));
    dlerror();

    dlsym(driver, "cuMemAlloc_v2");
    say_error("after a success (MangoHud issue 1701)");
    dlsym(other, "cuMemFree_v2");
    say_error("after a failure");
    say_error("and again");
    dlsym(other, "no_such_function");
    dlsym(driver, "cuInit");
    say_error("after a failure and a success");

    void *hooked = dlsym(driver, "cuMemAlloc_v2");
    Dl_info info;
    MUST(hooked && dladdr(hooked, &info));
    MUST(!strstr(info.dli_fname, "libcuda") == !!probe_read);
    return 0;
}
