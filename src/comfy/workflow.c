#include "comfy/workflow.h"

#include "comfy/memory.h"
#include "config.h"
#include "trace/sampler.h"
#include "trace/span.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char workflow_name[] = "comfyui.workflow.execute", node_name[] = "comfyui.node.execute";

static const char *const result_names[] = {[NODE_SUCCESS] = "SUCCESS",
                                           [NODE_FAILURE] = "FAILURE",
                                           [NODE_INTERRUPTED] = "INTERRUPTED",
                                           [NODE_PENDING] = "PENDING"};

/* Nodes live as long as their workflow. One by one, those of the last workflow would be given back to malloc just before
 * the next one wants as many. */
#define BLOCK_NODES 32
struct node_block {
    struct node_block *next;
    struct node nodes[BLOCK_NODES];
};

static void tag(struct span *span, enum tag key, const char *text) {
    if (text && *text) span_text(span, key, text, strlen(text));
}

static uint64_t wall(const struct workflow *workflow, uint64_t mono_ns) {
    return workflow->wall_ns + (mono_ns - workflow->mono_ns);
}

/* ---- the trace a workflow belongs to ---- */

static void join_trace(struct workflow *workflow, const struct workflow_start *start, const char *resource) {
    struct flight_trace *trace = &workflow->trace;
    trace->agent_rate = trace->rule_rate = trace->limit_rate = -1;
    trace->mechanism = -1;
    trace->root_span_id = workflow->span_id;
    workflow->trace_came = start->parent != NULL;
    if (start->parent) {
        trace->trace_id_high = start->parent->trace_id_high;
        trace->trace_id_low = start->parent->trace_id_low;
        snprintf(workflow->origin, sizeof workflow->origin, "%s", start->parent->origin);
        snprintf(workflow->trace_tags, sizeof workflow->trace_tags, "%s", start->parent->tags);
        trace->inherited = start->parent->has_priority;
        trace->priority = (int8_t)start->parent->priority;
    } else {
        trace->trace_id_low = ids_next();
        if (workflow->config->trace_id_128) trace->trace_id_high = ids_trace_high(start->wall_ns);
    }
    const char *const tags[][2] = {{"workflow.prompt_id", start->prompt_id}, {"job.id", start->job_id}};
    struct sampler_subject subject = {.service = workflow->config->service,
                                      .name = workflow_name,
                                      .resource = resource,
                                      .tags = tags,
                                      .tag_count = 2};
    sampler_decide(trace, &subject, start->mono_ns);
}

/* What came with the trace and goes on with it: on every span, since any may be the first of a chunk. */
static void tag_trace(const struct workflow *workflow, struct span *span) {
    if (!workflow->trace_came) return;
    tag(span, TAG_ORIGIN, workflow->origin);
    const char *at = workflow->trace_tags;
    for (size_t size; *at; at += size + (at[size] == ',')) {
        size = strcspn(at, ",");
        span_text(span, TAG_PROPAGATED, at, size);
    }
}

/* A dropped trace may still keep single spans, by rules of their own. */
static void keep_by_span_rule(const struct workflow *workflow, struct span *span, const char *name,
                              const char *resource, uint64_t mono_ns) {
    if (workflow->trace.priority > 0 || !span) return;
    struct sampler_subject subject = {
        .service = workflow->config->service, .name = name, .resource = resource};
    double rate, per_second;
    if (!sampler_keep_span(&subject, span_id(span), mono_ns, &rate, &per_second)) return;
    span_number(span, TAG_SPAN_SAMPLING_MECHANISM, 8);
    span_number(span, TAG_SPAN_SAMPLING_RULE_RATE, rate);
    if (per_second >= 0) span_number(span, TAG_SPAN_SAMPLING_MAX_PER_SECOND, per_second);
}

/* One more node of that kind. The counts are kept up to date in the open span: the workflow may be killed. */
static void count_node(struct workflow *workflow, unsigned *count, enum tag key) {
    ++*count;
    span_renumber(workflow->span, TAG_NODES_TOTAL, workflow->executed + workflow->cached);
    span_renumber(workflow->span, key, *count);
}

