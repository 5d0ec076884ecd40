/* The file is read into memory, its spans are copied out of that as records like those of the ring (open ones closed), and
 * then go the way of all spans: batch, payload, agent. */
#include "export/recover.h"

#include "base/buf.h"
#include "base/clock.h"
#include "config.h"
#include "export/agent.h"
#include "export/batch.h"
#include "export/payload.h"
#include "flight.h"
#include "trace/tags.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES  (32u << 20)          /* of a file; ours have 5.3 MiB */
#define MOST_NAMES  4096                 /* of tags, and of entries in an identity: looked up one by one */
#define MOST_PAUSE  UINT64_C(2000000000) /* ns between two tries */
#define FIRST_PAUSE UINT64_C(100000000)
#define TEXT_SIZE   256 /* bytes of an id for `see` */

/* The tags that a closed span gets; their keys are those of the file's own table. */
enum added {
    ADD_STATUS,
    ADD_RESULT,
    ADD_ERROR_TYPE,
    ADD_ERROR_MESSAGE,
    ADD_RSS,
    ADD_RAM,
    ADD_VRAM,
    ADD_VRAM_PEAK,
    ADD_WORKFLOW_PEAK,
    ADD_COUNT,
};

static const unsigned short added_tags[ADD_COUNT] = {
    [ADD_STATUS] = TAG_WORKFLOW_STATUS,
    [ADD_RESULT] = TAG_NODE_RESULT,
    [ADD_ERROR_TYPE] = TAG_ERROR_TYPE,
    [ADD_ERROR_MESSAGE] = TAG_ERROR_MESSAGE,
    [ADD_RSS] = TAG_RSS_AFTER,
    [ADD_RAM] = TAG_RAM_AVAILABLE_AFTER,
    [ADD_VRAM] = TAG_VRAM_ALLOCATED_AFTER,
    [ADD_VRAM_PEAK] = TAG_VRAM_PEAK,
    [ADD_WORKFLOW_PEAK] = TAG_GPU_PEAK,
};

/* One span, as a record in `records`. */
struct item {
    size_t at;             /* of the record */
    uint64_t state_offset; /* in the file */
    bool was_open;
};

struct recovery {
    int file;
    const struct recover_verdict *verdict;
    const struct config *config;
    int interrupt;
    unsigned char *memory; /* owned; a copy of the file */
    size_t size;
    struct flight_view view;
    const char **names; /* owned; the file's, then those added */
    size_t name_count;
    uint16_t keys[ADD_COUNT];
    uint64_t death_ns;
    struct buf records, items; /* of struct flight_record with entries, and of struct item */
    struct batch batch;
    struct v04_identity *identity;
    struct payload payload;
    struct agent *agent;
    bool has_asked; /* what the agent can do */
    struct recover_result result;
};

/* ---- reading ---- */

static int read_file(struct recovery *r) {
    struct stat status;
    if (fstat(r->file, &status)) return -errno;
    if (status.st_size < (off_t)sizeof(struct flight_header) || status.st_size > MOST_BYTES) return -EINVAL;
    r->size = (size_t)status.st_size;
    r->memory = malloc(r->size);
    if (!r->memory) return -ENOMEM;
    for (size_t at = 0; at < r->size;) {
        ssize_t got = pread(r->file, r->memory + at, r->size - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) return -EINVAL; /* it has become shorter */
        at += (size_t)got;
    }
    return 0;
}

int recover_read_header(int file, struct flight_header *header) {
    ssize_t got = pread(file, header, sizeof *header, 0);
    if (got < 0) return -errno;
    if (got < (ssize_t)sizeof *header || header->magic != FLIGHT_MAGIC) return -EINVAL;
    header->boot_id[sizeof header->boot_id - 1] = 0;
    return header->version == FLIGHT_VERSION ? 0 : -ENOTSUP;
}

