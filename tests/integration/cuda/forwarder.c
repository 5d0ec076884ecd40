/* A library with functions that look for the next one of their own name: LLVM's OpenMP does so with ompt_start_tool (HAMi
 * issue 2903), and others with the driver's. */
#include <dlfcn.h>
#include <stddef.h>

int depth;

int ompt_start_tool(void);
int ompt_start_tool(void) {
    if (++depth > 3) return -1; /* it has found itself */
    int (*next)(void);
    *(void **)&next = dlsym(RTLD_NEXT, "ompt_start_tool");
    return next ? next() : 7;
}

int cuMemAlloc_v2(unsigned long long *out, size_t size);
int cuMemAlloc_v2(unsigned long long *out, size_t size) {
    if (++depth > 3) return -1;
    int (*next)(unsigned long long *, size_t);
    *(void **)&next = dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    return next ? next(out, size) : 8;
}

int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    return flags == 77 ? 9 : 1;
}

int cudnnCreate(void);
int cudnnCreate(void) {
    return 10;
}
