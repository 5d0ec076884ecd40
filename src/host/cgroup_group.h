/* cgroup_group: a control group of our own making, which limits the memory of what runs in it.
 *
 * For the launcher; the library makes none. `root` is "" for the real files; tests pass a folder. One thread at a time for
 * one struct; no allocation. */
#ifndef COMFYDD_CGROUP_GROUP_H
#define COMFYDD_CGROUP_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroup_group {
    const struct cgroup_files *files;
    char directory[1024];
    char parent[1024]; /* where it was made; empty when it is not of our making */
    char leaf[1024];   /* where we went ourselves, see cgroup_group_make; empty when we stayed */
};

/* Counts since the group was made. */
struct cgroup_counts {
    uint64_t kills; /* of its processes, for memory, whoever's memory it was that ran out */
    uint64_t hits;  /* how often its own limit was reached */
};

/* Finds the group that we are in, to read its counts. False when there is none. */
bool cgroup_group_own(struct cgroup_group *group, const char *root);

/* Removes groups below our own that launchers which were killed have left: those named `prefix` and then the number of a
 * process that is no more, when nothing is in them. */
void cgroup_group_remove_left(const char *root, const char *prefix);

/* Makes a group `name` below our own, limited to so many bytes, swap not counted. Where v2 demands that a group with
 * groups in it has no processes, we move to a leaf of our own first; -EBUSY when others are in our group too. -errno
 * otherwise: -EROFS, -EACCES (nothing can be written), -ENOTSUP (no memory controller); then all is as it was. */
int cgroup_group_make(struct cgroup_group *group, const char *root, const char *name, uint64_t limit);

/* Moves the calling process into it. For a forked child: async-signal-safe. 0 or -errno. */
int cgroup_group_enter(const struct cgroup_group *group);

/* False when they cannot be read. */
bool cgroup_group_counts(const struct cgroup_group *group, struct cgroup_counts *counts);

/* Bytes in use, without page cache that can be dropped, and the most that ever were, with it; 0 when unknown. */
uint64_t cgroup_group_usage(const struct cgroup_group *group);
uint64_t cgroup_group_peak(const struct cgroup_group *group);

/* Sends SIGKILL to all in it; false when it is empty. Not for a group that is not of our making. */
bool cgroup_group_kill(const struct cgroup_group *group);

/* Undoes cgroup_group_make: what is still in the group goes on in its parent, and so do we. 0 or -errno. */
int cgroup_group_remove(struct cgroup_group *group);

#endif
