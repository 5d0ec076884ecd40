#include "python/frames_layout.h"
#include "unit.h"

#include <string.h>

/* The beginning of _PyRuntime in 3.13.0, as far as it is read: word and value. */
static const uint64_t published[][2] = {
    {23, 72},  {24, 152}, {29, 8},  {30, 0},   {31, 56}, {32, 72}, {33, 70}, {35, 112}, {37, 128},
    {38, 136}, {39, 68},  {41, 96}, {43, 208}, {45, 8},  {66, 32}, {68, 32}, {69, 16},  {70, 40},
};

static uint64_t words[128];

static int publish(void **state) {
    (void)state;
    memset(words, 0, sizeof words);
    memcpy(words, "xdebugpy", 8);
    words[1] = 0x030d00f0;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        words[published[i][0]] = published[i][1];
    return 0;
}

static void refused(int minor, const uint64_t *offsets) {
    struct frames_layout layout;
    assert_non_null(frames_layout_choose(&layout, minor, offsets));
}

static void older_versions_are_known(void **state) {
    (void)state;
    for (int minor = 9; minor <= 12; minor++) {
        struct frames_layout layout;
        assert_null(frames_layout_choose(&layout, minor, NULL));
        assert_int_equal(layout.lines, minor == 9    ? FRAMES_LNOTAB
                                       : minor == 10 ? FRAMES_LINETABLE
                                                     : FRAMES_LOCATIONS);
        assert_int_equal(layout.lasti_unit, minor == 9 ? 1 : minor == 10 ? 2 : 0);
        assert_int_equal(layout.code_version != 0, minor == 12);
        assert_int_equal(layout.frame_locals, minor == 12 ? 72 : 0);
    }
}

static void newer_ones_publish_theirs(void **state) {
    (void)state;
    struct frames_layout layout;
    assert_null(frames_layout_choose(&layout, 13, words));
    assert_int_equal(layout.thread_cframe, 0);
    assert_int_equal(layout.thread_frame, 72);
    assert_int_equal(layout.thread_id, 152);
    assert_int_equal(layout.frame_previous, 8);
    assert_int_equal(layout.frame_code, 0);
    assert_int_equal(layout.frame_instruction, 56);
    assert_int_equal(layout.frame_owner, 70);
    assert_int_equal(layout.frame_locals, 72);
    assert_int_equal(layout.code_filename, 112);
    assert_int_equal(layout.code_name, 128);
    assert_int_equal(layout.code_lines, 136);
    assert_int_equal(layout.code_first_line, 68);
    assert_int_equal(layout.code_bytecode, 208);
    assert_int_equal(layout.code_first_traceable, 192);
    assert_int_equal(layout.code_version, 92);
    assert_int_equal(layout.text_ascii, 40);
    assert_int_equal(layout.text_compact, 56);
    assert_int_equal(layout.lasti_unit, 0);
    assert_int_equal(layout.lines, FRAMES_LOCATIONS);
}

static void unknown_versions_are_refused(void **state) {
    (void)state;
    refused(8, words);
    refused(16, words);
    refused(0, words);
    refused(-1, words);
}

static void what_is_published_must_be_there(void **state) {
    (void)state;
    refused(13, NULL);
    words[0]++;
    refused(13, words);
}

static void another_version_is_refused(void **state) {
    (void)state;
    refused(14, words);
    words[1] = 0x030e00f0;
    refused(13, words);
}

static void free_threaded_python_is_refused(void **state) {
    (void)state;
    words[2] = 1;
    refused(13, words);
}

static void implausible_places_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        publish(NULL);
        words[published[i][0]] = 1 << 16;
        refused(13, words);
    }
    publish(NULL);
    words[43] = 8; /* the bytecode: something lies 16 bytes before it */
    refused(13, words);
    publish(NULL);
    words[41] = 0;
    refused(13, words);
}

static void objects_must_be_as_ever(void **state) {
    (void)state;
    static const int all[] = {45, 66, 68, 69};
    for (int i = 0; i < 4; i++) {
        publish(NULL);
        words[all[i]] += 8;
        refused(13, words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_versions_are_known),
        cmocka_unit_test_setup(newer_ones_publish_theirs, publish),
        cmocka_unit_test_setup(unknown_versions_are_refused, publish),
        cmocka_unit_test_setup(what_is_published_must_be_there, publish),
        cmocka_unit_test_setup(another_version_is_refused, publish),
        cmocka_unit_test_setup(free_threaded_python_is_refused, publish),
        cmocka_unit_test_setup(implausible_places_are_refused, publish),
        cmocka_unit_test_setup(objects_must_be_as_ever, publish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
