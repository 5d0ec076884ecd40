#include "comfy/queue.h"

#include "base/clock.h"
#include "comfy/workflow.h"
#include "python/bridge.h"
#include "python/watch.h"

#include <stdio.h>
#include <string.h>

#define QUEUE_LIMIT 256

static struct {
    char prompt_id[WORKFLOW_ID_SIZE]; /* empty: free */
    struct queue_entry entry;
} waiting[QUEUE_LIMIT];
static unsigned next; /* the place to use next: the oldest entry is overwritten */

bool queue_take(const char *prompt_id, struct queue_entry *entry) {
    if (!*prompt_id) return false;
    for (unsigned i = 0; i < QUEUE_LIMIT; i++) {
        unsigned at = (next + QUEUE_LIMIT - 1 - i) % QUEUE_LIMIT; /* newest first */
        if (strcmp(waiting[at].prompt_id, prompt_id) != 0) continue;
        *entry = waiting[at].entry;
        waiting[at].prompt_id[0] = '\0';
        return true;
    }
    return false;
}

/* put(self, item): item is a tuple whose second member is the prompt id, since the first version with one. */
static void put_entered(const struct watch_call *watched, void *key, void *context) {
    (void)key, (void)context;
    PyObject *item = watch_argument(watched, 0);
    PyObject *id = item && PyTuple_Check(item) ? PySequence_GetItem(item, 1) : NULL;
    char text[WORKFLOW_ID_SIZE] = "";
    if (id && PyUnicode_Check(id)) python_text(id, text, sizeof text);
    PyErr_Clear();
    python_decref(id);
    python_decref(item);
    if (!*text) return;
    struct queue_entry entry = {.put_mono_ns = clock_mono_ns()};
    entry.has_parent = bridge_current(&entry.parent);
    unsigned at = next++ % QUEUE_LIMIT;
    waiting[at].entry = entry;
    snprintf(waiting[at].prompt_id, sizeof waiting[at].prompt_id, "%s", text);
}

static void put_left(const struct watch_call *watched, void *key, void *context, PyObject *value,
                     bool raised) {
    (void)watched, (void)key, (void)context, (void)value, (void)raised;
}

static const struct watch_handler put_handler = {
    .enter = put_entered, .leave = put_left, .arguments = {"item"}};

void queue_watch(PyObject *module) {
    PyObject *queue = python_attribute(module, "PromptQueue");
    PyObject *put = queue ? python_attribute(queue, "put") : NULL;
    if (put) watch_function(put, &put_handler, NULL, WATCH_RETURNS);
    python_decref(put);
    python_decref(queue);
}
