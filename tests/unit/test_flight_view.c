#include "base/clock.h"
#include "flight.h"
#include "trace/span.h"
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what a reader finds ---- */

enum { MOST_FOUND = 64 };

struct found {
    const struct flight_view *view;
    size_t count, open;
    struct flight_span spans[MOST_FOUND];
    int opens[MOST_FOUND];
};

/* Notes the span, and checks what flight_view_each promises of every one. */
static void note(void *context, const struct flight_span *span, const void *tags, int open) {
    struct found *found = context;
    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    while (flight_tag_next(tags, span->tags_size, &offset, &tag, &value)) {
        assert_true(tag.key < found->view->name_count);
        assert_true(tag.type == FLIGHT_TEXT || (tag.type == FLIGHT_NUMBER && tag.size == 8));
    }
    assert_int_equal(offset, span->tags_size);
    assert_true(span->span_id && span->trace.trace_id_low);
    assert_true(span->trace.priority >= -1 && span->trace.priority <= 2);
    assert_true(!open || !span->end_ns);
    found->open += open != 0;
    if (found->count == MOST_FOUND) return;
    found->spans[found->count] = *span;
    found->opens[found->count++] = open;
}

static size_t read_all(const void *memory, size_t size, struct found *found) {
    struct flight_view view;
    *found = (struct found){.view = &view};
    assert_int_equal(flight_view_open(&view, memory, size), 0);
    size_t passed = flight_view_each(&view, note, found);
    flight_view_close(&view);
    return passed;
}

/* ---- a flight memory to read, and copies of it to damage ---- */

static void ignore(const struct flight_span *finished) {
    (void)finished;
}

static struct flight *flight;
static unsigned char *memory; /* of the flight */
static size_t memory_size;

static struct span *start(uint64_t id) {
    struct flight_trace trace = {.trace_id_low = 7, .root_span_id = 1, .priority = 1};
    return span_start(FLIGHT_NODE, &trace, id, 1, 100);
}

static int create(void **state) {
    (void)state;
    char identity[32];
    char *end = flight_tag_write(identity, TAG_SERVICE, FLIGHT_TEXT, "comfyui", 7);
    flight = flight_create(identity, (size_t)(end - identity));
    if (!flight) return -1;
    memory = (unsigned char *)flight_memory(flight, &memory_size); /* to damage it */
    span_connect(flight, ignore);
    return 0;
}

static int destroy(void **state) {
    (void)state;
    span_disconnect();
    flight_destroy(flight);
    return 0;
}

static struct flight_header *header(void) {
    return (struct flight_header *)memory;
}

static struct flight_slot *slot(uint32_t index) {
    return (struct flight_slot *)(memory + header()->slots_offset + index * FLIGHT_SLOT_SIZE);
}

static struct flight_record *first_record(void) {
    return (struct flight_record *)(memory + header()->ring_offset);
}

static void finish(uint64_t id) {
    struct span *span = start(id);
    span_text(span, TAG_RESOURCE, "KSampler", 8);
    span_number(span, TAG_NODE_EXECUTIONS, (double)id);
    span_finish(span, 200);
}

static void finished_and_open_spans_are_found(void **state) {
    (void)state;
    struct found found;
    assert_int_equal(read_all(memory, memory_size, &found), 0);
    struct span *open = start(11), *waiting = start(12);
    span_text(open, TAG_RESOURCE, "VAEDecode", 9);
    span_wait(waiting, 1, 0);
    finish(21);
    finish(22);
    finish(23);
    uint64_t position = 0;
    flight_settle(flight, flight_next(flight, &position), true);

    assert_int_equal(read_all(memory, memory_size, &found), 4);
    const uint64_t ids[] = {22, 23, 11, 12};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(found.spans[i].span_id, ids[i]);
        assert_int_equal(found.opens[i], i >= 2);
        assert_int_equal(found.spans[i].waiting, i == 3);
    }
    assert_int_equal(found.spans[0].tags_size, 16 + 16);
    assert_int_equal(found.spans[2].tags_size, 24);
    assert_int_equal(found.spans[3].tags_size, 0);
    flight_trim(flight);
    assert_int_equal(read_all(memory, memory_size, &found), 4);
    span_discard(open);
    span_discard(waiting);
    assert_int_equal(read_all(memory, memory_size, &found), 2);
}

