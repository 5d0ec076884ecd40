#include "cli/verdict.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const double GiB = 1u << 30;

/* ---- signals ---- */

static int signal_of(const struct verdict_facts *facts) {
    if (facts->signalled) return facts->code;
    if (facts->code > 128 && facts->code < 128 + 32) return facts->code - 128;
    if (facts->code > 256 - 32 && facts->code < 255) return 256 - facts->code;
    return 0;
}

static const char *crash_of(int number) {
    static const struct {
        int number;
        const char *name;
    } crashes[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"}, {SIGFPE, "SIGFPE"},
                   {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"}};
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        if (crashes[i].number == number) return crashes[i].name;
    return NULL;
}

/* "SIGTERM", or "signal 41". */
static const char *name_of(int number, char *text, size_t size) {
    static const char *const names[] = {
        [SIGHUP] = "HUP",   [SIGINT] = "INT",   [SIGQUIT] = "QUIT", [SIGKILL] = "KILL",
        [SIGUSR1] = "USR1", [SIGUSR2] = "USR2", [SIGPIPE] = "PIPE", [SIGALRM] = "ALRM",
        [SIGTERM] = "TERM", [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
    };
    if (crash_of(number))
        snprintf(text, size, "%s", crash_of(number));
    else if (number >= 0 && (size_t)number < sizeof names / sizeof *names && names[number])
        snprintf(text, size, "SIG%s", names[number]);
    else
        snprintf(text, size, "signal %d", number);
    return text;
}

/* ---- memory ---- */

/* A failure of the command's own, by its exit code. */
static bool failed(const struct verdict_facts *facts) {
    bool was_ended = facts->stop_signal || facts->watchdog || facts->restart_wanted;
    return facts->code != 0 && !facts->signalled && !signal_of(facts) && !was_ended;
}

/* Whether the group's counts, or the machine's where there are none, tell of a kill for memory. A kill anywhere counts
 * in the victim's group too: a group without one clears the machine's killer. */
static bool killed_for_memory(const struct verdict_facts *facts) {
    if (failed(facts)) return facts->has_group && facts->oom_kills_after > facts->oom_kills_lately;
    if (signal_of(facts) != SIGKILL || facts->we_killed) return false;
    return facts->has_group ? facts->oom_kills_after > facts->oom_kills_before
                            : facts->host_oom_kills_after > facts->host_oom_kills_before;
}

/* A failed allocation ends a Python with exit code 1 and a C++ library with SIGABRT; code that does not expect it crashes.
 * Nine tenths: what fails last is seldom small. */
static bool failed_for_memory(const struct verdict_facts *facts) {
    if (facts->limit != VERDICT_DATA_LIMIT || facts->code == 0) return false;
    int number = signal_of(facts);
    return (number == 0 || crash_of(number)) && (double)facts->peak_bytes >= 0.9 * (double)facts->limit_bytes;
}

/* ---- verdicts ---- */

static struct verdict make(enum verdict_kind kind, const char *status, const char *error_type,
                           const char *format, ...) __attribute__((format(printf, 4, 5)));

static struct verdict make(enum verdict_kind kind, const char *status, const char *error_type,
                           const char *format, ...) {
    struct verdict verdict = {.kind = kind, .status = status};
    snprintf(verdict.error_type, sizeof verdict.error_type, "%s", error_type);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(verdict.sentence, sizeof verdict.sentence, format, arguments);
    va_end(arguments);
    return verdict;
}

static struct verdict of_memory(const struct verdict_facts *facts) {
    double limit = (double)facts->limit_bytes / GiB, peak = (double)facts->peak_bytes / GiB;
    if (facts->limit == VERDICT_DATA_LIMIT && !killed_for_memory(facts))
        return make(VERDICT_MEMORY, "killed", "OOMKilled",
                    "failed close to its memory limit of %.2f GiB (peak %.2f GiB): probably out of memory",
                    limit, peak);
    if (!facts->has_group)
        return make(VERDICT_MEMORY, "killed", "OOMKilled",
                    "was killed while the machine's out-of-memory killer was at work");
    if (facts->limit == VERDICT_GROUP_LIMIT && facts->limit_hits_after > facts->limit_hits_before)
        return make(VERDICT_MEMORY, "killed", "OOMKilled",
                    "was killed for memory: it reached its limit of %.2f GiB (peak %.2f GiB)", limit, peak);
    if (facts->limit == VERDICT_GROUP_LIMIT)
        return make(VERDICT_MEMORY, "killed", "OOMKilled",
                    "was killed for memory by the machine or the container, below its own limit of %.2f GiB "
                    "(peak %.2f GiB)",
                    limit, peak);
    return make(VERDICT_MEMORY, "killed", "OOMKilled",
                "was killed for memory by the machine or the container");
}

static struct verdict of_watchdog(const struct verdict_facts *facts) {
    if (facts->watchdog == VERDICT_WORKER_GONE)
        return make(VERDICT_HUNG, "killed", "WorkerGone",
                    "was ended by the watchdog: ComfyUI's worker thread had ended, while its server went on");
    return make(VERDICT_HUNG, "killed", "ProcessHung",
                "was ended by the watchdog: no node had begun or ended for %.6g s", facts->watchdog_s);
}

static struct verdict of_stop(const struct verdict_facts *facts) {
    char name[16];
    name_of(facts->stop_signal, name, sizeof name);
    if (facts->we_killed)
        return make(VERDICT_STOPPED, "interrupted", "",
                    "was told to stop with %s, and killed when it had not stopped in time", name);
    return make(VERDICT_STOPPED, "interrupted", "", "was stopped with %s", name);
}

static struct verdict of_signal(int number) {
    char name[16];
    name_of(number, name, sizeof name);
    if (crash_of(number)) return make(VERDICT_CRASH, "killed", name, "crashed with %s", name);
    if (number == SIGKILL)
        return make(VERDICT_KILLED, "killed", "ProcessKilled",
                    "was killed with SIGKILL by somebody, and not for memory");
    return make(VERDICT_KILLED, "killed", "ProcessKilled", "was ended with %s by somebody", name);
}

static struct verdict decide(const struct verdict_facts *facts) {
    /* Memory first: it may run out while the process is being stopped, and that is worth telling. */
    if (killed_for_memory(facts)) return of_memory(facts);
    if (facts->watchdog && !facts->stop_signal) return of_watchdog(facts);
    if (failed_for_memory(facts)) return of_memory(facts);
    if (facts->stop_signal) return of_stop(facts);
    if (signal_of(facts)) return of_signal(signal_of(facts));
    if (facts->restart_wanted)
        return make(VERDICT_RESTART, "interrupted", "", "ended to be started again by comfy-cli");
    if (facts->code == 0) return make(VERDICT_SUCCESS, "interrupted", "", "ended");
    return make(VERDICT_FAILURE, "error", "ProcessExited", "ended with exit code %d", facts->code);
}

struct verdict verdict_of(const struct verdict_facts *facts) {
    struct verdict verdict = decide(facts);
    verdict.exit_code = facts->signalled ? 128 + facts->code : facts->code;
    return verdict;
}

struct verdict verdict_of_failed_start(const char *why, int exit_code) {
    struct verdict verdict = make(VERDICT_UNSTARTED, "error", "NotStarted", "could not be started: %s", why);
    verdict.exit_code = exit_code;
    return verdict;
}
