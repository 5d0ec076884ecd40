#include "trace/limiter.h"

#include <sched.h>

#define SECOND UINT64_C(1000000000)

/* A limit below one per second still needs room for the whole token that passing costs. */
static double capacity(const struct limiter *limiter) {
    return limiter->per_second > 0 && limiter->per_second < 1 ? 1 : limiter->per_second;
}

void limiter_init(struct limiter *limiter, double per_second) {
    *limiter = (struct limiter){.busy = ATOMIC_FLAG_INIT, .per_second = per_second, .previous_share = -1};
    limiter->tokens = capacity(limiter);
}

static void let_time_pass(struct limiter *limiter, uint64_t mono_ns) {
    if (limiter->filled_ns == 0) limiter->filled_ns = limiter->window_ns = mono_ns;
    if (mono_ns > limiter->filled_ns) {
        limiter->tokens += (double)(mono_ns - limiter->filled_ns) / (double)SECOND * limiter->per_second;
        if (limiter->tokens > capacity(limiter)) limiter->tokens = capacity(limiter);
        limiter->filled_ns = mono_ns;
    }
    if (mono_ns > limiter->window_ns && mono_ns - limiter->window_ns >= SECOND) {
        if (limiter->asked > 0) limiter->previous_share = (double)limiter->allowed / (double)limiter->asked;
        limiter->asked = limiter->allowed = 0;
        limiter->window_ns = mono_ns;
    }
}

bool limiter_allow(struct limiter *limiter, uint64_t mono_ns, double *share) {
    while (atomic_flag_test_and_set_explicit(&limiter->busy, memory_order_acquire))
        sched_yield();
    let_time_pass(limiter, mono_ns);
    bool allowed = limiter->tokens >= 1;
    limiter->asked++;
    if (allowed) {
        limiter->tokens -= 1;
        limiter->allowed++;
    }
    *share = (double)limiter->allowed / (double)limiter->asked;
    if (limiter->previous_share >= 0) *share = (*share + limiter->previous_share) / 2;
    atomic_flag_clear_explicit(&limiter->busy, memory_order_release);
    return allowed;
}
