/* What a dead process had recorded, sent by another: everything once, whatever the agent does, from files of any content. */
#include "export/recover.h"

#include "base/clock.h"
#include "config.h"
#include "fake_agent.h"
#include "flight.h"
#include "trace/span.h"
#include "trace/tags.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct recover_verdict killed = {"killed", "OOMKilled", "The memory limit was reached.", 5000};

static struct fake_agent agent;
static struct config settings;
static struct flight *flight;
static int file;
static struct recover_result result;

/* What `see` was told last, as copies. */
static struct seen {
    unsigned times;
    char prompt_id[32], job_id[32], node_id[32], class_type[32];
    struct recover_workflow workflow; /* for its numbers */
} seen;

static void ignore(enum flight_span_kind kind) {
    (void)kind;
}

static int start(void **state) {
    glob_t found;
    char pattern[256];
    if (tree_setup(state)) return -1;
    memset(&agent, 0, sizeof agent);
    memset(&seen, 0, sizeof seen);
    fake_agent_start(&agent, 0);
    settings = *config();
    settings.agent_url = agent.server.url;
    settings.agent_timeout_s = LOOPBACK_PATIENCE_MS / 1000.0;
    flight = flight_create_in(tree_root(), NULL, NULL, 0);
    snprintf(pattern, sizeof pattern, "%s/comfydd-*", tree_root());
    if (!flight || glob(pattern, 0, NULL, &found) || found.gl_pathc != 1) return -1;
    file = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
    globfree(&found);
    span_connect(flight, ignore);
    return file < 0 ? -1 : 0;
}

static int finish(void **state) {
    span_disconnect();
    flight_destroy(flight);
    close(file);
    fake_agent_stop(&agent);
    fake_agent_forget(&agent);
    return tree_teardown(state);
}

/* ---- what the process had done ---- */

static struct span *open_span(enum flight_span_kind kind, uint64_t root, uint64_t id) {
    struct flight_trace trace = {.trace_id_low = 1000 + root,
                                 .root_span_id = root,
                                 .agent_rate = -1,
                                 .rule_rate = -1,
                                 .limit_rate = -1,
                                 .priority = 1};
    return span_start(kind, &trace, id, kind == FLIGHT_WORKFLOW ? 0 : root, 1000 + id);
}

static void text(struct span *span, enum tag tag, const char *value) {
    span_text(span, tag, value, strlen(value));
}

static struct span *open_workflow(uint64_t root) {
    struct span *span = open_span(FLIGHT_WORKFLOW, root, root);
    text(span, TAG_PROMPT_ID, "prompt");
    text(span, TAG_JOB_ID, "job");
    return span;
}

static struct span *open_node(uint64_t root, uint64_t id, const char *node_id, const char *class_type) {
    struct span *span = open_span(FLIGHT_NODE, root, id);
    text(span, TAG_NODE_ID, node_id);
    text(span, TAG_NODE_CLASS_TYPE, class_type);
    return span;
}

static void finish_nodes(uint64_t root, uint64_t first, int count) {
    for (int i = 0; i < count; i++)
        span_finish(open_node(root, first + (uint64_t)i, "1", "KSampler"), 3000);
}

/* The handle of a span that stays open is given up: its slot is the flight memory's. */
static void leave_open(struct span *span) {
    span_disconnect();
    span_discard(span);
    span_connect(flight, ignore);
}

/* ---- recovering it ---- */

static void see(const struct recover_workflow *workflow, void *context) {
    assert_ptr_equal(context, &seen);
    seen.times++;
    seen.workflow = *workflow;
    snprintf(seen.prompt_id, sizeof seen.prompt_id, "%s", workflow->prompt_id);
    snprintf(seen.job_id, sizeof seen.job_id, "%s", workflow->job_id);
    snprintf(seen.node_id, sizeof seen.node_id, "%s", workflow->node_id);
    snprintf(seen.class_type, sizeof seen.class_type, "%s", workflow->class_type);
}

