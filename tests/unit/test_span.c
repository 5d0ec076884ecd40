#include "base/clock.h"
#include "flight.h"
#include "trace/span.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct flight_trace trace = {
    .trace_id_high = 1, .trace_id_low = 2, .root_span_id = 3, .agent_rate = -1, .priority = 1};

static struct flight *flight;
static unsigned woken; /* atomic */
static enum flight_span_kind last_woken;

static void wake(enum flight_span_kind kind) {
    __atomic_add_fetch(&woken, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&last_woken, kind, __ATOMIC_RELAXED);
}

static int connect(void **state) {
    (void)state;
    flight = flight_create(NULL, 0);
    woken = 0;
    span_connect(flight, wake);
    return flight ? 0 : -1;
}

static int disconnect(void **state) {
    (void)state;
    span_disconnect();
    flight_destroy(flight);
    return 0;
}

static struct span *node(uint64_t start_ns) {
    return span_start(FLIGHT_NODE, &trace, 0, 3, start_ns);
}

/* The next finished record, which is settled. */
static struct flight_record *take(void) {
    uint64_t position = 0;
    struct flight_record *record = flight_next(flight, &position);
    if (record) flight_settle(flight, record, true);
    return record;
}

/* Entry number `index` of `key`; its value in *value. */
static bool entry(const struct flight_record *record, enum tag key, int index, struct flight_tag *tag,
                  const void **value) {
    size_t offset = 0;
    while (flight_tag_next(record + 1, record->span.tags_size, &offset, tag, value))
        if (tag->key == key && index-- == 0) return true;
    return false;
}

static void assert_text(const struct flight_record *record, enum tag key, const char *text) {
    struct flight_tag tag;
    const void *value;
    assert_true(entry(record, key, 0, &tag, &value));
    assert_int_equal(tag.type, FLIGHT_TEXT);
    assert_int_equal(tag.size, strlen(text));
    assert_memory_equal(value, text, tag.size);
}

static size_t slots_in_use(void) {
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    size_t count = 0;
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT; i++)
        count += flight_copy_slot(flight, i, (struct flight_slot *)copy);
    return count;
}

static void a_span_moves_from_a_slot_to_the_ring(void **state) {
    (void)state;
    struct span *span = span_start(FLIGHT_WORKFLOW, &trace, 33, 44, 1000);
    assert_int_equal(span_id(span), 33);
    assert_int_equal(woken, 1); /* a workflow has begun */
    span_text(span, TAG_RESOURCE, "workflow#1", 10);
    span_number(span, TAG_NODES_TOTAL, 12.5);
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    struct flight_slot *slot = (struct flight_slot *)copy;
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.span_id, 33);
    assert_int_equal(slot->span.end_ns, 0);
    assert_int_equal(slot->span.tags_size, 24 + 16);
    assert_null(take());

    span_finish(span, 3000);
    assert_int_equal(woken, 2);
    assert_int_equal(last_woken, FLIGHT_WORKFLOW);
    assert_int_equal(slots_in_use(), 0);
    struct flight_record *record = take();
    assert_memory_equal(&record->span.trace, &trace, sizeof trace);
    assert_int_equal(record->span.span_id, 33);
    assert_int_equal(record->span.parent_id, 44);
    assert_int_equal(record->span.start_ns, 1000);
    assert_int_equal(record->span.end_ns, 3000);
    assert_int_equal(record->span.kind, FLIGHT_WORKFLOW);
    assert_int_equal(record->span.error, 0);
    assert_int_equal(record->span.waiting, 0);
    assert_text(record, TAG_RESOURCE, "workflow#1");
    struct flight_tag tag;
    const void *value;
    double number = 12.5;
    assert_true(entry(record, TAG_NODES_TOTAL, 0, &tag, &value));
    assert_int_equal(tag.type, FLIGHT_NUMBER);
    assert_memory_equal(value, &number, sizeof number);
    assert_null(take());
}

