#include "export/batch.h"
#include "flight.h"
#include "unit.h"

#include <string.h>

#define LARGE 100000 /* bytes: no limit for these tests */

static const struct batch_policy only_complete = {false, 0};
static const struct batch_policy everything = {true, 0};

/* Puts a span with `padding` bytes of an entry into the ring. */
static void add(struct flight *flight, uint64_t root, uint64_t span_id, size_t padding) {
    static char zeros[4096], entry[4096 + sizeof(struct flight_tag)];
    struct flight_span span = {.trace = {.trace_id_low = 7, .root_span_id = root},
                               .span_id = span_id,
                               .kind = root == span_id ? FLIGHT_WORKFLOW : FLIGHT_NODE};
    span.tags_size = (uint32_t)(flight_tag_write(entry, 0, FLIGHT_TEXT, zeros, padding) - entry);
    assert_true(flight_append(flight, &span, entry, NULL, 0, NULL));
}

static struct flight *new_flight(void) {
    struct flight *flight = flight_create(NULL, 0);
    assert_non_null(flight);
    return flight;
}

static void assert_items(const struct batch *batch, size_t count, const uint64_t *span_ids) {
    assert_int_equal(batch->item_count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(batch->items[i].record->span.span_id, span_ids[i]);
}

static void interleaved_traces_are_put_in_order(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    assert_true(batch_gather(&batch, flight, &everything));
    assert_items(&batch, 0, NULL);
    add(flight, 20, 21, 0);
    add(flight, 10, 11, 0);
    add(flight, 30, 31, 0);
    add(flight, 10, 10, 0);
    add(flight, 20, 22, 0);
    add(flight, 20, 20, 0);
    assert_true(batch_gather(&batch, flight, &only_complete));
    assert_items(&batch, 5, (uint64_t[]){21, 22, 20, 11, 10});
    assert_int_equal(batch.waiting, 1);
    assert_true(batch_gather(&batch, flight, &everything));
    assert_items(&batch, 6, (uint64_t[]){21, 22, 20, 11, 10, 31});
    assert_int_equal(batch.waiting, 0);
    batch_finish(&batch);
    flight_destroy(flight);
}

static void settled_spans_are_not_gathered_again(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    add(flight, 10, 11, 0);
    add(flight, 10, 10, 0);
    assert_true(batch_gather(&batch, flight, &only_complete));
    flight_settle(flight, batch.items[1].record, true);
    assert_true(
        batch_gather(&batch, flight, &only_complete)); /* the trace was complete: what is left follows */
    assert_items(&batch, 1, (uint64_t[]){11});
    batch_finish(&batch);
    flight_destroy(flight);
}

/* Only the last workflows are remembered, and none twice. */
static void late_spans_are_due_while_their_workflow_is_remembered(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    for (uint64_t root = 1; root <= BATCH_REMEMBERED + 1; root++)
        add(flight, root, root, 0);
    for (int i = 0; i < 3; i++)
        assert_true(batch_gather(&batch, flight, &only_complete));
    for (size_t i = 0; i < batch.item_count; i++)
        flight_settle(flight, batch.items[i].record, true);
    add(flight, 1, 1001, 0);
    add(flight, 2, 1002, 0);
    add(flight, BATCH_REMEMBERED + 1, 1003, 0);
    assert_true(batch_gather(&batch, flight, &only_complete));
    assert_items(&batch, 2, (uint64_t[]){1002, 1003});
    assert_int_equal(batch.waiting, 1);
    batch_finish(&batch);
    flight_destroy(flight);
}

/* As long as the agent does not take it, every look finds it again. */
static void a_workflow_that_waits_is_remembered_once(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    add(flight, 1, 1, 0);
    add(flight, 2, 2, 0);
    assert_true(batch_gather(&batch, flight, &only_complete));
    flight_settle(flight, batch.items[0].record, true);
    for (int i = 0; i < BATCH_REMEMBERED; i++)
        assert_true(batch_gather(&batch, flight, &only_complete));
    add(flight, 1, 1001, 0);
    assert_true(batch_gather(&batch, flight, &only_complete));
    assert_items(&batch, 2, (uint64_t[]){2, 1001});
    batch_finish(&batch);
    flight_destroy(flight);
}

static void portions_end_between_traces(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    for (uint64_t root = 10; root <= 40; root += 10) {
        add(flight, root, root + 1, 1000);
        add(flight, root, root, 1000);
    }
    assert_true(batch_gather(&batch, flight, &everything));
    size_t trace = 2 * (size_t)batch.items[0].record->size;
    assert_int_equal(batch_portion(&batch, 0, LARGE, true), 8);
    assert_int_equal(batch_portion(&batch, 0, 2 * trace, true), 4);
    assert_int_equal(batch_portion(&batch, 0, 2 * trace + trace / 2, true), 4);
    assert_int_equal(batch_portion(&batch, 4, 2 * trace - 1, true), 2);
    assert_int_equal(batch_portion(&batch, 8, LARGE, true), 0);
    batch_finish(&batch);
    flight_destroy(flight);
}

static void a_trace_that_is_too_large_is_split_if_it_may_be(void **state) {
    (void)state;
    struct flight *flight = new_flight();
    struct batch batch = {0};
    for (uint64_t i = 0; i < 5; i++)
        add(flight, 10, 11 + i, 1000);
    add(flight, 20, 20, 0);
    assert_true(batch_gather(&batch, flight, &everything));
    size_t span = batch.items[0].record->size;
    assert_int_equal(batch_portion(&batch, 0, 2 * span, true), 2);
    assert_int_equal(batch_portion(&batch, 2, 2 * span, true), 2);
    assert_int_equal(batch_portion(&batch, 4, 2 * span, true), 2); /* its last, and the next trace */
    assert_int_equal(batch_portion(&batch, 0, 1, true), 1);        /* never nothing */
    assert_int_equal(batch_portion(&batch, 0, 2 * span, false), 5);
    assert_int_equal(batch_portion(&batch, 5, 1, false), 1);
    batch_finish(&batch);
    flight_destroy(flight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interleaved_traces_are_put_in_order),
        cmocka_unit_test(settled_spans_are_not_gathered_again),
        cmocka_unit_test(late_spans_are_due_while_their_workflow_is_remembered),
        cmocka_unit_test(a_workflow_that_waits_is_remembered_once),
        cmocka_unit_test(portions_end_between_traces),
        cmocka_unit_test(a_trace_that_is_too_large_is_split_if_it_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
