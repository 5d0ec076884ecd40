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

static void take_entries(struct v04_identity *id, struct encoding *e, const struct v04_span *s,
                         bool is_first) {
    size_t offset = 0;
    struct flight_tag tag;
    const void *value;
    while (flight_tag_next(s->tags, s->span->tags_size, &offset, &tag, &value)) {
        if (tag.key >= id->name_count) continue;
        enum v04_role role = id->keys[tag.key].role;
        if (role == ROLE_TAG) {
            v04_identity_entry(id, &tag, value);
        } else if (role == ROLE_EVENT && tag.type == FLIGHT_NUMBER) {
            double time;
            memcpy(&time, value, sizeof time);
            e->event_ns = id->events && time > 0 && time < 1.8e19 ? (uint64_t)time : 0;
        } else if (tag.type != FLIGHT_TEXT) {
            continue;
        } else if (role == ROLE_RESOURCE) {
            e->resource = value;
            e->resource_size = tag.size;
        } else if (role == ROLE_ORIGIN && is_first) {
            v04_identity_text(id, v04_identity_own(id, OWN_ORIGIN), value, tag.size);
        } else if (role == ROLE_PROPAGATED && is_first) {
            take_propagated(id, e, value, tag.size);
        }
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
    if (id->hostname.size)
        v04_identity_text(id, v04_identity_own(id, OWN_HOSTNAME), id->hostname.data, id->hostname.size);
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

static void pack_map_header(struct writer *w, const struct v04_identity *id,
                            const struct v04_shared_tags *shared, size_t count) {
    count += shared->count;
    for (size_t i = 0; id->overrides && i < shared->count; i++)
        count -= id->places[shared->tags[i].key] != 0;
    pack_map(w, count);
}

static void pack_shared(struct writer *w, const struct v04_identity *id,
                        const struct v04_shared_tags *shared) {
    if (!id->overrides && shared->count) {
        writer_put(w, shared->packed.data, shared->packed.size);
        return;
    }
    for (size_t i = 0; i < shared->count; i++)
        if (!id->places[shared->tags[i].key])
            writer_put(w, shared->packed.data + shared->tags[i].offset, shared->tags[i].size);
}

static void pack_meta(struct writer *w, const struct v04_identity *id, const struct encoding *e,
                      size_t text_count) {
    pack_literal(w, "meta");
    pack_map_header(w, id, &id->meta, text_count + e->propagated_count);
    pack_shared(w, id, &id->meta);
    for (size_t i = 0; i < id->value_count; i++)
        if (!id->values[i].is_number) v04_value_pack(w, id, &id->values[i]);
    for (size_t i = 0; i < e->propagated_count; i++) {
        pack_str(w, e->propagated[i].name_size);
        pack_str_body(w, e->propagated[i].name, e->propagated[i].name_size);
        pack_text(w, e->propagated[i].value, e->propagated[i].value_size, VALUE_LIMIT);
    }
}

static void pack_metrics(struct writer *w, const struct v04_identity *id, size_t number_count) {
    pack_literal(w, "metrics");
    pack_map_header(w, id, &id->metrics, number_count);
    pack_shared(w, id, &id->metrics);
    for (size_t i = 0; i < id->value_count; i++)
        if (id->values[i].is_number) v04_value_pack(w, id, &id->values[i]);
}

/* An attribute of an event: what the tag is, with its type. */
static void pack_attribute(struct writer *w, const struct v04_identity *id, const struct v04_value *value) {
    enum { STRING = 0, INTEGER = 2 };
    writer_put(w, id->keys[value->key].packed, id->keys[value->key].packed_size);
    pack_map(w, 2);
    pack_literal(w, "type");
    pack_int32(w, value->is_number ? INTEGER : STRING);
    pack_literal(w, value->is_number ? "int_value" : "string_value");
    if (value->is_number)
        pack_int64(w, value->number < 9e18 ? (int64_t)value->number : INT64_MAX);
    else
        pack_text(w, value->text, value->size, VALUE_LIMIT);
}

enum { EVENT_ROOM = 100, ATTRIBUTE_ROOM = 40 }; /* without names and values */

static size_t event_count(const struct encoding *e) {
    return (e->event_ns != 0) + (e->stalled_ns != 0);
}

static void pack_stall(struct writer *w, uint64_t time_ns) {
    pack_map(w, 2);
    pack_literal(w, "name");
    pack_literal(w, "stalled");
    pack_literal(w, "time_unix_nano");
    pack_uint64(w, time_ns);
}

static void pack_event(struct writer *w, const struct v04_identity *id, uint64_t time_ns) {
    size_t count = 0;
    for (size_t i = 0; i < id->value_count; i++)
        count += id->keys[id->values[i].key].in_event;
    pack_map(w, 3);
    pack_literal(w, "name");
    pack_literal(w, "out_of_memory");
    pack_literal(w, "time_unix_nano");
    pack_uint64(w, time_ns);
    pack_literal(w, "attributes");
    pack_map(w, count);
    for (size_t i = 0; i < id->value_count; i++)
        if (id->keys[id->values[i].key].in_event) pack_attribute(w, id, &id->values[i]);
}

static void pack_span(struct buf *out, const struct v04_identity *id, const struct encoding *e,
                      const struct v04_span *s) {
    const struct flight_span *span = s->span;
    const struct buf *fields = span->kind == FLIGHT_WORKFLOW ? &id->workflow_fields : &id->node_fields;
    uint64_t duration = s->end_ns > span->start_ns ? s->end_ns - span->start_ns : 0;
    /* 200: the keys and numbers written below. */
    size_t room = 200 + fields->size + text_room(e->resource_size, RESOURCE_LIMIT) + id->meta.packed.size +
                  id->metrics.packed.size;
    size_t text_count = 0;
    for (size_t i = 0; i < id->value_count; i++) {
        room += v04_value_room(id, &id->values[i]);
        text_count += !id->values[i].is_number;
        if (e->event_ns && id->keys[id->values[i].key].in_event)
            room += v04_value_room(id, &id->values[i]) + ATTRIBUTE_ROOM;
    }
    room += event_count(e) * EVENT_ROOM;
    for (size_t i = 0; i < e->propagated_count; i++)
        room += 2 * HEADER_ROOM + e->propagated[i].name_size +
                text_room(e->propagated[i].value_size, VALUE_LIMIT);
    struct writer w = writer_begin(out, room);
    if (!w.at) return;
    char *map = w.at;
    writer_put(&w, fields->data, fields->size);
    if (event_count(e)) ++*map; /* one field more than the short map's first byte says */
    if (e->resource_size)
        pack_text(&w, e->resource, e->resource_size, RESOURCE_LIMIT);
    else
        pack_literal(&w, span->kind == FLIGHT_WORKFLOW ? "comfyui.workflow.execute" : "comfyui.node.execute");
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
    pack_meta(&w, id, e, text_count);
    pack_metrics(&w, id, id->value_count - text_count);
    if (event_count(e)) {
        pack_literal(&w, "span_events");
        pack_array(&w, event_count(e));
    }
    if (e->event_ns) pack_event(&w, id, e->event_ns);
    if (e->stalled_ns) pack_stall(&w, e->stalled_ns);
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
    pack_span(out, id, &e, s);
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
