/* For `comfydd run`, preloaded: its second fork finds no room for a process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

pid_t fork(void) {
    static int count;
    if (++count == 2) {
        errno = EAGAIN;
        return -1;
    }
    return ((pid_t(*)(void))dlsym(RTLD_NEXT, "fork"))();
}