struct recover_verdict recover_unseen(const struct flight_header *header,
                                      const struct process_identity *self) {
    const struct process_identity dead = {header->pid, header->pid_start_ticks};
    char boot_id[PROCESS_BOOT_ID_SIZE];
    process_boot_id(boot_id);
    bool another_boot = boot_id[0] && header->boot_id[0] && strcmp(header->boot_id, boot_id) != 0;
    if (header->replaced || (!another_boot && process_is(&dead, self)))
        return (struct recover_verdict){
            "killed", "ProcessRestarted",
            "The process replaced itself by another program (execv) while this was running: a restart.", 0};
    if (another_boot)
        return (struct recover_verdict){"killed", "HostRestarted",
                                        "The machine was restarted while this was running.", 0};
    if (header->clean_exit)
        return (struct recover_verdict){"killed", "ProcessEnded",
                                        "The process ended in an orderly way while this was running.", 0};
    return (struct recover_verdict){"killed", "ProcessKilled",
                                    "The process ended without saying why: it was killed, or crashed.", 0};
}

bool recover_is_temporary(int error) {
    return error == -EAGAIN || error == -ENOMEM;
}

static void note(int file, size_t offset) {
    const uint32_t yes = 1;
    ssize_t written = pwrite(file, &yes, sizeof yes, (off_t)offset);
    (void)written;
}

void recover_note_told(int file) {
    note(file, offsetof(struct flight_header, told));
}

void recover_note_replaced(int file) {
    note(file, offsetof(struct flight_header, replaced));
}

/* The file's key for a name; where it has none, the next one after its table. */
static uint16_t key_of(struct recovery *r, const char *name) {
    size_t key = 0;
    while (key < r->name_count && strcmp(r->names[key], name) != 0)
        key++;
    if (key == r->name_count) r->names[r->name_count++] = name;
    return (uint16_t)key;
}

static int prepare(struct recovery *r) {
    const struct flight_view *view = &r->view;
    if (view->name_count > MOST_NAMES || flight_tag_count(view->identity, view->identity_size) > MOST_NAMES)
        return -EINVAL;
    r->names = malloc((view->name_count + ADD_COUNT) * sizeof *r->names);
    if (!r->names) return -ENOMEM;
    memcpy(r->names, view->names, view->name_count * sizeof *r->names);
    r->name_count = view->name_count;
    for (int i = 0; i < ADD_COUNT; i++)
        r->keys[i] = key_of(r, tag_names[added_tags[i]]);
    r->identity = v04_identity_create(view->identity, view->identity_size, r->names, r->name_count);
    return r->identity ? 0 : -ENOMEM;
}

/* ---- the moment of death ---- */

static void see_life(void *context, const struct flight_span *span, const void *tags,
                     struct flight_found found) {
    uint64_t *last = context;
    (void)tags;
    (void)found;
    if (span->start_ns > *last) *last = span->start_ns;
    if (span->end_ns > *last) *last = span->end_ns;
}

static uint64_t moment_of_death(const struct recovery *r) {
    if (r->verdict->death_ns) return r->verdict->death_ns;
    uint64_t last = r->view.header.alive_ns, now = clock_wall_ns();
    flight_view_each(&r->view, see_life, &last);
    return last < now ? last : now;
}

/* ---- copying spans, and closing open ones ---- */

static void add_text(struct recovery *r, enum added which, const char *text) {
    if (!text || !*text) return;
    size_t size = strlen(text), room = flight_tag_room(size);
    char *at = buf_room(&r->records, room);
    if (!at) return;
    flight_tag_write(at, r->keys[which], FLIGHT_TEXT, text, size);
    r->records.size += room;
}

static void add_bytes(struct recovery *r, enum added which, uint64_t bytes) {
    double value = (double)bytes;
    size_t room = flight_tag_room(sizeof value);
    char *at = bytes ? buf_room(&r->records, room) : NULL;
    if (!at) return;
    flight_tag_write(at, r->keys[which], FLIGHT_NUMBER, &value, sizeof value);
    r->records.size += room;
}

static bool is_error(const struct recover_verdict *verdict) {
    return verdict->error_type && *verdict->error_type;
}

/* How a node ended whose workflow ended so. */
static const char *result_of(const char *status) {
    if (strcmp(status, "interrupted") == 0) return "INTERRUPTED";
    return strcmp(status, "error") == 0 ? "FAILURE" : "KILLED";
}

