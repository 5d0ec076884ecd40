/* verdict: why a process ended, from what is known about it. Pure: no clock, no I/O, no globals.
 *
 * A shell that ran the command ends with 128 + n, a Python that did with 256 - n, when signal n ended it: both are taken for
 * that signal (but 255, which is exit(-1) as a rule, and no SIGHUP). A start script may end with a code of its own: a failure
 * right after a kill for memory in the group is taken for one. That a Python ended with a MemoryError is not seen (its
 * stderr stays its own); where the limit is one on allocations (RLIMIT_DATA), a failure close to it is taken for one. */
#ifndef COMFYDD_VERDICT_H
#define COMFYDD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

enum verdict_kind {
    VERDICT_SUCCESS, /* exit 0 */
    VERDICT_FAILURE, /* another exit code: the program's own doing */
    VERDICT_STOPPED, /* by the user, or because we were told to stop it */
    VERDICT_MEMORY,  /* the memory limit, or the machine's out-of-memory killer */
    VERDICT_CRASH, /* a signal of its own making: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS */
    VERDICT_KILLED,    /* another signal, by somebody else */
    VERDICT_HUNG,      /* it lived, but did not work: our watchdog has ended it */
    VERDICT_RESTART,   /* it asked for a restart (ComfyUI-Manager's reboot file): no failure */
    VERDICT_UNSTARTED, /* it could not be started again */
};

/* How the limit on memory was set. */
enum verdict_limit {
    VERDICT_NO_LIMIT,
    VERDICT_GROUP_LIMIT, /* of a control group: going over it is a kill */
    VERDICT_DATA_LIMIT,  /* RLIMIT_DATA: going over it is an allocation that fails */
};

/* What the watchdog has ended it for. */
enum verdict_watchdog {
    VERDICT_WORKS,       /* nothing */
    VERDICT_STALLED,     /* no node had begun or ended for too long */
    VERDICT_WORKER_GONE, /* ComfyUI's worker thread had ended */
};

/* What is known. Counts are taken before the start and after the end. */
struct verdict_facts {
    bool signalled;
    int code;        /* exit code, or signal number */
    int stop_signal; /* what it was told to stop with, by us or by the terminal; 0: it was not */
    bool we_killed;  /* by our own SIGKILL, because it had not stopped in time */
    enum verdict_watchdog watchdog;
    double watchdog_s;                /* its patience with a lack of progress */
    bool restart_wanted;              /* ComfyUI-Manager's reboot file is there */
    enum verdict_limit limit;         /* what kind limit_bytes is of */
    uint64_t limit_bytes, peak_bytes; /* peak: of the group, else of a process; 0 when unknown */
    bool has_group;                   /* its control group's counts are known: */
    /* Kills for memory in the group, whoever's memory ran out; lately: as it was some seconds before the end. */
    uint64_t oom_kills_before, oom_kills_lately, oom_kills_after;
    uint64_t limit_hits_before, limit_hits_after; /* how often the group's own limit was reached */
    uint64_t host_oom_kills_before,
        host_oom_kills_after; /* oom_kill of /proc/vmstat: anywhere on the machine */
};

struct verdict {
    enum verdict_kind kind;
    int exit_code;       /* what we exit with: the child's, or 128 + signal */
    const char *status;  /* workflow.status of what was running: "killed", "error", "interrupted" */
    char error_type[32]; /* "OOMKilled", "ProcessKilled", "ProcessHung", "SIGSEGV", ...; empty for no error */
    char sentence[256];  /* for people, after "the command ": log line, error.message, the job's reason */
};

struct verdict verdict_of(const struct verdict_facts *facts);

/* That of a start that has failed. `why`: for people. */
struct verdict verdict_of_failed_start(const char *why, int exit_code);

#endif
