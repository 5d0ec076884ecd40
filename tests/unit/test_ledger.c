#include "cuda/ledger.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int begin(void **state) {
    (void)state;
    ledger_forked();
    usage_forked();
    owners_forked();
    ledger_set_stack_source(NULL);
    ledger_start();
    return 0;
}

static struct ledger_entry plain(uint64_t address, uint64_t size) {
    return (struct ledger_entry){
        .is = {.space = LEDGER_POINTER, .kind = LEDGER_PLAIN}, .address = address, .size = size};
}

static void add(struct ledger_entry entry) {
    ledger_add(entry.address, entry.size, entry.is);
}

static uint64_t allocated(void) {
    return usage_now().allocated;
}

static void test_what_is_added_is_live_until_removed(void **state) {
    (void)state;
    struct ledger_entry removed;
    add(plain(0x1000, 512));
    add(plain(0x2000, 1024));
    assert_int_equal(allocated(), 1536);
    assert_int_equal(ledger_count(), 2);
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_int_equal(removed.size, 512);
    assert_int_equal(allocated(), 1024);
    assert_int_equal(ledger_count(), 1);
}

static void test_a_second_layer_changes_nothing(void **state) {
    (void)state;
    uint32_t owner = owners_open(OWNER_NOBODY, "prompt", "");
    struct ledger_entry removed;
    add(plain(0x1000, 512));
    add(plain(0x1000, 512));
    assert_int_equal(allocated(), 512);
    assert_int_equal(owners_counts(owner).allocations, 1);
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_false(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_int_equal(allocated(), 0);
}

static void test_another_size_replaces(void **state) {
    (void)state;
    add(plain(0x1000, 512));
    add(plain(0x1000, 2048));
    assert_int_equal(allocated(), 2048);
    assert_int_equal(ledger_count(), 1);
}

/* Of the multiplier that addresses are hashed with: products of it are what one wants. */
#define INVERSE UINT64_C(0xf1de83e19937733d)

static void test_another_size_leaves_its_neighbours_alone(void **state) {
    (void)state;
    struct ledger_entry removed;
    for (uint64_t hash = 1; hash <= 3; hash++) /* of one bucket */
        add(plain(INVERSE * hash, 512));
    add(plain(INVERSE * 3, 100));
    add(plain(INVERSE * 2, 50));
    for (uint64_t hash = 1; hash <= 3; hash++)
        assert_true(ledger_remove(LEDGER_POINTER, INVERSE * hash, &removed));
    assert_int_equal(allocated(), 0);
}

static uint32_t seven(uint64_t size) {
    return size == 512 ? 7 : 0;
}

/* What a node allocates where an entry has been given back takes a shorter way (ledger_add), to the same end. */
static void test_the_short_way(void **state) {
    (void)state;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", "");
    struct ledger_entry removed;
    ledger_set_stack_source(seven);
    owners_enter(workflow);
    add(plain(0x1000, 512));
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_int_equal(removed.stack, 7);
    ledger_set_stack_source(NULL);
    uint32_t node = owners_open(workflow, "1", "Node"); /* nothing is counted for it yet */
    owners_enter(node);
    for (int round = 0; round < 2; round++) {
        struct owner_counts before = owners_counts(node);
        add(plain(0x1000, 512));
        add(plain(0x1000, 512)); /* from another layer */
        assert_int_equal(allocated(), 512);
        assert_int_equal(owners_counts(node).allocations, before.allocations + 1);
        assert_int_equal(owners_counts(node).bytes, before.bytes + 512);
        add((struct ledger_entry){
            .is = {.space = LEDGER_HOST, .kind = LEDGER_PINNED}, .address = 0x1000, .size = 100});
        assert_int_equal(usage_pinned(), 100);
        assert_true(ledger_remove(LEDGER_HOST, 0x1000, &removed));
        assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
        assert_int_equal(removed.stack, 0);
        assert_int_equal(removed.is.owner, node);
        assert_int_equal(allocated() + usage_pinned(), 0);
    }
    add(plain(0x1000, 512));
    add(plain(0x1000, 2048));
    assert_int_equal(allocated(), 2048);
    assert_int_equal(ledger_count(), 1);
    owners_enter(OWNER_NOBODY);
}

static void test_spaces_are_apart(void **state) {
    (void)state;
    struct ledger_entry removed;
    add(plain(0x1000, 512));
    add((struct ledger_entry){
        .is = {.space = LEDGER_HOST, .kind = LEDGER_PINNED}, .address = 0x1000, .size = 100});
    assert_int_equal(allocated(), 512);
    assert_int_equal(usage_pinned(), 100);
    assert_int_equal(ledger_count(), 1);
    assert_true(ledger_remove(LEDGER_HOST, 0x1000, &removed));
    assert_int_equal(usage_pinned(), 0);
    assert_int_equal(allocated(), 512);
}

static void test_a_failed_free_is_undone(void **state) {
    (void)state;
    uint32_t owner = owners_open(OWNER_NOBODY, "prompt", "");
    struct ledger_entry removed;
    add(plain(0x1000, 512));
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    ledger_restore(&removed);
    assert_int_equal(allocated(), 512);
    assert_int_equal(owners_counts(owner).allocations, 1);
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_int_equal(removed.is.owner, owner);
}

static struct ledger_entry physical(uint64_t handle, uint64_t size) {
    return (struct ledger_entry){
        .is = {.space = LEDGER_HANDLE, .kind = LEDGER_PHYSICAL, .holds = 1}, .address = handle, .size = size};
}

#define PAGE (UINT64_C(2) << 20)

static void test_physical_memory_outlives_its_handle(void **state) {
    (void)state;
    add(physical(7, PAGE));
    ledger_map(0x10000000, PAGE, 7);
    assert_int_equal(ledger_count(), 1); /* a mapping is no allocation */
    ledger_release(7);
    assert_int_equal(usage_now().mapped, PAGE);
    /* the driver gives the number out again */
    add(physical(7, 2 * PAGE));
    assert_int_equal(usage_now().mapped, 3 * PAGE);
    assert_true(ledger_unmap(0x10000000, PAGE));
    assert_int_equal(usage_now().mapped, 2 * PAGE);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, 0);
    assert_int_equal(allocated(), 0);
    assert_int_equal(ledger_count(), 0);
}

