#include "trace/rules.h"

#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What addresses in libjansson.a have become (Makefile says why). Nothing here loads JSON from a file. */
extern void *comfydd_json_stdin;
void *comfydd_json_stdin;
int comfydd_json_fgetc(FILE *file);
void *comfydd_json_malloc(size_t size);
void comfydd_json_free(void *memory);

int comfydd_json_fgetc(FILE *file) {
    (void)file;
    return EOF;
}

void *comfydd_json_malloc(size_t size) {
    return malloc(size);
}

void comfydd_json_free(void *memory) {
    free(memory);
}

struct rules {
    json_t *document; /* owned: the patterns' texts */
    size_t count;
    struct rule rules[];
};

/* ---- parsing ---- */

/* A member that is a text, or missing (then *text stays). */
static bool take_pattern(const json_t *object, const char *member, const char **text) {
    const json_t *value = json_object_get(object, member);
    if (!value || json_is_null(value)) return true;
    *text = json_string_value(value);
    return *text != NULL;
}

/* A member that is a number from 0 to `most`, or missing (then *number stays). */
static bool take_number(const json_t *object, const char *member, double most, double *number) {
    const json_t *value = json_object_get(object, member);
    if (!value || json_is_null(value)) return true;
    *number = json_number_value(value);
    return json_is_number(value) && *number >= 0 && *number <= most;
}

static bool take_tags(const json_t *object, json_t **tags) {
    json_t *value = json_object_get(object, "tags"), *pattern;
    const char *name;
    if (!value || json_is_null(value)) return true;
    if (!json_is_object(value)) return false;
    json_object_foreach(value, name, pattern) {
        if (!json_is_string(pattern)) return false;
    }
    *tags = value;
    return true;
}

/* The member that is wrong, or NULL. */
static const char *fill(struct rule *rule, const json_t *object) {
    *rule = (struct rule){.sample_rate = 1, .max_per_second = -1};
    if (!take_pattern(object, "service", &rule->service)) return "service";
    if (!take_pattern(object, "name", &rule->name)) return "name";
    if (!take_pattern(object, "resource", &rule->resource)) return "resource";
    if (!take_tags(object, &rule->tags)) return "tags";
    if (!take_number(object, "sample_rate", 1, &rule->sample_rate)) return "sample_rate";
    if (!take_number(object, "max_per_second", 1e9, &rule->max_per_second)) return "max_per_second";
    limiter_init(&rule->limiter, rule->max_per_second);
    return NULL;
}

struct rules *rules_parse(const char *json, char *problem, size_t size) {
    json_error_t error;
    json_t *document = json_loads(json, 0, &error);
    if (!document) {
        snprintf(problem, size, "no JSON from line %d, column %d on", error.line, error.column);
        return NULL;
    }
    if (!json_is_array(document)) {
        snprintf(problem, size, "not an array");
        json_decref(document);
        return NULL;
    }
    size_t count = json_array_size(document);
    struct rules *rules = malloc(sizeof *rules + count * sizeof *rules->rules);
    if (!rules) {
        snprintf(problem, size, "no memory");
        json_decref(document);
        return NULL;
    }
    rules->document = document;
    rules->count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(document, i);
        const char *wrong = json_is_object(object) ? fill(&rules->rules[i], object) : "type";
        if (wrong) {
            snprintf(problem, size, "rule %zu has a wrong %s", i + 1, wrong);
            rules_destroy(rules);
            return NULL;
        }
    }
    return rules;
}

void rules_destroy(struct rules *rules) {
    if (!rules) return;
    json_decref(rules->document);
    free(rules);
}

/* ---- matching ---- */

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Only the last star is ever tried again: what an earlier one took is as good as anything. Time is at most the product
 * of the lengths. */
static bool matches(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    if (!pattern) return true;
    if (!text) text = "";
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern && (*pattern == '?' || same_letter(*pattern, *text))) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

static bool tag_matches(const struct sampler_subject *subject, const char *name, const char *pattern) {
    for (size_t i = 0; i < subject->tag_count; i++)
        if (subject->tags[i][1] && strcmp(subject->tags[i][0], name) == 0)
            return matches(pattern, subject->tags[i][1]);
    return false;
}

static bool rule_matches(const struct rule *rule, const struct sampler_subject *subject) {
    if (!matches(rule->service, subject->service) || !matches(rule->name, subject->name) ||
        !matches(rule->resource, subject->resource))
        return false;
    const char *name;
    json_t *pattern;
    json_object_foreach(rule->tags, name, pattern) {
        if (!tag_matches(subject, name, json_string_value(pattern))) return false;
    }
    return true;
}

struct rule *rules_match(struct rules *rules, const struct sampler_subject *subject) {
    for (size_t i = 0; rules && i < rules->count; i++)
        if (rule_matches(&rules->rules[i], subject)) return &rules->rules[i];
    return NULL;
}
