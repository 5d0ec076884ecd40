#include "comfy/executor.h"

#include "base/clock.h"
#include "base/each_node.h"
#include "base/log.h"
#include "comfy/attribution.h"
#include "comfy/calls.h"
#include "comfy/generations.h"
#include "comfy/graph.h"
#include "comfy/job.h"
#include "comfy/memory.h"
#include "comfy/outcome.h"
#include "comfy/queue.h"
#include "comfy/reruns.h"
#include "comfy/status.h"
#include "comfy/substitutes.h"
#include "comfy/workflow.h"
#include "config.h"
#include "python/bridge.h"
#include "python/frames.h"
#include "python/watch.h"
#include "trace/span.h"

#include <stdlib.h>
#include <string.h>

/* How long the end of the program waits for handlers under way: they take microseconds, but for one that is not this
 * library's, or has lost the GIL. */
#define PATIENCE_MS 20

EACH_NODE static struct workflow *workflows; /* all that are open */
static void (*read_settings)(void);
static void (*start_tracing)(void);
EACH_NODE static bool tracing; /* start_tracing has been called in this process */
EACH_NODE static bool forked;  /* set by executor_forked, acted upon under the GIL */
static const struct watch_handler prompt_handler, node_handler;

void executor_init(void (*settings)(void), void (*start)(void)) {
    read_settings = settings;
    start_tracing = start;
}

void executor_forked(void) {
    watch_forked();
    forked = true;
}

/* The child of a fork has copies of the parent's tables; the spans in them are the parent's. */
static __attribute__((cold)) void forget_tables(void) {
    forked = false;
    tracing = false;
    calls_forget();
    while (workflows) {
        struct workflow *next = workflows->next;
        workflow_abandon(workflows);
        workflows = next;
    }
}

static inline void forget_the_parent(void) {
    if (forked) forget_tables();
}

static void forget(const struct workflow *workflow) {
    struct workflow **link = &workflows;
    while (*link && *link != workflow)
        link = &(*link)->next;
    if (*link) *link = workflow->next;
}

static void close_workflow(struct workflow *workflow, const char *status, uint64_t now) {
    forget(workflow);
    workflow_finish(workflow, status, now);
}

void executor_shutdown(void) {
    if (forked || !watch_stop(PATIENCE_MS)) return;
    uint64_t now = clock_mono_ns();
    while (workflows)
        close_workflow(workflows, "interrupted", now);
}

/* ---- prompts ---- */

enum prompt_argument { PROMPT_EXECUTOR, PROMPT_PROMPT, PROMPT_ID, PROMPT_EXTRA_DATA };

static struct workflow *open_workflow(const char *id, PyObject *extra_data) {
    struct job job = job_read(extra_data);
    struct workflow_start start = {.prompt_id = id,
                                   .job_id = job.id,
                                   .parent = job.has_parent ? &job.parent : NULL,
                                   .queue_wait_ms = -1,
                                   .wall_ns = clock_wall_ns(),
                                   .mono_ns = clock_mono_ns()};
    struct queue_entry queued;
    double since_created = (double)start.wall_ns / 1e6 - job.created_ms;
    if (queue_take(id, &queued)) {
        start.queue_wait_ms = (double)(start.mono_ns - queued.put_mono_ns) / 1e6;
        if (!job.has_parent && queued.has_parent) start.parent = &queued.parent;
    } else if (job.created_ms > 0) {
        start.queue_wait_ms = since_created;
    }
    struct workflow *workflow = workflow_create(&start, config());
    if (!workflow) return NULL;
    span_note_raised(false);
    workflow->next = workflows;
    workflows = workflow;
    return workflow;
}

/* The same prompt being executed further out on this thread: a subclass that calls its base, say. The outer call is the
 * workflow. */
static bool is_reentry(PyObject *executor, const char *id) {
    struct call *outer = calls_innermost_prompt();
    return outer && outer->prompt->executor == executor && strcmp(outer->workflow->prompt_id, id) == 0;
}

