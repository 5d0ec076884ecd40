#include "export/snapshots.h"
#include "unit.h"

#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define START    (UINT64_C(1700000000) * NS_PER_S)
#define AFTER    20.0

static struct flight *flight;
static struct snapshots snapshots;

static int setup(void **state) {
    (void)state;
    flight = flight_create(NULL, 0);
    return flight ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    snapshots_finish(&snapshots);
    flight_destroy(flight);
    return 0;
}

/* Opens a span, `late_s` after START. */
static struct flight_slot *open_span(uint64_t root, uint64_t span_id, unsigned late_s) {
    struct flight_slot *slot = flight_take_slot(flight);
    assert_non_null(slot);
    slot->span.trace = (struct flight_trace){.trace_id_low = 7, .root_span_id = root, .priority = 1};
    slot->span.span_id = span_id;
    slot->span.kind = root == span_id ? FLIGHT_WORKFLOW : FLIGHT_NODE;
    slot->span.start_ns = START + late_s * NS_PER_S;
    __atomic_store_n(&slot->state, FLIGHT_SLOT_OPEN, __ATOMIC_RELEASE);
    return slot;
}

/* How many spans are due, so many seconds after START. */
static size_t due_at(uint64_t seconds) {
    snapshots_gather(&snapshots, flight, AFTER, START + seconds * NS_PER_S);
    return snapshots.count;
}

static void a_workflow_is_due_when_it_is_old_enough_with_its_nodes(void **state) {
    (void)state;
    assert_int_equal(due_at(100), 0);
    open_span(10, 11, 0); /* before its workflow: the order of slots says nothing */
    open_span(20, 20, 15);
    open_span(10, 10, 0);
    open_span(20, 21, 15);
    assert_int_equal(due_at(19), 0);
    assert_int_equal(due_at(20), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(snapshots.list[i].slot.span.trace.root_span_id, 10);
        assert_int_equal(snapshots.list[i].version, 20000);
    }
    assert_int_equal(due_at(35), 4);
    for (int i = 0; i < 4; i++) /* trace by trace */
        assert_int_equal(snapshots.list[i].slot.span.trace.root_span_id, i < 2 ? 10 : 20);
}

static void it_is_due_again_every_five_minutes_for_twelve_hours(void **state) {
    (void)state;
    open_span(10, 10, 0);
    uint64_t last = 0;
    unsigned count = 0;
    for (uint64_t second = 1; second < 50000; second++) {
        if (!due_at(second)) continue;
        assert_true(second == (last ? last + 300 : 20));
        snapshots_note(&snapshots, flight);
        last = second;
        count++;
    }
    assert_in_range(last, 43200 - 300, 43200 - 1);
    assert_int_equal(count, 1 + (43199 - 20) / 300);
}

static void nodes_that_have_not_begun_and_dropped_traces_are_left_out(void **state) {
    (void)state;
    open_span(10, 10, 0);
    open_span(10, 11, 0)->span.waiting = 1;
    open_span(10, 12, 60); /* not started yet, by this clock */
    open_span(20, 20, 0)->span.trace.priority = 0;
    open_span(30, 30, 0)->span.trace.priority = -1;
    open_span(40, 41, 0);                               /* its workflow is not among the slots */
    open_span(10, 13, 0)->span.partial_version = 99000; /* the clock was set back: versions only grow */
    assert_int_equal(due_at(30), 1);
    assert_int_equal(snapshots.list[0].slot.span.span_id, 10);
}

static void what_was_noted_is_in_the_span_that_is_finished(void **state) {
    (void)state;
    struct flight_slot *slot = open_span(10, 10, 0);
    assert_int_equal(due_at(25), 1);
    snapshots_note(&snapshots, flight);
    assert_int_equal(slot->span.partial_version, 25000);
    /* Somebody else has the slot meanwhile: nothing is noted there. */
    assert_int_equal(due_at(400), 1);
    slot->span.span_id = 11;
    snapshots_note(&snapshots, flight);
    assert_int_equal(slot->span.partial_version, 25000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_workflow_is_due_when_it_is_old_enough_with_its_nodes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_is_due_again_every_five_minutes_for_twelve_hours, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_that_have_not_begun_and_dropped_traces_are_left_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_noted_is_in_the_span_that_is_finished, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
