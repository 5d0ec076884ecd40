/* stacks: every Python stack ever seen, kept once and for ever, in 12 MiB of address space of which only what is used is
 * ever resident. Ids are never 0 and stay valid; the same stack has the same id.
 *
 * Lock-free but for stacks_init: any thread, in any hook, and in the child of a fork whatever other threads were doing. */
#ifndef COMFYDD_STACKS_H
#define COMFYDD_STACKS_H

#include "python/frames.h"

/* Under the GIL, before everything else; again does nothing. False without address space. */
bool stacks_init(void);

/* Ids by key, for what was put there before and not overwritten; 0 otherwise. */
uint32_t stacks_known_site(uint64_t key);
uint32_t stacks_known(uint64_t key);

/* The id of a site: a line of a function of a file. 0 when there is no room for a new one, which is logged once. `key`: see
 * stacks_known_site. */
uint32_t stacks_add_site(uint64_t key, const char *file, const char *function, int line);

/* The id of a stack, 1 to FRAMES_MAX sites, innermost first. 0 when there is no room for a new one. */
uint32_t stacks_add(uint64_t key, const uint32_t *sites, size_t count);

/* frames_of. */
size_t stacks_get(uint32_t stack, struct frame *out, size_t room);

#endif
