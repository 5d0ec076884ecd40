/* snapshots: copies of spans that have been open for long, to be sent before they are finished. One thread; no I/O.
 *
 * A workflow that is kept (priority above 0) is due at the age that the configuration says, then every five minutes,
 * for twelve hours; with it go its nodes that are running. A snapshot's version is the span's age in milliseconds, so
 * a span's last version tells when that was. (datadog: dd-trace-java, PendingTraceBuffer and LongRunningTracesTracker.) */
#ifndef COMFYDD_SNAPSHOTS_H
#define COMFYDD_SNAPSHOTS_H

#include "flight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot {
    uint32_t index; /* of the slot */
    uint64_t version;
    bool is_due;
    union {
        struct flight_slot slot;
        unsigned char bytes[FLIGHT_SLOT_SIZE]; /* the entries follow the slot's struct */
    };
};

/* Zero-initialised is empty and valid. */
struct snapshots {
    struct snapshot *list; /* owned; trace by trace */
    size_t count, capacity;
};

/* Copies what is due at `now_ns` (wall-clock). Without memory nothing is. */
void snapshots_gather(struct snapshots *snapshots, struct flight *flight, double after_s, uint64_t now_ns);

/* All of them have been sent. */
void snapshots_note(const struct snapshots *snapshots, struct flight *flight);

void snapshots_finish(struct snapshots *snapshots);

#endif
