/* orphans: what earlier processes of this user have recorded and not delivered, because they were killed or the agent was
 * not there. The next one to trace a workflow sends it; where there is a supervisor, that one does, and is only told of
 * what earlier programs (execv) of this process have left. */
#ifndef COMFYDD_ORPHANS_H
#define COMFYDD_ORPHANS_H

#include <stdbool.h>

struct config;

/* Claims and sends all there are, one attempt each. False when the agent does not take them now, or as long as our own
 * supervisor lives: try again later. May wait for the agent's answers (DD_TRACE_AGENT_TIMEOUT_SECONDS each). One thread. */
bool orphans_send(const struct config *config);

#endif
