#include "export/snapshots.h"

#include <stdbool.h>
#include <stdlib.h>

#define MS_AGAIN  UINT64_C(300000)
#define MS_OLDEST UINT64_C(43200000)

/* Room for `wanted` snapshots. */
static bool reserve(struct snapshots *s, size_t wanted) {
    if (wanted <= s->capacity) return true;
    struct snapshot *grown = realloc(s->list, wanted * sizeof *grown);
    if (!grown) return false;
    s->list = grown;
    s->capacity = wanted;
    return true;
}

static void copy_open_slots(struct snapshots *s, struct flight *flight, uint64_t now_ns) {
    uint32_t taken = flight_slots_taken(flight);
    s->count = 0;
    if (!taken || !reserve(s, taken)) return;
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT && s->count < taken; i++) {
        struct snapshot *copy = &s->list[s->count];
        if (!flight_copy_slot(flight, i, &copy->slot)) continue;
        const struct flight_span *span = &copy->slot.span;
        if (span->trace.priority <= 0 || span->waiting || span->start_ns >= now_ns) continue;
        copy->index = i;
        copy->is_due = false;
        copy->version = (now_ns - span->start_ns) / 1000000;
        if (copy->version > span->partial_version) s->count++;
    }
}

static bool is_due_workflow(const struct snapshot *copy, uint64_t after_ms) {
    const struct flight_span *span = &copy->slot.span;
    uint64_t next = span->partial_version ? span->partial_version + MS_AGAIN : after_ms;
    return span->kind == FLIGHT_WORKFLOW && copy->version >= next && copy->version < MS_OLDEST;
}

static void mark_due(struct snapshots *s, uint64_t after_ms) {
    for (size_t w = 0; w < s->count; w++) {
        if (!is_due_workflow(&s->list[w], after_ms)) continue;
        for (size_t i = 0; i < s->count; i++)
            if (s->list[i].slot.span.trace.root_span_id == s->list[w].slot.span.span_id)
                s->list[i].is_due = true;
    }
}

/* What is due comes first, trace by trace. */
static int compare(const void *left, const void *right) {
    const struct snapshot *a = left, *b = right;
    uint64_t a_root = a->slot.span.trace.root_span_id, b_root = b->slot.span.trace.root_span_id;
    if (a->is_due != b->is_due) return a->is_due ? -1 : 1;
    return a_root < b_root ? -1 : a_root > b_root;
}

void snapshots_gather(struct snapshots *s, struct flight *flight, double after_s, uint64_t now_ns) {
    copy_open_slots(s, flight, now_ns);
    mark_due(s, (uint64_t)(after_s * 1000));
    if (s->count) qsort(s->list, s->count, sizeof *s->list, compare);
    while (s->count && !s->list[s->count - 1].is_due)
        s->count--;
}

void snapshots_note(const struct snapshots *s, struct flight *flight) {
    for (size_t i = 0; i < s->count; i++)
        flight_note_snapshot(flight, s->list[i].index, s->list[i].slot.span.span_id, s->list[i].version);
}

void snapshots_finish(struct snapshots *s) {
    free(s->list);
    *s = (struct snapshots){0};
}
