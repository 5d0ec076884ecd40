#include "cli/limit.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const double GiB = 1u << 30;

/* ---- making one ---- */

static const char *why_no_group(int error) {
    switch (-error) {
    case ENOTSUP:
        return "the memory controller is not there";
    case EBUSY:
        return "other processes are in our group (for a systemd unit: Delegate=memory)";
    case EROFS:
    case EACCES:
    case EPERM:
        return "its files cannot be written";
    default:
        return strerror(-error);
    }
}

/* With the number of our PID namespace: in another one our number may be somebody else's. */
static void name_groups(char *prefix, size_t size) {
    struct stat space = {.st_ino = 0};
    stat("/proc/self/ns/pid", &space);
    snprintf(prefix, size, "comfydd-%llu-", (unsigned long long)space.st_ino);
}

void limit_start(struct limit *limit, uint64_t bytes) {
    char prefix[32], name[64];
    memset(limit, 0, sizeof *limit);
    limit->bytes = bytes;
    if (bytes > 0) {
        name_groups(prefix, sizeof prefix);
        cgroup_group_remove_left("", prefix);
        snprintf(name, sizeof name, "%s%ld", prefix, (long)getpid());
        limit->error = cgroup_group_make(&limit->group, "", name, bytes);
        limit->kind = limit->error ? VERDICT_DATA_LIMIT : VERDICT_GROUP_LIMIT;
    }
    /* Kills are counted in the group that we are in, too: a container's, which we may only read. */
    limit->has_group = limit->kind == VERDICT_GROUP_LIMIT || cgroup_group_own(&limit->group, "");
    if (limit->kind == VERDICT_DATA_LIMIT)
        log_line(
            "no control group can be made for the memory limit (%s), so RLIMIT_DATA is set to %.2f GiB: it "
            "counts the private memory of each process by itself, and at the limit allocations fail",
            why_no_group(limit->error), (double)bytes / GiB);
}

void limit_describe(const struct limit *limit, char *text, size_t size) {
    static const char *const ways[] = {
        [VERDICT_GROUP_LIMIT] = "by control group ", [VERDICT_DATA_LIMIT] = "by RLIMIT_DATA"};
    if (limit->kind == VERDICT_NO_LIMIT)
        snprintf(text, size, "no memory limit");
    else
        snprintf(text, size, "memory limit %.2f GiB %s%s", (double)limit->bytes / GiB, ways[limit->kind],
                 limit->kind == VERDICT_GROUP_LIMIT ? limit->group.directory : "");
}

int limit_enter(const struct limit *limit) {
    if (limit->kind == VERDICT_GROUP_LIMIT) return cgroup_group_enter(&limit->group);
    if (limit->kind != VERDICT_DATA_LIMIT) return 0;
    struct rlimit data;
    if (getrlimit(RLIMIT_DATA, &data) != 0) return -errno;
    if (data.rlim_max > limit->bytes) data.rlim_max = limit->bytes;
    if (data.rlim_cur > data.rlim_max) data.rlim_cur = data.rlim_max;
    return setrlimit(RLIMIT_DATA, &data) == 0 ? 0 : -errno;
}

/* ---- what a verdict needs ---- */

static uint64_t host_oom_kills(void) {
    char text[16384]; /* some kernels have 8 KiB of it */
    uint64_t kills = 0;
    if (file_read("/proc/vmstat", text, sizeof text) > 0) file_number(text, "oom_kill", &kills);
    return kills;
}

void limit_before(struct limit *limit, struct verdict_facts *facts) {
    struct cgroup_counts counts = {0};
    facts->limit = limit->kind;
    facts->limit_bytes = limit->bytes;
    facts->has_group = limit->has_group && cgroup_group_counts(&limit->group, &counts);
    facts->oom_kills_before = counts.kills;
    facts->limit_hits_before = counts.hits;
    facts->host_oom_kills_before = host_oom_kills();
    for (size_t i = 0; i < LIMIT_LOOKS; i++)
        limit->kills[i] = counts.kills;
}

void limit_after(const struct limit *limit, struct verdict_facts *facts) {
    struct cgroup_counts counts = {0};
    facts->has_group = facts->has_group && cgroup_group_counts(&limit->group, &counts);
    facts->oom_kills_lately = limit->kills[0];
    facts->oom_kills_after = counts.kills;
    facts->limit_hits_after = counts.hits;
    facts->host_oom_kills_after = host_oom_kills();
    if (limit->kind == VERDICT_GROUP_LIMIT) facts->peak_bytes = cgroup_group_peak(&limit->group);
}

/* ---- while it runs ---- */

static void remember_kills(struct limit *limit) {
    struct cgroup_counts counts;
    if (!limit->has_group || !cgroup_group_counts(&limit->group, &counts)) return;
    memmove(limit->kills, limit->kills + 1, sizeof limit->kills - sizeof *limit->kills);
    limit->kills[LIMIT_LOOKS - 1] = counts.kills;
}

/* By looking, not by memory.high: above that the kernel slows the processes down so much that they would hang where they
 * should be killed and started again. */
void limit_watch(struct limit *limit) {
    remember_kills(limit);
    if (limit->kind != VERDICT_GROUP_LIMIT) return;
    double usage = (double)cgroup_group_usage(&limit->group), bytes = (double)limit->bytes;
    if (usage < 0.8 * bytes) limit->warned = false;
    if (usage < 0.9 * bytes || limit->warned) return;
    limit->warned = true;
    log_line("memory: %.2f of %.2f GiB are in use; at the limit the command is killed", usage / GiB,
             bytes / GiB);
}

bool limit_kill(const struct limit *limit) {
    return limit->kind == VERDICT_GROUP_LIMIT && cgroup_group_kill(&limit->group);
}

void limit_finish(struct limit *limit) {
    if (limit->kind != VERDICT_GROUP_LIMIT) return;
    char directory[sizeof limit->group.directory];
    snprintf(directory, sizeof directory, "%s", limit->group.directory);
    int error = cgroup_group_remove(&limit->group);
    if (error) log_line("the control group %s cannot be removed: %s", directory, strerror(-error));
    limit->kind = VERDICT_NO_LIMIT;
}
