#include "settings.h"

#include <ctype.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_HOST "localhost"
#define DEFAULT_PORT "8126"

#define FIELD(member) .field = offsetof(struct config, member)

/* clang-format off */
const struct setting settings[] = {
    {.name = "COMFYDD_ENABLED", .type = SETTING_BOOL, FIELD(enabled), .initial = "true",
     .readers = BY_COMFYDD,
     .doc = "`false` makes the library inert."},
    {.name = "DD_TRACE_ENABLED", .type = SETTING_BOOL, FIELD(trace_enabled), .initial = "true",
     .otel = "OTEL_TRACES_EXPORTER", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "`false` records and sends nothing; so does the exporter `none`."},
    {.name = "DD_APM_TRACING_ENABLED", .type = SETTING_BOOL, FIELD(apm_tracing), .initial = "true",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "`false` too: of Datadog's products comfydd serves tracing only."},
    /* Before the three that win over it. */
    {.name = "DD_TAGS", .type = SETTING_TEXT, FIELD(tags), .otel = "OTEL_RESOURCE_ATTRIBUTES",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Tags of all spans, `name:value`, separated by commas, or by spaces when there is no comma."},
    {.name = "DD_SERVICE", .type = SETTING_TEXT, FIELD(service), .initial = "comfyui",
     .otel = "OTEL_SERVICE_NAME", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Service of all spans; wins over `service` in `DD_TAGS`."},
    {.name = "DD_ENV", .type = SETTING_TEXT, FIELD(env), .initial = "production",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Environment of all spans; wins over `env` in `DD_TAGS`."},
    {.name = "DD_VERSION", .type = SETTING_TEXT, FIELD(version), .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Version of the application; wins over `version` in `DD_TAGS`."},
    {.name = "DD_TRACE_AGENT_URL", .type = SETTING_TEXT, FIELD(agent_url),
     .shown = "from host, port and socket", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "The agent as `http://HOST:PORT` or `unix:///PATH`; wins over host and port."},
    {.name = "DD_AGENT_HOST", .type = SETTING_HOST, FIELD(agent_host), .initial = DEFAULT_HOST,
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Host name or address (IPv6 too) of the agent."},
    {.name = "DD_TRACE_AGENT_PORT", .type = SETTING_INTEGER, FIELD(agent_port), .initial = DEFAULT_PORT,
     .least = 1, .most = 65535, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "TCP port of the agent."},
    {.name = "COMFYDD_AGENT_SOCKET", .type = SETTING_TEXT, FIELD(agent_socket),
     .initial = "/var/run/datadog/apm.socket", .readers = BY_COMFYDD,
     .doc = "Unix socket of an agent, used when it exists and URL, host and port are unset."},
    {.name = "DD_TRACE_AGENT_TIMEOUT_SECONDS", .type = SETTING_NUMBER, FIELD(agent_timeout_s),
     .initial = "2", .least = 0.01, .most = 600, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Limit for one request to the agent."},
    {.name = "DD_TRACE_WRITER_INTERVAL_SECONDS", .type = SETTING_NUMBER, FIELD(flush_interval_s),
     .initial = "1", .least = 0.01, .most = 600, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Time between two payloads."},
    {.name = "NODE_TRACING_ENABLED", .type = SETTING_BOOL, FIELD(node_tracing), .initial = "true",
     .readers = BY_COMFYDD,
     .doc = "A span for every node, not only for every workflow."},
    {.name = "NODE_MEMORY_TRACKING", .type = SETTING_BOOL, FIELD(node_memory), .initial = "true",
     .readers = BY_COMFYDD,
     .doc = "Memory figures on node spans."},
    {.name = "PYTORCH_MEMORY_TRACKING", .type = SETTING_BOOL, FIELD(pytorch_memory), .initial = "false",
     .readers = BY_COMFYDD,
     .doc = "PyTorch's own memory figures on workflow spans."},
    {.name = "COMFYDD_STACK_SAMPLE_BYTES", .type = SETTING_INTEGER, FIELD(stack_sample_bytes),
     .initial = "1048576", .least = 0, .most = 1099511627776, .readers = BY_COMFYDD,
     .doc = "Python stacks: one per allocation of so many bytes, and one per so many bytes of smaller ones."},
    {.name = "COMFYDD_GPU_MEMORY", .type = SETTING_BOOL, FIELD(gpu_memory), .initial = "true",
     .readers = BY_COMFYDD,
     .doc = "Follow GPU memory by watching allocations; `false` leaves CUDA and HIP alone."},
    {.name = "PYTORCH_NO_CUDA_MEMORY_CACHING", .type = SETTING_PRESENT, FIELD(torch_uncached),
     .readers = BY_COMFYDD,
     .doc = "PyTorch's own: set to anything it turns off the caching of GPU memory."},
    {.name = "COMFYDD_CACHED_NODES", .type = SETTING_BOOL, FIELD(cached_nodes), .initial = "true",
     .readers = BY_COMFYDD,
     .doc = "A zero-length span for every node served from the cache."},
    {.name = "COMFYDD_LONG_RUNNING_AFTER", .type = SETTING_NUMBER, FIELD(long_running_s), .initial = "20",
     .least = 1, .most = 86400, .readers = BY_COMFYDD,
     .doc = "Seconds before an open workflow is first sent as unfinished, when the agent takes such spans."},
    {.name = "COMFYDD_WATCHDOG", .type = SETTING_TIME, FIELD(watchdog_s), .initial = "none", .least = 1,
     .most = 864000, .readers = BY_COMFYDD | BY_RUN, .option = "watchdog", .argument = "TIME",
     .doc = "Tell when no node has begun or ended for so long (`30m`, `90s`), or ComfyUI's worker is gone."},
    {.name = "COMFYDD_FLIGHT_FOLDER", .type = SETTING_TEXT, FIELD(flight_folder), .initial = "/dev/shm",
     .readers = BY_COMFYDD,
     .doc = "A folder in memory for the spans that are not sent yet, so that they outlast a killed process."},
    {.name = "COMFYDD_SUPERVISOR", .type = SETTING_WORD, FIELD(supervisor), .readers = BY_COMFYDD,
     .doc = "`PID.START.SECRET` of who sends those spans after a death, set by `comfydd run`."},
    {.name = "DD_TRACE_SAMPLE_RATE", .type = SETTING_NUMBER, FIELD(sample_rate),
     .shown = "the agent's rates, else 1", .least = 0, .most = 1, .otel = "OTEL_TRACES_SAMPLER",
     .readers = BY_COMFYDD,
     .doc = "Share of traces to keep; `OTEL_TRACES_SAMPLER_ARG` is that of `traceidratio`."},
    {.name = "DD_TRACE_SAMPLING_RULES", .type = SETTING_TEXT, FIELD(sampling_rules),
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "JSON array of sampling rules, the first match decides; wins over `DD_TRACE_SAMPLE_RATE`."},
    {.name = "DD_TRACE_RATE_LIMIT", .type = SETTING_NUMBER, FIELD(rate_limit), .initial = "100", .least = 0,
     .most = 1e6, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Most traces per second that a rule or `DD_TRACE_SAMPLE_RATE` may keep."},
    {.name = "DD_SPAN_SAMPLING_RULES", .type = SETTING_TEXT, FIELD(span_sampling_rules),
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "JSON array of rules that keep single spans of dropped traces."},
    {.name = "DD_SPAN_SAMPLING_RULES_FILE", .type = SETTING_FOREIGN, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "A file with those rules, read when `DD_SPAN_SAMPLING_RULES` is unset."},
    {.name = "DD_TRACE_PARTIAL_FLUSH_ENABLED", .type = SETTING_BOOL, FIELD(partial_flush),
     .initial = "true", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Send finished spans of a workflow that still runs."},
    {.name = "DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", .type = SETTING_INTEGER, FIELD(partial_flush_min),
     .initial = "300", .least = 1, .most = 100000, .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Send them when so many are waiting."},
    {.name = "DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED", .type = SETTING_BOOL, FIELD(trace_id_128),
     .initial = "true", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "128-bit ids for new traces."},
    {.name = "DD_TRACE_REPORT_HOSTNAME", .type = SETTING_BOOL, FIELD(report_hostname), .initial = "false",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Send the host's name as `_dd.hostname`."},
    {.name = "DD_HOSTNAME", .type = SETTING_TEXT, FIELD(hostname), .shown = "the system's",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "The name to report instead."},
    {.name = "DD_GIT_REPOSITORY_URL", .type = SETTING_WORD, FIELD(git_repository),
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "The repository of the code that runs: stack traces link to it. Credentials are not sent."},
    {.name = "DD_GIT_COMMIT_SHA", .type = SETTING_WORD, FIELD(git_commit),
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Its commit."},
    {.name = "DD_EXTERNAL_ENV", .type = SETTING_WORD, FIELD(external_env),
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Set by Datadog's admission controller: tells the agent the container."},
    {.name = "DD_TRACE_DEBUG", .type = SETTING_BOOL, FIELD(debug), .initial = "false",
     .otel = "OTEL_LOG_LEVEL", .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Log lines for developers."},
    {.name = "DD_TRACE_STARTUP_LOGS", .type = SETTING_BOOL, FIELD(startup_logs), .initial = "false",
     .readers = BY_COMFYDD | BY_DDTRACE,
     .doc = "Log the configuration at the start."},
    /* Options of comfydd run: its --help and its manual are made from these too. */
    {.name = "COMFYDD_MEMORY_LIMIT", .type = SETTING_BYTES, FIELD(run.memory_limit), .initial = "64G",
     .least = 16 << 20, .most = 1e18, .readers = BY_RUN, .option = "memory-limit", .argument = "SIZE",
     .doc = "Most memory for the command with all its children: `48G`, `512M`, a number of bytes, or `none`."},
    {.name = "COMFYDD_RESTART", .type = SETTING_CHOICE, FIELD(run.restart), .initial = "oom",
     .choices = "oom failure never", .readers = BY_RUN, .option = "restart", .argument = "WHEN",
     .doc = "Start the command again after it was killed for memory (`oom`), after any `failure`, or `never`."},
    {.name = "COMFYDD_MAX_RESTARTS", .type = SETTING_INTEGER, FIELD(run.max_restarts), .initial = "10",
     .least = 0, .most = 1e9, .readers = BY_RUN, .option = "max-restarts", .argument = "N",
     .doc = "Restarts in a row before giving up; a run of ten minutes ends the row."},
    {.name = "COMFYDD_GRACE", .type = SETTING_NUMBER, FIELD(run.grace_s), .initial = "10", .least = 0,
     .most = 86400, .readers = BY_RUN, .option = "grace", .argument = "SECONDS",
     .doc = "Kill the command if it has not stopped so long after the first of two SIGINTs or SIGTERMs."},
    {.name = "COMFYDD_WATCHDOG_RESTART", .type = SETTING_BOOL, FIELD(run.watchdog_restart), .initial = "false",
     .readers = BY_RUN, .option = "watchdog-restart",
     .doc = "When the watchdog has something to tell, stop the command and start it again."},
    {.name = "COMFYDD_LIB", .type = SETTING_TEXT, FIELD(run.library), .shown = "beside the program, or in ../lib",
     .readers = BY_RUN, .option = "library", .argument = "FILE",
     .doc = "The libcomfydd.so to preload."},
    {.name = "COMFYDD_JOBS_DB", .type = SETTING_TEXT, FIELD(run.jobs_db), .shown = "`jobs.db` in COMFYDD_STATE",
     .readers = BY_RUN, .option = "jobs-db", .argument = "URL",
     .doc = "Where jobs are recorded: `sqlite:PATH`, `postgresql://...`, or `none`."},
    {.name = "COMFYDD_JOBS_SQL", .type = SETTING_TEXT, FIELD(run.jobs_sql), .shown = "a table of comfydd's own",
     .readers = BY_RUN, .option = "jobs-sql", .argument = "SQL",
     .doc = "A statement with named parameters that records a job in a table of yours."},
    {.name = "COMFYDD_JOBS_LIVE", .type = SETTING_BOOL, FIELD(run.jobs_live), .initial = "false",
     .readers = BY_RUN, .option = "jobs-live",
     .doc = "Record every job: when it begins, and how it ended; not only those that a death has ended."},
    {.name = "COMFYDD_STATE", .type = SETTING_TEXT, FIELD(run.state), .shown = "~/.local/state/comfydd",
     .readers = BY_RUN, .option = "state", .argument = "FOLDER",
     .doc = "A folder for what must outlast a restart: jobs that the database has not taken yet."},
    {.name = "COMFYDD_QUIET", .type = SETTING_BOOL, FIELD(run.quiet), .initial = "false", .readers = BY_RUN,
     .option = "quiet",
     .doc = "Say nothing of starts and normal ends, only of what went wrong."},
    {.name = "COMFYDD_DRY_RUN", .type = SETTING_BOOL, FIELD(run.dry_run), .initial = "false", .readers = BY_RUN,
     .option = "dry-run",
     .doc = "Say what would be done, and do nothing."},
    {.name = "DD_PROFILING_ENABLED", .type = SETTING_FOREIGN, .shown = "`true` with the shim and ddtrace",
     .readers = BY_DDTRACE,
     .doc = "Datadog's Python profiler."},
    {.name = "DD_RUNTIME_METRICS_ENABLED", .type = SETTING_FOREIGN,
     .shown = "`true` with the shim and ddtrace", .readers = BY_DDTRACE,
     .doc = "Metrics of the Python runtime."},
    {.name = "DD_LOGS_INJECTION", .type = SETTING_FOREIGN, .shown = "ddtrace's", .readers = BY_DDTRACE,
     .doc = "Trace and span ids in Python's log records."},
    {.name = "DD_TRACE_<LIBRARY>_ENABLED", .type = SETTING_FOREIGN, .shown = "ddtrace's",
     .readers = BY_DDTRACE,
     .doc = "Spans of one Python library, for example `DD_TRACE_REQUESTS_ENABLED`."},
};
/* clang-format on */
const size_t settings_count = sizeof settings / sizeof *settings;

static bool parse_bool(const char *text, bool *value) {
    /* The union of what dd-trace-cpp and ddtrace take. */
    static const char *const spellings[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        for (int is = 0; is < 2; is++)
            if (strcasecmp(text, spellings[i][is]) == 0) {
                *value = is;
                return true;
            }
    return false;
}

bool settings_parse_number(const char *text, double *value) {
    if (!*text || text[strspn(text, "0123456789.eE+-")] != '\0') return false;
    locale_t plain = newlocale(LC_ALL_MASK, "C", NULL);
    if (!plain) return false;
    char *end;
    *value = strtod_l(text, &end, plain);
    freelocale(plain);
    return *end == '\0';
}

bool settings_parse_integer(const char *text, int64_t *value) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] != '\0') return false;
    *value = 0;
    for (const char *digit = text; *digit; digit++)
        *value = *value * 10 + (*digit - '0');
    return true;
}

bool settings_parse_bytes(const char *text, int64_t *value) {
    static const char units[] = "KMGT";
    char number[20];
    size_t digits = strspn(text, "0123456789");
    const char *unit = text + digits;
    if (strcmp(text, "none") == 0) {
        *value = 0;
        return true;
    }
    if (digits >= sizeof number) return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (!settings_parse_integer(number, value)) return false;
    int shift = 0;
    if (*unit) {
        const char *found = strchr(units, toupper((unsigned char)*unit));
        if (!found || *value == 0) return false;
        shift = 10 * (int)(found - units + 1);
        unit += strcasecmp(unit + 1, "iB") == 0 ? 3 : strcasecmp(unit + 1, "B") == 0 ? 2 : 1;
    }
    if (*unit || *value > INT64_MAX >> shift) return false;
    *value <<= shift;
    return true;
}

bool settings_parse_time(const char *text, double *seconds) {
    static const struct {
        char name;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}};
    char number[24];
    size_t size = strlen(text);
    double unit = 1;
    if (strcmp(text, "none") == 0) {
        *seconds = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (size && text[size - 1] == units[i].name) {
            unit = units[i].seconds;
            size--;
            break;
        }
    if (size >= sizeof number) return false;
    memcpy(number, text, size);
    number[size] = '\0';
    if (!settings_parse_number(number, seconds)) return false;
    *seconds *= unit;
    return true;
}

/* The position of a word in a list of words, -1 when it is none of them. */
static int position_of(const char *word, const char *list) {
    size_t size = strlen(word);
    for (int position = 0; *list; position++) {
        size_t length = strcspn(list, " ");
        if (length == size && strncasecmp(list, word, size) == 0) return position;
        list += length + strspn(list + length, " ");
    }
    return -1;
}

bool settings_is_word(const char *text) {
    while (isgraph((unsigned char)*text))
        text++;
    return *text == '\0';
}

bool settings_set(struct config *config, const struct setting *row, const char *text) {
    void *field = (char *)config + row->field;
    double number;
    int64_t integer;
    switch (row->type) {
    case SETTING_BOOL:
        return parse_bool(text, field);
    case SETTING_INTEGER:
        if (!settings_parse_integer(text, &integer)) return false;
        if ((double)integer < row->least || (double)integer > row->most) return false;
        *(int64_t *)field = integer;
        return true;
    case SETTING_NUMBER:
        if (!settings_parse_number(text, &number)) return false;
        if (!(number >= row->least && number <= row->most)) return false;
        *(double *)field = number;
        return true;
    case SETTING_HOST:
        if (strpbrk(text, "/@?#\"<>\\")) return false;
        /* fall through */
    case SETTING_WORD:
        if (!settings_is_word(text)) return false;
        /* fall through */
    case SETTING_TEXT:
        *(const char **)field = text;
        return true;
    case SETTING_BYTES:
        if (!settings_parse_bytes(text, &integer)) return false;
        if (integer != 0 && ((double)integer < row->least || (double)integer > row->most)) return false;
        *(int64_t *)field = integer;
        return true;
    case SETTING_TIME:
        if (!settings_parse_time(text, &number)) return false;
        if (strcmp(text, "none") != 0 && !(number >= row->least && number <= row->most)) return false;
        *(double *)field = number;
        return true;
    case SETTING_CHOICE:
        if (position_of(text, row->choices) < 0) return false;
        *(int *)field = position_of(text, row->choices);
        return true;
    case SETTING_PRESENT:
        *(bool *)field = true;
        return true;
    case SETTING_FOREIGN:
        break;
    }
    return false;
}

const char *settings_expected(const struct setting *row, char *text, size_t size) {
    static const char *const words[] = {[SETTING_BOOL] = "true or false",
                                        [SETTING_INTEGER] = "",
                                        [SETTING_NUMBER] = "",
                                        [SETTING_TEXT] = "text",
                                        [SETTING_WORD] = "one printable word",
                                        [SETTING_HOST] = "a host name or address",
                                        [SETTING_PRESENT] = "anything",
                                        [SETTING_BYTES] = "",
                                        [SETTING_TIME] = "",
                                        [SETTING_CHOICE] = "",
                                        [SETTING_FOREIGN] = "read here"};
    if (row->type == SETTING_INTEGER)
        snprintf(text, size, "a whole number from %.0f to %.0f", row->least, row->most);
    else if (row->type == SETTING_NUMBER)
        snprintf(text, size, "a number from %.9g to %.9g", row->least, row->most);
    else if (row->type == SETTING_BYTES)
        snprintf(text, size, "none, or a number of bytes of at least %.0fM (48G, 512M)",
                 row->least / (1 << 20));
    else if (row->type == SETTING_TIME)
        snprintf(text, size, "none, or a time from %.9g s to %.9g s (30m, 90s, 2h)", row->least, row->most);
    else if (row->type == SETTING_CHOICE)
        snprintf(text, size, "one of: %s", row->choices);
    else
        snprintf(text, size, "%s", words[row->type]);
    return text;
}

const char *settings_default(const struct setting *row) {
    return *row->initial ? row->initial : *row->shown ? row->shown : "none";
}

void settings_defaults(struct config *config) {
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *row = &settings[i];
        if (*row->initial)
            settings_set(config, row, row->initial);
        else if (row->type == SETTING_NUMBER)
            *(double *)((char *)config + row->field) = -1;
    }
    config->agent_url = "http://" DEFAULT_HOST ":" DEFAULT_PORT;
}

void settings_print_markdown(FILE *out) {
    static const char *const readers[] = {[BY_COMFYDD] = "comfydd",
                                          [BY_DDTRACE] = "ddtrace",
                                          [BY_COMFYDD | BY_DDTRACE] = "comfydd, ddtrace",
                                          [BY_RUN] = "`comfydd run`",
                                          [BY_COMFYDD | BY_RUN] = "comfydd, `comfydd run`"};
    fprintf(out, "| Variable | Default | Meaning | Read by |\n|---|---|---|---|\n");
    for (const struct setting *row = settings; row < settings + settings_count; row++) {
        fprintf(out, "| `%s`", row->name);
        if (*row->otel) fprintf(out, ", else `%s`", row->otel);
        if (*row->initial)
            fprintf(out, " | `%s`", row->initial);
        else
            fprintf(out, " | %s", *row->shown ? row->shown : "unset");
        fprintf(out, " | %s | %s |\n", row->doc, readers[row->readers]);
    }
}
