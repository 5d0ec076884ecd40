/* fake_agent: a loopback server that answers like an agent, by a script, and keeps every span it was given.
 * The spans of a request count as received only when the answer was 200. */
#ifndef COMFYDD_FAKE_AGENT_H
#define COMFYDD_FAKE_AGENT_H

#include "loopback.h"

#include <stdint.h>

/* Instead of a status in the script. */
enum { FAKE_AGENT_RESET = -1, FAKE_AGENT_HANG = -2 };

struct fake_span {
    int request, chunk; /* counted over all requests that were answered with 200 */
    uint64_t trace_id, span_id;
    double priority;     /* _sampling_priority_v1; NAN when it has none */
    double keep_rate;    /* _dd.tracer_kr; NAN */
    double version;      /* _dd.partial_version; NAN */
    double long_running; /* _dd.was_long_running; NAN */
    bool has_events;
};

/* What was received so far. */
struct fake_agent_seen {
    int infos; /* GET /info */
    int posts; /* of any answer; the rest counts only what was answered with 200 */
    int accepted, chunks;
    struct fake_span *spans;
    size_t span_count, span_capacity;
    char last_head[4096]; /* of the last post */
};

struct fake_agent {
    struct loopback server; /* server.url is the address */
    /* May be set before the first request, or between two, before a call of fake_agent_script. */
    const char *info;          /* reply to GET /info; NULL: 404 */
    const char *reply;         /* body of a 200 or 429 */
    const char *reply_headers; /* likewise */
    /* private */
    pthread_mutex_t lock; /* of what follows, but the copy */
    pthread_cond_t changed;
    int script[32];
    size_t script_size, script_at, largest_body;
    struct fake_agent_seen seen;
    struct fake_agent_seen copy; /* for the test's thread */
};

/* On 127.0.0.1; `port` 0 picks one. */
void fake_agent_start(struct fake_agent *agent, int port);
void fake_agent_stop(struct fake_agent *agent);

/* Frees what was seen; it can be looked at until then, or until the next fake_agent_seen. */
void fake_agent_forget(struct fake_agent *agent);

/* The next posts are answered so; after that with 200. */
void fake_agent_script(struct fake_agent *agent, size_t count, const int *statuses);

/* Bodies larger than this get 413 where the script says nothing; 0: no limit. */
void fake_agent_limit(struct fake_agent *agent, size_t largest_body);

/* Waits until so many spans are received, or so many requests of that kind have come. */
void fake_agent_wait_spans(struct fake_agent *agent, size_t count);
void fake_agent_wait_posts(struct fake_agent *agent, int count);
void fake_agent_wait_infos(struct fake_agent *agent, int count);

/* A copy of what was received so far, for one thread. */
const struct fake_agent_seen *fake_agent_seen(struct fake_agent *agent);

#endif
