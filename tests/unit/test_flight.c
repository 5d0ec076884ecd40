#include "flight.h"
#include "trace/tags.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* A finished span with one number entry, which repeats its id. */
struct sample {
    struct flight_span span;
    char tags[64];
};

static struct sample sample(uint64_t id) {
    struct sample s = {.span = {.trace = {.trace_id_low = 7}, .span_id = id, .start_ns = 5, .end_ns = 9}};
    double value = (double)id;
    s.span.kind = FLIGHT_NODE;
    s.span.tags_size = (uint32_t)(flight_tag_write(s.tags, TAG_NODE_ID, FLIGHT_NUMBER, &value, 8) - s.tags);
    return s;
}

static bool append(struct flight *flight, uint64_t id, size_t more_size) {
    static char zeros[1 << 20];
    struct sample s = sample(id);
    return flight_append(flight, &s.span, s.tags, zeros, more_size, NULL);
}

static struct flight_slot *open_slot(struct flight *flight, uint64_t id) {
    struct flight_slot *slot = flight_take_slot(flight);
    if (!slot) return NULL;
    struct sample s = sample(id);
    memcpy(slot + 1, s.tags, s.span.tags_size);
    slot->span = s.span;
    slot->span.end_ns = 0;
    __atomic_store_n(&slot->state, FLIGHT_SLOT_OPEN, __ATOMIC_RELEASE);
    return slot;
}

static const struct flight_header *header_of(const struct flight *flight) {
    size_t size;
    return flight_memory(flight, &size);
}

static void entries_are_written_padded_and_read_back(void **state) {
    (void)state;
    char room[64];
    memset(room, 0xff, sizeof room);
    assert_int_equal(flight_tag_room(0), 8);
    assert_int_equal(flight_tag_room(1), 16);
    assert_int_equal(flight_tag_room(8), 16);
    assert_int_equal(flight_tag_room(9), 24);
    char *end = flight_tag_write(room, 3, FLIGHT_TEXT, "hello", 5);
    end = flight_tag_write(end, 4, FLIGHT_TEXT, NULL, 0);
    double two = 2;
    end = flight_tag_write(end, 5, FLIGHT_NUMBER, &two, sizeof two);
    assert_memory_equal(room + 8, "hello\0\0\0", 8);
    assert_int_equal(end - room, 40);

    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    assert_true(flight_tag_next(room, 40, &offset, &tag, &value));
    assert_int_equal(tag.key, 3);
    assert_int_equal(tag.type, FLIGHT_TEXT);
    assert_int_equal(tag.size, 5);
    assert_memory_equal(value, "hello", 5);
    assert_true(flight_tag_next(room, 40, &offset, &tag, &value));
    assert_int_equal(tag.size, 0);
    assert_true(flight_tag_next(room, 40, &offset, &tag, &value));
    assert_memory_equal(value, &two, 8);
    assert_false(flight_tag_next(room, 40, &offset, &tag, &value));

    for (size_t cut = 0; cut < 16; cut++) { /* the first entry takes 16 bytes */
        offset = 0;
        assert_false(flight_tag_next(room, cut, &offset, &tag, &value));
    }
    tag = (struct flight_tag){.size = UINT32_MAX};
    memcpy(room, &tag, sizeof tag);
    offset = 0;
    assert_false(flight_tag_next(room, sizeof room, &offset, &tag, &value));
    offset = 65;
    assert_false(flight_tag_next(room, sizeof room, &offset, &tag, &value));
}

static void texts_of_every_length_are_copied_whole(void **state) {
    (void)state;
    char text[100], room[128];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('0' + i);
    for (size_t size = 0; size <= sizeof text; size++) {
        memset(room, 0x7f, sizeof room);
        char *end = flight_tag_write(room, 3, FLIGHT_TEXT, text, size);
        assert_int_equal(end - room, flight_tag_room(size));
        assert_memory_equal(room + 8, text, size);
        for (const char *at = room + 8 + size; at < end; at++)
            assert_int_equal(*at, 0);
        for (const char *at = end; at < room + sizeof room; at++)
            assert_int_equal(*at, 0x7f);
    }
}

