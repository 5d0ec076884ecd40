/* Payloads are read back with msgpack-c's unpacker: an encoder and a decoder of different hands. */
#include "export/msgpack_v04.h"
#include "flight.h"
#include "trace/tags.h"
#include "unit.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- building ---- */

/* Entries in the making; freed with buf_finish. */
static void add(struct buf *entries, enum tag key, enum flight_tag_type type, const void *value,
                size_t size) {
    char *at = buf_room(entries, flight_tag_room(size));
    assert_non_null(at);
    entries->size = (size_t)(flight_tag_write(at, (uint16_t)key, type, value, size) - entries->data);
}

static void text(struct buf *entries, enum tag key, const char *value) {
    add(entries, key, FLIGHT_TEXT, value, strlen(value));
}

static void number(struct buf *entries, enum tag key, double value) {
    add(entries, key, FLIGHT_NUMBER, &value, sizeof value);
}

static struct v04_identity *identity(const struct buf *entries) {
    const char *names[TAG_COUNT];
    tags_list_names(names);
    struct v04_identity *id = v04_identity_create(entries->data, entries->size, names, TAG_COUNT);
    assert_non_null(id);
    return id;
}

static struct v04_identity *plain_identity(void) {
    struct buf entries = {0};
    text(&entries, TAG_SERVICE, "comfyui");
    text(&entries, TAG_ENV, "test");
    text(&entries, TAG_LANGUAGE, "c");
    number(&entries, TAG_PROCESS_ID, 4711);
    struct v04_identity *id = identity(&entries);
    buf_finish(&entries);
    return id;
}

static struct flight_span some_span(enum flight_span_kind kind, uint64_t span_id) {
    struct flight_span span = {
        .span_id = span_id, .parent_id = 1, .start_ns = 1700000000000000000, .kind = (uint16_t)kind};
    span.end_ns = span.start_ns + 1500;
    span.trace = (struct flight_trace){.trace_id_low = 77,
                                       .root_span_id = 1,
                                       .priority = 1,
                                       .mechanism = 0,
                                       .agent_rate = -1,
                                       .rule_rate = -1,
                                       .limit_rate = -1};
    return span;
}

/* ---- reading ---- */

struct decoded {
    struct buf payload;
    msgpack_unpacked unpacked;
};

