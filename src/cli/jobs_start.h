/* jobs_start: opens the record of jobs that the settings ask for. */
#ifndef COMFYDD_JOBS_START_H
#define COMFYDD_JOBS_START_H

#include <stdbool.h>

struct jobs;

/* By COMFYDD_JOBS_DB, COMFYDD_JOBS_SQL and COMFYDD_STATE. What dead supervisors of the same database have left in their
 * spools is delivered too. NULL when none is wanted; or, with one log line, when nothing was asked for and the folder
 * cannot be written. Dies over a database that was asked for and cannot be right. */
struct jobs *jobs_start(void);

/* What jobs_start would find. */
struct jobs_start_state {
    unsigned waiting; /* events that no living supervisor is delivering */
    char text[512];   /* one line, without a password */
};

/* Whether jobs could be recorded now. Makes and changes nothing. */
bool jobs_start_check(struct jobs_start_state *state);

#endif
