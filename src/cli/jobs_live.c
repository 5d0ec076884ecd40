#include "cli/jobs_live.h"

#include "cli/jobs.h"
#include "flight.h"
#include "trace/tags.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID = 256,
    REASON = 2048,
    /* A span moves from its slot to the ring. When it does so while we look, it is in neither for us: only what is missing
     * twice has gone. */
    LOOKS_MISSED = 2,
};

struct job {
    struct job *next;
    uint64_t span_id; /* of its workflow */
    uint64_t started_ns;
    bool reported, open; /* open: in this look */
    unsigned missed;     /* looks */
    char job_id[ID], prompt_id[ID];
    char node_id[ID], class_type[ID]; /* of the node that failed or was interrupted */
};

struct jobs_live {
    void (*report)(void *context, const struct job_event *event);
    void *context;
    struct job *jobs; /* that have begun and not ended; owned */
    uint64_t position;
    const struct flight_view *view; /* during a look */
};

struct jobs_live *jobs_live_create(void (*report)(void *context, const struct job_event *event),
                                   void *context) {
    struct jobs_live *live = calloc(1, sizeof *live);
    if (live) *live = (struct jobs_live){.report = report, .context = context};
    return live;
}

/* ---- tags ---- */

struct found_tag {
    const char *text; /* not terminated; NULL: not there */
    size_t size;
    double number;
};

/* The last one of that name, as when spans are sent. */
static struct found_tag find_tag(const struct flight_view *view, const struct flight_span *span,
                                 const void *tags, enum tag key) {
    struct found_tag found = {0};
    struct flight_tag tag;
    const void *value;
    for (size_t offset = 0; flight_tag_next(tags, span->tags_size, &offset, &tag, &value);) {
        if (strcmp(view->names[tag.key], tag_names[key]) != 0) continue;
        if (tag.type == FLIGHT_TEXT)
            found = (struct found_tag){.text = value, .size = tag.size};
        else
            memcpy(&found.number, value, sizeof found.number);
    }
    return found;
}

static bool tag_is(struct found_tag tag, const char *text) {
    return tag.size == strlen(text) && memcmp(tag.text, text, tag.size) == 0;
}

static void copy_tag(char *to, size_t room, struct found_tag tag) {
    if (tag.text) snprintf(to, room, "%.*s", (int)tag.size, tag.text);
}

/* ---- the jobs at hand ---- */

static struct job *job_of(struct jobs_live *live, uint64_t span_id) {
    struct job *job = live->jobs;
    while (job && job->span_id != span_id)
        job = job->next;
    if (job) return job;
    job = calloc(1, sizeof *job);
    if (!job) return NULL;
    *job = (struct job){.next = live->jobs, .span_id = span_id};
    live->jobs = job;
    return job;
}

static void forget(struct jobs_live *live, struct job *job) {
    struct job **at = &live->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    free(job);
}

static const char running[] = "running";

static void report(struct jobs_live *live, const struct job *job, const char *state, const char *reason,
                   uint64_t peak_bytes, uint64_t at_ns) {
    bool has_node =
        state != running; /* when it began none had failed, though we may know by now that one has */
    const struct job_event event = {.job_id = job->job_id,
                                    .prompt_id = job->prompt_id,
                                    .state = state,
                                    .reason = reason,
                                    .node_id = has_node ? job->node_id : "",
                                    .class_type = has_node ? job->class_type : "",
                                    .peak_memory_bytes = peak_bytes,
                                    .started_ns = job->started_ns,
                                    .at_ns = at_ns};
    live->report(live->context, &event);
}

/* A workflow, running or ended, is known by now and has been reported as running. */
static struct job *begun(struct jobs_live *live, const struct flight_span *span, const void *tags) {
    struct job *job = job_of(live, span->span_id);
    if (!job) return NULL;
    job->started_ns = span->start_ns;
    copy_tag(job->job_id, sizeof job->job_id, find_tag(live->view, span, tags, TAG_JOB_ID));
    copy_tag(job->prompt_id, sizeof job->prompt_id, find_tag(live->view, span, tags, TAG_PROMPT_ID));
    if (!job->reported) report(live, job, running, "", 0, span->start_ns);
    job->reported = true;
    return job;
}

