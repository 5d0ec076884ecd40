/* An agent that is away, busy, broken, or refuses: what is kept, what is dropped, and what is said. */
#include "base/clock.h"
#include "export/exporter.h"
#include "exporter_rig.h"
#include "unit.h"

#include <math.h>

static void a_busy_agent_gets_the_spans_later_and_once(void **state) {
    struct rig *rig = *state;
    fake_agent_script(&rig->agent, 4, (int[]){503, 429, 408, 500});
    rig_start(rig);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 1);
    rig_flush();
    assert_int_equal(rig_seen(rig)->posts, 5);
    assert_int_equal(rig_seen(rig)->span_count, 1);
    rig_assert_counts(rig, 1, 1, 0);
    assert_int_equal(rig_lines(rig, "answers with status 408"), 1); /* the third failure */
    assert_int_equal(rig_lines(rig, "takes spans again; dropped meanwhile: 0"), 1);
    assert_int_equal(rig_lines(rig, "comfydd:"), 2);
}

static void a_reset_connection_is_tried_again(void **state) {
    struct rig *rig = *state;
    fake_agent_script(&rig->agent, 2, (int[]){FAKE_AGENT_RESET, FAKE_AGENT_RESET});
    rig_start(rig);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 1);
    rig_flush();
    rig_assert_counts(rig, 1, 1, 0);
}

static void an_agent_that_was_away_gets_everything(void **state) {
    struct rig *rig = *state;
    rig_agent_leaves(rig);
    rig_start(rig);
    for (uint64_t root = 1; root <= 100; root++)
        rig_workflow(root);
    assert_false(exporter_flush(LOOPBACK_PATIENCE_MS)); /* says so at once */
    rig_assert_counts(rig, 100, 0, 0);
    assert_int_equal(rig_lines(rig, "cannot reach the Datadog agent at http://127.0.0.1:"), 1);
    rig_agent_returns(rig);
    fake_agent_wait_spans(&rig->agent, 100);
    rig_flush();
    rig_assert_counts(rig, 100, 100, 0);
    assert_int_equal(rig_lines(rig, "takes spans again; dropped meanwhile: 0"), 1);
    assert_int_equal(rig_lines(rig, "comfydd:"), 2);
}

static void what_does_not_fit_while_the_agent_is_away_is_counted(void **state) {
    struct rig *rig = *state;
    rig_agent_leaves(rig);
    rig_start(rig);
    rig_nodes(10, 11, 40000);
    struct flight_counts counts = flight_counts(rig->flight);
    assert_int_equal(counts.recorded, 40000);
    assert_int_equal(counts.sent, 0);
    assert_in_range(counts.dropped, 1, 39999);
    assert_false(exporter_flush(LOOPBACK_PATIENCE_MS)); /* on a busy machine it may not have tried yet */
    rig_agent_returns(rig);
    while (!exporter_flush(LOOPBACK_PATIENCE_MS)) /* it may have been trying when there was nobody yet */
        ;
    rig_assert_counts(rig, 40000, 40000 - counts.dropped, counts.dropped);
    assert_int_equal(rig_seen(rig)->span_count, 40000 - counts.dropped);
    char line[100];
    snprintf(line, sizeof line, "dropped meanwhile: %d", (int)counts.dropped);
    assert_int_equal(rig_lines(rig, line), 1);
    /* The share of what was kept goes along. */
    double rate = rig_seen(rig)->spans[0].keep_rate, wanted = 1 - (double)counts.dropped / 40000;
    assert_true(fabs(rate - wanted) < 1e-9);
}

