#include "trace/ids.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACE "0123456789abcdef1123456789abcdef"
#define SPAN  "00f067aa0ba902b7"

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum { THREADS = 4, EACH = 50000 };

static void *draw(void *ids) {
    for (int i = 0; i < EACH; i++)
        ((uint64_t *)ids)[i] = ids_next();
    return NULL;
}

static void fresh_ids_are_distinct_63_bit_numbers_on_all_threads(void **state) {
    (void)state;
    uint64_t *ids = malloc(sizeof *ids * THREADS * EACH);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw, ids + i * EACH), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(ids, THREADS * EACH, sizeof *ids, compare);
    uint64_t seen = 0;
    for (int i = 0; i < THREADS * EACH; i++) {
        assert_int_not_equal(ids[i], i ? ids[i - 1] : 0);
        assert_int_equal(ids[i] >> 63, 0);
        seen |= ids[i];
    }
    assert_int_equal(seen, INT64_MAX); /* every bit is used */
    free(ids);
}

static void a_reseeded_child_draws_other_ids(void **state) {
    (void)state;
    ids_next();
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child) {
        ids_reseed();
        uint64_t id = ids_next();
        _exit(write(ends[1], &id, sizeof id) == (ssize_t)sizeof id ? 0 : 1);
    }
    uint64_t theirs = 0, ours = ids_next();
    assert_int_equal(read(ends[0], &theirs, sizeof theirs), sizeof theirs);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_not_equal(ours, theirs);
    close(ends[0]);
    close(ends[1]);
}

static void the_upper_half_is_the_time_in_seconds(void **state) {
    (void)state;
    assert_int_equal(ids_trace_high(UINT64_C(1700000000999999999)), UINT64_C(1700000000) << 32);
}

static void decimals_up_to_128_bits_are_read(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint64_t high, low;
    } good[] = {
        {"0", 0, 0},
        {"7", 0, 7},
        {"0000000000000000000000000000000000000000000000007", 0, 7},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", 1, 0},
        {"340282366920938463463374607431768211455", UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t high = 9, low = 9;
        assert_true(ids_parse_decimal(good[i].text, &high, &low));
        assert_int_equal(high, good[i].high);
        assert_int_equal(low, good[i].low);
    }
}

static void anything_else_is_no_decimal(void **state) {
    (void)state;
    const char *const bad[] = {"",
                               " ",
                               "+1",
                               "-1",
                               " 1",
                               "1 ",
                               "1\n",
                               "0x1",
                               "1a",
                               "1.0",
                               "1e3",
                               "1_000",
                               "\xd9\xa1", /* an Arabic one */
                               "340282366920938463463374607431768211456",
                               "340282366920938463463374607431768211460",
                               "999999999999999999999999999999999999999",
                               "3402823669209384634633746074317682114550"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t high = 9, low = 9;
        if (ids_parse_decimal(bad[i], &high, &low)) fail_msg("\"%s\" was read", bad[i]);
        assert_int_equal(high, 9);
        assert_int_equal(low, 9);
    }
}

static void a_traceparent_is_read(void **state) {
    (void)state;
    const struct {
        const char *text;
        int priority;
    } good[] = {
        {"00-" TRACE "-" SPAN "-01", 1},     {"00-" TRACE "-" SPAN "-00", 0},
        {"00-" TRACE "-" SPAN "-fe", 0},     {"00-" TRACE "-" SPAN "-ff", 1},
        {"01-" TRACE "-" SPAN "-01", 1},     {"fe-" TRACE "-" SPAN "-01-more", 1},
        {"01-" TRACE "-" SPAN "-01-x-y", 1}, {"cc-" TRACE "-" SPAN "-01-", 1},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ids_parent parent;
        memset(&parent, 0xff, sizeof parent);
        if (!ids_parse_traceparent(good[i].text, &parent)) fail_msg("\"%s\" was refused", good[i].text);
        assert_int_equal(parent.trace_id_high, UINT64_C(0x0123456789abcdef));
        assert_int_equal(parent.trace_id_low, UINT64_C(0x1123456789abcdef));
        assert_int_equal(parent.span_id, UINT64_C(0x00f067aa0ba902b7));
        assert_true(parent.has_priority);
        assert_int_equal(parent.priority, good[i].priority);
        assert_string_equal(parent.origin, "");
    }
}

