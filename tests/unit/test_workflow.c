#include "comfy/workflow.h"
#include "unit.h"

#include "config.h"
#include "flight.h"
#include "trace/sampler.h"
#include "trace/span.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct flight *flight;
static uint64_t position;

static void nobody(enum flight_span_kind kind) {
    (void)kind;
}

static int set_up(void **state) {
    (void)state;
    config_load(NULL);
    sampler_init(config());
    flight = flight_create(NULL, 0);
    position = 0;
    span_connect(flight, nobody);
    return flight ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    span_disconnect();
    flight_destroy(flight);
    sampler_finish();
    return 0;
}

/* The last value of a tag: its text, or its number printed; "" when it is absent. */
static const char *tag_of(const struct flight_record *record, enum tag key) {
    static char text[8][256];
    static int turn;
    char *out = text[turn++ % 8];
    *out = '\0';
    size_t offset = 0;
    struct flight_tag tag;
    const void *value;
    while (flight_tag_next(record + 1, record->span.tags_size, &offset, &tag, &value)) {
        double number;
        if (tag.key != key) continue;
        if (tag.type == FLIGHT_NUMBER) {
            memcpy(&number, value, sizeof number);
            snprintf(out, 256, "%g", number);
        } else {
            snprintf(out, 256, "%.*s", (int)tag.size, (const char *)value);
        }
    }
    return out;
}

static const struct flight_record *next_span(void) {
    const struct flight_record *record = flight_next(flight, &position);
    assert_non_null(record);
    return record;
}

static struct workflow *new_workflow(const struct ids_parent *parent) {
    struct workflow_start start = {.prompt_id = "p-1",
                                   .job_id = "job-7",
                                   .parent = parent,
                                   .queue_wait_ms = 12.5,
                                   .wall_ns = 1700000000000000000,
                                   .mono_ns = 5000};
    struct workflow *workflow = workflow_create(&start, config());
    assert_non_null(workflow);
    return workflow;
}

static const struct node_description sampler_node = {"3", "KSampler", "", ""};

static void a_workflow_and_its_nodes_become_one_trace(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    uint64_t workflow_id = workflow->span_id, low = workflow->trace.trace_id_low;
    struct node *node = workflow_node(workflow, 3);
    workflow_node_start(workflow, node, &sampler_node, 6000);
    node->executions = 1;
    workflow_node_finish(workflow, node, NODE_SUCCESS, NULL, 9000);
    workflow_finish(workflow, NULL, 10000);

    const struct flight_record *record = next_span();
    assert_int_equal(record->span.kind, FLIGHT_NODE);
    assert_int_equal(record->span.parent_id, workflow_id);
    assert_int_equal(record->span.trace.trace_id_low, low);
    assert_int_equal(record->span.start_ns, 1700000000000001000);
    assert_int_equal(record->span.end_ns, 1700000000000004000);
    assert_string_equal(tag_of(record, TAG_NODE_CLASS_TYPE), "KSampler");
    assert_string_equal(tag_of(record, TAG_NODE_ID), "3");
    assert_string_equal(tag_of(record, TAG_PROMPT_ID), "p-1");
    assert_string_equal(tag_of(record, TAG_NODE_RESULT), "SUCCESS");
    assert_string_equal(tag_of(record, TAG_NODE_EXECUTIONS), "1");
    assert_string_equal(tag_of(record, TAG_NODE_CACHED), "");
    assert_true(*tag_of(record, TAG_RAM_AVAILABLE_BEFORE) && *tag_of(record, TAG_RSS_AFTER));

    record = next_span();
    assert_int_equal(record->span.kind, FLIGHT_WORKFLOW);
    assert_int_equal(record->span.span_id, workflow_id);
    assert_int_equal(record->span.parent_id, 0);
    assert_int_equal(record->span.error, 0);
    assert_true(record->span.trace.trace_id_high != 0);
    assert_string_equal(tag_of(record, TAG_RESOURCE), "workflow#p-1");
    assert_string_equal(tag_of(record, TAG_JOB_ID), "job-7");
    assert_string_equal(tag_of(record, TAG_QUEUE_WAIT_MS), "12.5");
    assert_string_equal(tag_of(record, TAG_WORKFLOW_STATUS), "success");
    assert_string_equal(tag_of(record, TAG_NODES_TOTAL), "1");
    assert_null(flight_next(flight, &position));
}

