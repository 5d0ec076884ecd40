#include "config.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/spin.h"
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define RULES_LIMIT  (64u << 10) /* bytes of a rules file */
#define LOGGED_LIMIT 64          /* bytes of a bad value that a log line shows */

/* ---- loading ---- */

/* A string of the configuration. */
struct kept {
    struct kept *next;
    char text[];
};

struct loader {
    const char *(*lookup)(const char *name);
    struct config config;
    struct kept *kept; /* owned */
    bool failed;       /* memory ran out */
};

static const char *keep(struct loader *loader, const char *text, size_t size) {
    struct kept *kept = malloc(sizeof *kept + size + 1);
    if (!kept) {
        loader->failed = true;
        return NULL;
    }
    memcpy(kept->text, text, size);
    kept->text[size] = '\0';
    kept->next = loader->kept;
    loader->kept = kept;
    return kept->text;
}

/* Keeps what is in the buffer and finishes it. */
static const char *keep_buf(struct loader *loader, struct buf *text) {
    const char *kept = NULL;
    if (text->failed)
        loader->failed = true;
    else
        kept = keep(loader, text->data ? text->data : "", text->size);
    buf_finish(text);
    return kept;
}

static void release(struct kept *kept) {
    while (kept) {
        struct kept *next = kept->next;
        free(kept);
        kept = next;
    }
}

/* Narrows [text, text + *size) to what is between the blanks around it. */
static const char *trim(const char *text, size_t *size) {
    while (*size > 0 && isspace((unsigned char)text[0])) {
        text++;
        --*size;
    }
    while (*size > 0 && isspace((unsigned char)text[*size - 1]))
        --*size;
    return text;
}

/* The variable's value between the blanks around it, borrowed; NULL when unset or empty. */
static const char *look_up(struct loader *loader, const char *name, size_t *size) {
    const char *value = loader->lookup(name);
    if (!value) return NULL;
    *size = strlen(value);
    value = trim(value, size);
    return *size > 0 ? value : NULL;
}

static bool is_set(struct loader *loader, const char *name) {
    size_t size;
    return look_up(loader, name, &size) != NULL;
}

/* The same, kept. */
static const char *variable(struct loader *loader, const char *name) {
    size_t size;
    const char *value = look_up(loader, name, &size);
    return value ? keep(loader, value, size) : NULL;
}

static void refuse(const char *name, const char *value, const char *what, const char *used) {
    log_line("%s=%.*s is not %s; using %s", name, LOGGED_LIMIT, value, what, used);
}

/* ---- tags ---- */

static bool is_own_tag(const char *name) {
    return strcmp(name, "service") == 0 || strcmp(name, "env") == 0 || strcmp(name, "version") == 0;
}

/* Calls `each` for the tags that have a field of their own, or for the others. */
static void each_tag(const char *tags, bool own,
                     void (*each)(void *context, const char *name, const char *value), void *context) {
    char *copy = tags ? strdup(tags) : NULL;
    if (!copy) return;
    const char *separator = strchr(copy, ',') ? "," : " ";
    char *rest = copy;
    for (char *tag; (tag = strsep(&rest, separator));) {
        char *colon = strchr(tag, ':');
        char *value = colon ? colon + 1 : tag + strlen(tag);
        size_t name_size = colon ? (size_t)(colon - tag) : strlen(tag), value_size = strlen(value);
        tag = (char *)trim(tag, &name_size);
        value = (char *)trim(value, &value_size);
        value[value_size] = '\0';
        tag[name_size] = '\0';
        if (name_size > 0 && is_own_tag(tag) == own) each(context, tag, value);
    }
    free(copy);
}

void config_each_tag(const char *tags, void (*each)(void *context, const char *name, const char *value),
                     void *context) {
    each_tag(tags, false, each, context);
}

/* ---- OpenTelemetry's names for the same things ---- */

static const char *rate_from_sampler(struct loader *loader, const char *value) {
    if (is_set(loader, "DD_TRACE_SAMPLING_RULES")) return NULL;
    static const char parent_based[] = "parentbased_"; /* we always follow the parent's decision */
    const char *sampler = value;
    if (strncasecmp(sampler, parent_based, strlen(parent_based)) == 0) sampler += strlen(parent_based);
    if (strcasecmp(sampler, "always_on") == 0) return "1";
    if (strcasecmp(sampler, "always_off") == 0) return "0";
    if (strcasecmp(sampler, "traceidratio") != 0) {
        refuse("OTEL_TRACES_SAMPLER", value,
               "always_on, always_off or traceidratio, with or without parentbased_", "the agent's rates");
        return NULL;
    }
    const char *ratio = variable(loader, "OTEL_TRACES_SAMPLER_ARG");
    double number;
    if (!ratio) return "1";
    if (settings_parse_number(ratio, &number) && number >= 0 && number <= 1) return ratio;
    refuse("OTEL_TRACES_SAMPLER_ARG", ratio, "a number from 0 to 1", "1");
    return "1";
}

