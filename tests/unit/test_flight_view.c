#include "flight.h"
#include "trace/span.h"
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
static void note(void *context, const struct flight_span *span, const void *tags, struct flight_found place) {
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
    assert_true(!place.open || !span->end_ns);
    found->open += place.open;
    if (found->count == MOST_FOUND) return;
    found->spans[found->count] = *span;
    found->opens[found->count++] = place.open;
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

static void ignore(enum flight_span_kind kind) {
    (void)kind;
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

/* How many finished spans there are since a position, which moves to the ring's head. */
static size_t read_history(uint64_t *position) {
    struct flight_view view;
    struct found found = {.view = &view};
    assert_int_equal(flight_view_open(&view, memory, memory_size), 0);
    size_t passed = flight_view_history(&view, position, note, &found);
    assert_int_equal(passed, found.count);
    assert_int_equal(found.open, 0);
    assert_int_equal(*position, view.header.ring_head);
    flight_view_close(&view);
    return passed;
}

static void history_goes_on_where_it_was_left(void **state) {
    (void)state;
    uint64_t position = 0, next = 0;
    finish(21);
    finish(22);
    flight_settle(flight, flight_next(flight, &next), true);
    flight_settle(flight, flight_next(flight, &next), true);
    flight_trim(flight);
    finish(23);
    assert_int_equal(read_history(&position), 3);
    assert_int_equal(read_history(&position), 0);
    finish(24);
    assert_int_equal(read_history(&position), 1);
    /* Positions that cannot be: then all that is wanted. */
    for (uint64_t wrong = 1; wrong < 8; wrong++) {
        position = wrong;
        assert_int_equal(read_history(&position), 2);
    }
    position = UINT64_MAX;
    assert_int_equal(read_history(&position), 2);
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

/* Its head is not where a record ends, or a record goes on behind the ring's end. */
static void a_record_that_ends_elsewhere_ends_the_ring(void **state) {
    (void)state;
    struct found found;
    finish(1);
    finish(2);
    header()->ring_head -= 8;
    assert_int_equal(read_all(memory, memory_size, &found), 1);
    header()->ring_head += 8;
    uint64_t size = header()->ring_head / 2;
    while (header()->ring_head <= FLIGHT_RING_SIZE - 2 * size)
        finish(3);
    uint64_t last = header()->ring_head - size;
    header()->ring_tail = header()->ring_head;
    finish(4);
    finish(5); /* the last one before the ring's end, and the first one in it */
    assert_true(header()->ring_head > FLIGHT_RING_SIZE);
    header()->ring_tail = last;
    struct flight_record *record = (struct flight_record *)(memory + header()->ring_offset + last);
    record->size = (uint32_t)(FLIGHT_RING_SIZE - last + 8);
    record->span.tags_size = (uint32_t)(record->size - sizeof *record);
    assert_int_equal(read_all(memory, memory_size, &found), 0);
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

/* ---- a layout written down elsewhere ---- */

/* tests/fuzz/make_flight_view_corpus.py made these without our headers. Tests run in the repository's root. */
static void memories_made_by_others_are_read(void **state) {
    (void)state;
    const struct {
        const char *name;
        size_t finished, open;
    } seeds[] = {{"empty", 0, 0},     {"finished", 2, 0},  {"open", 0, 2},    {"finished_and_open", 2, 1},
                 {"some_sent", 2, 0}, {"left_over", 2, 1}, {"wrapped", 3, 0}, {"full", 1, 0}};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[256], content[4096];
        snprintf(path, sizeof path, "tests/fuzz/corpus/flight_view/%s", seeds[i].name);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        size_t size = fread(content, 1, sizeof content, file);
        fclose(file);
        struct found found;
        assert_int_equal(read_all(content, size, &found), seeds[i].finished + seeds[i].open);
        assert_int_equal(found.open, seeds[i].open);
    }
}

#define WITH_FLIGHT(test) cmocka_unit_test_setup_teardown(test, create, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FLIGHT(finished_and_open_spans_are_found),
        WITH_FLIGHT(history_goes_on_where_it_was_left),
        WITH_FLIGHT(names_and_identity_are_copied),
        WITH_FLIGHT(records_behind_the_rings_end_are_found),
        WITH_FLIGHT(a_slot_is_a_left_over_once_the_ring_has_its_record),
        WITH_FLIGHT(too_little_memory_is_refused),
        WITH_FLIGHT(a_foreign_or_unfinished_or_newer_mapping_is_refused),
        WITH_FLIGHT(a_header_that_contradicts_itself_is_refused),
        WITH_FLIGHT(a_damaged_record_ends_the_ring_but_not_the_slots),
        WITH_FLIGHT(a_record_that_ends_elsewhere_ends_the_ring),
        WITH_FLIGHT(damaged_entries_are_left_out),
        WITH_FLIGHT(no_flipped_bit_leads_outside),
        cmocka_unit_test(memories_made_by_others_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