/* It may be killed: so much had ended. */
static void an_open_workflow_has_its_counts(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    struct node *ran = workflow_node(workflow, 3), *running = workflow_node(workflow, 4);
    workflow_node_start(workflow, ran, &sampler_node, 6000);
    workflow_node_finish(workflow, ran, NODE_SUCCESS, NULL, 9000);
    workflow_node_cached(workflow, workflow_node(workflow, 5), &sampler_node, 9000, 9000);
    workflow_node_start(workflow, running, &sampler_node, 9000);
    struct {
        struct flight_record record;
        char tags[FLIGHT_SLOT_SIZE];
    } open;
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    const struct flight_slot *slot = (const struct flight_slot *)copy;
    assert_true(flight_copy_slot(flight, 0, (struct flight_slot *)copy));
    assert_int_equal(slot->span.kind, FLIGHT_WORKFLOW);
    open.record.span = slot->span;
    memcpy(&open.record + 1, slot + 1, slot->span.tags_size);
    assert_string_equal(tag_of(&open.record, TAG_NODES_TOTAL), "2");
    assert_string_equal(tag_of(&open.record, TAG_NODES_EXECUTED), "1");
    assert_string_equal(tag_of(&open.record, TAG_NODES_CACHED), "1");
    assert_string_equal(tag_of(&open.record, TAG_NODES_FAILED), "0");
    workflow_finish(workflow, NULL, 10000);
}

static void the_first_failure_is_the_workflows(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    struct failure first = {
        .type = "builtins.ValueError", .message = strdup("bad"), .stack = strdup("Traceback")};
    struct failure second = {.type = "builtins.KeyError", .message = strdup("later")};
    struct node *node = workflow_node(workflow, 1);
    workflow_node_start(workflow, node, &sampler_node, 6000);
    workflow_node_finish(workflow, node, NODE_FAILURE, &first, 7000);
    workflow_fail(workflow, &first);
    workflow_fail(workflow, &second);
    assert_null(first.message); /* taken over */
    workflow_finish(workflow, NULL, 8000);
    for (int i = 0; i < 2; i++) {
        const struct flight_record *record = next_span();
        assert_int_equal(record->span.error, 1);
        assert_string_equal(tag_of(record, TAG_ERROR_TYPE), "builtins.ValueError");
        assert_string_equal(tag_of(record, TAG_ERROR_MESSAGE), "bad");
        assert_string_equal(tag_of(record, TAG_ERROR_STACK), "Traceback");
        if (record->span.kind == FLIGHT_WORKFLOW) {
            assert_string_equal(tag_of(record, TAG_WORKFLOW_STATUS), "error");
            assert_string_equal(tag_of(record, TAG_NODES_FAILED), "1");
        }
    }
}

static void an_interrupt_is_no_error(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    struct failure interrupt = {.interrupted = true};
    struct node *node = workflow_node(workflow, 1);
    workflow_node_start(workflow, node, &sampler_node, 6000);
    workflow_node_finish(workflow, node, NODE_INTERRUPTED, &interrupt, 7000);
    workflow_fail(workflow, &interrupt);
    workflow_finish(workflow, NULL, 8000);
    const struct flight_record *record = next_span();
    assert_string_equal(tag_of(record, TAG_NODE_RESULT), "INTERRUPTED");
    assert_int_equal(record->span.error, 0);
    record = next_span();
    assert_string_equal(tag_of(record, TAG_WORKFLOW_STATUS), "interrupted");
    assert_int_equal(record->span.error, 0);
}

static void what_is_still_pending_is_closed_with_the_workflow(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    workflow_node_start(workflow, workflow_node(workflow, 1), &sampler_node, 6000);
    workflow_finish(workflow, NULL, 8000);
    const struct flight_record *record = next_span();
    assert_string_equal(tag_of(record, TAG_NODE_RESULT), "PENDING");
    assert_int_equal(record->span.end_ns, 1700000000000003000);
    assert_int_equal(next_span()->span.kind, FLIGHT_WORKFLOW);
}

static void cached_nodes_have_no_length_and_are_counted(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    workflow_node_cached(workflow, workflow_node(workflow, 1), &sampler_node, 5000, 5000);
    workflow_finish(workflow, NULL, 8000);
    const struct flight_record *record = next_span();
    assert_string_equal(tag_of(record, TAG_NODE_CACHED), "true");
    assert_string_equal(tag_of(record, TAG_NODE_RESULT), "SUCCESS");
    assert_int_equal(record->span.start_ns, record->span.end_ns);
    record = next_span();
    assert_string_equal(tag_of(record, TAG_NODES_CACHED), "1");
    assert_string_equal(tag_of(record, TAG_NODES_EXECUTED), "0");
    assert_string_equal(tag_of(record, TAG_NODES_TOTAL), "1");
}