static void test_physical_memory_outlives_its_mappings(void **state) {
    (void)state;
    add(physical(7, PAGE));
    ledger_map(0x10000000, PAGE, 7);
    ledger_map(0x20000000, PAGE, 7);
    assert_true(ledger_unmap(0x10000000, PAGE));
    assert_true(ledger_unmap(0x20000000, PAGE));
    assert_int_equal(usage_now().mapped, PAGE);
    ledger_retain(7, 0);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, PAGE);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, 0);
}

/* More than can be counted: then it is never thought to be gone. */
static void test_a_handle_that_is_held_very_often(void **state) {
    (void)state;
    enum { OFTEN = 1 << 16 };
    add(physical(7, PAGE));
    for (int i = 0; i < OFTEN + 9; i++)
        ledger_retain(7, 0);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, PAGE);
    for (int i = 0; i < OFTEN; i++)
        ledger_release(7);
    assert_int_equal(usage_now().mapped, PAGE);
}

static void test_a_handle_is_asked_for_again(void **state) {
    (void)state;
    add(physical(7, PAGE));
    ledger_map(0x10000000, PAGE, 7);
    ledger_release(7);
    ledger_retain(7, 0x10000000 + PAGE); /* past the mapping */
    ledger_retain(7, 0x10000000 + PAGE - 1);
    assert_true(ledger_unmap(0x10000000, PAGE));
    assert_int_equal(usage_now().mapped, PAGE);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, 0);
}

