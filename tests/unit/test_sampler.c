#include "capture.h"
#include "config.h"
#include "trace/sampler.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static const struct sampler_subject workflow = {
    .service = "ComfyUI", .name = "comfyui.workflow.execute", .resource = "workflow#1"};
static const struct sampler_subject node = {
    .service = "ComfyUI", .name = "comfyui.node.execute", .resource = "KSampler"};

static struct config settings(void) {
    return (struct config){.service = "ComfyUI", .env = "production", .sample_rate = -1, .rate_limit = 100};
}

static struct flight_trace decide_at(uint64_t id, uint64_t mono_ns) {
    struct flight_trace trace = {.trace_id_high = 7, .trace_id_low = id};
    sampler_decide(&trace, &workflow, mono_ns);
    return trace;
}

static struct flight_trace decide(uint64_t id) {
    return decide_at(id, SECOND);
}

static void assert_decision(struct flight_trace trace, int priority, int mechanism, double agent_rate,
                            double rule_rate, double limit_rate) {
    assert_int_equal(trace.priority, priority);
    assert_int_equal(trace.mechanism, mechanism);
    assert_true(trace.agent_rate == agent_rate);
    assert_true(trace.rule_rate == rule_rate);
    assert_true(trace.limit_rate == limit_rate);
}

static void agent_says(const char *json) {
    sampler_agent_rates(json, strlen(json));
}

/* Ids and outcomes that Datadog's tracers have in common, for a rate of one half. */
static void the_keep_test_agrees_with_datadogs_tracers(void **state) {
    (void)state;
    static const struct {
        uint64_t id;
        bool kept;
    } cases[] = {
        {1, true},
        {10, false},
        {100, true},
        {1000, true},
        {UINT64_C(18444899399302180860), false},
        {UINT64_C(18444899399302180861), false},
        {UINT64_C(18444899399302180862), true},
        {UINT64_C(18444899399302180863), true},
        {UINT64_C(18446744073709551615), false},
        {UINT64_C(9223372036854775809), false},
        {UINT64_C(9223372036854775807), true},
        {UINT64_C(4611686018427387905), false},
        {UINT64_C(4611686018427387903), false},
        {UINT64_C(646771306295669658), true},
        {UINT64_C(1882305164521835798), true},
        {UINT64_C(5198373796167680436), false},
        {UINT64_C(12078589664685934330), false},
        {UINT64_C(13794769880582338323), true},
        {UINT64_C(14629469446186818297), false},
    };
    struct config config = settings();
    config.sample_rate = 0.5;
    sampler_init(&config);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(decide(cases[i].id).priority, cases[i].kept ? 2 : -1);
}

static void without_any_rate_everything_is_kept_by_default(void **state) {
    (void)state;
    struct config config = settings();
    sampler_init(&config);
    assert_decision(decide(10), 1, 0, 1, -1, -1);
}

static void an_incoming_decision_is_final(void **state) {
    (void)state;
    struct config config = settings();
    config.sample_rate = 0;
    sampler_init(&config);
    struct flight_trace trace = {
        .trace_id_low = 10, .inherited = 1, .priority = 2, .mechanism = -1, .rule_rate = -1};
    struct flight_trace before = trace;
    sampler_decide(&trace, &workflow, SECOND);
    assert_memory_equal(&trace, &before, sizeof trace);
}

static void the_sample_rate_decides_as_a_user(void **state) {
    (void)state;
    struct config config = settings();
    config.sample_rate = 1;
    sampler_init(&config);
    assert_decision(decide(10), 2, 3, -1, 1, 1);
    config.sample_rate = 1e-06;
    sampler_init(&config);
    assert_decision(decide(10), -1, 3, -1, 1e-06, -1); /* the limiter was not asked */
    config.sample_rate = 0;
    sampler_init(&config);
    assert_decision(decide(1), -1, 3, -1, 0, -1);
}

