/* The reader of a flight memory that somebody else wrote, and may still be writing. Every structure is copied first,
 * then checked, and only the copy is used. */
#include "base/buf.h"
#include "flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The barrier keeps the compiler from reading `from` again where it would use the copy. */
static void copy_foreign(void *to, const void *from, size_t size) {
    memcpy(to, from, size);
    __asm__ volatile("" ::: "memory");
}

/* ---- opening ---- */

static bool inside(uint64_t offset, uint64_t size, uint64_t total) {
    return offset <= total && size <= total - offset;
}

static bool consistent(const struct flight_header *header, size_t size) {
    uint64_t total = header->total_size, slots = (uint64_t)header->slot_size * header->slot_count;
    return header->header_size >= sizeof *header && total <= size &&
           inside(header->keys_offset, header->keys_size, total) &&
           inside(header->identity_offset, header->identity_size, total) &&
           header->identity_used <= header->identity_size && inside(header->slots_offset, slots, total) &&
           header->slot_size >= sizeof(struct flight_slot) &&
           inside(header->ring_offset, header->ring_size, total) && header->ring_size >= 8 &&
           (header->ring_size & (header->ring_size - 1)) == 0 && header->ring_tail <= header->ring_head &&
           header->ring_head - header->ring_tail <= header->ring_size && header->ring_tail % 8 == 0 &&
           memchr(header->boot_id, 0, sizeof header->boot_id);
}

/* Splits the key table, `size` bytes of names; the last one must be terminated too. */
static bool read_names(struct flight_view *view, const unsigned char *keys, size_t size) {
    view->name_text = malloc(size + 1);
    if (!view->name_text) return false;
    copy_foreign(view->name_text, keys, size);
    const char *end = view->name_text + size;
    for (const char *at = view->name_text; (at = memchr(at, 0, (size_t)(end - at))); at++)
        view->name_count++;
    view->names = malloc((view->name_count + 1) * sizeof *view->names);
    if (!view->names) return false;
    const char *name = view->name_text;
    for (size_t i = 0; i < view->name_count; i++, name += strlen(name) + 1)
        view->names[i] = name;
    return true;
}

/* Leaves the valid entries of a copy, moved together, and returns their size. */
static size_t keep_valid_entries(const struct flight_view *view, void *entries, size_t size) {
    size_t kept = 0, begin = 0, offset = 0;
    struct flight_tag tag;
    const void *value;
    for (; flight_tag_next(entries, size, &offset, &tag, &value); begin = offset) {
        bool known = tag.type == FLIGHT_TEXT || (tag.type == FLIGHT_NUMBER && tag.size == sizeof(double));
        if (!known || tag.key >= view->name_count) continue;
        memmove((char *)entries + kept, (char *)entries + begin, offset - begin);
        kept += offset - begin;
    }
    return kept;
}

static bool read_identity(struct flight_view *view, const unsigned char *identity, size_t size) {
    view->identity = malloc(size + 1);
    if (!view->identity) return false;
    copy_foreign(view->identity, identity, size);
    view->identity_size = keep_valid_entries(view, view->identity, size);
    return true;
}

int flight_view_open(struct flight_view *view, const void *memory, size_t size) {
    *view = (struct flight_view){.memory = memory};
    struct flight_header *header = &view->header;
    if (size < sizeof *header) return -EINVAL;
    copy_foreign(header, memory, sizeof *header);
    if (header->magic != FLIGHT_MAGIC) return -EINVAL;
    if (header->version != FLIGHT_VERSION) return -ENOTSUP;
    if (!consistent(header, size)) return -EINVAL;
    if (!read_names(view, view->memory + header->keys_offset, header->keys_size) ||
        !read_identity(view, view->memory + header->identity_offset, header->identity_used)) {
        flight_view_close(view);
        return -ENOMEM;
    }
    return 0;
}

void flight_view_close(struct flight_view *view) {
    free(view->names);
    free(view->name_text);
    free(view->identity);
    *view = (struct flight_view){0};
}

/* ---- reading ---- */

struct reading {
    const struct flight_view *view;
    void (*each)(void *context, const struct flight_span *span, const void *tags, struct flight_found found);
    void *context;
    struct buf copy; /* of the record or slot at hand */
    bool sent_too;
    size_t passed;
};