static void a_new_mapping_says_whose_it_is(void **state) {
    (void)state;
    char identity[64];
    size_t identity_size =
               (size_t)(flight_tag_write(identity, TAG_SERVICE, FLIGHT_TEXT, "comfyui", 7) - identity),
           size;
    errno = 77;
    struct flight *flight = flight_create(identity, identity_size);
    assert_non_null(flight);
    assert_int_equal(errno, 77);
    const struct flight_header *header = header_of(flight);
    assert_int_equal(header->magic, FLIGHT_MAGIC);
    assert_int_equal(header->pid, getpid());
    assert_true(header->pid_start_ticks > 0);
    assert_int_equal(strlen(header->boot_id), 36);
    assert_int_equal(header->clean_exit, 0);
    assert_memory_equal(flight_identity(flight, &size), identity, identity_size);
    assert_int_equal(size, identity_size);
    const char *name = (const char *)header + header->keys_offset;
    for (int i = 0; i < TAG_COUNT; i++, name += strlen(name) + 1)
        assert_string_equal(name, tag_names[i]);
    flight_set_clean_exit(flight);
    assert_int_equal(header->clean_exit, 1);
    flight_destroy(flight);
    flight_destroy(NULL);
}

static size_t resident_kib(const void *memory) {
    char line[256], address[32];
    size_t kib = 0;
    bool here = false;
    snprintf(address, sizeof address, "%lx-", (unsigned long)memory);
    FILE *maps = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, address, strlen(address)) == 0) here = true;
        if (here && sscanf(line, "Rss: %zu", &kib) == 1) break;
    }
    fclose(maps);
    return kib;
}

static void only_pages_in_use_are_resident(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    struct flight_slot *slot = open_slot(flight, 1);
    assert_true(append(flight, 1, 0));
    size_t kib = resident_kib(header_of(flight));
    assert_true(kib > 0);
    assert_true(kib <= 64);
    flight_release_slot(flight, slot);
    flight_destroy(flight);
}

static void all_pages_are_resident_when_asked_for(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    size_t size;
    const void *memory = flight_memory(flight, &size);
    assert_true(append(flight, 1, 0));
    flight_make_resident(flight);
    struct utsname system;
    int major, minor;
    uname(&system);
    assert_int_equal(sscanf(system.release, "%d.%d", &major, &minor), 2);
    if (major > 5 || (major == 5 && minor >= 14)) assert_int_equal(resident_kib(memory), size / 1024);
    assert_int_equal(flight_counts(flight).recorded, 1);
    flight_destroy(flight);
}

static void without_descriptors_there_is_no_mapping(void **state) {
    (void)state;
    struct rlimit old, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    errno = 77;
    struct flight *flight = flight_create(NULL, 0);
    int left = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_null(flight);
    assert_int_equal(left, 77);
}

/* A limit on file sizes kills by SIGXFSZ whoever exceeds it, in memory too. */
static void a_file_size_limit_is_not_hit(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) {
        struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
        setrlimit(RLIMIT_FSIZE, &limit);
        struct flight *flight = flight_create(NULL, 0);
        _exit(flight && append(flight, 1, 0) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 64; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Creates one where the kernel answers `number` with `error`, in a child; says whether that worked. */
static bool created_without(int number, int error) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    enum { CREATED, REFUSED, BROKEN };
    pid_t child = fork();
    if (!child) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
            _exit(BROKEN);
        int before = descriptors();
        struct flight *flight = flight_create(NULL, 0);
        if (descriptors() != before) _exit(BROKEN);
        if (!flight) _exit(REFUSED);
        _exit(append(flight, 1, 0) ? CREATED : BROKEN);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), BROKEN);
    return WEXITSTATUS(status) == CREATED;
}

static void a_kernel_that_reserves_nothing_does_too(void **state) {
    (void)state;
    assert_true(created_without(SYS_fallocate, EOPNOTSUPP));
    assert_true(created_without(SYS_fallocate, EPERM));
}

static void a_kernel_without_memfd_does_too(void **state) {
    (void)state;
    assert_true(created_without(SYS_memfd_create, ENOSYS));
    assert_true(created_without(SYS_memfd_create, EPERM)); /* as container runtimes answer */
    assert_false(created_without(SYS_memfd_create, ENFILE));
}

/* Pages that cannot be reserved now would be a SIGBUS later. */
static void without_memory_to_reserve_there_is_no_mapping(void **state) {
    (void)state;
    assert_false(created_without(SYS_fallocate, ENOSPC));
    assert_false(created_without(SYS_mmap, ENOMEM));
}

static void an_identity_that_is_too_large_is_refused(void **state) {
    (void)state;
    assert_null(flight_create("", (1u << 20) + 1));
}

