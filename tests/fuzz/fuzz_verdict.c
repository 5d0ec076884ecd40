/* What a verdict is made of, and the verdict: files of control groups and of /proc with any content, and any facts that a
 * kernel can report. The input: a struct verdict_facts, then the texts of the files below, each up to a 0 byte. */
#include "base/file.h"
#include "base/process.h"
#include "cli/restart.h"
#include "cli/verdict.h"
#include "fuzz.h"
#include "host/cgroup.h"
#include "host/cgroup_files.h"
#include "host/cgroup_group.h"
#include "host/meminfo.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROMISED(condition)                                                                                  \
    if (!(condition)) __builtin_trap()

/* ---- files ---- */

#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"

/* All in the roots of the hierarchies: that is where a container's group is, whatever path the kernel names. */
static const char *const files[] = {
    "/proc/self/cgroup",
    "/proc/meminfo",
    "/proc/self/statm",
    V2 "/memory.events",
    V2 "/memory.events.local",
    V2 "/memory.stat",
    V2 "/memory.current",
    V2 "/memory.peak",
    V2 "/memory.max",
    V1 "/memory.oom_control",
    V1 "/memory.failcnt",
    V1 "/memory.stat",
    V1 "/memory.usage_in_bytes",
    V1 "/memory.max_usage_in_bytes",
    V1 "/memory.limit_in_bytes",
};
enum { FILES = sizeof files / sizeof *files };

static char root[64];

static void remove_tree(void) {
    static const char *const folders[] = {V1, V2, "/sys/fs", "/sys", "/proc/self", "/proc", ""};
    char path[128];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s%s", root, files[i]);
        unlink(path);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s%s", root, folders[i]);
        rmdir(path);
    }
}

static void make_tree(void) {
    static const char *const folders[] = {"/proc", "/proc/self", "/sys", "/sys/fs", V2, V1};
    char path[128];
    snprintf(root, sizeof root, "/dev/shm/fuzz-verdict-XXXXXX");
    PROMISED(mkdtemp(root));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s%s", root, folders[i]);
        PROMISED(mkdir(path, 0700) == 0);
    }
    atexit(remove_tree);
}

static void write_file(const char *name, const char *text, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    PROMISED(fd >= 0 && write(fd, text, size) == (ssize_t)size);
    close(fd);
}

/* ---- what is read of them ---- */

static void check_process(const char *stat) {
    char state = 0;
    uint64_t start_ticks = 0;
    if (process_parse_stat(stat, &state, &start_ticks)) PROMISED(state);
}

static void check_files(void) {
    struct cgroup cgroup;
    struct cgroup_group group;
    struct cgroup_counts counts = {0};
    cgroup_find(&cgroup, root);
    PROMISED(cgroup.count <= CGROUP_LEVELS);
    uint64_t headroom = cgroup_headroom(&cgroup);
    for (size_t i = 0; i < cgroup.count; i++)
        PROMISED(headroom == CGROUP_NO_LIMIT || headroom <= cgroup.levels[i].limit || cgroup.count > 1);
    struct meminfo info = meminfo_read(root, &cgroup);
    PROMISED(!info.available_bytes || info.available_bytes <= headroom);
    if (!cgroup_group_own(&group, root)) return;
    PROMISED(cgroup_group_counts(&group, &counts));
    cgroup_group_usage(&group);
    cgroup_group_peak(&group);
    PROMISED(!cgroup_group_kill(&group)); /* not of our making */
}

/* ---- verdicts ---- */

static bool is_one_of(const char *word, const char *const *words) {
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words;
}

/* Nothing tells of memory: no count has risen, and allocations were not limited. */
static bool memory_is_innocent(const struct verdict_facts *facts) {
    return facts->limit != VERDICT_DATA_LIMIT && facts->oom_kills_after <= facts->oom_kills_before &&
           facts->oom_kills_after <= facts->oom_kills_lately &&
           facts->host_oom_kills_after <= facts->host_oom_kills_before;
}

static void check_verdict(const struct verdict_facts *facts) {
    static const char *const statuses[] = {"killed", "error", "interrupted", NULL};
    struct verdict verdict = verdict_of(facts);
    bool is_orderly =
        verdict.kind == VERDICT_SUCCESS || verdict.kind == VERDICT_STOPPED || verdict.kind == VERDICT_RESTART;
    PROMISED(verdict.kind <= VERDICT_RESTART);
    PROMISED(is_one_of(verdict.status, statuses));
    PROMISED((strcmp(verdict.status, "interrupted") == 0) == is_orderly);
    PROMISED((verdict.error_type[0] == 0) == is_orderly);
    PROMISED(memchr(verdict.error_type, 0, sizeof verdict.error_type));
    PROMISED(verdict.sentence[0] && strlen(verdict.sentence) < sizeof verdict.sentence - 1); /* not cut */
    PROMISED(verdict.exit_code >= 0 && verdict.exit_code <= 255);
    PROMISED(verdict.exit_code == 0 || facts->signalled || facts->code);
    if (verdict.kind == VERDICT_SUCCESS) PROMISED(verdict.exit_code == 0);
    if (facts->signalled) PROMISED(verdict.exit_code == 128 + facts->code);
    if (verdict.kind == VERDICT_MEMORY) PROMISED(!memory_is_innocent(facts));
    for (enum restart_when when = RESTART_AFTER_OOM; when <= RESTART_NEVER; when++) {
        struct restart restart = {.when = when, .most = 1};
        double wait_s = -1;
        enum restart_decision decision =
            restart_decide(&restart, &verdict, facts->stop_signal != 0, 1, &wait_s);
        if (decision == RESTART_AGAIN) PROMISED(!is_orderly && !facts->stop_signal && wait_s == 1);
        if (verdict.kind == VERDICT_MEMORY && when != RESTART_NEVER && !facts->stop_signal)
            PROMISED(decision == RESTART_AGAIN);
    }
}

/* As the kernel, and our callers, may fill them in. */
static struct verdict_facts make_facts(const uint8_t *data) {
    struct verdict_facts facts;
    uint8_t bytes[8];
    memcpy(bytes, data, sizeof bytes);
    memcpy(&facts, data + sizeof bytes, sizeof facts); /* the counts */
    facts.signalled = bytes[0] & 1;
    facts.we_killed = bytes[0] & 2;
    facts.restart_wanted = bytes[0] & 4;
    facts.has_group = bytes[0] & 8;
    facts.code = facts.signalled ? 1 + bytes[1] % 64 : bytes[1];
    facts.stop_signal = bytes[2] % 65;
    facts.limit = (enum verdict_limit)(bytes[3] % 3);
    if (facts.we_killed && !facts.stop_signal) facts.stop_signal = SIGTERM;
    return facts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t head = 8 + sizeof(struct verdict_facts);
    if (size < head) return 0;
    if (!*root) make_tree();
    struct verdict_facts facts = make_facts(data);
    check_verdict(&facts);
    char *text = malloc(size - head + 1), *at = text; /* its own allocation: reading past it is seen */
    memcpy(text, data + head, size - head);
    text[size - head] = 0;
    check_process(text);
    for (size_t i = 0; i < FILES; i++) {
        write_file(files[i], at, strlen(at));
        if (at + strlen(at) < text + (size - head)) at += strlen(at) + 1;
    }
    check_files();
    free(text);
    return 0;
}
