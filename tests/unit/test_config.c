#include "capture.h"
#include "config.h"
#include "config_log.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The environment of the test: name, value, name, value, ..., NULL. No agent's socket exists unless it says
 * so. */
static const char *const *environment;

static const char *lookup(const char *name) {
    for (const char *const *at = environment; *at; at += 2)
        if (strcmp(at[0], name) == 0) return at[1];
    return strcmp(name, "COMFYDD_AGENT_SOCKET") == 0 ? "/nonexistent/apm.socket" : NULL;
}

/* Loads the pairs given and returns what was logged meanwhile. */
#define LOAD(...)    load((const char *const[]){__VA_ARGS__, NULL})
#define SILENT(load) assert_string_equal(load, "")

static const char *load(const char *const *pairs) {
    environment = pairs;
    capture_start();
    assert_true(config_load(lookup));
    return capture_stop();
}

static void nothing_set_gives_the_documented_defaults(void **state) {
    (void)state;
    struct config before = *config();
    SILENT(LOAD(NULL));
    const struct config *c = config();
    assert_true(c->enabled && c->trace_enabled && c->node_tracing && c->node_memory && c->cached_nodes);
    assert_true(c->trace_id_128 && c->partial_flush);
    assert_false(c->pytorch_memory || c->debug || c->startup_logs || c->report_hostname);
    assert_string_equal(c->service, "comfyui");
    assert_string_equal(c->env, "production");
    assert_null(c->version);
    assert_null(c->tags);
    assert_null(c->sampling_rules);
    assert_null(c->span_sampling_rules);
    assert_string_equal(c->agent_url, "http://localhost:8126");
    assert_int_equal(c->partial_flush_min, 300);
    assert_true(c->sample_rate < 0);
    assert_true(c->rate_limit == 100);
    assert_true(c->agent_timeout_s == 2 && c->flush_interval_s == 1 && c->long_running_s == 20);
    /* ... and the same were in force before config_load */
    assert_true(before.enabled && before.rate_limit == 100);
    assert_string_equal(before.agent_url, "http://localhost:8126");
    assert_string_equal(before.service, "comfyui");
}

static void empty_and_blank_count_as_unset(void **state) {
    (void)state;
    SILENT(LOAD("DD_SERVICE", "", "DD_ENV", "  ", "DD_TRACE_ENABLED", "", "DD_TRACE_AGENT_URL", " ",
                "DD_TRACE_RATE_LIMIT", "", "OTEL_SERVICE_NAME", ""));
    assert_string_equal(config()->service, "comfyui");
    assert_string_equal(config()->env, "production");
    assert_true(config()->trace_enabled);
    SILENT(LOAD("DD_SERVICE", " studio \n", "DD_TRACE_ENABLED", " 0 "));
    assert_string_equal(config()->service, "studio");
    assert_false(config()->trace_enabled);
}

static void booleans_take_the_spellings_of_both_tracers(void **state) {
    (void)state;
    const char *const no[] = {"0", "false", "False", "FALSE", "no", "off"};
    const char *const yes[] = {"1", "true", "True", "YES", "on"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        SILENT(LOAD("DD_TRACE_ENABLED", no[i]));
        assert_false(config()->trace_enabled);
    }
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        SILENT(LOAD("DD_TRACE_DEBUG", yes[i]));
        assert_true(config()->debug);
    }
}

static void a_bad_value_gives_one_line_and_the_default(void **state) {
    (void)state;
    assert_string_equal(LOAD("DD_TRACE_DEBUG", "maybe"),
                        "comfydd: DD_TRACE_DEBUG=maybe is not true or false; using false\n");
    assert_false(config()->debug);
    assert_string_equal(
        LOAD("DD_TRACE_AGENT_PORT", "65536"),
        "comfydd: DD_TRACE_AGENT_PORT=65536 is not a whole number from 1 to 65535; using 8126\n");
    assert_int_equal(config()->agent_port, 8126);
    assert_string_equal(
        LOAD("DD_TRACE_SAMPLE_RATE", "1.01"),
        "comfydd: DD_TRACE_SAMPLE_RATE=1.01 is not a number from 0 to 1; using the agent's rates, "
        "else 1\n");
    assert_true(config()->sample_rate < 0);
    assert_string_equal(
        LOAD("DD_AGENT_HOST", "http://agent"),
        "comfydd: DD_AGENT_HOST=http://agent is not a host name or address; using localhost\n");
}

