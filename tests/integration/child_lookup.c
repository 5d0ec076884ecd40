/* A program that looks functions up, built for glibc and for musl by test_children.py: finds what is there, and is told what
 * is not. */
#include <dlfcn.h>
#include <stdio.h>

int main(void) {
    void *program = dlopen(NULL, RTLD_NOW);
    printf("%d %d", dlsym(RTLD_DEFAULT, "puts") != NULL, dlsym(program, "puts") != NULL);
    printf(" %d", dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") != NULL);
    printf(" %s", dlerror() ? "error" : "no error");
    printf(" %d\n", dlclose(program));
    return 0;
}
