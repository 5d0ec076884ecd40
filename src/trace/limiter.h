/* limiter: lets so many through per second, and knows what share that was.
 *
 * A token bucket that starts full. limiter_allow may be called by any thread; the lock is held for a few instructions,
 * never across a call out. limiter_init before that, in one thread; it also takes back a lock that a fork copied. */
#ifndef COMFYDD_LIMITER_H
#define COMFYDD_LIMITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct limiter {
    atomic_flag busy;
    double per_second; /* 0: nothing passes */
    double tokens;
    uint64_t filled_ns;      /* 0: never asked */
    uint64_t window_ns;      /* start of the current second */
    uint64_t asked, allowed; /* in the current second */
    double previous_share;   /* allowed / asked in the second before, negative when there was none */
};

void limiter_init(struct limiter *limiter, double per_second);

/* Whether one more may pass. *share: what part passed lately, 0..1: the mean of this second's and the last one's. */
bool limiter_allow(struct limiter *limiter, uint64_t mono_ns, double *share);

#endif
