/* clock: the two clocks, in nanoseconds. Any thread; cannot fail (vDSO). */
#ifndef COMFYDD_CLOCK_H
#define COMFYDD_CLOCK_H

#include <stdint.h>

/* Nanoseconds since the Unix epoch: span start times. */
uint64_t clock_wall_ns(void);

/* Nanoseconds of CLOCK_MONOTONIC: durations and deadlines; never steps back. */
uint64_t clock_mono_ns(void);

#endif