static void numbers_are_decimal_and_nothing_else(void **state) {
    (void)state;
    const char *const bad[] = {"0x1", "nan", "inf", "-1", "1e", "1,5", "1 2", "--1", ".", "1e999", "half"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *line = LOAD("DD_TRACE_RATE_LIMIT", bad[i]);
        assert_non_null(strstr(line, "using 100\n"));
        assert_true(config()->rate_limit == 100);
    }
    const char *const bad_integers[] = {"-1", "1.5", "0", "99999999999999999999", "0x10", "+5"};
    for (size_t i = 0; i < sizeof bad_integers / sizeof *bad_integers; i++) {
        LOAD("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", bad_integers[i]);
        assert_int_equal(config()->partial_flush_min, 300);
    }
    SILENT(LOAD("DD_TRACE_SAMPLE_RATE", "1e-06", "DD_TRACE_RATE_LIMIT", "0"));
    assert_true(config()->sample_rate == 1e-06);
    assert_true(config()->rate_limit == 0);
}

static void a_logged_value_is_cut_and_cannot_draw_on_the_terminal(void **state) {
    (void)state;
    char value[300];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    memcpy(value, "a\033[31m\nb", 8);
    const char *line = LOAD("NODE_TRACING_ENABLED", value);
    assert_memory_equal(line, "comfydd: NODE_TRACING_ENABLED=a?[31m?bxxx", 41);
    assert_int_equal(strspn(strchr(line, '=') + 9, "x"), 64 - 8);
    assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
}

static void url_beats_host_and_port(void **state) {
    (void)state;
    SILENT(LOAD("DD_AGENT_HOST", "elsewhere", "DD_TRACE_AGENT_PORT", "1"));
    assert_string_equal(config()->agent_url, "http://elsewhere:1");
    SILENT(LOAD("DD_AGENT_HOST", "elsewhere", "DD_TRACE_AGENT_URL", "http://agent:9126/"));
    assert_string_equal(config()->agent_url, "http://agent:9126/");
    SILENT(LOAD("DD_AGENT_HOST", "elsewhere", "DD_TRACE_AGENT_URL", "unix:///run/apm.socket"));
    assert_string_equal(config()->agent_url, "unix:///run/apm.socket");
}

static void ipv6_hosts_get_brackets(void **state) {
    (void)state;
    SILENT(LOAD("DD_AGENT_HOST", "::1"));
    assert_string_equal(config()->agent_url, "http://[::1]:8126");
    SILENT(LOAD("DD_AGENT_HOST", "[fe80::1]", "DD_TRACE_AGENT_PORT", "9126"));
    assert_string_equal(config()->agent_url, "http://[fe80::1]:9126");
    SILENT(LOAD("DD_TRACE_AGENT_URL", "http://[::1]:9126"));
    assert_string_equal(config()->agent_url, "http://[::1]:9126");
}

static void a_bad_url_falls_back_and_says_why(void **state) {
    (void)state;
    const char *const bad[] = {
        "http://",     "http://:8126",  "http://a:0",    "http://a:65536",        "http://a:",
        "http://[::1", "http://[::1]x", "http://user@a", "unix://relative",       "unix:///",
        "tcp://a:1",   "a:8126",        "http://a b",    "http://a\r\nX-Evil: 1", "http://a:80x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *line = LOAD("DD_TRACE_AGENT_URL", bad[i], "DD_AGENT_HOST", "fallback");
        assert_non_null(
            strstr(line, " is not http://HOST:PORT or unix:///PATH; using http://fallback:8126\n"));
        assert_string_equal(config()->agent_url, "http://fallback:8126");
    }
    assert_non_null(strstr(LOAD("DD_TRACE_AGENT_URL", "https://agent"), "comfydd does not speak TLS"));
    assert_string_equal(config()->agent_url, "http://localhost:8126");
}

