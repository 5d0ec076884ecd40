/* Payloads are read back with msgpack-c's unpacker: an encoder and a decoder of different hands. */
#include "export/msgpack_v04.h"
#include "flight.h"
#include "trace/tags.h"
#include "unit.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- building: what a test has made is freed after it ---- */

static struct v04_identity *id;
static struct buf shared, tags; /* entries: the identity's, and those of each span that is encoded */

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

/* Of `shared`. */
static void make_identity(void) {
    const char *names[TAG_COUNT];
    tags_list_names(names);
    id = v04_identity_create(shared.data, shared.size, names, TAG_COUNT);
    assert_non_null(id);
}

static void make_plain_identity(void) {
    text(&shared, TAG_SERVICE, "comfyui");
    text(&shared, TAG_ENV, "test");
    text(&shared, TAG_LANGUAGE, "c");
    number(&shared, TAG_PROCESS_ID, 4711);
    make_identity();
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

static struct buf payload; /* with what it was read back as: valid until the next is made */
static msgpack_unpacked unpacked;

static void release(void) {
    msgpack_unpacked_destroy(&unpacked);
    buf_finish(&payload);
}

static int finish(void **state) {
    (void)state;
    release();
    v04_identity_destroy(id);
    id = NULL;
    buf_finish(&shared);
    buf_finish(&tags);
    return 0;
}

static const msgpack_object *decode(void) {
    assert_false(payload.failed);
    size_t offset = 0;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, payload.data, payload.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, payload.size);
    return &unpacked.data;
}

/* Encodes one chunk and returns the array of its spans. */
static const msgpack_object_array *chunk(const struct v04_span *spans, size_t count, double keep_rate) {
    release();
    v04_begin(&payload, 1);
    v04_chunk(&payload, id, spans, count, keep_rate);
    const msgpack_object *object = decode();
    assert_int_equal(object->type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal(object->via.array.size, 1);
    assert_int_equal(object->via.array.ptr[0].type, MSGPACK_OBJECT_ARRAY);
    return &object->via.array.ptr[0].via.array;
}

/* A finished one, with `tags`. */
static struct v04_span finished(struct flight_span *span) {
    span->tags_size = (uint32_t)tags.size;
    return (struct v04_span){span, tags.data, 0, span->end_ns};
}

/* The same, encoded. */
static const msgpack_object *encode(struct flight_span span) {
    const struct v04_span only = finished(&span);
    const msgpack_object_array *spans = chunk(&only, 1, -1);
    assert_int_equal(spans->size, 1);
    return spans->ptr;
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
    make_identity();
    text(&tags, TAG_NODE_ID, "3");
    text(&tags, TAG_NODE_CLASS_TYPE, "KSampler");
    number(&tags, TAG_RSS_AFTER, 123456789012.0);
    struct flight_span span = some_span(FLIGHT_NODE, UINT64_MAX);
    span.trace.trace_id_low = UINT64_MAX - 1;
    span.parent_id = 5;
    span.error = 7;
    const msgpack_object *s = encode(span);
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
    assert_meta(s, "span.kind", "internal");
    assert_meta(s, "_dd.p.dm", "-0");
    assert_int_equal(get(s, "meta")->via.map.size, 12);
    assert_metric(s, "process_id", 4711);
    assert_metric(s, "_dd.measured", 1);
    assert_metric(s, "memory.rss_bytes.after", 123456789012.0);
    assert_metric(s, "_sampling_priority_v1", 1);
    assert_int_equal(get(s, "metrics")->via.map.size, 4);
}

static void the_workflow_span_leads_its_chunk_and_alone_carries_the_trace(void **state) {
    (void)state;
    make_plain_identity();
    struct flight_span spans[3] = {some_span(FLIGHT_NODE, 2), some_span(FLIGHT_NODE, 3),
                                   some_span(FLIGHT_WORKFLOW, 1)};
    text(&tags, TAG_ORIGIN, "synthetics");
    text(&tags, TAG_PROPAGATED, "_dd.p.usr=1");
    struct v04_span list[3];
    for (int i = 0; i < 3; i++) {
        spans[i].trace.trace_id_high = 0x6710000000000000;
        list[i] = finished(&spans[i]);
    }
    const msgpack_object_array *array = chunk(list, 3, 0.75);
    assert_int_equal(array->size, 3);
    static const uint64_t order[] = {1, 2, 3};
    for (uint32_t i = 0; i < 3; i++) {
        const msgpack_object *s = &array->ptr[i];
        assert_integer(s, "span_id", order[i]);
        assert_text(s, "resource",
                    i ? "comfyui.node.execute" : "comfyui.workflow.execute"); /* none was set */
        assert_meta(s, "span.kind", i ? "internal" : "consumer");
        assert_metric(s, i ? "_dd.measured" : "_dd.top_level", 1);
        assert_no_metric(s, i ? "_dd.top_level" : "_dd.measured");
        assert_meta(s, "_dd.p.dm", i ? NULL : "-0");
        assert_meta(s, "_dd.p.tid", i ? NULL : "6710000000000000");
        assert_meta(s, "_dd.origin", "synthetics");
        assert_meta(s, "_dd.p.usr", i ? NULL : "1");
        if (i) {
            assert_no_metric(s, "_sampling_priority_v1");
            assert_no_metric(s, "_dd.tracer_kr");
        } else {
            assert_metric(s, "_sampling_priority_v1", 1);
            assert_metric(s, "_dd.tracer_kr", 0.75);
        }
    }
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
    make_plain_identity();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
        span.trace.priority = cases[i].priority;
        span.trace.mechanism = cases[i].mechanism;
        span.trace.agent_rate = cases[i].agent;
        span.trace.rule_rate = cases[i].rule;
        span.trace.limit_rate = cases[i].limit;
        const msgpack_object *s = encode(span);
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
    }
}