static void a_rule_beats_the_sample_rate_and_the_agent(void **state) {
    (void)state;
    struct config config = settings();
    config.sample_rate = 0;
    config.sampling_rules = "[{\"name\": \"COMFYUI.WORK*\", \"sample_rate\": 1}]";
    sampler_init(&config);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 0}}");
    assert_decision(decide(10), 2, 3, -1, 1, 1);
    config.sampling_rules = "[{\"name\": \"something.else\", \"sample_rate\": 1}]";
    sampler_init(&config);
    assert_decision(decide(10), -1, 3, -1, 0, -1);
    config.sample_rate = -1;
    sampler_init(&config);
    assert_decision(decide(10), 1, 0, 1, -1, -1);
}

static void the_rate_limit_holds_for_rules_only(void **state) {
    (void)state;
    struct config config = settings();
    config.rate_limit = 1;
    sampler_init(&config);
    for (int i = 1; i < 10; i++)
        assert_int_equal(decide((uint64_t)i).priority, 1);
    config.sample_rate = 1;
    sampler_init(&config);
    assert_decision(decide(1), 2, 3, -1, 1, 1);
    assert_decision(decide(2), -1, 3, -1, 1, 0.5);
    assert_decision(decide_at(3, 2 * SECOND), 2, 3, -1, 1, 0.75);
}

static void the_agents_rate_is_that_of_our_service_and_environment(void **state) {
    (void)state;
    struct config config = settings();
    sampler_init(&config);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 0.25, \"service:comfyui,env:production\": 0.5,"
               " \"service:comfyui,env:staging\": 0.75}}");
    assert_decision(decide(1), 1, 1, 0.5, -1, -1);
    assert_decision(decide(10), 0, 1, 0.5, -1, -1);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 0.25, \"service:other,env:production\": 0.5}}");
    assert_true(decide(1).agent_rate == 0.25);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 1}}");
    assert_decision(decide(10), 1, 1, 1, -1, -1);
}

/* As the agent normalises service and environment (datadog-agent, pkg/trace/traceutil/normalize). */
static void the_agents_names_are_ours_normalised(void **state) {
    (void)state;
    static const struct {
        const char *service, *env, *key;
    } cases[] = {
        {"My ComfyUI", "Prod", "service:my_comfyui,env:prod"},
        {"art & images!", "eu-1.b/c:d", "service:art_images,env:eu-1.b/c:d"},
        {"a__b_", "_x", "service:a_b,env:_x"},
        {"M\xc3\xbcnchen (2)", "9", "service:m\xc3\xbcnchen_2,env:9"},
        {"My ComfyUI", "Prod", "service:My ComfyUI,env:Prod"}, /* not every agent does so */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config = settings();
        config.service = cases[i].service;
        config.env = cases[i].env;
        sampler_init(&config);
        char json[200];
        snprintf(json, sizeof json, "{\"rate_by_service\": {\"%s\": 0.5, \"service:,env:\": 1}}",
                 cases[i].key);
        agent_says(json);
        assert_true(decide(1).agent_rate == 0.5);
    }
}

static void replies_without_a_usable_rate_change_nothing(void **state) {
    (void)state;
    const char *const replies[] = {"",
                                   "OK\n",
                                   "{}",
                                   "[]",
                                   "null",
                                   "{\"rate_by_service\": {}}",
                                   "{\"rate_by_service\": null}",
                                   "{\"rate_by_service\": [0.1]}",
                                   "{\"rate_by_service\": {\"service:,env:\": 2}}",
                                   "{\"rate_by_service\": {\"service:,env:\": \"1\"}}",
                                   "{\"rate_by_service\": {\"service:,env:\": -1}}",
                                   "{\"rate_by_service\": {\"service:,env:\": 1}",
                                   "{\"rate_by_service\": {\"service:a,env:b\": 1}}"};
    struct config config = settings();
    sampler_init(&config);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 0.5}}");
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        agent_says(replies[i]);
        assert_true(decide(1).agent_rate == 0.5);
    }
}

static void malformed_rules_give_one_line_and_no_rules(void **state) {
    (void)state;
    struct config config = settings();
    config.sampling_rules = "[{\"sample_rate\": 7}]";
    config.span_sampling_rules = "nonsense";
    capture_start();
    sampler_init(&config);
    assert_string_equal(capture_stop(),
                        "comfydd: DD_TRACE_SAMPLING_RULES is not an array of sampling rules (rule 1 has "
                        "a wrong sample_rate); using none\n"
                        "comfydd: DD_SPAN_SAMPLING_RULES is not an array of sampling rules (no JSON from "
                        "line 1, column 8 on); using none\n");
    assert_decision(decide(10), 1, 0, 1, -1, -1);
}