static void refused_spans_are_dropped_and_counted(void **state) {
    struct rig *rig = *state;
    fake_agent_script(&rig->agent, 3, (int[]){400, 400, 404});
    rig_start(rig);
    for (uint64_t root = 1; root <= 4; root++) {
        rig_nodes(root, 100 * root, 2);
        rig_workflow(root);
        rig_flush();
    }
    rig_assert_counts(rig, 12, 3, 9);
    assert_int_equal(rig_lines(rig, "refused 3 spans with status 400"), 1);
    assert_int_equal(rig_lines(rig, "refused 3 spans with status 404"), 1);
    assert_int_equal(rig_lines(rig, "comfydd:"), 2);
    assert_true(rig_seen(rig)->spans[0].keep_rate == 0.25);
    /* What is over is not told for ever. */
    for (uint64_t root = 5; root <= 15; root++) {
        rig_workflow(root);
        rig_flush();
    }
    const struct fake_agent_seen *seen = rig_seen(rig);
    assert_false(isnan(seen->spans[seen->span_count - 3].keep_rate));
    assert_true(isnan(seen->spans[seen->span_count - 1].keep_rate));
}

static void an_outage_tells_of_its_own_losses(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    flight_count_lost(rig->flight);
    rig_workflow(1);
    rig_flush();
    fake_agent_script(&rig->agent, 4, (int[]){400, 503, 503, 503});
    rig_workflow(2);
    rig_flush();
    rig_workflow(3);
    rig_flush();
    rig_assert_counts(rig, 4, 2, 2);
    assert_int_equal(rig_lines(rig, "takes spans again; dropped meanwhile: 0"), 1);
}

static void too_large_payloads_are_split(void **state) {
    struct rig *rig = *state;
    fake_agent_limit(&rig->agent, 4000);
    rig_start(rig);
    rig_nodes(10, 11, 100);
    rig_workflow(10);
    rig_flush();
    rig_assert_counts(rig, 101, 101, 0);
    assert_int_equal(rig_seen(rig)->span_count, 101);
    assert_true(rig_seen(rig)->accepted > 4);
    /* A single span that is too large is given up. */
    fake_agent_limit(&rig->agent, 100);
    rig_workflow(20);
    rig_flush();
    rig_assert_counts(rig, 102, 101, 1);
    assert_int_equal(rig_lines(rig, "refused 1 span with status 413"), 1);
}

static void a_half_that_is_refused_is_sent_later(void **state) {
    struct rig *rig = *state;
    fake_agent_script(&rig->agent, 2, (int[]){413, 503});
    rig_start(rig);
    rig_nodes(10, 11, 3);
    rig_workflow(10);
    rig_flush();
    rig_assert_counts(rig, 4, 4, 0);
}

/* When an agent answers 500 to whatever is at the front, and the ring is full, the front gives way. */
static void a_hopeless_payload_gives_way_when_the_ring_is_full(void **state) {
    struct rig *rig = *state;
    int all_500[32];
    for (int i = 0; i < 32; i++)
        all_500[i] = 500;
    fake_agent_script(&rig->agent, 32, all_500);
    rig_start(rig);
    rig_nodes(10, 11, 40000);
    uint64_t dropped = flight_counts(rig->flight).dropped;
    for (int posts = 1; flight_counts(rig->flight).dropped == dropped && posts < 30; posts++)
        exporter_flush(1); /* a flush does not wait for the back-off */
    assert_true(flight_counts(rig->flight).dropped == dropped || rig_seen(rig)->posts >= 8);
    fake_agent_wait_posts(&rig->agent, 8);
    fake_agent_script(&rig->agent, 1, (int[]){200});
    while (!exporter_flush(LOOPBACK_PATIENCE_MS))
        ;
    struct flight_counts counts = flight_counts(rig->flight);
    assert_true(counts.dropped > dropped);
    assert_true(counts.sent > 0);
    assert_int_equal(counts.sent + counts.dropped, 40000);
    assert_int_equal(rig_seen(rig)->span_count, counts.sent);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_RIG(a_busy_agent_gets_the_spans_later_and_once),
        WITH_RIG(a_reset_connection_is_tried_again),
        WITH_RIG(an_agent_that_was_away_gets_everything),
        WITH_RIG(what_does_not_fit_while_the_agent_is_away_is_counted),
        WITH_RIG(refused_spans_are_dropped_and_counted),
        WITH_RIG(an_outage_tells_of_its_own_losses),
        WITH_RIG(too_large_payloads_are_split),
        WITH_RIG(a_half_that_is_refused_is_sent_later),
        WITH_RIG(a_hopeless_payload_gives_way_when_the_ring_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
