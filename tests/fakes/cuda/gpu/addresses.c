#include "gpu/addresses.h"

#include "gpu/settings.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifndef RANGE_BITS
#define RANGE_BITS 42 /* scripts/check-aarch64 has fewer: qemu-user keeps books of every page */
#endif
#define RANGE   ((size_t)1 << RANGE_BITS)
#define BUCKETS (1u << 12)

struct hole {
    uintptr_t address;
    size_t size;
    struct hole *next;
};

static struct hole *holes[BUCKETS]; /* by size, the newest first */
static struct hole *spare;          /* kept: a test may watch for calls of malloc */
static uintptr_t first, next, end;

size_t addresses_round_up(size_t size, size_t unit) {
    return (size + unit - 1) / unit * unit;
}

/* Address space only. Sanitizers and ulimit -v leave less of it. */
static bool reserve(void) {
    int protection = settings.copy ? PROT_READ | PROT_WRITE : PROT_NONE;
    for (size_t size = RANGE; size >= RANGE >> 8; size /= 2) {
        void *range = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (range == MAP_FAILED) continue;
        first = (uintptr_t)range;
        next = addresses_round_up(first, ADDRESSES_PAGE);
        end = first + size;
        return true;
    }
    return false;
}

static struct hole **bucket(size_t size) {
    return &holes[(size / ADDRESSES_UNIT * 0x9e3779b97f4a7c15u) >> 52];
}

uintptr_t addresses_take(size_t size, size_t alignment) {
    uintptr_t address;
    if (!alignment) alignment = size < ADDRESSES_PAGE ? ADDRESSES_UNIT : ADDRESSES_PAGE;
    for (struct hole **link = bucket(size); *link; link = &(*link)->next) {
        struct hole *hole = *link;

        if (hole->size != size || hole->address % alignment) continue;
        address = hole->address;
        *link = hole->next;
        hole->next = spare;
        spare = hole;
        return address;
    }
    if (!first && !reserve()) return 0;
    address = addresses_round_up(next, alignment);
    if (size > end - address) return 0;
    next = address + size;
    return address;
}

void addresses_give_back(uintptr_t address, size_t size) {
    struct hole *hole = spare ? spare : malloc(sizeof *hole);
    if (!hole) return; /* there are enough addresses */
    if (spare) spare = hole->next;
    *hole = (struct hole){.address = address, .size = size, .next = *bucket(size)};
    *bucket(size) = hole;
}

bool addresses_known(uintptr_t address) {
    return address >= first && address < end;
}