static void span_rules_keep_single_spans(void **state) {
    (void)state;
    struct config config = settings();
    config.span_sampling_rules = "[{\"resource\": \"VAE*\", \"sample_rate\": 0},"
                                 " {\"resource\": \"KS*\", \"sample_rate\": 0.5, \"max_per_second\": 2},"
                                 " {\"resource\": \"Save*\", \"max_per_second\": 0},"
                                 " {\"name\": \"comfyui.workflow.*\"}]";
    sampler_init(&config);
    double rate = -7, per_second = -7;
    const struct sampler_subject vae = {.service = "ComfyUI", .name = node.name, .resource = "VAEDecode"};
    assert_int_equal(sampler_keep_span(&vae, 1, SECOND, &rate, &per_second), 0);
    const struct sampler_subject save = {.service = "ComfyUI", .name = node.name, .resource = "SaveImage"};
    assert_int_equal(sampler_keep_span(&save, 1, SECOND, &rate, &per_second), 0);
    assert_int_equal(sampler_keep_span(&node, 10, SECOND, &rate, &per_second), 0); /* by the hash */
    assert_true(rate == -7 && per_second == -7);
    assert_int_equal(sampler_keep_span(&node, 1, SECOND, &rate, &per_second), 1);
    assert_true(rate == 0.5 && per_second == 2);
    assert_int_equal(sampler_keep_span(&node, 1, SECOND, &rate, &per_second), 1);
    assert_int_equal(sampler_keep_span(&node, 1, SECOND, &rate, &per_second), 0); /* by its limit */
    assert_int_equal(sampler_keep_span(&workflow, 10, SECOND, &rate, &per_second), 1);
    assert_true(rate == 1 && per_second < 0);
    config.span_sampling_rules = NULL;
    sampler_init(&config);
    assert_int_equal(sampler_keep_span(&node, 1, SECOND, &rate, &per_second), 0);
}

static atomic_bool deciding;

static void *decide_often(void *unused) {
    (void)unused;
    for (uint64_t i = 1; i <= 20000; i++) {
        struct flight_trace trace = decide(i);
        if (trace.agent_rate != 0.25 && trace.agent_rate != 0.75) return "a rate nobody gave";
    }
    return NULL;
}

static void *answer_often(void *unused) {
    (void)unused;
    for (int i = 0; atomic_load(&deciding); i++)
        agent_says(i % 2 ? "{\"rate_by_service\": {\"service:,env:\": 0.25}}"
                         : "{\"rate_by_service\": {\"service:,env:\": 0.75}}");
    return NULL;
}

static void rates_may_change_while_threads_decide(void **state) {
    (void)state;
    struct config config = settings();
    sampler_init(&config);
    agent_says("{\"rate_by_service\": {\"service:,env:\": 0.25}}");
    pthread_t threads[3], exporter;
    atomic_store(&deciding, true);
    assert_int_equal(pthread_create(&exporter, NULL, answer_often, NULL), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decide_often, NULL), 0);
    for (int i = 0; i < 3; i++) {
        void *problem;
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
    atomic_store(&deciding, false);
    pthread_join(exporter, NULL);
}

static int finish(void **state) {
    (void)state;
    sampler_finish();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keep_test_agrees_with_datadogs_tracers),
        cmocka_unit_test(without_any_rate_everything_is_kept_by_default),
        cmocka_unit_test(an_incoming_decision_is_final),
        cmocka_unit_test(the_sample_rate_decides_as_a_user),
        cmocka_unit_test(a_rule_beats_the_sample_rate_and_the_agent),
        cmocka_unit_test(the_rate_limit_holds_for_rules_only),
        cmocka_unit_test(the_agents_rate_is_that_of_our_service_and_environment),
        cmocka_unit_test(the_agents_names_are_ours_normalised),
        cmocka_unit_test(replies_without_a_usable_rate_change_nothing),
        cmocka_unit_test(malformed_rules_give_one_line_and_no_rules),
        cmocka_unit_test(span_rules_keep_single_spans),
        cmocka_unit_test(rates_may_change_while_threads_decide),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