static void a_name_is_never_there_twice(void **state) {
    (void)state;
    text(&shared, TAG_ENV, "prod");
    text(&shared, TAG_USER_TAG, "env:user");
    text(&shared, TAG_USER_TAG, "node.id:user");
    text(&shared, TAG_USER_TAG, "_dd.p.dm:user");
    text(&shared, TAG_USER_TAG, "_dd.origin:user");
    text(&shared, TAG_USER_TAG, "twice:1");
    text(&shared, TAG_USER_TAG, "twice:2");
    text(&shared, TAG_USER_TAG, "kept:yes");
    number(&shared, TAG_PROCESS_ID, 1);
    make_identity();
    text(&tags, TAG_NODE_ID, "1");
    text(&tags, TAG_ORIGIN, "rum");
    text(&tags, TAG_NODE_ID, "a later value");
    number(&tags, TAG_NODES_CACHED, 0);
    number(&tags, TAG_NODES_CACHED, 1);
    text(&tags, TAG_NODES_TOTAL, "text first");
    number(&tags, TAG_NODES_TOTAL, 5);
    number(&tags, TAG_PROCESS_ID, 2);
    text(&tags, TAG_PROPAGATED, "_dd.p.x=1");
    text(&tags, TAG_PROPAGATED, "_dd.p.x=2");
    text(&tags, TAG_PROPAGATED, "_dd.p.dm=-9");
    text(&tags, TAG_PROPAGATED, "kept=not ours to change");
    text(&tags, TAG_PROPAGATED, "_dd.p.no value");
    text(&tags, TAG_PROPAGATED, "_dd.p.b\xff=1");
    const msgpack_object *s = encode(some_span(FLIGHT_NODE, 2));
    assert_meta(s, "env", "prod");
    assert_meta(s, "node.id", "a later value");
    assert_meta(s, "_dd.origin", "rum");
    assert_meta(s, "_dd.p.dm", "-0");
    assert_meta(s, "twice", "2");
    assert_meta(s, "kept", "yes");
    assert_meta(s, "_dd.p.x", "2");
    assert_meta(s, "workflow.nodes.total", NULL);
    assert_int_equal(get(s, "meta")->via.map.size, 8); /* with the span's kind */
    assert_metric(s, "workflow.nodes.cached", 1);
    assert_metric(s, "workflow.nodes.total", 5);
    assert_metric(s, "process_id", 2);
    assert_int_equal(get(s, "metrics")->via.map.size, 5); /* with _dd.measured and the priority */
    /* What a span overrides, the next one has again. */
    buf_clear(&tags);
    s = encode(some_span(FLIGHT_NODE, 2));
    assert_meta(s, "node.id", "user");
    assert_metric(s, "process_id", 1);
}

/* An inherited decision keeps the decision maker that came with it. */
static void a_propagated_decision_maker_is_passed_on(void **state) {
    (void)state;
    make_plain_identity();
    text(&tags, TAG_PROPAGATED, "_dd.p.dm=-4");
    struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
    span.trace.mechanism = -1;
    assert_meta(encode(span), "_dd.p.dm", "-4");
}

