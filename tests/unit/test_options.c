#include "capture.h"
#include "cli/manual.h"
#include "cli/options.h"
#include "cli/restart.h"
#include "config.h"
#include "settings.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* What cannot be parsed ends the program: tests/integration/test_launcher.py. */
#define PARSE(...) parse((const char *const[]){"comfydd run", __VA_ARGS__, NULL})

static char **parse(const char *const *words) {
    int count = 0;
    while (words[count])
        count++;
    return options_parse(count, (char **)words);
}

static int without_variables(void **state) {
    (void)state;
    for (const struct setting *row = settings; row < settings + settings_count; row++)
        unsetenv(row->name);
    return 0;
}

static void the_defaults(void **state) {
    (void)state;
    char **command = PARSE("--", "python", "main.py", "--quiet");
    assert_string_equal(command[0], "python");
    assert_string_equal(command[2], "--quiet");
    assert_null(command[3]);
    const struct config_run *run = &config()->run;
    assert_int_equal(run->memory_limit, INT64_C(64) << 30);
    assert_int_equal(run->restart, RESTART_AFTER_OOM);
    assert_int_equal(run->max_restarts, 10);
    assert_true(run->grace_s == 10);
    assert_null(run->library);
    assert_false(run->quiet || run->dry_run);
}

static void options_end_at_the_command(void **state) {
    (void)state;
    char **command =
        PARSE("--grace=2.5", "--memory-limit", "none", "--restart=never", "sh", "-c", "--", "--quiet");
    assert_string_equal(command[0], "sh");
    assert_string_equal(command[2], "--");
    assert_false(config()->run.quiet);
    assert_true(config()->run.grace_s == 2.5);
    assert_int_equal(config()->run.memory_limit, 0);
    assert_int_equal(config()->run.restart, RESTART_NEVER);
}

static void every_option_is_a_variable_and_the_option_wins(void **state) {
    (void)state;
    setenv("COMFYDD_MEMORY_LIMIT", "512M", 1);
    setenv("COMFYDD_RESTART", "Failure", 1);
    setenv("COMFYDD_MAX_RESTARTS", "3", 1);
    setenv("COMFYDD_GRACE", " 0.5 ", 1);
    setenv("COMFYDD_LIB", "/opt/lib.so", 1);
    setenv("COMFYDD_QUIET", "yes", 1);
    setenv("COMFYDD_DRY_RUN", "1", 1);
    PARSE("true");
    const struct config_run *run = &config()->run;
    assert_int_equal(run->memory_limit, 512 << 20);
    assert_int_equal(run->restart, RESTART_AFTER_FAILURE);
    assert_int_equal(run->max_restarts, 3);
    assert_true(run->grace_s == 0.5);
    assert_string_equal(run->library, "/opt/lib.so");
    assert_true(run->quiet && run->dry_run);
    PARSE("--memory-limit=1T", "--restart=oom", "--max-restarts=0", "--library=/x.so", "true");
    assert_int_equal(run->memory_limit, INT64_C(1) << 40);
    assert_int_equal(run->restart, RESTART_AFTER_OOM);
    assert_int_equal(run->max_restarts, 0);
    assert_string_equal(run->library, "/x.so");
    assert_true(run->grace_s == 0.5);
}

static void the_databases_password_is_not_left_lying_about(void **state) {
    (void)state;
    char option[] = "--jobs-db=postgresql://me:s3cret@host/db", variable[] = "COMFYDD_JOBS_DB=sqlite:x";
    putenv(variable);
    PARSE(option, "true");
    assert_string_equal(config()->run.jobs_db, "postgresql://me:s3cret@host/db");
    assert_null(strstr(option, "s3cret"));
    assert_null(getenv("COMFYDD_JOBS_DB"));
    char other[] = "COMFYDD_JOBS_DB=postgresql://me:s3cret@host/db";
    putenv(other);
    PARSE("true");
    assert_string_equal(config()->run.jobs_db, "postgresql://me:s3cret@host/db");
    assert_null(strstr(other, "s3cret"));
}

