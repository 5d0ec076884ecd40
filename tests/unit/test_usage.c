#include "cuda/usage.h"
#include "unit.h"

#include <pthread.h>

static int begin(void **state) {
    (void)state;
    usage_forked();
    return 0;
}

static void change(uint8_t device, uint64_t size, int sign) {
    usage_change(&(struct ledger_entry){.kind = LEDGER_ASYNC, .device = device, .size = size}, sign);
}

static void test_a_window_knows_its_peak(void **state) {
    (void)state;
    struct usage_window window = {0};
    change(0, 100, 1);
    change(0, 1000, 1);
    change(0, 1000, -1);
    usage_open(&window);
    change(0, 30, 1);
    change(0, 50, 1);
    change(0, 60, -1);
    usage_close(&window);
    change(0, 5000, 1);
    assert_int_equal(window.before, 100);
    assert_int_equal(window.peak, 180);
    assert_int_equal(window.peak_on[0], 180);
}

static void test_windows_overlap(void **state) {
    (void)state;
    struct usage_window first = {0}, second = {0};
    usage_open(&first);
    change(0, 100, 1);
    usage_open(&second);
    change(0, 100, -1);
    change(0, 50, 1);
    usage_close(&first);
    change(0, 200, 1);
    usage_close(&second);
    assert_int_equal(first.peak, 100);
    assert_int_equal(second.before, 100);
    assert_int_equal(second.peak, 250);
}

static void test_a_window_without_allocations_has_what_was_there(void **state) {
    (void)state;
    struct usage_window window = {0};
    change(0, 70, 1);
    usage_open(&window);
    change(0, 70, -1);
    usage_close(&window);
    assert_int_equal(window.peak, 70);
    usage_close(&window);
    assert_int_equal(window.peak, 70);
}

static void test_an_opened_window_starts_anew(void **state) {
    (void)state;
    struct usage_window window = {0};
    usage_open(&window);
    change(0, 100, 1);
    change(0, 100, -1);
    usage_open(&window);
    change(0, 10, 1);
    usage_close(&window);
    assert_int_equal(window.peak, 10);
}

/* The peak of the sum is not the sum of the peaks. */
static void test_several_devices(void **state) {
    (void)state;
    struct usage_window window = {0};
    usage_open(&window);
    change(0, 100, 1);
    change(0, 90, -1);
    change(3, 60, 1);
    change(3, 60, -1);
    change(3, 20, 1);
    usage_close(&window);
    assert_int_equal(window.peak, 100);
    assert_int_equal(window.peak_on[0], 100);
    assert_int_equal(window.peak_on[3], 60);
    assert_int_equal(usage_devices(), 1 << 0 | 1 << 3);
    assert_int_equal(usage_now().allocated, 30);
    assert_int_equal(usage_now_on(3).allocated, 20);

    usage_open(&window);
    change(0, 500, 1);
    change(3, 500, 1);
    change(0, 500, -1);
    usage_close(&window);
    assert_int_equal(window.before, 30);
    assert_int_equal(window.peak, 1030);
}

static void test_a_device_beyond_the_table(void **state) {
    (void)state;
    change(LEDGER_NO_DEVICE, 8, 1);
    change(200, 4, 1);
    assert_int_equal(usage_now_on(LEDGER_DEVICES - 1).allocated, 12);
}

static void test_kinds(void **state) {
    (void)state;
    const struct ledger_entry kinds[] = {
        {.kind = LEDGER_PLAIN, .size = 1},       {.kind = LEDGER_ASYNC, .size = 10},
        {.kind = LEDGER_MANAGED, .size = 100},   {.kind = LEDGER_PHYSICAL, .size = 1000},
        {.kind = LEDGER_PINNED, .size = 10000},  {.kind = LEDGER_REGISTERED, .size = 20000},
        {.kind = LEDGER_PART, .size = 1u << 20}, {.kind = LEDGER_PHYSICAL, .size = 5000, .segment = true}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        usage_change(&kinds[i], 1);
    usage_c10(0, 3000);
    struct usage now = usage_now();
    assert_int_equal(now.live, 1111 + 5000);
    assert_int_equal(now.allocated, 1111 + 3000);
    assert_int_equal(now.mapped, 6000);
    assert_int_equal(now.torch_allocated, 3010);
    assert_int_equal(now.torch_reserved, 5010);
    assert_int_equal(usage_pinned(), 30000);
    usage_c10(0, 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        usage_change(&kinds[i], -1);
    now = usage_now();
    assert_int_equal(now.live | now.allocated | now.mapped | now.torch_allocated | now.torch_reserved, 0);
    assert_int_equal(usage_pinned(), 0);
}

static void test_c10_totals_make_peaks(void **state) {
    (void)state;
    struct usage_window window = {0};
    usage_open(&window);
    usage_c10(0, 700);
    usage_c10(0, 200);
    usage_close(&window);
    assert_int_equal(window.peak, 700);
    assert_int_equal(usage_now().allocated, 200);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *churn(void *argument) {
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        change(0, 3, 1);
        change(0, 3, -1);
    }
    return NULL;
}

/* Windows are opened and closed while others allocate: every peak is one that can have been. */
static void test_threads(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        struct usage_window window = {0};
        usage_open(&window);
        usage_close(&window);
        assert_in_range(window.peak, window.before, 3 * THREADS);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(usage_now().allocated, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_window_knows_its_peak, begin),
        cmocka_unit_test_setup(test_windows_overlap, begin),
        cmocka_unit_test_setup(test_a_window_without_allocations_has_what_was_there, begin),
        cmocka_unit_test_setup(test_an_opened_window_starts_anew, begin),
        cmocka_unit_test_setup(test_several_devices, begin),
        cmocka_unit_test_setup(test_a_device_beyond_the_table, begin),
        cmocka_unit_test_setup(test_kinds, begin),
        cmocka_unit_test_setup(test_c10_totals_make_peaks, begin),
        cmocka_unit_test_setup(test_threads, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
