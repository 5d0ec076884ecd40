/* jobs_live: what becomes of the jobs of one process, read from its flight memory again and again while it lives.
 *
 * Each workflow is reported as "running" once, and once more when it has ended: "succeeded", "failed", "interrupted", or
 * "unknown" when its end was not seen (its span was dropped because the ring was full, or overwritten between two looks).
 * One that began and ended between two looks is reported twice too. No clock, no I/O. One thread. */
#ifndef COMFYDD_JOBS_LIVE_H
#define COMFYDD_JOBS_LIVE_H

#include <stdint.h>

struct flight_view;
struct job_event;
struct jobs_live;

/* `report` is called during the functions below; its event's texts are valid during the call. NULL without memory. */
struct jobs_live *jobs_live_create(void (*report)(void *context, const struct job_event *event),
                                   void *context);

/* Looks at the memory, the same one each time; about every second. */
void jobs_live_see(struct jobs_live *live, const struct flight_view *view);

/* The process is gone, and nobody else will tell: what is running has failed. */
void jobs_live_gone(struct jobs_live *live, uint64_t at_ns);

/* NULL is fine. */
void jobs_live_destroy(struct jobs_live *live);

#endif
