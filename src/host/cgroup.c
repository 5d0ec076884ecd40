#include "host/cgroup.h"

#include "base/file.h"
#include "host/cgroup_files.h"

#include <stdio.h>
#include <string.h>

const struct cgroup_files cgroup_v1 = {
    .mount = "/sys/fs/cgroup/memory",
    .limit = "memory.limit_in_bytes",
    .usage = "memory.usage_in_bytes",
    .droppable = "total_inactive_file",
    .peak = "memory.max_usage_in_bytes",
    .kills = {"memory.oom_control", "oom_kill"},
    .hits = {"memory.failcnt", ""},
    .all_hits = {"memory.failcnt", ""},
};

const struct cgroup_files cgroup_v2 = {
    .mount = "/sys/fs/cgroup",
    .limit = "memory.max",
    .usage = "memory.current",
    .droppable = "inactive_file",
    .peak = "memory.peak",
    .kills = {"memory.events", "oom_kill"},
    .hits = {"memory.events.local", "oom"},
    .all_hits = {"memory.events", "oom"},
    .kill_together = "memory.oom.group",
};

/* v1 writes "no limit" as the largest number of whole pages; nobody's machine comes near. */
#define V1_UNLIMITED (UINT64_C(1) << 60)

/* One line of /proc/self/cgroup is "number:controllers:path". Returns the path of the memory controller's hierarchy,
 * else v2's, terminated in place, and whose files it has; NULL when there is neither. */
static char *memory_path(char *text, const struct cgroup_files **files) {
    char *found = NULL, *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        strsep(&line, ":");
        char *controllers = strsep(&line, ":");
        if (!controllers || !line) continue;
        if (!*controllers) { /* v2's: holds the memory controller unless a v1 hierarchy does */
            found = line;
            *files = &cgroup_v2;
        }
        for (char *name; (name = strsep(&controllers, ","));)
            if (strcmp(name, "memory") == 0) {
                *files = &cgroup_v1;
                return line;
            }
    }
    return found;
}

int cgroup_own_directory(const char *root, char *directory, size_t size, int *mount_length,
                         const struct cgroup_files **files) {
    char path[512], text[8192];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (file_read(path, text, sizeof text) <= 0) return -1;
    const char *group = memory_path(text, files);
    if (!group) return -1;
    if (strcmp(group, "/") == 0) group = "";
    *mount_length = snprintf(directory, size, "%s%s", root, (*files)->mount);
    int length = snprintf(directory, size, "%s%s%s", root, (*files)->mount, group);
    return length >= 0 && (size_t)length < size ? length : -1;
}

bool cgroup_directory(const char *root, char *directory, size_t size) {
    const struct cgroup_files *files;
    int mount_length;
    return cgroup_own_directory(root, directory, size, &mount_length, &files) >= 0;
}

/* Reads a file of the group whose directory is the first `length` bytes. */
static ssize_t read_group_file(const struct cgroup *cgroup, size_t length, const char *name, char *text,
                               size_t capacity) {
    char path[sizeof cgroup->directory + 64];
    snprintf(path, sizeof path, "%.*s/%s", (int)length, cgroup->directory, name);
    return file_read(path, text, capacity);
}

void cgroup_find(struct cgroup *cgroup, const char *root) {
    char text[64];
    int mount_length;
    memset(cgroup, 0, sizeof *cgroup);
    int length = cgroup_own_directory(root, cgroup->directory, sizeof cgroup->directory, &mount_length,
                                      &cgroup->files);
    if (length < 0) return;
    /* From our group to the root. In a container the path may be the host's, of which only the last level, or nothing,
     * is mounted here: directories that do not exist just have no limit. */
    for (int end = length; end >= mount_length && cgroup->count < CGROUP_LEVELS; end--) {
        if (end > mount_length && cgroup->directory[end] != '/' && cgroup->directory[end] != '\0') continue;
        uint64_t limit;
        if (read_group_file(cgroup, (size_t)end, cgroup->files->limit, text, sizeof text) <= 0) continue;
        if (!file_number(text, "", &limit) || limit >= V1_UNLIMITED) continue;
        cgroup->levels[cgroup->count].length = (size_t)end;
        cgroup->levels[cgroup->count++].limit = limit;
    }
}

uint64_t cgroup_headroom(const struct cgroup *cgroup) {
    uint64_t least = CGROUP_NO_LIMIT;
    char text[8192];
    for (size_t i = 0; i < cgroup->count; i++) {
        uint64_t usage, droppable = 0, limit = cgroup->levels[i].limit;
        size_t length = cgroup->levels[i].length;
        read_group_file(cgroup, length, cgroup->files->usage, text, sizeof text);
        if (!file_number(text, "", &usage)) continue;
        read_group_file(cgroup, length, "memory.stat", text, sizeof text);
        file_number(text, cgroup->files->droppable, &droppable);
        usage -= droppable < usage ? droppable : usage;
        uint64_t left = usage < limit ? limit - usage : 0;
        if (left < least) least = left;
    }
    return least;
}
