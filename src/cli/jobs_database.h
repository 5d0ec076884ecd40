/* jobs_database: the kinds of databases that jobs are written to, and the table that is ours. */
#ifndef COMFYDD_JOBS_DATABASE_H
#define COMFYDD_JOBS_DATABASE_H

#include "cli/jobs_sql.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jobs_outcome {
    JOBS_WRITTEN,
    JOBS_LATER,   /* down, busy, full, wrong table: the same event can be tried again */
    JOBS_REFUSED, /* this event will never be taken: a constraint, a value of the wrong kind */
};

/* Which event it is: the events of one source have growing numbers, and come in that order. */
struct jobs_delivery {
    const char *source; /* of one run of a supervisor; borrowed. NULL: nobody knows */
    int64_t number;
};

/* All by one thread. Texts are terminated; messages are one line, without passwords. */
struct jobs_database {
    /* `where` is the whole URL. `sql` (borrowed) is the user's statement, NULL for our table. Makes no connection. NULL
     * with *error (static) for a URL that cannot be right or a missing library. */
    void *(*open)(const char *where, const struct jobs_sql *sql, const char **error);

    /* Writes one event, with a connection of its own if there is none, within some tens of seconds. A user's statement is
     * executed in one transaction with a note of the delivery, so an event that comes again does nothing. */
    enum jobs_outcome (*write)(void *database, const char *const fields[JOBS_FIELDS],
                               const struct jobs_delivery *delivery, char *message, size_t room);

    /* Whether events could be written now, as far as that shows without writing one; else what is in the way. */
    bool (*reach)(void *database, char *message, size_t room);

    /* Nothing is to be written now: closes the connection. A later write makes a new one. */
    void (*rest)(void *database);

    void (*close)(void *database);
};

extern const struct jobs_database jobs_sqlite, jobs_postgres;

/* Our table: a row for each run of a workflow, which its prompt's id and its beginning name. A row that has ended stays as
 * it is, so an event that comes twice, or late, does no harm. */
#define JOBS_CREATE_TABLE(time)                                                                              \
    "CREATE TABLE IF NOT EXISTS comfydd_jobs ("                                                              \
    "prompt_id text NOT NULL, started_at " time " NOT NULL, job_id text, state text NOT NULL, reason text, " \
    "node_id text, class_type text, peak_memory_bytes bigint, ended_at " time ", "                           \
    "PRIMARY KEY (prompt_id, started_at))"
#define JOBS_CREATE_INDEX "CREATE INDEX IF NOT EXISTS comfydd_jobs_job_id ON comfydd_jobs (job_id)"
#define JOBS_INSERT                                                                                          \
    "INSERT INTO comfydd_jobs AS had (prompt_id, started_at, job_id, state, reason, node_id, class_type, "   \
    "peak_memory_bytes, ended_at) VALUES (COALESCE(:prompt_id, ''), :started_at, :job_id, :state, :reason, " \
    ":node_id, :class_type, :peak_memory, :ended_at) "                                                       \
    "ON CONFLICT (prompt_id, started_at) DO UPDATE SET job_id = COALESCE(excluded.job_id, had.job_id), "     \
    "state = excluded.state, reason = excluded.reason, node_id = excluded.node_id, "                         \
    "class_type = excluded.class_type, peak_memory_bytes = excluded.peak_memory_bytes, "                     \
    "ended_at = excluded.ended_at WHERE had.ended_at IS NULL AND excluded.ended_at IS NOT NULL"

/* What of each source has been executed as a user's statement; our own table needs no such note. */
#define JOBS_CREATE_MARKS                                                                                    \
    "CREATE TABLE IF NOT EXISTS comfydd_delivered (source text PRIMARY KEY, number bigint NOT NULL, "        \
    "at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"
/* Changes no row when the event has been executed before. */
#define JOBS_MARK                                                                                            \
    "INSERT INTO comfydd_delivered AS had (source, number) VALUES ($1, $2) "                                 \
    "ON CONFLICT (source) DO UPDATE SET number = excluded.number, at = CURRENT_TIMESTAMP "                   \
    "WHERE had.number < excluded.number"

#endif
