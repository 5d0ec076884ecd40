#include "fake_agent.h"

#include "unit.h"

#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- payloads ---- */

static void broken(const char *what) {
    fprintf(stderr, "fake_agent: %s\n", what);
    abort();
}

static const msgpack_object *get(const msgpack_object *map, const char *name) {
    if (map->type != MSGPACK_OBJECT_MAP) broken("not a map");
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        if (key->via.str.size == strlen(name) && !memcmp(key->via.str.ptr, name, strlen(name)))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static double metric(const msgpack_object *span, const char *name) {
    const msgpack_object *value = get(get(span, "metrics"), name);
    return value ? value->via.f64 : NAN;
}

static void keep(struct fake_agent *agent, const msgpack_object *span) {
    if (agent->seen.span_count == agent->seen.span_capacity) {
        agent->seen.span_capacity = agent->seen.span_capacity ? 2 * agent->seen.span_capacity : 1024;
        agent->seen.spans = realloc(agent->seen.spans, agent->seen.span_capacity * sizeof *agent->seen.spans);
        if (!agent->seen.spans) broken("no memory");
    }
    agent->seen.spans[agent->seen.span_count++] = (struct fake_span){
        .request = agent->seen.accepted,
        .chunk = agent->seen.chunks,
        .trace_id = get(span, "trace_id")->via.u64,
        .span_id = get(span, "span_id")->via.u64,
        .priority = metric(span, "_sampling_priority_v1"),
        .keep_rate = metric(span, "_dd.tracer_kr"),
        .version = metric(span, "_dd.partial_version"),
        .long_running = metric(span, "_dd.was_long_running"),
        .has_events = get(span, "span_events"),
    };
}

static void take_payload(struct fake_agent *agent, const struct buf *body) {
    msgpack_unpacked unpacked;
    size_t offset = 0;
    char count[64];
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, body->data, body->size, &offset) != MSGPACK_UNPACK_SUCCESS ||
        offset != body->size)
        broken("a payload that is not msgpack");
    const msgpack_object_array *chunks = &unpacked.data.via.array;
    snprintf(count, sizeof count, "\r\nX-Datadog-Trace-Count: %u\r\n", chunks->size);
    if (!strstr(agent->seen.last_head, count)) broken("a wrong trace count");
    for (uint32_t c = 0; c < chunks->size; c++, agent->seen.chunks++)
        for (uint32_t i = 0; i < chunks->ptr[c].via.array.size; i++)
            keep(agent, &chunks->ptr[c].via.array.ptr[i]);
    agent->seen.accepted++;
    msgpack_unpacked_destroy(&unpacked);
}

/* ---- answers ---- */

static int next_status(struct fake_agent *agent, size_t body_size) {
    if (agent->script_at < agent->script_size) return agent->script[agent->script_at++];
    return agent->largest_body && body_size > agent->largest_body ? 413 : 200;
}

/* False when the connection is over. */
static bool answer_post(struct fake_agent *agent, int fd, const struct buf *head, const struct buf *body) {
    pthread_mutex_lock(&agent->lock);
    int status = next_status(agent, body->size);
    snprintf(agent->seen.last_head, sizeof agent->seen.last_head, "%s", head->data);
    if (status == 200) take_payload(agent, body);
    agent->seen.posts++;
    pthread_cond_broadcast(&agent->changed);
    pthread_mutex_unlock(&agent->lock);
    if (status == FAKE_AGENT_HANG) {
        loopback_wait(&agent->server, fd); /* until the client has had enough */
        return false;
    }
    if (status == FAKE_AGENT_RESET) {
        loopback_reset(fd);
        return false;
    }
    bool rates = status == 200 || status == 429;
    loopback_reply(fd, status, rates ? agent->reply_headers : "", rates ? agent->reply : "");
    return true;
}