static void a_bad_variable_is_told_of_and_its_default_used(void **state) {
    (void)state;
    setenv("COMFYDD_RESTART", "always", 1);
    setenv("COMFYDD_MEMORY_LIMIT", "64X", 1);
    capture_start();
    PARSE("true");
    const char *said = capture_stop();
    assert_non_null(strstr(said, "COMFYDD_RESTART=always is not one of: oom failure never; using oom"));
    assert_non_null(
        strstr(said, "COMFYDD_MEMORY_LIMIT=64X is not none, or a number of bytes of at least 16M"));
    assert_int_equal(config()->run.memory_limit, INT64_C(64) << 30);
}

static void the_library_does_not_read_them(void **state) {
    (void)state;
    setenv("COMFYDD_RESTART", "always", 1);
    setenv("COMFYDD_MAX_RESTARTS", "3", 1);
    capture_start();
    assert_true(config_load(NULL));
    assert_string_equal(capture_stop(), "");
    assert_int_equal(config()->run.max_restarts, 10);
}

static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        {"none", 0},
        {"1", 1},
        {"1024", 1024},
        {"64G", INT64_C(64) << 30},
        {"64g", INT64_C(64) << 30},
        {"64GB", INT64_C(64) << 30},
        {"64GiB", INT64_C(64) << 30},
        {"8K", 8192},
        {"1T", INT64_C(1) << 40},
        {"", -1},
        {"G", -1},
        {"-1", -1},
        {"1.5G", -1},
        {"64 G", -1},
        {"64GG", -1},
        {"64X", -1},
        {"64i", -1},
        {"9999999999T", -1},
        {"0G", -1},
        {"None", -1},
        {"999999999999999999999", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t bytes = -1;
        if (!settings_parse_bytes(rows[i].text, &bytes)) bytes = -1;
        if (bytes != rows[i].bytes) fail_msg("%s: %lld", rows[i].text, (long long)bytes);
    }
}

static void times(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double seconds; /* -1: refused */
    } rows[] = {
        {"none", 0},  {"90", 90}, {"90s", 90},   {"30m", 1800}, {"1.5m", 90},
        {"2h", 7200}, {"0", 0},   {"", -1},      {"m", -1},     {"5 m", -1},
        {"5ms", -1},  {"5d", -1}, {"1m30s", -1}, {"nan", -1},   {"1111111111111111111111111111m", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double seconds = -1;
        if (!settings_parse_time(rows[i].text, &seconds)) seconds = -1;
        if (seconds != rows[i].seconds) fail_msg("%s: %g", rows[i].text, seconds);
    }
}

static void what_the_library_reads_too_is_passed_on(void **state) {
    (void)state;
    PARSE("--watchdog=30m", "--watchdog-restart", "true");
    assert_true(config()->watchdog_s == 1800);
    assert_true(config()->run.watchdog_restart);
    assert_string_equal(getenv("COMFYDD_WATCHDOG"), "30m");
    assert_null(getenv("COMFYDD_WATCHDOG_RESTART"));
}

static void help_and_manual_name_every_option(void **state) {
    (void)state;
    char *page;
    size_t size;
    FILE *out = open_memstream(&page, &size);
    manual_print(out);
    fclose(out);
    int options = 0;
    for (const struct setting *row = settings; row < settings + settings_count; row++) {
        if (!*row->option) continue;
        options++;
        assert_non_null(strstr(page, row->name));
        char *help = manual_of_option(row);
        assert_non_null(strstr(help, row->name));
        assert_null(strchr(help, '`'));
        free(help);
    }
    assert_true(options >= 7);
    assert_null(strchr(page, '`'));
    free(page);
}

int main(void) {
#define CLEAN(test) cmocka_unit_test_setup(test, without_variables)
    const struct CMUnitTest tests[] = {
        CLEAN(the_defaults),
        CLEAN(options_end_at_the_command),
        CLEAN(every_option_is_a_variable_and_the_option_wins),
        CLEAN(the_databases_password_is_not_left_lying_about),
        CLEAN(a_bad_variable_is_told_of_and_its_default_used),
        CLEAN(the_library_does_not_read_them),
        CLEAN(sizes),
        CLEAN(times),
        CLEAN(what_the_library_reads_too_is_passed_on),
        CLEAN(help_and_manual_name_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
