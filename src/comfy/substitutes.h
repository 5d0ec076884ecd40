/* substitutes: functions of forks and custom nodes that execute nodes or prompts instead of ComfyUI's own.
 *
 * Most that take the executor's place call what was there before, and nothing is missing. Some do not (a copy of the
 * executor that was changed, a subclass with an execute_async of its own). That shows: a prompt without calls of nodes, or
 * a node's call outside of all prompts. Then the substitute is looked for, and watched from its next call on; either is
 * told in one line. Needs the GIL; runs Python code; no error is left set. */
#ifndef COMFYDD_SUBSTITUTES_H
#define COMFYDD_SUBSTITUTES_H

#include "comfy/generations.h"
#include "python/watch.h"

/* A prompt has been executed without a call of the node function: what has its name now is watched with `handler`. That may
 * be the function itself, when another tool has taken sys.monitoring away. */
void substitutes_watch_nodes(const struct watch_call *prompt, const struct generation *generation,
                             const struct watch_handler *handler);

/* In the call of a node that belongs to no prompt: the method that called it is watched with `handler`. Calls that follow
 * each other with the same `prompt_id_hash` are looked at once. */
void substitutes_watch_prompts(uint64_t prompt_id_hash, const struct generation *generation,
                               const struct watch_handler *handler);

#endif
