#include "trace/span.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/each_node.h"
#include "flight.h"
#include "trace/ids.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct span {
    uint32_t connection;      /* the one it was opened under */
    struct flight_slot *slot; /* NULL: none was free */
    struct flight_span *data; /* in the slot, or `own` */
    char *next, *end;         /* where entries go in the slot; equal when they go elsewhere */
    struct buf more;          /* entries that the slot has no room for */
    struct flight_span own;
};

/* Counted up by every connect and disconnect: a span of an earlier connection is dead, its slot may be unmapped. */
EACH_NODE static uint32_t connection;
EACH_NODE static struct flight *connected;
EACH_NODE static void (*wake_up)(enum flight_span_kind kind);

/* The last one that ended, for the next: most nodes run one after the other. */
EACH_NODE static struct span *spare;

void span_connect(struct flight *flight, void (*wake)(enum flight_span_kind kind)) {
    __atomic_store_n(&wake_up, wake, __ATOMIC_RELAXED);
    __atomic_add_fetch(&connection, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&connected, flight, __ATOMIC_RELEASE);
}

void span_disconnect(void) {
    __atomic_store_n(&connected, NULL, __ATOMIC_RELAXED);
    __atomic_add_fetch(&connection, 1, __ATOMIC_RELEASE);
}

void span_note_figures(const struct flight_figures *figures) {
    struct flight *flight = __atomic_load_n(&connected, __ATOMIC_ACQUIRE);
    if (flight) flight_note_figures(flight, figures);
}

void span_note_raised(bool raised) {
    struct flight *flight = __atomic_load_n(&connected, __ATOMIC_ACQUIRE);
    if (!flight || (!raised && !flight_raised(flight))) return;
    flight_note_raised(flight, raised ? (int32_t)syscall(SYS_gettid) : 0);
}

static bool alive(const struct span *span) {
    return span && span->connection == __atomic_load_n(&connection, __ATOMIC_ACQUIRE);
}

struct span *span_start(enum flight_span_kind kind, const struct flight_trace *trace, uint64_t span_id,
                        uint64_t parent_id, uint64_t start_ns) {
    uint32_t current = __atomic_load_n(&connection, __ATOMIC_ACQUIRE);
    struct flight *flight = __atomic_load_n(&connected, __ATOMIC_ACQUIRE);
    if (!flight) return NULL;
    /* The exporter's thread gives the others. Were this one left to it, a kill that comes first would leave a span in a file
     * whose last sign may be days old, which is removed. */
    if (kind == FLIGHT_WORKFLOW) flight_note_life(flight, clock_wall_ns());
    struct span *span = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE);
    if (!span) span = malloc(sizeof *span);
    if (!span) {
        flight_count_lost(flight);
        return NULL;
    }
    span->connection = current;
    span->more = (struct buf){0};
    span->slot = flight_take_slot(flight);
    if (span->slot) {
        span->data = &span->slot->span;
        span->next = (char *)(span->slot + 1);
        span->end = (char *)span->slot + FLIGHT_SLOT_SIZE;
    } else {
        span->own = (struct flight_span){0};
        span->data = &span->own;
        span->next = span->end = NULL;
    }
    span->data->trace = *trace;
    span->data->span_id = span_id ? span_id : ids_next();
    span->data->parent_id = parent_id;
    span->data->start_ns = start_ns;
    span->data->kind = (uint16_t)kind;
    if (span->slot) __atomic_store_n(&span->slot->state, FLIGHT_SLOT_OPEN, __ATOMIC_RELEASE);
    if (kind == FLIGHT_WORKFLOW) __atomic_load_n(&wake_up, __ATOMIC_RELAXED)(kind);
    return span;
}

uint64_t span_id(const struct span *span) {
    return alive(span) ? span->data->span_id : 0;
}

/* ---- tags ---- */

static const char cut_mark[] = "...";
enum { CUT_MARK = sizeof cut_mark - 1 };

/* Where the next entry goes: into the slot while there is room; once something went to the heap everything does, so
 * that of a repeated key the last one stays the last. NULL without memory. */
static char *entry_room(struct span *span, size_t room) {
    if (room <= (size_t)(span->end - span->next)) return span->next;
    char *at = buf_room(&span->more, room);
    if (at) span->end = span->next;
    return at;
}

/* The entry is written where entry_room said: readers may see it. */
static void entry_done(struct span *span, const char *at, size_t room) {
    if (at != span->next) {
        span->more.size += room;
        return;
    }
    span->next += room;
    __atomic_store_n(&span->data->tags_size, (uint32_t)(span->next - (char *)(span->slot + 1)),
                     __ATOMIC_RELEASE);
}

