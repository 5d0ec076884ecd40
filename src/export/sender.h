/* sender: moves what is in the flight memory to the agent: payloads, retries, snapshots, and who is told of trouble.
 * Used by one thread, which it makes wait only for the agent's answers (DD_TRACE_AGENT_TIMEOUT_SECONDS each). */
#ifndef COMFYDD_SENDER_H
#define COMFYDD_SENDER_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct flight;
struct sender;

#define SENDER_NEVER UINT64_MAX

/* `flight` and `config` are borrowed for the sender's life. Returns 0, or what agent_create says. */
int sender_create(struct sender **made, struct flight *flight, const struct config *config);
void sender_destroy(struct sender *sender);

enum sender_result {
    SENDER_DONE,        /* nothing that is due is left */
    SENDER_LATER,       /* the agent is there, but does not take spans now */
    SENDER_UNREACHABLE, /* nobody answers */
};

/* Sends the traces that are due, or everything that is finished. What the agent has not taken stays in the ring. */
enum sender_result sender_send(struct sender *sender, bool everything);

/* Does what else is due: asks the agent what it can do, sends snapshots of long-running spans. */
void sender_tend(struct sender *sender);

/* When sender_send may be tried again after a failure (0: at any time), and when sender_tend has something to do
 * (SENDER_NEVER: not before the next sender_send). By clock_mono_ns. */
uint64_t sender_retry_ns(const struct sender *sender);
uint64_t sender_tend_ns(const struct sender *sender);

/* In a forked child: closes its copy of the connection; the rest of the sender is left as it is. */
void sender_forked(struct sender *sender);

#endif
