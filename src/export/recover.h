/* recover: sends what a dead process had recorded and not delivered.
 *
 * Finished spans go as they are; open ones (a node, its workflow) are closed at the moment of death with the verdict. Snapshots
 * that were sent of them before are completed by that, not doubled: same ids. Works on a flight memory of any state, checked
 * by flight_view, and on a private copy, so that nothing changes under it. One thread. */
#ifndef COMFYDD_RECOVER_H
#define COMFYDD_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct flight_view;

/* Why the process ended, as tags of the spans that were open. Texts are borrowed. */
struct recover_verdict {
    const char *status;     /* workflow.status: "killed" */
    const char *error_type; /* "OOMKilled", "ProcessKilled", "SIGSEGV" */
    const char *message;    /* one sentence for people */
    uint64_t death_ns;      /* since the Unix epoch; 0: unknown, then the last sign of life counts */
};

/* A workflow that was running. Texts are valid during the call. */
struct recover_workflow {
    const char *prompt_id, *job_id;      /* empty when unknown */
    const char *node_id, *class_type;    /* of the node that was running; empty when none was */
    uint64_t peak_vram_bytes, rss_bytes; /* the last known; 0 when unknown */
    uint64_t start_ns, death_ns;
};

struct recover_result {
    uint64_t sent, failed; /* spans */
    unsigned workflows;    /* that were running */
};

/* Sends everything, with at most `seconds` of patience for the agent. `see` (may be NULL) is called once for each workflow that
 * was running, whether the agent answers or not. 0, or -errno when the agent could not be reached: then nothing is lost, the
 * same memory can be tried again (what was delivered is marked in it and not sent twice). */
int recover_send(struct flight_view *view, const struct recover_verdict *verdict, const struct config *config,
                 double seconds, void (*see)(const struct recover_workflow *, void *), void *context,
                 struct recover_result *result);

#endif
