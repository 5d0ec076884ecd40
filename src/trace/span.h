/* span: starting, tagging and finishing spans, straight into flight memory.
 *
 * A span is opened in a slot of the flight memory (in the heap when all slots are taken: then it is not protected
 * against a kill, nothing else differs), collects tags there, and moves to the ring when it is finished; from then
 * on the exporter owns it.
 *
 * Threads: any thread may start spans; one span belongs to one thread at a time (the caller's lock, or the GIL).
 * Errors: nothing here fails towards the caller. Without memory, or in a full ring, a span is dropped and counted
 * (flight_counts); a tag that finds no memory is left out.
 * After span_disconnect, or before span_connect, span_start returns NULL; every function accepts a NULL span. */
#ifndef COMFYDD_SPAN_H
#define COMFYDD_SPAN_H

#include "comfydd/flight.h"
#include "trace/tags.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flight;
struct flight_figures;
struct span;

/* Makes `flight` (borrowed) the place where spans live, and `wake` the function called, on the caller's thread, after
 * each finished span (one dropped by a full ring too) and each workflow begun, with its kind; it must not block. */
void span_connect(struct flight *flight, void (*wake)(enum flight_span_kind kind));

/* No more spans into that flight memory: it may go once no call is under way. Spans still open are dead, and never
 * touch it again; they are abandoned by the caller's own span_discard. */
void span_disconnect(void);

/* What is known of the process's memory now, for who reads the flight memory after a kill. */
void span_note_figures(const struct flight_figures *figures);

/* For the watchdog: an exception has left the executor on this thread, or a workflow has begun. */
void span_note_raised(bool raised);

/* Opens a span. `start_ns` is wall-clock. The trace is copied. parent_id 0: a root. span_id 0: a fresh one. */
struct span *span_start(enum flight_span_kind kind, const struct flight_trace *trace, uint64_t span_id,
                        uint64_t parent_id, uint64_t start_ns);

/* The span's id; 0 for NULL and for a dead one. */
uint64_t span_id(const struct span *span);

/* Sets a text tag. Repeated keys: the last one wins when the spans are sent (but PROPAGATED repeats). Values longer
 * than 5,000 bytes (25,000 for error.stack) are cut, marked with "...". */
void span_text(struct span *span, enum tag key, const char *text, size_t size);

/* Sets a numeric tag. */
void span_number(struct span *span, enum tag key, double value);

/* Sets a numeric tag that has been set before, in place: for what is counted while the span is open, so that who reads it
 * after a kill knows how far it had come. Not found: sets it. */
void span_renumber(struct span *span, enum tag key, double value);

/* Marks the span as failed, with the three error tags; NULL for what is unknown. */
__attribute__((cold)) void span_error(struct span *span, const char *type, const char *message,
                                      const char *stack);

/* The span's own work has not begun (true), or begins now (false, with a new start time). A waiting span is not
 * reported as running after a kill. */
void span_wait(struct span *span, int waiting, uint64_t start_ns);

/* Ends the span and hands it on; `span` is gone. An end before the start is taken as the start. */
void span_finish(struct span *span, uint64_t end_ns);

/* Drops the span as if it had never been; `span` is gone. */
void span_discard(struct span *span);

#endif
