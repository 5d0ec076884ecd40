#include "export/msgpack_v04.h"

#include "export/msgpack_writer.h"
#include "export/v04_identity.h"
#include "flight.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PROPAGATED_MAX 32 /* tags that came with the trace: x-datadog-tags has at most 512 bytes */

/* A tag that came with the trace, under a name that no key has. */
struct propagated {
    const char *name, *value; /* borrowed */
    size_t name_size, value_size;
};

/* What is known of the span being encoded besides the tags set in the identity. */
struct encoding {
    const char *resource; /* borrowed; NULL: none */
    size_t resource_size;
    struct propagated propagated[PROPAGATED_MAX];
    size_t propagated_count;
    uint64_t event_ns;   /* when the span event was; 0: none */
    uint64_t stalled_ns; /* likewise, of the watchdog's */
    char decision_maker[8], trace_id_high[17], kept_rate[16];
};

static bool is_propagated_name(const char *name, size_t size) {
    if (size < 7 || size > KEY_LIMIT || memcmp(name, "_dd.p.", 6)) return false;
    for (size_t i = 0; i < size; i++)
        if (name[i] <= ' ' || name[i] > '~') return false;
    return true;
}

/* "_dd.p.name=value": under an existing key when there is one, else in the list of its own. */
static void take_propagated(struct v04_identity *id, struct encoding *e, const char *text, size_t size) {
    const char *equals = memchr(text, '=', size);
    if (!equals || !is_propagated_name(text, (size_t)(equals - text))) return;
    struct propagated p = {text, equals + 1, (size_t)(equals - text), (size_t)(text + size - equals - 1)};
    char packed[HEADER_ROOM + KEY_LIMIT];
    struct writer w = {packed};
    pack_str(&w, p.name_size);
    pack_str_body(&w, p.name, p.name_size);
    uint32_t key = v04_identity_find(id, packed, (size_t)(w.at - packed));
    if (key < id->key_count) {
        v04_identity_text(id, key, p.value, p.value_size);
        return;
    }
    size_t i = 0;
    while (i < e->propagated_count && !(e->propagated[i].name_size == p.name_size &&
                                        !memcmp(e->propagated[i].name, p.name, p.name_size)))
        i++;
    if (i == PROPAGATED_MAX) return;
    e->propagated[i] = p;
    if (i == e->propagated_count) e->propagated_count++;
}

/* What is not simply sent under its name. */
static void take_field(struct v04_identity *id, struct encoding *e, const struct flight_tag *tag,
                       const void *value, bool is_first) {
    enum v04_role role = id->keys[tag->key].role;
    double time;
    if (role == ROLE_EVENT && flight_tag_number(tag, value, &time)) {
        e->event_ns = id->events && time > 0 && time < 1.8e19 ? (uint64_t)time : 0;
    } else if (tag->type != FLIGHT_TEXT) {
        return;
    } else if (role == ROLE_RESOURCE) {
        e->resource = value;
        e->resource_size = tag->size;
    } else if (role == ROLE_ORIGIN) {
        v04_identity_text(id, v04_identity_own(id, OWN_ORIGIN), value, tag->size);
    } else if (role == ROLE_PROPAGATED && is_first) {
        take_propagated(id, e, value, tag->size);
    }
}

static void take_entries(struct v04_identity *id, struct encoding *e, const struct v04_span *s,
                         bool is_first) {
    size_t offset = 0;
    struct flight_tag tag;
    const void *value;
    while (flight_tag_next(s->tags, s->span->tags_size, &offset, &tag, &value)) {
        if (tag.key >= id->name_count) continue;
        if (id->keys[tag.key].role == ROLE_TAG)
            v04_identity_entry(id, &tag, value);
        else
            take_field(id, e, &tag, value, is_first);
    }
}

/* A rate with at most six decimals and no trailing zeros; printf would follow the host's locale. */
static void format_rate(char *text, size_t size, double rate) {
    long millionths = rate < 1 ? (long)(rate * 1e6 + 0.5) : 1000000;
    if (millionths == 0 || millionths == 1000000) {
        snprintf(text, size, "%d", millionths > 0);
        return;
    }
    int length = snprintf(text, size, "0.%06ld", millionths);
    while (text[length - 1] == '0')
        text[--length] = '\0';
}

