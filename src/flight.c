/* The writers' side and the drainer's side of flight memory; flight_view.c is the foreign reader's.
 *
 * Who may write what, and when:
 *   - a slot belongs to the thread that took it until it is free again; both happen under the ring's lock;
 *   - an open slot stops being readable (closing_at is set, or it is released) only under that lock, so
 *     whoever holds the lock and sees it open reads a span that stays in its place;
 *   - ring_head is stored under the lock, ring_tail by the drainer only; what lies between belongs to the
 * drainer.
 *
 * For a reader after a kill the order of stores is all that counts: entries before tags_size, the record
 * before closing_at, closing_at before ring_head, ring_head before the slot is free. At every moment in
 * between, a span is either in an open slot that is no left-over, or in the ring before ring_head; never in
 * both, never in neither. */
#include "flight.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "base/spin.h"
#include "flight_files.h"
#include "trace/tags.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1u
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older ones refuse it */
#endif

_Static_assert(sizeof(struct flight_header) % 8 == 0 && sizeof(struct flight_slot) % 8 == 0 &&
                   sizeof(struct flight_record) % 8 == 0,
               "entries start on a multiple of 8");

enum { PAGE = 4096 };

struct flight {
    struct flight_header *header; /* the mapping's first byte; owned */
    size_t size;
    unsigned char *slots, *ring; /* in the mapping */
    uint32_t locked;             /* the ring's lock; not in the mapping: a reader needs none */
    /* Under the lock; `taken` is read without. */
    uint32_t taken; /* slots */
    uint32_t hint;  /* below it no slot is free; low ones are used again first, to touch few pages */
};

/* ---- entries ---- */

size_t flight_tag_count(const void *entries, size_t size) {
    size_t offset = 0, count = 0;
    struct flight_tag tag;
    const void *value;
    while (flight_tag_next(entries, size, &offset, &tag, &value))
        count++;
    return count;
}

/* ---- making the mapping ---- */

static void identify_process(struct flight_header *header, const struct process_identity *supervisor) {
    struct process_identity self = process_self();
    _Static_assert(sizeof header->boot_id == PROCESS_BOOT_ID_SIZE, "room for one");
    header->pid = self.pid;
    header->pid_start_ticks = self.start_ticks;
    process_boot_id(header->boot_id);
    if (!supervisor) return;
    header->supervisor_pid = supervisor->pid;
    header->supervisor_start_ticks = supervisor->start_ticks;
}

/* -errno, -ENOSYS for what the kernel, or a container's filter of system calls, never does. */
static int error_of(int reason) {
    return reason == EPERM || reason == EOPNOTSUPP ? -ENOSYS : -reason;
}

/* A file in memory without a name, its pages reserved: a descriptor, -ENOSYS where the kernel refuses such files, or
 * -errno. */
static int make_nameless_file(size_t size) {
    /* The system call itself: glibc has a wrapper only since 2.27. A file larger than the file size limit
     * would raise SIGXFSZ, even one in memory: then we do without the file. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur < size) return -ENOSYS;
    int fd = (int)syscall(SYS_memfd_create, "comfydd-flight", MFD_CLOEXEC);
    if (fd < 0) return error_of(errno);
    int failed;
    do
        failed = fallocate(fd, 0, 0, (off_t)size);
    while (failed && errno == EINTR);
    if (!failed) return fd;
    int reason = errno;
    close(fd);
    return error_of(reason);
}

/* Shared memory of that size, its pages reserved; NULL without. */
static void *map_memory(const char *folder, size_t size) {
    const struct process_identity self = process_self();
    if (folder) flight_files_make_room(folder, &self);
    int named = folder ? flight_files_create(folder, size) : -ENOENT;
    if (folder && named < 0)
        log_line("no file for spans can be kept in %s (%s): a kill loses what was not sent, "
                 "and the record of jobs that were running (comfydd doctor)",
                 folder, strerror(-named));
    int fd = named >= 0 ? named : make_nameless_file(size);
    if (fd < 0 && fd != -ENOSYS) return NULL;
    int flags = fd >= 0 ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd >= 0 ? fd : -1, 0);
    if (named >= 0) {
        if (memory == MAP_FAILED) flight_files_remove();
    } else if (fd >= 0) {
        close(fd);
    }
    return memory == MAP_FAILED ? NULL : memory;
}