static int recover(double seconds) {
    return recover_send(file, &killed, &settings, seconds, -1, see, &seen, &result);
}

static void assert_recovered(int expected, uint64_t sent, uint64_t failed) {
    assert_int_equal(recover(0), expected);
    assert_int_equal(result.sent, sent);
    assert_int_equal(result.failed, failed);
}

/* Every span from `first` on has been received once. */
static void assert_received_once(uint64_t first, size_t count) {
    const struct fake_agent_seen *received = fake_agent_seen(&agent);
    assert_int_equal(received->span_count, count);
    for (size_t i = 0; i < count; i++) {
        size_t times = 0;
        for (size_t j = 0; j < count; j++)
            times += received->spans[j].span_id == first + i;
        assert_int_equal(times, 1);
    }
}

static void finished_and_open_spans_arrive_once(void **state) {
    (void)state;
    struct span *waiting = open_node(10, 99, "3", "SaveImage");
    span_wait(waiting, 1, 0);
    leave_open(waiting);
    leave_open(open_node(10, 12, "2", "KSampler"));
    leave_open(open_workflow(10));
    finish_nodes(10, 11, 1);
    assert_recovered(0, 3, 0);
    assert_received_once(10, 3);
    assert_int_equal(fake_agent_seen(&agent)->chunks, 1);
    assert_int_equal(result.workflows, 1);
    assert_recovered(0, 0, 0); /* all of it is marked */
    assert_int_equal(fake_agent_seen(&agent)->posts, 1);
}

static void the_running_workflow_is_shown(void **state) {
    (void)state;
    flight_note_figures(
        flight, &(struct flight_figures){.rss_bytes = 7, .vram_allocated_bytes = 8, .vram_peak_bytes = 9});
    leave_open(open_node(20, 23, "8", "Other"));
    leave_open(open_node(10, 11, "1", "Outer"));
    leave_open(open_node(10, 12, "2", "KSampler"));
    leave_open(open_workflow(10));
    finish_nodes(10, 13, 1); /* it was over */
    assert_recovered(0, 5, 0);
    assert_int_equal(seen.times, 1);
    assert_string_equal(seen.prompt_id, "prompt");
    assert_string_equal(seen.job_id, "job");
    assert_string_equal(seen.node_id, "2");
    assert_string_equal(seen.class_type, "KSampler");
    assert_int_equal(seen.workflow.rss_bytes, 7);
    assert_int_equal(seen.workflow.peak_vram_bytes, 9);
    assert_int_equal(seen.workflow.start_ns, 1010);
    assert_int_equal(seen.workflow.death_ns, 5000);
}

static void a_workflow_without_names_is_shown_too(void **state) {
    (void)state;
    leave_open(open_span(FLIGHT_WORKFLOW, 10, 10));
    assert_recovered(0, 1, 0);
    assert_int_equal(seen.times, 1);
    assert_string_equal(seen.prompt_id, "");
    assert_string_equal(seen.node_id, "");
}

static void an_unknown_death_was_at_the_last_sign_of_life(void **state) {
    (void)state;
    const struct recover_verdict unknown = {"killed", "ProcessKilled", "Nobody knows.", 0};
    leave_open(open_workflow(10));
    finish_nodes(10, 11, 1); /* ends at 3000 */
    flight_note_life(flight, 2000);
    settings.agent_url = "http://127.0.0.1:1";
    assert_int_equal(recover_send(file, &unknown, &settings, 0, -1, see, &seen, NULL), -EAGAIN);
    assert_int_equal(seen.workflow.death_ns, 3000);
    flight_note_life(flight, 4000);
    assert_int_equal(recover_send(file, &unknown, &settings, 0, -1, see, &seen, NULL), -EAGAIN);
    assert_int_equal(seen.workflow.death_ns, 4000);
    flight_note_life(flight, UINT64_MAX); /* a lie */
    assert_int_equal(recover_send(file, &unknown, &settings, 0, -1, see, &seen, NULL), -EAGAIN);
    assert_true(seen.workflow.death_ns <= clock_wall_ns());
}