/* The tags at the end of a span that was open. The last ones count. */
static void add_verdict(struct recovery *r, const struct flight_span *span) {
    const struct recover_verdict *verdict = r->verdict;
    const struct flight_header *last = &r->view.header;
    bool is_workflow = span->kind == FLIGHT_WORKFLOW;
    add_text(r, is_workflow ? ADD_STATUS : ADD_RESULT,
             is_workflow ? verdict->status : result_of(verdict->status));
    if (is_error(verdict)) {
        add_text(r, ADD_ERROR_TYPE, verdict->error_type);
        add_text(r, ADD_ERROR_MESSAGE, verdict->message);
    }
    add_bytes(r, ADD_RSS, last->rss_bytes);
    add_bytes(r, ADD_RAM, last->ram_available_bytes);
    if (!is_workflow) add_bytes(r, ADD_VRAM, last->vram_allocated_bytes);
    add_bytes(r, is_workflow ? ADD_WORKFLOW_PEAK : ADD_VRAM_PEAK, last->vram_peak_bytes);
}

static void copy_span(void *context, const struct flight_span *span, const void *tags,
                      struct flight_found found) {
    struct recovery *r = context;
    if (span->waiting) return; /* its own work had not begun */
    struct item item = {r->records.size, found.state_offset, found.open};
    struct flight_record head = {.state = FLIGHT_RECORD_WANTED, .span = *span};
    if (found.open) {
        head.span.end_ns = r->death_ns > span->start_ns ? r->death_ns : span->start_ns;
        head.span.error = is_error(r->verdict);
    }
    buf_append(&r->records, &head, sizeof head);
    buf_append(&r->records, tags, span->tags_size);
    if (found.open) add_verdict(r, span);
    if (r->records.failed || !buf_append(&r->items, &item, sizeof item)) return;
    struct flight_record *record = (struct flight_record *)(r->records.data + item.at);
    record->size = (uint32_t)(r->records.size - item.at);
    record->span.tags_size = (uint32_t)(record->size - sizeof *record);
}

static size_t item_count(const struct recovery *r) {
    return r->items.size / sizeof(struct item);
}

static const struct item *item_at(const struct recovery *r, size_t index) {
    return (const struct item *)r->items.data + index;
}

static struct flight_record *record_of(const struct recovery *r, const struct item *item) {
    return (struct flight_record *)(r->records.data + item->at);
}

/* The nodes of the workflow that were running; they have run, as those that had ended. */
static unsigned count_running(const struct recovery *r, uint64_t root_span_id) {
    unsigned count = 0;
    for (size_t i = 0; i < item_count(r); i++) {
        const struct flight_record *record = record_of(r, item_at(r, i));
        count += item_at(r, i)->was_open && record->span.kind == FLIGHT_NODE &&
                 record->span.trace.root_span_id == root_span_id;
    }
    return count;
}

/* The counts in an open workflow are those of nodes that had ended. */
static void count_nodes(struct recovery *r, struct flight_record *workflow) {
    unsigned running = count_running(r, workflow->span.span_id);
    struct flight_tag tag;
    const void *value;
    for (size_t offset = 0; flight_tag_next(workflow + 1, workflow->span.tags_size, &offset, &tag, &value);) {
        const char *name = r->names[tag.key];
        double count;
        if (tag.type != FLIGHT_NUMBER || (strcmp(name, tag_names[TAG_NODES_TOTAL]) != 0 &&
                                          strcmp(name, tag_names[TAG_NODES_EXECUTED]) != 0))
            continue;
        memcpy(&count, value, sizeof count);
        count += running;
        memcpy((void *)value, &count, sizeof count); /* in our own copy */
    }
}

static int copy_spans(struct recovery *r) {
    const struct batch_policy all = {.everything = true};
    r->death_ns = moment_of_death(r);
    flight_view_each(&r->view, copy_span, r);
    if (r->records.failed || r->items.failed) return -ENOMEM;
    for (size_t i = 0; i < item_count(r); i++) {
        struct flight_record *record = record_of(r, item_at(r, i));
        if (item_at(r, i)->was_open && record->span.kind == FLIGHT_WORKFLOW) count_nodes(r, record);
    }
    for (size_t i = 0; i < item_count(r); i++)
        if (!batch_add(&r->batch, record_of(r, item_at(r, i)), &all)) return -ENOMEM;
    batch_close(&r->batch);
    r->result.held = item_count(r);
    return 0;
}

