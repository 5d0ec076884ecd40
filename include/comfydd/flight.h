/* Flight memory: the layout of the shared mapping in which a traced process keeps its spans.
 *
 * It exists so that nothing recorded is lost when the process is killed: whoever holds the mapping afterwards (the
 * launcher, or the next start) can read it. It crosses a process and a version border, therefore:
 *   - fixed-width fields in native byte order; readers check magic, version and every offset, and trust nothing;
 *   - add-only: new fields go into reserved space, a changed meaning takes a new version;
 *   - tag names are stored once in the mapping itself (the key table), so a reader needs no table of its own.
 *
 *     +----------------+ 0
 *     | flight_header  |
 *     +----------------+ keys_offset      NUL-terminated names; a tag's key number is the index of its name
 *     | key table      |
 *     +----------------+ identity_offset  what all spans share: service, env, ... as tag entries
 *     | identity       |
 *     +----------------+ slots_offset     spans still open: slot_count slots of slot_size bytes
 *     | slot 0 .. n-1  |
 *     +----------------+ ring_offset      finished spans not yet acknowledged by the agent: records, oldest first
 *     | ring           |
 *     +----------------+ total_size
 *
 * Writers publish with release stores in program order; a SIGKILL therefore leaves every published field whole. */
#ifndef COMFYDD_FLIGHT_LAYOUT_H
#define COMFYDD_FLIGHT_LAYOUT_H

#include <stdint.h>

#define FLIGHT_MAGIC   UINT64_C(0x544847494c464443) /* "CDFLIGHT" on a little-endian machine */
#define FLIGHT_VERSION 1u

struct flight_header {
    uint64_t magic; /* stored last at creation: a mapping without it was never finished */
    uint32_t version;
    uint32_t header_size;
    uint64_t total_size;
    uint32_t keys_offset, keys_size;         /* bytes */
    uint32_t identity_offset, identity_size; /* bytes; size is the capacity */
    uint32_t identity_used;                  /* bytes in use; released after the entries are written */
    uint32_t slots_offset, slot_size, slot_count;
    uint64_t ring_offset, ring_size; /* bytes; size is a power of two */
    int32_t pid;
    uint32_t clean_exit;      /* 1 once the process said goodbye itself */
    uint64_t pid_start_ticks; /* field 22 of /proc/PID/stat: tells a reused pid from the same process */
    char boot_id[40];         /* /proc/sys/kernel/random/boot_id, NUL-terminated, or empty */
    /* The ring's two ends count bytes since the beginning and never wrap; position modulo ring_size is the place.
     * tail <= head <= tail + ring_size. */
    uint64_t ring_head;                                 /* end of the last complete record */
    uint64_t ring_tail;                                 /* start of the first record still wanted */
    uint64_t spans_recorded, spans_sent, spans_dropped; /* counts since creation */
    /* Whoever looks after the process (comfydd run), as pid and pid_start_ticks say it of the process itself; 0: nobody. */
    int32_t supervisor_pid;
    uint32_t told; /* 1: after the death, the jobs that were running have been recorded */
    uint64_t supervisor_start_ticks;
    /* The last sign of life, ns since the Unix epoch (written when a workflow begins, and every second while a
     * span is open), and the figures of then, in bytes; 0 when unknown. The peak is that of the workflow that was running. */
    uint64_t alive_ns;
    uint64_t rss_bytes, ram_available_bytes, vram_allocated_bytes, vram_peak_bytes;
    /* What the watchdog has found, while it is so. */
    /* Since the Unix epoch: nothing has begun or ended since, with spans open; 0: not so. */
    uint64_t stalled_since_ns;
    /* The thread in which an exception has left the executor; 0: a workflow has begun since. */
    int32_t raised_thread;
    uint32_t worker_gone; /* 1: that thread has ended */
    /* 1: the process has become another program (execv), whose next memory has noted it here. */
    uint32_t replaced;
    uint32_t reserved_too;
    /* What only that supervisor and those below it know: tells it that a file of another user is one of theirs. 0: none. */
    uint64_t supervisor_secret;
    uint64_t reserved[5];
};

/* What a span knows of its trace; repeated in every span so that any span can be the first of a chunk. */
struct flight_trace {
    uint64_t trace_id_high, trace_id_low;     /* low is never 0 */
    uint64_t root_span_id;                    /* this process's workflow span */
    double agent_rate, rule_rate, limit_rate; /* 0..1, or negative when that decision was not consulted */
    int8_t priority;                          /* Datadog sampling priority: -1, 0, 1, 2 */
    int8_t mechanism;  /* Datadog decision maker (0 default, 1 agent, 3 rule), -1 none or inherited */
    uint8_t inherited; /* 1 when the priority came with the trace and must not be decided again */
    uint8_t reserved;
    /* Of the span, not of the trace; here was room. Seconds since the Unix epoch: when the watchdog found that nothing had
     * begun or ended for too long while the span was open; 0: never. */
    uint32_t stalled_at_s;
};

enum flight_span_kind { FLIGHT_WORKFLOW = 1, FLIGHT_NODE = 2 };

struct flight_span {
    struct flight_trace trace;
    uint64_t span_id, parent_id; /* parent 0: a root */
    uint64_t start_ns, end_ns;   /* since the Unix epoch; end 0 while open */
    uint64_t partial_version;    /* of the last long-running snapshot sent, 0 when none was */
    uint16_t kind;               /* enum flight_span_kind */
    uint8_t error;               /* 0 or 1 */
    uint8_t waiting;             /* 1: opened, but its own work has not begun (it waits for its inputs) */
    uint32_t tags_size;          /* bytes of entries that follow, released after they are written */
};

/* A tag entry: this header, `size` bytes of value, then zero bytes up to a multiple of 8. */
struct flight_tag {
    uint16_t key;  /* index into the key table */
    uint16_t type; /* enum flight_tag_type */
    uint32_t size; /* bytes of the value */
};

enum flight_tag_type {
    FLIGHT_TEXT = 1,   /* UTF-8, not terminated; readers sanitise */
    FLIGHT_NUMBER = 2, /* one double */
};

enum flight_slot_state { FLIGHT_SLOT_FREE = 0, FLIGHT_SLOT_TAKEN = 1, FLIGHT_SLOT_OPEN = 2 };

/* An open span. Entries follow the struct, up to slot_size. */
struct flight_slot {
    uint32_t state; /* enum flight_slot_state; TAKEN while being filled for the first time */
    uint32_t reserved;
    /* ring_head as it will be once this span's record is complete, 0 before: when ring_head has reached it, the span
     * is in the ring and the slot is a left-over. */
    uint64_t closing_at;
    struct flight_span span;
};

enum flight_record_state { FLIGHT_RECORD_WANTED = 1, FLIGHT_RECORD_SENT = 2, FLIGHT_RECORD_PADDING = 3 };

/* A finished span. Entries follow the struct; a record never wraps (padding fills the end of the ring). */
struct flight_record {
    uint32_t size;  /* bytes of the whole record, a multiple of 8 */
    uint32_t state; /* enum flight_record_state */
    struct flight_span span;
};

#endif