static struct prompt *read_prompt(const struct watch_call *watched) {
    struct prompt *prompt = calloc(1, sizeof *prompt);
    if (!prompt) return NULL;
    prompt->executor = watch_argument(watched, PROMPT_EXECUTOR);
    prompt->nodes = watch_argument(watched, PROMPT_PROMPT);
    prompt->extra_data = watch_argument(watched, PROMPT_EXTRA_DATA);
    return prompt;
}

static void prompt_entered(const struct watch_call *watched, void *key, void *context) {
    (void)context;
    forget_the_parent();
    if (!tracing) {
        tracing = true;
        start_tracing();
    }
    struct prompt *prompt = read_prompt(watched);
    PyObject *prompt_id = watch_argument(watched, PROMPT_ID);
    char id[WORKFLOW_ID_SIZE];
    python_text(prompt_id, id, sizeof id);
    bool traced = prompt && !is_reentry(prompt->executor, id);
    struct workflow *workflow = traced ? open_workflow(id, prompt->extra_data) : NULL;
    struct call *call = workflow ? calls_push(key, workflow, NULL, workflow->mono_ns) : NULL;
    if (!call) { /* none, or no memory to know it by */
        if (workflow) {
            forget(workflow);
            workflow_abandon(workflow);
        }
        prompt_free(prompt);
        python_decref(prompt_id);
        return;
    }
    call->id = prompt_id;
    call->prompt = prompt;
    attribution_set(workflow, NULL);
    calls_enter_bridge(key, workflow, workflow->span_id);
}

/* What no node's call showed: a dependency cycle, or an interrupt between two nodes. */
static void read_outcome(struct workflow *workflow, PyObject *executor) {
    PyObject *error = status_message(executor, workflow->prompt_id, "execution_error");
    PyObject *interrupt =
        error ? NULL : status_message(executor, workflow->prompt_id, "execution_interrupted");
    if (error || interrupt) {
        struct failure failure = {.interrupted = interrupt != NULL};
        if (error) failure = failure_read(NULL, error);
        workflow_fail(workflow, &failure);
    }
    python_decref(error);
    python_decref(interrupt);
}

/* ---- nodes served from cache: the executor calls hardly any of them ---- */

static void report_cached_node(const void *prompt_key, struct graph *graph, PyObject *id) {
    uint64_t hash;
    struct graph_node described;
    if (!python_text_hash(id, &hash)) return;
    graph_describe(graph, id, &described); /* may run code of the program's: all is looked up after it */
    struct call *call = calls_find(prompt_key);
    struct workflow *workflow = call ? call->workflow : NULL;
    struct node *node = workflow ? workflow_node(workflow, hash) : NULL;
    if (node && !node->done)
        workflow_node_cached(workflow, node, &described.texts, workflow->mono_ns, workflow->mono_ns);
    graph_node_finish(&described);
}

/* Once per workflow, as early as the executor has announced them: before the first node's call, or never. `outputs`: the
 * recursive executors' dict of results, NULL for the others. */
static __attribute__((cold)) void report_cached(const void *prompt_key, PyObject *outputs) {
    struct call *call = calls_find(prompt_key);
    struct workflow *workflow = call->workflow;
    if (workflow->cached_listed || !workflow->config->cached_nodes) return;
    workflow->cached_listed = true;
    PyObject *prompt = python_newref(call->prompt->nodes), *ids = NULL;
    if (outputs) {
        ids = PySequence_List(
            outputs); /* its keys: at the first node's call, all of them are from earlier runs */
    } else {
        PyObject *message = status_message(call->prompt->executor, workflow->prompt_id, "execution_cached");
        ids = python_item(message, "nodes");
        python_decref(message);
    }
    Py_ssize_t count = ids ? PySequence_Size(ids) : 0;
    struct graph graph = {0};
    graph_open(&graph, prompt);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *id = PySequence_GetItem(ids, i);
        if (id && graph_item(prompt, id)) report_cached_node(prompt_key, &graph, id);
        python_decref(id);
    }
    PyErr_Clear();
    graph_close(&graph);
    python_decref(prompt);
    python_decref(ids);
}

