/* The whole way: spans through real flight memory and the real thread to a server on loopback. What happens when the
 * agent does not want them is in test_exporter_faults.c. */
#include "base/clock.h"
#include "export/exporter.h"
#include "exporter_rig.h"
#include "host/container.h"
#include "host/meminfo.h"
#include "trace/sampler.h"
#include "trace/span.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- what is sent when ---- */

static void a_finished_workflow_is_one_chunk(void **state) {
    struct rig *rig = *state;
    rig->config.external_env = "it-false,cn-comfy";
    rig_start(rig);
    rig_nodes(10, 11, 3);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 4);
    rig_flush();
    const struct fake_agent_seen *seen = rig_seen(rig);
    const struct fake_span *spans = seen->spans;
    assert_int_equal(seen->chunks, 1);
    assert_int_equal(spans[0].span_id, 10);
    assert_true(spans[0].priority == 1);
    for (uint64_t i = 1; i < 4; i++) {
        assert_int_equal(spans[i].span_id, 10 + i);
        assert_true(isnan(spans[i].priority));
    }
    static const char *const headers[] = {
        "Content-Type: application/msgpack",   "Datadog-Meta-Lang: c",
        "Datadog-Meta-Tracer-Version: ",       "Datadog-Client-Computed-Top-Level: yes",
        "Datadog-Send-Real-Http-Status: true", "Datadog-External-Env: it-false,cn-comfy",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (!strstr(seen->last_head, headers[i])) fail_msg("no header %s", headers[i]);
    struct container container;
    char entity[128];
    container_detect(&container, "");
    snprintf(entity, sizeof entity, "Datadog-Entity-ID: %s\r\n", container.entity_id);
    assert_true(!strstr(seen->last_head, *container.entity_id ? entity : "Datadog-Entity-ID") ==
                !*container.entity_id);
    rig_assert_counts(rig, 4, 4, 0);
}

static void an_unfinished_trace_stays_until_a_flush(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    rig_nodes(10, 11, 5);
    rig_nodes(20, 21, 2);
    rig_workflow(20);
    fake_agent_wait_spans(&rig->agent, 3);
    rig_workflow(30); /* and another round of the thread */
    fake_agent_wait_spans(&rig->agent, 4);
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(rig_seen(rig)->spans[i].trace_id, 1000010);
    rig_flush();
    assert_int_equal(rig_seen(rig)->span_count, 9);
    rig_assert_counts(rig, 9, 9, 0);
}

/* Two workflows under one incoming trace have different roots and stay apart. */
static void workflows_of_one_trace_are_chunks_of_their_own(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    for (uint64_t root = 1; root <= 2; root++) {
        struct flight_trace trace = rig_trace(root);
        trace.trace_id_low = 77;
        span_finish(span_start(FLIGHT_WORKFLOW, &trace, root, 5, 1), 2);
    }
    rig_flush();
    assert_int_equal(rig_seen(rig)->chunks, 2);
}

static void many_waiting_spans_are_sent_before_their_workflow(void **state) {
    struct rig *rig = *state;
    rig->config.partial_flush = true;
    rig->config.partial_flush_min = 10;
    rig_start(rig);
    rig_nodes(10, 11, 10);
    fake_agent_wait_spans(&rig->agent, 10);
    assert_true(rig_seen(rig)->spans[0].priority == 1); /* whoever is first tells it */
}

static void without_partial_flush_a_trace_is_one_chunk(void **state) {
    struct rig *rig = *state;
    rig->config.partial_flush = false;
    rig_start(rig);
    rig_nodes(10, 11, 3000); /* more than a payload usually has */
    rig_workflow(20);
    fake_agent_wait_spans(&rig->agent, 1);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 3002);
    assert_int_equal(rig_seen(rig)->chunks, 2);
}

static void a_large_trace_is_split_otherwise(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    rig_nodes(10, 11, 3000);
    rig_workflow(10);
    rig_flush();
    assert_int_equal(rig_seen(rig)->span_count, 3001);
    assert_true(rig_seen(rig)->chunks > 1);
}

static void a_span_that_outlives_its_workflow_is_sent_at_once(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 1);
    rig_nodes(10, 11, 1);
    fake_agent_wait_spans(&rig->agent, 2);
}

static void a_half_full_ring_is_sent_whatever_is_in_it(void **state) {
    struct rig *rig = *state;
    rig->config.partial_flush = false;
    rig->config.flush_interval_s = 3600;
    rig_start(rig);
    uint64_t id = 11;
    while (flight_fill(rig->flight) < 0.5 && id < 100000)
        rig_nodes(10, id++, 1);
    fake_agent_wait_spans(&rig->agent, (size_t)id - 12);
}

