#include "export/agent.h"

#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "export/transport.h"
#include "host/container.h"
#include "settings.h"
#include "trace/sampler.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct agent {
    const struct config *config; /* borrowed */
    struct transport *transport;
    struct http_reply reply;
    struct container container;
    char rates_version
        [128]; /* of the last rates received; sent back, so that unchanged ones are not repeated */
    bool takes_snapshots, takes_events;
    struct agent_self self;
    /* what was said */
    int last_error, last_status; /* of the last failure: -errno, or an HTTP status */
    uint64_t said_at_ns;
    bool said_failure;
    bool said_refused[600]; /* by status */
};

int agent_create(struct agent **made, const struct config *config) {
    *made = NULL;
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent) return -ENOMEM;
    agent->config = config;
    int error = transport_create(&agent->transport, config->agent_url);
    if (error) {
        if (error != -ENOMEM)
            log_line("the agent's address cannot be used, and nothing is sent: DD_TRACE_AGENT_URL must be "
                     "http://HOST:PORT or unix:///PATH"); /* not shown: it may hold a password */
        free(agent);
        return error;
    }
    container_detect(&agent->container, "");
    *made = agent;
    return 0;
}

void agent_destroy(struct agent *agent) {
    if (!agent) return;
    transport_destroy(agent->transport);
    http_reply_finish(&agent->reply);
    free(agent);
}

void agent_set_interrupt(struct agent *agent, int interrupt) {
    transport_set_interrupt(agent->transport, interrupt);
}

void agent_forked(struct agent *agent) {
    transport_forked(agent->transport);
}

bool agent_takes_snapshots(const struct agent *agent) {
    return agent->takes_snapshots;
}

bool agent_takes_events(const struct agent *agent) {
    return agent->takes_events;
}

const struct agent_self *agent_self(const struct agent *agent) {
    return &agent->self;
}

/* ---- requests ---- */

static const char *unless_empty(const char *text) {
    return text[0] ? text : NULL;
}

static enum agent_answer meaning_of(int status) {
    if (status >= 200 && status < 300) return AGENT_ACCEPTED;
    if (status == 413) return AGENT_TOO_LARGE;
    if (status == 408 || status == 429 || status >= 500) return AGENT_BUSY;
    return AGENT_REFUSED;
}

static enum agent_answer ask(struct agent *agent, const struct transport_request *request) {
    uint64_t deadline_ns = clock_mono_ns() + (uint64_t)(agent->config->agent_timeout_s * 1e9);
    int error = transport_send(agent->transport, request, deadline_ns, &agent->reply);
    log_debug("%s %s: %zu bytes, %s %d", request->method, request->path, request->body_size,
              error ? "error" : "status", error ? -error : agent->reply.status);
    agent->last_error = error;
    agent->last_status = agent->reply.status;
    return error ? AGENT_UNREACHABLE : meaning_of(agent->reply.status);
}

/* Whether brackets nest no deeper than any real reply: the JSON parser recurses, and our stack is small. */
static bool is_shallow(const struct buf *json) {
    size_t depth = 0;
    for (size_t i = 0; i < json->size; i++) {
        if (json->data[i] == '{' || json->data[i] == '[') depth++;
        if ((json->data[i] == '}' || json->data[i] == ']') && depth) depth--;
        if (depth > 32) return false;
    }
    return true;
}

static void take_rates(struct agent *agent) {
    const struct buf *body = &agent->reply.body;
    const char *version = http_reply_header(&agent->reply, "Datadog-Rates-Payload-Version");
    if (!body->size || !is_shallow(body)) return;
    sampler_agent_rates(body->data, body->size);
    if (version && strlen(version) < sizeof agent->rates_version) strcpy(agent->rates_version, version);
}

static void report_refusal(struct agent *agent, size_t spans) {
    int status = agent->reply.status;
    if (agent->said_refused[status]) return;
    agent->said_refused[status] = true;
    log_line("the agent at %s refused %zu span%s with status %d; they are dropped (said once per status)",
             agent->config->agent_url, spans, spans == 1 ? "" : "s", status);
}