/* An exception left the prompt's function: it also ended the nodes' calls inside, whose own exits may not have been
 * seen. The innermost is the one that raised; those around it waited for it. */
static void raised_out_of(struct workflow *workflow, PyObject *exception, uint64_t now) {
    struct failure failure = {.interrupted = true}; /* a coroutine that was closed or dropped */
    if (exception) failure = failure_read(exception, NULL);
    struct call *inner = calls_innermost_node(workflow);
    if (inner && !inner->node->done) {
        inner->node->active_ns += now - inner->entered_ns;
        workflow_node_finish(workflow, inner->node, failure.interrupted ? NODE_INTERRUPTED : NODE_FAILURE,
                             &failure, now);
    }
    for (; inner; inner = calls_innermost_node(workflow)) {
        if (!inner->node->done) workflow_node_discard(inner->node);
        calls_pop(inner);
    }
    workflow_fail(workflow, &failure);
}

static void prompt_left(const struct watch_call *watched, void *key, void *context, PyObject *value,
                        bool raised) {
    uint64_t now = clock_mono_ns();
    forget_the_parent();
    struct call *call = calls_find(key);
    if (!call) return;
    struct workflow *workflow = call->workflow;
    PyObject *executor = python_newref(call->prompt->executor);
    report_cached(key, NULL);
    if (raised) raised_out_of(workflow, value, now);
    if (raised) span_note_raised(true); /* before the workflow ends: that wakes who looks at it */
    read_outcome(workflow, executor);
    if (!workflow->nodes_called && !workflow->failure.type[0] && !workflow->failure.interrupted)
        substitutes_watch_nodes(watched, context, &node_handler);
    calls_pop_workflow(workflow);
    close_workflow(workflow, NULL, now);
    attribution_innermost();
    Py_DecRef(executor);
}

/* ---- nodes ---- */

enum node_argument {
    NODE_ID,
    NODE_PROMPT_ID,
    NODE_EXTRA_DATA,
    NODE_EXECUTED,
    NODE_OUTPUTS,
    NODE_PROMPT,
    NODE_DYNPROMPT,
    NODE_CACHES,
};

/* A set of the ids that have been executed; in the recursive executors a dict of outputs by id. */
static bool has_result(const struct generation *generation, PyObject *results, PyObject *id) {
    if (!results) return false;
    int found = generation->recursive ? -1 : PySet_Contains(results, id);
    if (found < 0) {
        PyErr_Clear();
        found = PySequence_Contains(results, id);
    }
    if (found < 0) PyErr_Clear();
    return found > 0;
}

/* Whether it may have a result before it is called: only the recursive executors know results of earlier prompts. */
static bool may_have_result(const struct generation *generation, const struct node *node) {
    return generation->recursive || node->executions || node->done;
}

static void describe(const struct watch_call *watched, struct graph *graph, PyObject *id,
                     struct graph_node *described) {
    PyObject *source = watch_argument(watched, NODE_DYNPROMPT);
    if (!source) source = watch_argument(watched, NODE_PROMPT);
    graph_open(graph, source);
    python_decref(source);
    graph_describe(graph, id, described);
}

/* With what the prompt's call keeps of its graph; that is taken out meanwhile, because Python code may run. */
static void describe_of(struct call *prompt, const struct watch_call *watched, PyObject *id,
                        struct graph_node *described) {
    unsigned then = calls_changes;
    void *key = prompt->key;
    struct graph graph = prompt->prompt->graph;
    prompt->prompt->graph = (struct graph){0};
    describe(watched, &graph, id, described);
    prompt = calls_again(prompt, key, then);
    if (prompt && !prompt->prompt->graph.source)
        prompt->prompt->graph = graph;
    else
        graph_close(&graph);
}

