#include "base/log.h"
#include "capture.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void a_line_is_one_line(void **state) {
    (void)state;
    capture_start();
    log_line("workflow %s was running", "a\ncomfydd: all is well\r\t\x1b[2J\x7f caf\xc3\xa9");
    assert_string_equal(capture_stop(),
                        "comfydd: workflow a?comfydd: all is well???[2J? caf\xc3\xa9 was running\n");
}

static void a_long_line_is_cut(void **state) {
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    capture_start();
    log_line("%s", text);
    const char *said = capture_stop();
    assert_int_equal(strlen(said), 1023);
    assert_int_equal(said[1022], '\n');
}

static char diverted[64];

static void keep(const char *line) {
    errno = ENOMEM;
    snprintf(diverted, sizeof diverted, "%s", line);
}

static void lines_go_elsewhere_when_asked_for(void **state) {
    (void)state;
    log_divert(keep);
    errno = EAGAIN;
    log_line("a\nb");
    assert_int_equal(errno, EAGAIN);
    log_divert(NULL);
    assert_string_equal(diverted, "a?b");
}

static void debug_lines_are_asked_for(void **state) {
    (void)state;
    capture_start();
    log_debug("one");
    log_set_debug(true);
    log_debug("two");
    log_set_debug(false);
    assert_string_equal(capture_stop(), "comfydd: two\n");
}

static void a_line_is_said_once(void **state) {
    (void)state;
    capture_start();
    for (int i = 0; i < 3; i++)
        log_once("line %d", i);
    assert_string_equal(capture_stop(), "comfydd: line 0\n");
}

/* A second, and the line is lost; what is in the pipe stays. */
static void a_pipe_that_is_full_does_not_stop_us(void **state) {
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    char bytes[4096] = {0};
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], bytes, sizeof bytes) > 0)
        ;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    dup2(ends[1], STDERR_FILENO);
    errno = EINTR;
    log_line("nobody reads this");
    assert_int_equal(errno, EINTR);
    dup2(saved, STDERR_FILENO);
    ssize_t got;
    while ((got = read(ends[0], bytes, sizeof bytes)) > 0)
        assert_null(memchr(bytes, 'c', (size_t)got));
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

static void without_a_stderr_nothing_is_said(void **state) {
    (void)state;
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_set_silent(true);
    FILE *file = tmpfile(); /* gets the number */
    log_line("into a stranger's file");
    long size = lseek(STDERR_FILENO, 0, SEEK_END);
    bool has_number = fileno(file) == STDERR_FILENO;
    fclose(file);
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_set_silent(false);
    assert_true(has_number);
    assert_int_equal(size, 0);
    capture_start();
    log_line("here again");
    assert_string_equal(capture_stop(), "comfydd: here again\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_line),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(lines_go_elsewhere_when_asked_for),
        cmocka_unit_test(debug_lines_are_asked_for),
        cmocka_unit_test(a_line_is_said_once),
        cmocka_unit_test(a_pipe_that_is_full_does_not_stop_us),
        cmocka_unit_test(without_a_stderr_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
