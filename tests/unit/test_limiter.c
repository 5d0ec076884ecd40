#include "trace/limiter.h"
#include "unit.h"

#include <pthread.h>

#define SECOND UINT64_C(1000000000)

static int allowed_of(struct limiter *limiter, int count, uint64_t mono_ns, double *share) {
    int allowed = 0;
    for (int i = 0; i < count; i++)
        allowed += limiter_allow(limiter, mono_ns, share);
    return allowed;
}

static void a_full_bucket_then_so_many_per_second(void **state) {
    (void)state;
    struct limiter limiter;
    double share;
    limiter_init(&limiter, 10);
    assert_int_equal(allowed_of(&limiter, 30, SECOND, &share), 10);
    assert_int_equal(allowed_of(&limiter, 30, SECOND + SECOND / 2, &share), 5);
    assert_int_equal(allowed_of(&limiter, 30, 100 * SECOND, &share),
                     10);                                               /* never more than a second's worth */
    assert_int_equal(allowed_of(&limiter, 30, 99 * SECOND, &share), 0); /* a clock read before */
}

static void the_share_is_the_mean_of_two_seconds(void **state) {
    (void)state;
    struct limiter limiter;
    double share;
    limiter_init(&limiter, 2);
    assert_true(limiter_allow(&limiter, SECOND, &share) && share == 1);
    assert_true(limiter_allow(&limiter, SECOND, &share) && share == 1);
    assert_true(!limiter_allow(&limiter, SECOND, &share) && share == 2.0 / 3);
    assert_true(!limiter_allow(&limiter, SECOND, &share) && share == 0.5);
    assert_true(limiter_allow(&limiter, 2 * SECOND, &share) && share == 0.75); /* 0.5 before, 1 now */
    assert_true(limiter_allow(&limiter, SECOND, &share) && share == 0.75);     /* a clock read before */
}

static void limits_below_one_are_honoured(void **state) {
    (void)state;
    struct limiter limiter;
    double share;
    limiter_init(&limiter, 0.5);
    assert_true(limiter_allow(&limiter, SECOND, &share));
    assert_false(limiter_allow(&limiter, 2 * SECOND, &share));
    assert_true(limiter_allow(&limiter, 3 * SECOND, &share));
    limiter_init(&limiter, 0);
    assert_int_equal(allowed_of(&limiter, 5, 100 * SECOND, &share), 0);
    assert_true(share == 0);
}

static struct limiter shared;

static void *ask(void *count) {
    double share;
    *(int *)count = allowed_of(&shared, 5000, SECOND, &share);
    return NULL;
}

static void threads_share_one_bucket(void **state) {
    (void)state;
    pthread_t threads[4];
    int counts[4], total = 0;
    limiter_init(&shared, 1234);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &counts[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        total += counts[i];
    }
    assert_int_equal(total, 1234);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_bucket_then_so_many_per_second),
        cmocka_unit_test(the_share_is_the_mean_of_two_seconds),
        cmocka_unit_test(limits_below_one_are_honoured),
        cmocka_unit_test(threads_share_one_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