static double number_of(const struct flight_record *record, enum tag key, int which) {
    struct flight_tag tag;
    const void *value;
    double number;
    if (!entry(record, key, which, &tag, &value)) return -1;
    memcpy(&number, value, sizeof number);
    return number;
}

static void a_number_is_changed_in_place(void **state) {
    (void)state;
    struct span *span = node(1000);
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    struct flight_slot *slot = (struct flight_slot *)copy;
    span_renumber(span, TAG_NODES_TOTAL, 1); /* it is not there yet */
    span_text(span, TAG_NODES_CACHED, "no number", 9);
    for (int i = 2; i <= 100; i++)
        span_renumber(span, TAG_NODES_TOTAL, i);
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.tags_size, 16 + 24);
    span_renumber(span, TAG_NODES_CACHED, 3);
    for (int i = 0; i < 100; i++) /* to the heap */
        span_text(span, TAG_NODE_ID, "a text that takes some room", 27);
    span_renumber(span, TAG_NODES_FAILED, 4);
    span_renumber(span, TAG_NODES_FAILED, 5);
    span_renumber(span, TAG_NODES_TOTAL, 101);
    span_finish(span, 2000);
    const struct flight_record *record = take();
    assert_true(number_of(record, TAG_NODES_TOTAL, 0) == 101 && number_of(record, TAG_NODES_TOTAL, 1) == -1);
    assert_true(number_of(record, TAG_NODES_CACHED, 1) == 3);
    assert_true(number_of(record, TAG_NODES_FAILED, 0) == 5 && number_of(record, TAG_NODES_FAILED, 1) == -1);
    span_renumber(NULL, TAG_NODES_TOTAL, 1);
}

/* After a day without work nobody would look for spans in the file of a process that is killed at once. */
static void a_workflow_that_begins_is_a_sign_of_life(void **state) {
    (void)state;
    size_t size;
    const struct flight_header *header = flight_memory(flight, &size);
    flight_note_life(flight, 5);
    span_discard(node(70));
    assert_int_equal(header->alive_ns, 5); /* the exporter's thread gives those in between */
    uint64_t before = clock_wall_ns();
    span_discard(span_start(FLIGHT_WORKFLOW, &trace, 0, 0, 80)); /* whenever it is said to have begun */
    assert_in_range(header->alive_ns, before, clock_wall_ns());
}

static void who_is_woken_is_told_the_kind(void **state) {
    (void)state;
    span_finish(span_start(FLIGHT_WORKFLOW, &trace, 0, 0, 1), 2);
    assert_int_equal(last_woken, FLIGHT_WORKFLOW);
    span_finish(node(1), 2);
    assert_int_equal(last_woken, FLIGHT_NODE);
}

static void an_end_before_the_start_is_the_start(void **state) {
    (void)state;
    span_finish(node(1000), 999);
    assert_int_equal(take()->span.end_ns, 1000);
}

static void fresh_ids_are_given_and_differ(void **state) {
    (void)state;
    struct span *one = node(1), *other = node(1);
    assert_int_not_equal(span_id(one), 0);
    assert_int_not_equal(span_id(one), span_id(other));
    span_discard(one);
    span_discard(other);
    assert_int_equal(slots_in_use(), 0);
    assert_null(take());
    assert_int_equal(woken, 0);
    assert_int_equal(flight_counts(flight).recorded, 0);
}

static void an_error_carries_what_is_known(void **state) {
    (void)state;
    struct span *span = node(1);
    span_error(span, "builtins.ValueError", NULL, "stack");
    span_finish(span, 2);
    struct flight_record *record = take();
    struct flight_tag tag;
    const void *value;
    assert_int_equal(record->span.error, 1);
    assert_text(record, TAG_ERROR_TYPE, "builtins.ValueError");
    assert_text(record, TAG_ERROR_STACK, "stack");
    assert_false(entry(record, TAG_ERROR_MESSAGE, 0, &tag, &value));

    span = node(1);
    span_error(span, NULL, "message", NULL);
    span_finish(span, 2);
    assert_text(take(), TAG_ERROR_MESSAGE, "message");
}

