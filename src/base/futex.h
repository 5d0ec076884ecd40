/* futex: waiting for a word in memory to change. No lock is held by anybody, so it is safe across fork, in signal
 * handlers, and in destructors. errno is preserved. */
#ifndef COMFYDD_FUTEX_H
#define COMFYDD_FUTEX_H

#include <stdint.h>

#define FUTEX_FOREVER UINT64_MAX

/* Waits while *word is `expected`, at most `timeout_ns` (of CLOCK_MONOTONIC). May return early: look again. */
void futex_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns);

/* Wakes all who wait for that word; call after changing it. */
void futex_wake(const uint32_t *word);

#endif