/* The clock was set back between its beginning and the death. */
static void a_workflow_that_began_after_the_death_took_no_time(void **state) {
    (void)state;
    leave_open(open_workflow(killed.death_ns));
    assert_recovered(0, 1, 0);
    assert_int_equal(seen.workflow.death_ns, seen.workflow.start_ns);
}

static void a_snapshot_is_completed(void **state) {
    (void)state;
    leave_open(open_workflow(10));
    flight_note_snapshot(flight, 0, 10, 20000);
    assert_recovered(0, 1, 0);
    const struct fake_agent_seen *received = fake_agent_seen(&agent);
    assert_true(received->spans[0].long_running == 1);
    assert_true(isnan(received->spans[0].version));
}

static void that_it_had_stalled_is_an_event_where_the_agent_takes_such(void **state) {
    (void)state;
    agent.info = "{\"endpoints\": [\"/v0.4/traces\"], \"span_events\": true}";
    leave_open(open_workflow(10));
    flight_note_stall(flight, 1500, UINT64_C(2000000000));
    assert_recovered(0, 1, 0);
    assert_true(fake_agent_seen(&agent)->spans[0].has_events);
}

static void what_is_open_at_an_orderly_end_stays_in_its_file(void **state) {
    (void)state;
    struct stat status;
    leave_open(open_workflow(10));
    flight_remove_delivered(flight);
    assert_int_equal(fstat(file, &status), 0);
    assert_int_equal(status.st_nlink, 1);
}

/* ---- agents ---- */

static void assert_sent_later_after(const char *url) {
    finish_nodes(10, 11, 5);
    settings.agent_url = url;
    assert_recovered(-EAGAIN, 0, 0);
    settings.agent_url = agent.server.url;
    assert_recovered(0, 5, 0);
    assert_received_once(11, 5);
}

static void an_agent_that_is_away_gets_it_later(void **state) {
    (void)state;
    assert_sent_later_after("http://127.0.0.1:1");
}

static void patience_is_shown(void **state) {
    (void)state;
    finish_nodes(10, 11, 5);
    fake_agent_script(&agent, 3, (int[]){503, FAKE_AGENT_RESET, 429});
    assert_int_equal(recover(60), 0);
    assert_received_once(11, 5);
    assert_int_equal(fake_agent_seen(&agent)->posts, 4);
}

static void patience_has_an_end(void **state) {
    (void)state;
    int busy[32];
    for (int i = 0; i < 32; i++)
        busy[i] = 503;
    finish_nodes(10, 11, 5);
    fake_agent_script(&agent, 32, busy);
    uint64_t before = clock_mono_ns();
    assert_int_equal(recover(0.5), -EAGAIN);
    assert_true(clock_mono_ns() - before < UINT64_C(5000000000));
    assert_true(fake_agent_seen(&agent)->posts >= 2);
}

static void what_was_taken_before_a_failure_is_not_sent_again(void **state) {
    (void)state;
    finish_nodes(10, 11, 3000); /* more than a payload */
    fake_agent_script(&agent, 2, (int[]){200, 503});
    assert_int_equal(recover(0), -EAGAIN);
    uint64_t before = result.sent;
    assert_in_range(before, 1, 2999);
    assert_recovered(0, 3000 - before, 0);
    assert_received_once(11, 3000);
}

static void what_is_too_large_is_split(void **state) {
    (void)state;
    finish_nodes(10, 11, 200);
    fake_agent_limit(&agent, 20000);
    assert_recovered(0, 200, 0);
    assert_received_once(11, 200);
}

static void the_half_that_was_taken_is_not_sent_again(void **state) {
    (void)state;
    finish_nodes(10, 11, 200);
    fake_agent_script(&agent, 3, (int[]){413, 200, 503});
    assert_int_equal(recover(60), 0);
    assert_int_equal(result.sent, 200);
    assert_received_once(11, 200);
}