static void take_rate(struct v04_identity *id, enum v04_own own, double rate) {
    if (rate >= 0) v04_identity_number(id, v04_identity_own(id, own), rate);
}

/* The tags of a chunk's first span. */
static void take_trace(struct v04_identity *id, struct encoding *e, const struct flight_trace *trace,
                       double keep_rate) {
    v04_identity_number(id, v04_identity_own(id, OWN_PRIORITY), trace->priority);
    take_rate(id, OWN_AGENT_RATE, trace->agent_rate);
    take_rate(id, OWN_RULE_RATE, trace->rule_rate);
    take_rate(id, OWN_LIMIT_RATE, trace->limit_rate);
    take_rate(id, OWN_TRACER_KEEP_RATE, keep_rate);
    struct flight_tag tag;
    const void *value;
    for (size_t offset = 0; flight_tag_next(id->chunk.data, id->chunk.size, &offset, &tag, &value);)
        v04_identity_entry(id, &tag, value);
    if (trace->priority > 0 && trace->mechanism >= 0) {
        int size = snprintf(e->decision_maker, sizeof e->decision_maker, "-%d", trace->mechanism);
        v04_identity_text(id, v04_identity_own(id, OWN_DECISION_MAKER), e->decision_maker, (size_t)size);
    }
    if (trace->trace_id_high) {
        snprintf(e->trace_id_high, sizeof e->trace_id_high, "%016" PRIx64, trace->trace_id_high);
        v04_identity_text(id, v04_identity_own(id, OWN_TRACE_ID_HIGH), e->trace_id_high, 16);
    }
    double decided_by = trace->mechanism == 1   ? trace->agent_rate
                        : trace->mechanism == 3 ? trace->rule_rate
                                                : -1;
    if (decided_by >= 0) {
        format_rate(e->kept_rate, sizeof e->kept_rate, decided_by);
        v04_identity_text(id, v04_identity_own(id, OWN_KEPT_RATE), e->kept_rate, strlen(e->kept_rate));
    }
}

/* A tag that all spans of the kind have, and this one has no value of its own for. */
static bool is_left(const struct v04_identity *id, const struct v04_kind *kind, uint32_t key,
                    enum v04_map map) {
    return v04_tags_has(&kind->tags, key) && kind->tags.places[key].map == map &&
           !v04_tags_has(&id->span, key);
}

static void pack_common(struct writer *w, const struct v04_identity *id, const struct v04_kind *kind,
                        enum v04_map map) {
    const struct buf *packed = &kind->tags.maps[map].packed;
    if (!id->overrides) {
        writer_put(w, packed->data, packed->size);
        return;
    }
    for (uint32_t key = 0; key < id->key_count; key++) {
        size_t size;
        const char *tag = v04_tags_packed(&kind->tags, key, &size);
        if (is_left(id, kind, key, map)) writer_put(w, tag, size);
    }
}

static size_t count_common(const struct v04_identity *id, const struct v04_kind *kind, enum v04_map map) {
    if (!id->overrides) return kind->tags.maps[map].count;
    size_t count = 0;
    for (uint32_t key = 0; key < id->key_count; key++)
        count += is_left(id, kind, key, map);
    return count;
}

/* All tags of one map; `more` will follow. */
static void pack_tags(struct writer *w, const struct v04_identity *id, const struct v04_kind *kind,
                      enum v04_map map, size_t more) {
    const struct v04_tags_map *own = &id->span.maps[map];
    pack_map(w, count_common(id, kind, map) + own->count + more);
    pack_common(w, id, kind, map);
    if (own->count) writer_put(w, own->packed.data, own->packed.size);
}