static bool plausible(const struct flight_span *span) {
    const struct flight_trace *trace = &span->trace;
    return trace->trace_id_low && span->span_id &&
           (span->kind == FLIGHT_WORKFLOW || span->kind == FLIGHT_NODE) && trace->priority >= -1 &&
           trace->priority <= 2 && trace->mechanism >= -1 && trace->inherited <= 1 &&
           trace->agent_rate <= 1 && trace->rule_rate <= 1 && trace->limit_rate <= 1 && /* false for a NaN */
           span->error <= 1 && span->waiting <= 1;
}

static void pass(struct reading *reading, struct flight_span *span, void *tags, struct flight_found found) {
    span->tags_size = (uint32_t)keep_valid_entries(reading->view, tags, span->tags_size);
    reading->each(reading->context, span, tags, found);
    reading->passed++;
}

/* A copy of `size` bytes, NULL without memory. */
static void *take_copy(struct reading *reading, const unsigned char *from, size_t size) {
    buf_clear(&reading->copy);
    char *copy = buf_room(&reading->copy, size + 1); /* a room of 0 bytes would be NULL */
    if (copy) copy_foreign(copy, from, size);
    return copy;
}

/* Passes records from a position on, up to the head or to a damaged one. */
static void read_ring(struct reading *reading, uint64_t from) {
    const struct flight_header *header = &reading->view->header;
    const unsigned char *ring = reading->view->memory + header->ring_offset;
    struct {
        uint32_t size, state; /* the beginning of a struct flight_record */
    } start;
    for (uint64_t at = from; at < header->ring_head; at += start.size) {
        uint64_t place = at & (header->ring_size - 1);
        copy_foreign(&start, ring + place, sizeof start);
        if (start.size < sizeof start || start.size % 8 || start.size > header->ring_head - at ||
            start.size > header->ring_size - place)
            return;
        bool sent = start.state == FLIGHT_RECORD_SENT;
        if (start.state == FLIGHT_RECORD_PADDING || (sent && !reading->sent_too)) continue;
        if (!sent && start.state != FLIGHT_RECORD_WANTED) return;
        if (start.size < sizeof(struct flight_record)) return;
        struct flight_record *record = take_copy(reading, ring + place, start.size);
        if (!record || record->span.tags_size != start.size - sizeof *record || !plausible(&record->span))
            return;
        uint64_t state = header->ring_offset + place + offsetof(struct flight_record, state);
        pass(reading, &record->span, record + 1, (struct flight_found){.state_offset = state});
    }
}

static void read_slot(struct reading *reading, uint64_t offset) {
    const struct flight_header *header = &reading->view->header;
    const unsigned char *foreign = reading->view->memory + offset;
    struct flight_slot head;
    copy_foreign(&head, foreign, sizeof head);
    bool left_over = head.closing_at && head.closing_at <= header->ring_head;
    if (head.state != FLIGHT_SLOT_OPEN || left_over || !plausible(&head.span) ||
        head.span.tags_size > header->slot_size - sizeof head)
        return;
    void *tags = take_copy(reading, foreign + sizeof head, head.span.tags_size);
    if (!tags) return;
    head.span.end_ns = 0; /* set already when it was about to be finished */
    pass(reading, &head.span, tags,
         (struct flight_found){.state_offset = offset + offsetof(struct flight_slot, state), .open = true});
}

size_t flight_view_each(const struct flight_view *view,
                        void (*each)(void *context, const struct flight_span *span, const void *tags,
                                     struct flight_found found),
                        void *context) {
    const struct flight_header *header = &view->header;
    struct reading reading = {.view = view, .each = each, .context = context};
    read_ring(&reading, header->ring_tail);
    for (uint64_t i = 0; i < header->slot_count; i++)
        read_slot(&reading, header->slots_offset + i * header->slot_size);
    buf_finish(&reading.copy);
    return reading.passed;
}

size_t flight_view_history(const struct flight_view *view, uint64_t *position,
                           void (*each)(void *context, const struct flight_span *span, const void *tags,
                                        struct flight_found found),
                           void *context) {
    const struct flight_header *header = &view->header;
    struct reading reading = {.view = view, .each = each, .context = context, .sent_too = true};
    /* Writers overwrite what is before the tail, and may be at it now: half a ring is far more than a record takes. */
    bool lost = *position < header->ring_tail && header->ring_head - *position > header->ring_size / 2;
    bool possible =
        *position <= header->ring_head && *position % 8 == 0; /* it was the head that a stranger told us */
    read_ring(&reading, possible && !lost ? *position : header->ring_tail);
    *position = header->ring_head;
    buf_finish(&reading.copy);
    return reading.passed;
}
