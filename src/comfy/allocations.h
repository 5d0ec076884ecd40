/* allocations: live allocations as text for people: those at an out-of-memory, and the largest ones now. */
#ifndef COMFYDD_ALLOCATIONS_H
#define COMFYDD_ALLOCATIONS_H

struct span;
struct oom_picture;

/* The tags oom.*, what the driver had not told left out. oom.top_allocations is a JSON array of objects, largest totals
 * first: node_id, class_type (absent when no node owns them), device, size and count (of allocations of that size), stack
 * (absent when not tracked); as many as fit into a tag. */
void allocations_oom_tags(struct span *span, const struct oom_picture *picture);

/* The tags memory.pytorch.{cuda_mb,largest_mb,num_cuda_allocations,largest_info}.after, and the five largest live
 * allocations as log lines. MB are 2^20 bytes. Time is O(live allocations). */
void allocations_largest(struct span *span);

#endif
