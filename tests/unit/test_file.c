#include "base/file.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static ssize_t read_from(const char *path, char *text, size_t capacity) {
    char full[256];
    snprintf(full, sizeof full, "%s%s", tree_root(), path);
    return file_read(full, text, capacity);
}

static void reads_and_terminates(void **state) {
    (void)state;
    char text[16] = "left over";
    tree_write("/a", "0123456789");
    tree_write("/empty", "");
    assert_int_equal(read_from("/a", text, sizeof text), 10);
    assert_string_equal(text, "0123456789");
    assert_int_equal(read_from("/a", text, 5), 4); /* cut */
    assert_string_equal(text, "0123");
    assert_int_equal(read_from("/a", text, 1), 0);
    assert_int_equal(read_from("/empty", text, sizeof text), 0);
    assert_string_equal(text, "");
}

static void errors_are_returned_and_errno_is_not_touched(void **state) {
    (void)state;
    char text[16] = "left over";
    errno = 77;
    assert_int_equal(file_read("/nonexistent/file", text, sizeof text), -ENOENT);
    assert_string_equal(text, "");
    assert_int_equal(file_read("/tmp", text, sizeof text), -EISDIR);
    assert_int_equal(errno, 77);
}

static void numbers_are_found_by_the_name_that_begins_a_line(void **state) {
    (void)state;
    const char text[] = "total_file 1\nfile2 2\nfile two\nfile:\t 3 kB\nfile 4\nfile 5";
    uint64_t value = 0;
    assert_true(file_number(text, "file", &value));
    assert_int_equal(value, 4);
    assert_true(file_number(text, "file:", &value));
    assert_int_equal(value, 3);
    assert_true(file_number(text, "total_file", &value));
    assert_int_equal(value, 1);
    assert_false(file_number(text, "ile", &value));
    assert_false(file_number("", "file", &value));
    assert_false(file_number("file", "file", &value));
    assert_int_equal(value, 1);
    assert_true(file_number("18446744073709551615\n", "", &value));
    assert_true(value == UINT64_MAX);
    assert_false(file_number("max\n", "", &value));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(reads_and_terminates),
        cmocka_unit_test(errors_are_returned_and_errno_is_not_touched),
        cmocka_unit_test(numbers_are_found_by_the_name_that_begins_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
