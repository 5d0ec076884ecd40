/* jobs_sql: a statement with named parameters, as users write it, made ready to be prepared.
 *
 * :job_id :prompt_id :state :reason :node_id :class_type :peak_memory :started_at :ended_at :at become $1, $2, ... in the
 * order in which they stand there, a number for each occurrence: then PostgreSQL finds a type for each by itself, and
 * SQLite takes the same text. Values never become part of the statement. What stands in quotes ('', "", $tag$), comments
 * and casts (::text) is left alone. Pure. */
#ifndef COMFYDD_JOBS_SQL_H
#define COMFYDD_JOBS_SQL_H

#include <stddef.h>
#include <stdint.h>

struct job_event;

enum jobs_field {
    JOBS_JOB_ID,
    JOBS_PROMPT_ID,
    JOBS_STATE,
    JOBS_REASON,
    JOBS_NODE_ID,
    JOBS_CLASS_TYPE,
    JOBS_PEAK_MEMORY,
    JOBS_STARTED_AT,
    JOBS_ENDED_AT, /* unknown while the job is running */
    JOBS_AT,
    JOBS_FIELDS,
};

/* Their names, as parameters and in the spool file. */
extern const char *const jobs_sql_names[JOBS_FIELDS];

#define JOBS_SQL_MOST 64 /* parameters of one statement */

struct jobs_sql {
    char *text; /* owned; $1 .. $count in it */
    size_t count;
    enum jobs_field parameters[JOBS_SQL_MOST]; /* parameters[0] is the value of $1 */
};

/* NULL, or what is wrong with the statement (static text), as one line for its author. Then there is nothing to finish. */
const char *jobs_sql_parse(struct jobs_sql *statement, const char *sql);

void jobs_sql_finish(struct jobs_sql *statement);

/* An event as texts, all owned here or borrowed from the event; NULL for what is unknown. Times are
 * "2026-11-21T09:20:40.123456Z". */
struct jobs_values {
    const char *fields[JOBS_FIELDS];
    char peak_memory[24], started_at[32], at[32]; /* started_at: as at when the event does not say */
};

void jobs_sql_values(struct jobs_values *values, const struct job_event *event);

#endif