static size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

static size_t keys_size(void) {
    size_t size = 0;
    for (int i = 0; i < TAG_COUNT; i++)
        size += strlen(tag_names[i]) + 1;
    return size;
}

/* Fills the header, but for its magic, and the tables that never change. */
static void lay_out(struct flight_header *header, size_t total, const void *identity, size_t identity_size,
                    const struct process_identity *supervisor) {
    unsigned char *memory = (unsigned char *)header;
    header->version = FLIGHT_VERSION;
    header->header_size = sizeof *header;
    header->total_size = total;
    header->keys_offset = sizeof *header;
    header->keys_size = (uint32_t)keys_size();
    header->identity_offset = (uint32_t)round_up(header->keys_offset + header->keys_size, 8);
    header->identity_size = header->identity_used = (uint32_t)identity_size;
    header->slots_offset = (uint32_t)round_up(header->identity_offset + identity_size, PAGE);
    header->slot_size = FLIGHT_SLOT_SIZE;
    header->slot_count = FLIGHT_SLOT_COUNT;
    header->ring_offset = header->slots_offset + (uint64_t)FLIGHT_SLOT_SIZE * FLIGHT_SLOT_COUNT;
    header->ring_size = FLIGHT_RING_SIZE;
    char *name = (char *)memory + header->keys_offset;
    for (int i = 0; i < TAG_COUNT; i++)
        name = stpcpy(name, tag_names[i]) + 1;
    if (identity_size) memcpy(memory + header->identity_offset, identity, identity_size);
    identify_process(header, supervisor);
    header->alive_ns = clock_wall_ns();
}

struct flight *flight_create(const void *identity, size_t identity_size) {
    return flight_create_in(NULL, NULL, identity, identity_size);
}

struct flight *flight_create_in(const char *folder, const struct process_identity *supervisor,
                                const void *identity, size_t identity_size) {
    const size_t most_identity = 1u << 20; /* keeps every offset within 32 bits */
    if (identity_size > most_identity) return NULL;
    int saved_errno = errno;
    size_t before_slots =
        round_up(round_up(sizeof(struct flight_header) + keys_size(), 8) + identity_size, PAGE);
    size_t size = before_slots + (size_t)FLIGHT_SLOT_SIZE * FLIGHT_SLOT_COUNT + FLIGHT_RING_SIZE;
    struct flight *flight = calloc(1, sizeof *flight);
    struct flight_header *header = flight ? map_memory(folder, size) : NULL;
    if (!header) {
        free(flight);
        errno = saved_errno;
        return NULL;
    }
    lay_out(header, size, identity, identity_size, supervisor);
    flight->header = header;
    flight->size = size;
    flight->slots = (unsigned char *)header + header->slots_offset;
    flight->ring = (unsigned char *)header + header->ring_offset;
    __atomic_store_n(&header->magic, FLIGHT_MAGIC, __ATOMIC_RELEASE);
    errno = saved_errno;
    return flight;
}

void flight_destroy(struct flight *flight) {
    if (!flight) return;
    int saved_errno = errno;
    munmap(flight->header, flight->size);
    free(flight);
    errno = saved_errno;
}

void flight_make_resident(struct flight *flight) {
    int saved_errno = errno;
    madvise(flight->header, flight->size, MADV_POPULATE_WRITE);
    errno = saved_errno;
}

void flight_note_life(struct flight *flight, uint64_t wall_ns) {
    __atomic_store_n(&flight->header->alive_ns, wall_ns, __ATOMIC_RELAXED);
}

