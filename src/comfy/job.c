#include "comfy/job.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static void complain(const char *what) {
    static int said;
    if (__atomic_fetch_add(&said, 1, __ATOMIC_RELAXED) < 10)
        log_line("extra_data: %s; the workflow starts a trace of its own", what);
}

/* The text of extra_data[key]; false when there is no such key. An unusable type gives an empty text. */
static bool text_of(PyObject *extra_data, const char *key, char *out, size_t room) {
    PyObject *value = python_item(extra_data, key);
    bool present = value && !python_is_none(value);
    python_text(present ? value : NULL, out, room);
    python_decref(value);
    return present;
}

static bool parse_priority(const char *text, int *priority) {
    static const char *const known[] = {"-1", "0", "1", "2"};
    for (int i = 0; i < 4; i++)
        if (strcmp(text, known[i]) == 0) {
            *priority = i - 1;
            return true;
        }
    return false;
}

static bool read_datadog(PyObject *extra_data, struct job *job) {
    char trace[64], parent[64], priority[16];
    bool has_trace = text_of(extra_data, "dd_trace_id", trace, sizeof trace);
    bool has_parent = text_of(extra_data, "dd_parent_id", parent, sizeof parent);
    if (!has_trace && !has_parent) return false;
    uint64_t none;
    struct ids_parent *context = &job->parent;
    if (!ids_parse_decimal(trace, &context->trace_id_high, &context->trace_id_low) ||
        !context->trace_id_low) {
        complain("dd_trace_id is not a decimal id");
    } else if (!ids_parse_decimal(parent, &none, &context->span_id) || none || !context->span_id) {
        complain("dd_parent_id is not a decimal id");
    } else {
        job->has_parent = true;
        if (text_of(extra_data, "dd_sampling_priority", priority, sizeof priority)) {
            context->has_priority = parse_priority(priority, &context->priority);
            if (!context->has_priority)
                log_once("extra_data: dd_sampling_priority is not -1, 0, 1 or 2; the trace is sampled here");
        }
    }
    return true;
}

static void read_traceparent(PyObject *extra_data, struct job *job) {
    char text[128], state[2048];
    if (!text_of(extra_data, "traceparent", text, sizeof text)) return;
    job->has_parent = ids_parse_traceparent(text, &job->parent);
    if (!job->has_parent) {
        complain("traceparent is malformed");
    } else if (text_of(extra_data, "tracestate", state, sizeof state)) {
        ids_apply_tracestate(state, &job->parent);
    }
}

struct job job_read(PyObject *extra_data) {
    struct job job = {0};
    if (!extra_data || !python_is_dict(extra_data)) return job;
    char created[32];
    text_of(extra_data, "job_id", job.id, sizeof job.id);
    if (!read_datadog(extra_data, &job)) read_traceparent(extra_data, &job);
    if (text_of(extra_data, "create_time", created, sizeof created)) job.created_ms = strtod(created, NULL);
    return job;
}