static void names_and_identity_are_copied(void **state) {
    (void)state;
    struct flight_view view;
    unsigned char *copy = malloc(memory_size);
    memcpy(copy, memory, memory_size);
    assert_int_equal(flight_view_open(&view, copy, memory_size), 0);
    memset(copy, 0xff, memory_size);
    free(copy);
    assert_int_equal(view.name_count, TAG_COUNT);
    for (int i = 0; i < TAG_COUNT; i++)
        assert_string_equal(view.names[i], tag_names[i]);
    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    assert_true(flight_tag_next(view.identity, view.identity_size, &offset, &tag, &value));
    assert_int_equal(tag.key, TAG_SERVICE);
    assert_memory_equal(value, "comfyui", 7);
    assert_int_equal(view.header.pid, getpid());
    flight_view_close(&view);
}

static void records_behind_the_rings_end_are_found(void **state) {
    (void)state;
    while (header()->ring_head < FLIGHT_RING_SIZE - 1000) {
        finish(1);
        uint64_t position = 0;
        flight_settle(flight, flight_next(flight, &position), true);
        flight_trim(flight);
    }
    for (uint64_t id = 1; id <= 50; id++)
        finish(id);
    assert_true(header()->ring_tail < FLIGHT_RING_SIZE);
    assert_true(header()->ring_head > FLIGHT_RING_SIZE);
    struct found found;
    assert_int_equal(read_all(memory, memory_size, &found), 50);
    for (uint64_t id = 1; id <= 50; id++)
        assert_int_equal(found.spans[id - 1].span_id, id);
}

static void a_slot_is_a_left_over_once_the_ring_has_its_record(void **state) {
    (void)state;
    struct span *open = start(5);
    struct found found;
    finish(6);
    uint64_t head = header()->ring_head;
    const struct {
        uint64_t closing_at;
        size_t open;
    } cases[] = {{0, 1}, {head + 144, 1}, {UINT64_MAX, 1}, {head, 0}, {head - 8, 0}, {8, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot(0)->closing_at = cases[i].closing_at;
        slot(0)->span.end_ns = cases[i].closing_at ? 200 : 0; /* as in the midst of its finish */
        read_all(memory, memory_size, &found);
        assert_int_equal(found.open, cases[i].open);
        assert_int_equal(found.count, 1 + cases[i].open);
    }
    slot(0)->closing_at = 0;
    slot(0)->state = FLIGHT_SLOT_TAKEN;
    assert_int_equal(read_all(memory, memory_size, &found), 1);
    span_discard(open);
}

/* ---- damage ---- */

static void too_little_memory_is_refused(void **state) {
    (void)state;
    struct flight_view view;
    const size_t sizes[] = {0,
                            1,
                            8,
                            sizeof(struct flight_header) - 1,
                            sizeof(struct flight_header),
                            4096,
                            memory_size / 2,
                            memory_size - 1};
    const size_t page = 4096;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        /* The last byte is followed by a page that cannot be read. */
        size_t pages = (sizes[i] + page - 1) / page * page;
        unsigned char *room =
            mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(room, MAP_FAILED);
        assert_int_equal(mprotect(room + pages, page, PROT_NONE), 0);
        unsigned char *copy = room + pages - sizes[i];
        memcpy(copy, memory, sizes[i]);
        assert_int_equal(flight_view_open(&view, copy, sizes[i]), -EINVAL);
        munmap(room, pages + page);
    }
}

static void a_foreign_or_unfinished_or_newer_mapping_is_refused(void **state) {
    (void)state;
    struct flight_view view;
    header()->version = FLIGHT_VERSION + 1;
    assert_int_equal(flight_view_open(&view, memory, memory_size), -ENOTSUP);
    header()->version = 0;
    assert_int_equal(flight_view_open(&view, memory, memory_size), -ENOTSUP);
    header()->version = FLIGHT_VERSION;
    header()->magic = 0;
    assert_int_equal(flight_view_open(&view, memory, memory_size), -EINVAL);
    header()->magic = FLIGHT_MAGIC + 1;
    assert_int_equal(flight_view_open(&view, memory, memory_size), -EINVAL);
    header()->magic = FLIGHT_MAGIC;
    assert_int_equal(flight_view_open(&view, memory, memory_size), 0);
    flight_view_close(&view);
}