void flight_note_figures(struct flight *flight, const struct flight_figures *figures) {
    struct flight_header *header = flight->header;
    __atomic_store_n(&header->rss_bytes, figures->rss_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&header->ram_available_bytes, figures->ram_available_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&header->vram_allocated_bytes, figures->vram_allocated_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&header->vram_peak_bytes, figures->vram_peak_bytes, __ATOMIC_RELAXED);
}

void flight_note_raised(struct flight *flight, int32_t thread) {
    __atomic_store_n(&flight->header->worker_gone, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&flight->header->raised_thread, thread, __ATOMIC_RELEASE);
}

int32_t flight_raised(const struct flight *flight) {
    return __atomic_load_n(&flight->header->raised_thread, __ATOMIC_ACQUIRE);
}

void flight_note_worker_gone(struct flight *flight) {
    __atomic_store_n(&flight->header->worker_gone, 1, __ATOMIC_RELAXED);
}

bool flight_is_worker_gone(const struct flight *flight) {
    return __atomic_load_n(&flight->header->worker_gone, __ATOMIC_RELAXED);
}

/* ---- slots ---- */

static struct flight_slot *slot_at(const struct flight *flight, uint32_t index) {
    return (struct flight_slot *)(flight->slots + (size_t)index * FLIGHT_SLOT_SIZE);
}

/* The first free one, TAKEN now; NULL. The lock is held. */
static struct flight_slot *take_slot(struct flight *flight) {
    for (uint32_t index = flight->hint; index < FLIGHT_SLOT_COUNT; index++) {
        struct flight_slot *slot = slot_at(flight, index);
        if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != FLIGHT_SLOT_FREE) continue;
        __atomic_store_n(&slot->state, FLIGHT_SLOT_TAKEN, __ATOMIC_RELAXED);
        __atomic_store_n(&flight->taken, flight->taken + 1, __ATOMIC_RELAXED);
        flight->hint = index + 1;
        return slot;
    }
    flight->hint = FLIGHT_SLOT_COUNT;
    return NULL;
}

/* The lock is held. */
static void free_slot(struct flight *flight, struct flight_slot *slot) {
    uint32_t index = (uint32_t)(((unsigned char *)slot - flight->slots) / FLIGHT_SLOT_SIZE);
    __atomic_store_n(&slot->state, FLIGHT_SLOT_FREE, __ATOMIC_RELEASE);
    __atomic_store_n(&flight->taken, flight->taken - 1, __ATOMIC_RELAXED);
    if (index < flight->hint) flight->hint = index;
}

struct flight_slot *flight_take_slot(struct flight *flight) {
    spin_lock(&flight->locked);
    struct flight_slot *slot = take_slot(flight);
    spin_unlock(&flight->locked);
    if (!slot) return NULL;
    __atomic_store_n(&slot->closing_at, 0, __ATOMIC_RELAXED);
    memset(&slot->span, 0, sizeof slot->span);
    return slot;
}

void flight_release_slot(struct flight *flight, struct flight_slot *slot) {
    spin_lock(&flight->locked);
    free_slot(flight, slot);
    spin_unlock(&flight->locked);
}

uint32_t flight_slots_taken(const struct flight *flight) {
    return __atomic_load_n(&flight->taken, __ATOMIC_RELAXED);
}

/* Whether the slot holds an open span. With the lock held the answer stays true until it is released. */
static bool slot_open(const struct flight_slot *slot) {
    return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == FLIGHT_SLOT_OPEN &&
           !__atomic_load_n(&slot->closing_at, __ATOMIC_RELAXED);
}

