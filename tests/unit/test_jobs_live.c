#include "base/process.h"
#include "cli/jobs.h"
#include "cli/jobs_live.h"
#include "cli/jobs_watch.h"
#include "flight.h"
#include "flight_files.h"
#include "trace/span.h"
#include "unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what is reported, one line for each event ---- */

static char said[65536];

static void note(void *context, const struct job_event *event) {
    (void)context;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s %s %s %llu-%llu %s %s %llu [%s]\n", event->job_id,
             event->prompt_id, event->state, (unsigned long long)event->started_ns,
             (unsigned long long)event->at_ns, event->node_id, event->class_type,
             (unsigned long long)event->peak_memory_bytes, event->reason);
}

static void assert_said(const char *lines) {
    assert_string_equal(said, lines);
    said[0] = '\0';
}

/* ---- a process, and looks at it ---- */

static struct flight *flight;
static struct jobs_live *live;

static void nobody(enum flight_span_kind kind) {
    (void)kind;
}

static int set_up(void **state) {
    (void)state;
    said[0] = '\0';
    flight = flight_create(NULL, 0);
    live = jobs_live_create(note, NULL);
    if (!flight || !live) return -1;
    span_connect(flight, nobody);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    jobs_live_destroy(live);
    span_disconnect();
    flight_destroy(flight);
    return 0;
}

static void look_at(const void *memory, size_t size) {
    struct flight_view view;
    assert_int_equal(flight_view_open(&view, memory, size), 0);
    jobs_live_see(live, &view);
    flight_view_close(&view);
}

static void look(void) {
    size_t size;
    const void *memory = flight_memory(flight, &size);
    look_at(memory, size);
}

static void text(struct span *span, enum tag key, const char *value) {
    span_text(span, key, value, strlen(value));
}

/* A workflow whose id is its trace's root, as all of ours. */
static struct span *start_workflow(uint64_t id, uint64_t at) {
    char name[32];
    struct flight_trace trace = {.trace_id_low = id, .root_span_id = id, .priority = 1};
    struct span *span = span_start(FLIGHT_WORKFLOW, &trace, id, 0, at);
    snprintf(name, sizeof name, "p%llu", (unsigned long long)id);
    text(span, TAG_PROMPT_ID, name);
    name[0] = 'j';
    text(span, TAG_JOB_ID, name);
    return span;
}

static void end_workflow(struct span *span, const char *status, uint64_t at) {
    text(span, TAG_WORKFLOW_STATUS, status);
    span_finish(span, at);
}

static void run_node(uint64_t workflow, const char *id, const char *result, uint64_t at) {
    struct flight_trace trace = {.trace_id_low = workflow, .root_span_id = workflow, .priority = 1};
    struct span *span = span_start(FLIGHT_NODE, &trace, 0, workflow, at);
    text(span, TAG_NODE_ID, id);
    text(span, TAG_NODE_CLASS_TYPE, "KSampler");
    text(span, TAG_NODE_RESULT, result);
    span_finish(span, at + 1);
}

/* What the exporter does with what the agent has taken. */
static void deliver_all(void) {
    uint64_t position = 0;
    for (struct flight_record *record; (record = flight_next(flight, &position));)
        flight_settle(flight, record, true);
    flight_trim(flight);
}

/* ---- one job ---- */

static void each_state_is_reported_once(void **state) {
    (void)state;
    look();
    struct span *workflow = start_workflow(1, 100);
    assert_said("");
    look();
    assert_said("j1 p1 running 100-100   0 []\n");
    run_node(1, "4", "SUCCESS", 110);
    look();
    look();
    assert_said("");
    end_workflow(workflow, "success", 200);
    look();
    assert_said("j1 p1 succeeded 100-200   0 []\n");
    look();
    look();
    look();
    assert_said("");
}

