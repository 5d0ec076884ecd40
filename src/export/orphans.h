/* orphans: what earlier processes of this user have recorded and not delivered, because they were killed or the agent was
 * not there. The next one to trace a workflow sends it; where there is a supervisor, that one does. */
#ifndef COMFYDD_ORPHANS_H
#define COMFYDD_ORPHANS_H

#include <stdbool.h>

struct config;

/* Notes in what earlier programs (execv) of this process have left that they are over: others take it for that of a process
 * which lives, or do not know how it ended, until they read that. Before the process has a flight memory of its own. */
void orphans_note_replaced(const struct config *config);

/* Claims and sends all there are, one attempt each. False when the agent does not take them now, or as long as our own
 * supervisor lives: try again later. May wait for the agent's answers (DD_TRACE_AGENT_TIMEOUT_SECONDS each). One thread. */
bool orphans_send(const struct config *config);

#endif
