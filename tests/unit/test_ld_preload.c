#include "cli/ld_preload.h"
#include "unit.h"

#include <string.h>

#define OURS "/opt/comfydd/lib/libcomfydd.so"

static void the_value(void **state) {
    (void)state;
    static const struct {
        const char *existing, *value;
    } rows[] = {
        {NULL, OURS},
        {"", OURS},
        {"libtcmalloc.so.4", OURS ":libtcmalloc.so.4"},
        {"/a/libone.so /b/libtwo.so", OURS ":/a/libone.so /b/libtwo.so"},
        {OURS, OURS},
        {"/a.so:" OURS, "/a.so:" OURS},
        {"/a.so " OURS " /b.so", "/a.so " OURS " /b.so"},
        {"::" OURS "::", "::" OURS "::"},
        {"/another/copy/libcomfydd.so", "/another/copy/libcomfydd.so"},
        {"libcomfydd.so", "libcomfydd.so"},
        {"/x/notlibcomfydd.so", OURS ":/x/notlibcomfydd.so"},
        {"/x/libcomfydd.so.bak", OURS ":/x/libcomfydd.so.bak"},
        {"/x/libcomfydd.so/", OURS ":/x/libcomfydd.so/"},
    };
    char value[256];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(ld_preload_compose(OURS, rows[i].existing, value, sizeof value));
        assert_string_equal(value, rows[i].value);
    }
}

static void under_another_name_it_is_not_added_twice_either(void **state) {
    (void)state;
    char value[256];
    assert_true(ld_preload_compose("/x/traced.so", "/a.so:/x/traced.so", value, sizeof value));
    assert_string_equal(value, "/a.so:/x/traced.so");
    assert_true(ld_preload_compose("/x/traced.so", "/opt/libcomfydd.so", value, sizeof value));
    assert_string_equal(value, "/opt/libcomfydd.so");
}

static void without_room_it_says_so(void **state) {
    (void)state;
    char value[sizeof OURS + 4];
    assert_true(ld_preload_compose(OURS, "abc", value, sizeof value));
    assert_false(ld_preload_compose(OURS, "abc", value, sizeof value - 1));
    assert_false(ld_preload_compose(OURS, NULL, value, strlen(OURS)));
}

static void paths_that_the_loader_would_take_apart(void **state) {
    (void)state;
    assert_true(ld_preload_can_name(OURS));
    assert_false(ld_preload_can_name("/with space/lib.so"));
    assert_false(ld_preload_can_name("/with:colon/lib.so"));
    assert_false(ld_preload_can_name("/with/$LIB/lib.so"));
}

static void finding(void **state) {
    (void)state;
    char path[4096];
    assert_true(
        ld_preload_find("/proc/self/exe", path, sizeof path)); /* any file there is; links are followed */
    assert_non_null(strstr(path, "test_ld_preload"));
    assert_false(ld_preload_find("/nonexistent/lib.so", path, sizeof path));
    assert_false(ld_preload_find("/proc/self/exe", path, 3));
    assert_false(ld_preload_find(NULL, path, sizeof path)); /* none beside this test */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_value),
        cmocka_unit_test(under_another_name_it_is_not_added_twice_either),
        cmocka_unit_test(without_room_it_says_so),
        cmocka_unit_test(paths_that_the_loader_would_take_apart),
        cmocka_unit_test(finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
