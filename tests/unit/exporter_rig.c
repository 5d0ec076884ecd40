#include "exporter_rig.h"

#include "base/clock.h"
#include "export/exporter.h"
#include "trace/sampler.h"
#include "trace/span.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where sanitizers report, if there are any: what we say on stderr is read by the tests. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static void agent_starts(struct rig *rig, int port) {
    fake_agent_start(&rig->agent, port);
    rig->agent_is_up = true;
}

int rig_setup(void **state) {
    static struct rig only;
    struct rig *rig = *state = &only;
    memset(rig, 0, sizeof *rig);
    agent_starts(rig, 0);
    strcpy(rig->url, rig->agent.server.url);
    rig->config = *config();
    rig->config.agent_url = rig->url;
    rig->config.agent_timeout_s = LOOPBACK_PATIENCE_MS / 1000.0;
    rig->config.flush_interval_s = 0.005;
    rig->config.flight_folder = "/nonexistent"; /* nobody else's orphans */
    rig->log = tmpfile();
    rig->stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (!rig->log || rig->stderr_fd < 0) return -1;
    if (__sanitizer_set_report_fd) __sanitizer_set_report_fd((void *)(intptr_t)rig->stderr_fd);
    dup2(fileno(rig->log), STDERR_FILENO);
    return 0;
}

void rig_start(struct rig *rig) {
    sampler_init(&rig->config);
    rig->flight = flight_create(NULL, 0);
    assert_non_null(rig->flight);
    assert_int_equal(exporter_start(rig->flight, &rig->config), 0);
    span_connect(rig->flight, exporter_wake);
}

void rig_stop(struct rig *rig) {
    span_disconnect();
    assert_true(exporter_stop(LOOPBACK_PATIENCE_MS));
    flight_destroy(rig->flight);
    rig->flight = NULL;
}

int rig_teardown(void **state) {
    struct rig *rig = *state;
    char line[1100];
    span_disconnect();
    bool is_stopped = exporter_stop(LOOPBACK_PATIENCE_MS);
    if (is_stopped) flight_destroy(rig->flight);
    if (rig->agent_is_up) fake_agent_stop(&rig->agent);
    fake_agent_forget(&rig->agent);
    sampler_finish();
    dup2(rig->stderr_fd, STDERR_FILENO);
    close(rig->stderr_fd);
    if (__sanitizer_set_report_fd) __sanitizer_set_report_fd((void *)(intptr_t)STDERR_FILENO);
    rewind(rig->log);
    while (fgets(line, sizeof line, rig->log)) /* a failed assertion's words */
        if (strncmp(line, "comfydd: ", 9)) fputs(line, stderr);
    fclose(rig->log);
    return is_stopped ? 0 : -1;
}

void rig_agent_leaves(struct rig *rig) {
    fake_agent_stop(&rig->agent);
    fake_agent_forget(&rig->agent);
    rig->agent_is_up = false;
}

void rig_agent_returns(struct rig *rig) {
    agent_starts(rig, atoi(strrchr(rig->url, ':') + 1));
}

const struct fake_agent_seen *rig_seen(struct rig *rig) {
    return fake_agent_seen(&rig->agent);
}

int rig_lines(struct rig *rig, const char *text) {
    char line[1100];
    int count = 0;
    rewind(rig->log);
    while (fgets(line, sizeof line, rig->log))
        count += strstr(line, text) != NULL;
    return count;
}

struct flight_trace rig_trace(uint64_t root) {
    return (struct flight_trace){.trace_id_low = 1000000 + root,
                                 .root_span_id = root,
                                 .agent_rate = -1,
                                 .rule_rate = -1,
                                 .limit_rate = -1,
                                 .priority = 1};
}

void rig_nodes(uint64_t root, uint64_t first, int count) {
    struct flight_trace trace = rig_trace(root);
    for (int i = 0; i < count; i++) {
        struct span *span = span_start(FLIGHT_NODE, &trace, first + (uint64_t)i, root, clock_wall_ns());
        span_text(span, TAG_NODE_CLASS_TYPE, "KSampler", 8);
        span_finish(span, clock_wall_ns());
    }
}

void rig_workflow(uint64_t root) {
    struct flight_trace trace = rig_trace(root);
    span_finish(span_start(FLIGHT_WORKFLOW, &trace, root, 0, clock_wall_ns()), clock_wall_ns());
}

void rig_assert_counts(const struct rig *rig, uint64_t recorded, uint64_t sent, uint64_t dropped) {
    struct flight_counts counts = flight_counts(rig->flight);
    assert_int_equal(counts.recorded, recorded);
    assert_int_equal(counts.sent, sent);
    assert_int_equal(counts.dropped, dropped);
}

void rig_flush(void) {
    assert_true(exporter_flush(LOOPBACK_PATIENCE_MS));
}
