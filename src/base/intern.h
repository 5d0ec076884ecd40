/* intern: strings of bytes, each kept once and for ever, in memory of a fixed size that the caller gives.
 *
 * Append-only and lock-free: any thread, in a signal handler too, and in the child of a fork whatever other threads were
 * doing. Nothing is allocated, no system call is made. An id is never 0, and names the same bytes for ever. */
#ifndef COMFYDD_INTERN_H
#define COMFYDD_INTERN_H

#include <stdint.h>

struct intern {
    char *memory;   /* borrowed: `slots` places of records, then the records */
    uint32_t size;  /* bytes */
    uint32_t slots; /* a power of two */
    uint32_t used;  /* bytes */
};

/* `memory` is all zeros, aligned to 8 and stays the caller's; it is not touched here. */
void intern_init(struct intern *table, void *memory, uint32_t size, uint32_t slots);

/* The id of these bytes, which are copied when they are new; 0 when they are new and the table is full. */
uint32_t intern_add(struct intern *table, const void *bytes, uint32_t size);

/* The bytes of an id, aligned to 4; they stay. *size may be NULL. */
const void *intern_get(const struct intern *table, uint32_t id, uint32_t *size);

#endif
