#include "cli/run.h"

#include "base/log.h"
#include "base/process.h"
#include "cli/aftermath.h"
#include "cli/die.h"
#include "cli/hang.h"
#include "cli/jobs.h"
#include "cli/jobs_start.h"
#include "cli/ld_preload.h"
#include "cli/limit.h"
#include "cli/options.h"
#include "cli/restart.h"
#include "cli/supervise.h"
#include "cli/verdict.h"
#include "config.h"
#include "flight_files.h"
#include "trace/ids.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KILL_REST_S  5 /* patience with descendants that are left */
#define AGENT_S      3 /* with the Datadog agent, after a death */
#define JOBS_CLOSE_S 5 /* with the database, at our own end */

static struct limit limit;
static enum verdict_watchdog hung; /* what the running command is being stopped for */

static bool speaks(void) {
    return !config()->run.quiet;
}

/* ---- the command's environment ---- */

/* Without the library the command runs untraced: tracing must never keep ComfyUI from starting. */
static void preload_library(void) {
    char library[PATH_MAX];
    if (!ld_preload_find(config()->run.library, library, sizeof library)) {
        log_line("%s is not there: the command runs untraced (build the library, or set COMFYDD_LIB)",
                 config()->run.library ? config()->run.library : "libcomfydd.so");
        return;
    }
    if (!ld_preload_can_name(library)) {
        log_line(
            "%s has a blank, a colon or a dollar sign in its path, and cannot be preloaded: the command runs "
            "untraced",
            library);
        return;
    }
    const char *existing = getenv("LD_PRELOAD");
    size_t size = strlen(library) + (existing ? strlen(existing) : 0) + 2;
    char *value = malloc(size);
    if (!value || !ld_preload_compose(library, existing, value, size) || setenv("LD_PRELOAD", value, 1) != 0)
        die(DIE_OURS, "no memory");
    free(value);
}

/* Traced processes below us write our name into their flight memory: what they leave behind is ours. With a secret: when we
 * are root they may become somebody else (gosu, su), whose files we would not touch otherwise. */
static void name_supervisor(void) {
    struct process_identity self = process_self();
    uint64_t secret[2];
    char text[80];
    ids_random(secret);
    flight_files_trust(secret[0]);
    snprintf(text, sizeof text, "%d.%llu.%llu", (int)self.pid, (unsigned long long)self.start_ticks,
             (unsigned long long)secret[0]);
    if (self.start_ticks) setenv("COMFYDD_SUPERVISOR", text, 1);
}

/* ---- while it runs ---- */

static int enter(void *unused) {
    (void)unused;
    return limit_enter(&limit);
}

/* Whether the watchdog wants the command to end. */
static bool has_hung(void) {
    if (!config()->run.watchdog_restart || !config()->watchdog_s) return false;
    const struct process_identity self = process_self();
    enum verdict_watchdog found = hang_found(config()->flight_folder, &self);
    if (found && !hung) log_line("stopping the command: the watchdog asks for it");
    if (found) hung = found;
    return found;
}

static bool tick(void *unused) {
    (void)unused;
    limit_watch(&limit);
    aftermath_tick();
    return has_hung();
}

static const struct supervise_hooks hooks = {.enter = enter, .tick = tick};

static bool kill_group(void *unused) {
    (void)unused;
    return limit_kill(&limit);
}

static void kill_rest(void) {
    if (!supervise_kill_rest(KILL_REST_S, kill_group, NULL))
        log_line("some of the command's processes cannot be killed; they go on beside what is started next");
}

/* ---- after its end ---- */

/* ComfyUI-Manager ends with exit code 0 and leaves a file when comfy-cli, which then starts it again, is above us. */
static bool is_restart_wanted(void) {
    const char *session = getenv("__COMFY_CLI_SESSION__");
    char path[PATH_MAX];
    if (!session || (size_t)snprintf(path, sizeof path, "%s.reboot", session) >= sizeof path) return false;
    return access(path, F_OK) == 0;
}

static struct verdict judge(const struct supervise_end *end, struct verdict_facts *facts) {
    facts->signalled = end->signalled;
    facts->code = end->code;
    facts->stop_signal = end->stop_signal;
    facts->we_killed = end->we_killed;
    facts->watchdog = hung;
    facts->watchdog_s = config()->watchdog_s;
    facts->restart_wanted = is_restart_wanted();
    facts->peak_bytes = end->peak_bytes;
    limit_after(&limit, facts);
    return verdict_of(facts);
}

static void tell(const struct verdict *verdict, double ran_s) {
    bool is_news = verdict->kind != VERDICT_SUCCESS && verdict->kind != VERDICT_STOPPED &&
                   verdict->kind != VERDICT_RESTART;
    if (is_news || speaks()) log_line("the command %s, after %.1f s", verdict->sentence, ran_s);
}

