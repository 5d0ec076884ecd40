#include "trace/sampler.h"

#include "base/log.h"
#include "config.h"
#include "trace/limiter.h"
#include "trace/rules.h"

#include <ctype.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Datadog's decision makers, the number after the dash in _dd.p.dm. */
enum mechanism { BY_DEFAULT = 0, BY_AGENT_RATE = 1, BY_RULE = 3 };

enum priority { USER_DROP = -1, AUTO_DROP = 0, AUTO_KEEP = 1, USER_KEEP = 2 };

/* Set by sampler_init, constant afterwards. */
static struct rules *trace_rules, *span_rules;
static double sample_rate = -1; /* negative: unset */

/* What agents call our service and environment: as they are, and normalised. */
static char agent_keys[2][512];

static struct limiter limiter;         /* of DD_TRACE_RATE_LIMIT */
static _Atomic double agent_rate = -1; /* negative: the agent has not said any */

static struct rules *parse(const char *variable, const char *json) {
    char problem[80];
    if (!json) return NULL;
    struct rules *rules = rules_parse(json, problem, sizeof problem);
    if (!rules) log_line("%s is not an array of sampling rules (%s); using none", variable, problem);
    return rules;
}

/* A name as the agent writes it (datadog-agent, pkg/trace/traceutil/normalize): in lower case, one underscore for any number
 * of characters that are neither letters nor digits nor in ":./-", none at the end. */
static void normalise(char *out, size_t room, const char *name) {
    size_t used = 0;
    for (; *name && used + 1 < room; name++) {
        unsigned char c = (unsigned char)*name;
        if (c >= 0x80 || isalnum(c) || strchr(":./-", c))
            out[used++] = (char)(c < 0x80 ? tolower(c) : c);
        else if (!used || out[used - 1] != '_')
            out[used++] = '_';
    }
    while (used && out[used - 1] == '_')
        used--;
    out[used] = '\0';
}

static void set_agent_keys(const char *service, const char *env) {
    char own_service[200], own_env[200];
    normalise(own_service, sizeof own_service, service);
    normalise(own_env, sizeof own_env, env);
    snprintf(agent_keys[0], sizeof agent_keys[0], "service:%s,env:%s", service, env);
    snprintf(agent_keys[1], sizeof agent_keys[1], "service:%s,env:%s", own_service, own_env);
}

void sampler_init(const struct config *config) {
    sampler_finish();
    trace_rules = parse("DD_TRACE_SAMPLING_RULES", config->sampling_rules);
    span_rules = parse("DD_SPAN_SAMPLING_RULES", config->span_sampling_rules);
    sample_rate = config->sample_rate;
    limiter_init(&limiter, config->rate_limit);
    set_agent_keys(config->service, config->env);
    atomic_store_explicit(&agent_rate, -1, memory_order_relaxed);
}

void sampler_finish(void) {
    rules_destroy(trace_rules);
    rules_destroy(span_rules);
    trace_rules = span_rules = NULL;
    sample_rate = -1;
}

/* The test that all Datadog tracers share, so that they agree on a trace: Knuth's multiplicative hash of the id, which
 * is as good as random, against the share of all 64-bit numbers. */
static bool falls_within(uint64_t id, double rate) {
    if (rate >= 1) return true;
    return id * UINT64_C(1111111111111111111) <= (uint64_t)(rate * 18446744073709551615.0);
}

static void decide_by_rule(struct flight_trace *trace, double rate, uint64_t mono_ns) {
    trace->mechanism = BY_RULE;
    trace->rule_rate = rate;
    trace->priority = USER_DROP;
    if (falls_within(trace->trace_id_low, rate) && limiter_allow(&limiter, mono_ns, &trace->limit_rate))
        trace->priority = USER_KEEP;
}

void sampler_decide(struct flight_trace *trace, const struct sampler_subject *subject, uint64_t mono_ns) {
    if (trace->inherited) return;
    trace->agent_rate = trace->rule_rate = trace->limit_rate = -1;
    const struct rule *rule = rules_match(trace_rules, subject);
    if (rule || sample_rate >= 0) {
        decide_by_rule(trace, rule ? rule->sample_rate : sample_rate, mono_ns);
        return;
    }
    double rate = atomic_load_explicit(&agent_rate, memory_order_relaxed);
    trace->mechanism = rate < 0 ? BY_DEFAULT : BY_AGENT_RATE;
    trace->agent_rate = rate < 0 ? 1 : rate;
    trace->priority = falls_within(trace->trace_id_low, trace->agent_rate) ? AUTO_KEEP : AUTO_DROP;
}

int sampler_keep_span(const struct sampler_subject *subject, uint64_t span_id, uint64_t mono_ns,
                      double *rule_rate, double *max_per_second) {
    struct rule *rule = rules_match(span_rules, subject);
    double share;
    if (!rule || !falls_within(span_id, rule->sample_rate)) return 0;
    if (rule->max_per_second >= 0 && !limiter_allow(&rule->limiter, mono_ns, &share)) return 0;
    *rule_rate = rule->sample_rate;
    *max_per_second = rule->max_per_second;
    return 1;
}

void sampler_agent_rates(const char *json, size_t size) {
    json_error_t error;
    json_t *reply = json_loadb(json, size, 0, &error);
    json_t *rates = json_object_get(reply, "rate_by_service"), *value;
    const char *key;
    double ours = -1, everybodys = -1;
    json_object_foreach(rates, key, value) {
        double rate = json_number_value(value);
        if (!json_is_number(value) || !(rate >= 0 && rate <= 1)) continue;
        if (strcasecmp(key, agent_keys[0]) == 0 || strcasecmp(key, agent_keys[1]) == 0) ours = rate;
        if (strcasecmp(key, "service:,env:") == 0) everybodys = rate;
    }
    double rate = ours >= 0 ? ours : everybodys;
    if (rate >= 0) atomic_store_explicit(&agent_rate, rate, memory_order_relaxed);
    json_decref(reply);
}