static void records_come_out_in_order_and_are_settled_once(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    uint64_t position = 0;
    assert_null(flight_next(flight, &position));
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(append(flight, id, id * 8));
    struct flight_record *records[3];
    for (uint64_t i = 0; i < 3; i++) {
        records[i] = flight_next(flight, &position);
        assert_int_equal(records[i]->span.span_id, i + 1);
        assert_int_equal(records[i]->span.tags_size, 16 + (i + 1) * 8);
        struct flight_tag tag;
        const void *value;
        size_t offset = 0;
        double id = (double)(i + 1);
        assert_true(flight_tag_next(records[i] + 1, records[i]->span.tags_size, &offset, &tag, &value));
        assert_memory_equal(value, &id, 8);
    }
    assert_null(flight_next(flight, &position));
    assert_true(append(flight, 4, 0)); /* what comes later is found from there */
    assert_int_equal(flight_next(flight, &position)->span.span_id, 4);

    flight_settle(flight, records[1], true);
    flight_trim(flight); /* the first is still wanted: nothing can be given back */
    assert_int_equal(header_of(flight)->ring_tail, 0);
    flight_settle(flight, records[0], false);
    flight_trim(flight);
    position = 0;
    assert_ptr_equal(flight_next(flight, &position), records[2]);
    struct flight_counts counts = flight_counts(flight);
    assert_int_equal(counts.recorded, 4);
    assert_int_equal(counts.sent, 1);
    assert_int_equal(counts.dropped, 1);
    flight_count_lost(flight);
    assert_int_equal(flight_counts(flight).recorded, 5);
    assert_int_equal(flight_counts(flight).dropped, 2);
    flight_destroy(flight);
}

/* Drains everything, returns how many records and adds up their ids. */
static size_t drain(struct flight *flight, uint64_t *sum) {
    uint64_t position = 0;
    size_t count = 0;
    for (struct flight_record *record; (record = flight_next(flight, &position)); count++) {
        struct flight_tag tag;
        const void *value;
        size_t offset = 0;
        double id = (double)record->span.span_id;
        assert_int_equal(record->span.tags_size, record->size - sizeof *record);
        assert_true(flight_tag_next(record + 1, record->span.tags_size, &offset, &tag, &value));
        assert_memory_equal(value, &id, 8);
        *sum += record->span.span_id;
        flight_settle(flight, record, true);
    }
    flight_trim(flight);
    return count;
}

static void the_ring_wraps_with_padding_at_every_offset(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    uint64_t sum = 0, expected = 0, wraps = 0, padded = 0;
    for (uint64_t id = 1; id <= 3000; id++) { /* sizes that meet the ring's end differently each time */
        uint64_t before = header_of(flight)->ring_head;
        assert_true(append(flight, id, id * 8 % 30000));
        uint64_t end = header_of(flight)->ring_head;
        bool wrapped = before / FLIGHT_RING_SIZE != (end - 1) / FLIGHT_RING_SIZE;
        wraps += wrapped;
        padded += wrapped && before % FLIGHT_RING_SIZE;
        expected += id;
        assert_int_equal(drain(flight, &sum), 1);
        assert_int_equal(header_of(flight)->ring_tail, end);
    }
    assert_int_equal(sum, expected);
    assert_true(wraps >= 5);
    assert_true(padded >= 4);
    flight_destroy(flight);
}

static void a_record_that_ends_with_the_ring_needs_no_padding(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    const size_t small = sizeof(struct flight_record) + 16, half = FLIGHT_RING_SIZE / 2;
    uint64_t sum = 0;
    char *zeros = calloc(1, half);
    struct sample s = sample(1);
    assert_true(flight_append(flight, &s.span, s.tags, zeros, half - small, NULL));
    assert_true(flight_append(flight, &s.span, s.tags, zeros, half - small, NULL));
    assert_int_equal(header_of(flight)->ring_head, FLIGHT_RING_SIZE);
    assert_true(flight_fill(flight) == 1);
    assert_false(append(flight, 2, 0)); /* full to the last byte */
    assert_int_equal(drain(flight, &sum), 2);
    assert_true(flight_fill(flight) == 0);
    assert_true(append(flight, 3, 0));
    assert_int_equal(header_of(flight)->ring_head, FLIGHT_RING_SIZE + small);
    free(zeros);
    flight_destroy(flight);
}