/* Why it could not be started; *exit_code: as a shell has it. */
static const char *why_unstarted(const char *command, const struct supervise_end *end, int *exit_code) {
    static char why[512];
    bool ours = end->not_forked || end->not_entered;
    *exit_code = ours ? DIE_OURS : end->error == -ENOENT ? DIE_NOT_FOUND : DIE_NOT_EXECUTABLE;
    snprintf(why, sizeof why, "%s: %s",
             end->not_entered  ? "the memory limit cannot be set"
             : end->not_forked ? "no process can be made"
                               : command,
             strerror(-end->error));
    return why;
}

/* The first start must succeed. A later one may find the machine in need, and is tried again like any other. */
static struct verdict judge_unstarted(const char *command, const struct supervise_end *end, bool is_first) {
    int exit_code;
    const char *why = why_unstarted(command, end, &exit_code);
    if (is_first) {
        limit_finish(&limit);
        die(exit_code, "%s", why);
    }
    struct verdict verdict = verdict_of_failed_start(why, exit_code);
    tell(&verdict, 0);
    return verdict;
}

/* Runs the command once, to its end. */
static struct verdict run_once(char **command, bool is_first, struct supervise_end *end) {
    struct verdict_facts facts = {0};
    hung = VERDICT_WORKS;
    limit_before(&limit, &facts);
    *end = supervise_run(command, config()->run.grace_s, &hooks);
    if (end->error) return judge_unstarted(command[0], end, is_first);
    struct verdict verdict = judge(end, &facts);
    if (end->we_killed || end->we_stopped) kill_rest(); /* what it leaves behind hangs too */
    tell(&verdict, end->ran_s);
    aftermath_note(&verdict);
    aftermath_send(AGENT_S);
    return verdict;
}

/* Whether to start it again: waits, and clears the way. *exit_code changes when a signal ends the wait. */
static bool is_run_again(struct restart *restart, const struct verdict *verdict,
                         const struct supervise_end *end, int *exit_code) {
    double wait_s;
    switch (restart_decide(restart, verdict, end->stop_signal != 0, end->ran_s, &wait_s)) {
    case RESTART_NOT:
        return false;
    case RESTART_GIVE_UP:
        log_line("not started again: %lld restarts in a row are the most (--max-restarts)",
                 (long long)restart->most);
        return false;
    case RESTART_AGAIN:
        break;
    }
    log_line("starting it again in %.0f s (restart %lld of at most %lld)", wait_s,
             (long long)restart->in_a_row, (long long)restart->most);
    kill_rest(); /* they may hold its port, and memory of the GPU */
    int signal = supervise_sleep(wait_s, &hooks);
    if (signal) *exit_code = 128 + signal;
    return signal == 0;
}

static int run_to_the_end(char **command) {
    struct restart restart = {.when = (enum restart_when)config()->run.restart,
                              .most = config()->run.max_restarts};
    for (bool is_first = true;; is_first = false) {
        struct supervise_end end;
        struct verdict verdict = run_once(command, is_first, &end);
        int exit_code = verdict.exit_code;
        if (!is_run_again(&restart, &verdict, &end, &exit_code)) return exit_code;
    }
}

/* ---- the subcommand ---- */

static int show(char **command) {
    static const char *const when[] = {"after a memory kill", "after any failure", "never"};
    char text[64];
    const char *preload = getenv("LD_PRELOAD");
    printf("command:     ");
    for (char **word = command; *word; word++)
        printf(" %s", *word);
    if (config()->run.memory_limit)
        snprintf(text, sizeof text, "%.2f GiB", (double)config()->run.memory_limit / (1u << 30));
    else
        snprintf(text, sizeof text, "none");
    printf("\nLD_PRELOAD:   %s\nmemory limit: %s\nrestart:      %s, at most %lld times in a row\n",
           preload ? preload : "unset", text, when[config()->run.restart],
           (long long)config()->run.max_restarts);
    return fflush(stdout) == 0 ? 0 : DIE_OURS;
}

int run_main(int argc, char **argv) {
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* a death takes 5 MiB for a moment: by default they are kept */
    char **command = options_parse(argc, argv);
    preload_library();
    if (config()->run.watchdog_restart && !config()->watchdog_s)
        log_line("the watchdog is off, and restarts nothing: set --watchdog=TIME too");
    if (config()->run.dry_run) return show(command);
    name_supervisor();
    supervise_start();
    struct jobs *jobs =
        jobs_start(); /* starts a thread: signals are blocked by now. May end us: before the limit */
    limit_start(&limit, (uint64_t)config()->run.memory_limit);
    aftermath_start(jobs, supervise_interrupt());
    char text[1200];
    limit_describe(&limit, text, sizeof text);
    if (speaks()) log_line("running %s, %s", command[0], text);
    int exit_code = run_to_the_end(command);
    limit_finish(&limit);
    aftermath_finish();
    jobs_close(jobs, JOBS_CLOSE_S);
    return exit_code;
}
