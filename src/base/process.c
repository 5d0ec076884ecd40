#include "base/process.h"

#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool process_parse_stat(const char *stat, char *state, uint64_t *start_ticks) {
    enum { FIELDS_FROM_STATE_TO_START = 19 };
    const char *at = strrchr(stat, ')'); /* the end of the name, which may hold anything */
    if (!at || at[1] != ' ') return false;
    *state = at[2];
    at += 2;
    for (int i = 0; at && i < FIELDS_FROM_STATE_TO_START; i++) {
        at = strchr(at, ' ');
        if (at) at++;
    }
    if (!at) return false;
    *start_ticks = strtoull(at, NULL, 10);
    return true;
}

/* False when /proc does not know the process. */
static bool read_stat(int32_t pid, char *state, uint64_t *start_ticks) {
    char path[32], stat[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return file_read(path, stat, sizeof stat) > 0 && process_parse_stat(stat, state, start_ticks);
}

struct process_identity process_self(void) {
    struct process_identity self = {.pid = getpid()};
    int saved_errno = errno;
    char state;
    read_stat(self.pid, &state, &self.start_ticks);
    errno = saved_errno;
    return self;
}

bool process_runs(const struct process_identity *process) {
    if (process->pid <= 0) return false;
    int saved_errno = errno;
    char state = 0;
    uint64_t start_ticks = 0;
    bool runs;
    if (read_stat(process->pid, &state, &start_ticks))
        runs = state != 'Z' && state != 'X' &&
               (start_ticks == process->start_ticks || process->start_ticks == 0);
    else
        runs = kill(process->pid, 0) == 0 || errno == EPERM; /* no /proc here */
    errno = saved_errno;
    return runs;
}

bool process_is(const struct process_identity *one, const struct process_identity *other) {
    return one->pid == other->pid && one->start_ticks == other->start_ticks;
}

bool process_parse(const char *text, struct process_identity *process, uint64_t *secret) {
    size_t pid_digits = strspn(text, "0123456789"), start_digits = 0, secret_digits = 0;
    if (text[pid_digits] == '.') start_digits = strspn(text + pid_digits + 1, "0123456789");
    if (pid_digits == 0 || pid_digits > 9 || start_digits == 0 || start_digits > 19) return false;
    const char *rest = text + pid_digits + 1 + start_digits;
    if (*rest == '.') secret_digits = strspn(++rest, "0123456789");
    if (rest[secret_digits] != '\0' || (rest[-1] == '.' && secret_digits == 0) || secret_digits > 20)
        return false;
    *secret = secret_digits ? strtoull(rest, NULL, 10) : 0;
    struct process_identity parsed = {
        .pid = (int32_t)strtol(text, NULL, 10),
        .start_ticks = strtoull(text + pid_digits + 1, NULL, 10),
    };
    if (parsed.pid == 0) return false;
    *process = parsed;
    return true;
}

void process_boot_id(char text[PROCESS_BOOT_ID_SIZE]) {
    file_read("/proc/sys/kernel/random/boot_id", text, PROCESS_BOOT_ID_SIZE);
    text[strcspn(text, "\n")] = 0;
}
