/* config: every environment variable the library reads, in one table (settings.c).
 *
 * The table drives the parser, `comfydd doctor`, and the list in README.md. Nothing else in the library calls
 * getenv. Spaces around a value do not count, and an empty value is as good as none. A value that cannot be
 * parsed gives one log line naming variable, value and the default used. Where Datadog names an OTEL_*
 * variable for the same thing, it is read when the DD_* one is not set.
 *
 * config_load once, before threads; config() afterwards from any thread. Strings belong to the configuration.
 */
#ifndef COMFYDD_CONFIG_H
#define COMFYDD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

/* The options of comfydd run: config_load leaves them at their defaults, config_load_run reads them. */
struct config_run {
    int64_t memory_limit;  /* COMFYDD_MEMORY_LIMIT, bytes; 0: none */
    int restart;           /* COMFYDD_RESTART: enum restart_when (cli/restart.h) */
    int64_t max_restarts;  /* COMFYDD_MAX_RESTARTS, in a row */
    double grace_s;        /* COMFYDD_GRACE */
    const char *library;   /* COMFYDD_LIB, or NULL */
    const char *jobs_db;   /* COMFYDD_JOBS_DB, or NULL */
    const char *jobs_sql;  /* COMFYDD_JOBS_SQL, or NULL */
    bool jobs_live;        /* COMFYDD_JOBS_LIVE */
    const char *state;     /* COMFYDD_STATE, or NULL */
    bool watchdog_restart; /* COMFYDD_WATCHDOG_RESTART */
    bool quiet;            /* COMFYDD_QUIET */
    bool dry_run;          /* COMFYDD_DRY_RUN */
};

struct config {
    bool enabled;               /* COMFYDD_ENABLED */
    bool trace_enabled;         /* DD_TRACE_ENABLED: false records and sends nothing */
    bool apm_tracing;           /* DD_APM_TRACING_ENABLED: likewise */
    bool node_tracing;          /* NODE_TRACING_ENABLED */
    bool node_memory;           /* NODE_MEMORY_TRACKING */
    bool cached_nodes;          /* COMFYDD_CACHED_NODES: zero-length spans for nodes served from cache */
    bool pytorch_memory;        /* PYTORCH_MEMORY_TRACKING */
    int64_t stack_sample_bytes; /* COMFYDD_STACK_SAMPLE_BYTES, 0 .. 2^40: allocated bytes per Python stack */
    bool gpu_memory;            /* COMFYDD_GPU_MEMORY */
    bool torch_uncached;        /* PYTORCH_NO_CUDA_MEMORY_CACHING */
    bool debug;                 /* DD_TRACE_DEBUG */
    bool startup_logs;          /* DD_TRACE_STARTUP_LOGS */
    bool trace_id_128;          /* DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED */
    bool report_hostname;       /* DD_TRACE_REPORT_HOSTNAME */
    bool partial_flush;         /* DD_TRACE_PARTIAL_FLUSH_ENABLED */
    int64_t partial_flush_min;  /* DD_TRACE_PARTIAL_FLUSH_MIN_SPANS, 1 .. 100,000 */
    const char *service;        /* DD_SERVICE (OTEL_SERVICE_NAME), else service in the tags; never empty */
    const char *env;            /* DD_ENV, else env in the tags; never empty */
    const char *version;        /* DD_VERSION, else version in the tags, or NULL */
    const char *tags;           /* DD_TAGS (OTEL_RESOURCE_ATTRIBUTES), or NULL; config_each_tag splits it */
    const char *hostname;       /* DD_HOSTNAME, or NULL */
    const char *git_repository; /* DD_GIT_REPOSITORY_URL, or NULL */
    const char *git_commit;     /* DD_GIT_COMMIT_SHA, or NULL */
    const char *external_env;   /* DD_EXTERNAL_ENV, or NULL */
    const char *agent_host;     /* DD_AGENT_HOST */
    int64_t agent_port;         /* DD_TRACE_AGENT_PORT, 1 .. 65,535 */
    const char *agent_socket;   /* COMFYDD_AGENT_SOCKET */
    /* DD_TRACE_AGENT_URL; else from host and port; else, when nothing is set and agent_socket exists, that.
     * Either http://HOST[:PORT][/PATH], an IPv6 HOST in brackets, or unix:///PATH. Never NULL. */
    const char *agent_url;
    const char *flight_folder;       /* COMFYDD_FLIGHT_FOLDER */
    const char *supervisor;          /* COMFYDD_SUPERVISOR, see process_parse, or NULL */
    double sample_rate;              /* DD_TRACE_SAMPLE_RATE 0..1, negative when unset */
    const char *sampling_rules;      /* DD_TRACE_SAMPLING_RULES, JSON, or NULL */
    const char *span_sampling_rules; /* DD_SPAN_SAMPLING_RULES (or the content of ..._FILE), JSON, or NULL */
    double rate_limit;               /* DD_TRACE_RATE_LIMIT, traces per second, >= 0 */
    double agent_timeout_s;          /* DD_TRACE_AGENT_TIMEOUT_SECONDS, for one request */
    double flush_interval_s;         /* DD_TRACE_WRITER_INTERVAL_SECONDS */
    double long_running_s;           /* COMFYDD_LONG_RUNNING_AFTER, before a workflow's first snapshot */
    double watchdog_s;               /* COMFYDD_WATCHDOG, without progress; 0: off */
    struct config_run run;
};

/* The switches (fields of type bool) as the environment has them, into *switches; its other fields are the defaults. Logs
 * nothing, keeps nothing, changes nothing: for programs of which it is not known yet whether they are a ComfyUI. Returns
 * whether tracing is wanted at all (COMFYDD_ENABLED, DD_TRACE_ENABLED, DD_APM_TRACING_ENABLED). */
bool config_wanted(const char *(*lookup)(const char *name), struct config *switches);

/* Reads the environment. `lookup` takes the place of getenv, for tests; NULL means getenv. Values are
 * copied. Returns false without memory: then the defaults are in force. May be called again: earlier strings
 * are gone. */
bool config_load(const char *(*lookup)(const char *name));

/* The same, with the options of comfydd run. For that program. */
bool config_load_run(const char *(*lookup)(const char *name));

/* The configuration; the defaults before config_load. */
const struct config *config(void);

/* Splits DD_TAGS as Datadog does (commas when there is one, else spaces; the first colon divides; no colon:
 * an empty value) and calls `each` with every name and value (terminated copies, borrowed for the call).
 * service, env and version are left out: they have fields of their own. `tags` may be NULL. */
void config_each_tag(const char *tags, void (*each)(void *context, const char *name, const char *value),
                     void *context);

#endif