static const msgpack_object *decode(struct decoded *d) {
    assert_false(d->payload.failed);
    size_t offset = 0;
    msgpack_unpacked_init(&d->unpacked);
    assert_int_equal(msgpack_unpack_next(&d->unpacked, d->payload.data, d->payload.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, d->payload.size);
    return &d->unpacked.data;
}

static void release(struct decoded *d) {
    msgpack_unpacked_destroy(&d->unpacked);
    buf_finish(&d->payload);
}

/* Encodes one chunk and returns the array of its spans. */
static const msgpack_object_array *chunk(struct decoded *d, struct v04_identity *id,
                                         const struct v04_span *spans, size_t count, double keep_rate) {
    v04_begin(&d->payload, 1);
    v04_chunk(&d->payload, id, spans, count, keep_rate);
    const msgpack_object *payload = decode(d);
    assert_int_equal(payload->type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal(payload->via.array.size, 1);
    assert_int_equal(payload->via.array.ptr[0].type, MSGPACK_OBJECT_ARRAY);
    return &payload->via.array.ptr[0].via.array;
}

static int is_text(const msgpack_object *object, const char *wanted, size_t size) {
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == size &&
           !memcmp(object->via.str.ptr, wanted, size);
}

/* The value under `name`, NULL when there is none; no name may be there twice. */
static const msgpack_object *get(const msgpack_object *map, const char *name) {
    const msgpack_object *found = NULL;
    assert_int_equal(map->type, MSGPACK_OBJECT_MAP);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        if (!is_text(&map->via.map.ptr[i].key, name, strlen(name))) continue;
        assert_null(found);
        found = &map->via.map.ptr[i].val;
    }
    return found;
}

static void assert_text(const msgpack_object *map, const char *name, const char *wanted) {
    const msgpack_object *value = get(map, name);
    assert_non_null(value);
    if (!is_text(value, wanted, strlen(wanted)))
        fail_msg("%s is '%.*s', not '%s'", name, (int)value->via.str.size, value->via.str.ptr, wanted);
}

static void assert_meta(const msgpack_object *span, const char *name, const char *wanted) {
    const msgpack_object *meta = get(span, "meta");
    if (wanted)
        assert_text(meta, name, wanted);
    else
        assert_null(get(meta, name));
}

static void assert_metric(const msgpack_object *span, const char *name, double wanted) {
    const msgpack_object *value = get(get(span, "metrics"), name);
    assert_non_null(value);
    assert_int_equal(value->type, MSGPACK_OBJECT_FLOAT64);
    assert_true(value->via.f64 == wanted);
}

static void assert_no_metric(const msgpack_object *span, const char *name) {
    assert_null(get(get(span, "metrics"), name));
}

static void assert_integer(const msgpack_object *span, const char *name, uint64_t wanted) {
    const msgpack_object *value = get(span, name);
    assert_non_null(value);
    assert_int_equal(value->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
    assert_true(value->via.u64 == wanted);
}

/* ---- tests ---- */

static void every_field_of_a_node_span(void **state) {
    (void)state;
    struct buf shared = {0}, tags = {0};
    text(&shared, TAG_SERVICE, "pictures");
    text(&shared, TAG_ENV, "prod");
    text(&shared, TAG_VERSION, "1.2");
    text(&shared, TAG_COMPONENT, "comfyui");
    text(&shared, TAG_LANGUAGE, "c");
    text(&shared, TAG_RUNTIME_ID, "0123456789abcdef0123456789abcdef");
    text(&shared, TAG_USER_TAG, "team:art");
    text(&shared, TAG_USER_TAG, "url:http://x:1/");
    text(&shared, TAG_USER_TAG, "flag");
    number(&shared, TAG_PROCESS_ID, 4711);
    struct v04_identity *id = identity(&shared);
    text(&tags, TAG_RESOURCE, "KSampler");
    text(&tags, TAG_NODE_ID, "3");
    text(&tags, TAG_NODE_CLASS_TYPE, "KSampler");
    number(&tags, TAG_MEASURED, 1);
    number(&tags, TAG_RSS_AFTER, 123456789012.0);
    struct flight_span span = some_span(FLIGHT_NODE, UINT64_MAX);
    span.trace.trace_id_low = UINT64_MAX - 1;
    span.parent_id = 5;
    span.error = 7;
    span.tags_size = (uint32_t)tags.size;
    struct decoded d = {0};
    struct v04_span spans[] = {{&span, tags.data, 0, span.end_ns}};
    const msgpack_object_array *array = chunk(&d, id, spans, 1, -1);
    const msgpack_object *s = array->ptr;
    assert_int_equal(array->size, 1);
    assert_int_equal(s->via.map.size, 12);
    assert_text(s, "service", "pictures");
    assert_text(s, "name", "comfyui.node.execute");
    assert_text(s, "type", "worker");
    assert_text(s, "resource", "KSampler");
    assert_integer(s, "trace_id", UINT64_MAX - 1);
    assert_integer(s, "span_id", UINT64_MAX);
    assert_integer(s, "parent_id", 5);
    assert_integer(s, "start", 1700000000000000000);
    assert_integer(s, "duration", 1500);
    assert_integer(s, "error", 1);
    assert_meta(s, "env", "prod");
    assert_meta(s, "version", "1.2");
    assert_meta(s, "component", "comfyui");
    assert_meta(s, "language", "c");
    assert_meta(s, "runtime-id", "0123456789abcdef0123456789abcdef");
    assert_meta(s, "team", "art");
    assert_meta(s, "url", "http://x:1/");
    assert_meta(s, "flag", "");
    assert_meta(s, "node.id", "3");
    assert_meta(s, "node.class_type", "KSampler");
    assert_meta(s, "_dd.p.dm", "-0");
    assert_int_equal(get(s, "meta")->via.map.size, 11);
    assert_metric(s, "process_id", 4711);
    assert_metric(s, "_dd.measured", 1);
    assert_metric(s, "memory.rss_bytes.after", 123456789012.0);
    assert_metric(s, "_sampling_priority_v1", 1);
    assert_int_equal(get(s, "metrics")->via.map.size, 4);
    release(&d);
    v04_identity_destroy(id);
    buf_finish(&shared);
    buf_finish(&tags);
}

static void the_workflow_span_leads_its_chunk_and_alone_carries_the_trace(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    struct flight_span spans[3] = {some_span(FLIGHT_NODE, 2), some_span(FLIGHT_NODE, 3),
                                   some_span(FLIGHT_WORKFLOW, 1)};
    struct buf tags = {0};
    text(&tags, TAG_ORIGIN, "synthetics");
    text(&tags, TAG_PROPAGATED, "_dd.p.usr=1");
    struct v04_span list[3];
    for (int i = 0; i < 3; i++) {
        spans[i].trace.trace_id_high = 0x6710000000000000;
        spans[i].tags_size = (uint32_t)tags.size;
        list[i] = (struct v04_span){&spans[i], tags.data, 0, spans[i].end_ns};
    }
    struct decoded d = {0};
    const msgpack_object_array *array = chunk(&d, id, list, 3, 0.75);
    assert_int_equal(array->size, 3);
    static const uint64_t order[] = {1, 2, 3};
    for (uint32_t i = 0; i < 3; i++) {
        const msgpack_object *s = &array->ptr[i];
        assert_integer(s, "span_id", order[i]);
        assert_text(s, "resource",
                    i ? "comfyui.node.execute" : "comfyui.workflow.execute"); /* none was set */
        assert_meta(s, "_dd.p.dm", i ? NULL : "-0");
        assert_meta(s, "_dd.p.tid", i ? NULL : "6710000000000000");
        assert_meta(s, "_dd.origin", i ? NULL : "synthetics");
        assert_meta(s, "_dd.p.usr", i ? NULL : "1");
        if (i) {
            assert_no_metric(s, "_sampling_priority_v1");
            assert_no_metric(s, "_dd.tracer_kr");
        } else {
            assert_metric(s, "_sampling_priority_v1", 1);
            assert_metric(s, "_dd.tracer_kr", 0.75);
        }
    }
    release(&d);
    buf_finish(&tags);
    v04_identity_destroy(id);
}

static void the_sampling_decision_is_told_as_it_was_made(void **state) {
    (void)state;
    static const struct {
        int8_t priority, mechanism;
        double agent, rule, limit;
        const char *decision_maker, *kept_rate;
    } cases[] = {
        {1, 0, -1, -1, -1, "-0", NULL},
        {1, 1, 0.5, -1, -1, "-1", "0.5"},
        {1, 1, 1, -1, -1, "-1", "1"},
        {0, 1, 0.25, -1, -1, NULL, "0.25"},
        {2, 3, -1, 0.000001, 1, "-3", "0.000001"},
        {2, 3, -1, 0.1234567, 1, "-3", "0.123457"},
        {-1, 3, -1, 0, -1, NULL, "0"},
        {2, 3, -1, 0.9999999, 0.5, "-3", "1"},
        {2, 4, -1, -1, -1, "-4", NULL},
        {1, -1, -1, -1, -1, NULL, NULL}, /* inherited */
    };
    struct v04_identity *id = plain_identity();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
        span.trace.priority = cases[i].priority;
        span.trace.mechanism = cases[i].mechanism;
        span.trace.agent_rate = cases[i].agent;
        span.trace.rule_rate = cases[i].rule;
        span.trace.limit_rate = cases[i].limit;
        struct v04_span list = {&span, NULL, 0, span.end_ns};
        struct decoded d = {0};
        const msgpack_object *s = chunk(&d, id, &list, 1, -1)->ptr;
        assert_metric(s, "_sampling_priority_v1", cases[i].priority);
        assert_meta(s, "_dd.p.dm", cases[i].decision_maker);
        assert_meta(s, "_dd.p.ksr", cases[i].kept_rate);
        assert_meta(s, "_dd.p.tid", NULL);
        const char *names[] = {"_dd.agent_psr", "_dd.rule_psr", "_dd.limit_psr"};
        double rates[] = {cases[i].agent, cases[i].rule, cases[i].limit};
        for (int k = 0; k < 3; k++) {
            if (rates[k] >= 0)
                assert_metric(s, names[k], rates[k]);
            else
                assert_no_metric(s, names[k]);
        }
        release(&d);
    }
    v04_identity_destroy(id);
}

static void a_name_is_never_there_twice(void **state) {
    (void)state;
    struct buf shared = {0}, tags = {0};
    text(&shared, TAG_ENV, "prod");
    text(&shared, TAG_USER_TAG, "env:user");
    text(&shared, TAG_USER_TAG, "node.id:user");
    text(&shared, TAG_USER_TAG, "_dd.p.dm:user");
    text(&shared, TAG_USER_TAG, "_dd.origin:user");
    text(&shared, TAG_USER_TAG, "twice:1");
    text(&shared, TAG_USER_TAG, "twice:2");
    text(&shared, TAG_USER_TAG, "kept:yes");
    number(&shared, TAG_PROCESS_ID, 1);
    struct v04_identity *id = identity(&shared);
    text(&tags, TAG_NODE_ID, "1");
    text(&tags, TAG_ORIGIN, "rum");
    text(&tags, TAG_NODE_ID, "a later value");
    number(&tags, TAG_MEASURED, 0);
    number(&tags, TAG_MEASURED, 1);
    text(&tags, TAG_NODES_TOTAL, "text first");
    number(&tags, TAG_NODES_TOTAL, 5);
    number(&tags, TAG_PROCESS_ID, 2);
    text(&tags, TAG_PROPAGATED, "_dd.p.x=1");
    text(&tags, TAG_PROPAGATED, "_dd.p.x=2");
    text(&tags, TAG_PROPAGATED, "_dd.p.dm=-9");
    text(&tags, TAG_PROPAGATED, "kept=not ours to change");
    text(&tags, TAG_PROPAGATED, "_dd.p.no value");
    text(&tags, TAG_PROPAGATED, "_dd.p.b\xff=1");
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    span.tags_size = (uint32_t)tags.size;
    struct v04_span list = {&span, tags.data, 0, span.end_ns};
    struct decoded d = {0};
    const msgpack_object *s = chunk(&d, id, &list, 1, -1)->ptr;
    assert_meta(s, "env", "prod");
    assert_meta(s, "node.id", "a later value");
    assert_meta(s, "_dd.origin", "rum");
    assert_meta(s, "_dd.p.dm", "-0");
    assert_meta(s, "twice", "2");
    assert_meta(s, "kept", "yes");
    assert_meta(s, "_dd.p.x", "2");
    assert_meta(s, "workflow.nodes.total", NULL);
    assert_int_equal(get(s, "meta")->via.map.size, 7);
    assert_metric(s, "_dd.measured", 1);
    assert_metric(s, "workflow.nodes.total", 5);
    assert_metric(s, "process_id", 2);
    assert_int_equal(get(s, "metrics")->via.map.size, 4);
    release(&d);
    /* What a span overrides, the next one has again. */
    span.tags_size = 0;
    d = (struct decoded){0};
    s = chunk(&d, id, &list, 1, -1)->ptr;
    assert_meta(s, "node.id", "user");
    assert_metric(s, "process_id", 1);
    release(&d);
    v04_identity_destroy(id);
    buf_finish(&shared);
    buf_finish(&tags);
}

/* An inherited decision keeps the decision maker that came with it. */
static void a_propagated_decision_maker_is_passed_on(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    struct buf tags = {0};
    text(&tags, TAG_PROPAGATED, "_dd.p.dm=-4");
    struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
    span.trace.mechanism = -1;
    span.tags_size = (uint32_t)tags.size;
    struct v04_span list = {&span, tags.data, 0, span.end_ns};
    struct decoded d = {0};
    assert_meta(chunk(&d, id, &list, 1, -1)->ptr, "_dd.p.dm", "-4");
    release(&d);
    buf_finish(&tags);
    v04_identity_destroy(id);
}

static void the_hostname_is_told_once_per_chunk(void **state) {
    (void)state;
    struct buf shared = {0};
    text(&shared, TAG_SERVICE, "comfyui");
    text(&shared, TAG_HOSTNAME, "gpu-7");
    struct v04_identity *id = identity(&shared);
    struct flight_span spans[] = {some_span(FLIGHT_NODE, 2), some_span(FLIGHT_NODE, 3)};
    struct v04_span list[] = {{&spans[0], NULL, 0, 0}, {&spans[1], NULL, 0, 0}};
    struct decoded d = {0};
    const msgpack_object_array *array = chunk(&d, id, list, 2, -1);
    assert_meta(&array->ptr[0], "_dd.hostname", "gpu-7");
    assert_meta(&array->ptr[1], "_dd.hostname", NULL);
    assert_integer(&array->ptr[0], "duration", 0); /* an end before the start */
    release(&d);
    v04_identity_destroy(id);
    buf_finish(&shared);
}

static void snapshots_of_open_spans_say_so(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
    struct v04_span snapshot = {&span, NULL, 12, span.start_ns + 20};
    span.partial_version = 11;
    struct decoded d = {0};
    const msgpack_object *s = chunk(&d, id, &snapshot, 1, -1)->ptr;
    assert_metric(s, "_dd.partial_version", 12);
    assert_no_metric(s, "_dd.was_long_running");
    assert_integer(s, "duration", 20);
    release(&d);
    struct v04_span finished = {&span, NULL, 0, span.end_ns};
    d = (struct decoded){0};
    s = chunk(&d, id, &finished, 1, -1)->ptr;
    assert_no_metric(s, "_dd.partial_version");
    assert_metric(s, "_dd.was_long_running", 1);
    release(&d);
    v04_identity_destroy(id);
}

/* Sizes around every change of msgpack's header, in plain text and in text that grows when it is cleaned. */
static void text_is_cleaned_and_cut_to_the_limits(void **state) {
    (void)state;
    static const size_t sizes[] = {0,    1,    9,    10,   11,    31,    32,    33,    84,   85,
                                   86,   87,   255,  256,  257,   1000,  1666,  1667,  1668, 4997,
                                   5000, 5001, 8333, 8334, 21845, 24999, 25000, 25001, 70000};
    struct v04_identity *id = plain_identity();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int bad = 0; bad < 2; bad++) {
            char *value = malloc(sizes[i] + 1);
            assert_non_null(value);
            memset(value, bad ? '\xff' : 'x', sizes[i]);
            struct buf tags = {0};
            add(&tags, TAG_RESOURCE, FLIGHT_TEXT, value, sizes[i]);
            add(&tags, TAG_ERROR_STACK, FLIGHT_TEXT, value, sizes[i]);
            struct flight_span span = some_span(FLIGHT_NODE, 2);
            span.tags_size = (uint32_t)tags.size;
            struct v04_span list = {&span, tags.data, 0, span.end_ns};
            struct decoded d = {0};
            const msgpack_object *s = chunk(&d, id, &list, 1, -1)->ptr;
            const msgpack_object *got[] = {get(s, "resource"), get(get(s, "meta"), "error.stack")};
            for (int k = 0; k < 2; k++) {
                size_t unit = bad ? 3 : 1, limit = k ? 25000 : 5000, whole = unit * sizes[i];
                size_t wanted = whole <= limit ? whole : (limit - 3) / unit * unit + 3;
                if (!sizes[i] && !k) wanted = strlen("comfyui.node.execute");
                assert_int_equal(got[k]->via.str.size, wanted);
                if (whole > limit) assert_memory_equal(got[k]->via.str.ptr + wanted - 3, "...", 3);
                if (bad && sizes[i]) assert_memory_equal(got[k]->via.str.ptr, "\xef\xbf\xbd", 3);
            }
            release(&d);
            buf_finish(&tags);
            free(value);
        }
    }
    v04_identity_destroy(id);
}