static void host_and_code_are_told_once_per_chunk(void **state) {
    (void)state;
    text(&shared, TAG_SERVICE, "comfyui");
    text(&shared, TAG_HOSTNAME, "gpu-7");
    text(&shared, TAG_GIT_COMMIT, "5ca1ab1e");
    text(&shared, TAG_USER_TAG, "_dd.hostname:user");
    make_identity();
    struct flight_span spans[] = {some_span(FLIGHT_NODE, 2), some_span(FLIGHT_NODE, 3)};
    struct v04_span list[] = {{&spans[0], NULL, 0, 0}, {&spans[1], NULL, 0, 0}};
    const msgpack_object_array *array = chunk(list, 2, -1);
    assert_meta(&array->ptr[0], "_dd.hostname", "gpu-7");
    assert_meta(&array->ptr[0], "_dd.git.commit.sha", "5ca1ab1e");
    assert_meta(&array->ptr[1], "_dd.hostname", "user");
    assert_meta(&array->ptr[1], "_dd.git.commit.sha", NULL);
    assert_int_equal(get(&array->ptr[0], "meta")->via.map.size, 4); /* with kind and decision maker */
    assert_integer(&array->ptr[0], "duration", 0);                  /* an end before the start */
}

static void snapshots_of_open_spans_say_so(void **state) {
    (void)state;
    make_plain_identity();
    struct flight_span span = some_span(FLIGHT_WORKFLOW, 1);
    struct v04_span snapshot = {&span, NULL, 12, span.start_ns + 20};
    span.partial_version = 11;
    const msgpack_object *s = chunk(&snapshot, 1, -1)->ptr;
    assert_metric(s, "_dd.partial_version", 12);
    assert_no_metric(s, "_dd.was_long_running");
    assert_integer(s, "duration", 20);
    s = encode(span);
    assert_no_metric(s, "_dd.partial_version");
    assert_metric(s, "_dd.was_long_running", 1);
}

/* Sizes around every change of msgpack's header, in plain text and in text that grows when it is cleaned. */
static void text_is_cleaned_and_cut_to_the_limits(void **state) {
    (void)state;
    static const size_t sizes[] = {0,    1,    9,    10,   11,    31,    32,    33,    84,   85,
                                   86,   87,   255,  256,  257,   1000,  1666,  1667,  1668, 4997,
                                   5000, 5001, 8333, 8334, 21845, 24999, 25000, 25001, 70000};
    make_plain_identity();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int bad = 0; bad < 2; bad++) {
            char *value = malloc(sizes[i] + 1);
            assert_non_null(value);
            memset(value, bad ? '\xff' : 'x', sizes[i]);
            add(&tags, TAG_RESOURCE, FLIGHT_TEXT, value, sizes[i]);
            add(&tags, TAG_ERROR_STACK, FLIGHT_TEXT, value, sizes[i]);
            const msgpack_object *s = encode(some_span(FLIGHT_NODE, 2));
            const msgpack_object *got[] = {get(s, "resource"), get(get(s, "meta"), "error.stack")};
            for (int k = 0; k < 2; k++) {
                size_t unit = bad ? 3 : 1, limit = k ? 25000 : 5000, whole = unit * sizes[i];
                size_t wanted = whole <= limit ? whole : (limit - 3) / unit * unit + 3;
                if (!sizes[i] && !k) wanted = strlen("comfyui.node.execute");
                assert_int_equal(got[k]->via.str.size, wanted);
                if (whole > limit) assert_memory_equal(got[k]->via.str.ptr + wanted - 3, "...", 3);
                if (bad && sizes[i]) assert_memory_equal(got[k]->via.str.ptr, "\xef\xbf\xbd", 3);
            }
            buf_finish(&tags);
            free(value);
        }
    }
}

static void names_and_service_are_cleaned_too(void **state) {
    (void)state;
    char service[300], name[400];
    memset(service, 's', sizeof service);
    add(&shared, TAG_SERVICE, FLIGHT_TEXT, service, sizeof service);
    text(&shared, TAG_USER_TAG, "bad\xff name:bad\xff value");
    memset(name, 'n', sizeof name);
    name[399] = ':';
    add(&shared, TAG_USER_TAG, FLIGHT_TEXT, name, sizeof name);
    make_identity();
    const msgpack_object *s = encode(some_span(FLIGHT_NODE, 2));
    assert_int_equal(get(s, "service")->via.str.size, 100);
    assert_meta(s, "bad\xef\xbf\xbd name", "bad\xef\xbf\xbd value");
    memcpy(name + 197, "...", 4);
    assert_meta(s, name, "");
}

