/* exporter: the one background thread, which sends finished spans to the agent.
 *
 * It reads the flight memory's ring, groups spans by trace, encodes a payload, posts it, and marks what the agent has
 * acknowledged. A trace is sent when its workflow span is there, when DD_TRACE_PARTIAL_FLUSH_MIN_SPANS of its spans
 * are waiting, when the ring is half full, or at a flush. Network errors, 408, 429 and 5xx are retried with back-off;
 * 413 splits; other refusals drop and count. Before anything else it sends what dead processes have left (orphans),
 * and while spans are open it notes every second in the flight memory that the process lives. While nodes follow each
 * other fast it reads how much memory there is, which would take their thread longer than all the rest. Every signal
 * is blocked in the thread; it never touches Python. */
#ifndef COMFYDD_EXPORTER_H
#define COMFYDD_EXPORTER_H

#include "comfydd/flight.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct flight;

/* Starts the thread over `flight`; that and `config` are borrowed until exporter_stop has returned true. Returns 0;
 * -EINVAL, -EPROTONOSUPPORT or -ENAMETOOLONG for an agent_url that cannot be used; -EBUSY while an earlier thread has
 * not ended; -ENOMEM; or what pthread_create says. */
int exporter_start(struct flight *flight, const struct config *config);

/* Before exporter_start: the thread calls `beat` about once a second while spans are open, for figures that are to be
 * known after a kill (flight_note_figures). */
void exporter_on_beat(void (*beat)(struct flight *flight));

/* Suits meminfo_on_demand: the thread takes the samples of memory (meminfo_refresh) for as long as they are asked for in
 * quick succession. Any thread; never waits. */
void exporter_sample_memory(void);

/* A span of that kind was finished, or a workflow has begun: the thread will look what is due, once per flush interval. In a
 * rare race a node's goes unnoticed until the next span; its workflow's never does. Any thread; never waits. Suits
 * span_connect. */
void exporter_wake(enum flight_span_kind kind);

/* Asks for everything finished to be sent, and waits until that has been done or has failed, at most `timeout_ms`.
 * Returns whether nothing is left. Not from the exporter's thread. Safe in a process without exporter (true). */
bool exporter_flush(unsigned timeout_ms);

/* exporter_flush, then no more sending. The thread is not joined: it ends by itself or with the process (this may run
 * in a destructor, under the loader's lock). Returns whether it has let go of the flight memory, which must stay
 * mapped if not. */
bool exporter_stop(unsigned timeout_ms);

/* In a forked child: the thread does not exist here; forget it. */
void exporter_forked(void);

#endif