/* The recursive executors call a node's inputs from within its own call: until they are there, it waits. */
static void outer_node_waits(struct workflow *workflow, bool waiting, uint64_t now) {
    struct call *outer = calls_innermost_node(workflow);
    if (!outer) return;
    outer->entered_ns = now;
    workflow_node_wait(workflow, outer->node, waiting, now);
}

/* The call of its prompt; NULL: nobody's that we know. */
static struct call *prompt_of(const struct watch_call *watched) {
    PyObject *prompt_id = watch_argument(watched, NODE_PROMPT_ID);
    bool clear = prompt_id && calls_prompts() == 1;
    PyObject *extra_data = clear ? NULL : watch_argument(watched, NODE_EXTRA_DATA);
    struct call *prompt = calls_prompt_of(prompt_id, extra_data);
    python_decref(prompt_id);
    python_decref(extra_data);
    return prompt;
}

/* After Python code may have run, since calls_changes was `then`: what the prompt's call and the node are now, NULL when the
 * call has gone. */
static inline void look_again(struct call **prompt, struct node **node, const void *prompt_key,
                              uint64_t id_hash, unsigned then) {
    if (calls_changes == then) return;
    *prompt = calls_find(prompt_key);
    *node = *prompt ? workflow_node((*prompt)->workflow, id_hash) : NULL;
}

/* A substitute (comfy/substitutes) that calls the executor's own function after all. */
static bool is_inner_call(const struct workflow *workflow, uint64_t id_hash) {
    const struct call *outer = calls_innermost();
    return outer && outer->workflow == workflow && outer->node && outer->node->hash == id_hash;
}

/* A node's call that belongs to no prompt. */
static __attribute__((cold)) void look_for_its_prompt(const struct watch_call *watched,
                                                      const struct generation *generation) {
    PyObject *prompt_id = watch_argument(watched, NODE_PROMPT_ID);
    uint64_t hash;
    python_text_hash(prompt_id, &hash);
    python_decref(prompt_id);
    substitutes_watch_prompts(hash, generation, &prompt_handler);
}

static void node_entered(const struct watch_call *watched, void *key, void *context) {
    const struct generation *generation = context;
    forget_the_parent();
    uint64_t now = clock_mono_ns(), id_hash;
    struct call *lost = calls_find(key); /* the same frame again: an exit that could not be seen */
    if (lost) calls_pop(lost);
    PyObject *id = watch_argument(watched, NODE_ID);
    struct call *prompt = python_text_hash(id, &id_hash) ? prompt_of(watched) : NULL;
    if (!prompt || is_inner_call(prompt->workflow, id_hash)) {
        python_decref(id);
        if (!prompt) look_for_its_prompt(watched, generation);
        return;
    }
    prompt->workflow->nodes_called = true;
    /* What is asked of the program's objects here may run any code of it. */
    unsigned then = calls_changes;
    void *prompt_key = prompt->key;
    PyObject *results = watch_argument(watched, generation->recursive ? NODE_OUTPUTS : NODE_EXECUTED);
    prompt = calls_again(prompt, prompt_key, then);
    if (prompt && !prompt->workflow->cached_listed) {
        then = calls_changes;
        report_cached(prompt_key, generation->recursive ? results : NULL);
        prompt = calls_again(prompt, prompt_key, then);
    }
    struct node *node = prompt ? workflow_node(prompt->workflow, id_hash) : NULL;
    bool done_before = false;
    if (node && may_have_result(generation, node)) {
        then = calls_changes;
        done_before = has_result(generation, results, id);
        look_again(&prompt, &node, prompt_key, id_hash, then);
    }
    /* A node that is done may be called again, to hand out its result. Should it really run again, its span is made at
     * the end of the call. */
    bool begins = node && !done_before && !node->done && !node->span;
    struct graph_node described;
    if (begins) {
        then = calls_changes;
        describe_of(prompt, watched, id, &described);
        look_again(&prompt, &node, prompt_key, id_hash, then);
    }
    struct workflow *workflow = node ? prompt->workflow : NULL;
    if (workflow && generation->recursive) outer_node_waits(workflow, true, now);
    struct call *call = workflow ? calls_push(key, workflow, node, now) : NULL;
    if (!call) {
        python_decref(id);
        python_decref(results);
        if (begins) graph_node_finish(&described);
        return;
    }
    call->id = id;
    call->results = results;
    call->done_before = done_before;
    if (begins) workflow_node_start(workflow, node, &described.texts, now);
    node->executions++;
    attribution_set(workflow, node);
    if (node->span) calls_enter_bridge(key, workflow, span_id(node->span));
    if (begins) graph_node_finish(&described);
    if (done_before && !generation->recursive) {
        PyObject *caches = watch_argument(watched, NODE_CACHES);
        reruns_expect(watched, caches);
        python_decref(caches);
    }
}

