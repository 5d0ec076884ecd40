#include "cuda/owners.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int begin(void **state) {
    (void)state;
    owners_forked();
    ledger_forked();
    ledger_start();
    return 0;
}

static void test_counts_of_a_node_are_its_workflows_too(void **state) {
    (void)state;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""),
             node = owners_open(workflow, "7", "KSampler");
    assert_int_not_equal(workflow, OWNER_NOBODY);
    owners_count_allocation(workflow, 0, 5);
    owners_enter(node);
    owners_count_allocation(node, 0, 100);
    owners_count_allocation(node, 1, 10);
    owners_count_failure(node, 1);
    assert_int_equal(owners_counts(node).bytes, 110);
    assert_int_equal(owners_counts_on(node, 1).bytes, 10);
    assert_int_equal(owners_counts(workflow).bytes, 5);
    owners_enter(OWNER_NOBODY);
    owners_close(node);
    struct owner_counts counts = owners_counts(workflow);
    assert_int_equal(counts.allocations, 3);
    assert_int_equal(counts.bytes, 115);
    assert_int_equal(counts.failed, 1);
    assert_int_equal(owners_counts_on(workflow, 1).failed, 1);
    assert_string_equal(owners_class_type(node), "KSampler");
    owners_close(node);
    assert_int_equal(owners_counts(workflow).bytes, 115);
}

static void *current_of_another_thread(void *owner) {
    *(uint32_t *)owner = owners_current();
    return NULL;
}

static uint32_t elsewhere(void) {
    pthread_t thread;
    uint32_t owner;
    assert_int_equal(pthread_create(&thread, NULL, current_of_another_thread, &owner), 0);
    pthread_join(thread, NULL);
    return owner;
}

static void test_other_threads_work_for_the_only_node(void **state) {
    (void)state;
    assert_int_equal(elsewhere(), OWNER_NOBODY);
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", "");
    assert_int_equal(elsewhere(), workflow);
    uint32_t node = owners_open(workflow, "1", "A");
    assert_int_equal(elsewhere(), node);
    uint32_t other = owners_open(workflow, "2", "B");
    assert_int_equal(elsewhere(), workflow); /* one of two: cannot be told */
    owners_enter(other);
    assert_int_equal(owners_current(), other);
    assert_int_equal(owners_enter(OWNER_NOBODY), other);
    owners_wait(node, true);
    assert_int_equal(elsewhere(), other);
    owners_wait(node, false);
    owners_close(other);
    assert_int_equal(elsewhere(), node);
    owners_enter(workflow);
    assert_int_equal(owners_current(), node); /* the executor's thread, an async node's task */
    owners_enter(OWNER_NOBODY);
    owners_close(node);
    uint32_t second = owners_open(OWNER_NOBODY, "another", "");
    assert_int_equal(elsewhere(), OWNER_NOBODY);
    owners_enter(workflow);
    assert_int_equal(owners_current(), workflow);
    owners_enter(OWNER_NOBODY);
    owners_close(workflow);
    assert_int_equal(elsewhere(), second);
    owners_close(second);
    assert_int_equal(elsewhere(), OWNER_NOBODY);
}

static void test_places_are_used_again_but_not_those_of_live_allocations(void **state) {
    (void)state;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""),
             keeper = owners_open(workflow, "keeps", "Loader");
    owners_enter(keeper);
    ledger_add(0x1000, 1, (struct ledger_what){.space = LEDGER_POINTER});
    owners_enter(OWNER_NOBODY);
    owners_close(keeper);
    for (int i = 0; i < 20000; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        uint32_t node = owners_open(workflow, id, "Passing");
        assert_int_not_equal(node, OWNER_NOBODY);
        assert_int_not_equal(node, keeper);
        assert_int_not_equal(node, workflow);
        if (i % 2) owners_enter(node);
        owners_count_allocation(node, 0, 1);
        assert_int_equal(owners_counts(node).allocations, 1); /* nothing of whose place it was */
        assert_int_equal(owners_counts(node).bytes, 1);
        owners_enter(OWNER_NOBODY);
        owners_close(node);
    }
    assert_string_equal(owners_id(keeper), "keeps");
}

/* Whose allocations have outlived one search for places, and are gone by the next. */
static void test_places_are_used_again_later(void **state) {
    (void)state;
    enum { MANY = 3000 };
    struct ledger_entry removed;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", "");
    for (int round = 0; round < 4; round++) {
        for (uint64_t i = 1; i <= MANY; i++) {
            uint32_t node = owners_open(workflow, "1", "Loader");
            assert_int_not_equal(node, OWNER_NOBODY);
            owners_enter(node);
            ledger_add(i << 12, 1, (struct ledger_what){.space = LEDGER_POINTER});
            owners_close(node);
        }
        for (uint64_t i = 1; i <= MANY; i++)
            assert_true(ledger_remove(LEDGER_POINTER, i << 12, &removed));
    }
    owners_enter(OWNER_NOBODY);
}

static void test_the_child_of_a_fork_works_for_nobody(void **state) {
    (void)state;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", "");
    owners_enter(owners_open(workflow, "1", "Node"));
    owners_forked();
    assert_int_equal(owners_current(), OWNER_NOBODY);
    assert_int_equal(elsewhere(), OWNER_NOBODY);
}

static void test_who_has_allocated_nothing_leaves_its_place(void **state) {
    (void)state;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""), node = owners_open(workflow, "1", "A");
    owners_open(workflow, "2", "B");
    owners_close(node);
    assert_int_equal(owners_open(workflow, "3", "C"), node);
}

static void test_a_full_table_has_no_more(void **state) {
    (void)state;
    uint32_t last = 1;
    int opened = 0;
    while (last != OWNER_NOBODY && opened < 100000) {
        last = owners_open(OWNER_NOBODY, "open", "");
        opened++;
    }
    assert_int_equal(opened, 4096);
    owners_count_allocation(last, 0, 1);
    owners_count_failure(last, 0);
    owners_wait(last, true);
    owners_close(last);
    assert_int_equal(owners_counts(last).bytes, 0);
    assert_string_equal(owners_id(last), "");
}

static void test_long_texts_are_cut(void **state) {
    (void)state;
    char text[200];
    snprintf(text, sizeof text, "%0199d", 0);
    assert_int_equal(strlen(owners_id(owners_open(OWNER_NOBODY, text, text))), 63);
    memcpy(text + 62, "\xc3\xa9", 2); /* a character of two bytes at the limit: JSON takes whole ones only */
    assert_int_equal(strlen(owners_id(owners_open(OWNER_NOBODY, text, text))), 62);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_counts_of_a_node_are_its_workflows_too, begin),
        cmocka_unit_test_setup(test_other_threads_work_for_the_only_node, begin),
        cmocka_unit_test_setup(test_places_are_used_again_but_not_those_of_live_allocations, begin),
        cmocka_unit_test_setup(test_places_are_used_again_later, begin),
        cmocka_unit_test_setup(test_the_child_of_a_fork_works_for_nobody, begin),
        cmocka_unit_test_setup(test_who_has_allocated_nothing_leaves_its_place, begin),
        cmocka_unit_test_setup(test_a_full_table_has_no_more, begin),
        cmocka_unit_test_setup(test_long_texts_are_cut, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
