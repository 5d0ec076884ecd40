/* spin: a lock for a few memory accesses. No system call while it is free; under contention the waiting thread gives its
 * processor away. Never held across anything that may block, allocate, or call the host. Not in signal handlers. */
#ifndef COMFYDD_SPIN_H
#define COMFYDD_SPIN_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

__attribute__((noinline, cold, unused)) static void spin_wait(uint32_t *lock) {
    unsigned spins = 0; /* 100 take longer than what is usually done under such a lock */
    do {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED))
            if (++spins % 100 == 0) sched_yield();
    } while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE));
}

/* True when it was free and is taken. */
static inline bool spin_try(uint32_t *lock) {
    return __builtin_expect(__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) == 0, 1);
}

static inline void spin_lock(uint32_t *lock) {
    if (!spin_try(lock)) spin_wait(lock);
}

static inline void spin_unlock(uint32_t *lock) {
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