/* comfy-aimdo's VRAM buffers: two mappings, one unmap over both, then two releases. */
static void test_one_unmap_over_several_mappings(void **state) {
    (void)state;
    add(physical(1, PAGE));
    add(physical(2, 3 * PAGE));
    ledger_map(0x10000000, PAGE, 1);
    ledger_map(0x10000000 + PAGE, 3 * PAGE, 2);
    ledger_release(1);
    assert_true(ledger_unmap(0x10000000, 4 * PAGE));
    assert_int_equal(usage_now().mapped, 3 * PAGE);
    ledger_release(2);
    assert_int_equal(usage_now().mapped, 0);
    assert_false(ledger_unmap(0x10000000, 4 * PAGE));
}

/* A release that went past the hooks: the handle comes again, as other memory, while the old one is still mapped. The
 * end of that mapping must not be taken for something else's. */
static void test_a_handle_whose_release_was_not_seen(void **state) {
    (void)state;
    struct ledger_entry removed;
    add(physical(1, PAGE));
    ledger_map(0x10000000, PAGE, 1);
    add(physical(1, 3 * PAGE));
    assert_int_equal(usage_now().mapped, 4 * PAGE);
    ledger_release(1);
    assert_int_equal(usage_now().mapped, PAGE);
    for (uint64_t i = 1; i <= 100000; i++) /* takes what has been given back */
        add(plain(i << 12, 1));
    assert_true(ledger_unmap(0x10000000, PAGE));
    assert_int_equal(usage_now().mapped, 0);
    for (uint64_t i = 1; i <= 100000; i++)
        assert_true(ledger_remove(LEDGER_POINTER, i << 12, &removed));
    add(physical(2, PAGE));
    add(physical(2, PAGE)); /* not mapped: what was there is gone */
    assert_int_equal(usage_now().mapped, PAGE);
    ledger_release(2);
    assert_int_equal(allocated(), 0);
}

/* An unmap that went past the hooks: other memory is mapped at the same address. */
static void test_a_mapping_whose_end_was_not_seen(void **state) {
    (void)state;
    add(physical(1, PAGE));
    add(physical(2, 3 * PAGE));
    ledger_map(0x10000000, PAGE, 1);
    ledger_release(1);
    ledger_map(0x10000000, 3 * PAGE, 2);
    assert_int_equal(usage_now().mapped, 3 * PAGE);
    ledger_release(2);
    assert_true(ledger_unmap(0x10000000, 3 * PAGE));
    assert_int_equal(usage_now().mapped, 0);
}

static void test_an_unknown_handle_is_ignored(void **state) {
    (void)state;
    ledger_map(0x10000000, PAGE, 99); /* imported from another process */
    assert_false(ledger_unmap(0x10000000, PAGE));
    ledger_retain(99, 0x99000);
    ledger_release(99);
    assert_int_equal(allocated(), 0);
}

static void test_a_contexts_end(void **state) {
    (void)state;
    int contexts[2];
    struct ledger_entry entry = plain(0x1000, 1);
    entry.is.context = ledger_context(&contexts[0]);
    add(entry);
    entry.address = 0x2000, entry.size = 10, entry.is.context = ledger_context(&contexts[1]);
    add(entry);
    add(plain(0x3000, 100));
    add(physical(5, PAGE));
    ledger_purge_context(&contexts[0]);
    assert_int_equal(allocated(), 110 + PAGE);
    ledger_purge_context(NULL);
    assert_int_equal(ledger_count(), 3);
}

/* What an entry keeps of a context may be what the counts of physical memory, or nothing, look like. */
static void test_a_contexts_end_is_not_that_of_physical_memory(void **state) {
    (void)state;
    const void *one = (const void *)(INVERSE << 32), *none = (const void *)INVERSE;
    assert_int_equal(ledger_context(one), 1);
    assert_int_equal(ledger_context(none), 0);
    add(physical(1, PAGE));
    ledger_purge_context(one); /* held once, mapped nowhere */
    assert_int_equal(usage_now().mapped, PAGE);
    ledger_map(0x10000000, PAGE, 1);
    ledger_release(1);
    ledger_purge_context(none);
    assert_true(ledger_unmap(0x10000000, PAGE));
    assert_int_equal(usage_now().mapped, 0);
}

