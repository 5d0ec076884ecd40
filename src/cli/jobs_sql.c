#include "cli/jobs_sql.h"

#include "base/buf.h"
#include "cli/jobs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *const jobs_sql_names[JOBS_FIELDS] = {
    [JOBS_JOB_ID] = "job_id",
    [JOBS_PROMPT_ID] = "prompt_id",
    [JOBS_STATE] = "state",
    [JOBS_REASON] = "reason",
    [JOBS_NODE_ID] = "node_id",
    [JOBS_CLASS_TYPE] = "class_type",
    [JOBS_PEAK_MEMORY] = "peak_memory",
    [JOBS_STARTED_AT] = "started_at",
    [JOBS_ENDED_AT] = "ended_at",
    [JOBS_AT] = "at",
};

/* ---- tokens ---- */

/* Letters are those of PostgreSQL and SQLite: every byte beyond ASCII is one. */
static bool begins_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t name_length(const char *at) {
    size_t length = 0;
    if (begins_name(*at))
        while (begins_name(at[length]) || digit(at[length]))
            length++;
    return length;
}

/* The byte after a text that begins with its quote, NULL when it does not end. A doubled quote is one in the text. */
static const char *after_quoted(const char *at, bool backslashes) {
    char quote = *at++;
    for (; *at; at++) {
        if (backslashes && *at == '\\' && at[1]) {
            at++;
        } else if (*at == quote) {
            if (at[1] != quote) return at + 1;
            at++;
        }
    }
    return NULL;
}

/* Comments nest, as in PostgreSQL. */
static const char *after_comment(const char *at) {
    unsigned depth = 0;
    while (*at) {
        bool opens = at[0] == '/' && at[1] == '*', closes = at[0] == '*' && at[1] == '/';
        depth += opens;
        depth -= closes;
        at += opens || closes ? 2 : 1;
        if (!depth) return at;
    }
    return NULL;
}

/* $tag$...$tag$, with `tag` bytes between the first two dollar signs. */
static const char *after_dollar_quoted(const char *at, size_t tag) {
    for (const char *end = at + tag + 2; (end = strchr(end, '$')); end++)
        if (strncmp(end, at, tag + 2) == 0) return end + tag + 2;
    return NULL;
}

/* The byte after the token at `at` that is left as it is, `at` itself where a parameter or another sign stands; NULL, with
 * *wrong, when it does not end. */
static const char *after_plain_token(const char *at, const char **wrong) {
    size_t name = name_length(at);
    const char *end = at;
    if (name) {
        bool escapes = name == 1 && (*at == 'e' || *at == 'E') && at[1] == '\'';
        while (!escapes && (begins_name(at[name]) || digit(at[name]) || at[name] == '$'))
            name++;
        end = escapes ? after_quoted(at + 1, true) : at + name;
        if (!end) *wrong = "the SQL has a quote that does not end";
    } else if (*at == '\'' || *at == '"' || *at == '`') {
        end = after_quoted(at, false);
        if (!end) *wrong = "the SQL has a quote that does not end";
    } else if (at[0] == '-' && at[1] == '-') {
        end = at + strcspn(at, "\n");
    } else if (at[0] == '/' && at[1] == '*') {
        end = after_comment(at);
        if (!end) *wrong = "the SQL has a comment that does not end";
    } else if (*at == '$' && at[1 + name_length(at + 1)] == '$') {
        end = after_dollar_quoted(at, name_length(at + 1));
        if (!end) *wrong = "the SQL has a $-quote that does not end";
    } else if (at[0] == ':' && at[1] == ':') {
        end = at + 2;
    }
    return end;
}

/* ---- the statement ---- */

static enum jobs_field field_named(const char *name, size_t length) {
    for (int i = 0; i < JOBS_FIELDS; i++)
        if (strlen(jobs_sql_names[i]) == length && memcmp(jobs_sql_names[i], name, length) == 0)
            return (enum jobs_field)i;
    return JOBS_FIELDS;
}