static void a_header_that_contradicts_itself_is_refused(void **state) {
    (void)state;
    finish(1);
    const struct flight_header good = *header();
    struct flight_view view;
#define REFUSED(field, value)                                                                                \
    do {                                                                                                     \
        header()->field = (value);                                                                           \
        if (flight_view_open(&view, memory, memory_size) != -EINVAL) fail_msg(#field " = " #value);          \
        *header() = good;                                                                                    \
    } while (0)
    REFUSED(header_size, 0);
    REFUSED(total_size, memory_size + 1);
    REFUSED(total_size, 4096);
    REFUSED(keys_offset, UINT32_MAX);
    REFUSED(keys_size, UINT32_MAX);
    REFUSED(identity_offset, (uint32_t)memory_size);
    REFUSED(identity_size, (uint32_t)memory_size);
    REFUSED(identity_used, good.identity_size + 1);
    REFUSED(slots_offset, (uint32_t)memory_size);
    REFUSED(slot_size, sizeof(struct flight_slot) - 1);
    REFUSED(slot_size, UINT32_MAX);
    REFUSED(slot_count, UINT32_MAX);
    REFUSED(ring_offset, UINT64_MAX);
    REFUSED(ring_offset, good.ring_offset + 1);
    REFUSED(ring_size, 0);
    REFUSED(ring_size, 4);
    REFUSED(ring_size, FLIGHT_RING_SIZE - 8);
    REFUSED(ring_size, UINT64_C(1) << 63);
    REFUSED(ring_head, FLIGHT_RING_SIZE + 8);
    REFUSED(ring_tail, good.ring_head + 8);
    REFUSED(ring_tail, 4);
    memset(header()->boot_id, 'x', sizeof good.boot_id);
    assert_int_equal(flight_view_open(&view, memory, memory_size), -EINVAL);
    *header() = good;
}

static void a_damaged_record_ends_the_ring_but_not_the_slots(void **state) {
    (void)state;
    struct span *open = start(9);
    finish(1);
    finish(2);
    struct flight_record *record = first_record();
    const struct flight_record good = *record;
    struct found found;
#define ENDS_THE_RING(field, value)                                                                          \
    do {                                                                                                     \
        record->field = (value);                                                                             \
        assert_int_equal(read_all(memory, memory_size, &found), 1);                                          \
        assert_int_equal(found.spans[0].span_id, 9);                                                         \
        *record = good;                                                                                      \
    } while (0)
    ENDS_THE_RING(size, 0);
    ENDS_THE_RING(size, 4);
    ENDS_THE_RING(size, good.size + 4);
    ENDS_THE_RING(size, good.size * 2 + 8);
    ENDS_THE_RING(size, UINT32_MAX - 7);
    ENDS_THE_RING(size, sizeof good - 8);
    ENDS_THE_RING(state, 0);
    ENDS_THE_RING(state, 4);
    ENDS_THE_RING(span.tags_size, good.span.tags_size - 8);
    ENDS_THE_RING(span.tags_size, UINT32_MAX);
    ENDS_THE_RING(span.span_id, 0);
    ENDS_THE_RING(span.trace.trace_id_low, 0);
    ENDS_THE_RING(span.trace.priority, 3);
    ENDS_THE_RING(span.trace.rule_rate, NAN);
    ENDS_THE_RING(span.trace.agent_rate, 1.5);
    ENDS_THE_RING(span.kind, 0);
    ENDS_THE_RING(span.error, 2);
    assert_int_equal(read_all(memory, memory_size, &found), 3);

    slot(0)->span.tags_size = FLIGHT_SLOT_SIZE - sizeof(struct flight_slot) + 8;
    assert_int_equal(read_all(memory, memory_size, &found), 2);
    slot(0)->span.tags_size = 0;
    span_discard(open);
}

static void damaged_entries_are_left_out(void **state) {
    (void)state;
    finish(1); /* a text of 16 bytes, a number of 16 */
    struct flight_tag *first = (struct flight_tag *)(first_record() + 1), *second = first + 2;
    const struct flight_tag good_first = *first, good_second = *second;
    struct found found;
#define LEAVES(entry, field, value, bytes)                                                                   \
    do {                                                                                                     \
        (entry)->field = (value);                                                                            \
        assert_int_equal(read_all(memory, memory_size, &found), 1);                                          \
        assert_int_equal(found.spans[0].tags_size, bytes);                                                   \
        *first = good_first, *second = good_second;                                                          \
    } while (0)
    LEAVES(first, key, TAG_COUNT, 16);
    LEAVES(first, type, 0, 16);
    LEAVES(first, type, FLIGHT_NUMBER, 32); /* of 8 bytes: nobody can know */
    LEAVES(first, size, UINT32_MAX, 0);
    LEAVES(first, size, 40, 0);
    LEAVES(second, key, UINT16_MAX, 16);
    LEAVES(second, size, 7, 16);
    LEAVES(second, size, 9, 16);
}

static void no_flipped_bit_leads_outside(void **state) {
    (void)state;
    struct span *open = start(9);
    span_text(open, TAG_RESOURCE, "VAEDecode", 9);
    finish(1);
    finish(2);
    struct flight_view view;
    struct found found;
    const struct {
        unsigned char *at;
        size_t size;
    } parts[] = {{memory, sizeof(struct flight_header)},
                 {memory + header()->keys_offset, 64},
                 {memory + header()->identity_offset, header()->identity_size},
                 {(unsigned char *)slot(0), sizeof(struct flight_slot) + 24},
                 {(unsigned char *)first_record(), header()->ring_head}};
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
        for (size_t bit = 0; bit < parts[part].size * 8; bit++) {
            unsigned char *byte = parts[part].at + bit / 8;
            *byte ^= (unsigned char)(1u << bit % 8);
            if (flight_view_open(&view, memory, memory_size) == 0) {
                found = (struct found){.view = &view};
                flight_view_each(&view, note, &found);
                flight_view_close(&view);
            }
            *byte ^= (unsigned char)(1u << bit % 8);
        }
    }
    assert_int_equal(read_all(memory, memory_size, &found), 3);
    span_discard(open);
}