static void a_full_ring_drops_and_counts_until_drained(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    uint64_t kept = 0, sum = 0;
    while (append(flight, kept + 1, 4096))
        kept++;
    assert_true(kept > 900);
    assert_true(flight_fill(flight) > 0.99);
    assert_false(append(flight, 1, 4096));
    struct flight_counts counts = flight_counts(flight);
    assert_int_equal(counts.recorded, kept + 2);
    assert_int_equal(counts.dropped, 2);
    assert_int_equal(drain(flight, &sum), kept);
    assert_int_equal(sum, kept * (kept + 1) / 2);
    assert_true(append(flight, 1, 4096));

    char *huge = calloc(1, FLIGHT_RING_SIZE);
    struct sample s = sample(9);
    assert_false(flight_append(flight, &s.span, s.tags, huge, FLIGHT_RING_SIZE, NULL));
    assert_int_equal(flight_counts(flight).dropped, 3);
    free(huge);
    flight_destroy(flight);
}

static void a_span_dropped_by_a_full_ring_leaves_its_slot(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    while (append(flight, 1, 65536))
        continue;
    while (append(flight, 1, 0))
        continue;
    struct flight_slot *slot = open_slot(flight, 5);
    union {
        struct flight_slot slot;
        char bytes[FLIGHT_SLOT_SIZE];
    } copy;
    assert_false(flight_append(flight, &slot->span, slot + 1, NULL, 0, slot));
    assert_int_equal(slot->closing_at, 0);
    assert_int_equal(flight_slots_taken(flight), 0); /* it has an end, though nobody will know */
    assert_false(flight_copy_slot(flight, 0, &copy.slot));
    flight_destroy(flight);
}

static void slots_run_out_and_come_back(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    struct flight_slot *slots[FLIGHT_SLOT_COUNT];
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT; i++) {
        slots[i] = open_slot(flight, i + 1);
        assert_non_null(slots[i]);
        for (uint32_t j = i ? i - 1 : 0; j < i; j++)
            assert_ptr_not_equal(slots[i], slots[j]);
    }
    assert_null(flight_take_slot(flight));
    flight_release_slot(flight, slots[700]);
    flight_release_slot(flight, slots[3]);
    assert_ptr_equal(flight_take_slot(flight), slots[3]); /* low ones first: few pages in use */
    assert_ptr_equal(flight_take_slot(flight), slots[700]);
    assert_int_equal(slots[700]->state, FLIGHT_SLOT_TAKEN);
    assert_int_equal(slots[700]->span.span_id, 0);
    assert_null(flight_take_slot(flight));
    flight_destroy(flight);
}

static void a_stall_is_noted_in_what_runs_and_not_in_what_waits(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    struct flight_slot *running = open_slot(flight, 5), *waiting = open_slot(flight, 6);
    waiting->span.waiting = 1;
    flight_note_stall(flight, 7, UINT64_C(9000000000));
    assert_int_equal(header_of(flight)->stalled_since_ns, 7);
    assert_int_equal(running->span.trace.stalled_at_s, 9);
    assert_int_equal(waiting->span.trace.stalled_at_s, 0);
    flight_note_stall(flight, 0, 0);
    assert_int_equal(header_of(flight)->stalled_since_ns, 0);
    assert_int_equal(running->span.trace.stalled_at_s, 9);
    flight_destroy(flight);
}

static void an_open_slot_can_be_copied_and_noted(void **state) {
    (void)state;
    struct flight *flight = flight_create(NULL, 0);
    union {
        struct flight_slot slot;
        char bytes[FLIGHT_SLOT_SIZE];
    } copy;
    struct flight_slot *taken = flight_take_slot(flight), *slot = open_slot(flight, 5);
    assert_false(flight_copy_slot(flight, 0, &copy.slot)); /* taken only */
    slot->span.end_ns = 9;
    assert_true(flight_copy_slot(flight, 1, &copy.slot));
    assert_int_equal(copy.slot.span.span_id, 5);
    assert_int_equal(copy.slot.span.end_ns, 0);
    assert_int_equal(copy.slot.span.tags_size, 16);
    assert_memory_equal(&copy.slot + 1, slot + 1, 16);
    assert_false(flight_copy_slot(flight, 2, &copy.slot));

    flight_note_snapshot(flight, 1, 6, 44); /* somebody else's */
    assert_int_equal(slot->span.partial_version, 0);
    flight_note_snapshot(flight, 1, 5, 44);
    assert_int_equal(slot->span.partial_version, 44);
    assert_true(flight_append(flight, &slot->span, slot + 1, NULL, 0, slot));
    flight_note_snapshot(flight, 1, 5, 45); /* too late: the record is written */
    assert_int_equal(slot->span.partial_version, 44);
    assert_false(flight_copy_slot(flight, 1, &copy.slot)); /* free */
    assert_int_equal(flight_slots_taken(flight), 1);
    uint64_t position = 0;
    assert_int_equal(flight_next(flight, &position)->span.partial_version, 44);
    flight_release_slot(flight, taken);
    flight_destroy(flight);
}

