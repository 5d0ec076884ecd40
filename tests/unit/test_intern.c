#include "base/intern.h"
#include "base/memo.h"
#include "unit.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE    65536
#define SLOTS   1024
#define THREADS 4
#define STRINGS 500

static _Alignas(8) char memory[SIZE];
static struct intern table;

static int empty(void **state) {
    (void)state;
    memset(memory, 0, sizeof memory);
    intern_init(&table, memory, sizeof memory, SLOTS);
    return 0;
}

static uint32_t add(const char *text) {
    return intern_add(&table, text, (uint32_t)strlen(text) + 1);
}

static const char *get(uint32_t id) {
    return intern_get(&table, id, NULL);
}

static void the_same_bytes_have_the_same_id(void **state) {
    (void)state;
    uint32_t one = add("one"), two = add("two");
    assert_int_not_equal(one, 0);
    assert_int_not_equal(two, 0);
    assert_int_not_equal(one, two);
    assert_int_equal(add("one"), one);
    assert_int_equal(add("two"), two);
    assert_string_equal(get(one), "one");
    assert_string_equal(get(two), "two");
}

static void size_counts_and_so_does_every_byte(void **state) {
    (void)state;
    char bytes[40] = {0};
    uint32_t ids[81], size, count = 0;
    for (uint32_t i = 0; i <= sizeof bytes; i++)
        ids[count++] = intern_add(&table, bytes, i);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 1;
        ids[count++] = intern_add(&table, bytes, sizeof bytes);
        bytes[i] = 0;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(ids[i], ids[k]);
    intern_get(&table, ids[3], &size);
    assert_int_equal(size, 3);
}

static void a_full_table_keeps_what_it_has(void **state) {
    (void)state;
    char text[32];
    int kept = 0;
    for (int i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "string %d", i);
        kept += add(text) != 0;
    }
    assert_true(kept > SLOTS / 2 && kept <= SLOTS); /* ended by slots */
    assert_int_not_equal(add("string 0"), 0);
    assert_string_equal(get(add("string 0")), "string 0");
    assert_true(table.used <= SIZE);
    uint32_t used = table.used;
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "other string %d", i);
        kept += add(text) != 0;
    }
    assert_true(table.used - used <= (uint32_t)kept * 32); /* refused ones took nothing */
}

static void refused_strings_take_no_memory(void **state) {
    (void)state;
    intern_init(&table, memory, sizeof memory, 16); /* all slots are tried for each string */
    char text[32];
    for (int i = 0; i < 16; i++) {
        snprintf(text, sizeof text, "string %d", i);
        assert_int_not_equal(add(text), 0);
    }
    uint32_t used = table.used;
    for (int i = 16; i < 1000; i++) {
        snprintf(text, sizeof text, "string %d", i);
        assert_int_equal(add(text), 0);
    }
    assert_int_equal(table.used, used);
}

static void a_table_without_room_refuses(void **state) {
    (void)state;
    char large[8192] = {0};
    int kept = 0;
    for (char i = 0; i < 20; i++) {
        large[0] = i;
        kept += intern_add(&table, large, sizeof large) != 0;
    }
    assert_int_equal(kept, (SIZE - SLOTS * 4) / (8192 + 8));
    assert_int_not_equal(add("small"), 0);
}

static void *add_all(void *ids) {
    char text[32];
    for (int i = 0; i < STRINGS; i++) {
        snprintf(text, sizeof text, "string %d", i);
        ((uint32_t *)ids)[i] = add(text);
    }
    return NULL;
}

static void threads_agree(void **state) {
    (void)state;
    static uint32_t ids[THREADS][STRINGS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_all, ids[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < STRINGS; i++) {
        char text[32];
        snprintf(text, sizeof text, "string %d", i);
        assert_string_equal(get(ids[0][i]), text);
        for (int k = 1; k < THREADS; k++)
            assert_int_equal(ids[k][i], ids[0][i]);
    }
}

static void a_memo_finds_what_was_put_last(void **state) {
    (void)state;
    struct memo memos[4] = {{0, 0}};
    assert_int_equal(memo_get(memos, 4, UINT64_C(5) << 32), 0);
    memo_put(memos, 4, UINT64_C(5) << 32, 50);
    memo_put(memos, 4, UINT64_C(6) << 32, 60);
    assert_int_equal(memo_get(memos, 4, UINT64_C(5) << 32), 50);
    assert_int_equal(memo_get(memos, 4, UINT64_C(6) << 32), 60);
    memo_put(memos, 4, UINT64_C(9) << 32, 90); /* the place of 5 */
    assert_int_equal(memo_get(memos, 4, UINT64_C(5) << 32), 0);
    assert_int_equal(memo_get(memos, 4, UINT64_C(9) << 32), 90);
    assert_int_equal(memo_get(memos, 4, (UINT64_C(9) << 32) + 1), 0); /* every bit of a key counts */
}

static struct memo shared[2];

static void *put_and_get(void *wrong) {
    for (uint64_t i = 1; i < 50000; i++) {
        uint64_t key = i % 7 * UINT64_C(0x9e3779b97f4a7c15);
        uint32_t found = memo_get(shared, 2, key);
        *(uint32_t *)wrong += found && found != i % 7 + 1;
        memo_put(shared, 2, key, (uint32_t)(i % 7 + 1));
    }
    return NULL;
}

static void threads_never_get_another_keys_value(void **state) {
    (void)state;
    uint32_t wrong[THREADS] = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_get, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_same_bytes_have_the_same_id, empty),
        cmocka_unit_test_setup(size_counts_and_so_does_every_byte, empty),
        cmocka_unit_test_setup(a_full_table_keeps_what_it_has, empty),
        cmocka_unit_test_setup(refused_strings_take_no_memory, empty),
        cmocka_unit_test_setup(a_table_without_room_refuses, empty),
        cmocka_unit_test_setup(threads_agree, empty),
        cmocka_unit_test(a_memo_finds_what_was_put_last),
        cmocka_unit_test(threads_never_get_another_keys_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