static void a_delivered_end_is_seen_too(void **state) {
    (void)state;
    struct span *workflow = start_workflow(1, 100);
    look();
    end_workflow(workflow, "success", 200);
    deliver_all();
    look();
    assert_said("j1 p1 running 100-100   0 []\nj1 p1 succeeded 100-200   0 []\n");
}

static void a_job_between_two_looks_is_reported_whole(void **state) {
    (void)state;
    look();
    end_workflow(start_workflow(1, 100), "success", 200);
    deliver_all();
    end_workflow(start_workflow(2, 300), "interrupted", 400);
    look();
    assert_said("j1 p1 running 100-100   0 []\nj1 p1 succeeded 100-200   0 []\n"
                "j2 p2 running 300-300   0 []\nj2 p2 interrupted 300-400   0 []\n");
}

static void a_failure_has_its_reason_node_and_peak(void **state) {
    (void)state;
    struct span *workflow = start_workflow(1, 100);
    run_node(1, "3", "SUCCESS", 110);
    look();
    assert_said("j1 p1 running 100-100   0 []\n");
    run_node(1, "4", "FAILURE", 120);
    run_node(1, "5", "FAILURE", 121);
    look();
    span_error(workflow, "RuntimeError", "out of memory", NULL);
    span_number(workflow, TAG_GPU_PEAK, 5e9);
    end_workflow(workflow, "error", 200);
    look();
    assert_said("j1 p1 failed 100-200 4 KSampler 5000000000 [RuntimeError: out of memory]\n");

    workflow = start_workflow(2, 300); /* all at once: running knows nothing of the node yet */
    run_node(2, "6", "INTERRUPTED", 310);
    end_workflow(workflow, "interrupted", 320);
    look();
    assert_said("j2 p2 running 300-300   0 []\nj2 p2 interrupted 300-320 6 KSampler 0 []\n");
}

static void nodes_alone_are_no_jobs(void **state) {
    (void)state;
    run_node(1, "4", "FAILURE", 120);
    look();
    look();
    look();
    jobs_live_gone(live, 500);
    assert_said("");
}

/* ---- ends that are not seen ---- */

static void a_dropped_end_is_unknown(void **state) {
    (void)state;
    struct span *workflow = start_workflow(1, 100), *other = start_workflow(2, 110);
    look();
    assert_said("j1 p1 running 100-100   0 []\nj2 p2 running 110-110   0 []\n");
    span_discard(workflow); /* as when the ring is full: it leaves its slot and comes nowhere */
    look();
    assert_said("");
    flight_note_life(flight, 900);
    look();
    assert_said("j1 p1 unknown 100-900   0 [its end was not seen: its span was dropped]\n");
    end_workflow(other, "success", 200);
    look();
    look();
    look();
    assert_said("j2 p2 succeeded 110-200   0 []\n");
}

/* The end comes after the view has read the ring's head and before it reads the slots: it is in neither. */
static void an_end_during_the_look_is_seen_by_the_next(void **state) {
    (void)state;
    struct span *workflow = start_workflow(1, 100);
    look();
    assert_said("j1 p1 running 100-100   0 []\n");
    struct flight_view view;
    size_t size;
    const void *memory = flight_memory(flight, &size);
    assert_int_equal(flight_view_open(&view, memory, size), 0);
    end_workflow(workflow, "success", 200);
    jobs_live_see(live, &view);
    flight_view_close(&view);
    assert_said("");
    look();
    assert_said("j1 p1 succeeded 100-200   0 []\n");
}

static void what_runs_in_a_process_that_has_gone_has_failed(void **state) {
    (void)state;
    struct span *first = start_workflow(1, 100), *second = start_workflow(2, 110);
    look();
    end_workflow(second, "success", 200);
    look();
    said[0] = '\0';
    jobs_live_gone(live, 500);
    assert_said("j1 p1 failed 100-500   0 [its process ended while it was running]\n");
    jobs_live_gone(live, 600);
    assert_said("");
    span_discard(first);
}

