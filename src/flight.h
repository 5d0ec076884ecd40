/* flight: writer, drainer and tolerant reader of the flight memory (layout: include/comfydd/flight.h).
 *
 * In the traced process the mapping is made at the first workflow, its pages reserved, so that a full /dev/shm or
 * memory limit shows as an error here and never as SIGBUS later. App threads write (slots lock-free, the ring under a
 * short spin lock); one thread drains. After a fork the child must not touch the parent's mapping: it destroys its
 * handle and makes its own.
 *
 * Readers of a foreign mapping (after a death) use flight_view: it checks everything and trusts nothing. */
#ifndef COMFYDD_FLIGHT_H
#define COMFYDD_FLIGHT_H

#include "base/process.h"
#include "comfydd/flight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FLIGHT_RING_SIZE  (4u << 20) /* bytes: about 8,000 node spans */
#define FLIGHT_SLOT_SIZE  1024u
#define FLIGHT_SLOT_COUNT 1024u

struct flight;

/* ---- entries ---- */

/* Bytes that an entry with a value of `size` bytes takes. */
static inline size_t flight_tag_room(size_t size) {
    return sizeof(struct flight_tag) + ((size + 7) & ~(size_t)7);
}

/* memcpy, without its call and its choice of a way, which for the short texts of most entries would be most of the work. */
static inline void flight_copy(char *to, const char *from, size_t size) {
    enum { WORD = sizeof(uint64_t), SHORT = 8 * WORD };
    uint64_t first, last;
    if (size < WORD || size > SHORT) {
        if (size) memcpy(to, from, size); /* of nothing `from` may be NULL */
        return;
    }
    memcpy(&last, from + size - WORD, WORD);
    for (size_t at = 0; at < size - WORD; at += WORD) {
        memcpy(&first, from + at, WORD);
        memcpy(to + at, &first, WORD);
    }
    memcpy(to + size - WORD, &last, WORD);
}

/* Writes one entry at `at` (flight_tag_room bytes) and returns the byte after it. */
static inline char *flight_tag_write(char *at, uint16_t key, enum flight_tag_type type, const void *value,
                                     size_t size) {
    struct flight_tag tag = {.key = key, .type = (uint16_t)type, .size = (uint32_t)size};
    size_t room = flight_tag_room(size);
    if (room > sizeof tag) memset(at + room - 8, 0, 8);
    memcpy(at, &tag, sizeof tag);
    flight_copy(at + sizeof tag, value, size);
    return at + room;
}

/* Steps through entries: *offset starts at 0. False at the end, and at the first entry that does not fit into
 * `size`. *value is not aligned. */
static inline bool flight_tag_next(const void *entries, size_t size, size_t *offset, struct flight_tag *tag,
                                   const void **value) {
    if (*offset > size || size - *offset < sizeof *tag) return false;
    const char *at = (const char *)entries + *offset;
    memcpy(tag, at, sizeof *tag);
    size_t room = flight_tag_room(tag->size);
    if (room > size - *offset) return false;
    *value = at + sizeof *tag;
    *offset += room;
    return true;
}

/* Whether the entry is a number, and which. */
static inline bool flight_tag_number(const struct flight_tag *tag, const void *value, double *number) {
    if (tag->type != FLIGHT_NUMBER || tag->size != sizeof *number) return false;
    memcpy(number, value, sizeof *number);
    return true;
}

/* How many entries flight_tag_next steps through. */
size_t flight_tag_count(const void *entries, size_t size);

/* ---- the traced process ---- */

/* Makes the mapping: anonymous shared memory (memfd, its pages reserved; without one where the kernel refuses memfd)
 * with the key table of trace/tags.def and the identity entries (at most 1 MiB). NULL when memory or descriptors are
 * out. No descriptor stays open. */
struct flight *flight_create(const void *identity, size_t identity_size);

/* The same in a file of flight_files (whose descriptor stays open), so that it outlasts the process; anonymous when the
 * folder refuses. `supervisor` may be NULL. */
struct flight *flight_create_in(const char *folder, const struct process_identity *supervisor,
                                const void *identity, size_t identity_size);

/* Maps all its pages now, which their first writers would otherwise wait for, one by one. Any thread, at any time; where the
 * kernel cannot (before Linux 5.14) it does nothing. */
void flight_make_resident(struct flight *flight);

/* Unmaps and frees. In a forked child: only this, nothing else, on the parent's handle. NULL is fine. */
void flight_destroy(struct flight *flight);

/* A free slot, in state TAKEN, its span zeroed; NULL when all are taken. The owner fills span and entries, then stores
 * state OPEN (release). Entries are append-only: write them, then release tags_size; only a number may change its value,
 * whole. It is freed by flight_append, or released when its span is to leave nothing. Both wait for the lock of the ring. */
struct flight_slot *flight_take_slot(struct flight *flight);
void flight_release_slot(struct flight *flight, struct flight_slot *slot);

/* Moves a finished span into the ring: the span with its entries (span->tags_size bytes at `tags`) and `more_size`
 * further bytes of entries at `more`. `slot` is the span's slot, or NULL; it is free afterwards, and a reader never sees the
 * span twice or not at all. Returns false when the ring is full: then the span is dropped and counted. */
bool flight_append(struct flight *flight, const struct flight_span *span, const void *tags, const void *more,
                   size_t more_size, struct flight_slot *slot);

/* ---- the drainer (one thread) ---- */

