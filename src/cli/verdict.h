/* verdict: why a process ended, from what is known about it. Pure: no clock, no I/O, no globals. */
#ifndef COMFYDD_VERDICT_H
#define COMFYDD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

enum verdict_kind {
    VERDICT_SUCCESS, /* exit 0 */
    VERDICT_FAILURE, /* another exit code: the program's own doing */
    VERDICT_STOPPED, /* by the user, or because we were told to stop it */
    VERDICT_MEMORY,  /* the memory limit, the host's out-of-memory killer, or Python's MemoryError */
    VERDICT_CRASH,   /* a signal of its own making: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT */
    VERDICT_KILLED,  /* SIGKILL by somebody */
    VERDICT_RESTART, /* it asked for a restart (ComfyUI-Manager): no failure */
};

/* What is known. Counts are those of memory.events (v2) or memory.oom_control (v1) of the child's group. */
struct verdict_facts {
    bool signalled;
    int code;       /* exit code, or signal number */
    bool has_group; /* memory events are known */
    uint64_t oom_kills_before, oom_kills_after;
    uint64_t host_oom_kills_before, host_oom_kills_after; /* oom_kill of /proc/vmstat */
    bool we_signalled;                                    /* our own stop, forwarded or by --grace */
    bool we_killed;                                       /* our own SIGKILL after the grace period */
    bool interrupted;                                     /* Ctrl-C */
    bool memory_error;    /* the last lines on stderr name a Python MemoryError */
    bool restart_wanted;  /* ComfyUI-Manager's reboot file is there */
    uint64_t limit_bytes; /* 0: none */
};

struct verdict {
    enum verdict_kind kind;
    int exit_code;       /* what we exit with: the child's, or 128 + signal */
    const char *status;  /* workflow.status of what was running: "killed", "error", "interrupted" */
    char error_type[32]; /* "OOMKilled", "ProcessKilled", "SIGSEGV", ...; empty for a success */
    char sentence[256];  /* for people: log line, error.message, the job's reason */
};

struct verdict verdict_of(const struct verdict_facts *facts);

#endif