enum agent_answer agent_post(struct agent *agent, const void *payload, size_t size, uint32_t chunks,
                             size_t spans) {
    char count[16];
    snprintf(count, sizeof count, "%" PRIu32, chunks);
    const struct http_header headers[] = {
        {"Content-Type", "application/msgpack"},
        {"X-Datadog-Trace-Count", count},
        {"Datadog-Meta-Lang", "c"},
        {"Datadog-Meta-Lang-Version", "11"},
        {"Datadog-Meta-Lang-Interpreter", "native"},
        {"Datadog-Meta-Tracer-Version", COMFYDD_VERSION},
        {"Datadog-Client-Computed-Top-Level", "yes"},
        {"Datadog-Send-Real-Http-Status", "true"},
        {"Datadog-Entity-ID", unless_empty(agent->container.entity_id)},
        {"Datadog-Container-ID", unless_empty(agent->container.container_id)},
        {"Datadog-External-Env", agent->config->external_env},
        {"Datadog-Rates-Payload-Version", unless_empty(agent->rates_version)},
    };
    const struct transport_request request = {
        "POST", "/v0.4/traces", headers, sizeof headers / sizeof *headers, payload, size};
    enum agent_answer answer = ask(agent, &request);
    if (answer == AGENT_ACCEPTED || agent->last_status == 429) take_rates(agent);
    if (answer == AGENT_REFUSED || (answer == AGENT_TOO_LARGE && spans == 1)) report_refusal(agent, spans);
    return answer;
}

static struct agent_self read_self(const json_t *info) {
    struct agent_self self = {.version = ""};
    const json_t *endpoints = json_object_get(info, "endpoints");
    const char *version = json_string_value(json_object_get(info, "version"));
    if (version && settings_is_word(version)) snprintf(self.version, sizeof self.version, "%s", version);
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const char *endpoint = json_string_value(json_array_get(endpoints, i));
        self.takes_traces |= endpoint && strcmp(endpoint, "/v0.4/traces") == 0;
    }
    return self;
}

enum agent_answer agent_ask_info(struct agent *agent) {
    const struct transport_request request = {"GET", "/info", NULL, 0, NULL, 0};
    enum agent_answer answer = ask(agent, &request);
    const struct buf *body = &agent->reply.body;
    json_t *info =
        answer == AGENT_ACCEPTED && is_shallow(body) ? json_loadb(body->data, body->size, 0, NULL) : NULL;
    agent->takes_snapshots = json_is_true(json_object_get(info, "long_running_spans"));
    agent->takes_events = json_is_true(json_object_get(info, "span_events"));
    agent->self = read_self(info);
    json_decref(info);
    return answer;
}

/* ---- log lines ---- */

static const char *reason_of(int error, char *room, size_t size) {
    switch (-error) {
    case ETIMEDOUT:
        return "no answer in time";
    case EHOSTUNREACH:
        return "unknown host, or no route to it";
    case EPROTO:
    case EMSGSIZE:
        return "what answers there does not speak HTTP";
    default:
        return strerror_r(-error, room, size);
    }
}

void agent_report_failure(struct agent *agent, unsigned attempts) {
    const uint64_t minute = UINT64_C(60000000000);
    char room[128];
    if (agent->said_failure || (agent->said_at_ns && clock_mono_ns() - agent->said_at_ns < minute)) return;
    if (agent->last_error)
        log_line("cannot reach the Datadog agent at %s (%s): check that it runs, and DD_AGENT_HOST, "
                 "DD_TRACE_AGENT_PORT or DD_TRACE_AGENT_URL; spans are kept for it as long as there is room",
                 agent->config->agent_url, reason_of(agent->last_error, room, sizeof room));
    else if (attempts >= 3)
        log_line("the Datadog agent at %s answers with status %d; spans are kept and sent again as long as "
                 "there is room",
                 agent->config->agent_url, agent->last_status);
    else
        return;
    agent->said_failure = true;
    agent->said_at_ns = clock_mono_ns();
}

void agent_report_recovery(struct agent *agent, uint64_t dropped_meanwhile) {
    if (!agent->said_failure) return;
    agent->said_failure = false;
    log_line("the Datadog agent at %s takes spans again; dropped meanwhile: %" PRIu64,
             agent->config->agent_url, dropped_meanwhile);
}
