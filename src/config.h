/* config: every environment variable the library reads, in one table (config.c).
 *
 * The table drives the parser, `comfydd doctor`, and the list in README.md. Nothing else in the library calls getenv.
 * A value that cannot be parsed gives one log line naming variable, value and the default used.
 * config_load once, before threads; config() afterwards from any thread. Strings belong to the configuration. */
#ifndef COMFYDD_CONFIG_H
#define COMFYDD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config {
    bool enabled;              /* COMFYDD_ENABLED */
    bool trace_enabled;        /* DD_TRACE_ENABLED: false records and sends nothing */
    bool node_tracing;         /* NODE_TRACING_ENABLED */
    bool node_memory;          /* NODE_MEMORY_TRACKING */
    bool cached_nodes;         /* COMFYDD_CACHED_NODES: zero-length spans for nodes served from cache */
    bool pytorch_memory;       /* PYTORCH_MEMORY_TRACKING */
    bool debug;                /* DD_TRACE_DEBUG */
    bool startup_logs;         /* DD_TRACE_STARTUP_LOGS */
    bool trace_id_128;         /* DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED */
    bool report_hostname;      /* DD_TRACE_REPORT_HOSTNAME */
    bool partial_flush;        /* DD_TRACE_PARTIAL_FLUSH_ENABLED */
    int64_t partial_flush_min; /* DD_TRACE_PARTIAL_FLUSH_MIN_SPANS, 1 .. 100,000 */
    const char *service;       /* DD_SERVICE (OTEL_SERVICE_NAME), never empty */
    const char *env;           /* DD_ENV, never empty */
    const char *version;       /* DD_VERSION, or NULL */
    const char *tags;          /* DD_TAGS as written, or NULL; config_each_tag splits it */
    const char *hostname;      /* DD_HOSTNAME, or NULL */
    const char *external_env;  /* DD_EXTERNAL_ENV, or NULL */
    const char *agent_host;    /* DD_AGENT_HOST */
    int64_t agent_port;        /* DD_TRACE_AGENT_PORT, 1 .. 65,535 */
    const char *agent_url;     /* DD_TRACE_AGENT_URL, or the one made from host, port and the default socket; never NULL */
    double sample_rate;        /* DD_TRACE_SAMPLE_RATE 0..1, negative when unset */
    const char *sampling_rules;      /* DD_TRACE_SAMPLING_RULES, JSON, or NULL */
    const char *span_sampling_rules; /* DD_SPAN_SAMPLING_RULES (or the content of ..._FILE), JSON, or NULL */
    double rate_limit;         /* DD_TRACE_RATE_LIMIT, traces per second, >= 0 */
    double agent_timeout_s;    /* DD_TRACE_AGENT_TIMEOUT_SECONDS, for one request */
    double flush_interval_s;   /* DD_TRACE_WRITER_INTERVAL_SECONDS */
    double long_running_s;     /* COMFYDD_LONG_RUNNING_AFTER: seconds before the first snapshot of an open workflow */
};

/* Reads the environment. `lookup` stands for getenv (tests pass their own); NULL means getenv. Values are copied.
 * Returns false without memory: then the defaults are in force. */
bool config_load(const char *(*lookup)(const char *name));

/* The configuration; the defaults before config_load. */
const struct config *config(void);

/* Splits DD_TAGS as Datadog does (commas when there is one, else spaces; the first colon divides) and calls `each`
 * with every name and value (terminated copies, borrowed for the call). */
void config_each_tag(const char *tags, void (*each)(void *context, const char *name, const char *value), void *context);

/* Prints the table as the Markdown of README.md: variable, default, meaning. */
void config_print_markdown(FILE *out);

#endif
