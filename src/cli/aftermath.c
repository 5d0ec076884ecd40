#include "cli/aftermath.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/jobs.h"
#include "cli/jobs_watch.h"
#include "comfydd/flight.h"
#include "config.h"
#include "export/recover.h"
#include "flight_files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_DEATHS = 16 };

#define SECOND UINT64_C(1000000000)
#define AGAIN  (10 * SECOND) /* between two attempts while the command runs */
#define YOUNG  (5 * SECOND)  /* since a sign of life: a wrapper may be about to end too, and to tell us why */

/* An end of the command. */
struct death {
    uint64_t at_ns; /* since the Unix epoch */
    struct verdict verdict;
};

static struct {
    struct process_identity self;
    struct jobs *jobs;
    int interrupt;
    struct jobs_watch *watch;         /* owned; NULL when the jobs of living processes are not recorded */
    struct death deaths[MOST_DEATHS]; /* a ring */
    unsigned death_count;
    uint64_t next_ns; /* of the next attempt; clock_mono_ns */
} state;

static void record_live(void *unused, const struct job_event *event) {
    (void)unused;
    jobs_write(state.jobs, event);
}

void aftermath_start(struct jobs *jobs, int interrupt) {
    state.interrupt = interrupt;
    state.self = process_self();
    state.jobs = jobs;
    if (jobs && config()->run.jobs_live)
        state.watch = jobs_watch_create(config()->flight_folder, &state.self, record_live, NULL);
}

void aftermath_finish(void) {
    jobs_watch_destroy(state.watch);
    state.watch = NULL;
}

void aftermath_note(const struct verdict *verdict) {
    state.deaths[state.death_count++ % MOST_DEATHS] = (struct death){clock_wall_ns(), *verdict};
}

/* ---- which death was it ---- */

static bool is_below_us(const struct flight_header *header) {
    struct process_identity supervisor = {header->supervisor_pid, header->supervisor_start_ticks};
    return process_is(&supervisor, &state.self);
}

/* The first end of the command after the process's last sign of life; NULL when there was none, or it was not below us, or it
 * had become another program before. While nothing runs it is the latest one at least: the clock has been set back since
 * that sign. */
static const struct death *death_of(const struct flight_header *header, bool running) {
    const struct death *first = NULL;
    unsigned known = state.death_count < MOST_DEATHS ? state.death_count : MOST_DEATHS;
    if (!is_below_us(header) || header->replaced) return NULL;
    for (const struct death *death = state.deaths; death < state.deaths + known; death++)
        if (death->at_ns >= header->alive_ns && (!first || death->at_ns < first->at_ns)) first = death;
    if (!first && !running && known) first = &state.deaths[(state.death_count - 1) % MOST_DEATHS];
    return first;
}

/* Whether the command that a process was below is perhaps about to end too. */
static bool is_too_early(const struct flight_header *header) {
    return is_below_us(header) && !header->replaced && clock_wall_ns() < header->alive_ns + YOUNG;
}

static struct recover_verdict judge(const struct flight_header *header, const struct death *death) {
    if (!death) return recover_unseen(header, &state.self);
    return (struct recover_verdict){death->verdict.status, death->verdict.error_type, death->verdict.sentence,
                                    death->at_ns};
}

/* ---- jobs ---- */

void aftermath_record(struct jobs *jobs, const struct recover_workflow *workflow,
                      const struct recover_verdict *verdict) {
    char reason[320];
    bool is_error = verdict->error_type && *verdict->error_type;
    snprintf(reason, sizeof reason, "%s%s%s", is_error ? verdict->error_type : "", is_error ? ": " : "",
             verdict->message);
    jobs_write(jobs, &(struct job_event){
                         .job_id = workflow->job_id,
                         .prompt_id = workflow->prompt_id,
                         .state = is_error ? "failed" : "interrupted",
                         .reason = reason,
                         .node_id = workflow->node_id,
                         .class_type = workflow->class_type,
                         .peak_memory_bytes = workflow->peak_vram_bytes,
                         .started_ns = workflow->start_ns,
                         .at_ns = workflow->death_ns,
                     });
}

static void tell_of(const struct recover_workflow *workflow, void *context) {
    log_line("workflow %s was running%s%s%s%s", workflow->prompt_id, *workflow->node_id ? ", in node " : "",
             workflow->node_id, *workflow->class_type ? ", " : "", workflow->class_type);
    if (state.jobs) aftermath_record(state.jobs, workflow, context);
}

/* ---- sending ---- */

/* An attempt at all files. */
struct attempt {
    uint64_t deadline_ns; /* clock_mono_ns */
    int interrupt;        /* -1: it is not to be interrupted */
    bool running;         /* the command is */
    bool failed;          /* something is left for later */
    bool away;            /* the agent, for one: so it is not asked for the others */
};

/* Jobs are recorded whether the agent is there or not. */
static int send_file(const struct attempt *attempt, int file, struct recover_result *result) {
    struct flight_header header;
    int error = recover_read_header(file, &header);
    if (error) return error;
    const struct death *death = death_of(&header, attempt->running);
    if (attempt->running && !death && is_too_early(&header)) return -EBUSY;
    struct recover_verdict verdict = judge(&header, death);
    void (*tell)(const struct recover_workflow *, void *) = header.told ? NULL : tell_of;
    uint64_t now = clock_mono_ns();
    double seconds = now < attempt->deadline_ns ? (double)(attempt->deadline_ns - now) / 1e9 : 0;
    if (attempt->away)
        error = recover_look(file, &verdict, tell, &verdict, result);
    else
        error = recover_send(file, &verdict, config(), seconds, attempt->interrupt, tell, &verdict, result);
    if (result->workflows) recover_note_told(file);
    return attempt->away && !error && result->held ? -EAGAIN : error;
}

static bool send_next(void *context, int file, const char *path) {
    struct attempt *attempt = context;
    struct recover_result result = {0};
    int error = send_file(attempt, file, &result);
    if (error == -ENOTSUP) return true; /* its own version may come back */
    if (error == -EBUSY || recover_is_temporary(error)) {
        attempt->failed = true;
        attempt->away |= error != -EBUSY;
        return true;
    }
    if (error)
        log_line("%s is removed: it holds no spans that can be read", path);
    else if (result.sent)
        log_line("sent %llu spans that it had recorded", (unsigned long long)result.sent);
    unlink(path);
    return true;
}

/* False when something is left for later. */
static bool send_all(double seconds, bool running, int interrupt) {
    struct attempt attempt = {.deadline_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9),
                              .interrupt = interrupt,
                              .running = running};
    if (state.watch) jobs_watch_look(state.watch); /* its last, for those that are about to be claimed */
    flight_files_orphans(config()->flight_folder, &state.self, true, send_next, &attempt);
    flight_files_make_room(config()->flight_folder, &state.self);
    return !attempt.failed;
}

void aftermath_send(double seconds) {
    if (!send_all(0, false, -1) && !send_all(seconds, false, state.interrupt))
        log_line("spans that are not sent yet are kept until the Datadog agent takes them");
    state.next_ns = clock_mono_ns() + AGAIN;
}

void aftermath_tick(void) {
    if (state.watch) jobs_watch_look(state.watch);
    if (clock_mono_ns() < state.next_ns) return;
    state.next_ns = clock_mono_ns() + AGAIN;
    send_all(0, true, state.interrupt);
}