/* ---- flush, stop, fork ---- */

static void a_flush_ends_in_time_when_the_agent_hangs(void **state) {
    struct rig *rig = *state;
    rig->config.agent_timeout_s = 0.3;
    fake_agent_script(&rig->agent, 1, (int[]){FAKE_AGENT_HANG});
    rig_start(rig);
    rig_workflow(10);
    uint64_t begin = clock_mono_ns();
    assert_false(exporter_flush(100));
    assert_in_range((clock_mono_ns() - begin) / 1000000, 99, 5000);
    fake_agent_wait_spans(&rig->agent, 1);
}

static uint64_t process_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* Whether somebody else takes a sample of memory for us: our own questions say that it is young still. */
static bool is_sampled_for_us(void) {
    const uint64_t young = 10000000, patience = 30000000;
    const size_t more = 4u << 20; /* touched in far less than 30 ms under a sanitizer too */
    uint64_t start = clock_mono_ns(), now;
    meminfo_reset();
    struct meminfo first = meminfo_sample(start);
    char *memory = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, more);
    exporter_sample_memory();
    bool seen = false;
    while (!seen && (now = clock_mono_ns()) < start + patience)
        seen =
            meminfo_sample(now < start + young ? now : start + young).rss_bytes >= first.rss_bytes + more / 2;
    munmap(memory, more);
    return seen;
}

static void memory_is_sampled_while_samples_are_asked_for(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    uint64_t deadline = clock_mono_ns() + UINT64_C(20000000000);
    bool sampled = false;
    while (!sampled && clock_mono_ns() < deadline)
        sampled = is_sampled_for_us();
    assert_true(sampled);
    poll(NULL, 0, 50); /* nobody asks */
    uint64_t before = process_cpu_ns();
    poll(NULL, 0, 100);
    assert_in_range((process_cpu_ns() - before) / 1000000, 0, 50);
    rig_workflow(10);
    rig_flush();
    rig_assert_counts(rig, 1, 1, 0);
}

static void without_an_exporter_nothing_is_left(void **state) {
    (void)state;
    assert_true(exporter_flush(0));
    assert_true(exporter_stop(0));
    exporter_wake(FLIGHT_WORKFLOW);
    exporter_sample_memory();
    exporter_forked();
}

static void an_address_that_cannot_be_used_is_said(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    assert_int_equal(exporter_start(rig->flight, &rig->config), -EBUSY);
    rig_stop(rig);
    rig->config.agent_url = "https://user:secret@agent:8126";
    rig->flight = flight_create(NULL, 0);
    assert_int_equal(exporter_start(rig->flight, &rig->config), -EPROTONOSUPPORT);
    assert_int_equal(rig_lines(rig, "DD_TRACE_AGENT_URL"), 1);
    assert_int_equal(rig_lines(rig, "secret"), 0);
}

static void a_stopped_exporter_can_be_started_again(void **state) {
    struct rig *rig = *state;
    for (size_t i = 1; i <= 3; i++) {
        rig_start(rig);
        rig_workflow(i);
        rig_stop(rig);
        assert_int_equal(rig_seen(rig)->span_count, i);
    }
    rig_start(rig);
}

static void a_forked_child_has_no_exporter_and_harms_no_parent(void **state) {
    struct rig *rig = *state;
    rig_start(rig);
    rig_workflow(10);
    rig_flush();
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        int stays = !exporter_flush(0); /* not our thread, even before we are told */
        exporter_forked();
        _exit(stays || !exporter_flush(0) || !exporter_stop(0));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rig_workflow(20);
    rig_flush();
    assert_int_equal(rig->agent.server.connections, 1);
    rig_assert_counts(rig, 2, 2, 0);
}

/* The line of /proc/self/task/TID/status that begins with `field`, of the exporter's thread. */
static int thread_status(const char *field, char *line, size_t size) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int found = 0;
    assert_non_null(tasks);
    while (!found && (task = readdir(tasks))) {
        char path[300];
        int ours = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "re");
        while (file && !found && fgets(line, (int)size, file)) {
            if (!strcmp(line, "Name:\tcomfydd-export\n")) ours = 1;
            found = ours && !strncmp(line, field, strlen(field));
        }
        if (file) fclose(file);
    }
    closedir(tasks);
    return found;
}

