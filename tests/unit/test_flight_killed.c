/* What a reader finds after a working process was killed: every span that was open or finished, exactly once. */
#include "base/clock.h"
#include "flight.h"
#include "trace/span.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 100, WORKERS = 3, MOST_SPANS = 1 << 14, ID_SHIFT = 20, STACK_EVERY = 50 };

/* What the child has seen to have happened, in memory that outlives it. All atomic. */
struct diary {
    uint64_t opened[WORKERS], finished[WORKERS]; /* the last span whose start or finish has returned */
    unsigned char settling[WORKERS][MOST_SPANS]; /* the drainer is about to settle it, or has */
};

static struct diary *diary;
static struct flight *flight;
static const void *memory; /* of the flight */
static size_t memory_size;

static void ignore(enum flight_span_kind kind) {
    (void)kind;
}

static int create(void **state) {
    (void)state;
    flight = flight_create(NULL, 0);
    if (!flight) return -1;
    memory = flight_memory(flight, &memory_size);
    span_connect(flight, ignore);
    diary = mmap(NULL, sizeof *diary, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return diary == MAP_FAILED ? -1 : 0;
}

static int destroy(void **state) {
    (void)state;
    span_disconnect();
    flight_destroy(flight);
    return munmap(diary, sizeof *diary);
}

static struct span *start(uint64_t worker, uint64_t i) {
    struct flight_trace trace = {.trace_id_low = 7, .root_span_id = 1, .priority = 1};
    return span_start(FLIGHT_NODE, &trace, (worker + 1) << ID_SHIFT | i, 1, 100);
}

/* ---- what is found ---- */

static unsigned char times_found[WORKERS][MOST_SPANS], times_open[WORKERS][MOST_SPANS];

static void count(void *context, const struct flight_span *span, const void *tags,
                  struct flight_found found) {
    (void)context;
    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    uint64_t worker = (span->span_id >> ID_SHIFT) - 1, i = span->span_id & (MOST_SPANS - 1);
    double number = (double)i;
    assert_true(worker < WORKERS);
    while (flight_tag_next(tags, span->tags_size, &offset, &tag, &value))
        if (tag.type == FLIGHT_NUMBER) assert_memory_equal(value, &number, sizeof number);
    times_found[worker][i]++;
    times_open[worker][i] += found.open;
}

static void count_spans(void) {
    struct flight_view view;
    assert_int_equal(flight_view_open(&view, memory, memory_size), 0);
    flight_view_each(&view, count, NULL);
    flight_view_close(&view);
}

/* ---- killed at any moment ---- */

static void *work(void *argument) {
    uint64_t worker = (uint64_t)(uintptr_t)argument;
    char stack[3000] = {0}; /* more than a slot holds */
    memset(stack, 's', sizeof stack - 1);
    for (uint64_t i = 1; i < MOST_SPANS; i++) {
        while (flight_fill(flight) > 0.5)
            sched_yield(); /* nothing may be dropped here */
        struct span *span = start(worker, i);
        __atomic_store_n(&diary->opened[worker], i, __ATOMIC_RELEASE);
        for (int j = 0; j < 5; j++)
            span_number(span, TAG_NODE_EXECUTIONS, (double)i);
        if (i % STACK_EVERY == 0) span_error(span, "E", "m", stack);
        span_finish(span, 200);
        __atomic_store_n(&diary->finished[worker], i, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* The child: workers and a drainer, which goes on until the parent kills it. */
static void live(bool drain) {
    pthread_t threads[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i)) _exit(1);
    for (;;) {
        uint64_t position = 0;
        struct flight_record *record;
        while (drain && (record = flight_next(flight, &position))) {
            uint64_t id = record->span.span_id;
            __atomic_store_n(&diary->settling[(id >> ID_SHIFT) - 1][id & (MOST_SPANS - 1)], 1,
                             __ATOMIC_RELEASE);
            flight_settle(flight, record, true);
        }
        flight_trim(flight);
        sched_yield();
    }
}

static void assert_nothing_lost_or_doubled(void) {
    memset(times_found, 0, sizeof times_found);
    memset(times_open, 0, sizeof times_open);
    count_spans();
    for (int worker = 0; worker < WORKERS; worker++) {
        size_t settling = 0; /* those that the drainer had marked, but may not have settled yet */
        for (uint64_t i = 1; i < MOST_SPANS; i++) {
            int found = times_found[worker][i], sent = diary->settling[worker][i];
            if (found > 1) fail_msg("span %d.%lu is there %d times", worker, (unsigned long)i, found);
            if (i <= diary->opened[worker] && !found && !sent)
                fail_msg("span %d.%lu is lost", worker, (unsigned long)i);
            if (i <= diary->finished[worker]) assert_int_equal(times_open[worker][i], 0);
            settling += found && sent;
        }
        assert_true(settling <= 1);
    }
}

/* Waits until the child has finished `spans`, and some instructions more. False when that takes too long. */
static bool await_spans(uint64_t spans, unsigned instructions) {
    uint64_t deadline = clock_mono_ns() + UINT64_C(20000000000);
    for (uint64_t finished = 0; finished < spans && clock_mono_ns() < deadline;) {
        sched_yield();
        finished = 0;
        for (int worker = 0; worker < WORKERS; worker++)
            finished += __atomic_load_n(&diary->finished[worker], __ATOMIC_ACQUIRE);
    }
    for (volatile unsigned i = 0; i < instructions; i++)
        continue;
    return clock_mono_ns() < deadline;
}

static void a_kill_at_any_moment_loses_and_doubles_nothing(void **state) {
    (void)state;
    unsigned seed = (unsigned)clock_mono_ns();
    print_message("seed %u\n", seed);
    for (int kills = 0; kills < KILLS; kills++) {
        assert_int_equal(create(NULL), 0);
        pid_t child = fork();
        if (!child) live(kills % 2);
        assert_true(child > 0);
        bool working = await_spans((uint64_t)rand_r(&seed) % 5000, (unsigned)rand_r(&seed) % 5000);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(working);
        assert_nothing_lost_or_doubled();
        assert_int_equal(destroy(NULL), 0);
    }
}

/* ---- stopped after every single instruction ---- */

/* The child: two spans in a row, in the same slot. */
static void live_step_by_step(void) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(1);
    raise(SIGSTOP);
    for (uint64_t i = 1; i <= 2; i++) {
        struct span *span = start(0, i);
        __atomic_store_n(&diary->opened[0], i, __ATOMIC_RELEASE);
        span_number(span, TAG_NODE_EXECUTIONS, (double)i);
        span_finish(span, 200);
        __atomic_store_n(&diary->finished[0], i, __ATOMIC_RELEASE);
    }
    _exit(0);
}

static void after_every_instruction_a_span_is_there_once(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) live_step_by_step();
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) skip(); /* no ptrace here */
    uint64_t steps = 0, opened = 0, finished = 0;
    for (; WIFSTOPPED(status) && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0; steps++) {
        assert_int_equal(waitpid(child, &status, 0), child);
        opened = diary->opened[0];
        finished = diary->finished[0];
        memset(times_found[0], 0, 4);
        memset(times_open[0], 0, 4);
        count_spans();
        for (uint64_t i = 1; i <= 2; i++) {
            int there = times_found[0][i];
            if (there > 1 || (i <= opened && !there))
                fail_msg("after %lu steps span %d is there %d times", (unsigned long)steps, (int)i, there);
            if (i <= finished) assert_int_equal(times_open[0][i], 0);
        }
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(finished, 2);
    assert_true(steps > 500);
    print_message("%lu steps\n", (unsigned long)steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(after_every_instruction_a_span_is_there_once, create, destroy),
        cmocka_unit_test(a_kill_at_any_moment_loses_and_doubles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