/* ---- many ---- */

static void count_ends(void *context, const struct job_event *event) {
    *(unsigned *)context += strcmp(event->state, "succeeded") == 0;
}

/* Ends workflows, all of them delivered at once, until `bytes` of the ring have been used. */
static unsigned fill_ring(uint64_t bytes) {
    static uint64_t id;
    size_t size;
    const struct flight_header *header = flight_memory(flight, &size);
    unsigned count = 0;
    for (uint64_t before = header->ring_head; header->ring_head - before < bytes; count++) {
        end_workflow(start_workflow(++id, 100), "success", 200);
        deliver_all();
    }
    return count;
}

static void ends_are_seen_while_the_ring_goes_round(void **state) {
    (void)state;
    unsigned seen = 0, ended = 0;
    jobs_live_destroy(live);
    live = jobs_live_create(count_ends, &seen);
    for (int looks = 0; looks < 8; looks++) {
        ended += fill_ring(FLIGHT_RING_SIZE / 2 - 4096);
        look();
        assert_int_equal(seen, ended);
    }
    fill_ring(FLIGHT_RING_SIZE * 3 / 4); /* too much for one look: nothing of it can be trusted */
    look();
    assert_int_equal(seen, ended);
    ended += fill_ring(4096);
    look();
    assert_int_equal(seen, ended);
}

/* ---- the files of processes ---- */

static char folder[64];
static int to_child[2], from_child[2];

static void set_slot_size(struct flight *of, uint32_t slot_size) {
    size_t size;
    ((struct flight_header *)flight_memory(of, &size))->slot_size = slot_size;
}

/* What the parent asks for, a letter each: start a workflow, end it; answers with the letter. */
static int child_main(const struct process_identity *supervisor) {
    struct span *workflow = NULL;
    struct flight *mine = flight_create_in(folder, supervisor, NULL, 0);
    char letter;
    if (!mine) return 2;
    span_connect(mine, nobody);
    while (read(to_child[0], &letter, 1) == 1) {
        if (letter == 's') workflow = start_workflow(7, 100);
        if (letter == 'e') end_workflow(workflow, "success", 200);
        if (letter == 'r') flight_files_remove();
        if (letter == 'b' || letter == 'g') set_slot_size(mine, letter == 'b' ? 0 : FLIGHT_SLOT_SIZE);
        if (write(from_child[1], &letter, 1) != 1) return 3;
    }
    return 0;
}

static pid_t start_child(void) {
    struct process_identity self = process_self();
    assert_int_equal(pipe(to_child), 0);
    assert_int_equal(pipe(from_child), 0);
    span_disconnect();
    pid_t child = fork();
    if (child == 0) {
        close(to_child[1]);
        flight_destroy(flight);
        _exit(child_main(&self));
    }
    close(to_child[0]);
    close(from_child[1]);
    return child;
}

static void tell(char letter) {
    char answer;
    assert_int_equal(write(to_child[1], &letter, 1), 1);
    assert_int_equal(read(from_child[0], &answer, 1), 1);
    assert_int_equal(answer, letter);
}