static void what_happened_is_an_event_for_agents_that_take_events(void **state) {
    (void)state;
    make_plain_identity();
    text(&tags, TAG_NODE_ID, "7");
    number(&tags, TAG_OOM_REQUESTED, 1048576);
    text(&tags, TAG_OOM_TOP_ALLOCATIONS, "[]");
    number(&tags, TAG_OOM_EVENT, 1700000000000000256.0);
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    span.trace.stalled_at_s = 1700000003;
    for (int taken = 0; taken < 2; taken++) {
        v04_identity_take_events(id, taken);
        const msgpack_object *sent = encode(span);
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
    }
}

static void numbers_without_meaning_are_left_out(void **state) {
    (void)state;
    make_plain_identity();
    number(&tags, TAG_NODES_TOTAL, NAN);
    number(&tags, TAG_NODES_FAILED, INFINITY);
    add(&tags, TAG_NODES_CACHED, FLIGHT_NUMBER, "1234", 4);     /* not a double */
    add(&tags, (enum tag)9999, FLIGHT_TEXT, "unknown key", 11); /* not in the table */
    add(&tags, TAG_NODE_ID, (enum flight_tag_type)9, "?", 1);   /* not a type */
    add(&tags, TAG_RESOURCE, FLIGHT_NUMBER, "12345678", 8);     /* not a text */
    number(&tags, TAG_RSS_AFTER, -0.5);
    struct flight_span span = some_span(FLIGHT_NODE, 2);
    const struct v04_span only = finished(&span);
    const msgpack_object *s = chunk(&only, 1, NAN)->ptr;
    assert_metric(s, "memory.rss_bytes.after", -0.5);
    assert_int_equal(get(s, "metrics")->via.map.size, 4); /* with process_id, _dd.measured and the priority */
    assert_int_equal(get(s, "meta")->via.map.size, 4);    /* env, language, span.kind, decision maker */
    assert_text(s, "resource", "comfyui.node.execute");
}

/* A flight memory of another version numbers its keys differently, and may know fields that we do not. */
static void the_key_table_is_that_of_the_memory(void **state) {
    (void)state;
    static const char *const names[] = {"new.tag", "<new field>", "service", "new.tag", "<resource>"};
    text(&shared, (enum tag)2, "other");
    id = v04_identity_create(shared.data, shared.size, names, 5);
    assert_non_null(id);
    text(&tags, (enum tag)0, "first");
    text(&tags, (enum tag)3, "second");
    text(&tags, (enum tag)1, "unknown");
    text(&tags, (enum tag)4, "a resource");
    const msgpack_object *s = encode(some_span(FLIGHT_NODE, 2));
    assert_text(s, "service", "other");
    assert_text(s, "resource", "a resource");
    assert_meta(s, "new.tag", "second");
    assert_int_equal(get(s, "meta")->via.map.size, 3); /* with span.kind and the decision maker */
}

static void many_chunks_make_one_payload(void **state) {
    (void)state;
    make_plain_identity();
    v04_begin(&payload, 70000);
    for (uint64_t i = 0; i < 70000; i++) {
        struct flight_span span = some_span(FLIGHT_WORKFLOW, i + 1);
        const struct v04_span only = finished(&span);
        v04_chunk(&payload, id, &only, 1, -1);
    }
    const msgpack_object *chunks = decode();
    assert_int_equal(chunks->via.array.size, 70000);
    assert_integer(&chunks->via.array.ptr[69999].via.array.ptr[0], "span_id", 70000);
}

int main(void) {
#define ENCODING(test) cmocka_unit_test_teardown(test, finish)
    const struct CMUnitTest tests[] = {
        ENCODING(every_field_of_a_node_span),
        ENCODING(the_workflow_span_leads_its_chunk_and_alone_carries_the_trace),
        ENCODING(the_sampling_decision_is_told_as_it_was_made),
        ENCODING(a_name_is_never_there_twice),
        ENCODING(a_propagated_decision_maker_is_passed_on),
        ENCODING(host_and_code_are_told_once_per_chunk),
        ENCODING(snapshots_of_open_spans_say_so),
        ENCODING(text_is_cleaned_and_cut_to_the_limits),
        ENCODING(names_and_service_are_cleaned_too),
        ENCODING(what_happened_is_an_event_for_agents_that_take_events),
        ENCODING(numbers_without_meaning_are_left_out),
        ENCODING(the_key_table_is_that_of_the_memory),
        ENCODING(many_chunks_make_one_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
