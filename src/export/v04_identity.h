/* v04_identity: names and tags, ready to send: the part of the encoder that is built once, and its scratch
 * memory.
 *
 * A span's tags are collected here, each name once, the last value winning, over the tags that the process's
 * identity gives to all spans. One thread at a time. Private to export/msgpack_v04.c. */
#ifndef COMFYDD_V04_IDENTITY_H
#define COMFYDD_V04_IDENTITY_H

#include "base/buf.h"
#include "comfydd/flight.h"
#include "export/msgpack_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The agent's limits (datadog-agent, pkg/trace/agent/truncator.go and normalizer.go), in bytes of cleaned
 * text. */
#define SERVICE_LIMIT  100
#define RESOURCE_LIMIT 5000
#define KEY_LIMIT      200
#define VALUE_LIMIT    25000

enum v04_role {
    ROLE_TAG,        /* sent in meta or metrics, under its name */
    ROLE_RESOURCE,   /* a field of the span */
    ROLE_SERVICE,    /* a field of the identity */
    ROLE_ORIGIN,     /* sent under another name, on a chunk's first span */
    ROLE_HOSTNAME,   /* of the identity, sent on a chunk's first span */
    ROLE_PROPAGATED, /* brings its own name; for a chunk's first span */
    ROLE_EVENT,      /* the time of a span event */
    ROLE_USER_TAG,   /* brings its own name; of the identity */
    ROLE_UNKNOWN,    /* a span field of a newer version: not sent */
};

struct v04_key {
    char *packed; /* owned; the cleaned name, as msgpack */
    uint32_t packed_size;
    uint32_t same; /* the first key with this name: a name appears once in a map */
    enum v04_role role;
    bool shared;   /* the identity has a value for it */
    bool in_event; /* an attribute of the span event, too */
};

/* Tags that the encoder makes; their keys follow those of the name table. */
enum v04_own {
    OWN_ORIGIN,
    OWN_HOSTNAME,
    OWN_DECISION_MAKER,
    OWN_TRACE_ID_HIGH,
    OWN_KEPT_RATE,
    OWN_PRIORITY,
    OWN_AGENT_RATE,
    OWN_RULE_RATE,
    OWN_LIMIT_RATE,
    OWN_TRACER_KEEP_RATE,
    OWN_PARTIAL_VERSION,
    OWN_WAS_LONG_RUNNING,
    OWN_STALLED_AFTER,
    OWN_COUNT
};

/* A tag of the span being encoded. */
struct v04_value {
    uint32_t key;
    bool is_number;
    uint32_t size;
    const char *text; /* borrowed */
    double number;
};

/* A tag of the identity, packed: key and value. */
struct v04_shared_tag {
    uint32_t key, offset, size;
};

/* All shared tags of one map. */
struct v04_shared_tags {
    struct buf packed;
    struct v04_shared_tag *tags; /* owned */
    size_t count;
};

struct v04_identity {
    struct v04_key *keys; /* owned: of the name table, then the encoder's own, then the user tags' */
    size_t key_count, name_count;
    struct buf workflow_fields, node_fields; /* a span map up to and including the key "resource" */
    struct v04_shared_tags meta, metrics;
    struct buf hostname;
    /* The tags of the span being encoded, each name once. */
    struct v04_value *values; /* owned; key_count of them */
    size_t value_count;
    uint32_t *places; /* owned; by key: 1 + index in values, 0 when not set */
    bool overrides;   /* a shared tag is among them */
    bool events;      /* the agent takes span events */
};

/* The key of a tag that the encoder makes. */
static inline uint32_t v04_identity_own(const struct v04_identity *id, enum v04_own own) {
    return (uint32_t)id->name_count + own;
}

/* The key of the tag whose packed name is this; key_count when there is none. */
uint32_t v04_identity_find(const struct v04_identity *id, const char *packed, size_t size);

/* Sets a tag of the span being encoded; text is borrowed until v04_identity_clear. A number that is not
 * finite has no meaning as a metric and is left out. */
void v04_identity_text(struct v04_identity *id, uint32_t key, const char *text, size_t size);
void v04_identity_number(struct v04_identity *id, uint32_t key, double number);
void v04_identity_entry(struct v04_identity *id, const struct flight_tag *tag, const void *value);

/* Forgets the tags of that span. */
void v04_identity_clear(struct v04_identity *id);

/* Packs one of the tags, name and value, into room of v04_value_room bytes. */
static inline void v04_value_pack(struct writer *w, const struct v04_identity *id,
                                  const struct v04_value *value) {
    const struct v04_key *key = &id->keys[value->key];
    writer_put(w, key->packed, key->packed_size);
    if (value->is_number)
        pack_double(w, value->number);
    else
        pack_text(w, value->text, value->size, VALUE_LIMIT);
}

static inline size_t v04_value_room(const struct v04_identity *id, const struct v04_value *value) {
    return id->keys[value->key].packed_size +
           (value->is_number ? NUMBER_ROOM : text_room(value->size, VALUE_LIMIT));
}

#endif