static void a_malformed_traceparent_is_refused(void **state) {
    (void)state;
    const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-1",
        "00-" TRACE "-" SPAN "-0g",
        "00-" TRACE "-" SPAN "-01-", /* version 00 ends here */
        "00-" TRACE "-" SPAN "-01-more",
        "00-" TRACE "-" SPAN "-01 ",
        " 00-" TRACE "-" SPAN "-01",
        "01-" TRACE "-" SPAN "-01x", /* a later one may only go on after a dash */
        "ff-" TRACE "-" SPAN "-01",
        "ff-" TRACE "-" SPAN "-01-more",
        "0-" TRACE "-" SPAN "-011",
        "0x-" TRACE "-" SPAN "-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-0123456789ABCDEF1123456789abcdef-" SPAN "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "00-+123456789abcdef1123456789abcde-" SPAN "-01",
        "00-" TRACE "--0f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-0123456789abcdef0000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ids_parent parent = {.priority = 7};
        if (ids_parse_traceparent(bad[i], &parent)) fail_msg("\"%s\" was read", bad[i]);
        assert_int_equal(parent.priority, 7);
    }
}

static void a_tracestate_refines_priority_and_origin(void **state) {
    (void)state;
    const struct {
        const char *text;
        int sampled, priority;
        const char *origin;
    } cases[] = {
        {"dd=s:2", 1, 2, ""},
        {"dd=s:1;o:rum", 1, 1, "rum"},
        {"dd=o:rum;s:2;t.dm:-4", 1, 2, "rum"},
        {"rojo=1, \tdd=s:-1;o:a~b \t,congo=2", 0, -1, "a=b"},
        {"dd=s:0", 0, 0, ""},
        {"dd=s:2", 0, 0, ""}, /* the sampled flag was changed on the way: it is the newer */
        {"dd=s:-1", 1, 1, ""},
        {"dd=s:0", 1, 1, ""},
        {"dd=s:3", 1, 1, ""},
        {"dd=s:", 1, 1, ""},
        {"dd=s:+2", 1, 1, ""},
        {"dd=s:22", 1, 1, ""},
        {"dd=s:-2", 0, 0, ""},
        {"dd=s:2 ", 1, 2, ""},
        {"dd=;;;s:2;", 1, 2, ""},
        {"dd=o:", 1, 1, ""},
        {"dd=o:\x01", 1, 1, ""},
        {"dd=o:\xc3\xa4", 1, 1, ""},
        {"add=s:2", 1, 1, ""},
        {"ddx=s:2", 1, 1, ""},
        {"x=dd=s:2", 1, 1, ""},
        {"x=1,dd=s:2,dd=s:1;o:second", 1, 2, ""},
        {"dd", 1, 1, ""},
        {"dd=", 1, 1, ""},
        {",,, ,", 1, 1, ""},
        {"", 1, 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids_parent parent = {.priority = cases[i].sampled, .has_priority = true};
        ids_apply_tracestate(cases[i].text, &parent);
        if (parent.priority != cases[i].priority || strcmp(parent.origin, cases[i].origin) != 0)
            fail_msg("\"%s\": %d \"%s\"", cases[i].text, parent.priority, parent.origin);
    }
}

static void an_origin_that_is_too_long_is_ignored(void **state) {
    (void)state;
    struct ids_parent parent = {0};
    char text[256] = "dd=o:";
    memset(text + 5, 'x', 127);
    ids_apply_tracestate(text, &parent);
    assert_int_equal(strlen(parent.origin), 127);
    parent.origin[0] = 0;
    text[5 + 127] = 'x';
    ids_apply_tracestate(text, &parent);
    assert_string_equal(parent.origin, "");
}

static void a_tracestate_brings_the_tags_of_the_trace(void **state) {
    (void)state;
    const struct {
        const char *text;
        int sampled;
        const char *tags;
    } cases[] = {
        {"dd=s:2;t.dm:-4", 1, "_dd.p.dm=-4"},
        {"dd=t.dm:-4;s:2;t.usr.id:YmF6~~;p:00f067aa0ba902b7", 1, "_dd.p.dm=-4,_dd.p.usr.id=YmF6=="},
        {"x=1,dd=t.ts:02;t.ksr:0.5 ,y=t.no:1", 1, "_dd.p.ts=02,_dd.p.ksr=0.5"},
        {"dd=s:2;t.tid:6710000000000000;t.a:1", 1, "_dd.p.a=1"}, /* the traceparent has the whole id */
        {"dd=s:0;t.dm:-4;t.a:1", 0, "_dd.p.a=1"},                /* who decides to drop is not told */
        {"dd=s:2;t.dm:-4;t.a:1", 0, "_dd.p.a=1"},                /* nor who had decided otherwise */
        {"dd=t.dm:4", 1, ""},
        {"dd=t.dm:-", 1, ""},
        {"dd=t.dm:-1234", 1, ""},
        {"dd=t.dm:-x", 1, ""},
        {"dd=t.:1;t.a:;t.b;t:1;t.c d:1;t.e=f:1;t.\xc3\xa4:1;t.g:\xc3\xa4", 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids_parent parent = {.priority = cases[i].sampled, .has_priority = true};
        ids_apply_tracestate(cases[i].text, &parent);
        if (strcmp(parent.tags, cases[i].tags) != 0) fail_msg("\"%s\": \"%s\"", cases[i].text, parent.tags);
    }
}

static void tags_are_read_as_the_header_has_them(void **state) {
    (void)state;
    const struct {
        const char *text, *tags;
    } cases[] = {
        {"_dd.p.dm=-3,_dd.p.usr.id=YmF6==", "_dd.p.dm=-3,_dd.p.usr.id=YmF6=="},
        {"_dd.p.tid=6710000000000000,_dd.p.a=b c", "_dd.p.a=b c"},
        {"other=1,_dd.p.a=1,,_dd.p.b,_dd.p.=1,_dd.p.c=\x01", "_dd.p.a=1"},
        {"_dd.p.dm=3", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids_parent parent = {.priority = 1, .has_priority = true};
        ids_apply_tags(cases[i].text, &parent);
        if (strcmp(parent.tags, cases[i].tags) != 0) fail_msg("\"%s\": \"%s\"", cases[i].text, parent.tags);
    }
    struct ids_parent undecided = {.has_priority = false};
    ids_apply_tags("_dd.p.dm=-3,_dd.p.a=1", &undecided);
    assert_string_equal(undecided.tags, "_dd.p.a=1");
}

static void a_tag_for_which_there_is_no_room_is_left_out_whole(void **state) {
    (void)state;
    struct ids_parent parent = {.priority = 1, .has_priority = true};
    char text[1200] = "_dd.p.long=", expected[sizeof parent.tags];
    size_t used = strlen(text), room = sizeof parent.tags - 1 - strlen(",_dd.p.a=1");
    memset(text + used, 'x', room - used);
    memcpy(expected, text, room);
    strcpy(expected + room, ",_dd.p.a=1");
    strcpy(text + room, ",_dd.p.bb=1,_dd.p.a=1,_dd.p.c=1");
    ids_apply_tags(text, &parent);
    assert_string_equal(parent.tags, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_ids_are_distinct_63_bit_numbers_on_all_threads),
        cmocka_unit_test(a_reseeded_child_draws_other_ids),
        cmocka_unit_test(the_upper_half_is_the_time_in_seconds),
        cmocka_unit_test(decimals_up_to_128_bits_are_read),
        cmocka_unit_test(anything_else_is_no_decimal),
        cmocka_unit_test(a_traceparent_is_read),
        cmocka_unit_test(a_malformed_traceparent_is_refused),
        cmocka_unit_test(a_tracestate_refines_priority_and_origin),
        cmocka_unit_test(an_origin_that_is_too_long_is_ignored),
        cmocka_unit_test(a_tracestate_brings_the_tags_of_the_trace),
        cmocka_unit_test(tags_are_read_as_the_header_has_them),
        cmocka_unit_test(a_tag_for_which_there_is_no_room_is_left_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