/* ---- what happened ---- */

static void workflow_ended(struct jobs_live *live, const struct flight_span *span, const void *tags) {
    const struct flight_view *view = live->view;
    struct found_tag status = find_tag(view, span, tags, TAG_WORKFLOW_STATUS);
    struct found_tag type = find_tag(view, span, tags, TAG_ERROR_TYPE);
    struct found_tag message = find_tag(view, span, tags, TAG_ERROR_MESSAGE);
    double peak = find_tag(view, span, tags, TAG_GPU_PEAK).number;
    struct job *job = begun(live, span, tags);
    if (!job) return;
    char reason[REASON] = "";
    if (type.text)
        snprintf(reason, sizeof reason, "%.*s%s%.*s", (int)type.size, type.text, message.size ? ": " : "",
                 (int)message.size, message.size ? message.text : "");
    const char *state = tag_is(status, "success")       ? "succeeded"
                        : tag_is(status, "interrupted") ? "interrupted"
                                                        : "failed";
    report(live, job, state, reason, peak > 0 && peak < 1e18 ? (uint64_t)peak : 0, span->end_ns);
    forget(live, job);
}

/* Nodes end before their workflow, so this comes first. The first one counts: later ones are those that it took with it. */
static void node_ended(struct jobs_live *live, const struct flight_span *span, const void *tags) {
    const struct flight_view *view = live->view;
    struct found_tag result = find_tag(view, span, tags, TAG_NODE_RESULT);
    if (!tag_is(result, "FAILURE") && !tag_is(result, "INTERRUPTED")) return;
    struct job *job = job_of(live, span->trace.root_span_id);
    if (!job || job->node_id[0]) return;
    copy_tag(job->node_id, sizeof job->node_id, find_tag(view, span, tags, TAG_NODE_ID));
    copy_tag(job->class_type, sizeof job->class_type, find_tag(view, span, tags, TAG_NODE_CLASS_TYPE));
}

static void see_ended(void *context, const struct flight_span *span, const void *tags,
                      struct flight_found found) {
    (void)found;
    if (span->kind == FLIGHT_WORKFLOW)
        workflow_ended(context, span, tags);
    else
        node_ended(context, span, tags);
}

static void see_open(void *context, const struct flight_span *span, const void *tags,
                     struct flight_found found) {
    if (!found.open || span->kind != FLIGHT_WORKFLOW) return;
    struct job *job = begun(context, span, tags);
    if (job) job->open = true;
}

static void report_unknown(struct jobs_live *live, const struct job *job) {
    uint64_t alive_ns = live->view->header.alive_ns;
    report(live, job, "unknown", "its end was not seen: its span was dropped", 0,
           alive_ns > job->started_ns ? alive_ns : job->started_ns);
}

/* Those that are neither open nor ended. */
static void miss(struct jobs_live *live) {
    for (struct job *job = live->jobs, *next; job; job = next) {
        next = job->next;
        job->missed = job->open ? 0 : job->missed + 1;
        job->open = false;
        if (job->missed < LOOKS_MISSED) continue;
        if (job->reported) report_unknown(live, job);
        forget(live, job);
    }
}

void jobs_live_see(struct jobs_live *live, const struct flight_view *view) {
    live->view = view;
    flight_view_history(view, &live->position, see_ended, live);
    flight_view_each(view, see_open, live);
    miss(live);
    live->view = NULL;
}

void jobs_live_gone(struct jobs_live *live, uint64_t at_ns) {
    while (live->jobs) {
        if (live->jobs->reported)
            report(live, live->jobs, "failed", "its process ended while it was running", 0, at_ns);
        forget(live, live->jobs);
    }
}

void jobs_live_destroy(struct jobs_live *live) {
    while (live && live->jobs)
        forget(live, live->jobs);
    free(live);
}