static void the_thread_takes_no_signals(void **state) {
    struct rig *rig = *state;
    char line[200];
    rig_start(rig);
    rig_workflow(10);
    fake_agent_wait_spans(&rig->agent, 1); /* it is up */
    assert_true(thread_status("SigBlk:", line, sizeof line));
    uint64_t blocked = strtoull(line + 7, NULL, 16);
    /* All but KILL and STOP, and the two below RTMIN that libc keeps for itself. */
    assert_int_equal(blocked | UINT64_C(1) << 8 | UINT64_C(1) << 18 | UINT64_C(3) << 31, UINT64_MAX);
}

/* ---- what the agent says ---- */

static void rates_of_the_reply_reach_the_sampler(void **state) {
    struct rig *rig = *state;
    rig->agent.reply = "{\"rate_by_service\":{\"service:,env:\":0}}";
    rig->agent.reply_headers = "Datadog-Rates-Payload-Version: v42\r\n";
    rig_start(rig);
    rig_workflow(10);
    rig_flush();
    assert_null(strstr(rig_seen(rig)->last_head, "Datadog-Rates-Payload-Version"));
    const struct sampler_subject subject = {.service = "s", .name = "n", .resource = "r"};
    struct flight_trace trace = rig_trace(1);
    sampler_decide(&trace, &subject, clock_mono_ns());
    assert_int_equal(trace.priority, 0);
    rig_workflow(20);
    rig_flush();
    assert_non_null(strstr(rig_seen(rig)->last_head, "Datadog-Rates-Payload-Version: v42\r\n"));
}

static void rates_of_an_overloaded_agent_count_too(void **state) {
    struct rig *rig = *state;
    rig->agent.reply_headers = "Datadog-Rates-Payload-Version: v42\r\n";
    fake_agent_script(&rig->agent, 1, (int[]){429});
    rig_start(rig);
    rig_workflow(10);
    rig_flush();
    assert_non_null(strstr(rig_seen(rig)->last_head, "Datadog-Rates-Payload-Version: v42\r\n"));
}

/* A parser that recurses would leave our small stack. */
static void a_deeply_nested_reply_is_ignored(void **state) {
    struct rig *rig = *state;
    static char deep[1u << 20], nested[200] = "{\"rate_by_service\":{\"service:,env:\":0},\"deep\":";
    memset(deep, '[', sizeof deep - 1);
    memset(nested + strlen(nested), '[', 40);
    memset(nested + strlen(nested), ']', 40);
    strcat(nested, "}");
    rig->agent.info = deep;
    rig->agent.reply = nested;
    rig_start(rig);
    rig_workflow(10);
    rig_flush();
    rig_assert_counts(rig, 1, 1, 0);
    fake_agent_wait_infos(&rig->agent, 1);
    const struct sampler_subject subject = {.service = "s", .name = "n", .resource = "r"};
    struct flight_trace trace = rig_trace(1);
    sampler_decide(&trace, &subject, clock_mono_ns());
    assert_int_equal(trace.priority, 1);
}

/* ---- long-running spans ---- */

/* Opens a workflow with two nodes, the second of which waits for its inputs. */
static void open_spans(uint64_t root, int8_t priority, struct span *spans[3]) {
    struct flight_trace trace = rig_trace(root);
    trace.priority = priority;
    uint64_t past = clock_wall_ns() - UINT64_C(3000000000);
    spans[0] = span_start(FLIGHT_WORKFLOW, &trace, root, 0, past);
    spans[1] = span_start(FLIGHT_NODE, &trace, root + 1, root, past);
    spans[2] = span_start(FLIGHT_NODE, &trace, root + 2, root, past);
    span_wait(spans[2], 1, past);
}