static void a_waiting_span_says_so_until_its_work_begins(void **state) {
    (void)state;
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    struct flight_slot *slot = (struct flight_slot *)copy;
    struct span *span = node(10);
    span_wait(span, 1, 999);
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.waiting, 1);
    assert_int_equal(slot->span.start_ns, 10);
    span_wait(span, 0, 20);
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.waiting, 0);
    assert_int_equal(slot->span.start_ns, 20);
    span_finish(span, 30);
    assert_int_equal(take()->span.start_ns, 20);
}

/* Sets a text of `size` bytes made by repeating `unit`, and returns the size it has in the record. */
static size_t cut_size(enum tag key, const char *unit, size_t size) {
    size_t unit_size = strlen(unit);
    char *text = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % unit_size];
    struct span *span = node(1);
    span_text(span, key, text, size);
    span_finish(span, 2);
    struct flight_record *record = take();
    flight_trim(flight);
    struct flight_tag tag;
    const void *value;
    assert_true(entry(record, key, 0, &tag, &value));
    if (tag.size == size) {
        assert_memory_equal(value, text, size);
    } else {
        assert_memory_equal(value, text, tag.size - 3);
        assert_memory_equal((const char *)value + tag.size - 3, "...", 3);
    }
    free(text);
    return tag.size;
}

static void long_texts_are_cut_between_characters(void **state) {
    (void)state;
    assert_int_equal(cut_size(TAG_RESOURCE, "x", 5000), 5000);
    assert_int_equal(cut_size(TAG_RESOURCE, "x", 5001), 5000);
    assert_int_equal(cut_size(TAG_RESOURCE, "x", 1 << 20), 5000);
    assert_int_equal(cut_size(TAG_ERROR_STACK, "x", 25000), 25000);
    assert_int_equal(cut_size(TAG_ERROR_STACK, "x", 25001), 25000);
    assert_int_equal(cut_size(TAG_ERROR_MESSAGE, "x", 25000), 5000);
    assert_int_equal(cut_size(TAG_RESOURCE, "\xc3\xa4", 6000), 4996 + 3);     /* 4997 is within a character */
    assert_int_equal(cut_size(TAG_RESOURCE, "\xe2\x82\xac", 6000), 4995 + 3); /* 1665 of 3 bytes */
    assert_int_equal(cut_size(TAG_RESOURCE, "\xf0\x9f\x8e\xa8", 6000), 4996 + 3);  /* 1249 of 4 bytes */
    assert_int_equal(cut_size(TAG_RESOURCE, "x\xf0\x9f\x8e\xa8", 6000), 4996 + 3); /* 999 of 5, and the x */
    assert_int_equal(cut_size(TAG_RESOURCE, "\x80", 6000), 5000);                  /* no UTF-8 */
    assert_int_equal(cut_size(TAG_RESOURCE, "x", 0), 0);
}

static void tags_without_room_in_the_slot_go_on_in_order(void **state) {
    (void)state;
    struct span *span = node(1);
    char large[600], expected[601];
    for (int i = 0; i < 4; i++) {
        memset(large, 'a' + i, sizeof large);
        span_text(span, TAG_NODE_ID, large, sizeof large);
        span_number(span, TAG_NODE_EXECUTIONS, i);
    }
    span_finish(span, 2);
    struct flight_record *record = take();
    for (int i = 0; i < 4; i++) {
        struct flight_tag tag;
        const void *value;
        double number = i;
        memset(expected, 'a' + i, sizeof large);
        assert_true(entry(record, TAG_NODE_ID, i, &tag, &value));
        assert_int_equal(tag.size, sizeof large);
        assert_memory_equal(value, expected, sizeof large);
        assert_true(entry(record, TAG_NODE_EXECUTIONS, i, &tag, &value));
        assert_memory_equal(value, &number, sizeof number);
    }
    assert_int_equal(record->span.tags_size, 4 * (608 + 16));
}

