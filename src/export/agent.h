/* agent: the Datadog agent as the exporter sees it: two requests, what the answers mean, and what the operator is
 * told about them. One thread.
 *
 * Foreign facts: datadog-agent 7.5x, pkg/trace/api (headers, statuses, /info). */
#ifndef COMFYDD_AGENT_H
#define COMFYDD_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent;
struct config;

/* `config` is borrowed for the agent's life. Returns 0; -EINVAL, -EPROTONOSUPPORT or -ENAMETOOLONG for an agent_url that
 * cannot be used (said in a log line); -ENOMEM. */
int agent_create(struct agent **made, const struct config *config);
void agent_destroy(struct agent *agent);

/* As transport_set_interrupt: a request that is interrupted is one to an agent that cannot be reached. */
void agent_set_interrupt(struct agent *agent, int interrupt);

enum agent_answer {
    AGENT_ACCEPTED,    /* the agent has the spans */
    AGENT_TOO_LARGE,   /* 413: smaller payloads may pass */
    AGENT_REFUSED,     /* the same payload will never pass */
    AGENT_BUSY,        /* 408, 429, 5xx: the same payload may pass later */
    AGENT_UNREACHABLE, /* no answer */
};

/* Posts a v0.4 payload of `chunks` chunks with `spans` spans in all (for the log). Rates in the reply go to the
 * sampler. */
enum agent_answer agent_post(struct agent *agent, const void *payload, size_t size, uint32_t chunks,
                             size_t spans);

/* Asks what the agent can do. An agent that does not say can do nothing special. */
enum agent_answer agent_ask_info(struct agent *agent);

/* Whether it wants snapshots of long-running spans, as far as agent_ask_info has learned. */
bool agent_takes_snapshots(const struct agent *agent);
bool agent_takes_events(const struct agent *agent);

/* What else it has said, for people: its version (empty when it did not say), and whether it has /v0.4/traces. */
struct agent_self {
    char version[32];
    bool takes_traces;
};
const struct agent_self *agent_self(const struct agent *agent);

/* What the operator hears: one line when a time without success begins to matter (at once when the agent cannot be
 * reached, at the third attempt when it is busy; at most one a minute), one when it is over. */
void agent_report_failure(struct agent *agent, unsigned attempts);
void agent_report_recovery(struct agent *agent, uint64_t dropped_meanwhile);

/* In a forked child: closes its copy of the connection. */
void agent_forked(struct agent *agent);

#endif
