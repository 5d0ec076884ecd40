/* sampler: whether a trace is kept, and why.
 *
 * The rules are Datadog's (see docs/sampling.md): an incoming priority is final; else the first matching
 * DD_TRACE_SAMPLING_RULES rule, else DD_TRACE_SAMPLE_RATE, both under DD_TRACE_RATE_LIMIT; else the rate that the
 * agent gave for "service:S,env:E"; else keep everything.
 *
 * The service and environment that the agent's rates are for are the configuration's.
 *
 * sampler_decide and sampler_keep_span may be called by any thread; sampler_agent_rates by the exporter's only, also
 * after sampler_finish. Nothing waits: the agent's rate is one atomic number, a rate limit is counted under a spin lock
 * held for a few instructions. */
#ifndef COMFYDD_SAMPLER_H
#define COMFYDD_SAMPLER_H

#include "comfydd/flight.h"

#include <stddef.h>
#include <stdint.h>

struct config;

/* What a sampling rule may look at. Texts are borrowed for the call. */
struct sampler_subject {
    const char *service, *name, *resource;
    const char *const (*tags)[2]; /* name, value (NULL: not set); numbers as integers */
    size_t tag_count;
};

/* Takes rates, rules and limits from the configuration (borrowed for the call). A malformed rule text gives one log
 * line and no rules. Call before the other functions; again to start over, while no other function runs. */
void sampler_init(const struct config *config);

/* Frees the rules; while no other function runs. */
void sampler_finish(void);

/* Fills priority, mechanism and the three rates of `trace`, whose ids are set. Returns at once, changing nothing, for
 * an inherited priority. `mono_ns` drives the rate limiter. */
void sampler_decide(struct flight_trace *trace, const struct sampler_subject *subject, uint64_t mono_ns);

/* Single-span rules (DD_SPAN_SAMPLING_RULES), for a span of a trace with priority <= 0. Returns 1 when the span is to
 * be kept, with the rule's rate and limit per second (negative: none) for its tags. */
int sampler_keep_span(const struct sampler_subject *subject, uint64_t span_id, uint64_t mono_ns,
                      double *rule_rate, double *max_per_second);

/* The agent's reply body, {"rate_by_service": {"service:S,env:E": 0.5, ...}}. Malformed replies change nothing. */
void sampler_agent_rates(const char *json, size_t size);

#endif