static void a_slot_is_filled_to_its_last_byte(void **state) {
    (void)state;
    const size_t capacity = FLIGHT_SLOT_SIZE - sizeof(struct flight_slot);
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8))), text[FLIGHT_SLOT_SIZE] = {0};
    struct flight_slot *slot = (struct flight_slot *)copy;
    struct span *span = node(1);
    span_text(span, TAG_NODE_ID, text, capacity - 8);
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.tags_size, capacity);
    span_number(span, TAG_NODE_EXECUTIONS, 1);
    assert_true(flight_copy_slot(flight, 0, slot));
    assert_int_equal(slot->span.tags_size, capacity);
    span_finish(span, 2);
    assert_int_equal(take()->span.tags_size, capacity + 16);
}

static void without_a_free_slot_a_span_lives_in_the_heap(void **state) {
    (void)state;
    struct span *holders[FLIGHT_SLOT_COUNT];
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT; i++)
        holders[i] = node(1);
    assert_int_equal(slots_in_use(), FLIGHT_SLOT_COUNT);
    struct span *span = node(7);
    uint64_t id = span_id(span);
    assert_int_not_equal(id, 0);
    span_text(span, TAG_RESOURCE, "KSampler", 8);
    span_error(span, "E", "m", NULL);
    span_wait(span, 0, 8);
    span_finish(span, 9);
    struct flight_record *record = take();
    assert_int_equal(record->span.span_id, id);
    assert_int_equal(record->span.start_ns, 8);
    assert_int_equal(record->span.end_ns, 9);
    assert_int_equal(record->span.error, 1);
    assert_text(record, TAG_RESOURCE, "KSampler");
    assert_text(record, TAG_ERROR_MESSAGE, "m");
    span_discard(node(7));
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT; i++)
        span_discard(holders[i]);
    assert_int_equal(slots_in_use(), 0);
}

static void a_full_ring_drops_the_span_and_frees_its_slot(void **state) {
    (void)state;
    char stack[25000];
    memset(stack, 's', sizeof stack);
    uint64_t finished = 0;
    do {
        struct span *span = node(1);
        span_text(span, TAG_ERROR_STACK, stack, sizeof stack);
        span_finish(span, 2);
        finished++;
    } while (!flight_counts(flight).dropped);
    assert_int_equal(flight_counts(flight).recorded, finished);
    assert_int_equal(flight_counts(flight).dropped, 1);
    assert_int_equal(slots_in_use(), 0);
    assert_int_equal(woken, finished); /* so that the exporter makes room */
}

static void without_a_connection_nothing_happens(void **state) {
    (void)state;
    struct span *open = node(1), *open_too = node(1);
    span_text(open_too, TAG_NODE_ID, "1", 1);
    span_disconnect();
    flight_destroy(flight); /* as in a forked child */
    flight = NULL;
    assert_null(node(1));
    assert_int_equal(span_id(open), 0);
    span_text(open, TAG_NODE_ID, "1", 1);
    span_number(open, TAG_NODE_EXECUTIONS, 1);
    span_error(open, "E", "m", "s");
    span_wait(open, 0, 5);
    span_finish(open, 2);

    flight = flight_create(NULL, 0); /* a span of the old one stays dead */
    span_connect(flight, wake);
    struct span *fresh = node(1);
    span_discard(open_too);
    assert_int_equal(slots_in_use(), 1);
    assert_int_equal(flight_slots_taken(flight), 1);
    span_finish(fresh, 2);
    assert_int_equal(flight_counts(flight).recorded, 1);
}

static void a_null_span_is_accepted_everywhere(void **state) {
    (void)state;
    assert_int_equal(span_id(NULL), 0);
    span_text(NULL, TAG_NODE_ID, "1", 1);
    span_number(NULL, TAG_NODE_EXECUTIONS, 1);
    span_error(NULL, "E", "m", "s");
    span_wait(NULL, 1, 5);
    span_finish(NULL, 2);
    span_discard(NULL);
}

