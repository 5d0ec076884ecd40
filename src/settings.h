/* settings: the table of environment variables, and how one value is read into struct config.
 *
 * Pure: constant data, no environment, no memory of its own, no log. Any thread. config.c is what users call.
 */
#ifndef COMFYDD_SETTINGS_H
#define COMFYDD_SETTINGS_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum setting_type {
    SETTING_BOOL,    /* bool */
    SETTING_INTEGER, /* int64_t, least..most */
    SETTING_NUMBER,  /* double, least..most; -1 when unset and without default */
    SETTING_TEXT,    /* const char *, NULL when unset and without default */
    SETTING_WORD,    /* the same: printable, without blanks */
    SETTING_HOST,    /* the same: a host name or an address */
    SETTING_PRESENT, /* bool: whether it is set at all */
    SETTING_BYTES,   /* int64_t, least..most: a number, with K, M, G or T for powers of 1024; "none" is 0 */
    SETTING_TIME,    /* double, seconds, least..most: a number, with s, m or h; "none" is 0 */
    SETTING_CHOICE,  /* int: the position of the word in `choices` */
    SETTING_FOREIGN, /* no field: only read by ddtrace, or standing for another variable */
};

enum setting_readers { BY_COMFYDD = 1, BY_DDTRACE = 2, BY_RUN = 4 /* the program `comfydd run` */ };

/* Texts are arrays, not pointers: a pointer in a table is a relocation, which every child process would pay for when it
 * loads the library. An empty text stands for none. */
struct setting {
    char name[56];
    enum setting_type type;
    size_t field;     /* offset in struct config */
    char initial[32]; /* the default as one would write it */
    char shown[40];   /* the default in README's words, where `initial` does not tell it */
    double least, most;
    char otel[32];    /* OpenTelemetry's variable, read when this one is not set */
    unsigned readers; /* enum setting_readers, or-ed */
    char choices[20]; /* words, with a blank between them */
    char option[20];  /* of comfydd run, without its dashes */
    char argument[8]; /* the option's, in capitals; a SETTING_BOOL takes none */
    char doc[104];    /* one sentence of Markdown */
};

extern const struct setting settings[];
extern const size_t settings_count;

/* Parses a value (not empty, trimmed) into the row's field. Text fields keep the pointer. False, with nothing
 * changed, when it is not what settings_expected says. */
bool settings_set(struct config *config, const struct setting *row, const char *text);

/* What a value must be, in words that follow "is not": "true or false". Returns `text`. */
const char *settings_expected(const struct setting *row, char *text, size_t size);

/* The default in words, for a log line. */
const char *settings_default(const struct setting *row);

/* Every field as if no variable were set. Texts are constants. */
void settings_defaults(struct config *config);

/* A decimal number; the point is a point in every locale. No hex, infinity or NaN. */
bool settings_parse_number(const char *text, double *value);

/* A decimal number without sign, of at most 18 digits. */
bool settings_parse_integer(const char *text, int64_t *value);

/* The value of a SETTING_BYTES. */
bool settings_parse_bytes(const char *text, int64_t *value);

/* The value of a SETTING_TIME. */
bool settings_parse_time(const char *text, double *seconds);

/* Whether the text is printable and without blanks: fit for a request header. */
bool settings_is_word(const char *text);

/* Prints the table as the Markdown of README.md: variable, default, meaning, and who reads it. */
void settings_print_markdown(FILE *out);

#endif