static void discarded_nodes_leave_nothing(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    struct node *node = workflow_node(workflow, 1);
    workflow_node_start(workflow, node, &sampler_node, 6000);
    workflow_node_discard(node);
    workflow_finish(workflow, NULL, 8000);
    const struct flight_record *record = next_span();
    assert_int_equal(record->span.kind, FLIGHT_WORKFLOW);
    assert_string_equal(tag_of(record, TAG_NODES_TOTAL), "0");
    assert_null(flight_next(flight, &position));
}

static void a_parent_brings_trace_priority_and_origin(void **state) {
    (void)state;
    struct ids_parent parent = {.trace_id_high = 0x6710000000000000,
                                .trace_id_low = 77,
                                .span_id = 999,
                                .has_priority = true,
                                .priority = 2,
                                .origin = "synthetics",
                                .tags = "_dd.p.dm=-4,_dd.p.a=b"};
    struct workflow *workflow = new_workflow(&parent);
    workflow_finish(workflow, NULL, 8000);
    const struct flight_record *record = next_span();
    assert_int_equal(record->span.parent_id, 999);
    assert_int_equal(record->span.trace.trace_id_low, 77);
    assert_int_equal(record->span.trace.trace_id_high, 0x6710000000000000);
    assert_int_equal(record->span.trace.priority, 2);
    assert_int_equal(record->span.trace.inherited, 1);
    assert_int_equal(record->span.trace.mechanism, -1);
    assert_string_equal(tag_of(record, TAG_ORIGIN), "synthetics");
    assert_string_equal(tag_of(record, TAG_PROPAGATED), "_dd.p.a=b"); /* the last of them */
}

static void single_spans_of_traces_that_are_not_kept_are(void **state) {
    (void)state;
    struct config rules = *config();
    rules.span_sampling_rules = "[{}]";
    sampler_init(&rules);
    for (int priority = -1; priority <= 2; priority++) {
        struct ids_parent parent = {
            .trace_id_low = 77, .span_id = 999, .has_priority = true, .priority = priority};
        workflow_finish(new_workflow(&parent), NULL, 8000);
        assert_string_equal(tag_of(next_span(), TAG_SPAN_SAMPLING_MECHANISM), priority > 0 ? "" : "8");
    }
}

static void what_is_not_known_is_not_said(void **state) {
    (void)state;
    struct workflow_start start = {.prompt_id = "", .job_id = "", .queue_wait_ms = -1};
    workflow_finish(workflow_create(&start, config()), NULL, 8000);
    const struct flight_record *record = next_span();
    const enum tag keys[] = {TAG_PROMPT_ID, TAG_JOB_ID, TAG_QUEUE_WAIT_MS, TAG_ORIGIN, TAG_PROPAGATED};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_string_equal(tag_of(record, keys[i]), "");
}

static void ten_thousand_nodes_are_found_again(void **state) {
    (void)state;
    struct workflow *workflow = new_workflow(NULL);
    static struct node *nodes[10000];
    const uint64_t spread = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 0; i < 10000; i++) {
        assert_null(workflow_known_node(workflow, i * spread));
        nodes[i] = workflow_node(workflow, i * spread);
        nodes[i]->done = true;
    }
    for (unsigned i = 0; i < 10000; i++) {
        assert_ptr_equal(workflow_node(workflow, i * spread), nodes[i]);
        assert_ptr_equal(workflow_known_node(workflow, i * spread), nodes[i]);
    }
    assert_int_equal(workflow->node_count, 10000);
    assert_true(workflow->chain_count > 1000); /* in short chains */
    workflow_abandon(workflow);
    assert_null(flight_next(flight, &position)); /* abandoned: no span at all */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_workflow_and_its_nodes_become_one_trace),
        TEST(an_open_workflow_has_its_counts),
        TEST(the_first_failure_is_the_workflows),
        TEST(an_interrupt_is_no_error),
        TEST(what_is_still_pending_is_closed_with_the_workflow),
        TEST(cached_nodes_have_no_length_and_are_counted),
        TEST(discarded_nodes_leave_nothing),
        TEST(a_parent_brings_trace_priority_and_origin),
        TEST(single_spans_of_traces_that_are_not_kept_are),
        TEST(what_is_not_known_is_not_said),
        TEST(ten_thousand_nodes_are_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