static void names_and_service_are_cleaned_too(void **state) {
    (void)state;
    struct buf shared = {0};
    char service[300], name[400];
    memset(service, 's', sizeof service);
    add(&shared, TAG_SERVICE, FLIGHT_TEXT, service, sizeof service);
    text(&shared, TAG_USER_TAG, "bad\xff name:bad\xff value");
    memset(name, 'n', sizeof name);
    name[399] = ':';
    add(&shared, TAG_USER_TAG, FLIGHT_TEXT, name, sizeof name);
    struct v04_identity *id = identity(&shared);
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    struct v04_span list = {&span, NULL, 0, span.end_ns};
    struct decoded d = {0};
    const msgpack_object *s = chunk(&d, id, &list, 1, -1)->ptr;
    assert_int_equal(get(s, "service")->via.str.size, 100);
    assert_meta(s, "bad\xef\xbf\xbd name", "bad\xef\xbf\xbd value");
    memcpy(name + 197, "...", 4);
    assert_meta(s, name, "");
    release(&d);
    v04_identity_destroy(id);
    buf_finish(&shared);
}

static void what_happened_is_an_event_for_agents_that_take_events(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    for (int taken = 0; taken < 2; taken++) {
        struct buf entries = {0};
        text(&entries, TAG_NODE_ID, "7");
        number(&entries, TAG_OOM_REQUESTED, 1048576);
        text(&entries, TAG_OOM_TOP_ALLOCATIONS, "[]");
        number(&entries, TAG_OOM_EVENT, 1700000000000000256.0);
        struct flight_span span = some_span(FLIGHT_NODE, 2);
        span.tags_size = (uint32_t)entries.size;
        span.trace.stalled_at_s = 1700000003;
        v04_identity_take_events(id, taken);
        struct decoded d = {0};
        const msgpack_object *sent =
            chunk(&d, id, &(struct v04_span){.span = &span, .tags = entries.data, .end_ns = span.end_ns}, 1,
                  -1)
                ->ptr;
        assert_metric(sent, "oom.requested_bytes", 1048576);
        assert_metric(sent, "watchdog.stalled_after_ms", (1700000003e9 - (double)span.start_ns) / 1e6);
        const msgpack_object *events = get(sent, "span_events");
        if (!taken) {
            assert_null(events);
        } else {
            assert_int_equal(events->via.array.size, 2);
            assert_text(&events->via.array.ptr[1], "name", "stalled");
            assert_integer(&events->via.array.ptr[1], "time_unix_nano", 1700000003000000000);
            const msgpack_object *event = events->via.array.ptr, *attributes = get(event, "attributes");
            assert_text(event, "name", "out_of_memory");
            assert_integer(event, "time_unix_nano", 1700000000000000256);
            assert_int_equal(attributes->via.map.size, 2);
            assert_integer(get(attributes, "oom.requested_bytes"), "int_value", 1048576);
            assert_integer(get(attributes, "oom.requested_bytes"), "type", 2);
            assert_text(get(attributes, "oom.top_allocations"), "string_value", "[]");
        }
        release(&d);
        buf_finish(&entries);
    }
    v04_identity_destroy(id);
}