static void the_default_socket_is_used_only_when_nothing_is_set(void **state) {
    (void)state;
    char path[] = "/tmp/comfydd-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    char url[64];
    snprintf(url, sizeof url, "unix://%s", path);
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", path));
    assert_string_equal(config()->agent_url, url);
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", path, "DD_AGENT_HOST", "agent"));
    assert_string_equal(config()->agent_url, "http://agent:8126");
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", path, "DD_TRACE_AGENT_PORT", "9126"));
    assert_string_equal(config()->agent_url, "http://localhost:9126");
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", path, "DD_TRACE_AGENT_URL", "http://agent"));
    assert_string_equal(config()->agent_url, "http://agent");
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", ".")); /* there, but no absolute path */
    assert_string_equal(config()->agent_url, "http://localhost:8126");
    unlink(path);
    SILENT(LOAD("COMFYDD_AGENT_SOCKET", path));
    assert_string_equal(config()->agent_url, "http://localhost:8126");
}

static void variables_beat_tags_and_tags_beat_defaults(void **state) {
    (void)state;
    SILENT(LOAD("DD_TAGS", "env:staging,service:studio,version:7,team:gpu"));
    assert_string_equal(config()->env, "staging");
    assert_string_equal(config()->service, "studio");
    assert_string_equal(config()->version, "7");
    SILENT(LOAD("DD_TAGS", "env:staging,service:studio,version:7", "DD_ENV", "dev", "DD_SERVICE", "mine",
                "DD_VERSION", "8"));
    assert_string_equal(config()->env, "dev");
    assert_string_equal(config()->service, "mine");
    assert_string_equal(config()->version, "8");
    SILENT(LOAD("DD_TAGS", "env:,service"));
    assert_string_equal(config()->env, "production");
    assert_string_equal(config()->service, "comfyui");
}

static void otel_variables_stand_in(void **state) {
    (void)state;
    SILENT(LOAD("OTEL_SERVICE_NAME", "otel", "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=ignored,deployment.environment=qa 1,service.version=2,team=a b",
                "OTEL_LOG_LEVEL", "debug", "OTEL_TRACES_EXPORTER", "none"));
    assert_string_equal(config()->service, "otel");
    assert_string_equal(config()->env, "qa 1");
    assert_string_equal(config()->version, "2");
    assert_true(config()->debug);
    assert_false(config()->trace_enabled);
    SILENT(LOAD("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute,deployment.environment.name=qa"));
    assert_string_equal(config()->service, "attribute");
    assert_string_equal(config()->env, "qa");
    SILENT(LOAD("DD_SERVICE", "dd", "OTEL_SERVICE_NAME", "otel", "DD_TRACE_ENABLED", "true",
                "OTEL_TRACES_EXPORTER", "none", "DD_TAGS", "env:dd", "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment=otel"));
    assert_string_equal(config()->service, "dd");
    assert_string_equal(config()->env, "dd");
    assert_true(config()->trace_enabled);
    SILENT(LOAD("OTEL_TRACES_EXPORTER", "otlp", "OTEL_LOG_LEVEL", "info"));
    assert_true(config()->trace_enabled);
    assert_false(config()->debug);
}

static void otel_samplers_become_a_rate(void **state) {
    (void)state;
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "always_on"));
    assert_true(config()->sample_rate == 1);
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    assert_true(config()->sample_rate == 0);
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.25"));
    assert_true(config()->sample_rate == 0.25);
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "traceidratio"));
    assert_true(config()->sample_rate == 1);
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "always_off", "DD_TRACE_SAMPLE_RATE", "0.5"));
    assert_true(config()->sample_rate == 0.5);
    SILENT(LOAD("OTEL_TRACES_SAMPLER", "always_off", "DD_TRACE_SAMPLING_RULES", "[]"));
    assert_true(config()->sample_rate < 0);
    assert_non_null(
        strstr(LOAD("OTEL_TRACES_SAMPLER", "jaeger_remote"), "OTEL_TRACES_SAMPLER=jaeger_remote is not"));
    assert_true(config()->sample_rate < 0);
    assert_non_null(strstr(LOAD("OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "2"),
                           "OTEL_TRACES_SAMPLER_ARG=2 is not"));
    assert_true(config()->sample_rate == 1);
}