/* The parameter at `at`, a colon before a name, goes to `text` as a number. Returns what is wrong with it, or NULL. */
static const char *add_parameter(struct jobs_sql *statement, struct buf *text, const char *at) {
    enum jobs_field field = field_named(at + 1, name_length(at + 1));
    if (field == JOBS_FIELDS)
        return "the SQL has an unknown parameter; known are :job_id :prompt_id :state :reason :node_id "
               ":class_type "
               ":peak_memory :started_at :ended_at :at";
    if (statement->count == JOBS_SQL_MOST) return "the SQL has more than 64 parameters";
    statement->parameters[statement->count++] = field;
    char number[16];
    snprintf(number, sizeof number, "$%zu", statement->count);
    buf_string(text, number);
    return NULL;
}

/* Whether nothing but blanks and comments follow. */
static bool only_blanks(const char *at) {
    const char *wrong;
    while (at && *at) {
        if (strchr(" \t\r\n;", *at))
            at++;
        else if (strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0)
            at = after_plain_token(at, &wrong);
        else
            return false;
    }
    return at;
}

static const char *translate(struct jobs_sql *statement, struct buf *text, const char *sql) {
    const char *wrong = NULL;
    for (const char *at = sql, *end; *at; at = end) {
        end = after_plain_token(at, &wrong);
        if (!end) return wrong;
        if (end > at) {
            buf_append(text, at, (size_t)(end - at));
        } else if (*at == ':' && name_length(at + 1)) {
            wrong = add_parameter(statement, text, at);
            if (wrong) return wrong;
            end = at + 1 + name_length(at + 1);
        } else if (*at == '$') {
            return "the SQL has a $ parameter; use the named ones, such as :job_id";
        } else if (*at == ';') {
            if (!only_blanks(at)) return "the SQL must be one statement";
            break;
        } else {
            end = at + 1;
            buf_append(text, at, 1);
        }
    }
    return NULL;
}

const char *jobs_sql_parse(struct jobs_sql *statement, const char *sql) {
    *statement = (struct jobs_sql){0};
    struct buf text = {0};
    const char *wrong = only_blanks(sql) ? "the SQL is empty" : translate(statement, &text, sql);
    buf_append(&text, "", 1);
    if (!wrong && text.failed) wrong = "no memory for the SQL";
    if (wrong) buf_finish(&text);
    statement->text = text.data;
    return wrong;
}

void jobs_sql_finish(struct jobs_sql *statement) {
    struct buf text = {.data = statement->text};
    buf_finish(&text);
    *statement = (struct jobs_sql){0};
}

/* ---- values ---- */

static void format_time(char *text, size_t room, uint64_t ns) {
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm day;
    if (!gmtime_r(&seconds, &day)) day = (struct tm){.tm_mday = 1, .tm_year = 70};
    size_t used = strftime(text, room, "%Y-%m-%dT%H:%M:%S", &day);
    snprintf(text + used, room - used, ".%06" PRIu64 "Z", ns % 1000000000 / 1000);
}

static const char *known(const char *text) {
    return text && *text ? text : NULL;
}

void jobs_sql_values(struct jobs_values *values, const struct job_event *event) {
    *values = (struct jobs_values){.fields = {[JOBS_JOB_ID] = known(event->job_id),
                                              [JOBS_PROMPT_ID] = known(event->prompt_id),
                                              [JOBS_STATE] = known(event->state),
                                              [JOBS_REASON] = known(event->reason),
                                              [JOBS_NODE_ID] = known(event->node_id),
                                              [JOBS_CLASS_TYPE] = known(event->class_type)}};
    if (event->peak_memory_bytes) {
        snprintf(values->peak_memory, sizeof values->peak_memory, "%" PRIu64, event->peak_memory_bytes);
        values->fields[JOBS_PEAK_MEMORY] = values->peak_memory;
    }
    uint64_t started_ns = event->started_ns ? event->started_ns : event->at_ns;
    format_time(values->started_at, sizeof values->started_at, started_ns);
    format_time(values->at, sizeof values->at, event->at_ns);
    values->fields[JOBS_STARTED_AT] = values->started_at;
    values->fields[JOBS_AT] = values->at;
    if (!event->state || strcmp(event->state, "running") != 0) values->fields[JOBS_ENDED_AT] = values->at;
}
