#include "cli/recover_main.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/aftermath.h"
#include "cli/die.h"
#include "cli/jobs.h"
#include "cli/jobs_start.h"
#include "cli/manual.h"
#include "comfydd/flight.h"
#include "config.h"
#include "export/recover.h"
#include "flight_files.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRY_RUN = 256 }; /* the key of an option: beyond any character, so it has no short name */

#define AGENT_S      5 /* of patience with the agent, for all files together */
#define JOBS_CLOSE_S 5 /* with the database */

/* What is asked for, and what has become of it. */
struct task {
    bool dry_run;
    bool away;    /* the agent, for one file: it is not asked for the others */
    char **files; /* borrowed from argv, ended by NULL; NULL: all orphans */
    struct process_identity self;
    uint64_t deadline_ns;
    struct jobs *jobs; /* owned; opened when the first job is recorded */
    bool has_opened_jobs;
    unsigned dealt_with, problems; /* files */
};

/* One file. */
struct subject {
    struct task *task;
    struct recover_verdict verdict;
    bool told;            /* its jobs have been recorded before */
    struct buf workflows; /* owned: what is said of them */
};

/* ---- what is in a file ---- */

static void describe(struct buf *text, const struct recover_workflow *workflow, const char *error_type) {
    buf_string(text, "; workflow ");
    buf_string(text, *workflow->prompt_id ? workflow->prompt_id : "without an id");
    if (*workflow->node_id) buf_string(text, ", in node ");
    buf_string(text, workflow->node_id);
    if (*workflow->class_type) buf_string(text, ", ");
    buf_string(text, workflow->class_type);
    buf_string(text, ": ");
    buf_string(text, error_type);
}

static void see(const struct recover_workflow *workflow, void *context) {
    struct subject *subject = context;
    struct task *task = subject->task;
    describe(&subject->workflows, workflow, subject->verdict.error_type);
    if (task->dry_run || subject->told) return;
    if (!task->has_opened_jobs) task->jobs = jobs_start();
    task->has_opened_jobs = true;
    if (task->jobs) aftermath_record(task->jobs, workflow, &subject->verdict);
}

static const char *reason_of(int error) {
    switch (error) {
    case -EAGAIN:
        return "the Datadog agent does not take it now; it is kept";
    case -EBUSY:
        return "its process lives, or the comfydd that looks after it, or another one is sending it";
    case -EPERM:
        return "it is not a plain file of this user alone (mode 0600)";
    case -ELOOP:
        return "it is a link, and links are not followed";
    case -EINVAL:
        return "it holds no flight memory, or a damaged one";
    case -ENOTSUP:
        return "another version of comfydd has written it, and must send it";
    default:
        return strerror(-error);
    }
}

static void refuse(struct task *task, const char *path, const char *why) {
    log_line("%s: %s", path, why);
    task->problems++;
}

static void say(const char *path, const char *what, uint64_t spans, struct buf *workflows) {
    buf_append(workflows, "", 1);
    if (!workflows->failed) log_clean(workflows->data);
    printf("%s: %s %llu span%s%s\n", path, what, (unsigned long long)spans, spans == 1 ? "" : "s",
           workflows->failed ? "" : workflows->data);
    fflush(stdout);
}

/* ---- one file ---- */

static int send_or_look(struct subject *subject, int file, struct recover_result *result) {
    struct task *task = subject->task;
    struct flight_header header;
    int error = recover_read_header(file, &header);
    if (error) return error;
    subject->verdict = recover_unseen(&header, &task->self);
    subject->told = header.told;
    if (task->dry_run) return recover_look(file, &subject->verdict, see, subject, result);
    uint64_t now = clock_mono_ns();
    double seconds = now < task->deadline_ns ? (double)(task->deadline_ns - now) / 1e9 : 0;
    if (task->away)
        error = recover_look(file, &subject->verdict, see, subject, result);
    else
        error = recover_send(file, &subject->verdict, config(), seconds, -1, see, subject, result);
    if (task->away && !error && result->held) error = -EAGAIN;
    task->away |= error == -EAGAIN;
    if (task->jobs && result->workflows) recover_note_told(file);
    return error;
}

static bool deal_with(void *context, int file, const char *path) {
    struct task *task = context;
    struct subject subject = {.task = task};
    struct recover_result result = {0};
    int error = send_or_look(&subject, file, &result);
    task->dealt_with++;
    if (!error)
        say(path, task->dry_run ? "holds" : "sent", task->dry_run ? result.held : result.sent,
            &subject.workflows);
    if (error)
        refuse(task, path, reason_of(error));
    else if (result.failed)
        refuse(task, path, "the Datadog agent refuses the rest of its spans; it is kept");
    else if (!task->dry_run && unlink(path) != 0)
        refuse(task, path, strerror(errno));
    buf_finish(&subject.workflows);
    return true;
}

static void deal_with_named(struct task *task, const char *path) {
    int file = flight_files_claim(path, &task->self);
    if (file < 0) {
        refuse(task, path, reason_of(file));
        return;
    }
    deal_with(task, file, path);
    close(file);
}

static void deal_with_all(struct task *task) {
    const char *folder = config()->flight_folder;
    int error = flight_files_orphans(folder, &task->self, false, deal_with, task);
    if (error)
        refuse(task, folder, strerror(-error));
    else if (!task->dealt_with)
        printf("no dead process of this user has left anything in %s\n", folder);
}

/* ---- the subcommand ---- */

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct task *task = state->input;
    (void)argument;
    if (key == DRY_RUN)
        task->dry_run = true;
    else if (key == ARGP_KEY_ARGS)
        task->files = state->argv + state->next;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static void read_command_line(struct task *task, int argc, char **argv) {
    static const struct argp_option options[] = {
        {.name = "dry-run", .key = DRY_RUN, .doc = "Say what the files hold, and send and change nothing."},
        {0}};
    char *text = manual_of_command("recover");
    const struct argp argp = {.options = options, .parser = parse, .args_doc = "[FILE...]", .doc = text};
    argp_err_exit_status = DIE_OURS;
    argp_parse(&argp, argc, argv, 0, NULL, task);
    free(text);
}

int recover_main(int argc, char **argv) {
    struct task task = {.self = process_self()};
    read_command_line(&task, argc, argv);
    if (!config_load_run(NULL)) die(DIE_OURS, "no memory");
    task.deadline_ns = clock_mono_ns() + AGENT_S * UINT64_C(1000000000);
    if (task.files)
        for (char **file = task.files; *file; file++)
            deal_with_named(&task, *file);
    else
        deal_with_all(&task);
    jobs_close(task.jobs, JOBS_CLOSE_S);
    return task.problems ? 1 : 0;
}