static void patience_ends_with_an_interrupt(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    finish_nodes(10, 11, 5);
    settings.agent_url = "http://127.0.0.1:1"; /* nobody is there */
    uint64_t begin = clock_mono_ns();
    assert_int_equal(recover_send(file, &killed, &settings, 60, ends[0], NULL, NULL, &result), -EAGAIN);
    assert_true(clock_mono_ns() - begin < 30 * UINT64_C(1000000000));
    settings.agent_url = agent.server.url;
    assert_recovered(0, 5, 0);
    close(ends[0]);
    close(ends[1]);
}

/* Whether the file is worth keeping for it is the caller's to say. */
static void what_is_refused_stays_in_the_file(void **state) {
    (void)state;
    finish_nodes(10, 11, 5);
    fake_agent_script(&agent, 1, (int[]){400});
    assert_recovered(0, 0, 5);
    assert_recovered(0, 5, 0);
    assert_recovered(0, 0, 0);
    assert_int_equal(fake_agent_seen(&agent)->posts, 2);
}

static void a_look_tells_the_same_and_changes_nothing(void **state) {
    (void)state;
    finish_nodes(10, 11, 5);
    leave_open(open_workflow(10));
    leave_open(open_node(10, 20, "7", "KSampler"));
    assert_int_equal(recover_look(file, &killed, see, &seen, &result), 0);
    assert_int_equal(result.held, 7);
    assert_int_equal(result.workflows, 1);
    assert_int_equal(seen.times, 1);
    assert_string_equal(seen.node_id, "7");
    assert_int_equal(agent.server.connections, 0);
    assert_recovered(0, 7, 0);
}

static void that_jobs_were_recorded_is_noted_in_the_file(void **state) {
    (void)state;
    struct flight_header header;
    assert_int_equal(recover_read_header(file, &header), 0);
    assert_false(header.told);
    recover_note_told(file);
    assert_int_equal(recover_read_header(file, &header), 0);
    assert_true(header.told);
}

static void a_death_that_nobody_saw_is_told_from_the_header(void **state) {
    (void)state;
    const struct process_identity self = process_self(), other = {.pid = self.pid, .start_ticks = 1};
    struct flight_header header;
    assert_int_equal(recover_read_header(file, &header), 0);
    assert_string_equal(recover_unseen(&header, &other).error_type, "ProcessKilled");
    assert_string_equal(recover_unseen(&header, &self).error_type, "ProcessRestarted");
    header.clean_exit = 1;
    assert_string_equal(recover_unseen(&header, &other).error_type, "ProcessEnded");
    strcpy(header.boot_id, "another");
    assert_string_equal(recover_unseen(&header, &self).error_type, "HostRestarted");
    recover_note_replaced(file);
    assert_int_equal(recover_read_header(file, &header), 0);
    assert_string_equal(recover_unseen(&header, &other).error_type, "ProcessRestarted");
}

static void an_address_that_cannot_be_used_loses_nothing(void **state) {
    (void)state;
    assert_sent_later_after("ftp://127.0.0.1");
}

/* ---- files ---- */

static void an_empty_memory_asks_no_agent(void **state) {
    (void)state;
    assert_recovered(0, 0, 0);
    assert_int_equal(agent.server.connections, 0);
}

static void a_file_that_was_cut_is_no_flight_memory(void **state) {
    (void)state;
    struct stat status;
    finish_nodes(10, 11, 5);
    assert_int_equal(fstat(file, &status), 0);
    char copy[] = "/tmp/comfydd-cut-XXXXXX";
    char *content = malloc((size_t)status.st_size);
    int cut = mkstemp(copy);
    assert_int_equal(pread(file, content, (size_t)status.st_size, 0), status.st_size);
    assert_int_equal(write(cut, content, (size_t)status.st_size), status.st_size);
    for (off_t size = status.st_size - 1; size > 0; size /= 2) {
        assert_int_equal(ftruncate(cut, size), 0);
        assert_int_equal(recover_send(cut, &killed, &settings, 0, -1, NULL, NULL, &result), -EINVAL);
    }
    assert_int_equal(ftruncate(cut, (off_t)1 << 40), 0); /* nor is one that is too large to be */
    assert_int_equal(recover_send(cut, &killed, &settings, 0, -1, NULL, NULL, &result), -EINVAL);
    close(cut);
    unlink(copy);
    free(content);
    assert_int_equal(agent.server.connections, 0);
}