/* ---- many threads ---- */

enum { WRITERS = 8, SPANS_EACH = 5000 };

static int running; /* writers; atomic */

static void *work(void *argument) {
    (void)argument;
    for (int i = 0; i < SPANS_EACH; i++) {
        char text[40];
        struct span *span = node(1);
        span_wait(span, 1, 0);
        for (int j = 0; j < 15; j++) {
            double number = (double)span_id(span);
            if (j % 2)
                span_text(span, TAG_NODE_ID, text, (size_t)snprintf(text, sizeof text, "%.0f", number));
            else
                span_number(span, TAG_NODE_ACTIVE_MS, number);
        }
        span_wait(span, 0, 5);
        if (i % 100 == 0) span_error(span, "E", "m", NULL);
        if (i % 10 == 9)
            span_discard(span);
        else
            span_finish(span, 9);
    }
    __atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Every number in the entries is the span's id: they are its own. */
static void assert_own_entries(const struct flight_span *span, const void *tags) {
    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    double id = (double)span->span_id;
    while (flight_tag_next(tags, span->tags_size, &offset, &tag, &value))
        if (tag.type == FLIGHT_NUMBER) assert_memory_equal(value, &id, sizeof id);
    assert_int_equal(offset, span->tags_size);
}

static void spans_of_many_threads_are_drained_and_copied_whole(void **state) {
    (void)state;
    char copy[FLIGHT_SLOT_SIZE] __attribute__((aligned(8)));
    struct flight_slot *slot = (struct flight_slot *)copy;
    pthread_t threads[WRITERS];
    uint64_t drained = 0;
    running = WRITERS;
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    bool more = true;
    while (more) {
        more = __atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0;
        uint64_t position = 0;
        for (struct flight_record *record; (record = flight_next(flight, &position)); drained++) {
            assert_own_entries(&record->span, record + 1);
            assert_int_equal(record->span.start_ns, 5);
            flight_settle(flight, record, true);
        }
        flight_trim(flight);
        for (uint32_t i = 0; i < WRITERS; i++)
            if (flight_copy_slot(flight, i, slot)) assert_own_entries(&slot->span, slot + 1);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    struct flight_counts counts = flight_counts(flight);
    assert_int_equal(counts.recorded, WRITERS * SPANS_EACH / 10 * 9);
    assert_int_equal(counts.sent, drained);
    assert_int_equal(counts.sent + counts.dropped, counts.recorded);
    assert_int_equal(slots_in_use(), 0);
}

#define CONNECTED(test) cmocka_unit_test_setup_teardown(test, connect, disconnect)

int main(void) {
    const struct CMUnitTest tests[] = {
        CONNECTED(a_span_moves_from_a_slot_to_the_ring),
        CONNECTED(a_number_is_changed_in_place),
        CONNECTED(a_workflow_that_begins_is_a_sign_of_life),
        CONNECTED(who_is_woken_is_told_the_kind),
        CONNECTED(an_end_before_the_start_is_the_start),
        CONNECTED(fresh_ids_are_given_and_differ),
        CONNECTED(an_error_carries_what_is_known),
        CONNECTED(a_waiting_span_says_so_until_its_work_begins),
        CONNECTED(long_texts_are_cut_between_characters),
        CONNECTED(tags_without_room_in_the_slot_go_on_in_order),
        CONNECTED(a_slot_is_filled_to_its_last_byte),
        CONNECTED(without_a_free_slot_a_span_lives_in_the_heap),
        CONNECTED(a_full_ring_drops_the_span_and_frees_its_slot),
        CONNECTED(without_a_connection_nothing_happens),
        CONNECTED(a_null_span_is_accepted_everywhere),
        CONNECTED(spans_of_many_threads_are_drained_and_copied_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