/* The next record in state WANTED at or after *position (0: from the tail; otherwise what an earlier call left there),
 * moved past it; NULL when there is none. Records stay valid and unchanged until flight_trim has passed them. */
struct flight_record *flight_next(struct flight *flight, uint64_t *position);

/* The record has been acknowledged by the agent, or is given up (counted as dropped). */
void flight_settle(struct flight *flight, struct flight_record *record, bool sent);

/* Gives the space of settled records at the ring's beginning back to the writers. */
void flight_trim(struct flight *flight);

/* How full the ring is, 0..1. */
double flight_fill(const struct flight *flight);

/* How many slots are in use; about, while others take and release some. */
uint32_t flight_slots_taken(const struct flight *flight);

/* Copies slot `index` (0 .. FLIGHT_SLOT_COUNT-1) into `copy` (FLIGHT_SLOT_SIZE bytes). False when the slot is not
 * open, or changed hands meanwhile. */
bool flight_copy_slot(struct flight *flight, uint32_t index, struct flight_slot *copy);

/* Notes in the open span `span_id` at slot `index` that a snapshot with this version was sent (if it is still there). */
void flight_note_snapshot(struct flight *flight, uint32_t index, uint64_t span_id, uint64_t version);

/* What the watchdog finds: nothing has begun or ended since then (0: something has); in this process's time. With a moment,
 * notes it in the open spans too. Any thread. */
void flight_note_stall(struct flight *flight, uint64_t since_ns, uint64_t now_ns);

/* The kernel's number of the thread in which an exception has left the executor; 0: a workflow has begun. */
void flight_note_raised(struct flight *flight, int32_t thread);
int32_t flight_raised(const struct flight *flight);

/* That thread has ended. */
void flight_note_worker_gone(struct flight *flight);
bool flight_is_worker_gone(const struct flight *flight);

struct flight_counts {
    uint64_t recorded, sent,
        dropped; /* spans since the mapping was made; recorded are all, the dropped ones too */
};
struct flight_counts flight_counts(const struct flight *flight);

/* A span was lost before it could be opened: counts it as recorded and dropped. */
void flight_count_lost(struct flight *flight);

/* The mapping's identity entries, and the tag names of its key table (tag_names). */
const void *flight_identity(const struct flight *flight, size_t *size);

/* The whole mapping, for a flight_view in this process. */
const void *flight_memory(const struct flight *flight, size_t *size);

/* What was last known of the process's memory, in bytes; 0 when unknown. */
struct flight_figures {
    uint64_t rss_bytes, ram_available_bytes;
    uint64_t vram_allocated_bytes, vram_peak_bytes; /* the peak is that of the running workflow */
};

/* For who reads the memory after a kill: a sign of life, and the figures of now. Any thread. */
void flight_note_life(struct flight *flight, uint64_t wall_ns);
void flight_note_figures(struct flight *flight, const struct flight_figures *figures);

/* What the supervisor knows its own by, see struct flight_header. */
void flight_set_supervisor_secret(struct flight *flight, uint64_t secret);

/* The process ends in an orderly way. */
void flight_set_clean_exit(struct flight *flight);

/* The process ends: its file goes when nothing is left in it (no span is open or waits); else whoever comes next sends
 * it. The mapping stays. */
void flight_remove_delivered(const struct flight *flight);

/* ---- readers of somebody else's mapping ---- */

struct flight_view {
    const unsigned char *memory; /* borrowed */
    struct flight_header header; /* a checked copy */
    const char **names;          /* the key table; owned, like all that follows */
    size_t name_count;
    void *identity; /* entries, as flight_view_each passes them */
    size_t identity_size;
    char *name_text;
};

/* Checks a mapping of `size` bytes. 0, or -EINVAL (not a flight memory, never finished, or inconsistent), -ENOTSUP
 * (another version), -ENOMEM; then nothing needs to be closed. The memory may be written by a hostile process
 * meanwhile: only the view's copies are trusted. It must not shrink: the caller checks or seals the file's size. */
int flight_view_open(struct flight_view *view, const void *memory, size_t size);
void flight_view_close(struct flight_view *view);

/* Where in the memory the state of a span's record or slot is: whoever has delivered the span writes
 * FLIGHT_RECORD_SENT or FLIGHT_SLOT_FREE there. */
struct flight_found {
    uint64_t state_offset;
    bool open;
};

/* Calls `each` for every finished span still wanted (oldest first), then for every open one (never a
 * left-over of a finished one; waiting ones are included and say so), with checked copies valid during the call: the
 * ids are not 0, kind, priority and rates are in range, an open span's end is 0, every entry fits, has a key below
 * name_count and is a text or one number (others are left out). Returns how many were passed; a damaged record ends
 * the ring's part. */
size_t flight_view_each(const struct flight_view *view,
                        void (*each)(void *context, const struct flight_span *span, const void *tags,
                                     struct flight_found found),
                        void *context);

/* Calls `each` for every finished span since *position (0: since the beginning; otherwise what an earlier call for the same
 * memory left there), delivered or not. For who watches a living process, whose spans may be delivered, and their space be
 * used again, between two looks: a look every second sees all unless half a ring of records came in between. */
size_t flight_view_history(const struct flight_view *view, uint64_t *position,
                           void (*each)(void *context, const struct flight_span *span, const void *tags,
                                        struct flight_found found),
                           void *context);

#endif
