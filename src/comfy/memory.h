/* memory: what a node or workflow does to memory, as tags of its span.
 *
 * The joint of host figures (host/meminfo) and GPU figures (cuda/); docs/memory.md explains what the tags mean. GPU tags
 * are there once the process has allocated on a GPU and as long as the ledger is complete.
 * Needs the GIL. Every function accepts NULL, which stands for "no memory to keep figures in". */
#ifndef COMFYDD_MEMORY_H
#define COMFYDD_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* A ComfyUI has been found, settings are read. With PYTORCH_MEMORY_TRACKING: allocations get their Python stacks from now on,
 * or a log line says why not. */
void memory_start(void);

/* In the child of a fork, from an atfork handler: the GPU memory is the parent's. Async-signal-safe. */
void memory_forked(void);

struct memory; /* of one node or workflow, from its beginning to its end */
struct span;
struct failure;
struct flight;

/* A workflow begins. `pytorch`: PyTorch's figures too. */
struct memory *memory_open_workflow(const char *prompt_id, bool pytorch, struct span *span);

/* A node of it begins. `workflow` (borrowed) must outlive it. */
struct memory *memory_open_node(struct memory *workflow, const char *id, const char *class_type,
                                struct span *span, uint64_t mono_ns);

/* The node waits for its inputs, or begins its own work (again): what was before that is not its own. */
void memory_wait(struct memory *memory, bool waiting, struct span *span, uint64_t mono_ns);

/* This thread works for it from now on; NULL: for nobody. */
void memory_enter(const struct memory *memory);

/* It has ended: the remaining tags. A node's out-of-memory is kept for its workflow's span. `failure` may be NULL. Frees. */
void memory_close_node(struct memory *memory, const struct failure *failure, struct span *span,
                       uint64_t mono_ns);
void memory_close_workflow(struct memory *memory, struct span *span);

/* Notes the figures of now in the flight memory, for who reads it after a kill. Any thread, without the GIL; suits
 * exporter_on_beat. */
void memory_beat(struct flight *flight);

/* It leaves no span. Frees. */
void memory_discard(struct memory *memory);

/* Frees what a forked child has inherited: none of it is in the child's tables. */
void memory_abandon(struct memory *memory);

#endif
