/* jobs: the record of jobs in a database: which one was running when the process died, and, when asked for, every state.
 *
 * A URL chooses the database: "sqlite:PATH" (a table of ours, made on first use) or "postgresql://...". What cannot be written
 * now (database down, locked, disk full) is kept in a spool file and written later, in order, once. Passwords are never shown.
 * One thread. */
#ifndef COMFYDD_JOBS_H
#define COMFYDD_JOBS_H

#include <stdbool.h>
#include <stdint.h>

struct jobs;

/* One change. Texts are borrowed; "" when unknown. */
struct job_event {
    const char *job_id, *prompt_id;
    const char *state;                /* "running", "succeeded", "failed", "interrupted" */
    const char *reason;               /* of a failure: the verdict's error type and sentence */
    const char *node_id, *class_type; /* the node that was running */
    uint64_t peak_memory_bytes;       /* 0 when unknown */
    uint64_t at_ns;                   /* since the Unix epoch */
};

/* `url` as above; `sql`: a statement with named parameters (:job_id :prompt_id :state :reason :node_id :class_type :peak_memory
 * :at) to be used instead of our table, or NULL; `spool`: path of the spool file. Opens lazily: a database that is down is no
 * error. NULL, with one line of explanation in *error (static), for a URL or statement that cannot be right. */
struct jobs *jobs_open(const char *url, const char *sql, const char *spool, const char **error);

/* Writes the event, or spools it. */
void jobs_write(struct jobs *jobs, const struct job_event *event);

/* Tries what is spooled, with back-off (1 s doubling to 60 s); call it now and then. Returns when to call next: seconds from
 * now, negative when nothing is spooled. `mono_ns`: CLOCK_MONOTONIC. */
double jobs_tend(struct jobs *jobs, uint64_t mono_ns);

/* Tries once more, at most `seconds`, and closes. */
void jobs_close(struct jobs *jobs, double seconds);

#endif
