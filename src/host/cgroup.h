/* cgroup: the control groups of this process, and how much memory they still allow.
 *
 * All differences between cgroup v1 and v2 are in cgroup.c. The hierarchy is expected where every distribution and
 * container runtime mounts it: /sys/fs/cgroup (v2), /sys/fs/cgroup/memory (v1). No allocation, no state but the
 * caller's struct; any thread, one at a time for one struct. errno is preserved. */
#ifndef COMFYDD_CGROUP_H
#define COMFYDD_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_LEVELS 16 /* limits on the way to the root beyond these are not seen */

#define CGROUP_NO_LIMIT UINT64_MAX

/* The groups, from our own towards the root, that have a memory limit. */
struct cgroup {
    const struct cgroup_files *files; /* v1's or v2's names; NULL before cgroup_find */
    char directory[1024];             /* of our own group; a level's is its beginning */
    struct {
        size_t length;  /* of its part of `directory` */
        uint64_t limit; /* bytes */
    } levels[CGROUP_LEVELS];
    size_t count;
};

/* Finds the limits that now hold, below `root` ("" for the real files; tests pass a folder). */
void cgroup_find(struct cgroup *cgroup, const char *root);

/* Bytes that may still be allocated before one of the limits is reached, page cache that the kernel can drop counted as
 * free; CGROUP_NO_LIMIT without limits. */
uint64_t cgroup_headroom(const struct cgroup *cgroup);

/* Writes the path of our own group's directory. False when there is none, or no room for it. */
bool cgroup_directory(const char *root, char *directory, size_t size);

#endif
