#include "trace/rules.h"
#include "unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const tags[][2] = {{"job.id", "71"}, {"workflow.prompt_id", NULL}, {"empty", ""}};
static const struct sampler_subject subject = {.service = "comfyui",
                                               .name = "comfyui.node.execute",
                                               .resource = "KSampler",
                                               .tags = tags,
                                               .tag_count = 3};

/* Whether a rule with these members matches the subject. */
static bool matches(const char *members) {
    char json[256], problem[80];
    assert_true((size_t)snprintf(json, sizeof json, "[{%s}]", members) < sizeof json);
    struct rules *rules = rules_parse(json, problem, sizeof problem);
    assert_non_null(rules);
    bool matched = rules_match(rules, &subject) != NULL;
    rules_destroy(rules);
    return matched;
}

static void a_rule_without_patterns_matches_everything(void **state) {
    (void)state;
    assert_true(matches(""));
    assert_true(matches("\"service\": null, \"tags\": null"));
    assert_true(matches("\"tags\": {}"));
}

static void every_pattern_must_match(void **state) {
    (void)state;
    assert_true(
        matches("\"service\": \"comfyui\", \"name\": \"comfyui.node.execute\", \"resource\": \"KSampler\""));
    assert_false(matches("\"service\": \"comfyui\", \"name\": \"comfyui.workflow.execute\""));
    assert_false(matches("\"service\": \"comfy\""));
    assert_false(matches("\"resource\": \"\""));
}

static void globs_match_like_datadogs(void **state) {
    (void)state;
    const char *const yes[] = {"*",        "**",      "ksampler",   "KSAMPLER", "k*r",
                               "*sampler", "KS*",     "*amp*",      "????????", "?Sampler",
                               "*?",       "k*a*m*r", "*KSampler*", "KSampler*"};
    const char *const no[] = {"", "?", "???????", "?????????", "k*x", "*samplers", "sampler", "k*rr", "*z*"};
    char member[64];
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        snprintf(member, sizeof member, "\"resource\": \"%s\"", yes[i]);
        assert_true(matches(member));
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        snprintf(member, sizeof member, "\"resource\": \"%s\"", no[i]);
        assert_false(matches(member));
    }
}

static void tags_must_be_there_and_match(void **state) {
    (void)state;
    assert_true(matches("\"tags\": {\"job.id\": \"7?\"}"));
    assert_true(matches("\"tags\": {\"job.id\": \"71\", \"empty\": \"*\"}"));
    assert_false(matches("\"tags\": {\"job.id\": \"7?\", \"empty\": \"x\"}"));
    assert_false(matches("\"tags\": {\"job.id\": \"71.0\"}"));
    assert_false(matches("\"tags\": {\"absent\": \"*\"}"));
    assert_false(matches("\"tags\": {\"workflow.prompt_id\": \"*\"}"));
    assert_false(matches("\"tags\": {\"JOB.ID\": \"71\"}"));
}

static void the_first_match_wins(void **state) {
    (void)state;
    char problem[80];
    struct rules *rules =
        rules_parse("[{\"name\": \"other\", \"sample_rate\": 0.1},"
                    " {\"name\": \"comfyui.*\", \"sample_rate\": 0.2, \"max_per_second\": 3},"
                    " {\"sample_rate\": 0.3}]",
                    problem, sizeof problem);
    const struct rule *rule = rules_match(rules, &subject);
    assert_true(rule->sample_rate == 0.2);
    assert_true(rule->max_per_second == 3);
    const struct sampler_subject nothing = {0};
    rule = rules_match(rules, &nothing);
    assert_true(rule->sample_rate == 0.3);
    assert_true(rule->max_per_second < 0);
    rules_destroy(rules);
}

static void no_rules_match_nothing(void **state) {
    (void)state;
    char problem[80];
    assert_null(rules_match(NULL, &subject));
    struct rules *rules = rules_parse("[]", problem, sizeof problem);
    assert_non_null(rules);
    assert_null(rules_match(rules, &subject));
    rules_destroy(rules);
    rules_destroy(NULL);
}

static void wrong_texts_are_refused_with_a_reason(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "no JSON from line 1, column 0 on"},
        {"[{\"sample_rate\": 0.5}", "no JSON from line 1, column 21 on"},
        {"{}", "not an array"},
        {"[1]", "rule 1 has a wrong type"},
        {"[{}, {\"sample_rate\": 1.5}]", "rule 2 has a wrong sample_rate"},
        {"[{\"sample_rate\": \"0.5\"}]", "rule 1 has a wrong sample_rate"},
        {"[{\"sample_rate\": -0.1}]", "rule 1 has a wrong sample_rate"},
        {"[{\"max_per_second\": -1}]", "rule 1 has a wrong max_per_second"},
        {"[{\"service\": 5}]", "rule 1 has a wrong service"},
        {"[{\"name\": []}]", "rule 1 has a wrong name"},
        {"[{\"resource\": true}]", "rule 1 has a wrong resource"},
        {"[{\"tags\": []}]", "rule 1 has a wrong tags"},
        {"[{\"tags\": {\"a\": 1}}]", "rule 1 has a wrong tags"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char problem[80] = "";
        assert_null(rules_parse(cases[i][0], problem, sizeof problem));
        assert_string_equal(problem, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_without_patterns_matches_everything),
        cmocka_unit_test(every_pattern_must_match),
        cmocka_unit_test(globs_match_like_datadogs),
        cmocka_unit_test(tags_must_be_there_and_match),
        cmocka_unit_test(the_first_match_wins),
        cmocka_unit_test(no_rules_match_nothing),
        cmocka_unit_test(wrong_texts_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