/* "name=value,name=value" as DD_TAGS has it; of the attributes without a Datadog name the first ten, as
 * ddtrace does. */
static const char *tags_from_attributes(struct loader *loader, const char *value) {
    static const char *const names[][2] = {
        {"deployment.environment", "env"},
        {"deployment.environment.name", "env"},
        {"service.name", "service"},
        {"service.version", "version"},
    };
    struct buf tags = {0};
    int others = 0;
    for (const char *at = value; *at;) {
        size_t size = strcspn(at, ",");
        const char *equals = memchr(at, '=', size);
        const char *next = at + size + (at[size] == ',');
        if (!equals) {
            at = next;
            continue;
        }
        size_t name_size = (size_t)(equals - at), value_size = size - name_size - 1;
        const char *name = trim(at, &name_size);
        const char *datadog_name = NULL;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strlen(names[i][0]) == name_size && strncasecmp(names[i][0], name, name_size) == 0)
                datadog_name = names[i][1];
        if (datadog_name || others++ < 10) {
            if (datadog_name)
                buf_string(&tags, datadog_name);
            else
                buf_append(&tags, name, name_size);
            buf_string(&tags, ":");
            buf_append(&tags, equals + 1, value_size);
            buf_string(&tags, ","); /* after the last one too: a comma says that spaces do not separate */
        }
        at = next;
    }
    return keep_buf(loader, &tags);
}

/* What an OpenTelemetry variable says, in the words of the Datadog one; NULL when it says nothing to us. */
static const char *from_otel(struct loader *loader, const char *name, const char *value) {
    if (strcmp(name, "OTEL_TRACES_EXPORTER") == 0) return strcasecmp(value, "none") == 0 ? "false" : NULL;
    if (strcmp(name, "OTEL_LOG_LEVEL") == 0) return strcasecmp(value, "debug") == 0 ? "true" : NULL;
    if (strcmp(name, "OTEL_TRACES_SAMPLER") == 0) return rate_from_sampler(loader, value);
    if (strcmp(name, "OTEL_RESOURCE_ATTRIBUTES") == 0) return tags_from_attributes(loader, value);
    return value;
}

/* ---- one variable after the other ---- */

/* A tag stands for the variable of its name; the variable's own row comes later in the table and wins. */
static void take_own_tag(void *context, const char *name, const char *value) {
    struct loader *loader = context;
    if (!*value) return;
    value = keep(loader, value, strlen(value));
    if (strcmp(name, "service") == 0)
        loader->config.service = value;
    else if (strcmp(name, "env") == 0)
        loader->config.env = value;
    else
        loader->config.version = value;
}

/* What the row's variable says, else its OpenTelemetry one; NULL when neither says anything. *name is who said it. */
static const char *value_of(struct loader *loader, const struct setting *row, const char **name) {
    *name = row->name;
    const char *value = variable(loader, *name);
    if (value || !*row->otel) return value;
    *name = row->otel;
    value = variable(loader, *name);
    return value ? from_otel(loader, *name, value) : NULL;
}

static void load_setting(struct loader *loader, const struct setting *row) {
    const char *name;
    const char *value = value_of(loader, row, &name);
    char expected[80];
    if (value && !settings_set(&loader->config, row, value))
        refuse(name, value, settings_expected(row, expected, sizeof expected), settings_default(row));
    if (row->field == offsetof(struct config, tags))
        each_tag(loader->config.tags, true, take_own_tag, loader);
}

/* ---- what depends on more than one variable ---- */

static bool is_http_url(const char *url) {
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, strlen(scheme)) != 0) return false;
    const char *host = url + strlen(scheme);
    size_t host_size = host[0] == '[' ? strcspn(host, "]/") : strcspn(host, ":/");
    if (host[0] == '[') {
        if (host_size < 2 || host[host_size] != ']') return false;
        host_size++;
    }
    const char *rest = host + host_size;
    if (host_size == 0 || strpbrk(host, "@?#\"<>\\")) return false;
    if (*rest == ':') {
        char port[6];
        size_t digits = strcspn(++rest, "/");
        int64_t number;
        if (digits >= sizeof port) return false;
        memcpy(port, rest, digits);
        port[digits] = '\0';
        if (!settings_parse_integer(port, &number) || number < 1 || number > 65535) return false;
        rest += digits;
    }
    return *rest == '\0' || *rest == '/';
}

