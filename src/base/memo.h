/* memo: a cache of 64-bit keys and non-zero 32-bit values, in memory of the caller's that begins as zeros. A later pair
 * takes the place of an earlier one; what is found is always what was put under exactly that key.
 *
 * Lock-free: any thread, in a signal handler too, and in the child of a fork whatever other threads were doing. */
#ifndef COMFYDD_MEMO_H
#define COMFYDD_MEMO_H

#include <stdint.h>

/* `check` is key ^ value: half of one pair and half of another, which two threads writing at a time leave behind, fits
 * neither key. */
struct memo {
    uint64_t check, value;
};

/* `count` entries, a power of two. 0: not there. What had been written before memo_put is seen after this. */
static inline uint32_t memo_get(const struct memo *entries, uint32_t count, uint64_t key) {
    const struct memo *entry = &entries[key >> 32 & (count - 1)];
    uint64_t value = __atomic_load_n(&entry->value, __ATOMIC_ACQUIRE);
    uint64_t check = __atomic_load_n(&entry->check, __ATOMIC_RELAXED);
    return (check ^ value) == key ? (uint32_t)value : 0;
}

static inline void memo_put(struct memo *entries, uint32_t count, uint64_t key, uint32_t value) {
    struct memo *entry = &entries[key >> 32 & (count - 1)];
    __atomic_store_n(&entry->check, key ^ value, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->value, value, __ATOMIC_RELEASE);
}

#endif
