/* For `comfydd run`, preloaded: what it waits for signals takes 5 ms, and its clock goes on by the time that it asked for, as
 * if a second had passed. So thirty restarts with their back-off take seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long skipped_ms; /* of the one thread that waits so */

static int is_ours(void) {
    return strcmp(program_invocation_short_name, "comfydd") == 0;
}

static int is_signalfd(int fd) {
    char path[32], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:[signalfd]") == 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout) {
    int (*real)(struct pollfd *, nfds_t, int) =
        (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
    if (!is_ours() || count != 1 || timeout <= 5 || !is_signalfd(fds->fd)) return real(fds, count, timeout);
    int ready = real(fds, count, 5);
    if (!ready) __atomic_add_fetch(&skipped_ms, timeout - 5, __ATOMIC_RELAXED);
    return ready;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (failed || clock != CLOCK_MONOTONIC || !is_ours()) return failed;
    long long ms = __atomic_load_n(&skipped_ms, __ATOMIC_RELAXED) + now->tv_nsec / 1000000;
    now->tv_sec += ms / 1000;
    now->tv_nsec = ms % 1000 * 1000000 + now->tv_nsec % 1000000;
    return 0;
}