bool flight_copy_slot(struct flight *flight, uint32_t index, struct flight_slot *copy) {
    typedef uint64_t __attribute__((may_alias)) word;
    _Static_assert(sizeof copy->span % sizeof(word) == 0, "copied by words");
    const struct flight_slot *slot = slot_at(flight, index);
    if (!slot_open(slot)) return false;
    spin_lock(&flight->locked);
    bool open = slot_open(slot);
    if (open) {
        uint32_t tags_size = __atomic_load_n(&slot->span.tags_size, __ATOMIC_ACQUIRE);
        *copy = (struct flight_slot){.state = FLIGHT_SLOT_OPEN};
        /* Its owner goes on working: fields change under our hands, but each is whole. */
        const word *from = (const word *)&slot->span;
        word *to = (word *)&copy->span;
        for (size_t i = 0; i < (sizeof copy->span + tags_size) / sizeof(word); i++)
            to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED); /* the entries follow, a multiple of 8 */
        copy->span.tags_size = tags_size;
        copy->span.end_ns = 0; /* set already when it is about to be finished */
    }
    spin_unlock(&flight->locked);
    return open;
}

void flight_note_snapshot(struct flight *flight, uint32_t index, uint64_t span_id, uint64_t version) {
    struct flight_slot *slot = slot_at(flight, index);
    spin_lock(&flight->locked);
    if (slot_open(slot) && slot->span.span_id == span_id)
        __atomic_store_n(&slot->span.partial_version, version, __ATOMIC_RELAXED);
    spin_unlock(&flight->locked);
}

void flight_note_stall(struct flight *flight, uint64_t since_ns, uint64_t now_ns) {
    __atomic_store_n(&flight->header->stalled_since_ns, since_ns, __ATOMIC_RELAXED);
    if (!since_ns) return;
    spin_lock(&flight->locked);
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT; i++) {
        struct flight_slot *slot = slot_at(flight, i);
        if (slot_open(slot) && !__atomic_load_n(&slot->span.waiting, __ATOMIC_RELAXED))
            __atomic_store_n(&slot->span.trace.stalled_at_s, (uint32_t)(now_ns / 1000000000),
                             __ATOMIC_RELAXED);
    }
    spin_unlock(&flight->locked);
}

/* ---- the ring ---- */

static struct flight_record *record_at(const struct flight *flight, uint64_t position) {
    return (struct flight_record *)(flight->ring + position % FLIGHT_RING_SIZE);
}

/* The end of `size` bytes of record at `head`; the bytes before the ring's end where they do not fit go to
 * *padding. */
static uint64_t end_of_record(uint64_t head, uint64_t size, uint64_t *padding) {
    uint64_t to_ring_end = FLIGHT_RING_SIZE - head % FLIGHT_RING_SIZE;
    *padding = size > to_ring_end ? to_ring_end : 0;
    return head + *padding + size;
}

static void write_record(struct flight_record *record, const struct flight_span *span, uint32_t size,
                         const void *tags, const void *more, size_t more_size) {
    char *entries = (char *)(record + 1);
    record->size = size;
    record->state = FLIGHT_RECORD_WANTED;
    record->span = *span;
    record->span.tags_size = span->tags_size + (uint32_t)more_size;
    if (span->tags_size) memcpy(entries, tags, span->tags_size);
    if (more_size) memcpy(entries + span->tags_size, more, more_size);
}

bool flight_append(struct flight *flight, const struct flight_span *span, const void *tags, const void *more,
                   size_t more_size, struct flight_slot *slot) {
    struct flight_header *header = flight->header;
    uint64_t size = sizeof(struct flight_record) + span->tags_size + more_size, padding;
    spin_lock(&flight->locked);
    uint64_t head = header->ring_head;
    uint64_t end = end_of_record(head, size, &padding);
    bool fits = size <= FLIGHT_RING_SIZE &&
                end - __atomic_load_n(&header->ring_tail, __ATOMIC_ACQUIRE) <= FLIGHT_RING_SIZE;
    __atomic_store_n(&header->spans_recorded, header->spans_recorded + 1, __ATOMIC_RELAXED);
    if (fits) {
        if (padding) {
            struct flight_record *filler = record_at(flight, head);
            filler->size = (uint32_t)padding;
            filler->state = FLIGHT_RECORD_PADDING;
        }
        write_record(record_at(flight, head + padding), span, (uint32_t)size, tags, more, more_size);
        if (slot) __atomic_store_n(&slot->closing_at, end, __ATOMIC_RELEASE);
        __atomic_store_n(&header->ring_head, end, __ATOMIC_RELEASE);
    } else {
        __atomic_add_fetch(&header->spans_dropped, 1, __ATOMIC_RELAXED);
    }
    if (slot) free_slot(flight, slot);
    spin_unlock(&flight->locked);
    return fits;
}