static bool is_unix_url(const char *url) {
    static const char scheme[] = "unix://";
    if (strncmp(url, scheme, strlen(scheme)) != 0) return false;
    const char *path = url + strlen(scheme);
    return path[0] == '/' && path[1] != '\0';
}

/* The URL that host, port and socket make. */
static const char *url_from_parts(struct loader *loader) {
    const struct config *config = &loader->config;
    struct buf url = {0};
    if (!is_set(loader, "DD_AGENT_HOST") && !is_set(loader, "DD_TRACE_AGENT_PORT") &&
        config->agent_socket[0] == '/' && access(config->agent_socket, F_OK) == 0) {
        buf_string(&url, "unix://");
        buf_string(&url, config->agent_socket);
        return keep_buf(loader, &url);
    }
    bool bare_ipv6 = strchr(config->agent_host, ':') && config->agent_host[0] != '[';
    char port[24];
    snprintf(port, sizeof port, ":%lld", (long long)config->agent_port);
    buf_string(&url, bare_ipv6 ? "http://[" : "http://");
    buf_string(&url, config->agent_host);
    if (bare_ipv6) buf_string(&url, "]");
    buf_string(&url, port);
    return keep_buf(loader, &url);
}

static void settle_agent_url(struct loader *loader) {
    const char *url = variable(loader, "DD_TRACE_AGENT_URL");
    if (url && settings_is_word(url) && (is_http_url(url) || is_unix_url(url))) return; /* the field has it */
    const char *made = url_from_parts(loader);
    if (made) loader->config.agent_url = made;
    if (url)
        refuse("DD_TRACE_AGENT_URL", url,
               strncasecmp(url, "https", 5) == 0
                   ? "http:// or unix:// (comfydd does not speak TLS: send through an agent on this host)"
                   : "http://HOST:PORT or unix:///PATH",
               loader->config.agent_url);
}

static void read_rules_file(struct loader *loader) {
    const char *path = variable(loader, "DD_SPAN_SAMPLING_RULES_FILE");
    if (!path || loader->config.span_sampling_rules) return;
    struct buf rules = {0};
    char *room = buf_room(&rules, RULES_LIMIT);
    ssize_t size = room ? file_read(path, room, RULES_LIMIT) : -ENOMEM;
    if (size <= 0 || size == RULES_LIMIT - 1) {
        refuse("DD_SPAN_SAMPLING_RULES_FILE", path, "a readable file of less than 64 KiB with rules", "none");
        buf_finish(&rules);
        return;
    }
    rules.size = strlen(room);
    loader->config.span_sampling_rules = keep_buf(loader, &rules);
}

/* ---- the configuration in force ---- */

static struct config current;
static struct kept *current_strings;

/* Not pthread_once, which is not in libc before glibc 2.34. */
static void start_with_defaults(void) {
    static uint32_t lock;
    static bool done;
    if (__atomic_load_n(&done, __ATOMIC_ACQUIRE)) return;
    spin_lock(&lock);
    if (!done) settings_defaults(&current);
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    spin_unlock(&lock);
}

static const char *from_environment(const char *name) {
    return getenv(name);
}

bool config_wanted(const char *(*lookup)(const char *name), struct config *switches) {
    int saved_errno = errno;
    struct loader loader = {.lookup = lookup ? lookup : from_environment};
    settings_defaults(&loader.config);
    for (const struct setting *row = settings; row < settings + settings_count; row++) {
        if (row->type != SETTING_BOOL && row->type != SETTING_PRESENT) continue;
        const char *name, *value = value_of(&loader, row, &name);
        if (value) settings_set(&loader.config, row, value);
    }
    release(loader.kept);
    errno = saved_errno;
    *switches = loader.config;
    return loader.config.enabled && loader.config.trace_enabled && loader.config.apm_tracing;
}

static bool load(const char *(*lookup)(const char *name), unsigned readers) {
    int saved_errno = errno;
    start_with_defaults();
    struct loader loader = {.lookup = lookup ? lookup : from_environment};
    settings_defaults(&loader.config);
    for (const struct setting *row = settings; row < settings + settings_count; row++)
        if (row->type != SETTING_FOREIGN && (row->readers & readers)) load_setting(&loader, row);
    settle_agent_url(&loader);
    read_rules_file(&loader);
    if (loader.failed) {
        release(loader.kept);
        loader.kept = NULL;
        settings_defaults(&loader.config);
    }
    release(current_strings);
    current_strings = loader.kept;
    current = loader.config;
    errno = saved_errno;
    return !loader.failed;
}

bool config_load(const char *(*lookup)(const char *name)) {
    return load(lookup, BY_COMFYDD);
}

bool config_load_run(const char *(*lookup)(const char *name)) {
    return load(lookup, BY_COMFYDD | BY_RUN);
}

const struct config *config(void) {
    start_with_defaults();
    return &current;
}
