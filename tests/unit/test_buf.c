#include "base/buf.h"
#include "unit.h"

#include <string.h>

static void grows_and_keeps_content(void **state) {
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(buf_string(&b, "0123456789"));
    assert_int_equal(b.size, 10000);
    assert_memory_equal(b.data + 9990, "0123456789", 10);
    buf_clear(&b);
    assert_int_equal(b.size, 0);
    buf_finish(&b);
}

static void nothing_appended_is_fine_on_an_empty_buffer(void **state) {
    (void)state;
    struct buf b = {0};
    assert_true(buf_append(&b, NULL, 0));
    assert_null(b.data);
}

static void without_memory_it_fails_and_stays_failed(void **state) {
    (void)state;
    struct buf b = {0};
    assert_true(buf_string(&b, "kept"));
    assert_null(buf_room(&b, (size_t)-1 / 2));
    assert_true(b.failed);
    assert_false(buf_string(&b, "x"));
    assert_memory_equal(b.data, "kept", 4);
    assert_int_equal(b.size, 4);
    buf_finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_content),
        cmocka_unit_test(nothing_appended_is_fine_on_an_empty_buffer),
        cmocka_unit_test(without_memory_it_fails_and_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
