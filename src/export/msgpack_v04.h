/* msgpack_v04: a payload of the agent's /v0.4/traces, from spans. Pure: no clock, no I/O, no globals.
 *
 * Format: Datadog trace API v0.4, an array of chunks (one trace each), a chunk an array of span maps; see
 * docs/protocol.md. All text is made valid UTF-8 (bad bytes become U+FFFD) and cut to the agent's limits. */
#ifndef COMFYDD_MSGPACK_V04_H
#define COMFYDD_MSGPACK_V04_H

#include "base/buf.h"
#include "comfydd/flight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One span to encode. Entries are flight tags of `names`, as in the flight memory, already checked for
 * bounds. */
struct v04_span {
    const struct flight_span *span;
    const void *tags;         /* span->tags_size bytes of entries */
    uint64_t partial_version; /* > 0: a long-running snapshot, sent as _dd.partial_version */
    uint64_t end_ns;          /* end, or the moment of the snapshot */
};

/* What all spans share, ready to send, and the scratch memory of the encoder: one thread at a time uses it.
 */
struct v04_identity;

/* Builds the shared part from identity entries (service, env, version, runtime id, user tags, ...). NULL
 * without memory. */
struct v04_identity *v04_identity_create(const void *entries, size_t size, const char *const *names,
                                         size_t name_count);
void v04_identity_destroy(struct v04_identity *identity);

/* Whether the agent takes span events (/info says so); not, at first. */
void v04_identity_take_events(struct v04_identity *identity, bool taken);

/* Appends the array header for `chunks` chunks. */
void v04_begin(struct buf *out, uint32_t chunks);

/* Appends one chunk: all spans must share the trace id. The first carries the chunk's tags (sampling
 * priority, decision maker, upper trace id, origin, ...). keep_rate: share of traces not dropped by us
 * lately, 0..1, or negative to leave it out. Memory shortage shows in out->failed. */
void v04_chunk(struct buf *out, struct v04_identity *identity, const struct v04_span *spans, size_t count,
               double keep_rate);

#endif
