/* status: what a PromptExecutor says of its prompts, in its status_messages.
 *
 * Needs the GIL; leaves no error set. May run Python code, where the program has a kind of executor of its own. */
#ifndef COMFYDD_STATUS_H
#define COMFYDD_STATUS_H

#include "python/python_api.h"

/* The data of the executor's message `event` ("execution_error") about that prompt; NULL when there is none (there are no
 * messages at all before 2024-01). An executor has one list of them: it is the prompt's before while a new one begins, and
 * that of a prompt which a node had it run inside of another. New reference. */
PyObject *status_message(PyObject *executor, const char *prompt_id, const char *event);

#endif
