/* cgroup_files: what cgroup v1 and v2 call the same things. For cgroup.c and cgroup_group.c only. */
#ifndef COMFYDD_CGROUP_FILES_H
#define COMFYDD_CGROUP_FILES_H

#include <stddef.h>

/* A number in a file of a group: after `line` at the beginning of a line, or the whole file where that is empty. */
struct cgroup_number {
    const char *file, *line;
};

struct cgroup_files {
    const char *mount; /* where the hierarchy is */
    const char *limit; /* a number, or "max" */
    const char *usage; /* a number: everything, page cache too */
    const char
        *droppable;   /* the line of memory.stat with the page cache not used lately, children included */
    const char *peak; /* a number: the highest usage */
    struct cgroup_number kills; /* processes of the group killed for memory, whoever's limit it was */
    struct cgroup_number hits; /* how often the group's own limit was reached, not that of a group below it */
    struct cgroup_number all_hits; /* groups below included, for kernels that know no better (before 5.2) */
    const char *kill_together;     /* 1: a kill takes the whole group; NULL where there is none */
};

extern const struct cgroup_files cgroup_v1, cgroup_v2;

/* Our own group's directory below `root`, and whose files it has: its length, or -1 when unknown. *mount_length: the part
 * that is the mount. */
int cgroup_own_directory(const char *root, char *directory, size_t size, int *mount_length,
                         const struct cgroup_files **files);

#endif
