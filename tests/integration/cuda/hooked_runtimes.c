/* As many runtimes as there are wheels that bring one: each library's calls go to its own. arguments: plugins, the Nth linked
 * with a runtime whose memory begins at N << 40. */
#include "test.h"

#include <dlfcn.h>
#include <stdint.h>

enum { ROUNDS = 3, MOST = 32 };

int main(int argc, char **argv) {
    int (*allocate[MOST])(void **, size_t);
    MUST(argc > 1 && argc <= MOST);
    for (int i = 1; i < argc; i++) {
        void *plugin = dlopen(argv[i], RTLD_LAZY | RTLD_LOCAL);
        MUST(plugin);
        *(void **)&allocate[i] = dlsym(plugin, "plugin_allocate");
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 1; i < argc; i++) {
            void *pointer;
            MUST_GIVE(0, allocate[i](&pointer, 1000));
            MUST_GIVE(i, (uintptr_t)pointer >> 40);
        }
    return 0;
}
