#include "python/stacks.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

/* MiB of this process that are resident. Under the sanitisers, whose shadows would count, 0. */
static double resident(void) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return 0;
#else
    unsigned long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
    fclose(file);
    return (double)pages / 256;
#endif
}

static int init(void **state) {
    (void)state;
    return stacks_init() ? 0 : -1;
}

static void nothing_is_resident_at_first(void **state) {
    (void)state;
    double before = resident();
    assert_true(stacks_init());
    assert_int_equal(stacks_known(12345), 0); /* one page */
    assert_true(resident() - before < 0.5);
}

static void a_stack_is_what_it_was_made_of(void **state) {
    (void)state;
    uint32_t sites[] = {stacks_add_site(1, "a.py", "f", 10), stacks_add_site(2, "a.py", "g", 20)};
    uint32_t stack = stacks_add(3, sites, 2);
    struct frame frames[2];
    assert_int_equal(stacks_get(stack, frames, 2), 2);
    assert_string_equal(frames[0].file, "a.py");
    assert_string_equal(frames[0].function, "f");
    assert_int_equal(frames[0].line, 10);
    assert_ptr_equal(frames[1].file, frames[0].file);
    assert_string_equal(frames[1].function, "g");
    assert_int_equal(frames[1].line, 20);
}

static void ids_are_found_by_key(void **state) {
    (void)state;
    uint32_t site = stacks_add_site(0x7000000001, "b.py", "f", 1);
    uint32_t stack = stacks_add(0x7000000002, &site, 1);
    assert_int_equal(stacks_known_site(0x7000000001), site);
    assert_int_equal(stacks_known(0x7000000002), stack);
    assert_int_equal(stacks_known_site(0x7000000002), 0);
    assert_int_equal(stacks_known(0x7000000001), 0);
}

static void the_same_content_under_another_key_has_the_same_id(void **state) {
    (void)state;
    uint32_t site = stacks_add_site(11, "c.py", "f", 1);
    assert_int_equal(stacks_add_site(12, "c.py", "f", 1), site);
    assert_int_equal(stacks_add(13, &site, 1), stacks_add(14, &site, 1));
    assert_int_not_equal(stacks_add_site(15, "c.py", "f", 2), site);
    assert_int_not_equal(stacks_add_site(16, "c.py", "g", 1), site);
    assert_int_not_equal(stacks_add_site(17, "d.py", "f", 1), site);
}

static void fewer_frames_can_be_asked_for(void **state) {
    (void)state;
    uint32_t sites[] = {stacks_add_site(21, "e.py", "f", 1), stacks_add_site(22, "e.py", "g", 2)};
    struct frame frames[2] = {{NULL, NULL, 0}, {NULL, NULL, -7}};
    assert_int_equal(stacks_get(stacks_add(23, sites, 2), frames, 1), 2);
    assert_int_equal(frames[0].line, 1);
    assert_int_equal(frames[1].line, -7);
}

/* The last one: nothing new has room afterwards. */
static void full_tables_refuse_and_stay_within_bounds(void **state) {
    (void)state;
    uint32_t old = stacks_add_site(31, "f.py", "f", 1), old_stack = stacks_add(32, &old, 1);
    double before = resident();
    char name[64];
    uint32_t sites[FRAMES_MAX], kept = 0;
    for (uint32_t i = 0; i < 300000; i++) {
        snprintf(name, sizeof name, "a function with a name that is rather long, number %u", i);
        uint32_t site = stacks_add_site(i, "g.py", name, 1);
        if (!site) continue;
        sites[kept++ % FRAMES_MAX] = site;
        stacks_add(i, sites, kept < FRAMES_MAX ? kept : FRAMES_MAX);
    }
    assert_true(kept > 10000);
    assert_int_equal(stacks_add_site(1, "a file never seen", "nor this function", 1), 0);
    sites[0] = sites[1] = sites[2] = sites[3] = old;
    uint32_t refused = 0;
    for (uint32_t i = 4; i < FRAMES_MAX; i++)
        for (uint32_t k = 0; k < 1000; k++) {
            sites[i] = 1 + k; /* any number will do */
            refused += stacks_add(1, sites, FRAMES_MAX) == 0;
        }
    assert_true(refused > 0);
    assert_true(resident() - before < 12.5);
    assert_int_equal(stacks_add_site(33, "f.py", "f", 1), old);
    assert_int_equal(stacks_add(34, &old, 1), old_stack);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_resident_at_first),
        cmocka_unit_test_setup(a_stack_is_what_it_was_made_of, init),
        cmocka_unit_test_setup(ids_are_found_by_key, init),
        cmocka_unit_test_setup(the_same_content_under_another_key_has_the_same_id, init),
        cmocka_unit_test_setup(fewer_frames_can_be_asked_for, init),
        cmocka_unit_test_setup(full_tables_refuse_and_stay_within_bounds, init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
