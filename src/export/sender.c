#include "export/sender.h"

#include "base/clock.h"
#include "config.h"
#include "export/agent.h"
#include "export/batch.h"
#include "export/msgpack_v04.h"
#include "export/payload.h"
#include "export/snapshots.h"
#include "flight.h"
#include "trace/tags.h"

#include <errno.h>
#include <stdlib.h>

#define HALF_FULL     0.5
#define NEARLY_FULL   0.9
#define BACKOFF_FIRST UINT64_C(100000000) /* ns */
#define BACKOFF_MOST  UINT64_C(5000000000)
#define HOPELESS_AT   8  /* attempts, after which a busy agent's spans make room for new ones */
#define KEEP_WINDOW   10 /* sendings over which the keep rate is taken */
#define TEND_MOST     UINT64_C(5000000000) /* ns between two looks at the open spans, at most */

/* What the keep rate is computed from: spans recorded and dropped from one sending to the next. */
struct keep_window {
    struct flight_counts last;
    uint64_t recorded[KEEP_WINDOW], dropped[KEEP_WINDOW];
    size_t at;
};

struct sender {
    struct flight *flight;       /* borrowed */
    const struct config *config; /* borrowed */
    struct agent *agent;
    struct v04_identity *identity;
    struct batch batch;
    struct snapshots snapshots;
    struct payload payload;
    struct keep_window keep_window;
    double keep_rate;
    unsigned attempts;       /* failures in a row */
    uint64_t dropped_before; /* up to the last success, and refused since: told already */
    uint64_t retry_ns, tend_ns;
    bool wants_info; /* the agent may be another one than before */
};

int sender_create(struct sender **made, struct flight *flight, const struct config *config) {
    *made = NULL;
    struct sender *s = calloc(1, sizeof *s);
    if (!s) return -ENOMEM;
    size_t size;
    const void *entries = flight_identity(flight, &size);
    s->flight = flight;
    s->config = config;
    s->wants_info = true;
    s->keep_rate = -1;
    const char *names[TAG_COUNT];
    tags_list_names(names);
    s->identity = v04_identity_create(entries, size, names, TAG_COUNT);
    int error = s->identity ? agent_create(&s->agent, config) : -ENOMEM;
    if (error)
        sender_destroy(s);
    else
        *made = s;
    return error;
}

void sender_destroy(struct sender *s) {
    if (!s) return;
    agent_destroy(s->agent);
    v04_identity_destroy(s->identity);
    batch_finish(&s->batch);
    snapshots_finish(&s->snapshots);
    payload_finish(&s->payload);
    free(s);
}

void sender_forked(struct sender *s) {
    agent_forked(s->agent);
}

uint64_t sender_retry_ns(const struct sender *s) {
    return s->retry_ns;
}

/* ---- success and failure ---- */

static bool is_failure(enum agent_answer answer) {
    return answer == AGENT_BUSY || answer == AGENT_UNREACHABLE;
}

static void note_answer(struct sender *s, enum agent_answer answer) {
    uint64_t dropped = flight_counts(s->flight).dropped;
    if (!is_failure(answer)) {
        uint64_t meanwhile = dropped - s->dropped_before;
        s->dropped_before = dropped;
        if (!s->attempts) return;
        agent_report_recovery(s->agent, meanwhile);
        s->attempts = 0;
        s->retry_ns = 0;
        s->wants_info = true;
        return;
    }
    agent_report_failure(s->agent, ++s->attempts);
    uint64_t backoff = s->attempts < 7 ? BACKOFF_FIRST << (s->attempts - 1) : BACKOFF_MOST;
    if (backoff > BACKOFF_MOST) backoff = BACKOFF_MOST;
    /* The clock's last digits differ enough between processes to keep them from marching in step. */
    uint64_t now = clock_mono_ns();
    s->retry_ns = now + backoff / 2 + now % (backoff / 2);
}

/* Not the agent's fault: without memory we try again later. */
static enum agent_answer postpone(struct sender *s) {
    s->retry_ns = clock_mono_ns() + BACKOFF_MOST;
    return AGENT_BUSY;
}

/* The share of spans not dropped over the last sendings and since; negative when none was. */
static double keep_rate(struct keep_window *window, struct flight_counts now) {
    uint64_t recorded = 0, dropped = 0;
    window->recorded[window->at] = now.recorded - window->last.recorded;
    window->dropped[window->at] = now.dropped - window->last.dropped;
    for (size_t i = 0; i < KEEP_WINDOW; i++) {
        recorded += window->recorded[i];
        dropped += window->dropped[i];
    }
    if (!dropped) return -1;
    return dropped < recorded ? 1 - (double)dropped / (double)recorded : 0;
}

/* What was told is not told again for ever: a sending that succeeded moves the window on. */
static void keep_advance(struct keep_window *window, struct flight_counts told) {
    window->at = (window->at + 1) % KEEP_WINDOW;
    window->last = told;
}

/* ---- finished spans ---- */

static void settle(struct sender *s, const struct batch_item *items, size_t count, bool sent) {
    for (size_t i = 0; i < count; i++)
        flight_settle(s->flight, items[i].record, sent);
    if (!sent && !s->attempts) s->dropped_before += count;
    flight_trim(s->flight);
}