/* The beginning of `text`, at most `limit` bytes, that does not end within a character. Text that is no UTF-8 may be
 * cut anywhere. */
static size_t whole_characters(const char *text, size_t limit) {
    enum { LONGEST = 4 };
    for (size_t size = limit; size > limit - LONGEST; size--)
        if (((unsigned char)text[size] & 0xc0) != 0x80) return size;
    return limit;
}

void span_text(struct span *span, enum tag key, const char *text, size_t size) {
    if (!alive(span)) return;
    const size_t limit = key == TAG_ERROR_STACK ? 25000 : 5000;
    bool cut = size > limit;
    if (cut) size = whole_characters(text, limit - CUT_MARK) + CUT_MARK;
    size_t room = flight_tag_room(size);
    char *at = entry_room(span, room);
    if (!at) return;
    flight_tag_write(at, (uint16_t)key, FLIGHT_TEXT, text, size);
    if (cut) memcpy(at + sizeof(struct flight_tag) + size - CUT_MARK, cut_mark, CUT_MARK);
    entry_done(span, at, room);
}

void span_number(struct span *span, enum tag key, double value) {
    if (!alive(span)) return;
    size_t room = flight_tag_room(sizeof value);
    char *at = entry_room(span, room);
    if (!at) return;
    flight_tag_write(at, (uint16_t)key, FLIGHT_NUMBER, &value, sizeof value);
    entry_done(span, at, room);
}

/* The value of the first number under that key in the entries; NULL. */
static char *find_number(void *entries, size_t size, enum tag key) {
    struct flight_tag tag;
    const void *value;
    for (size_t offset = 0; flight_tag_next(entries, size, &offset, &tag, &value);)
        if (tag.key == key && tag.type == FLIGHT_NUMBER) return (char *)value;
    return NULL;
}

void span_renumber(struct span *span, enum tag key, double value) {
    typedef uint64_t __attribute__((may_alias)) word;
    if (!alive(span)) return;
    char *at = span->slot ? find_number(span->slot + 1, span->data->tags_size, key) : NULL;
    if (!at) at = find_number(span->more.data, span->more.size, key);
    if (!at) {
        span_number(span, key, value);
        return;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    __atomic_store_n((word *)at, bits, __ATOMIC_RELAXED); /* whole for whoever reads it now */
}

void span_error(struct span *span, const char *type, const char *message, const char *stack) {
    if (!alive(span)) return;
    __atomic_store_n(&span->data->error, 1, __ATOMIC_RELAXED);
    if (type) span_text(span, TAG_ERROR_TYPE, type, strlen(type));
    if (message) span_text(span, TAG_ERROR_MESSAGE, message, strlen(message));
    if (stack) span_text(span, TAG_ERROR_STACK, stack, strlen(stack));
}

void span_wait(struct span *span, int waiting, uint64_t start_ns) {
    if (!alive(span)) return;
    if (!waiting) __atomic_store_n(&span->data->start_ns, start_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&span->data->waiting, waiting != 0, __ATOMIC_RELEASE);
}

/* ---- the end ---- */

static void free_span(struct span *span) {
    if (!span) return;
    if (span->more.data) buf_finish(&span->more);
    span = __atomic_exchange_n(&spare, span, __ATOMIC_ACQ_REL);
    if (span) free(span);
}

/* The ring's memory is cold, and an instruction that locks waits until all is there that was written before: none of
 * ours comes after the record. */
static void finish_in_slot(struct span *span) {
    struct flight_slot *slot = span->slot;
    struct buf more = span->more;
    span->more = (struct buf){0};
    free_span(span);
    flight_append(__atomic_load_n(&connected, __ATOMIC_ACQUIRE), &slot->span, slot + 1, more.data, more.size,
                  slot);
    if (more.data) buf_finish(&more);
}

static void finish_in_heap(struct span *span) {
    flight_append(__atomic_load_n(&connected, __ATOMIC_ACQUIRE), &span->own, NULL, span->more.data,
                  span->more.size, NULL);
    free_span(span);
}

void span_finish(struct span *span, uint64_t end_ns) {
    if (!alive(span)) {
        free_span(span);
        return;
    }
    struct flight_span *data = span->data;
    enum flight_span_kind kind = data->kind;
    __atomic_store_n(&data->end_ns, end_ns > data->start_ns ? end_ns : data->start_ns, __ATOMIC_RELAXED);
    if (span->slot)
        finish_in_slot(span);
    else
        finish_in_heap(span);
    __atomic_load_n(&wake_up, __ATOMIC_RELAXED)(kind);
}

void span_discard(struct span *span) {
    if (alive(span) && span->slot)
        flight_release_slot(__atomic_load_n(&connected, __ATOMIC_ACQUIRE), span->slot);
    free_span(span);
}
