/* aftermath: what is to be done about processes that have died: the spans they leave behind are sent, closed with the
 * verdict, and the jobs that were running are recorded as failed. With COMFYDD_JOBS_LIVE the jobs of living processes are
 * recorded too.
 *
 * A file whose agent is down is kept and tried again later; so it is remembered which deaths there were. One thread. */
#ifndef COMFYDD_AFTERMATH_H
#define COMFYDD_AFTERMATH_H

#include "cli/verdict.h"

struct jobs;
struct recover_verdict;
struct recover_workflow;

/* `jobs` may be NULL, and is borrowed until aftermath_finish. Once the descriptor `interrupt` can be read, nothing waits for
 * the agent any more. */
void aftermath_start(struct jobs *jobs, int interrupt);

void aftermath_finish(void);

/* The command has just ended. */
void aftermath_note(const struct verdict *verdict);

/* Sends what dead processes have left, ours and those of nobody, with at most `seconds` of patience for the agent. One
 * attempt is made in any case. */
void aftermath_send(double seconds);

/* Call it about every second while the command runs: tries again now and then. */
void aftermath_tick(void);

/* Records that a workflow was running when its process died. */
void aftermath_record(struct jobs *jobs, const struct recover_workflow *workflow,
                      const struct recover_verdict *verdict);

#endif
