/* Libraries that are linked with different runtimes, or with none, opened in different ways. arguments: WAY:LIBRARY..., WAY
 * of local, global, deep, own (dlmopen). Each must allocate with its own runtime; prints for each what happened. */
#include "cuda_probe.h"
#include "test.h"

#include <dlfcn.h>
#include <string.h>

struct plugin {
    int (*allocate)(void **, size_t), (*release)(void *), (*last_error)(void);
};

static void *open_as(const char *way, const char *path) {
    if (strcmp(way, "own") == 0) return dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
    int flags = strcmp(way, "global") == 0 ? RTLD_GLOBAL
                : strcmp(way, "deep") == 0 ? RTLD_DEEPBIND
                                           : RTLD_LOCAL;
    return dlopen(path, RTLD_NOW | flags);
}

static struct plugin load(char *argument) {
    char *colon = strchr(argument, ':');
    *colon = '\0';
    void *handle = open_as(argument, colon + 1);
    if (!handle) fprintf(stderr, "%s\n", dlerror());
    MUST(handle);
    struct plugin plugin;
    *(void **)&plugin.allocate = dlsym(handle, "plugin_allocate");
    *(void **)&plugin.release = dlsym(handle, "plugin_free");
    *(void **)&plugin.last_error = dlsym(handle, "plugin_last_error");
    return plugin;
}

int main(int argc, char **argv) {
    struct plugin plugins[8];
    int count = argc - 1;
    for (int i = 0; i < count; i++)
        plugins[i] = load(argv[1 + i]);
    for (int i = 0; i < count; i++) {
        struct probe before = probe_read ? probe_read() : (struct probe){0};
        void *pointer;
        MUST_GIVE(0, plugins[i].allocate(&pointer, 1000));
        struct probe after = probe_read ? probe_read() : (struct probe){0};
        MUST_GIVE(0, plugins[i].release(pointer));
        MUST_GIVE(2, plugins[i].allocate(&pointer, 1ull << 50));
        struct probe failed = probe_read ? probe_read() : (struct probe){0};
        int mine = plugins[i].last_error(), others = 0;
        for (int other = 0; other < count; other++)
            others += plugins[other].last_error();
        printf("%s: %d bytes in %d, %d failed; error %d, others' %d\n", argv[1 + i],
               (int)(after.bytes[LEDGER_PLAIN] - before.bytes[LEDGER_PLAIN]),
               (int)(after.count[LEDGER_PLAIN] - before.count[LEDGER_PLAIN]),
               (int)(failed.failures - before.failures), mine, others);
    }
    if (probe_read) MUST(probe_read().count[LEDGER_PLAIN] == 0);
    return 0;
}
