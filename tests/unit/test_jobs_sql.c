#include "cli/jobs.h"
#include "cli/jobs_sql.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* ---- statements ---- */

static const struct {
    const char *sql, *text;
    const char *parameters; /* the fields of $1, $2, ... by name */
} statements[] = {
    {"UPDATE j SET s = :state WHERE id = :job_id", "UPDATE j SET s = $1 WHERE id = $2", "state job_id "},
    {"SELECT :at, :at", "SELECT $1, $2", "at at "},
    {"CALL f(:job_id, :prompt_id, :state, :reason, :node_id, :class_type, :peak_memory, :started_at, "
     ":ended_at, :at)",
     "CALL f($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
     "job_id prompt_id state reason node_id class_type peak_memory started_at ended_at at "},
    {"SELECT :job_id::uuid, now()::date", "SELECT $1::uuid, now()::date", "job_id "},
    {"SELECT:state", "SELECT$1", "state "},
    {"SELECT ':state' || ':it''s :at' || :at", "SELECT ':state' || ':it''s :at' || $1", "at "},
    {"SELECT 'back\\' || :at || '\\'", "SELECT 'back\\' || $1 || '\\'", "at "},
    {"SELECT E'quote\\' :at' || :state", "SELECT E'quote\\' :at' || $1", "state "},
    {"SELECT e'' || type'\\' || :at", "SELECT e'' || type'\\' || $1", "at "},
    {"SELECT \"a :at \"\" b\", :at", "SELECT \"a :at \"\" b\", $1", "at "},
    {"SELECT `:at`, :at", "SELECT `:at`, $1", "at "},
    {"SELECT 1 -- :at isn't\n, :at", "SELECT 1 -- :at isn't\n, $1", "at "},
    {"SELECT 1 -- :at", "SELECT 1 -- :at", ""},
    {"SELECT /* :at /* nested ' */ :at */ :at", "SELECT /* :at /* nested ' */ :at */ $1", "at "},
    {"SELECT 4 /2, 4 *2, 4 - 2, :at", "SELECT 4 /2, 4 *2, 4 - 2, $1", "at "},
    {"SELECT $$:at '$$, $a$ $$ :at $b$ $a$, :at", "SELECT $$:at '$$, $a$ $$ :at $b$ $a$, $1", "at "},
    {"SELECT col$1, a$b$, :at", "SELECT col$1, a$b$, $1", "at "},
    {"SELECT a[1:2], f(x := 1), :at", "SELECT a[1:2], f(x := 1), $1", "at "},
    {"SELECT \xc3\xa9, :at", "SELECT \xc3\xa9, $1", "at "},
    {"SELECT :at;", "SELECT $1", "at "},
    {"SELECT :at ; -- done\n /* ; */ ;", "SELECT $1 ", "at "},
    {"SELECT ';', :at", "SELECT ';', $1", "at "},
};

static void named_parameters_become_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct jobs_sql statement;
        char names[256] = "";
        const char *wrong = jobs_sql_parse(&statement, statements[i].sql);
        if (wrong) fail_msg("%s: %s", statements[i].sql, wrong);
        assert_string_equal(statement.text, statements[i].text);
        for (size_t n = 0; n < statement.count; n++) {
            strcat(names, jobs_sql_names[statement.parameters[n]]);
            strcat(names, " ");
        }
        assert_string_equal(names, statements[i].parameters);
        jobs_sql_finish(&statement);
        assert_null(statement.text);
    }
}

static const struct {
    const char *sql, *wrong; /* part of what is said */
} mistakes[] = {
    {"", "empty"},
    {" ; -- nothing\n", "empty"},
    {"/* only */", "empty"},
    {"SELECT :jobid", "unknown parameter"},
    {"SELECT :job_id2", "unknown parameter"},
    {"SELECT :AT", "unknown parameter"},
    {"SELECT 'open", "quote that does not end"},
    {"SELECT 'open''", "quote that does not end"},
    {"SELECT E'open\\'", "quote that does not end"},
    {"SELECT \"open", "quote that does not end"},
    {"SELECT /* open /* */", "comment that does not end"},
    {"/* open", "comment that does not end"},
    {"SELECT $a$ open $b$", "$-quote that does not end"},
    {"SELECT $1", "named ones"},
    {"SELECT $name", "named ones"},
    {"SELECT :at; DROP TABLE jobs", "one statement"},
    {"SELECT :at; /* open", "one statement"},
};

