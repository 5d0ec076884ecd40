/* The libc functions that are interposed: opening files (the bootstrap's chance, see python/bootstrap.h), and those that
 * end the program past its exit handlers (the last chance to send what is recorded): ComfyUI-Manager restarts ComfyUI by
 * execv, and forked children of Python's multiprocessing end by _exit.
 *
 * Each forwards to the next definition in the search order, so another interposer below us is called as the program would
 * have called it. None of them allocates, and errno is what the real function left. */
#include "hooks_libc.h"

#include "cuda/hooks.h"
#include "preload.h"
#include "python/bootstrap.h"
#include "resolve.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static int (*real_open64)(const char *, int, ...);
static int (*real_execve)(const char *, char *const[], char *const[]);
static int (*real_execv)(const char *, char *const[]);
static void (*real_exit)(int);

/* Not on first use: that may be in the child of a fork, where another thread's hold on the loader's lock would last for
 * ever. */
void hooks_libc_resolve(void) {
    static const char names[][8] = {"open64", "execve", "execv", "_exit", "dlsym"};
    enum { COUNT = sizeof names / sizeof *names };
    const char *wanted[COUNT];
    void *found[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        wanted[i] = names[i];
    resolve_all_next(wanted, found, COUNT);
    if (!found[0])
        found[0] = resolve_next("open"); /* the same thing in musl, which from 1.2.4 on has no other name */
    *(void **)&real_open64 = found[0];
    *(void **)&real_execve = found[1];
    *(void **)&real_execv = found[2];
    *(void **)&real_exit = found[3];
    cuda_hooks_set_dlsym(found[4]);
}

/* Constructors of libraries below us may call a hook before our own constructor has run. */
#define RESOLVED(real) (__builtin_expect((real) != NULL, 1) || (hooks_libc_resolve(), (real) != NULL))

/* open64, declared as it is called and not as libc's header has it: that says that the path is never NULL, so that a compiler
 * would leave out our looking, and programs do pass NULL. The mode is passed on whether there is one or not: without, it is
 * what happens to be in an argument's register, and the real function does not look at it. */
EXPORT int open64_hook(const char *path, int flags, mode_t mode) __asm__("open64");
EXPORT int open64_hook(const char *path, int flags, mode_t mode) {
    bootstrap_file_opened(path);
    if (RESOLVED(real_open64)) return real_open64(path, flags, mode);
    errno = ENOSYS;
    return -1;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[]);
EXPORT int execve(const char *path, char *const arguments[], char *const environment[]) {
    preload_before_exec();
    if (RESOLVED(real_execve)) return real_execve(path, arguments, environment);
    errno = ENOSYS;
    return -1;
}

/* A function of its own: libc's execv does not come back through the exported execve. */
EXPORT int execv(const char *path, char *const arguments[]);
EXPORT int execv(const char *path, char *const arguments[]) {
    preload_before_exec();
    if (RESOLVED(real_execv)) return real_execv(path, arguments);
    errno = ENOSYS;
    return -1;
}

EXPORT void _exit(int status);
EXPORT void _exit(int status) {
    preload_before_exit();
    if (RESOLVED(real_exit)) real_exit(status);
    for (;;)
        syscall(SYS_exit_group, status);
}
