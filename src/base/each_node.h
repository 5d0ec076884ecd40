/* each_node: where the variables are that every node reads or writes.
 *
 * Between two nodes ComfyUI executes millions of instructions, which leave little of ours in the caches. Scattered over the
 * library these variables would be a cache line each; in a section of their own they share a few. */
#ifndef COMFYDD_EACH_NODE_H
#define COMFYDD_EACH_NODE_H

#define EACH_NODE __attribute__((section("comfydd_each_node")))

#endif
