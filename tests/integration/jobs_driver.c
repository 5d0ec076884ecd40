/* Writes events of jobs as a supervisor would.
 *
 * usage: jobs_driver URL SPOOL SECONDS [SQL]
 *
 * Reads lines from standard input, and answers each with "ok" when it is done:
 *   JOB PROMPT STATE AT STARTED [REASON...]     writes an event; times in seconds, "-" for an empty text
 *   hide                                        hides the password in its own arguments
 *   watch FOLDER                                writes what becomes of the jobs of processes whose supervisor it is,
 *   look                                        as far as they have come
 * Its first line is "opened PID.START": who it is, for COMFYDD_SUPERVISOR. At the end of input it waits SECONDS for what
 * is left, and says "closed". Errors go to standard error, exit 1. */
#include "base/process.h"
#include "cli/jobs.h"
#include "cli/jobs_watch.h"
#include "cli/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const char *word) {
    return strcmp(word, "-") == 0 ? "" : word;
}

static void write_seen(void *jobs, const struct job_event *event) {
    jobs_write(jobs, event);
}

static int write_event(struct jobs *jobs, char *line) {
    char job[200], prompt[200], state[20], *reason = NULL;
    double at, started;
    int read = 0;
    if (sscanf(line, "%199s %199s %19s %lf %lf %n", job, prompt, state, &at, &started, &read) != 5) return 0;
    reason = line + read;
    struct job_event event = {.job_id = text(job),
                              .prompt_id = text(prompt),
                              .state = state,
                              .reason = reason,
                              .node_id = *reason ? "7" : "",
                              .class_type = *reason ? "KSampler" : "",
                              .peak_memory_bytes = *reason ? UINT64_C(5000000000) : 0,
                              .started_ns = (uint64_t)(started * 1e9),
                              .at_ns = (uint64_t)(at * 1e9)};
    jobs_write(jobs, &event);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: jobs_driver URL SPOOL SECONDS [SQL]\n");
        return 2;
    }
    const char *error;
    int spool_error;
    struct spool *spool = spool_open(argv[2], &spool_error);
    if (!spool) {
        fprintf(stderr, "%s: %s\n", argv[2], strerror(-spool_error));
        return 1;
    }
    char *url = strdup(argv[1]);
    struct jobs *jobs = jobs_open(url, argc > 4 ? argv[4] : NULL, spool, &error);
    free(url);
    if (!jobs) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    jobs_begin(jobs);
    struct process_identity self = process_self();
    printf("opened %d.%llu\n", (int)self.pid, (unsigned long long)self.start_ticks);
    fflush(stdout);
    struct jobs_watch *watch = NULL;
    char *line = NULL, folder[4096];
    size_t room = 0;
    int good = 1;
    while (good && getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "hide") == 0)
            jobs_hide_password(argv[1]);
        else if (sscanf(line, "watch %4095s", folder) == 1)
            watch = jobs_watch_create(folder, &self, write_seen, jobs);
        else if (strcmp(line, "look") == 0)
            jobs_watch_look(watch);
        else
            good = write_event(jobs, line);
        puts(good ? "ok" : "what?");
        fflush(stdout);
    }
    free(line);
    jobs_watch_destroy(watch);
    jobs_close(jobs, atof(argv[3]));
    puts("closed");
    return !good;
}
