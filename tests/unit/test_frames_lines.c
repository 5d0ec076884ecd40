#include "python/frames_lines.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* Tables that CPython has made, and the lines that it gives for the code units of each (runs of units with one line; 0 is
 * none), of this function (the long sum has 70 terms up to 3.10, else 3):
 *
 *   1 def f(a):
 *   2   for i in a:
 *   3     with i as j:
 *   4       g(1,
 *   5         2,
 *   6         j)
 * 307     x = [
 * 308       0.5,
 * 309       1.5,
 * 310       2.5,
 * 311       i]
 * 312     y = (x + i + i ...)
 * 313   return y
 */
struct run {
    uint16_t units, line;
};

/* clang-format off */
static const uint8_t of_3_9[] = {
    0x00, 0x01, 0x0a, 0x01, 0x06, 0x01, 0x04, 0x01, 0x02, 0x01, 0x02, 0xfe, 0x22, 0x7f, 0x00, 0x7f,
    0x00, 0x32, 0x02, 0x01, 0x02, 0x01, 0x02, 0x01, 0x02, 0xfc, 0x04, 0x05, 0xff, 0x00, 0x1f, 0x01,};
static const struct run runs_of_3_9[] = {{5, 2}, {3, 3}, {2, 4}, {1, 5}, {1, 6}, {17, 4}, {1, 308}, {1, 309}, {1, 310}, {1, 311}, {2, 307}, {143, 312}, {2, 313}};

static const uint8_t of_3_10[] = {
    0x08, 0x01, 0x06, 0x01, 0x04, 0x01, 0x02, 0x01, 0x02, 0x01, 0x06, 0xfe, 0x1c, 0xff, 0x00, 0x7f,
    0x00, 0x7f, 0x02, 0x33, 0x02, 0x01, 0x02, 0x01, 0x02, 0x01, 0x04, 0xfc, 0xfe, 0x05, 0x20, 0x00,
    0x04, 0x01,};
static const struct run runs_of_3_10[] = {{4, 2}, {3, 3}, {2, 4}, {1, 5}, {1, 6}, {3, 4}, {14, 3}, {1, 308}, {1, 309}, {1, 310}, {1, 311}, {2, 307}, {143, 312}, {2, 313}};

static const uint8_t of_3_11[] = {
    0x80, 0x00, 0xd8, 0x0b, 0x0c, 0xf0, 0x00, 0x76, 0x04, 0x03, 0x18, 0xf0, 0x00, 0x76, 0x04, 0x03,
    0x18, 0x80, 0x61, 0xd8, 0x09, 0x0a, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0x88, 0x61, 0xdd, 0x06, 0x07,
    0x88, 0x01, 0xd8, 0x08, 0x09, 0xd8, 0x08, 0x09, 0xf1, 0x05, 0x02, 0x07, 0x0b, 0xf4, 0x00, 0x02,
    0x07, 0x0b, 0xf0, 0x00, 0x02, 0x07, 0x0b, 0xf0, 0x03, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05,
    0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf1, 0x00, 0x03, 0x05, 0x0b, 0xf4, 0x00, 0x03, 0x05, 0x0b,
    0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0,
    0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf8, 0xf8,
    0xf8, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x00, 0x03, 0x05, 0x0b,
    0xf0, 0x00, 0x03, 0x05, 0x0b, 0xf0, 0x62, 0x09, 0x00, 0x07, 0x0a, 0xd8, 0x06, 0x09, 0xd8, 0x06,
    0x09, 0xd8, 0x06, 0x07, 0xf0, 0x09, 0x04, 0x09, 0x09, 0x80, 0x41, 0xf0, 0x0a, 0x00, 0x0a, 0x0b,
    0x88, 0x51, 0x89, 0x15, 0x90, 0x11, 0x89, 0x19, 0x90, 0x51, 0x89, 0x1d, 0x80, 0x41, 0x80, 0x41,
    0xd8, 0x09, 0x0a, 0x80, 0x28,};
static const struct run runs_of_3_11[] = {{1, 1}, {4, 2}, {3, 3}, {7, 4}, {1, 5}, {1, 6}, {8, 4}, {16, 3}, {3, 0}, {4, 3}, {1, 308}, {1, 309}, {1, 310}, {1, 311}, {2, 307}, {12, 312}, {2, 313}};

static const uint8_t of_3_13[] = {
    0x80, 0x00, 0xdb, 0x0b, 0x0c, 0x80, 0x61, 0xd9, 0x09, 0x0a, 0x88, 0x61, 0xdc, 0x06, 0x07, 0x88,
    0x01, 0xd8, 0x08, 0x09, 0xd8, 0x08, 0x09, 0xf4, 0x05, 0x02, 0x07, 0x0b, 0xf7, 0x03, 0x00, 0x0a,
    0x0b, 0xf0, 0x62, 0x09, 0x00, 0x07, 0x0a, 0xd8, 0x06, 0x09, 0xd8, 0x06, 0x09, 0xd8, 0x06, 0x07,
    0xf0, 0x09, 0x04, 0x09, 0x09, 0x80, 0x41, 0xf0, 0x0a, 0x00, 0x0a, 0x0b, 0x89, 0x15, 0x90, 0x11,
    0x89, 0x19, 0x90, 0x51, 0x89, 0x1d, 0x82, 0x41, 0xf1, 0x6d, 0x09, 0x00, 0x0c, 0x0d, 0xf0, 0x6e,
    0x09, 0x00, 0x0a, 0x0b, 0x80, 0x28, 0xf7, 0x6d, 0x09, 0x00, 0x0a, 0x0b, 0x8d, 0x11, 0xfa,};
