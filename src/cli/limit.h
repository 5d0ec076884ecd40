/* limit: the memory limit of the command: a control group of ours, else RLIMIT_DATA, else none.
 *
 * Not RLIMIT_AS: CUDA reserves address space by the hundred gigabytes at its start. RLIMIT_DATA counts private writable
 * memory (since Linux 4.7), which such a reservation is not. */
#ifndef COMFYDD_LIMIT_H
#define COMFYDD_LIMIT_H

#include "cli/verdict.h"
#include "host/cgroup_group.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_LOOKS 5 /* of limit_watch, that are remembered: seconds */

struct limit {
    enum verdict_limit kind;
    uint64_t bytes;            /* 0: no limit */
    struct cgroup_group group; /* of our making, or the one we are in; for its counts when has_group */
    bool has_group;
    int error;                   /* -errno: why no group could be made */
    uint64_t kills[LIMIT_LOOKS]; /* in the group, as the last looks have found them; the oldest first */
    bool warned;                 /* see limit_watch */
};

/* Makes the group, where it can be. One for all runs of the command. */
void limit_start(struct limit *limit, uint64_t bytes);

/* The limit in words, for people: "64.00 GiB, by control group /sys/fs/...". */
void limit_describe(const struct limit *limit, char *text, size_t size);

/* Puts the calling process, a forked child, under the limit. 0 or -errno. Async-signal-safe. */
int limit_enter(const struct limit *limit);

/* Writes the counts that a verdict needs: once before a run, once after it. */
void limit_before(struct limit *limit, struct verdict_facts *facts);
void limit_after(const struct limit *limit, struct verdict_facts *facts);

/* Remembers the group's counts, and says so once when nine tenths of its limit are in use; again after it was below eight.
 * About every second. */
void limit_watch(struct limit *limit);

/* Sends SIGKILL to all that is in the group of our making. False when there is none, or it is empty. */
bool limit_kill(const struct limit *limit);

/* Removes the group; what is still in it goes on without a limit. */
void limit_finish(struct limit *limit);

#endif