struct workflow *workflow_create(const struct workflow_start *start, const struct config *config) {
    struct workflow *workflow = calloc(1, sizeof *workflow);
    if (!workflow) return NULL;
    workflow->chain_count = 64;
    workflow->chains = calloc(workflow->chain_count, sizeof(struct node *));
    if (!workflow->chains) {
        free(workflow);
        return NULL;
    }
    workflow->config = config;
    snprintf(workflow->prompt_id, sizeof workflow->prompt_id, "%s", start->prompt_id);
    workflow->wall_ns = start->wall_ns;
    workflow->mono_ns = start->mono_ns;
    workflow->span_id = ids_next();
    char resource[WORKFLOW_ID_SIZE + 16];
    snprintf(resource, sizeof resource, "workflow#%s", workflow->prompt_id);
    join_trace(workflow, start, resource);
    workflow->span = span_start(FLIGHT_WORKFLOW, &workflow->trace, workflow->span_id,
                                start->parent ? start->parent->span_id : 0, start->wall_ns);
    /* Before all other tags: they are looked for at every node. */
    span_number(workflow->span, TAG_NODES_TOTAL, 0);
    span_number(workflow->span, TAG_NODES_EXECUTED, 0);
    span_number(workflow->span, TAG_NODES_CACHED, 0);
    span_number(workflow->span, TAG_NODES_FAILED, 0);
    tag(workflow->span, TAG_RESOURCE, resource);
    keep_by_span_rule(workflow, workflow->span, workflow_name, resource, start->mono_ns);
    tag(workflow->span, TAG_PROMPT_ID, workflow->prompt_id);
    tag(workflow->span, TAG_JOB_ID, start->job_id);
    tag_trace(workflow, workflow->span);
    if (start->queue_wait_ms >= 0) span_number(workflow->span, TAG_QUEUE_WAIT_MS, start->queue_wait_ms);
    workflow->memory = memory_open_workflow(workflow->prompt_id, config->pytorch_memory, workflow->span);
    return workflow;
}

