#include "host/cgroup_group.h"

#include "base/file.h"
#include "host/cgroup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LEAF "-launcher" /* goes after a group's name */

/* ---- files ---- */

static int write_file(const char *directory, const char *name, const char *text) {
    char path[1200];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path) return -ENAMETOOLONG;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return error;
}

static bool read_text(const char *directory, const char *name, char *text, size_t size) {
    char path[1200];
    return (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) < sizeof path &&
           file_read(path, text, size) >= 0;
}

static bool read_number(const char *directory, const char *name, const char *line, uint64_t *value) {
    char text[8192];
    return read_text(directory, name, text, sizeof text) && file_number(text, line, value);
}

static int write_pid(const char *directory, long pid) {
    char text[24];
    snprintf(text, sizeof text, "%ld", pid);
    return write_file(directory, "cgroup.procs", text);
}

static int make_directory(const char *path) {
    return mkdir(path, 0755) == 0 || errno == EEXIST ? 0
                                                     : -errno; /* one of a launcher that was killed will do */
}

/* The kernel needs a moment to let go of processes that have just ended, or moved. */
static int remove_directory(const char *path) {
    for (int tries = 0; rmdir(path) != 0; tries++) {
        if (errno == ENOENT) return 0;
        if (errno != EBUSY || tries == 100) return -errno;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return 0;
}

/* Calls `each` for every process in a group. How many there were. */
static int each_member(const char *directory, void (*each)(long pid, const char *argument),
                       const char *argument) {
    char text[8192]; /* of more than a thousand processes the rest comes with the next call */
    int count = 0;
    if (!read_text(directory, "cgroup.procs", text, sizeof text)) return 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        long pid = rest ? atol(line) : 0; /* no newline: cut */
        if (pid <= 0) continue;
        each(pid, argument);
        count++;
    }
    return count;
}

static void kill_member(long pid, const char *unused) {
    (void)unused;
    kill((pid_t)pid, SIGKILL);
}

static void move_member(long pid, const char *directory) {
    write_pid(directory, pid);
}

static void skip_member(long pid, const char *unused) {
    (void)pid, (void)unused;
}

/* ---- v2: which groups may have processes ---- */

static bool has_word(const char *directory, const char *name, const char *word) {
    char text[512], *rest = text;
    if (!read_text(directory, name, text, sizeof text)) return false;
    for (char *found; (found = strsep(&rest, " \n"));)
        if (strcmp(found, word) == 0) return true;
    return false;
}

/* Makes the memory controller available to groups below group->parent. */
static int enable_controller(struct cgroup_group *group, const char *name) {
    const char *parent = group->parent;
    if (!has_word(parent, "cgroup.controllers", "memory")) return -ENOTSUP;
    if (has_word(parent, "cgroup.subtree_control", "memory")) return 0;
    int error = write_file(parent, "cgroup.subtree_control", "+memory");
    if (error != -EBUSY) return error;
    if (each_member(parent, skip_member, NULL) != 1) return -EBUSY;
    if ((size_t)snprintf(group->leaf, sizeof group->leaf, "%s/%s" LEAF, parent, name) >= sizeof group->leaf) {
        group->leaf[0] = '\0';
        return -ENAMETOOLONG;
    }
    error = make_directory(group->leaf);
    if (!error) error = write_pid(group->leaf, getpid());
    if (!error) error = write_file(parent, "cgroup.subtree_control", "+memory");
    return error;
}

/* ---- making and removing ---- */

bool cgroup_group_own(struct cgroup_group *group, const char *root) {
    int mount_length;
    memset(group, 0, sizeof *group);
    int length =
        cgroup_own_directory(root, group->directory, sizeof group->directory, &mount_length, &group->files);
    struct cgroup_counts counts;
    if (length < 0) return false;
    if (cgroup_group_counts(group, &counts)) return true;
    /* In a container the path may be the host's, and the group itself what is mounted. */
    group->directory[mount_length] = '\0';
    return cgroup_group_counts(group, &counts);
}