/* ---- killed at any moment ---- */

enum { KILLS = 100, WORKERS = 3, MOST_SPANS = 1 << 14, ID_SHIFT = 20, STACK_EVERY = 50 };

/* What the child has seen to have happened, in memory that outlives it. All atomic. */
struct diary {
    uint64_t opened[WORKERS], finished[WORKERS]; /* the last span whose start or finish has returned */
    unsigned char settling[WORKERS][MOST_SPANS]; /* the drainer is about to settle it, or has */
};

static struct diary *diary;

static void *work(void *argument) {
    uint64_t worker = (uint64_t)(uintptr_t)argument;
    static const char stack[3000];
    for (uint64_t i = 1; i < MOST_SPANS; i++) {
        while (flight_fill(flight) > 0.5)
            sched_yield(); /* nothing may be dropped here */
        struct span *span = start((worker + 1) << ID_SHIFT | i);
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

static unsigned char times_found[WORKERS][MOST_SPANS], times_open[WORKERS][MOST_SPANS];

static void count(void *context, const struct flight_span *span, const void *tags, int open) {
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
    times_open[worker][i] += open != 0;
}

static void assert_nothing_lost_or_doubled(void) {
    struct flight_view view;
    memset(times_found, 0, sizeof times_found);
    memset(times_open, 0, sizeof times_open);
    assert_int_equal(flight_view_open(&view, memory, memory_size), 0);
    flight_view_each(&view, count, NULL);
    flight_view_close(&view);
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

/* Waits, with a deadline, until the child has finished `spans`, and some instructions more. */
static void await_spans(uint64_t spans, unsigned instructions) {
    uint64_t deadline = clock_mono_ns() + UINT64_C(20000000000);
    for (uint64_t finished = 0; finished < spans && clock_mono_ns() < deadline;) {
        sched_yield();
        finished = 0;
        for (int worker = 0; worker < WORKERS; worker++)
            finished += __atomic_load_n(&diary->finished[worker], __ATOMIC_ACQUIRE);
    }
    for (volatile unsigned i = 0; i < instructions; i++)
        continue;
}

static void a_kill_at_any_moment_loses_and_doubles_nothing(void **state) {
    (void)state;
    unsigned seed = (unsigned)clock_mono_ns();
    print_message("seed %u\n", seed);
    for (int kills = 0; kills < KILLS; kills++) {
        assert_int_equal(create(NULL), 0);
        diary = mmap(NULL, sizeof *diary, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(diary, MAP_FAILED);
        pid_t child = fork();
        if (!child) live(kills % 2);
        assert_true(child > 0);
        await_spans((uint64_t)rand_r(&seed) % 5000, (unsigned)rand_r(&seed) % 5000);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_nothing_lost_or_doubled();
        munmap(diary, sizeof *diary);
        destroy(NULL);
    }
}

/* ---- stopped after every single instruction ---- */

/* The child: two spans in a row, in the same slot. `opened` and `finished` as above. */
static void live_step_by_step(void) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(1);
    raise(SIGSTOP);
    for (uint64_t i = 1; i <= 2; i++) {
        struct span *span = start((uint64_t)1 << ID_SHIFT | i);
        __atomic_store_n(&diary->opened[0], i, __ATOMIC_RELEASE);
        span_number(span, TAG_NODE_EXECUTIONS, (double)i);
        span_finish(span, 200);
        __atomic_store_n(&diary->finished[0], i, __ATOMIC_RELEASE);
    }
    _exit(0);
}

static void after_every_instruction_a_span_is_there_once(void **state) {
    (void)state;
    diary = mmap(NULL, sizeof *diary, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(diary, MAP_FAILED);
    pid_t child = fork();
    if (!child) live_step_by_step();
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) skip(); /* no ptrace here */
    struct found found;
    uint64_t steps = 0, opened = 0, finished = 0;
    for (; WIFSTOPPED(status) && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0; steps++) {
        assert_int_equal(waitpid(child, &status, 0), child);
        opened = diary->opened[0];
        finished = diary->finished[0];
        read_all(memory, memory_size, &found);
        size_t there[3] = {0};
        for (size_t i = 0; i < found.count; i++)
            there[found.spans[i].span_id & 3]++;
        for (uint64_t i = 1; i <= 2; i++)
            if (there[i] > 1 || (i <= opened && !there[i]))
                fail_msg("after %lu steps span %lu is there %zu times", (unsigned long)steps,
                         (unsigned long)i, there[i]);
        assert_true(found.open <= opened + 1 - finished);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(finished, 2);
    assert_true(steps > 500);
    print_message("%lu steps\n", (unsigned long)steps);
    munmap(diary, sizeof *diary);
}

#define WITH_FLIGHT(test) cmocka_unit_test_setup_teardown(test, create, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FLIGHT(finished_and_open_spans_are_found),
        WITH_FLIGHT(names_and_identity_are_copied),
        WITH_FLIGHT(records_behind_the_rings_end_are_found),
        WITH_FLIGHT(a_slot_is_a_left_over_once_the_ring_has_its_record),
        WITH_FLIGHT(too_little_memory_is_refused),
        WITH_FLIGHT(a_foreign_or_unfinished_or_newer_mapping_is_refused),
        WITH_FLIGHT(a_header_that_contradicts_itself_is_refused),
        WITH_FLIGHT(a_damaged_record_ends_the_ring_but_not_the_slots),
        WITH_FLIGHT(damaged_entries_are_left_out),
        WITH_FLIGHT(no_flipped_bit_leads_outside),
        WITH_FLIGHT(after_every_instruction_a_span_is_there_once),
        cmocka_unit_test(a_kill_at_any_moment_loses_and_doubles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
