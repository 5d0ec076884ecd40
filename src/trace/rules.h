/* rules: DD_TRACE_SAMPLING_RULES and DD_SPAN_SAMPLING_RULES, parsed and matched.
 *
 *     [{"service": "comfy*", "name": "...", "resource": "...", "tags": {"job.id": "7?"},
 *       "sample_rate": 0.5, "max_per_second": 10}, ...]
 *
 * Every member may be missing. Patterns are globs: * for any text, ? for one byte, letters of either case. Rules never
 * change once parsed, so any thread may match; only their limiters have state, and lock it themselves. */
#ifndef COMFYDD_RULES_H
#define COMFYDD_RULES_H

#include "trace/limiter.h"
#include "trace/sampler.h"

#include <stddef.h>

struct json_t;

struct rule {
    const char *service, *name, *resource; /* patterns, borrowed from the document; NULL matches anything */
    struct json_t *tags;                   /* the object with the patterns of tags, borrowed, or NULL */
    double sample_rate;                    /* 0..1 */
    double max_per_second;                 /* negative: no limit, and `limiter` is not used */
    struct limiter limiter;
};

struct rules;

/* Parses the JSON text. NULL, with the reason in `problem`, when it is not an array of rules or memory is out. */
struct rules *rules_parse(const char *json, char *problem, size_t size);
void rules_destroy(struct rules *rules);

/* The first rule that matches; NULL when none does. NULL rules are none. */
struct rule *rules_match(struct rules *rules, const struct sampler_subject *subject);

#endif