static int make_limited(struct cgroup_group *group, const char *name, uint64_t limit) {
    char text[24];
    int error = group->files == &cgroup_v2 ? enable_controller(group, name) : 0;
    if (!error) error = make_directory(group->directory);
    snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
    if (!error) error = write_file(group->directory, group->files->limit, text);
    if (!error && group->files->kill_together) write_file(group->directory, group->files->kill_together, "1");
    return error;
}

/* Where groups of our making go. */
static bool find_parent(struct cgroup_group *group, const char *root) {
    int mount_length;
    memset(group, 0, sizeof *group);
    if (cgroup_own_directory(root, group->parent, sizeof group->parent, &mount_length, &group->files) < 0)
        return false;
    if (access(group->parent, F_OK) != 0) group->parent[mount_length] = '\0'; /* see cgroup_group_own */
    return true;
}

/* PREFIX PID ["-launcher"], of a process that is no more. */
static bool is_left(const char *name, const char *prefix) {
    size_t size = strlen(prefix);
    char *end;
    if (strncmp(name, prefix, size) != 0 || name[size] < '1' || name[size] > '9') return false;
    long pid = strtol(name + size, &end, 10);
    if (*end && strcmp(end, LEAF) != 0) return false;
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* One may be in another: a launcher's command may be a launcher. */
static void remove_left(const char *directory, const char *prefix) {
    char path[1200];
    DIR *list = opendir(directory);
    if (!list) return;
    for (struct dirent *entry; (entry = readdir(list));) {
        if (!is_left(entry->d_name, prefix) ||
            (size_t)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= sizeof path)
            continue;
        remove_left(path, prefix);
        rmdir(path);
    }
    closedir(list);
}

void cgroup_group_remove_left(const char *root, const char *prefix) {
    struct cgroup_group group;
    if (find_parent(&group, root)) remove_left(group.parent, prefix);
}

int cgroup_group_make(struct cgroup_group *group, const char *root, const char *name, uint64_t limit) {
    if (!find_parent(group, root)) return -ENOTSUP;
    int error;
    if ((size_t)snprintf(group->directory, sizeof group->directory, "%s/%s", group->parent, name) >=
        sizeof group->directory) {
        group->directory[0] = '\0';
        error = -ENAMETOOLONG;
    } else
        error = make_limited(group, name, limit);
    if (error) cgroup_group_remove(group);
    return error;
}

int cgroup_group_remove(struct cgroup_group *group) {
    if (!*group->parent) return 0;
    if (*group->leaf)
        write_file(group->parent, "cgroup.subtree_control", "-memory"); /* makes room for processes */
    for (int tries = 0; tries < 10 && each_member(group->directory, move_member, group->parent) > 0;)
        tries++;
    int error = remove_directory(group->directory);
    if (*group->leaf) {
        write_pid(group->parent, getpid());
        int other = remove_directory(group->leaf);
        error = error ? error : other;
    }
    memset(group, 0, sizeof *group);
    return error;
}

int cgroup_group_enter(const struct cgroup_group *group) {
    return write_file(group->directory, "cgroup.procs", "0");
}

/* ---- watching ---- */

bool cgroup_group_counts(const struct cgroup_group *group, struct cgroup_counts *counts) {
    const struct cgroup_files *files = group->files;
    counts->hits = 0;
    if (!read_number(group->directory, files->hits.file, files->hits.line, &counts->hits))
        read_number(group->directory, files->all_hits.file, files->all_hits.line, &counts->hits);
    return read_number(group->directory, files->kills.file, files->kills.line, &counts->kills);
}

uint64_t cgroup_group_usage(const struct cgroup_group *group) {
    uint64_t usage, droppable = 0;
    if (!read_number(group->directory, group->files->usage, "", &usage)) return 0;
    read_number(group->directory, "memory.stat", group->files->droppable, &droppable);
    return usage - (droppable < usage ? droppable : usage);
}

uint64_t cgroup_group_peak(const struct cgroup_group *group) {
    uint64_t peak;
    return read_number(group->directory, group->files->peak, "", &peak) ? peak : 0;
}

bool cgroup_group_kill(const struct cgroup_group *group) {
    return *group->parent && each_member(group->directory, kill_member, NULL) > 0;
}
