/* For `comfydd run`, preloaded: after it has closed a spool file it rests for a moment, in which somebody else may take
 * it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int close(int fd) {
    char path[32], target[4096] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int is_spool = readlink(path, target, sizeof target - 1) > 0 && strstr(target, ".spool");
    int result = ((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
    if (is_spool) nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return result;
}