static void snapshots_of_long_running_workflows_are_sent(void **state) {
    struct rig *rig = *state;
    struct span *kept[3], *dropped[3];
    rig->agent.info = "{\"version\":\"7.60.0\",\"long_running_spans\":true}";
    rig->config.long_running_s = 2;
    rig_start(rig);
    open_spans(10, 1, kept);
    open_spans(20, 0, dropped);
    exporter_flush(LOOPBACK_PATIENCE_MS); /* wakes it up: the next look would be in half a second */
    fake_agent_wait_spans(&rig->agent, 2);
    const struct fake_agent_seen *seen = rig_seen(rig);
    const struct fake_span *spans = seen->spans;
    assert_int_equal(seen->chunks, 1);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(spans[i].span_id, 10 + i);
        assert_in_range((uint64_t)spans[i].version, 3000, 3000 + LOOPBACK_PATIENCE_MS);
        assert_true(isnan(spans[i].long_running));
    }
    rig_assert_counts(rig, 0, 0, 0);
    exporter_flush(LOOPBACK_PATIENCE_MS); /* the thread has noted that by now */
    for (int i = 2; i >= 0; i--) {
        span_finish(kept[i], clock_wall_ns());
        span_discard(dropped[i]);
    }
    rig_flush();
    seen = rig_seen(rig);
    assert_int_equal(seen->span_count, 5); /* no second snapshot */
    spans = seen->spans + 2;
    for (int i = 0; i < 3; i++) {
        assert_true(isnan(spans[i].version));
        assert_true(spans[i].span_id == 12 ? isnan(spans[i].long_running) : spans[i].long_running == 1);
    }
}

static const char takes_snapshots[] = "{\"long_running_spans\":true}";

static void a_snapshot_that_was_not_taken_is_sent_again(void **state) {
    struct rig *rig = *state;
    struct span *kept[3];
    rig->agent.info = takes_snapshots;
    rig->config.long_running_s = 2;
    fake_agent_script(&rig->agent, 1, (int[]){503});
    rig_start(rig);
    open_spans(10, 1, kept);
    exporter_flush(LOOPBACK_PATIENCE_MS);
    fake_agent_wait_spans(&rig->agent, 2);
    for (int i = 2; i >= 0; i--)
        span_discard(kept[i]);
}

/* It may be another one. */
static void an_agent_that_comes_back_is_asked_again(void **state) {
    struct rig *rig = *state;
    struct span *kept[3];
    rig->config.long_running_s = 2;
    rig_start(rig);
    rig_workflow(20);
    rig_flush();
    fake_agent_wait_infos(&rig->agent, 1);
    rig->agent.info = takes_snapshots;
    fake_agent_script(&rig->agent, 1, (int[]){503});
    open_spans(10, 1, kept);
    rig_workflow(30);
    rig_flush();
    fake_agent_wait_spans(&rig->agent, 4);
    for (int i = 2; i >= 0; i--)
        span_discard(kept[i]);
}

static void an_agent_that_does_not_want_snapshots_gets_none(void **state) {
    struct rig *rig = *state;
    struct span *kept[3];
    rig->agent.info = "{\"long_running_spans\":false}";
    rig->config.long_running_s = 0.01;
    rig_start(rig);
    open_spans(10, 1, kept);
    rig_workflow(20);
    rig_flush();
    for (int i = 2; i >= 0; i--)
        span_finish(kept[i], clock_wall_ns());
    rig_flush();
    assert_int_equal(rig_seen(rig)->span_count, 4);
    for (int i = 0; i < 4; i++)
        assert_true(isnan(rig_seen(rig)->spans[i].long_running));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_RIG(a_finished_workflow_is_one_chunk),
        WITH_RIG(an_unfinished_trace_stays_until_a_flush),
        WITH_RIG(workflows_of_one_trace_are_chunks_of_their_own),
        WITH_RIG(many_waiting_spans_are_sent_before_their_workflow),
        WITH_RIG(without_partial_flush_a_trace_is_one_chunk),
        WITH_RIG(a_large_trace_is_split_otherwise),
        WITH_RIG(a_span_that_outlives_its_workflow_is_sent_at_once),
        WITH_RIG(a_half_full_ring_is_sent_whatever_is_in_it),
        WITH_RIG(a_flush_ends_in_time_when_the_agent_hangs),
        WITH_RIG(memory_is_sampled_while_samples_are_asked_for),
        cmocka_unit_test(without_an_exporter_nothing_is_left),
        WITH_RIG(an_address_that_cannot_be_used_is_said),
        WITH_RIG(a_stopped_exporter_can_be_started_again),
        WITH_RIG(a_forked_child_has_no_exporter_and_harms_no_parent),
        WITH_RIG(the_thread_takes_no_signals),
        WITH_RIG(rates_of_the_reply_reach_the_sampler),
        WITH_RIG(rates_of_an_overloaded_agent_count_too),
        WITH_RIG(a_deeply_nested_reply_is_ignored),
        WITH_RIG(snapshots_of_long_running_workflows_are_sent),
        WITH_RIG(a_snapshot_that_was_not_taken_is_sent_again),
        WITH_RIG(an_agent_that_comes_back_is_asked_again),
        WITH_RIG(an_agent_that_does_not_want_snapshots_gets_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