static void pack_meta(struct writer *w, const struct v04_identity *id, const struct v04_kind *kind,
                      const struct encoding *e) {
    pack_literal(w, "meta");
    pack_tags(w, id, kind, META, e->propagated_count);
    for (size_t i = 0; i < e->propagated_count; i++) {
        pack_str(w, e->propagated[i].name_size);
        pack_str_body(w, e->propagated[i].name, e->propagated[i].name_size);
        pack_text(w, e->propagated[i].value, e->propagated[i].value_size, VALUE_LIMIT);
    }
}

/* An attribute of an event: what the tag is, with its type. */
static void pack_attribute(struct writer *w, const struct v04_identity *id, uint32_t key) {
    enum { STRING = 0, INTEGER = 2 };
    size_t size, name_size = id->keys[key].packed_size;
    const char *packed = v04_tags_packed(&id->span, key, &size);
    bool is_number = id->span.places[key].map == METRICS;
    writer_put(w, packed, name_size);
    pack_map(w, 2);
    pack_literal(w, "type");
    pack_int32(w, is_number ? INTEGER : STRING);
    pack_literal(w, is_number ? "int_value" : "string_value");
    if (is_number) {
        double number = packed_double(packed + name_size);
        pack_int64(w, number < 9e18 ? (int64_t)number : INT64_MAX);
    } else {
        writer_put(w, packed + name_size, size - name_size);
    }
}

enum { EVENT_ROOM = 100, ATTRIBUTE_ROOM = 40 }; /* without names and values */

static bool is_attribute(const struct v04_identity *id, uint32_t key) {
    return id->keys[key].in_event && v04_tags_has(&id->span, key);
}

static size_t event_count(const struct encoding *e) {
    return (e->event_ns != 0) + (e->stalled_ns != 0);
}

static size_t events_room(const struct v04_identity *id, const struct encoding *e) {
    size_t room = event_count(e) * EVENT_ROOM;
    for (uint32_t key = 0; e->event_ns && key < id->key_count; key++)
        if (is_attribute(id, key)) room += ATTRIBUTE_ROOM + id->span.places[key].size;
    return room;
}

static void pack_stall(struct writer *w, uint64_t time_ns) {
    pack_map(w, 2);
    pack_literal(w, "name");
    pack_literal(w, "stalled");
    pack_literal(w, "time_unix_nano");
    pack_uint64(w, time_ns);
}

static void pack_out_of_memory(struct writer *w, const struct v04_identity *id, uint64_t time_ns) {
    size_t count = 0;
    for (uint32_t key = 0; key < id->key_count; key++)
        count += is_attribute(id, key);
    pack_map(w, 3);
    pack_literal(w, "name");
    pack_literal(w, "out_of_memory");
    pack_literal(w, "time_unix_nano");
    pack_uint64(w, time_ns);
    pack_literal(w, "attributes");
    pack_map(w, count);
    for (uint32_t key = 0; key < id->key_count; key++)
        if (is_attribute(id, key)) pack_attribute(w, id, key);
}

static void pack_events(struct writer *w, const struct v04_identity *id, const struct encoding *e) {
    pack_literal(w, "span_events");
    pack_array(w, event_count(e));
    if (e->event_ns) pack_out_of_memory(w, id, e->event_ns);
    if (e->stalled_ns) pack_stall(w, e->stalled_ns);
}

/* What the span says, else its class type, else its name. */
static void pack_resource(struct writer *w, const struct v04_identity *id, const struct v04_kind *kind,
                          const struct encoding *e) {
    uint32_t key = v04_identity_own(id, OWN_CLASS_TYPE);
    size_t size = 0, name_size = id->keys[key].packed_size;
    const char *tag = v04_tags_has(&id->span, key) ? v04_tags_packed(&id->span, key, &size) : NULL;
    if (e->resource_size)
        pack_text(w, e->resource, e->resource_size, RESOURCE_LIMIT);
    else if (tag && size - name_size <= HEADER_ROOM + RESOURCE_LIMIT)
        writer_put(w, tag + name_size, size - name_size);
    else
        pack_literal(w, kind->name);
}

