/* recover: sends what a dead process had recorded and not delivered.
 *
 * Finished spans go as they are; open ones (a node, its workflow) are closed at the moment of death with the verdict; nodes
 * that only waited for their inputs are left out. Snapshots that were sent of them before are completed by that, not
 * doubled: same ids. Works on a file of any content, checked by flight_view, and on a private copy, so that nothing changes
 * under it. What the agent has taken is marked in the file, and a second try does not send it again. What the agent had
 * taken when the process died, before it could note that, arrives twice. One thread. */
#ifndef COMFYDD_RECOVER_H
#define COMFYDD_RECOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct flight_header;
struct process_identity;

/* Why the process ended, as tags of the spans that were open. Texts are borrowed. */
struct recover_verdict {
    const char *status;     /* workflow.status: "killed", "interrupted", "error" */
    const char *error_type; /* "OOMKilled", "ProcessKilled", "SIGSEGV"; NULL or empty: no error */
    const char *message;    /* one sentence for people; NULL or empty: none */
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
    uint64_t held;         /* spans that were in it, and not delivered */
    uint64_t sent, failed; /* of these: that the agent has taken, or refused for good */
    unsigned workflows;    /* that were running */
};

/* The verdict on a death that nobody has seen: what the header tells. `self` is the calling process. Texts are constants. */
struct recover_verdict recover_unseen(const struct flight_header *header,
                                      const struct process_identity *self);

/* Reads the header of a flight memory file, for who must judge its death. 0, -EINVAL (no flight memory, or never finished),
 * -ENOTSUP (another version), or what reading says. */
int recover_read_header(int file, struct flight_header *header);

/* Sends everything in `file` (from flight_files, or opened for reading and writing), trying again for at most
 * `seconds` while the agent does not take it, and not once the descriptor `interrupt` (-1: none) can be read. `see` (may be
 * NULL) is called once for each workflow that was running, whether the agent answers or not, so at every try. `result` may
 * be NULL.
 * 0: nothing is left in it but what the agent has refused for good (result->failed). -EAGAIN: the agent could not be reached
 * or does not take spans now, or its address cannot be used: keep the file. -EINVAL: no flight memory. -ENOTSUP: of another
 * version. -ENOMEM, or what reading says. */
int recover_send(int file, const struct recover_verdict *verdict, const struct config *config, double seconds,
                 int interrupt, void (*see)(const struct recover_workflow *, void *), void *context,
                 struct recover_result *result);

/* The same without an agent: only looks. Never -EAGAIN. */
int recover_look(int file, const struct recover_verdict *verdict,
                 void (*see)(const struct recover_workflow *, void *), void *context,
                 struct recover_result *result);

/* Whether a later attempt may end otherwise, for the same file. */
bool recover_is_temporary(int error);

/* Notes in the file (header.told) that the jobs that were running have been recorded. */
void recover_note_told(int file);

/* Notes in the file (header.replaced) that its process has become another program. */
void recover_note_replaced(int file);

#endif
