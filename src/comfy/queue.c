#include "comfy/queue.h"

#include "base/clock.h"
#include "comfy/workflow.h"
#include "python/bridge.h"
#include "python/watch.h"

#include <stdlib.h>
#include <string.h>

/* Of more that wait the oldest are forgotten: most likely they were deleted, which nobody tells us. */
#define QUEUE_LIMIT 10000

struct waiting {
    struct waiting *next; /* put later */
    uint64_t put_mono_ns;
    struct ids_parent *parent; /* owned; NULL: none */
    char prompt_id[];
};

static struct waiting *oldest, **end = &oldest; /* owned */
static unsigned count;

static void forget(struct waiting **link) {
    struct waiting *gone = *link;
    *link = gone->next;
    if (end == &gone->next) end = link;
    count--;
    free(gone->parent);
    free(gone);
}

bool queue_take(const char *prompt_id, struct queue_entry *entry) {
    struct waiting **link = &oldest;
    while (*link && strcmp((*link)->prompt_id, prompt_id) != 0)
        link = &(*link)->next;
    const struct waiting *found = *link;
    if (!found) return false;
    entry->put_mono_ns = found->put_mono_ns;
    entry->has_parent = found->parent != NULL;
    if (found->parent) entry->parent = *found->parent;
    forget(link);
    return true;
}

/* Without memory nothing is known of the prompt. */
static void add(const char *prompt_id) {
    size_t size = strlen(prompt_id) + 1;
    struct waiting *waiting = malloc(sizeof *waiting + size);
    if (!waiting) return;
    *waiting = (struct waiting){.put_mono_ns = clock_mono_ns()};
    memcpy(waiting->prompt_id, prompt_id, size);
    struct ids_parent parent;
    if (bridge_current(&parent) && (waiting->parent = malloc(sizeof parent))) *waiting->parent = parent;
    *end = waiting;
    end = &waiting->next;
    if (++count > QUEUE_LIMIT) forget(&oldest);
}

/* put(self, item): item is a tuple whose second member is the prompt id, since the first version with one. */
static void put_entered(const struct watch_call *watched, void *key, void *context) {
    (void)key, (void)context;
    PyObject *item = watch_argument(watched, 0);
    PyObject *id = item && python_is_tuple(item) ? PySequence_GetItem(item, 1) : NULL;
    char text[WORKFLOW_ID_SIZE] = "";
    if (id && python_is_str(id)) python_text(id, text, sizeof text);
    PyErr_Clear();
    python_decref(id);
    python_decref(item);
    if (*text) add(text);
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
