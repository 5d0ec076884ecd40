/* A plugin that is closed together with what it is linked with, and opened again when that comes to another place: nothing
 * may be called where it was. arguments: the plugin, and a function of what it is linked with that is not hooked. */
#include "test.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 20 };

int main(int argc, char **argv) {
    MUST(argc == 3);
    for (int round = 0; round < ROUNDS; round++) {
        void *plugin = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL), *pointer;
        MUST(plugin);
        int (*allocate)(void **, size_t);
        *(void **)&allocate = dlsym(plugin, "plugin_allocate");
        Dl_info linked;
        MUST(dladdr(dlsym(plugin, argv[2]), &linked) && strstr(linked.dli_fname, "libcuda"));
        MUST_GIVE(0, allocate(&pointer, 1000));
        MUST_GIVE(0, dlclose(plugin));
        MUST(mmap(linked.dli_fbase, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                  0) == linked.dli_fbase);
    }
    return 0;
}