static void end_child(pid_t child) {
    int status;
    close(to_child[1]);
    close(from_child[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static struct jobs_watch *make_watch(void) {
    struct process_identity self = process_self();
    strcpy(folder, "/tmp/comfydd-watch-XXXXXX");
    assert_non_null(mkdtemp(folder));
    struct jobs_watch *watch = jobs_watch_create(folder, &self, note, NULL);
    assert_non_null(watch);
    jobs_watch_look(watch);
    return watch;
}

static void remove_watch(struct jobs_watch *watch) {
    jobs_watch_destroy(watch);
    assert_int_equal(rmdir(folder), 0);
}

static void jobs_of_a_process_are_seen_to_its_orderly_end(void **state) {
    (void)state;
    struct jobs_watch *watch = make_watch();
    pid_t child = start_child();
    tell('s');
    jobs_watch_look(watch);
    jobs_watch_look(watch);
    assert_said("j7 p7 running 100-100   0 []\n");
    tell('e');
    tell('r');
    end_child(child);
    jobs_watch_look(watch);
    jobs_watch_look(watch);
    assert_said("j7 p7 succeeded 100-200   0 []\n");
    remove_watch(watch);
}

static void a_file_that_cannot_be_read_now_is_looked_at_again(void **state) {
    (void)state;
    struct jobs_watch *watch = make_watch();
    pid_t child = start_child();
    tell('s');
    jobs_watch_look(watch);
    tell('b'); /* as if it had been caught in the middle of a change */
    jobs_watch_look(watch);
    assert_said("j7 p7 running 100-100   0 []\n");
    tell('g');
    tell('e');
    jobs_watch_look(watch);
    assert_said("j7 p7 succeeded 100-200   0 []\n");
    tell('r');
    end_child(child);
    jobs_watch_look(watch);
    remove_watch(watch);
}

static void a_job_that_its_process_left_unfinished_has_failed(void **state) {
    (void)state;
    struct jobs_watch *watch = make_watch();
    pid_t child = start_child();
    tell('s');
    jobs_watch_look(watch);
    said[0] = '\0';
    tell('r');
    end_child(child);
    jobs_watch_look(watch);
    assert_non_null(strstr(said, "j7 p7 failed 100-"));
    assert_non_null(strstr(said, "[its process ended while it was running]\n"));
    said[0] = '\0';
    jobs_watch_look(watch);
    assert_said("");
    remove_watch(watch);
}

static bool remove_file(void *context, int file, const char *path) {
    (void)file;
    assert_int_equal(unlink(path), 0);
    ++*(int *)context;
    return true;
}

/* The verdict is somebody else's, and so is the file. */
static void what_a_kill_leaves_is_not_ours_to_report(void **state) {
    (void)state;
    int removed = 0;
    struct process_identity self = process_self();
    struct jobs_watch *watch = make_watch();
    pid_t child = start_child();
    tell('s');
    end_child(child); /* without removing its file, as after a kill */
    for (int i = 0; i < 3; i++)
        jobs_watch_look(watch); /* seen for the first time when it is dead */
    assert_said("j7 p7 running 100-100   0 []\n");
    assert_int_equal(flight_files_orphans(folder, &self, true, remove_file, &removed), 0);
    assert_int_equal(removed, 1);
    jobs_watch_look(watch);
    assert_said("");
    remove_watch(watch);
}

static void processes_of_another_supervisor_are_not_watched(void **state) {
    (void)state;
    struct process_identity other = {.pid = 1, .start_ticks = 1};
    struct jobs_watch *ours = make_watch(), *watch = jobs_watch_create(folder, &other, note, NULL);
    pid_t child = start_child();
    tell('s');
    jobs_watch_look(watch);
    assert_said("");
    tell('r');
    end_child(child);
    jobs_watch_destroy(watch);
    remove_watch(ours);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(each_state_is_reported_once),
        TEST(a_delivered_end_is_seen_too),
        TEST(a_job_between_two_looks_is_reported_whole),
        TEST(a_failure_has_its_reason_node_and_peak),
        TEST(nodes_alone_are_no_jobs),
        TEST(a_dropped_end_is_unknown),
        TEST(an_end_during_the_look_is_seen_by_the_next),
        TEST(what_runs_in_a_process_that_has_gone_has_failed),
        TEST(ends_are_seen_while_the_ring_goes_round),
        TEST(jobs_of_a_process_are_seen_to_its_orderly_end),
        TEST(a_file_that_cannot_be_read_now_is_looked_at_again),
        TEST(a_job_that_its_process_left_unfinished_has_failed),
        TEST(what_a_kill_leaves_is_not_ours_to_report),
        TEST(processes_of_another_supervisor_are_not_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
