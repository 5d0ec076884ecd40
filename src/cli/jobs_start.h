/* jobs_start: opens the record of jobs that the settings ask for. */
#ifndef COMFYDD_JOBS_START_H
#define COMFYDD_JOBS_START_H

struct jobs;

/* By COMFYDD_JOBS_DB, COMFYDD_JOBS_SQL and COMFYDD_STATE. NULL when none is wanted; or, with one log line, when nothing was
 * asked for and the folder cannot be written. Dies over a database that was asked for and cannot be right. */
struct jobs *jobs_start(void);

#endif