static void numbers_without_meaning_are_left_out(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    struct buf tags = {0};
    number(&tags, TAG_NODES_TOTAL, NAN);
    number(&tags, TAG_NODES_FAILED, INFINITY);
    add(&tags, TAG_NODES_CACHED, FLIGHT_NUMBER, "1234", 4);     /* not a double */
    add(&tags, (enum tag)9999, FLIGHT_TEXT, "unknown key", 11); /* not in the table */
    add(&tags, TAG_NODE_ID, (enum flight_tag_type)9, "?", 1);   /* not a type */
    add(&tags, TAG_RESOURCE, FLIGHT_NUMBER, "12345678", 8);     /* not a text */
    number(&tags, TAG_RSS_AFTER, -0.5);
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    span.tags_size = (uint32_t)tags.size;
    struct v04_span list = {&span, tags.data, 0, span.end_ns};
    struct decoded d = {0};
    const msgpack_object *s = chunk(&d, id, &list, 1, NAN)->ptr;
    assert_metric(s, "memory.rss_bytes.after", -0.5);
    assert_int_equal(get(s, "metrics")->via.map.size, 3); /* with process_id and the priority */
    assert_int_equal(get(s, "meta")->via.map.size, 3);    /* env, language, decision maker */
    assert_text(s, "resource", "comfyui.node.execute");
    release(&d);
    buf_finish(&tags);
    v04_identity_destroy(id);
}