static struct flight_header *header(void) {
    size_t size;
    return (struct flight_header *)(uintptr_t)flight_memory(flight, &size);
}

static void another_version_is_left_to_it(void **state) {
    (void)state;
    struct flight_header read;
    finish_nodes(10, 11, 5);
    header()->version++;
    assert_recovered(-ENOTSUP, 0, 0);
    assert_int_equal(recover_read_header(file, &read), -ENOTSUP);
    header()->version--;
    header()->magic = 0; /* never finished */
    assert_recovered(-EINVAL, 0, 0);
    assert_int_equal(recover_read_header(file, &read), -EINVAL);
    header()->magic = FLIGHT_MAGIC;
    memset(header()->boot_id, 'x', sizeof header()->boot_id);
    assert_int_equal(recover_read_header(file, &read), 0);
    assert_int_equal(strlen(read.boot_id), sizeof read.boot_id - 1);
}

static void torn_records_end_the_ring_but_not_the_slots(void **state) {
    (void)state;
    finish_nodes(10, 11, 3);
    leave_open(open_workflow(10));
    struct flight_record *first = (struct flight_record *)((unsigned char *)header() + header()->ring_offset);
    ((struct flight_record *)((unsigned char *)first + first->size))->size = 12345;
    assert_recovered(0, 2, 0); /* the first node, and the workflow */
}

/* A table of names that would be searched for hours. */
static void a_key_table_of_nothing_but_names_is_refused(void **state) {
    (void)state;
    finish_nodes(10, 11, 1);
    header()->keys_offset = (uint32_t)header()->ring_offset + 1024;
    header()->keys_size = 1 << 20; /* empty names */
    assert_recovered(-EINVAL, 0, 0);
}

/* A program of another time may lack tags that are added here. */
static void names_that_the_file_lacks_are_added(void **state) {
    (void)state;
    leave_open(open_workflow(10));
    header()->keys_size = 0;
    assert_recovered(0, 1, 0);
    assert_received_once(10, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
        TEST(finished_and_open_spans_arrive_once),
        TEST(the_running_workflow_is_shown),
        TEST(a_workflow_without_names_is_shown_too),
        TEST(an_unknown_death_was_at_the_last_sign_of_life),
        TEST(a_workflow_that_began_after_the_death_took_no_time),
        TEST(a_snapshot_is_completed),
        TEST(what_is_open_at_an_orderly_end_stays_in_its_file),
        TEST(that_it_had_stalled_is_an_event_where_the_agent_takes_such),
        TEST(an_agent_that_is_away_gets_it_later),
        TEST(patience_is_shown),
        TEST(patience_has_an_end),
        TEST(what_was_taken_before_a_failure_is_not_sent_again),
        TEST(what_is_too_large_is_split),
        TEST(the_half_that_was_taken_is_not_sent_again),
        TEST(patience_ends_with_an_interrupt),
        TEST(what_is_refused_stays_in_the_file),
        TEST(a_look_tells_the_same_and_changes_nothing),
        TEST(that_jobs_were_recorded_is_noted_in_the_file),
        TEST(a_death_that_nobody_saw_is_told_from_the_header),
        TEST(an_address_that_cannot_be_used_loses_nothing),
        TEST(an_empty_memory_asks_no_agent),
        TEST(a_file_that_was_cut_is_no_flight_memory),
        TEST(another_version_is_left_to_it),
        TEST(torn_records_end_the_ring_but_not_the_slots),
        TEST(a_key_table_of_nothing_but_names_is_refused),
        TEST(names_that_the_file_lacks_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
