#include "cuda/usage.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>

static int begin(void **state) {
    (void)state;
    usage_forked();
    return 0;
}

static void change(uint8_t device, uint64_t size, int sign) {
    struct ledger_what what = {.kind = LEDGER_ASYNC, .device = device};
    usage_change(what, sign * (int64_t)size);
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

/* A window is used again: what it has of its last time is not this time's. */
static void test_devices_are_used_for_the_first_time_while_a_window_is_open(void **state) {
    (void)state;
    struct usage_window window;
    memset(&window, 0xff, sizeof window);
    window.next = NULL;
    usage_open(&window);
    assert_int_equal(window.devices, 0);
    change(2, 40, 1);
    usage_close(&window);
    assert_int_equal(window.devices, 1 << 2);
    assert_int_equal(window.before, 0);
    assert_int_equal(window.before_on[2], 0);
    assert_int_equal(window.peak, 40);
    assert_int_equal(window.peak_on[2], 40);
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
    const struct ledger_entry kinds[] = {{.is.kind = LEDGER_PLAIN, .size = 1},
                                         {.is.kind = LEDGER_ASYNC, .size = 10},
                                         {.is.kind = LEDGER_MANAGED, .size = 100},
                                         {.is.kind = LEDGER_PHYSICAL, .size = 1000},
                                         {.is.kind = LEDGER_PINNED, .size = 10000},
                                         {.is.kind = LEDGER_REGISTERED, .size = 20000},
                                         {.is.kind = LEDGER_PART, .size = 1u << 20},
                                         {.is = {.kind = LEDGER_PHYSICAL, .segment = true}, .size = 5000}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        usage_change(kinds[i].is, (int64_t)kinds[i].size);
    usage_c10(0, 3000);
    struct usage now = usage_now();
    assert_int_equal(now.live, 1111 + 5000);
    assert_int_equal(now.allocated, 1111 + 3000);
    assert_int_equal(now.mapped, 6000);
    assert_int_equal(now.async, 10);
    assert_int_equal(now.torch_allocated, 3010);
    assert_int_equal(now.torch_reserved, 5010);
    assert_int_equal(usage_pinned(), 30000);
    usage_c10(0, 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        usage_freed(kinds[i].is, kinds[i].size);
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

static void test_the_child_of_a_fork_has_nothing(void **state) {
    (void)state;
    struct ledger_what async = {.kind = LEDGER_ASYNC}, plain = {.kind = LEDGER_PLAIN};
    struct usage_window parents = {0}, window = {0};
    change(0, 100, 1);
    assert_true(usage_is_simple_async(async));
    usage_change(plain, 7);
    usage_change((struct ledger_what){.kind = LEDGER_PINNED}, 9);
    usage_c10(0, 50);
    usage_c10_out_of_memory();
    usage_open(&parents);
    usage_forked();
    struct usage now = usage_now();
    assert_int_equal(now.live | now.allocated | now.mapped | now.async | now.torch_allocated, 0);
    assert_int_equal(usage_devices() | usage_async_devices(), 0);
    assert_int_equal(usage_pinned() | usage_out_of_memory(), 0);
    assert_false(usage_is_simple_async(async) || usage_is_simple_plain(plain));
    usage_open(&window);
    change(0, 1000, 1);
    usage_close(&window);
    assert_int_equal(window.peak, 1000);
    assert_int_equal(parents.peak, 157); /* it may be gone */
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

/* What all threads together must have had, one change at a time. */
enum { WALKERS = 24, STEPS = 2000, DEVICES = 2 };
static struct {
    pthread_mutex_t lock;
    unsigned devices; /* how many are walked on */
    int64_t sum[DEVICES], peak[DEVICES], sum_of_all, peak_of_all;
} expected = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void raise_peak(int64_t *peak, int64_t value) {
    if (value > *peak) *peak = value;
}

static void *walk(void *argument) {
    unsigned random = (unsigned)(uintptr_t)argument + 1;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        unsigned device = random / 7 % expected.devices;
        uint64_t size = random / 64 % 1000 + 1;
        pthread_mutex_lock(&expected.lock);
        int sign = random >> 31 || expected.sum[device] < (int64_t)size ? 1 : -1;
        change((uint8_t)device, size, sign);
        expected.sum[device] += sign * (int64_t)size;
        expected.sum_of_all += sign * (int64_t)size;
        raise_peak(&expected.peak[device], expected.sum[device]);
        raise_peak(&expected.peak_of_all, expected.sum_of_all);
        pthread_mutex_unlock(&expected.lock);
    }
    return NULL;
}

static void start_anew(unsigned devices) {
    usage_forked();
    expected.devices = devices;
    memset(expected.sum, 0, sizeof expected.sum);
    memset(expected.peak, 0, sizeof expected.peak);
    expected.sum_of_all = expected.peak_of_all = 0;
}

/* Threads take from each other's shares, and some have one in common: peaks and sums are exact all the same. */
static void test_peaks_of_threads_are_exact(void **state) {
    (void)state;
    for (unsigned devices = 1; devices <= DEVICES; devices++) {
        pthread_t threads[WALKERS];
        struct usage_window window = {0};
        start_anew(devices);
        usage_open(&window);
        for (uintptr_t i = 0; i < WALKERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, walk, (void *)i), 0);
        for (unsigned i = 0; i < WALKERS; i++)
            pthread_join(threads[i], NULL);
        for (unsigned device = 0; device < devices; device++)
            assert_int_equal(usage_now_on((uint8_t)device).allocated, expected.sum[device]);
        usage_close(&window);
        assert_int_equal(window.peak, expected.peak_of_all);
        for (unsigned device = 0; device < devices; device++)
            assert_int_equal(window.peak_on[device], expected.peak[device]);
    }
}

/* Another thread's free is counted in one sum and not yet in the next: what would be below nothing is nothing. */
static void test_sums_that_are_read_in_between_are_not_below_nothing(void **state) {
    (void)state;
    struct ledger_what plain = {.kind = LEDGER_PLAIN};
    usage_change(plain, 300);
    change(0, 100, 1);
    change(0, 400, -1); /* of which 300 have not been counted yet */
    struct usage now = usage_now();
    assert_int_equal(now.allocated, 0);
    assert_int_equal(now.torch_allocated, 0);
    assert_int_equal(now.torch_reserved, 0);
    assert_int_equal(now.async, 0);
    usage_c10(0, 0);
    assert_int_equal(usage_now().live, 0);
    change(0, 300, 1);
    assert_int_equal(usage_now().live, 300);
    assert_int_equal(usage_now().torch_allocated, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_window_knows_its_peak, begin),
        cmocka_unit_test_setup(test_devices_are_used_for_the_first_time_while_a_window_is_open, begin),
        cmocka_unit_test_setup(test_windows_overlap, begin),
        cmocka_unit_test_setup(test_a_window_without_allocations_has_what_was_there, begin),
        cmocka_unit_test_setup(test_an_opened_window_starts_anew, begin),
        cmocka_unit_test_setup(test_several_devices, begin),
        cmocka_unit_test_setup(test_a_device_beyond_the_table, begin),
        cmocka_unit_test_setup(test_kinds, begin),
        cmocka_unit_test_setup(test_c10_totals_make_peaks, begin),
        cmocka_unit_test_setup(test_the_child_of_a_fork_has_nothing, begin),
        cmocka_unit_test_setup(test_sums_that_are_read_in_between_are_not_below_nothing, begin),
        cmocka_unit_test_setup(test_threads, begin),
        cmocka_unit_test_setup(test_peaks_of_threads_are_exact, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