static const struct run runs_of_3_13[] = {{1, 1}, {5, 2}, {3, 3}, {6, 4}, {1, 5}, {1, 6}, {5, 4}, {8, 3}, {1, 308}, {1, 309}, {1, 310}, {1, 311}, {2, 307}, {12, 312}, {2, 2}, {2, 313}, {14, 3}, {3, 0}};
/* clang-format on */

/* The table in a heap block of its own size, for the sanitiser to watch. */
static int find(enum frames_lines format, const uint8_t *table, size_t size, int first, uint32_t offset) {
    uint8_t *copy = malloc(size + !size);
    assert_non_null(copy);
    if (size) memcpy(copy, table, size);
    int line = frames_lines_find(format, copy, size, first, offset);
    free(copy);
    return line;
}

static void check(enum frames_lines format, const uint8_t *table, size_t size, const struct run *runs,
                  size_t count) {
    uint32_t offset = 0;
    for (size_t i = 0; i < count; i++)
        for (int unit = 0; unit < runs[i].units; unit++, offset += 2)
            assert_int_equal(find(format, table, size, 1, offset), runs[i].line);
}

#define CHECK(format, version)                                                                               \
    check(format, of_##version, sizeof of_##version, runs_of_##version,                                      \
          sizeof runs_of_##version / sizeof *runs_of_##version)

static void every_instruction_of_3_9(void **state) {
    (void)state;
    CHECK(FRAMES_LNOTAB, 3_9);
}

static void every_instruction_of_3_10(void **state) {
    (void)state;
    CHECK(FRAMES_LINETABLE, 3_10);
}

static void every_instruction_of_3_11_and_newer(void **state) {
    (void)state;
    CHECK(FRAMES_LOCATIONS, 3_11);
    CHECK(FRAMES_LOCATIONS, 3_13);
}

static void code_before_the_first_entry_has_the_first_line(void **state) {
    (void)state;
    assert_int_equal(find(FRAMES_LNOTAB, NULL, 0, 7, 0), 7);
    assert_int_equal(find(FRAMES_LNOTAB, (const uint8_t[]){4, 2}, 2, 7, 2), 7);
    assert_int_equal(find(FRAMES_LNOTAB, (const uint8_t[]){4, 2}, 2, 7, 4), 9);
}

static void beyond_the_table_there_is_no_line(void **state) {
    (void)state;
    assert_int_equal(find(FRAMES_LINETABLE, NULL, 0, 7, 0), 0);
    assert_int_equal(find(FRAMES_LINETABLE, (const uint8_t[]){2, 1}, 2, 7, 2), 0);
    assert_int_equal(find(FRAMES_LOCATIONS, NULL, 0, 7, 0), 0);
    assert_int_equal(find(FRAMES_LOCATIONS, (const uint8_t[]){0xd8, 0, 0}, 3, 7, 2), 0);
}

static void code_without_a_line(void **state) {
    (void)state;
    assert_int_equal(find(FRAMES_LINETABLE, (const uint8_t[]){2, 0x80, 2, 1}, 4, 7, 0), 0);
    assert_int_equal(find(FRAMES_LINETABLE, (const uint8_t[]){2, 0x80, 2, 1}, 4, 7, 2), 8);
    assert_int_equal(find(FRAMES_LOCATIONS, (const uint8_t[]){0xf8, 0xd8, 0, 0}, 4, 7, 0), 0);
    assert_int_equal(find(FRAMES_LOCATIONS, (const uint8_t[]){0xf8, 0xd8, 0, 0}, 4, 7, 2), 8);
}

/* The sanitisers judge: no read outside, no overflow. */
static void nonsense_is_survived(void **state) {
    (void)state;
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        uint8_t table[24];
        for (size_t i = 0; i < sizeof table; i++)
            table[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
        size_t size = random >> 8 & 15;
        find(FRAMES_LNOTAB, table, size, INT32_MAX, 40);
        find(FRAMES_LINETABLE, table, size, INT32_MAX, 40);
        find(FRAMES_LOCATIONS, table, size, INT32_MAX, 40);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_of_3_9),
        cmocka_unit_test(every_instruction_of_3_10),
        cmocka_unit_test(every_instruction_of_3_11_and_newer),
        cmocka_unit_test(code_before_the_first_entry_has_the_first_line),
        cmocka_unit_test(beyond_the_table_there_is_no_line),
        cmocka_unit_test(code_without_a_line),
        cmocka_unit_test(nonsense_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
