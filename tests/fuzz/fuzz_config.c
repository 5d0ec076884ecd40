/* Fuzzes what a user can write into variables: config_load, config_each_tag, sampling rules, and the agent's rates.
 * The input is lines of NAME=VALUE; one that begins with a bracket is also a text of rules, and any an agent's reply. */
#include "base/log.h"
#include "config.h"
#include "fuzz.h"
#include "trace/sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *environment; /* the input as a C string; its line ends are NUL */
static size_t environment_size;

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* Instead of stderr: every line must be fit for a terminal. */
static void check_line(const char *line) {
    for (const char *c = line; *c; c++)
        require((unsigned char)*c >= ' ' && *c != 127, "a log line holds control characters");
}

static const char *lookup(const char *name) {
    size_t length = strlen(name);
    if (strcmp(name, "DD_SPAN_SAMPLING_RULES_FILE") == 0) return NULL; /* any file of this machine */
    for (const char *line = environment; line < environment + environment_size; line += strlen(line) + 1)
        if (strncmp(line, name, length) == 0 && line[length] == '=') return line + length + 1;
    return NULL;
}

static void check_tag(void *context, const char *name, const char *value) {
    (void)context;
    require(*name && *name != ' ' && name[strlen(name) - 1] != ' ', "a tag's name is trimmed and not empty");
    require(!*value || (*value != ' ' && value[strlen(value) - 1] != ' '), "a tag's value is trimmed");
    require(strcmp(name, "env") != 0 && strcmp(name, "service") != 0, "own tags are left out");
}

static void check_config(const struct config *c) {
    require(c->service && *c->service && c->env && *c->env, "service and env are never empty");
    require(!c->version || *c->version, "version is NULL or not empty");
    require(strncmp(c->agent_url, "http://", 7) == 0 || strncmp(c->agent_url, "unix:///", 8) == 0,
            "agent's URL");
    require(c->agent_port >= 1 && c->agent_port <= 65535, "agent's port");
    require(c->partial_flush_min >= 1 && c->partial_flush_min <= 100000, "partial flush");
    require(c->sample_rate == -1 || (c->sample_rate >= 0 && c->sample_rate <= 1), "sample rate");
    require(c->rate_limit >= 0 && c->agent_timeout_s > 0 && c->flush_interval_s > 0, "numbers");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    log_divert(check_line);
    char *text = malloc(size + 1);
    environment = malloc(size + 1);
    if (!text || !environment) abort();
    memcpy(text, data, size);
    text[size] = '\0';
    memcpy(environment, text, size + 1);
    environment_size = size;
    for (size_t i = 0; i < size; i++)
        if (environment[i] == '\n') environment[i] = '\0';

    require(config_load(lookup), "config_load");
    check_config(config());
    config_each_tag(config()->tags, check_tag, NULL);
    config_each_tag(text, check_tag, NULL);

    struct config with_rules = *config();
    if (text[0] == '[') with_rules.sampling_rules = with_rules.span_sampling_rules = text;
    sampler_init(&with_rules);
    sampler_agent_rates(text, size);
    const char *const tags[][2] = {{"job.id", "71"}, {"workflow.prompt_id", "3f2a"}};
    const struct sampler_subject subject = {"comfyui", "comfyui.node.execute", "KSampler", tags, 2};
    struct flight_trace trace = {.trace_id_low = size + 1};
    sampler_decide(&trace, &subject, 1000000000);
    require(trace.priority >= -1 && trace.priority <= 2, "priority");
    double rate, per_second;
    sampler_keep_span(&subject, size + 1, 1000000000, &rate, &per_second);
    sampler_finish();
    free(text);
    free(environment);
    return 0;
}
