#include "cli/restart.h"
#include "unit.h"

static enum restart_decision after(struct restart *restart, enum verdict_kind kind, double ran_s,
                                   double *wait_s) {
    struct verdict verdict = {.kind = kind};
    return restart_decide(restart, &verdict, false, ran_s, wait_s);
}

static void what_is_restarted(void **state) {
    (void)state;
    static const struct {
        enum verdict_kind kind;
        bool wanted[3]; /* by enum restart_when */
    } rows[] = {
        {VERDICT_SUCCESS, {false, false, false}}, {VERDICT_FAILURE, {false, true, false}},
        {VERDICT_STOPPED, {false, false, false}}, {VERDICT_MEMORY, {true, true, false}},
        {VERDICT_CRASH, {false, true, false}},    {VERDICT_KILLED, {false, true, false}},
        {VERDICT_RESTART, {false, false, false}}, {VERDICT_HUNG, {true, true, false}},
        {VERDICT_UNSTARTED, {true, true, false}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int when = 0; when < 3; when++) {
            struct restart restart = {.when = (enum restart_when)when, .most = 1};
            double wait_s = -1;
            bool again = after(&restart, rows[i].kind, 1, &wait_s) == RESTART_AGAIN;
            if (again != rows[i].wanted[when]) fail_msg("kind %d, when %d", rows[i].kind, when);
            assert_true(again ? wait_s == 1 : wait_s == -1);
        }
}

static void the_wait_doubles_up_to_a_minute(void **state) {
    (void)state;
    struct restart restart = {.when = RESTART_AFTER_OOM, .most = 1000000000};
    const double waits[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    double wait_s;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(after(&restart, VERDICT_MEMORY, 599, &wait_s), RESTART_AGAIN);
        assert_true(wait_s == waits[i]);
    }
    for (int i = 0; i < 100000; i++)
        after(&restart, VERDICT_MEMORY, 0, &wait_s);
    assert_true(wait_s == 60);
}

static void a_good_run_ends_the_row(void **state) {
    (void)state;
    struct restart restart = {.when = RESTART_AFTER_OOM, .most = 2};
    double wait_s;
    assert_int_equal(after(&restart, VERDICT_MEMORY, 0, &wait_s), RESTART_AGAIN);
    assert_int_equal(after(&restart, VERDICT_MEMORY, 0, &wait_s), RESTART_AGAIN);
    assert_int_equal(after(&restart, VERDICT_MEMORY, RESTART_GOOD_RUN_S, &wait_s), RESTART_AGAIN);
    assert_true(wait_s == 1);
    assert_int_equal(after(&restart, VERDICT_MEMORY, 0, &wait_s), RESTART_AGAIN);
    assert_int_equal(after(&restart, VERDICT_MEMORY, 0, &wait_s), RESTART_GIVE_UP);
    assert_int_equal(after(&restart, VERDICT_MEMORY, 0, &wait_s), RESTART_GIVE_UP);
}

static void what_was_told_to_stop_stays_so(void **state) {
    (void)state;
    struct restart restart = {.when = RESTART_AFTER_FAILURE, .most = 9};
    double wait_s;
    for (int kind = VERDICT_SUCCESS; kind <= VERDICT_UNSTARTED; kind++) {
        struct verdict verdict = {.kind = (enum verdict_kind)kind};
        assert_int_equal(restart_decide(&restart, &verdict, true, 1, &wait_s), RESTART_NOT);
    }
}

static void no_restarts_at_all(void **state) {
    (void)state;
    struct restart restart = {.when = RESTART_AFTER_FAILURE, .most = 0};
    double wait_s;
    assert_int_equal(after(&restart, VERDICT_CRASH, 0, &wait_s), RESTART_GIVE_UP);
    assert_int_equal(after(&restart, VERDICT_STOPPED, 0, &wait_s), RESTART_NOT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_restarted),       cmocka_unit_test(the_wait_doubles_up_to_a_minute),
        cmocka_unit_test(a_good_run_ends_the_row), cmocka_unit_test(what_was_told_to_stop_stays_so),
        cmocka_unit_test(no_restarts_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
