#include "comfy/calls.h"

#include "base/each_node.h"
#include "base/thread.h"
#include "python/bridge.h"

#include <stdlib.h>
#include <string.h>

EACH_NODE static struct call *calls;
EACH_NODE static size_t count, room, prompts;
EACH_NODE unsigned calls_changes;

void prompt_free(struct prompt *prompt) {
    if (!prompt) return;
    graph_close(&prompt->graph);
    python_decref(prompt->executor);
    python_decref(prompt->nodes);
    python_decref(prompt->extra_data);
    free(prompt);
}

struct call *calls_push(void *key, struct workflow *workflow, struct node *node, uint64_t mono_ns) {
    if (count == room) {
        size_t wanted = room ? room * 2 : 64;
        struct call *grown = realloc(calls, wanted * sizeof *grown);
        if (!grown) return NULL;
        calls = grown;
        room = wanted;
    }
    calls[count] = (struct call){
        .key = key, .workflow = workflow, .node = node, .thread = thread_self(), .entered_ns = mono_ns};
    prompts += !node;
    calls_changes++;
    return &calls[count++];
}

struct call *calls_find(const void *key) {
    for (size_t i = count; i-- > 0;)
        if (calls[i].key == key) return &calls[i];
    return NULL;
}

void calls_enter_bridge(const void *key, const struct workflow *workflow, uint64_t span_id) {
    PyObject *token = bridge_enter(&workflow->trace, span_id, workflow->origin, workflow->trace_tags);
    struct call *call = token ? calls_find(key) : NULL;
    if (call)
        call->bridge = token;
    else
        bridge_leave(token);
}

struct call calls_take(struct call *call) {
    struct call taken = *call;
    size_t at = (size_t)(call - calls);
    count--;
    calls_changes++;
    if (at < count) memmove(call, call + 1, (count - at) * sizeof *call);
    prompts -= !taken.node;
    return taken;
}

void calls_finish(struct call *taken) {
    if (taken->bridge) bridge_leave(taken->bridge);
    prompt_free(taken->prompt);
    python_decref(taken->id);
    python_decref(taken->results);
}

void calls_pop(struct call *call) {
    struct call taken = calls_take(call);
    calls_finish(&taken);
}

void calls_pop_workflow(const struct workflow *workflow) {
    for (size_t i = count; i-- > 0;)
        if (i < count && calls[i].workflow == workflow) calls_pop(&calls[i]);
}

static struct call *innermost(const struct workflow *workflow, bool node) {
    uintptr_t self = thread_self();
    for (size_t i = count; i-- > 0;)
        if ((calls[i].node != NULL) == node && (!workflow || calls[i].workflow == workflow) &&
            calls[i].thread == self)
            return &calls[i];
    return NULL;
}

struct call *calls_innermost(void) {
    uintptr_t self = thread_self();
    for (size_t i = count; i-- > 0;)
        if (calls[i].thread == self) return &calls[i];
    return NULL;
}

struct call *calls_innermost_node(const struct workflow *workflow) {
    return innermost(workflow, true);
}

struct call *calls_innermost_prompt(void) {
    return innermost(NULL, false);
}

/* Executors pass on the object that they were given. */
static bool is_id_of(const struct call *prompt, PyObject *id) {
    if (prompt->id == id) return true;
    char text[WORKFLOW_ID_SIZE];
    python_text(id, text, sizeof text);
    return strcmp(prompt->workflow->prompt_id, text) == 0;
}

struct call *calls_prompt_of(PyObject *prompt_id, PyObject *extra_data) {
    uintptr_t self = thread_self();
    struct call *best = NULL;
    int best_score = -1;
    for (size_t i = count; i-- > 0;) {
        struct call *call = &calls[i];
        if (call->node || (prompt_id && !is_id_of(call, prompt_id))) continue;
        bool same_thread = call->thread == self;
        bool same_data = extra_data && call->prompt->extra_data == extra_data;
        if (!prompt_id && !same_data && !same_thread) continue;
        int score = 2 * same_data + same_thread;
        if (score > best_score) {
            best = call;
            best_score = score;
        }
    }
    return best;
}

size_t calls_prompts(void) {
    return prompts;
}

void calls_forget(void) {
    count = prompts = 0;
    calls_changes++;
}
