/* ids: span and trace ids, and the contexts that come with a job.
 *
 * Ids are random 63-bit numbers from a per-process generator seeded from the kernel (getrandom); never 0. Any
 * thread. */
#ifndef COMFYDD_IDS_H
#define COMFYDD_IDS_H

#include <stdbool.h>
#include <stdint.h>

/* A fresh id, 1 .. 2^63 - 1. */
uint64_t ids_next(void);

/* 128 bits from the kernel, or, before its generator is ready, from clocks and pid: unique then, not more. */
void ids_random(uint64_t random[2]);

/* Takes a new seed: in a forked child, before its first id. */
void ids_reseed(void);

/* The upper half of a fresh 128-bit trace id: the Unix time in seconds, shifted left by 32. */
uint64_t ids_trace_high(uint64_t wall_ns);

/* A parent that a job brought with it. */
struct ids_parent {
    uint64_t trace_id_high, trace_id_low, span_id;
    int priority; /* -1..2; meaningful when has_priority */
    bool has_priority;
    char origin[128]; /* empty when unknown */
    char tags[512]; /* what travels with the trace, as x-datadog-tags has it: "_dd.p.dm=-4,_dd.p.usr.id=x" */
};

/* Reads a decimal number of up to 128 bits ("0" included) into two halves. False for anything else: signs,
 * spaces, other characters, an empty text, more than 128 bits. */
bool ids_parse_decimal(const char *text, uint64_t *high, uint64_t *low);

/* Reads a W3C traceparent ("00-<32 hex>-<16 hex>-<2 hex>", any later version with the same beginning). The
 * sampled flag becomes priority 1 or 0. False when malformed (upper-case hex too), the span id is zero, or
 * the lower half of the trace id is: Datadog's intake drops such traces. */
bool ids_parse_traceparent(const char *text, struct ids_parent *parent);

/* Reads the Datadog part of a W3C tracestate ("dd=s:2;o:rum;t.dm:-4;..."): sets priority (when its sign agrees with
 * the traceparent's sampled flag), origin and tags. Anything malformed, or too long, is ignored. */
void ids_apply_tracestate(const char *text, struct ids_parent *parent);

/* Adds tags from a text in the form that they are kept in; the priority must be known. Those that are malformed, or
 * for which there is no room, are left out, and so are _dd.p.tid, which the trace id has, and _dd.p.dm where the
 * priority does not keep the trace: then there is no decision maker. */
void ids_apply_tags(const char *text, struct ids_parent *parent);

#endif
