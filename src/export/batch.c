#include "export/batch.h"

#include "flight.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for one more element of `size` bytes in the array; false without memory. */
static bool grow(void **array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, wanted * size);
    if (!grown) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

/* The trace that the span belongs to; trace_count when it is new. Spans of a trace are close together in the ring. */
static size_t find_trace(const struct batch *b, const struct flight_trace *trace) {
    for (size_t i = b->trace_count; i-- > 0;)
        if (b->traces[i].root_span_id == trace->root_span_id &&
            b->traces[i].trace_id_low == trace->trace_id_low &&
            b->traces[i].trace_id_high == trace->trace_id_high)
            return i;
    return b->trace_count;
}

static bool is_remembered(const struct batch *b, uint64_t root_span_id) {
    size_t known = b->remembered_count < BATCH_REMEMBERED ? b->remembered_count : BATCH_REMEMBERED;
    for (size_t i = 0; i < known; i++)
        if (b->remembered[i] == root_span_id) return true;
    return false;
}

static void remember(struct batch *b, uint64_t root_span_id) {
    if (!is_remembered(b, root_span_id))
        b->remembered[b->remembered_count++ % BATCH_REMEMBERED] = root_span_id;
}

bool batch_add(struct batch *b, struct flight_record *record, const struct batch_policy *policy) {
    const struct flight_span *span = &record->span;
    if (!grow((void **)&b->items, b->item_count, &b->item_capacity, sizeof *b->items) ||
        !grow((void **)&b->traces, b->trace_count, &b->trace_capacity, sizeof *b->traces))
        return false;
    size_t index = find_trace(b, &span->trace);
    struct batch_trace *trace = &b->traces[index];
    if (index == b->trace_count) {
        b->trace_count++;
        *trace = (struct batch_trace){
            .trace_id_high = span->trace.trace_id_high,
            .trace_id_low = span->trace.trace_id_low,
            .root_span_id = span->trace.root_span_id,
            .is_due = policy->everything || is_remembered(b, span->trace.root_span_id),
        };
    }
    trace->count++;
    if (span->kind == FLIGHT_WORKFLOW) remember(b, span->trace.root_span_id);
    if (span->kind == FLIGHT_WORKFLOW || (policy->partial_min && trace->count >= policy->partial_min))
        trace->is_due = true;
    b->items[b->item_count] = (struct batch_item){record, (uint32_t)index, (uint32_t)b->item_count};
    b->item_count++;
    return true;
}

void batch_clear(struct batch *b) {
    b->item_count = b->trace_count = b->waiting = 0;
}

static int by_trace(const void *left, const void *right) {
    const struct batch_item *a = left, *b = right;
    if (a->trace != b->trace) return a->trace < b->trace ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

bool batch_gather(struct batch *b, struct flight *flight, const struct batch_policy *policy) {
    uint64_t position = 0;
    struct flight_record *record;
    batch_clear(b);
    while ((record = flight_next(flight, &position)))
        if (!batch_add(b, record, policy)) {
            batch_clear(b);
            return false;
        }
    batch_close(b);
    return true;
}

void batch_close(struct batch *b) {
    size_t due = 0;
    bool in_order = true; /* as they are when workflows follow each other */
    for (size_t i = 0; i < b->item_count; i++) {
        if (!b->traces[b->items[i].trace].is_due) continue;
        in_order &= !due || b->items[due - 1].trace <= b->items[i].trace;
        b->items[due++] = b->items[i];
    }
    b->waiting = b->item_count - due;
    b->item_count = due;
    if (!in_order) qsort(b->items, due, sizeof *b->items, by_trace);
}

size_t batch_portion(const struct batch *b, size_t first, size_t bytes, bool may_split) {
    size_t end = first, used = 0;
    while (end < b->item_count) {
        size_t trace_end = end, size = 0;
        for (; trace_end < b->item_count && b->items[trace_end].trace == b->items[end].trace; trace_end++)
            size += b->items[trace_end].record->size;
        if (used + size > bytes && end > first) break;
        if (used + size > bytes && may_split) { /* one trace, larger than a payload */
            for (; end < trace_end && (end == first || used + b->items[end].record->size <= bytes); end++)
                used += b->items[end].record->size;
            break;
        }
        used += size;
        end = trace_end;
    }
    return end - first;
}

void batch_finish(struct batch *b) {
    free(b->items);
    free(b->traces);
    *b = (struct batch){0};
}
