/* payload: spans of a batch as the body of one request. One thread; no I/O. */
#ifndef COMFYDD_PAYLOAD_H
#define COMFYDD_PAYLOAD_H

#include "base/buf.h"
#include "export/batch.h"
#include "export/msgpack_v04.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_LIMIT   9500000u     /* bytes; agents accept 25 MB, small ones 10 MB */
#define PAYLOAD_PORTION (256u << 10) /* bytes of records for one payload, which is about twice as large */

/* Zero-initialised is empty and valid. */
struct payload {
    struct buf bytes;
    struct v04_span *spans; /* owned; room for those of one chunk */
    size_t span_capacity;
};

/* Room for so many spans; false without memory. */
bool payload_reserve(struct payload *payload, size_t count);

/* Encodes items, which lie trace by trace; returns the number of chunks, 0 without memory. keep_rate as in v04_chunk. */
uint32_t payload_encode(struct payload *payload, struct v04_identity *identity,
                        const struct batch_item *items, size_t count, double keep_rate);

void payload_finish(struct payload *payload);

#endif