static void answer_info(struct fake_agent *agent, int fd) {
    pthread_mutex_lock(&agent->lock);
    const char *info = agent->info;
    agent->seen.infos++;
    pthread_cond_broadcast(&agent->changed);
    pthread_mutex_unlock(&agent->lock);
    loopback_reply(fd, info ? 200 : 404, "", info ? info : "");
}

static void serve(struct loopback *server, int fd) {
    struct fake_agent *agent = server->context;
    struct buf head = {0}, body = {0};
    while (loopback_read(server, fd, &head, &body)) {
        if (!strncmp(head.data, "GET /info ", 10))
            answer_info(agent, fd);
        else if (strncmp(head.data, "POST /v0.4/traces ", 18))
            loopback_reply(fd, 404, "", "");
        else if (!answer_post(agent, fd, &head, &body))
            break;
    }
    buf_finish(&head);
    buf_finish(&body);
}

void fake_agent_start(struct fake_agent *agent, int port) {
    *agent = (struct fake_agent){.reply = "{}", .reply_headers = ""};
    pthread_mutex_init(&agent->lock, NULL);
    pthread_cond_init(&agent->changed, NULL);
    assert_true(loopback_start(&agent->server, "127.0.0.1", port, serve, agent));
}

void fake_agent_stop(struct fake_agent *agent) {
    loopback_stop(&agent->server);
    pthread_cond_destroy(&agent->changed);
    pthread_mutex_destroy(&agent->lock);
}

void fake_agent_script(struct fake_agent *agent, size_t count, const int *statuses) {
    pthread_mutex_lock(&agent->lock);
    assert_in_range(count, 0, sizeof agent->script / sizeof *agent->script);
    memcpy(agent->script, statuses, count * sizeof *statuses);
    agent->script_size = count;
    agent->script_at = 0;
    pthread_mutex_unlock(&agent->lock);
}

void fake_agent_limit(struct fake_agent *agent, size_t largest_body) {
    pthread_mutex_lock(&agent->lock);
    agent->largest_body = largest_body;
    pthread_mutex_unlock(&agent->lock);
}

/* Waits for all; two of them are 0. */
static void wait_for(struct fake_agent *agent, size_t spans, int posts, int infos) {
    struct timespec deadline;
    int timed_out = 0;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += LOOPBACK_PATIENCE_MS / 1000;
    pthread_mutex_lock(&agent->lock);
    while ((agent->seen.span_count < spans || agent->seen.posts < posts || agent->seen.infos < infos) &&
           !timed_out)
        timed_out = pthread_cond_timedwait(&agent->changed, &agent->lock, &deadline);
    size_t got = agent->seen.span_count;
    pthread_mutex_unlock(&agent->lock);
    if (timed_out)
        fail_msg("received %zu spans, %d posts, waiting for %zu, %d", got, agent->seen.posts, spans, posts);
}

void fake_agent_wait_spans(struct fake_agent *agent, size_t count) {
    wait_for(agent, count, 0, 0);
}

void fake_agent_wait_posts(struct fake_agent *agent, int count) {
    wait_for(agent, 0, count, 0);
}

void fake_agent_wait_infos(struct fake_agent *agent, int count) {
    wait_for(agent, 0, 0, count);
}

const struct fake_agent_seen *fake_agent_seen(struct fake_agent *agent) {
    free(agent->copy.spans);
    pthread_mutex_lock(&agent->lock);
    agent->copy = agent->seen;
    size_t size = agent->seen.span_count * sizeof *agent->seen.spans;
    agent->copy.spans = malloc(size + 1);
    if (agent->copy.spans && size) memcpy(agent->copy.spans, agent->seen.spans, size);
    pthread_mutex_unlock(&agent->lock);
    assert_non_null(agent->copy.spans);
    return &agent->copy;
}

void fake_agent_forget(struct fake_agent *agent) {
    free(agent->copy.spans);
    free(agent->seen.spans);
    agent->copy.spans = agent->seen.spans = NULL;
}
