/* jobs: the record of jobs in a database: which one was running when the process died, and, when asked for, every state.
 *
 * A URL chooses the database: "sqlite:PATH" or "postgresql://..."; docs/jobs.md is the user's view. An event is on disk, in
 * the spool file, when jobs_write returns; a thread of ours takes it from there to the database. So the caller never waits
 * for a database, events stay in order, and what a dead database or our own death keeps back is delivered later, once (once
 * more when a connection, or we, die between the database's commit and our note of it; our own table does not mind that).
 *
 * Passwords appear in no log line and no error. Threads: one caller. In a forked child nothing here may be called. */
#ifndef COMFYDD_JOBS_H
#define COMFYDD_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jobs;
struct spool;

/* One change. Texts are borrowed, UTF-8 or not; NULL or "" when unknown. */
struct job_event {
    const char *job_id, *prompt_id;
    const char *state;  /* "running", "succeeded", "failed", "interrupted", "unknown" (see jobs_live.h) */
    const char *reason; /* of a failure: error type and sentence */
    const char *node_id, *class_type; /* the node that was running, or that failed */
    uint64_t peak_memory_bytes;       /* of GPU memory; 0 when unknown */
    uint64_t started_ns; /* since the Unix epoch, of the workflow: with prompt_id the identity of a run */
    uint64_t at_ns;      /* since the Unix epoch, of the change */
};

/* `sql`: a statement with named parameters (jobs_sql.h) to be used instead of our table, or NULL. `spool` belongs to what is
 * returned. A database that is down is no error. NULL, with one line of explanation in *error (static; without a
 * password), for a URL or statement that cannot be right, or a database library that this machine lacks; then `spool` is
 * closed. */
struct jobs *jobs_open(const char *url, const char *sql, struct spool *spool, const char **error);

/* What a dead supervisor has left in this spool file will be delivered first. Nothing happens when the file is not there, or
 * another supervisor has it. After jobs_open, before jobs_begin. */
void jobs_adopt(struct jobs *jobs, const char *spool);

/* Begins to deliver what earlier runs have left. Once, before the first jobs_write. */
void jobs_begin(struct jobs *jobs);

/* Whether events could be written to the database now; else what is in the way, as one line without a password. */
bool jobs_reach(const char *url, const char *sql, char *message, size_t room);

/* Keeps the event for delivery. */
void jobs_write(struct jobs *jobs, const struct job_event *event);

/* Waits until all is delivered, at most `seconds`, and closes. What is left stays in the spool file. NULL is fine. */
void jobs_close(struct jobs *jobs, double seconds);

/* Overwrites the password in a URL (an element of argv or environ, so that ps does not show it) with '*'. */
void jobs_hide_password(char *url);

#endif