/* ---- the workflows that were running ---- */

/* The last text that the span has under the name of `tag`; empty without. */
static const char *text_of(const struct recovery *r, const struct flight_record *record, enum tag tag,
                           char text[TEXT_SIZE]) {
    struct flight_tag entry;
    const void *value;
    text[0] = 0;
    for (size_t offset = 0; flight_tag_next(record + 1, record->span.tags_size, &offset, &entry, &value);) {
        if (entry.type != FLIGHT_TEXT || strcmp(r->names[entry.key], tag_names[tag]) != 0) continue;
        size_t size = entry.size < TEXT_SIZE - 1 ? entry.size : TEXT_SIZE - 1;
        memcpy(text, value, size);
        text[size] = 0;
    }
    return text;
}

/* The node that began last of those that were running in the workflow; NULL. */
static const struct flight_record *running_node(const struct recovery *r, uint64_t root_span_id) {
    const struct flight_record *latest = NULL;
    for (size_t i = item_count(r); i-- > 0 && item_at(r, i)->was_open;) { /* the open ones come last */
        const struct flight_record *record = record_of(r, item_at(r, i));
        if (record->span.kind == FLIGHT_NODE && record->span.trace.root_span_id == root_span_id &&
            (!latest || record->span.start_ns > latest->span.start_ns))
            latest = record;
    }
    return latest;
}

static void show_workflow(const struct recovery *r, const struct flight_record *workflow,
                          void (*see)(const struct recover_workflow *, void *), void *context) {
    char prompt[TEXT_SIZE], job[TEXT_SIZE], id[TEXT_SIZE] = "", class_type[TEXT_SIZE] = "";
    const struct flight_record *node = running_node(r, workflow->span.span_id);
    if (node) {
        text_of(r, node, TAG_NODE_ID, id);
        text_of(r, node, TAG_NODE_CLASS_TYPE, class_type);
    }
    struct recover_workflow seen = {
        .prompt_id = text_of(r, workflow, TAG_PROMPT_ID, prompt),
        .job_id = text_of(r, workflow, TAG_JOB_ID, job),
        .node_id = id,
        .class_type = class_type,
        .peak_vram_bytes = r->view.header.vram_peak_bytes,
        .rss_bytes = r->view.header.rss_bytes,
        .start_ns = workflow->span.start_ns,
        .death_ns = workflow->span.end_ns,
    };
    see(&seen, context);
}

static void show_workflows(struct recovery *r, void (*see)(const struct recover_workflow *, void *),
                           void *context) {
    for (size_t i = 0; i < item_count(r); i++) {
        const struct flight_record *record = record_of(r, item_at(r, i));
        if (!item_at(r, i)->was_open || record->span.kind != FLIGHT_WORKFLOW) continue;
        r->result.workflows++;
        if (see) show_workflow(r, record, see, context);
    }
}

/* ---- sending ---- */

/* Notes in the file that the spans have been delivered. A file that cannot be written is no reason to stop. */
static void mark(struct recovery *r, const struct batch_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct item *item = item_at(r, items[i].order);
        uint32_t state = item->was_open ? (uint32_t)FLIGHT_SLOT_FREE : (uint32_t)FLIGHT_RECORD_SENT;
        ssize_t written = pwrite(r->file, &state, sizeof state, (off_t)item->state_offset);
        (void)written;
    }
}

static bool is_away(enum agent_answer answer) {
    return answer == AGENT_BUSY || answer == AGENT_UNREACHABLE;
}

/* Asks, once, what the agent can do; false when it is not there. */
static bool ask_info(struct recovery *r) {
    if (r->has_asked) return true;
    if (is_away(agent_ask_info(r->agent))) return false;
    v04_identity_take_events(r->identity, agent_takes_events(r->agent));
    return r->has_asked = true;
}

