/* supervise: starts the command and sees it to its end: passes signals on, reaps, and kills it when that is asked for.
 *
 * One command at a time, in a program of one thread. Signals are taken from a signalfd; SIGCHLD among them, so that no
 * pidfd is needed: a pid is ours until we reap it. */
#ifndef COMFYDD_SUPERVISE_H
#define COMFYDD_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

/* How the command ended. */
struct supervise_end {
    int error;        /* -errno: it could not be started. The rest is not filled in then, but for: */
    bool not_forked;  /* there was no process to be had for it */
    bool not_entered; /* hooks->enter has refused */
    bool signalled;
    int code;            /* exit code, or signal number */
    int stop_signal;     /* what it was told to stop with; 0: it was not */
    bool we_stopped;     /* hooks->tick has asked for it */
    bool we_killed;      /* it had not stopped in time */
    uint64_t peak_bytes; /* highest resident size of its processes, each by itself */
    double ran_s;
};

/* What the caller does meanwhile. */
struct supervise_hooks {
    int (*enter)(void *context); /* in the forked child, before the command: 0 or -errno. Async-signal-safe */
    bool (*tick)(void *context); /* about every second; true: the running command must end */
    void *context;
};

/* From here on signals come to us through a descriptor, and orphaned descendants are ours. Once. */
void supervise_start(void);

/* A descriptor that can be read while a signal waits to be passed on, or to end us: for hooks that wait themselves. */
int supervise_interrupt(void);

/* Runs the command, found along PATH, to its end. `grace_s`: from the first SIGINT or SIGTERM to our SIGKILL, once a
 * second one has come; or from our own SIGTERM. */
struct supervise_end supervise_run(char **command, double grace_s, const struct supervise_hooks *hooks);

/* Waits, reaping and ticking. Returns early with the number of a SIGINT, SIGTERM, SIGHUP or SIGQUIT that we were not
 * started to ignore; 0 otherwise. */
int supervise_sleep(double seconds, const struct supervise_hooks *hooks);

/* Kills what is left of the command's descendants: our children, and theirs when they have become ours, but none that we had
 * before; `more` kills what it knows of besides, false when that is nothing (may be NULL). False when some were still
 * there after `seconds`. */
bool supervise_kill_rest(double seconds, bool (*more)(void *context), void *context);

#endif