static void pack_span(struct buf *out, const struct v04_identity *id, const struct v04_kind *kind,
                      const struct encoding *e, const struct v04_span *s) {
    const struct flight_span *span = s->span;
    uint64_t duration = s->end_ns > span->start_ns ? s->end_ns - span->start_ns : 0;
    /* 200: the keys and numbers written below. */
    size_t room = 200 + kind->fields.size + text_room(RESOURCE_LIMIT, RESOURCE_LIMIT) + events_room(id, e);
    for (int map = 0; map < MAPS; map++)
        room += kind->tags.maps[map].packed.size + id->span.maps[map].packed.size;
    for (size_t i = 0; i < e->propagated_count; i++)
        room += 2 * HEADER_ROOM + e->propagated[i].name_size +
                text_room(e->propagated[i].value_size, VALUE_LIMIT);
    struct writer w = writer_begin(out, room);
    if (!w.at) return;
    char *map = w.at;
    writer_put(&w, kind->fields.data, kind->fields.size);
    if (event_count(e)) ++*map; /* one field more than the short map's first byte says */
    pack_resource(&w, id, kind, e);
    pack_literal(&w, "trace_id");
    pack_uint64(&w, span->trace.trace_id_low);
    pack_literal(&w, "span_id");
    pack_uint64(&w, span->span_id);
    pack_literal(&w, "parent_id");
    pack_uint64(&w, span->parent_id);
    pack_literal(&w, "start");
    pack_int64(&w, span->start_ns < INT64_MAX ? (int64_t)span->start_ns : INT64_MAX);
    pack_literal(&w, "duration");
    pack_int64(&w, duration < INT64_MAX ? (int64_t)duration : INT64_MAX);
    pack_literal(&w, "error");
    pack_int32(&w, span->error != 0);
    pack_meta(&w, id, kind, e);
    pack_literal(&w, "metrics");
    pack_tags(&w, id, kind, METRICS, 0);
    if (event_count(e)) pack_events(&w, id, e);
    writer_end(&w, out);
}

/* What the watchdog has found, as a tag too: not every agent takes events. */
static void take_stall(struct v04_identity *id, struct encoding *e, const struct flight_span *span) {
    uint64_t at_ns = span->trace.stalled_at_s * UINT64_C(1000000000);
    if (!at_ns) return;
    double open_ns = at_ns > span->start_ns ? (double)(at_ns - span->start_ns) : 0;
    v04_identity_number(id, v04_identity_own(id, OWN_STALLED_AFTER), open_ns / 1e6);
    if (id->events) e->stalled_ns = at_ns;
}

static void encode_span(struct buf *out, struct v04_identity *id, const struct v04_span *s, bool is_first,
                        double keep_rate) {
    struct encoding e;
    e.resource = NULL;
    e.resource_size = e.propagated_count = 0;
    e.event_ns = e.stalled_ns = 0;
    take_stall(id, &e, s->span);
    take_entries(id, &e, s, is_first);
    if (s->partial_version)
        v04_identity_number(id, v04_identity_own(id, OWN_PARTIAL_VERSION), (double)s->partial_version);
    else if (s->span->partial_version)
        v04_identity_number(id, v04_identity_own(id, OWN_WAS_LONG_RUNNING), 1);
    if (is_first) take_trace(id, &e, &s->span->trace, keep_rate);
    out->failed |= v04_tags_failed(&id->span);
    pack_span(out, id, v04_identity_kind(id, s->span), &e, s);
    v04_identity_clear(id);
}

void v04_begin(struct buf *out, uint32_t chunks) {
    struct writer w = writer_begin(out, HEADER_ROOM);
    if (!w.at) return;
    pack_array(&w, chunks);
    writer_end(&w, out);
}

void v04_chunk(struct buf *out, struct v04_identity *id, const struct v04_span *spans, size_t count,
               double keep_rate) {
    size_t first = 0;
    while (first < count && spans[first].span->kind != FLIGHT_WORKFLOW)
        first++;
    if (first == count) first = 0;
    v04_begin(out, (uint32_t)count); /* an array as well */
    if (count) encode_span(out, id, &spans[first], true, keep_rate);
    for (size_t i = 0; i < count; i++)
        if (i != first) encode_span(out, id, &spans[i], false, -1);
}
