#include "export/payload.h"

#include <stdlib.h>

bool payload_reserve(struct payload *p, size_t count) {
    if (count <= p->span_capacity) return true;
    struct v04_span *grown = realloc(p->spans, count * sizeof *grown);
    if (!grown) return false;
    p->spans = grown;
    p->span_capacity = count;
    return true;
}

/* How many items at the beginning of `items` are of one trace. */
static size_t chunk_length(const struct batch_item *items, size_t count) {
    size_t length = 1;
    while (length < count && items[length].trace == items[0].trace)
        length++;
    return length;
}

uint32_t payload_encode(struct payload *p, struct v04_identity *identity, const struct batch_item *items,
                        size_t count, double keep_rate) {
    uint32_t chunks = 0;
    size_t records = 0;
    if (!payload_reserve(p, count)) return 0;
    for (size_t i = 0; i < count; i++) {
        chunks += !i || items[i].trace != items[i - 1].trace;
        records += items[i].record->size;
    }
    buf_clear(&p->bytes);
    buf_room(&p->bytes, 2 * records); /* about what it takes: growing step by step copies it as often */
    v04_begin(&p->bytes, chunks);
    for (size_t at = 0, length; at < count; at += length) {
        length = chunk_length(items + at, count - at);
        for (size_t i = 0; i < length; i++) {
            const struct flight_record *record = items[at + i].record;
            p->spans[i] = (struct v04_span){&record->span, record + 1, 0, record->span.end_ns};
        }
        v04_chunk(&p->bytes, identity, p->spans, length, keep_rate);
    }
    return p->bytes.failed ? 0 : chunks;
}

void payload_finish(struct payload *p) {
    buf_finish(&p->bytes);
    free(p->spans);
    *p = (struct payload){0};
}
