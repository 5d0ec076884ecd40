#include "base/intern.h"

#include "base/hash.h"

#include <stdbool.h>

#define PROBES 64 /* places tried for one string: full is when all of them are taken by others */
#define UNIT   8  /* an id is a record's place, in these */

struct record {
    uint32_t hash, size;
    char bytes[];
};

void intern_init(struct intern *table, void *memory, uint32_t size, uint32_t slots) {
    *table = (struct intern){
        .memory = memory, .size = size, .slots = slots, .used = slots * (uint32_t)sizeof(uint32_t)};
}

static struct record *record_of(const struct intern *table, uint32_t id) {
    return (struct record *)(table->memory + (uint64_t)id * UNIT);
}

/* A new record with these bytes; 0 when there is no room. */
static uint32_t append(struct intern *table, uint32_t hash, const void *bytes, uint32_t size) {
    uint64_t needed = (sizeof(struct record) + (uint64_t)size + UNIT - 1) / UNIT * UNIT;
    uint32_t at = __atomic_load_n(&table->used, __ATOMIC_RELAXED);
    do {
        if (at + needed > table->size) return 0;
    } while (!__atomic_compare_exchange_n(&table->used, &at, at + (uint32_t)needed, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    struct record *record = record_of(table, at / UNIT);
    record->hash = hash;
    record->size = size;
    memcpy(record->bytes, bytes, size);
    return at / UNIT;
}

/* Another thread was first with the same bytes: our record goes back, unless something has been appended meanwhile. */
static void withdraw(struct intern *table, uint32_t id) {
    uint32_t needed = ((uint32_t)sizeof(struct record) + record_of(table, id)->size + UNIT - 1) / UNIT * UNIT;
    uint32_t end = id * UNIT + needed;
    __atomic_compare_exchange_n(&table->used, &end, id * UNIT, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

uint32_t intern_add(struct intern *table, const void *bytes, uint32_t size) {
    uint32_t *slots = (uint32_t *)table->memory;
    uint64_t hash = hash_bytes(bytes, size);
    uint32_t ours = 0; /* appended, not in a slot yet */
    for (uint32_t i = 0; i < PROBES; i++) {
        uint32_t *slot = &slots[(hash + i) & (table->slots - 1)];
        uint32_t id = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (!id) {
            if (!ours) ours = append(table, (uint32_t)(hash >> 32), bytes, size);
            if (!ours) return 0;
            if (__atomic_compare_exchange_n(slot, &id, ours, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
                return ours;
        }
        const struct record *record = record_of(table, id);
        if (record->hash == (uint32_t)(hash >> 32) && record->size == size &&
            memcmp(record->bytes, bytes, size) == 0) {
            if (ours) withdraw(table, ours);
            return id;
        }
    }
    if (ours) withdraw(table, ours);
    return 0;
}

const void *intern_get(const struct intern *table, uint32_t id, uint32_t *size) {
    const struct record *record = record_of(table, id);
    if (size) *size = record->size;
    return record->bytes;
}