/* ---- many threads ---- */

enum { WRITERS = 8, SPANS_EACH = 20000 };

struct traffic {
    struct flight *flight;
    uint64_t next_id, kept, kept_sum; /* atomic */
    int running;                      /* writers; atomic */
};

static void *write_spans(void *argument) {
    struct traffic *traffic = argument;
    for (int i = 0; i < SPANS_EACH; i++) {
        uint64_t id = __atomic_add_fetch(&traffic->next_id, 1, __ATOMIC_RELAXED);
        struct flight_slot *slot = open_slot(traffic->flight, id);
        struct sample s = sample(id);
        s.span.end_ns = 9;
        if (slot) __atomic_store_n(&slot->span.end_ns, 9, __ATOMIC_RELAXED);
        bool kept = slot ? flight_append(traffic->flight, &slot->span, slot + 1, NULL, 0, slot)
                         : flight_append(traffic->flight, &s.span, s.tags, NULL, 0, NULL);
        if (!kept) continue;
        __atomic_add_fetch(&traffic->kept, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&traffic->kept_sum, id, __ATOMIC_RELAXED);
    }
    __atomic_sub_fetch(&traffic->running, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void eight_writers_and_a_drainer_agree_on_every_span(void **state) {
    (void)state;
    struct traffic traffic = {.flight = flight_create(NULL, 0), .running = WRITERS};
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_spans, &traffic), 0);
    uint64_t drained = 0, sum = 0, copied = 0, rounds = 0;
    bool running = true;
    while (running) { /* once more after the last writer is done */
        running = __atomic_load_n(&traffic.running, __ATOMIC_ACQUIRE) > 0;
        drained += drain(traffic.flight, &sum);
        union {
            struct flight_slot slot;
            char bytes[FLIGHT_SLOT_SIZE];
        } copy;
        for (uint32_t i = 0; i < WRITERS; i++) {
            if (!flight_copy_slot(traffic.flight, i, &copy.slot)) continue;
            struct flight_tag tag;
            const void *value;
            size_t offset = 0;
            double id = (double)copy.slot.span.span_id;
            assert_true(flight_tag_next(&copy.slot + 1, copy.slot.span.tags_size, &offset, &tag, &value));
            assert_memory_equal(value, &id, 8); /* of one span, not a mixture of two */
            flight_note_snapshot(traffic.flight, i, copy.slot.span.span_id, ++rounds);
            copied++;
        }
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    struct flight_counts counts = flight_counts(traffic.flight);
    assert_int_equal(counts.recorded, WRITERS * SPANS_EACH);
    assert_int_equal(counts.recorded, counts.sent + counts.dropped);
    assert_int_equal(drained, traffic.kept);
    assert_int_equal(sum, traffic.kept_sum);
    assert_int_equal(counts.sent, drained);
    print_message("drained %lu, dropped %lu, open slots copied %lu\n", (unsigned long)drained,
                  (unsigned long)counts.dropped, (unsigned long)copied);
    flight_destroy(traffic.flight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_written_padded_and_read_back),
        cmocka_unit_test(texts_of_every_length_are_copied_whole),
        cmocka_unit_test(a_new_mapping_says_whose_it_is),
        cmocka_unit_test(only_pages_in_use_are_resident),
        cmocka_unit_test(all_pages_are_resident_when_asked_for),
        cmocka_unit_test(without_descriptors_there_is_no_mapping),
        cmocka_unit_test(a_file_size_limit_is_not_hit),
        cmocka_unit_test(a_kernel_that_reserves_nothing_does_too),
        cmocka_unit_test(a_kernel_without_memfd_does_too),
        cmocka_unit_test(without_memory_to_reserve_there_is_no_mapping),
        cmocka_unit_test(an_identity_that_is_too_large_is_refused),
        cmocka_unit_test(records_come_out_in_order_and_are_settled_once),
        cmocka_unit_test(the_ring_wraps_with_padding_at_every_offset),
        cmocka_unit_test(a_record_that_ends_with_the_ring_needs_no_padding),
        cmocka_unit_test(a_full_ring_drops_and_counts_until_drained),
        cmocka_unit_test(a_span_dropped_by_a_full_ring_leaves_its_slot),
        cmocka_unit_test(slots_run_out_and_come_back),
        cmocka_unit_test(a_stall_is_noted_in_what_runs_and_not_in_what_waits),
        cmocka_unit_test(an_open_slot_can_be_copied_and_noted),
        cmocka_unit_test(eight_writers_and_a_drainer_agree_on_every_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
