/* workflow: the state of one executed prompt and its nodes, and the spans they become. No Python in here.
 *
 * A node is known by a hash of its id for as long as the workflow runs. (Of all of the id: in a loop made of expansions ids
 * grow with each turn, and differ at their ends only.) All calls of the executor for it are one span, from the first entry to
 * the last exit. Nodes that only waited for a failed input leave none.
 * Threads: one workflow belongs to one thread at a time (callers hold the GIL). Nothing fails towards the caller;
 * without memory nodes or spans are missing. */
#ifndef COMFYDD_WORKFLOW_H
#define COMFYDD_WORKFLOW_H

#include "comfy/failure.h"
#include "comfydd/flight.h"
#include "trace/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span;
struct config;
struct memory;

#define WORKFLOW_ID_SIZE 256 /* bytes of a prompt or job id that are kept, terminator included */

struct node {
    struct node *next; /* same hash chain */
    uint64_t hash;     /* of its id */
    struct span *span;
    struct memory *memory; /* owned; while its span is open */
    uint64_t active_ns;    /* spent inside the executor's calls */
    unsigned executions;
    bool done;        /* its span is finished, or it needs none */
    bool inputs_read; /* of comfy/reruns: by the executor, since it was last executed */
};

/* What each node needs comes first, close together. */
struct workflow {
    struct workflow *next;
    const struct config *config; /* borrowed */
    struct span *span;
    struct memory *memory; /* owned */
    uint64_t span_id;
    uint64_t wall_ns,
        mono_ns; /* both clocks at the start: every later time is mono-based, safe from clock steps */
    struct node **chains;
    size_t chain_count, node_count;
    struct node_block *blocks; /* where the nodes are; owned, the newest first */
    unsigned executed, cached, failed;
    bool cached_listed; /* the nodes served from cache have been reported */
    bool nodes_called;  /* at least one node's call has been seen */
    bool trace_came;    /* from elsewhere, maybe with an origin and tags */
    struct flight_trace trace;
    char prompt_id[WORKFLOW_ID_SIZE];
    char origin[128], trace_tags[512]; /* of the trace, as struct ids_parent has them */
    struct failure failure;            /* the first one; its texts are owned */
};

enum node_result { NODE_SUCCESS, NODE_FAILURE, NODE_INTERRUPTED, NODE_PENDING };

/* What is known of a prompt at its start. Texts are borrowed for the call. */
struct workflow_start {
    const char *prompt_id, *job_id;  /* may be empty */
    const struct ids_parent *parent; /* NULL: a trace of its own */
    double queue_wait_ms;            /* negative when unknown */
    uint64_t wall_ns, mono_ns;
};

/* NULL without memory. */
struct workflow *workflow_create(const struct workflow_start *start, const struct config *config);

/* Closes nodes still pending and the workflow span, and frees everything. `status` is NULL for "by what happened":
 * error when a failure is recorded, interrupted when that was an interrupt, else success. */
void workflow_finish(struct workflow *workflow, const char *status, uint64_t mono_ns);

/* Discards all of it: in a forked child, where the spans are the parent's (span_disconnect has been called, so the
 * parent's memory stays as it is). */
__attribute__((cold)) void workflow_abandon(struct workflow *workflow);

/* Remembers the first failure; takes over its texts (later ones are freed). */
__attribute__((cold)) void workflow_fail(struct workflow *workflow, struct failure *failure);

/* The node, known from now on; NULL without memory. */
struct node *workflow_node(struct workflow *workflow, uint64_t id_hash);

/* The node, when it is known already; else NULL. */
struct node *workflow_known_node(const struct workflow *workflow, uint64_t id_hash);

/* What describes a node; texts are borrowed, of any length, empty when unknown. */
struct node_description {
    const char *id, *class_type, *display_id, *parent_id;
};

/* Opens the node's span. */
void workflow_node_start(struct workflow *workflow, struct node *node,
                         const struct node_description *description, uint64_t mono_ns);

/* The node waits for its inputs (recursive executors), or begins its own work now. */
void workflow_node_wait(struct workflow *workflow, struct node *node, bool waiting, uint64_t mono_ns);

/* Ends the node's span. `failure` may be NULL. */
void workflow_node_finish(struct workflow *workflow, struct node *node, enum node_result result,
                          const struct failure *failure, uint64_t mono_ns);

/* The node was served from cache: a span from start to end (the same moment when the executor never called it). */
void workflow_node_cached(struct workflow *workflow, struct node *node,
                          const struct node_description *description, uint64_t start_mono_ns,
                          uint64_t end_mono_ns);

/* The node never ran: as if its span had never been opened. */
__attribute__((cold)) void workflow_node_discard(struct node *node);

#endif
