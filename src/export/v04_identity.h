/* v04_identity: names and tags, ready to send: the part of the encoder that is built once, and its scratch
 * memory.
 *
 * A span's tags are collected here, over the tags that the process's identity gives to all spans. One thread at a
 * time. Private to export/msgpack_v04.c. */
#ifndef COMFYDD_V04_IDENTITY_H
#define COMFYDD_V04_IDENTITY_H

#include "comfydd/flight.h"
#include "export/v04_tags.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The agent's limits (datadog-agent, pkg/trace/agent/truncator.go and normalizer.go), in bytes of cleaned
 * text. */
#define SERVICE_LIMIT  100
#define RESOURCE_LIMIT 5000
#define KEY_LIMIT      200

enum v04_role {
    ROLE_TAG,        /* sent in meta or metrics, under its name */
    ROLE_RESOURCE,   /* a field of the span */
    ROLE_SERVICE,    /* a field of the identity */
    ROLE_ORIGIN,     /* sent under another name */
    ROLE_CHUNK,      /* of the identity, sent on a chunk's first span */
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
    bool shared;   /* spans of one kind, or of both, have a value for it in common */
    bool in_event; /* an attribute of the span event, too */
};

/* Tags that the encoder makes or looks for; their keys follow those of the name table. */
enum v04_own {
    OWN_ORIGIN,
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
    OWN_SPAN_KIND,
    OWN_TOP_LEVEL,
    OWN_MEASURED,
    OWN_CLASS_TYPE,
    OWN_STALLED_AFTER,
    OWN_COUNT
};

/* What all spans of a kind have in common. */
struct v04_kind {
    const char *name;
    struct buf fields; /* a span map up to and including the key "resource" */
    struct v04_tags tags;
};

struct v04_identity {
    struct v04_key *keys; /* owned: of the name table, then the encoder's own, then the user tags' */
    size_t key_count, name_count;
    struct v04_kind workflow, node;
    struct buf chunk;     /* entries of the identity for a chunk's first span */
    struct v04_tags span; /* of the span being encoded */
    bool overrides;       /* it has tags that its kind has too */
    bool events;          /* the agent takes span events */
};

/* The key of one of the encoder's own tags: that of the name table where it has the name. */
static inline uint32_t v04_identity_own(const struct v04_identity *id, enum v04_own own) {
    return id->keys[id->name_count + own].same;
}

static inline struct v04_kind *v04_identity_kind(struct v04_identity *id, const struct flight_span *span) {
    return span->kind == FLIGHT_WORKFLOW ? &id->workflow : &id->node;
}

/* The key of the tag whose packed name is this; key_count when there is none. */
uint32_t v04_identity_find(const struct v04_identity *id, const char *packed, size_t size);

/* Sets a tag of the span being encoded. A number that is not finite has no meaning as a metric and is left out. */
void v04_identity_text(struct v04_identity *id, uint32_t key, const char *text, size_t size);
void v04_identity_number(struct v04_identity *id, uint32_t key, double number);
void v04_identity_entry(struct v04_identity *id, const struct flight_tag *tag, const void *value);

/* Forgets the tags of that span. */
static inline void v04_identity_clear(struct v04_identity *id) {
    v04_tags_clear(&id->span);
    id->overrides = false;
}

#endif
