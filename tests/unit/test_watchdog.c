/* When nothing begins or ends for too long, and when the thread that executes workflows is gone. */
#include "export/watchdog.h"

#include "capture.h"
#include "flight.h"
#include "trace/span.h"
#include "trace/tags.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

static struct flight *flight;
static struct watchdog watchdog;
static uint64_t now; /* clock_mono_ns of the next look */

static void ignore(enum flight_span_kind kind) {
    (void)kind;
}

static int start(void **state) {
    (void)state;
    flight = flight_create(NULL, 0);
    span_connect(flight, ignore);
    watchdog = (struct watchdog){.limit_ns = 10 * SECOND};
    now = 1000 * SECOND;
    capture_start();
    return flight ? 0 : -1;
}

static int finish(void **state) {
    (void)state;
    capture_stop();
    span_disconnect();
    flight_destroy(flight);
    return 0;
}

static struct span *open_span(enum flight_span_kind kind) {
    const struct flight_trace trace = {.trace_id_low = 1, .root_span_id = 1};
    struct span *span = span_start(kind, &trace, 0, 0, SECOND);
    span_text(span, TAG_PROMPT_ID, "prompt", 6);
    if (kind == FLIGHT_NODE) span_text(span, TAG_NODE_ID, "12", 2);
    if (kind == FLIGHT_NODE) span_text(span, TAG_NODE_CLASS_TYPE, "KSampler", 8);
    return span;
}

static void look_for(unsigned seconds) {
    for (unsigned i = 0; i < seconds; i++) {
        watchdog_look(&watchdog, flight, now);
        now += SECOND;
    }
}

static const struct flight_header *header(void) {
    size_t size;
    return flight_memory(flight, &size);
}

static void assert_stalled(bool expected) {
    assert_int_equal(header()->stalled_since_ns != 0, expected);
}

/* Of the ring's latest record. */
static uint32_t stall_of_the_next_finished(uint64_t *position) {
    return flight_next(flight, position)->span.trace.stalled_at_s;
}

static void a_node_that_takes_too_long_is_noticed_once(void **state) {
    (void)state;
    uint64_t position = 0;
    struct span *workflow = open_span(FLIGHT_WORKFLOW), *node = open_span(FLIGHT_NODE);
    look_for(10);
    assert_stalled(false);
    look_for(1);
    assert_stalled(true);
    look_for(20);
    span_finish(node, 2 * SECOND);
    look_for(1);
    assert_stalled(false);
    assert_int_not_equal(stall_of_the_next_finished(&position), 0);
    node = open_span(FLIGHT_NODE);
    look_for(8);
    span_finish(node, 2 * SECOND);
    assert_int_equal(stall_of_the_next_finished(&position), 0);
    span_finish(workflow, 2 * SECOND);
    assert_int_not_equal(stall_of_the_next_finished(&position), 0);
    assert_string_equal(capture_stop(),
                        "comfydd: watchdog: no node has begun or ended for 10 s; workflow prompt is running, "
                        "in node 12, KSampler\n"
                        "comfydd: watchdog: the workflow goes on\n");
    capture_start();
}

static void a_workflow_that_goes_on_may_take_for_ever(void **state) {
    (void)state;
    struct span *workflow = open_span(FLIGHT_WORKFLOW);
    for (int i = 0; i < 20; i++) {
        struct span *node = open_span(FLIGHT_NODE);
        look_for(8);
        span_finish(node, 2 * SECOND);
    }
    assert_stalled(false);
    span_finish(workflow, 2 * SECOND);
}

static void a_node_beside_one_that_waits_for_long_is_progress(void **state) {
    (void)state;
    struct span *workflow = open_span(FLIGHT_WORKFLOW), *slow = open_span(FLIGHT_NODE);
    for (int i = 0; i < 5; i++) {
        look_for(8);
        span_finish(open_span(FLIGHT_NODE), 2 * SECOND);
    }
    assert_stalled(false);
    look_for(11);
    assert_stalled(true);
    span_discard(slow);
    span_discard(workflow);
}

static void idle_is_no_stall(void **state) {
    (void)state;
    look_for(100);
    assert_stalled(false);
    assert_false(watchdog_waits(&watchdog, flight));
}

static void a_stop_of_the_machine_is_no_stall(void **state) {
    (void)state;
    struct span *workflow = open_span(FLIGHT_WORKFLOW);
    look_for(3);
    now += 3600 * SECOND;
    look_for(1);
    assert_stalled(false);
    look_for(10);
    assert_stalled(true);
    span_finish(workflow, 2 * SECOND);
    assert_true(watchdog_waits(&watchdog, flight)); /* to take it back */
    look_for(1);
    assert_stalled(false);
}

static void nothing_is_watched_unless_asked_for(void **state) {
    (void)state;
    watchdog.limit_ns = 0;
    struct span *workflow = open_span(FLIGHT_WORKFLOW);
    span_note_raised(true);
    look_for(1000);
    assert_stalled(false);
    assert_false(watchdog_waits(&watchdog, flight));
    span_finish(workflow, 2 * SECOND);
}

static void *raise_here(void *may_end) {
    span_note_raised(true);
    while (!__atomic_load_n((int *)may_end, __ATOMIC_ACQUIRE))
        usleep(1000);
    return NULL;
}

static void a_worker_that_ends_after_an_exception_is_gone(void **state) {
    (void)state;
    pthread_t thread;
    int may_end = 0;
    assert_int_equal(pthread_create(&thread, NULL, raise_here, &may_end), 0);
    while (!flight_raised(flight))
        usleep(1000);
    assert_true(watchdog_waits(&watchdog, flight));
    look_for(100);
    assert_false(header()->worker_gone);
    __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    for (int ms = 0; ms < 10000 && !header()->worker_gone;
         ms++) { /* joined a moment before the kernel has let go of it */
        look_for(1);
        usleep(1000);
    }
    assert_true(header()->worker_gone);
    assert_false(watchdog_waits(&watchdog, flight));
    const char *said = capture_stop();
    assert_non_null(strstr(said, "worker thread has ended"));
    assert_null(strstr(strstr(said, "\n") + 1, "\n")); /* said once */
    capture_start();
    span_note_raised(false); /* a workflow has begun after all */
    assert_false(header()->worker_gone);
    assert_int_equal(flight_raised(flight), 0);
}

static void an_exception_that_somebody_catches_is_none_of_its_business(void **state) {
    (void)state;
    span_note_raised(true);
    look_for(100);
    assert_false(header()->worker_gone);
    span_note_raised(false);
    assert_false(watchdog_waits(&watchdog, flight));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
        TEST(a_node_that_takes_too_long_is_noticed_once),
        TEST(a_workflow_that_goes_on_may_take_for_ever),
        TEST(a_node_beside_one_that_waits_for_long_is_progress),
        TEST(idle_is_no_stall),
        TEST(a_stop_of_the_machine_is_no_stall),
        TEST(nothing_is_watched_unless_asked_for),
        TEST(a_worker_that_ends_after_an_exception_is_gone),
        TEST(an_exception_that_somebody_catches_is_none_of_its_business),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