static void free_workflow(struct workflow *workflow) {
    for (struct node_block *block = workflow->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(workflow->chains);
    failure_finish(&workflow->failure);
    free(workflow);
}

void workflow_abandon(struct workflow *workflow) {
    for (size_t i = 0; i < workflow->chain_count; i++)
        for (struct node *node = workflow->chains[i]; node; node = node->next) {
            memory_abandon(node->memory);
            span_discard(node->span);
        }
    memory_abandon(workflow->memory);
    span_discard(workflow->span);
    free_workflow(workflow);
}

void workflow_finish(struct workflow *workflow, const char *status, uint64_t mono_ns) {
    for (size_t i = 0; i < workflow->chain_count; i++)
        for (struct node *node = workflow->chains[i]; node; node = node->next)
            if (!node->done) workflow_node_finish(workflow, node, NODE_PENDING, NULL, mono_ns);
    const struct failure *failure = &workflow->failure;
    if (!status) status = failure->interrupted ? "interrupted" : failure->type[0] ? "error" : "success";
    struct span *span = workflow->span;
    if (failure->type[0]) span_error(span, failure->type, failure->message, failure->stack);
    tag(span, TAG_WORKFLOW_STATUS, status);
    memory_close_workflow(workflow->memory, span);
    span_finish(span, wall(workflow, mono_ns));
    free_workflow(workflow);
}

void workflow_fail(struct workflow *workflow, struct failure *failure) {
    if (workflow->failure.type[0] || workflow->failure.interrupted) {
        failure_finish(failure);
    } else {
        workflow->failure = *failure;
        failure_init(failure);
    }
}

/* ---- nodes by id ---- */

static __attribute__((cold)) void grow(struct workflow *workflow) {
    size_t count = workflow->chain_count * 4;
    struct node **chains = calloc(count, sizeof *chains);
    if (!chains) return; /* longer chains then */
    for (size_t i = 0; i < workflow->chain_count; i++)
        for (struct node *node = workflow->chains[i], *next; node; node = next) {
            next = node->next;
            node->next = chains[node->hash % count];
            chains[node->hash % count] = node;
        }
    free(workflow->chains);
    workflow->chains = chains;
    workflow->chain_count = count;
}

struct node *workflow_known_node(const struct workflow *workflow, uint64_t id_hash) {
    struct node *node = workflow->chains[id_hash % workflow->chain_count];
    while (node && node->hash != id_hash)
        node = node->next;
    return node;
}

static struct node *room_for_node(struct workflow *workflow) {
    size_t used = workflow->node_count % BLOCK_NODES;
    if (used == 0) {
        struct node_block *block = malloc(sizeof *block);
        if (!block) return NULL;
        block->next = workflow->blocks;
        workflow->blocks = block;
    }
    return &workflow->blocks->nodes[used];
}

struct node *workflow_node(struct workflow *workflow, uint64_t id_hash) {
    struct node *node = workflow_known_node(workflow, id_hash);
    if (node) return node;
    node = room_for_node(workflow);
    if (!node) return NULL;
    if (workflow->node_count++ >= workflow->chain_count) grow(workflow);
    struct node **chain = &workflow->chains[id_hash % workflow->chain_count];
    *node = (struct node){.next = *chain, .hash = id_hash};
    *chain = node;
    return node;
}

/* ---- node spans ---- */

static struct span *open_span(struct workflow *workflow, const struct node_description *description,
                              uint64_t mono_ns) {
    if (!workflow->config->node_tracing) return NULL;
    struct span *span =
        span_start(FLIGHT_NODE, &workflow->trace, 0, workflow->span_id, wall(workflow, mono_ns));
    tag(span, TAG_NODE_CLASS_TYPE, description->class_type);
    tag(span, TAG_NODE_ID, description->id);
    tag(span, TAG_PROMPT_ID, workflow->prompt_id);
    tag(span, TAG_NODE_DISPLAY_ID, description->display_id);
    tag(span, TAG_NODE_PARENT_ID, description->parent_id);
    tag_trace(workflow, span);
    return span;
}

void workflow_node_start(struct workflow *workflow, struct node *node,
                         const struct node_description *description, uint64_t mono_ns) {
    node->span = open_span(workflow, description, mono_ns);
    keep_by_span_rule(workflow, node->span, node_name, description->class_type, mono_ns);
    if (workflow->config->node_memory && node->span)
        node->memory =
            memory_open_node(workflow->memory, description->id, description->class_type, node->span, mono_ns);
    node->done = false;
}

void workflow_node_wait(struct workflow *workflow, struct node *node, bool waiting, uint64_t mono_ns) {
    span_wait(node->span, waiting, wall(workflow, mono_ns));
    if (workflow->config->node_memory) memory_wait(node->memory, waiting, node->span, mono_ns);
}

void workflow_node_finish(struct workflow *workflow, struct node *node, enum node_result result,
                          const struct failure *failure, uint64_t mono_ns) {
    struct span *span = node->span;
    tag(span, TAG_NODE_RESULT, result_names[result]);
    if (failure && failure->type[0]) span_error(span, failure->type, failure->message, failure->stack);
    span_number(span, TAG_NODE_EXECUTIONS, node->executions);
    span_number(span, TAG_NODE_ACTIVE_MS, (double)node->active_ns / 1e6);
    if (workflow->config->node_memory) memory_close_node(node->memory, failure, span, mono_ns);
    node->memory = NULL;
    span_finish(span, wall(workflow, mono_ns));
    if (result == NODE_FAILURE) count_node(workflow, &workflow->failed, TAG_NODES_FAILED);
    count_node(workflow, &workflow->executed, TAG_NODES_EXECUTED);
    node->span = NULL;
    node->done = true;
}

void workflow_node_cached(struct workflow *workflow, struct node *node,
                          const struct node_description *description, uint64_t start_mono_ns,
                          uint64_t end_mono_ns) {
    struct span *span = node->span;
    if (!span) {
        span = open_span(workflow, description, start_mono_ns);
        keep_by_span_rule(workflow, span, node_name, description->class_type, start_mono_ns);
    }
    memory_discard(node->memory);
    node->memory = NULL;
    tag(span, TAG_NODE_CACHED, "true");
    tag(span, TAG_NODE_RESULT, result_names[NODE_SUCCESS]);
    span_finish(span, wall(workflow, end_mono_ns));
    count_node(workflow, &workflow->cached, TAG_NODES_CACHED);
    node->span = NULL;
    node->done = true;
}

void workflow_node_discard(struct node *node) {
    memory_discard(node->memory);
    node->memory = NULL;
    span_discard(node->span);
    node->span = NULL;
    node->done = true;
}