static void span_rules_may_be_in_a_file(void **state) {
    (void)state;
    char path[] = "/tmp/comfydd-config-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "[{\"name\":\"a\"}]\n", 15), 15);
    close(fd);
    SILENT(LOAD("DD_SPAN_SAMPLING_RULES_FILE", path));
    assert_string_equal(config()->span_sampling_rules, "[{\"name\":\"a\"}]\n");
    SILENT(LOAD("DD_SPAN_SAMPLING_RULES_FILE", path, "DD_SPAN_SAMPLING_RULES", "[]"));
    assert_string_equal(config()->span_sampling_rules, "[]");
    assert_int_equal(truncate(path, 65536), 0);
    assert_non_null(strstr(LOAD("DD_SPAN_SAMPLING_RULES_FILE", path), "is not a readable file"));
    unlink(path);
    assert_non_null(strstr(LOAD("DD_SPAN_SAMPLING_RULES_FILE", path), "is not a readable file"));
    assert_null(config()->span_sampling_rules);
}

static void write_tag(void *context, const char *name, const char *value) {
    char *text = context;
    sprintf(text + strlen(text), "%s=%s|", name, value);
}

/* The separator table of Datadog's system tests, and worse. */
static void tags_are_split_as_datadog_does(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"key1:value1,key2:value2", "key1=value1|key2=value2|"},
        {"key1:value1 key2:value2", "key1=value1|key2=value2|"},
        {"e:test aKey:aVal bKey:bVal cKey:", "e=test|aKey=aVal|bKey=bVal|cKey=|"},
        {"e:test,aKey:aVal,bKey:bVal,cKey:", "e=test|aKey=aVal|bKey=bVal|cKey=|"},
        {"e:test,aKey:aVal bKey:bVal cKey:", "e=test|aKey=aVal bKey:bVal cKey:|"},
        {"e:test     bKey :bVal dKey: dVal cKey:", "e=test|bKey=|dKey=|dVal=|cKey=|"},
        {"e :test, aKey : aVal bKey:bVal cKey:", "e=test|aKey=aVal bKey:bVal cKey:|"},
        {"e:keyWithA:Semicolon bKey:bVal cKey", "e=keyWithA:Semicolon|bKey=bVal|cKey=|"},
        {"e:keyWith:  , ,   Lots:Of:Semicolons ", "e=keyWith:|Lots=Of:Semicolons|"},
        {"a:b,c,d", "a=b|c=|d=|"},
        {"a,1", "a=|1=|"},
        {"a:b:c:d", "a=b:c:d|"},
        {"service:s,env:e,version:v,x:y", "x=y|"},
        {",,: ,  ,", ""},
        {"", ""},
        {NULL, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256] = "";
        config_each_tag(cases[i][0], write_tag, text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void at_most_ten_foreign_attributes_become_tags(void **state) {
    (void)state;
    SILENT(LOAD("OTEL_RESOURCE_ATTRIBUTES",
                "a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10,k=11,service.version=3,,x"));
    char text[256] = "";
    config_each_tag(config()->tags, write_tag, text);
    assert_string_equal(text, "a=1|b=2|c=3|d=4|e=5|f=6|g=7|h=8|i=9|j=10|");
    assert_string_equal(config()->version, "3");
}

static void texts_for_request_headers_are_one_word(void **state) {
    (void)state;
    assert_non_null(
        strstr(LOAD("DD_EXTERNAL_ENV", "it-false\r\nX-Evil: 1"), "is not one printable word; using none"));
    assert_null(config()->external_env);
    SILENT(LOAD("DD_EXTERNAL_ENV", "it-false,cn-comfyui,pu-1"));
    assert_string_equal(config()->external_env, "it-false,cn-comfyui,pu-1");
}

static struct config switches;

static bool wanted(const char *const *pairs) {
    environment = pairs;
    capture_start();
    bool answer = config_wanted(lookup, &switches);
    assert_string_equal(capture_stop(), "");
    return answer;
}

#define WANTED(...) wanted((const char *const[]){__VA_ARGS__, NULL})

static void switches_are_known_without_a_word(void **state) {
    (void)state;
    WANTED("COMFYDD_ENABLED", "true");
    assert_true(switches.gpu_memory);
    assert_false(switches.torch_uncached);
    WANTED("COMFYDD_GPU_MEMORY", "off", "PYTORCH_NO_CUDA_MEMORY_CACHING", "0");
    assert_false(switches.gpu_memory);
    assert_true(switches.torch_uncached);
    WANTED("COMFYDD_GPU_MEMORY", "perhaps");
    assert_true(switches.gpu_memory);
}

static void whether_tracing_is_wanted_is_known_without_a_word(void **state) {
    (void)state;
    assert_true(WANTED(NULL));
    assert_true(WANTED("COMFYDD_ENABLED", "perhaps", "DD_TRACE_AGENT_PORT", "none"));
    assert_false(WANTED("COMFYDD_ENABLED", "false"));
    assert_false(WANTED("DD_TRACE_ENABLED", "0"));
    assert_false(WANTED("DD_APM_TRACING_ENABLED", "false"));
    assert_false(WANTED("DD_APM_TRACING_ENABLED", "false", "DD_TRACE_ENABLED", "true"));
    assert_false(WANTED("OTEL_TRACES_EXPORTER", "none"));
    assert_true(WANTED("OTEL_TRACES_EXPORTER", "none", "DD_TRACE_ENABLED", "true"));
}

static const char *logged(void) {
    capture_start();
    config_log(config());
    return capture_stop();
}

static void the_configuration_is_one_line_of_json(void **state) {
    (void)state;
    SILENT(LOAD("DD_SERVICE", "\"mine\"", "DD_ENV", "caf\xe9", "DD_VERSION", "8", "DD_TAGS", "team:gpu"));
    const char *line = logged();
    assert_int_equal(strncmp(line, "comfydd: DATADOG TRACER CONFIGURATION - {\"version\":\"", 52), 0);
    assert_non_null(strstr(
        line, "\"service\":\"\\\"mine\\\"\",\"dd_version\":\"8\",\"agent_url\":\"http://localhost:8126\""));
    assert_non_null(strstr(line, "\"tags\":\"team:gpu\""));
    assert_null(strstr(line, "sample_rate"));
    assert_string_equal(line + strlen(line) - 2, "}\n");
    char tags[1000];
    memset(tags, 't', sizeof tags - 1);
    tags[sizeof tags - 1] = '\0';
    SILENT(LOAD("DD_TAGS", tags));
    line = logged();
    assert_null(strstr(line, "tags"));
    assert_string_equal(line + strlen(line) - 2, "}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_set_gives_the_documented_defaults),
        cmocka_unit_test(empty_and_blank_count_as_unset),
        cmocka_unit_test(booleans_take_the_spellings_of_both_tracers),
        cmocka_unit_test(a_bad_value_gives_one_line_and_the_default),
        cmocka_unit_test(numbers_are_decimal_and_nothing_else),
        cmocka_unit_test(a_logged_value_is_cut_and_cannot_draw_on_the_terminal),
        cmocka_unit_test(url_beats_host_and_port),
        cmocka_unit_test(ipv6_hosts_get_brackets),
        cmocka_unit_test(a_bad_url_falls_back_and_says_why),
        cmocka_unit_test(the_default_socket_is_used_only_when_nothing_is_set),
        cmocka_unit_test(variables_beat_tags_and_tags_beat_defaults),
        cmocka_unit_test(otel_variables_stand_in),
        cmocka_unit_test(otel_samplers_become_a_rate),
        cmocka_unit_test(span_rules_may_be_in_a_file),
        cmocka_unit_test(tags_are_split_as_datadog_does),
        cmocka_unit_test(at_most_ten_foreign_attributes_become_tags),
        cmocka_unit_test(whether_tracing_is_wanted_is_known_without_a_word),
        cmocka_unit_test(switches_are_known_without_a_word),
        cmocka_unit_test(texts_for_request_headers_are_one_word),
        cmocka_unit_test(the_configuration_is_one_line_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
