/* A program, or a library, with a dl_iterate_phdr of its own that looks the real one up when it is first called (as Seastar's
 * does, to walk past the loader's lock). Prints whether there are libraries. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

int dl_iterate_phdr(int (*see)(struct dl_phdr_info *, size_t, void *), void *context) {
    static int (*real)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "dl_iterate_phdr");
    return real(see, context);
}

static int count(struct dl_phdr_info *info, size_t size, void *counted) {
    (void)info;
    (void)size;
    ++*(int *)counted;
    return 0;
}

int main(void) {
    int counted = 0;
    dl_iterate_phdr(count, &counted);
    printf("%s\n", counted > 1 ? "libraries" : "none");
    return 0;
}
