#include "cli/options.h"

#include "cli/die.h"
#include "cli/jobs.h"
#include "cli/manual.h"
#include "config.h"
#include "settings.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_KEY 256 /* beyond any character: no option has a short name */

/* By row of settings: what the command line says; borrowed, NULL where it says nothing. */
static char **given;

static const struct setting *row_of(int key) {
    size_t index = (size_t)(key - FIRST_KEY);
    return key >= FIRST_KEY && index < settings_count ? &settings[index] : NULL;
}

static void take(struct argp_state *state, const struct setting *row, char *value) {
    struct config unused;
    char expected[128];
    static char yes[] = "true";
    if (row->type == SETTING_BOOL) value = yes;
    if (!*value || !settings_set(&unused, row, value))
        argp_error(state, "--%s=%s is not %s", row->option, value,
                   settings_expected(row, expected, sizeof expected));
    given[row - settings] = value;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    char ***command = state->input;
    if (row_of(key)) {
        take(state, row_of(key), argument);
        return 0;
    }
    switch (key) {
    case ARGP_KEY_ARG: /* the command; what follows it is its own */
        *command = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "there is no command to run");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *from_line_or_environment(const char *name) {
    for (size_t i = 0; i < settings_count; i++)
        if (given[i] && strcmp(settings[i].name, name) == 0) return given[i];
    return getenv(name);
}

/* The rows of --help, ended by an empty one. */
static struct argp_option *make_rows(void) {
    struct argp_option *rows = calloc(settings_count + 1, sizeof *rows), *row = rows;
    if (!rows) die(DIE_OURS, "no memory");
    for (size_t i = 0; i < settings_count; i++) {
        if (!*settings[i].option) continue;
        *row++ = (struct argp_option){
            .name = settings[i].option,
            .key = FIRST_KEY + (int)i,
            .arg = *settings[i].argument ? settings[i].argument : NULL,
            .doc = manual_of_option(&settings[i]),
        };
    }
    return rows;
}

static void free_rows(struct argp_option *rows) {
    for (struct argp_option *row = rows; row->name; row++)
        free((char *)row->doc);
    free(rows);
}

/* ps shows command lines, and the command would inherit the variable: once read, the database's password is in neither. */
static void hide_password(void) {
    static const char name[] = "COMFYDD_JOBS_DB";
    for (size_t i = 0; i < settings_count; i++)
        if (given[i] && strcmp(settings[i].name, name) == 0) jobs_hide_password(given[i]);
    if (getenv(name)) jobs_hide_password(getenv(name));
    unsetenv(name);
}

/* What the library reads too, it reads from the environment. */
static void pass_on(void) {
    for (size_t i = 0; i < settings_count; i++)
        if (given[i] && settings[i].readers & BY_COMFYDD && setenv(settings[i].name, given[i], 1) != 0)
            die(DIE_OURS, "no memory");
}

char **options_parse(int argc, char **argv) {
    struct argp_option *rows = make_rows();
    char *text = manual_of_run();
    const struct argp argp = {.options = rows, .parser = parse, .args_doc = "-- COMMAND...", .doc = text};
    char **command = NULL;
    given = calloc(settings_count, sizeof *given);
    if (!given) die(DIE_OURS, "no memory");
    argp_err_exit_status = DIE_OURS;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &command);
    if (!config_load_run(from_line_or_environment)) die(DIE_OURS, "no memory");
    hide_password();
    pass_on();
    free(given);
    free(text);
    free_rows(rows);
    return command;
}