struct flight_record *flight_next(struct flight *flight, uint64_t *position) {
    uint64_t head = __atomic_load_n(&flight->header->ring_head, __ATOMIC_ACQUIRE);
    uint64_t at = *position > flight->header->ring_tail ? *position : flight->header->ring_tail;
    struct flight_record *found = NULL;
    while (at < head && !found) {
        struct flight_record *record = record_at(flight, at);
        if (record->state == FLIGHT_RECORD_WANTED) found = record;
        at += record->size;
    }
    *position = at;
    return found;
}

void flight_settle(struct flight *flight, struct flight_record *record, bool sent) {
    struct flight_header *header = flight->header;
    __atomic_store_n(&record->state, FLIGHT_RECORD_SENT, __ATOMIC_RELEASE);
    __atomic_add_fetch(sent ? &header->spans_sent : &header->spans_dropped, 1, __ATOMIC_RELAXED);
}

void flight_trim(struct flight *flight) {
    uint64_t head = __atomic_load_n(&flight->header->ring_head, __ATOMIC_ACQUIRE);
    uint64_t at = flight->header->ring_tail;
    while (at < head && record_at(flight, at)->state != FLIGHT_RECORD_WANTED)
        at += record_at(flight, at)->size;
    __atomic_store_n(&flight->header->ring_tail, at, __ATOMIC_RELEASE);
}

double flight_fill(const struct flight *flight) {
    /* Tail first: it may only be behind then, and the difference never negative. */
    uint64_t tail = __atomic_load_n(&flight->header->ring_tail, __ATOMIC_ACQUIRE);
    uint64_t used = __atomic_load_n(&flight->header->ring_head, __ATOMIC_ACQUIRE) - tail;
    return used < FLIGHT_RING_SIZE ? (double)used / FLIGHT_RING_SIZE : 1;
}

/* ---- the whole ---- */

struct flight_counts flight_counts(const struct flight *flight) {
    const struct flight_header *header = flight->header;
    return (struct flight_counts){
        .recorded = __atomic_load_n(&header->spans_recorded, __ATOMIC_RELAXED),
        .sent = __atomic_load_n(&header->spans_sent, __ATOMIC_RELAXED),
        .dropped = __atomic_load_n(&header->spans_dropped, __ATOMIC_RELAXED),
    };
}

void flight_count_lost(struct flight *flight) {
    struct flight_header *header = flight->header;
    spin_lock(&flight->locked);
    __atomic_store_n(&header->spans_recorded, header->spans_recorded + 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&header->spans_dropped, 1, __ATOMIC_RELAXED); /* the drainer counts there too */
    spin_unlock(&flight->locked);
}

const void *flight_identity(const struct flight *flight, size_t *size) {
    *size = flight->header->identity_used;
    return (const unsigned char *)flight->header + flight->header->identity_offset;
}

const void *flight_memory(const struct flight *flight, size_t *size) {
    *size = flight->size;
    return flight->header;
}

void flight_set_supervisor_secret(struct flight *flight, uint64_t secret) {
    __atomic_store_n(&flight->header->supervisor_secret, secret, __ATOMIC_RELAXED);
}

void flight_set_clean_exit(struct flight *flight) {
    __atomic_store_n(&flight->header->clean_exit, 1, __ATOMIC_RELEASE);
}

void flight_remove_delivered(const struct flight *flight) {
    struct flight_counts spans = flight_counts(flight);
    if (spans.sent + spans.dropped == spans.recorded && !flight_slots_taken(flight)) flight_files_remove();
}