/* Sends items; false when the agent is not there or does not take spans now. */
static bool deliver(struct recovery *r, const struct batch_item *items, size_t count) {
    uint32_t chunks = payload_encode(&r->payload, r->identity, items, count, -1);
    if (!chunks) return false;
    enum agent_answer answer = AGENT_TOO_LARGE;
    if (r->payload.bytes.size <= PAYLOAD_LIMIT)
        answer = agent_post(r->agent, r->payload.bytes.data, r->payload.bytes.size, chunks, count);
    if (is_away(answer)) return false;
    if (answer == AGENT_TOO_LARGE && count > 1)
        return deliver(r, items, count / 2) && deliver(r, items + count / 2, count - count / 2);
    if (answer == AGENT_ACCEPTED) mark(r, items, count);
    *(answer == AGENT_ACCEPTED ? &r->result.sent : &r->result.failed) += count;
    return true;
}

/* False when it was interrupted. */
static bool pause_ns(const struct recovery *r, uint64_t ns) {
    struct pollfd interrupt = {.fd = r->interrupt, .events = POLLIN};
    uint64_t end = clock_mono_ns() + ns;
    for (uint64_t now; (now = clock_mono_ns()) < end;)
        if (poll(&interrupt, 1, (int)((end - now) / 1000000) + 1) > 0) return false;
    return true;
}

/* Everything, with patience until `deadline_ns`. */
static int send_all(struct recovery *r, uint64_t deadline_ns) {
    uint64_t pause = FIRST_PAUSE;
    for (size_t at = 0; at < r->batch.item_count;) {
        size_t count = batch_portion(&r->batch, at, PAYLOAD_PORTION, true);
        uint64_t settled = r->result.sent + r->result.failed;
        if (ask_info(r) && deliver(r, r->batch.items + at, count)) {
            at += count;
            pause = FIRST_PAUSE;
            continue;
        }
        at += (size_t)(r->result.sent + r->result.failed -
                       settled); /* the first halves of what was too large */
        if (clock_mono_ns() + pause >= deadline_ns || !pause_ns(r, pause)) return -EAGAIN;
        pause = 2 * pause < MOST_PAUSE ? 2 * pause : MOST_PAUSE;
    }
    return 0;
}

static void finish(struct recovery *r) {
    agent_destroy(r->agent);
    v04_identity_destroy(r->identity);
    payload_finish(&r->payload);
    batch_finish(&r->batch);
    buf_finish(&r->records);
    buf_finish(&r->items);
    free(r->names);
    flight_view_close(&r->view);
    free(r->memory);
}

/* All that comes before the agent. */
static int gather(struct recovery *r, void (*see)(const struct recover_workflow *, void *), void *context) {
    int error = read_file(r);
    if (!error) error = flight_view_open(&r->view, r->memory, r->size);
    if (!error) error = prepare(r);
    if (!error) error = copy_spans(r);
    if (!error) show_workflows(r, see, context);
    return error;
}

/* An address that cannot be used may be mended. */
static int find_agent(struct recovery *r) {
    int error = agent_create(&r->agent, r->config);
    if (!error) agent_set_interrupt(r->agent, r->interrupt);
    return error && error != -ENOMEM ? -EAGAIN : error;
}

int recover_send(int file, const struct recover_verdict *verdict, const struct config *config, double seconds,
                 int interrupt, void (*see)(const struct recover_workflow *, void *), void *context,
                 struct recover_result *result) {
    struct recovery r = {.file = file, .verdict = verdict, .config = config, .interrupt = interrupt};
    uint64_t deadline_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    int error = gather(&r, see, context);
    if (!error && r.batch.item_count) error = find_agent(&r);
    if (!error) error = send_all(&r, deadline_ns);
    if (result) *result = r.result;
    finish(&r);
    return error;
}

int recover_look(int file, const struct recover_verdict *verdict,
                 void (*see)(const struct recover_workflow *, void *), void *context,
                 struct recover_result *result) {
    struct recovery r = {.file = file, .verdict = verdict};
    int error = gather(&r, see, context);
    *result = r.result;
    finish(&r);
    return error;
}
