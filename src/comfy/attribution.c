#include "comfy/attribution.h"

#include "comfy/calls.h"
#include "comfy/memory.h"
#include "python/watch.h"

void attribution_set(const struct workflow *workflow, const struct node *node) {
    memory_enter(node && node->memory ? node->memory : workflow->memory);
}

void attribution_innermost(void) {
    const struct call *call = calls_innermost();
    if (call)
        attribution_set(call->workflow, call->node);
    else
        memory_enter(NULL);
}

/* ---- tasks of async nodes ---- */

enum task_argument { TASK_PROMPT_ID, TASK_NODE_ID };

/* A step of the task begins. */
static void goes_on(const struct watch_call *watched) {
    PyObject *prompt_id = watch_argument(watched, TASK_PROMPT_ID),
             *id = watch_argument(watched, TASK_NODE_ID);
    const struct call *prompt = prompt_id ? calls_prompt_of(prompt_id, NULL) : NULL;
    uint64_t hash;
    if (prompt && python_text_hash(id, &hash))
        attribution_set(prompt->workflow, workflow_known_node(prompt->workflow, hash));
    python_decref(prompt_id);
    python_decref(id);
}

/* Between two steps the event loop works for its prompt: a node's call on this thread is suspended then. */
static void stands_still(void) {
    const struct call *prompt = calls_innermost_prompt();
    if (prompt)
        attribution_set(prompt->workflow, NULL);
    else
        memory_enter(NULL);
}

static void task_entered(const struct watch_call *watched, void *key, void *context) {
    (void)key, (void)context;
    goes_on(watched);
}

static void task_suspended(const struct watch_call *watched, void *key, void *context, bool suspended) {
    (void)key, (void)context;
    if (suspended)
        stands_still();
    else
        goes_on(watched);
}

static void task_left(const struct watch_call *watched, void *key, void *context, PyObject *value,
                      bool raised) {
    (void)watched, (void)key, (void)context, (void)value, (void)raised;
    stands_still();
}

static const struct watch_handler task_handler = {
    .enter = task_entered,
    .leave = task_left,
    .suspend = task_suspended,
    .arguments = {[TASK_PROMPT_ID] = "prompt_id", [TASK_NODE_ID] = "unique_id"},
};

/* In ComfyUI's execution.py a coroutine runs each async node, for the sake of CurrentNodeContext. */
void attribution_watch_tasks(PyObject *module) {
    PyObject *mapper = python_attribute(module, "_async_map_node_over_list");
    if (mapper) watch_nested_coroutine(mapper, "async_wrapper", &task_handler, NULL);
    python_decref(mapper);
}