/* Whether a successful call did the node's work, and did not just hand out what a cache holds. */
static bool really_ran(const struct watch_call *watched, const struct generation *generation,
                       const struct call *call) {
    if (generation->recursive || !call->done_before) {
        return !call->done_before &&
               (generation->recursive || has_result(generation, call->results, call->id));
    }
    return reruns_ran(watched, call->node);
}

static void describe_call(const struct watch_call *watched, const struct call *call,
                          struct graph_node *described) {
    struct graph graph = {0};
    describe(watched, &graph, call->id, described);
    graph_close(&graph);
}

/* A node that was done has been executed again: it has another span, which begins with that call. */
static __attribute__((cold)) void start_again(const struct watch_call *watched, const struct call *call,
                                              uint64_t now) {
    struct graph_node described;
    describe_call(watched, call, &described);
    workflow_node_start(call->workflow, call->node, &described.texts, call->entered_ns);
    graph_node_finish(&described);
    call->node->executions = 1;
    call->node->active_ns = now - call->entered_ns;
}

static void succeed(const struct watch_call *watched, const struct generation *generation,
                    const struct call *call, uint64_t now) {
    struct workflow *workflow = call->workflow;
    struct node *node = call->node;
    bool ran = really_ran(watched, generation, call);
    node->inputs_read = false;
    if (ran) {
        if (node->done) start_again(watched, call, now);
        workflow_node_finish(workflow, node, NODE_SUCCESS, NULL, now);
    } else if (!node->done) {
        struct graph_node described = {.texts = {"", "", "", ""}};
        if (!node->span) describe_call(watched, call, &described);
        workflow_node_cached(workflow, node, &described.texts, call->entered_ns, now);
        graph_node_finish(&described);
    }
}

/* Not when its prompt was left, on another thread, while Python code ran here. */
static bool is_open(const struct workflow *workflow) {
    const struct workflow *open = workflows;
    while (open && open != workflow)
        open = open->next;
    return open != NULL;
}

static void node_left(const struct watch_call *watched, void *key, void *context, PyObject *value,
                      bool raised) {
    const struct generation *generation = context;
    uint64_t now = clock_mono_ns();
    forget_the_parent();
    struct call *found = calls_find(key);
    if (!found) return;
    struct call call = calls_take(found);
    struct workflow *workflow = call.workflow;
    struct node *node = call.node;
    node->active_ns += now - call.entered_ns;
    struct outcome outcome;
    if (raised)
        outcome_raised(&outcome, workflow, value);
    else
        outcome_returned(&outcome, generation, node, value);
    if (!is_open(workflow)) {
        failure_finish(&outcome.failure);
        calls_finish(&call);
        return;
    }
    if (outcome.result == NODE_SUCCESS && !outcome.elsewhere) {
        succeed(watched, generation, &call, now);
    } else if (outcome.elsewhere) {
        if (!node->done) workflow_node_discard(node);
    } else {
        if (node->done) start_again(watched, &call, now);
        if (outcome.result != NODE_PENDING) {
            workflow_node_finish(workflow, node, outcome.result, &outcome.failure, now);
            workflow_fail(workflow, &outcome.failure);
        }
    }
    failure_finish(&outcome.failure);
    calls_finish(&call);
    if (generation->recursive) outer_node_waits(workflow, false, now);
    attribution_innermost();
}

