/* batch: which finished spans are sent now, and in which order. One thread; no I/O.
 *
 * The spans in the ring are grouped by trace (of this process: by workflow span, so that two workflows under one
 * incoming trace stay two chunks). A trace that is not complete yet is left in the ring. */
#ifndef COMFYDD_BATCH_H
#define COMFYDD_BATCH_H

#include "comfydd/flight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flight;

#define BATCH_REMEMBERED 64

struct batch_trace {
    uint64_t trace_id_high, trace_id_low, root_span_id;
    size_t count; /* its spans in the ring */
    bool is_due;
};

struct batch_item {
    struct flight_record *record; /* borrowed from the flight memory, until it is trimmed */
    uint32_t trace;               /* index in traces */
    uint32_t order;               /* in the ring */
};

/* Zero-initialised is empty and valid. */
struct batch {
    struct batch_item *items; /* owned; what is due, trace by trace, the oldest trace first */
    size_t item_count, item_capacity;
    struct batch_trace *traces; /* owned; all that have spans in the ring */
    size_t trace_count, trace_capacity;
    size_t waiting; /* spans that were left in the ring */
    /* Workflows that have been due: a span that finishes after its workflow is due at once. */
    uint64_t remembered[BATCH_REMEMBERED];
    size_t remembered_count;
};

struct batch_policy {
    bool everything; /* all that is there */
    /* A trace with so many spans waiting is due before its workflow is finished; 0: never. */
    size_t partial_min;
};

/* Gathers the spans that are due. False without memory: then the batch is empty. */
bool batch_gather(struct batch *batch, struct flight *flight, const struct batch_policy *policy);

/* The same for records that lie elsewhere: clear, add each in order (false without memory), and close, which leaves what is
 * due. */
void batch_clear(struct batch *batch);
bool batch_add(struct batch *batch, struct flight_record *record, const struct batch_policy *policy);
void batch_close(struct batch *batch);

/* How many items from `first` on make the next payload of about `bytes` bytes of records: whole traces as long as
 * they fit; a part of a trace that alone is larger, if `may_split`. 0 at the end. */
size_t batch_portion(const struct batch *batch, size_t first, size_t bytes, bool may_split);

void batch_finish(struct batch *batch);

#endif