/* A payload at which an agent answers 500 for ever must not stand in the way of all later ones. */
static bool is_hopeless(const struct sender *s, enum agent_answer answer) {
    return answer == AGENT_BUSY && s->attempts >= HOPELESS_AT && flight_fill(s->flight) >= NEARLY_FULL;
}

/* Sends items. After a failure those that could not be sent are still in the ring; otherwise all are settled, sent or
 * given up. */
static enum agent_answer deliver(struct sender *s, const struct batch_item *items, size_t count) {
    uint32_t chunks = payload_encode(&s->payload, s->identity, items, count, s->keep_rate);
    if (!chunks) return postpone(s);
    enum agent_answer answer = AGENT_TOO_LARGE;
    if (s->payload.bytes.size <= PAYLOAD_LIMIT) {
        answer = agent_post(s->agent, s->payload.bytes.data, s->payload.bytes.size, chunks, count);
        note_answer(s, answer);
    }
    if (answer == AGENT_TOO_LARGE && count > 1) {
        answer = deliver(s, items, count / 2);
        return is_failure(answer) ? answer : deliver(s, items + count / 2, count - count / 2);
    }
    if (!is_failure(answer) || is_hopeless(s, answer)) settle(s, items, count, answer == AGENT_ACCEPTED);
    return answer;
}

enum sender_result sender_send(struct sender *s, bool everything) {
    bool splits = s->config->partial_flush;
    const struct batch_policy policy = {everything || flight_fill(s->flight) >= HALF_FULL,
                                        splits ? (size_t)s->config->partial_flush_min : 0};
    enum agent_answer answer = AGENT_ACCEPTED;
    if (!batch_gather(&s->batch, s->flight, &policy)) answer = postpone(s);
    struct flight_counts counts = flight_counts(s->flight);
    s->keep_rate = keep_rate(&s->keep_window, counts);
    for (size_t at = 0, count; at < s->batch.item_count && !is_failure(answer); at += count) {
        count = batch_portion(&s->batch, at, PAYLOAD_PORTION, splits);
        answer = deliver(s, s->batch.items + at, count);
    }
    if (s->batch.item_count && !is_failure(answer)) keep_advance(&s->keep_window, counts);
    if (s->payload.bytes.capacity > 4 * PAYLOAD_PORTION) buf_finish(&s->payload.bytes);
    return answer == AGENT_UNREACHABLE ? SENDER_UNREACHABLE
           : answer == AGENT_BUSY      ? SENDER_LATER
                                       : SENDER_DONE;
}

/* ---- the agent's abilities, and snapshots ---- */

/* While there is no answer it is asked again: a workflow may be open for long with nothing finished to be sent. */
static void ask_info(struct sender *s) {
    enum agent_answer answer = agent_ask_info(s->agent);
    note_answer(s, answer);
    v04_identity_take_events(s->identity, agent_takes_events(s->agent));
    s->wants_info = is_failure(answer);
}

static uint64_t root_of(const struct snapshot *snapshot) {
    return snapshot->slot.span.trace.root_span_id;
}

/* Encodes the snapshots as the payload; returns the number of chunks, 0 without memory. */
static uint32_t encode_snapshots(struct sender *s, uint64_t now_ns) {
    const struct snapshot *list = s->snapshots.list;
    uint32_t chunks = 0;
    if (!payload_reserve(&s->payload, s->snapshots.count)) return 0;
    for (size_t i = 0; i < s->snapshots.count; i++) {
        chunks += !i || root_of(&list[i - 1]) != root_of(&list[i]);
        s->payload.spans[i] = (struct v04_span){&list[i].slot.span, list[i].bytes + sizeof list[i].slot,
                                                list[i].version, now_ns};
    }
    buf_clear(&s->payload.bytes);
    v04_begin(&s->payload.bytes, chunks);
    for (size_t at = 0, length; at < s->snapshots.count; at += length) {
        length = 1;
        while (at + length < s->snapshots.count && root_of(&list[at + length]) == root_of(&list[at]))
            length++;
        v04_chunk(&s->payload.bytes, s->identity, s->payload.spans + at, length, s->keep_rate);
    }
    return s->payload.bytes.failed ? 0 : chunks;
}

static void send_snapshots(struct sender *s) {
    uint64_t now_ns = clock_wall_ns();
    snapshots_gather(&s->snapshots, s->flight, s->config->long_running_s, now_ns);
    uint32_t chunks = s->snapshots.count ? encode_snapshots(s, now_ns) : 0;
    if (!chunks) return;
    enum agent_answer answer =
        agent_post(s->agent, s->payload.bytes.data, s->payload.bytes.size, chunks, s->snapshots.count);
    note_answer(s, answer);
    if (!is_failure(answer)) snapshots_note(&s->snapshots, s->flight);
}

void sender_tend(struct sender *s) {
    if (s->wants_info) ask_info(s);
    if (!agent_takes_snapshots(s->agent)) return;
    send_snapshots(s);
    uint64_t interval = (uint64_t)(s->config->long_running_s * 1e9 / 4);
    s->tend_ns = clock_mono_ns() + (interval < TEND_MOST ? interval : TEND_MOST);
}

uint64_t sender_tend_ns(const struct sender *s) {
    if (!s->wants_info && !agent_takes_snapshots(s->agent)) return SENDER_NEVER;
    return s->wants_info || s->tend_ns < s->retry_ns ? s->retry_ns : s->tend_ns;
}