/* The executor awaits, and other tasks of its event loop run on this thread. */
static void node_suspended(const struct watch_call *watched, void *key, void *context, bool suspended) {
    (void)watched, (void)context;
    const struct call *call = calls_find(key);
    if (call) attribution_set(call->workflow, suspended ? NULL : call->node);
}

/* ---- finding them ---- */

static const struct watch_handler prompt_handler = {
    .enter = prompt_entered,
    .leave = prompt_left,
    .arguments = {[PROMPT_EXECUTOR] = "self",
                  [PROMPT_PROMPT] = "prompt",
                  [PROMPT_ID] = "prompt_id",
                  [PROMPT_EXTRA_DATA] = "extra_data"},
};

static const struct watch_handler node_handler = {
    .enter = node_entered,
    .leave = node_left,
    .suspend = node_suspended,
    .arguments = {[NODE_ID] = "current_item",
                  [NODE_PROMPT_ID] = "prompt_id",
                  [NODE_EXTRA_DATA] = "extra_data",
                  [NODE_EXECUTED] = "executed",
                  [NODE_OUTPUTS] = "outputs",
                  [NODE_PROMPT] = "prompt",
                  [NODE_DYNPROMPT] = "dynprompt",
                  [NODE_CACHES] = "caches"},
};

static void say_instrumented(PyObject *module, const struct generation_match *match) {
    char file[512], version[16];
    PyObject *path = python_attribute(module, "__file__");
    if (!python_text(path, file, sizeof file)) strcpy(file, "a module without file");
    python_decref(path);
    size_t digits = strspn(Py_GetVersion(), "0123456789.abrc");
    if (digits >= sizeof version) digits = sizeof version - 1;
    memcpy(version, Py_GetVersion(), digits);
    version[digits] = '\0';
    log_once("Per-node execution instrumented (%s, generation %s, Python %s, %s)", file,
             match->generation->name, version, watch_mechanism(match->node_function));
    log_debug("watching %s, generation %s", file, match->generation->name);
}

void executor_module_found(PyObject *module) {
    struct generation_match match;
    enum generation_verdict verdict = generations_match(module, &match);
    if (verdict != GENERATION_NONE) read_settings();
    switch (verdict) {
    case GENERATION_NONE:
        return;
    case GENERATION_UNKNOWN:
        log_once("this ComfyUI's executor has a shape that is not known yet; workflows are not traced");
        return;
    case GENERATION_FOUND:
        break;
    }
    frames_test(); /* before watching, which asks for frames */
    /* A prompt is one call, and exceptions that leave it must be seen; nodes are many, and return their errors. */
    bool watching =
        watch_function(match.prompt_function, &prompt_handler, (void *)match.generation, WATCH_EXCEPTIONS) &&
        watch_function(match.node_function, &node_handler, (void *)match.generation,
                       match.generation->raises ? WATCH_EXCEPTIONS : WATCH_RETURNS);
    if (watching) {
        memory_start();
        queue_watch(module);
        attribution_watch_tasks(module);
        say_instrumented(module, &match);
    } else {
        log_once("ComfyUI's executor was found but could not be watched; workflows are not traced");
    }
    Py_DecRef(match.prompt_function);
    Py_DecRef(match.node_function);
}