static void test_segments_are_not_counted_twice(void **state) {
    (void)state;
    struct ledger_entry segment = plain(0x1000, 2 << 20);
    segment.is.segment = true;
    add(segment);
    assert_int_equal(allocated(), 0);
    assert_int_equal(usage_now().live, 2 << 20);
    add((struct ledger_entry){
        .is = {.space = LEDGER_TENSOR, .kind = LEDGER_PART}, .address = 0x1000, .size = 512});
    usage_c10(0, 512);
    struct usage now = usage_now();
    assert_int_equal(now.allocated, 512);
    assert_int_equal(now.live, 2 << 20);
    assert_int_equal(now.torch_allocated, 512);
    assert_int_equal(now.torch_reserved, 2 << 20);
    assert_int_equal(ledger_count(), 1);
    /* torch.cuda.empty_cache: nothing is reported, the segment is freed. */
    struct ledger_entry removed;
    assert_true(ledger_remove(LEDGER_TENSOR, 0x1000, &removed));
    usage_c10(0, 0);
    assert_int_equal(usage_now().torch_reserved, 2 << 20);
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_int_equal(usage_now().torch_reserved, 0);
}

static void note_stack(const struct ledger_entry *entry, void *context) {
    *(uint32_t *)context += entry->stack;
}

static void test_stacks_are_kept_with_their_allocation(void **state) {
    (void)state;
    uint32_t sum = 0;
    ledger_set_stack_source(seven);
    add(plain(0x1000, 512));
    add(plain(0x2000, 513));
    ledger_each(note_stack, &sum);
    assert_int_equal(sum, 7);
}

/* First of all tests: recording cannot be switched off again. */
static void test_nothing_is_recorded_before_the_start(void **state) {
    (void)state;
    add(plain(0x1000, 512));
    assert_false(ledger_recording());
    assert_int_equal(allocated(), 0);
}

static void test_errno_stays(void **state) {
    (void)state;
    struct ledger_entry removed;
    errno = EXDEV;
    add(plain(0x1000, 512));
    ledger_remove(LEDGER_POINTER, 0x1000, &removed);
    assert_int_equal(errno, EXDEV);
}

/* Threads that allocate and free at random, each in addresses of its own, and free each other's in the end. */
enum { THREADS = 8, SLOTS = 2000, STEPS = 40000 };
static uint64_t left[THREADS];

static void *churn(void *argument) {
    unsigned thread = (unsigned)(uintptr_t)argument, random = thread + 1;
    static __thread bool taken[SLOTS];
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        unsigned slot = random / 7 % SLOTS;
        uint64_t address = ((uint64_t)(thread * SLOTS + slot) + 1) << 9, size = slot + 1;
        struct ledger_entry removed;
        if (taken[slot]) {
            if (!ledger_remove(LEDGER_POINTER, address, &removed) || removed.size != size) abort();
        } else {
            add(plain(address, size));
        }
        taken[slot] = !taken[slot];
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (taken[slot]) left[thread] += slot + 1;
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    memset(left, 0, sizeof left);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += left[i];
    }
    assert_int_equal(allocated(), sum);
    for (uint64_t i = 1; i <= THREADS * SLOTS; i++) {
        struct ledger_entry removed;
        ledger_remove(LEDGER_POINTER, i << 9, &removed);
    }
    assert_int_equal(allocated(), 0);
    assert_int_equal(ledger_count(), 0);
}

static void test_many_live(void **state) {
    (void)state;
    enum { LIVE = 100000 };
    for (uint64_t i = 1; i <= LIVE; i++)
        add(plain(i << 21, i));
    assert_int_equal(allocated(), UINT64_C(100000) * 100001 / 2);
    assert_int_equal(ledger_count(), LIVE);
    for (uint64_t i = LIVE; i >= 1; i--) {
        struct ledger_entry removed;
        assert_true(ledger_remove(LEDGER_POINTER, i << 21, &removed));
        assert_int_equal(removed.size, i);
    }
    assert_int_equal(allocated(), 0);
}

