/* A library is loaded where another has just been, by a second thread, at every moment of the first one's dlclose, and is
 * overtaken in every moment of its own first call by a third library. Each one's calls go to its own runtime. arguments:
 * three plugins, the Nth linked with a runtime whose memory begins at N << 40. */
#include "test.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <unistd.h>

enum { FEWEST_MOMENTS = 2 };

struct plugin {
    void *library;
    int (*allocate)(void **out, size_t size);
};

static char **paths;
static struct plugin second;
static sem_t is_there, may_go_on;

/* A moment: the return of a walk over all libraries. What is to happen then, and how many walks before. */
static __thread void (*then)(void);
static __thread unsigned moment, walking;

static struct plugin load(unsigned number) {
    struct plugin plugin = {.library = dlopen(paths[number], RTLD_LAZY | RTLD_LOCAL)};
    MUST(plugin.library);
    *(void **)&plugin.allocate = dlsym(plugin.library, "plugin_allocate");
    return plugin;
}

static void call(struct plugin plugin, unsigned number) {
    void *pointer;
    MUST_GIVE(0, plugin.allocate(&pointer, 1000));
    MUST_GIVE(number, (uintptr_t)pointer >> 40);
}

/* Instead of the loader's, for the hooks. */
int dl_iterate_phdr(int (*see)(struct dl_phdr_info *, size_t, void *), void *context) {
    static int (*real)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "dl_iterate_phdr");
    walking++;
    int result = real(see, context);
    if (--walking == 0 && then && moment-- == 0) {
        void (*now)(void) = then;
        then = NULL;
        now();
    }
    return result;
}

static void wait_in_call(void) {
    sem_post(&is_there);
    sem_wait(&may_go_on);
}

static void *load_second(void *moment_of_call) {
    second = load(2);
    moment = *(unsigned *)moment_of_call;
    then = wait_in_call;
    call(second, 2);
    if (then) wait_in_call();
    then = NULL;
    return NULL;
}

static unsigned of_call;
static pthread_t thread;

static void start_second(void) {
    MUST_GIVE(0, pthread_create(&thread, NULL, load_second, &of_call));
    sem_wait(&is_there);
}

/* Whether dlclose had so many moments; *same: whether the second was where the first had been. */
static bool closes(unsigned of_close, bool *same) {
    struct plugin first = load(1), third;
    call(first, 1);
    call(first, 1);
    moment = of_close;
    then = start_second;
    MUST_GIVE(0, dlclose(first.library));
    if (then) {
        then = NULL;
        return false;
    }
    *same = first.allocate == second.allocate;
    third = load(3);
    call(third, 3);
    sem_post(&may_go_on);
    MUST_GIVE(0, pthread_join(thread, NULL));
    for (int i = 0; i < 2; i++) {
        call(third, 3);
        call(second, 2);
    }
    MUST_GIVE(0, dlclose(second.library));
    MUST_GIVE(0, dlclose(third.library));
    return true;
}

int main(int argc, char **argv) {
    unsigned at_the_same_place = 0, of_close = 0;
    MUST(argc == 4);
    alarm(120);
    paths = argv;
    sem_init(&is_there, 0, 0);
    sem_init(&may_go_on, 0, 0);
    for (of_call = 0; of_call < 8; of_call++) {
        bool same;
        for (of_close = 0; closes(of_close, &same); of_close++)
            at_the_same_place += same;
        MUST(of_close >= FEWEST_MOMENTS);
    }
    MUST(at_the_same_place >= FEWEST_MOMENTS);
    return 0;
}