/* A flight memory of another version numbers its keys differently, and may know fields that we do not. */
static void the_key_table_is_that_of_the_memory(void **state) {
    (void)state;
    static const char *const names[] = {"new.tag", "<new field>", "service", "new.tag", "<resource>"};
    struct buf shared = {0}, tags = {0};
    text(&shared, (enum tag)2, "other");
    struct v04_identity *id = v04_identity_create(shared.data, shared.size, names, 5);
    assert_non_null(id);
    text(&tags, (enum tag)0, "first");
    text(&tags, (enum tag)3, "second");
    text(&tags, (enum tag)1, "unknown");
    text(&tags, (enum tag)4, "a resource");
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    span.tags_size = (uint32_t)tags.size;
    struct v04_span list = {&span, tags.data, 0, span.end_ns};
    struct decoded d = {0};
    const msgpack_object *s = chunk(&d, id, &list, 1, -1)->ptr;
    assert_text(s, "service", "other");
    assert_text(s, "resource", "a resource");
    assert_meta(s, "new.tag", "second");
    assert_int_equal(get(s, "meta")->via.map.size, 2); /* with the decision maker */
    release(&d);
    v04_identity_destroy(id);
    buf_finish(&shared);
    buf_finish(&tags);
}

static void many_chunks_make_one_payload(void **state) {
    (void)state;
    struct v04_identity *id = plain_identity();
    struct decoded d = {0};
    v04_begin(&d.payload, 70000);
    for (uint64_t i = 0; i < 70000; i++) {
        struct flight_span span = some_span(FLIGHT_WORKFLOW, i + 1);
        struct v04_span list = {&span, NULL, 0, span.end_ns};
        v04_chunk(&d.payload, id, &list, 1, -1);
    }
    const msgpack_object *payload = decode(&d);
    assert_int_equal(payload->via.array.size, 70000);
    assert_integer(&payload->via.array.ptr[69999].via.array.ptr[0], "span_id", 70000);
    release(&d);
    v04_identity_destroy(id);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_node_span),
        cmocka_unit_test(the_workflow_span_leads_its_chunk_and_alone_carries_the_trace),
        cmocka_unit_test(the_sampling_decision_is_told_as_it_was_made),
        cmocka_unit_test(a_name_is_never_there_twice),
        cmocka_unit_test(a_propagated_decision_maker_is_passed_on),
        cmocka_unit_test(the_hostname_is_told_once_per_chunk),
        cmocka_unit_test(snapshots_of_open_spans_say_so),
        cmocka_unit_test(text_is_cleaned_and_cut_to_the_limits),
        cmocka_unit_test(names_and_service_are_cleaned_too),
        cmocka_unit_test(what_happened_is_an_event_for_agents_that_take_events),
        cmocka_unit_test(numbers_without_meaning_are_left_out),
        cmocka_unit_test(the_key_table_is_that_of_the_memory),
        cmocka_unit_test(many_chunks_make_one_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