static void fork_here(const struct ledger_entry *entry, void *context) {
    (void)entry;
    pid_t *child = context;
    if (*child == 0) *child = fork();
    if (*child != 0) return;
    alarm(60);
    ledger_forked();
    usage_forked();
    owners_forked();
    struct ledger_entry removed;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""), node = owners_open(workflow, "1", "Node");
    owners_enter(node);
    bool empty = ledger_count() == 0 && !ledger_remove(LEDGER_POINTER, 0x1000, &removed);
    add(plain(0x1000, 512));
    _exit(empty && ledger_count() == 1 && allocated() == 512 ? 5 : 6);
}

/* Whatever the parent's threads hold at that time: here a shard's lock is held. */
static void test_the_child_of_a_fork_begins_anew(void **state) {
    (void)state;
    pid_t child = 0;
    int status;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", "");
    owners_enter(owners_open(workflow, "1", "Node"));
    add(plain(0x1000, 512));
    ledger_each(fork_here, &child);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
    assert_int_equal(allocated(), 512);
    owners_enter(OWNER_NOBODY);
}

/* Last of all tests: recording ends for good. What is there stays, and goes when it is freed. */
static void test_a_full_table(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* four million entries take it a minute */
#endif
    enum { MOST = 1 << 22 };
    uint64_t count = 0;
    struct ledger_entry of_context = plain(0, 1);
    of_context.is.context = ledger_context(&count);
    for (uint64_t i = 1; i <= MOST / 8; i++) { /* what a context's end has given back is there again */
        of_context.address = i << 9;
        add(of_context);
    }
    ledger_purge_context(&count);
    while (ledger_recording() && count <= MOST)
        add(plain(++count << 9, 1));
    assert_false(ledger_recording());
    assert_in_range(count, MOST * 9 / 10, MOST);
    assert_int_equal(ledger_count(), count - 1);
    assert_int_equal(allocated(), count - 1);
    struct ledger_entry removed;
    assert_true(ledger_remove(LEDGER_POINTER, 1 << 9, &removed));
    add(plain(1 << 9, 1));
    ledger_start();
    assert_false(ledger_recording());
    assert_int_equal(ledger_count(), count - 2);
    assert_false(ledger_remove(LEDGER_POINTER, 1 << 9, &removed));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_recorded_before_the_start),
        cmocka_unit_test_setup(test_what_is_added_is_live_until_removed, begin),
        cmocka_unit_test_setup(test_a_second_layer_changes_nothing, begin),
        cmocka_unit_test_setup(test_another_size_replaces, begin),
        cmocka_unit_test_setup(test_another_size_leaves_its_neighbours_alone, begin),
        cmocka_unit_test_setup(test_the_short_way, begin),
        cmocka_unit_test_setup(test_spaces_are_apart, begin),
        cmocka_unit_test_setup(test_a_failed_free_is_undone, begin),
        cmocka_unit_test_setup(test_physical_memory_outlives_its_handle, begin),
        cmocka_unit_test_setup(test_physical_memory_outlives_its_mappings, begin),
        cmocka_unit_test_setup(test_a_handle_that_is_held_very_often, begin),
        cmocka_unit_test_setup(test_a_handle_is_asked_for_again, begin),
        cmocka_unit_test_setup(test_one_unmap_over_several_mappings, begin),
        cmocka_unit_test_setup(test_a_handle_whose_release_was_not_seen, begin),
        cmocka_unit_test_setup(test_a_mapping_whose_end_was_not_seen, begin),
        cmocka_unit_test_setup(test_an_unknown_handle_is_ignored, begin),
        cmocka_unit_test_setup(test_a_contexts_end, begin),
        cmocka_unit_test_setup(test_a_contexts_end_is_not_that_of_physical_memory, begin),
        cmocka_unit_test_setup(test_segments_are_not_counted_twice, begin),
        cmocka_unit_test_setup(test_stacks_are_kept_with_their_allocation, begin),
        cmocka_unit_test_setup(test_errno_stays, begin),
        cmocka_unit_test_setup(test_threads, begin),
        cmocka_unit_test_setup(test_many_live, begin),
        cmocka_unit_test_setup(test_the_child_of_a_fork_begins_anew, begin),
        cmocka_unit_test_setup(test_a_full_table, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
