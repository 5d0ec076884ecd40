/* Threads that open, use and close libraries of their own, which are loaded where another thread's have just been: each one's
 * calls go to its own runtime. arguments: plugins, a thread for each, the Nth linked with a runtime whose memory begins at
 * N << 40. */
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

enum { ROUNDS = 1500, MOST = 16 };

static char **plugins;

static void *come_and_go(void *argument) {
    size_t number = (size_t)argument;
    for (int round = 0; round < ROUNDS; round++) {
        int (*allocate)(void **, size_t);
        void *plugin = dlopen(plugins[number], RTLD_LAZY | RTLD_LOCAL), *pointer;
        MUST(plugin);
        *(void **)&allocate = dlsym(plugin, "plugin_allocate");
        MUST_GIVE(0, allocate(&pointer, 1000));
        MUST_GIVE(number, (uintptr_t)pointer >> 40);
        MUST_GIVE(0, dlclose(plugin));
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[MOST];
    MUST(argc > 1 && argc <= MOST);
    alarm(120);
    plugins = argv;
    for (int i = 1; i < argc; i++)
        MUST_GIVE(0, pthread_create(&threads[i], NULL, come_and_go, (void *)(size_t)i));
    for (int i = 1; i < argc; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    return 0;
}