static void mistakes_are_explained(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct jobs_sql statement;
        const char *wrong = jobs_sql_parse(&statement, mistakes[i].sql);
        if (!wrong || !strstr(wrong, mistakes[i].wrong))
            fail_msg("%s: %s", mistakes[i].sql, wrong ? wrong : "accepted");
        assert_null(statement.text);
    }
}

static void at_most_64_parameters(void **state) {
    (void)state;
    char sql[1024] = "SELECT :at";
    struct jobs_sql statement;
    for (int i = 1; i < JOBS_SQL_MOST; i++)
        strcat(sql, ", :at");
    assert_null(jobs_sql_parse(&statement, sql));
    assert_int_equal(statement.count, 64);
    assert_non_null(strstr(statement.text, "$64"));
    jobs_sql_finish(&statement);
    strcat(sql, ", :at");
    assert_non_null(jobs_sql_parse(&statement, sql));
}

/* Every beginning of a statement either parses or is refused, and nothing behind its end is read (AddressSanitizer). */
static void any_cut_statement_is_safe(void **state) {
    (void)state;
    static const char whole[] =
        "SELECT E'a\\'b', $t$ :at $t$, /* x /* y */ */ \"q\"\"\", `z`, :at::text -- end\n;";
    for (size_t size = 0; size < sizeof whole; size++) {
        char *cut = strndup(whole, size);
        struct jobs_sql statement;
        if (!jobs_sql_parse(&statement, cut)) {
            assert_true(statement.count <= 1);
            jobs_sql_finish(&statement);
        }
        free(cut);
    }
}

/* ---- values ---- */

static void values_are_texts_or_nothing(void **state) {
    (void)state;
    struct jobs_values values;
    const struct job_event event = {.job_id = "j",
                                    .prompt_id = "",
                                    .state = "failed",
                                    .peak_memory_bytes = UINT64_C(25769803776),
                                    .started_ns = UINT64_C(1795252840123456789),
                                    .at_ns = UINT64_C(951782399999999999)};
    jobs_sql_values(&values, &event);
    assert_string_equal(values.fields[JOBS_JOB_ID], "j");
    assert_null(values.fields[JOBS_PROMPT_ID]);
    assert_string_equal(values.fields[JOBS_STATE], "failed");
    assert_null(values.fields[JOBS_REASON]);
    assert_null(values.fields[JOBS_NODE_ID]);
    assert_null(values.fields[JOBS_CLASS_TYPE]);
    assert_string_equal(values.fields[JOBS_PEAK_MEMORY], "25769803776");
    assert_string_equal(values.fields[JOBS_STARTED_AT], "2026-11-21T09:20:40.123456Z");
    assert_string_equal(values.fields[JOBS_AT], "2000-02-28T23:59:59.999999Z");

    assert_string_equal(values.fields[JOBS_ENDED_AT], "2000-02-28T23:59:59.999999Z");

    const struct job_event unknown = {.at_ns = UINT64_MAX};
    jobs_sql_values(&values, &unknown);
    for (int i = 0; i < JOBS_FIELDS; i++)
        if (i >= JOBS_STARTED_AT)
            assert_string_equal(values.fields[i], "2554-07-21T23:34:33.709551Z");
        else
            assert_null(values.fields[i]);

    const struct job_event running = {.state = "running"};
    jobs_sql_values(&values, &running);
    assert_null(values.fields[JOBS_ENDED_AT]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_parameters_become_numbers), cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(at_most_64_parameters),           cmocka_unit_test(any_cut_statement_is_safe),
        cmocka_unit_test(values_are_texts_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
