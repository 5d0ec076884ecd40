#include "gpu/books.h"

#include "gpu/calls.h"
#include "gpu/settings.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (1u << 16)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks[BUCKETS];                     /* by address */
static struct block *spare;                               /* kept: a test may watch for calls of malloc */
static struct fake_gpu_books books[SETTINGS_DEVICES + 1]; /* the last: the host's */

void books_lock(void) {
    pthread_mutex_lock(&lock);
}

void books_unlock(void) {
    pthread_mutex_unlock(&lock);
}

static struct fake_gpu_books *of(int device) {
    return &books[device == FAKE_GPU_HOST ? SETTINGS_DEVICES : device];
}

bool fake_gpu_books(int device, struct fake_gpu_books *copy) {
    if (device < FAKE_GPU_HOST || device >= settings.devices) return false;
    books_lock();
    *copy = *of(device);
    books_unlock();
    copy->total = device == FAKE_GPU_HOST ? 0 : settings.memory;
    return true;
}

bool books_charge(int device, size_t size) {
    struct fake_gpu_books *mine = of(device);
    if (device != FAKE_GPU_HOST && size > settings.memory - mine->in_use) return false;
    mine->in_use += size;
    if (mine->in_use > mine->peak) mine->peak = mine->in_use;
    return true;
}

void books_refund(int device, size_t size) {
    of(device)->in_use -= size;
}

size_t books_free(int device) {
    return settings.memory - of(device)->in_use;
}

void books_count(int device, enum fake_gpu_kind kind, size_t size, int sign) {
    struct fake_gpu_books *mine = of(device);
    mine->live[kind] += sign > 0 ? size : -size;
    mine->count[kind] += (uint64_t)sign;
}

const char *books_kind(enum fake_gpu_kind kind) {
    static const char *const names[] = {
        [FAKE_GPU_PLAIN] = "plain",           [FAKE_GPU_ASYNC] = "async",
        [FAKE_GPU_MANAGED] = "managed",       [FAKE_GPU_ARRAY] = "array",
        [FAKE_GPU_PHYSICAL] = "physical",     [FAKE_GPU_PINNED] = "pinned",
        [FAKE_GPU_REGISTERED] = "registered", [FAKE_GPU_MAPPING] = "mapping",
        [FAKE_GPU_GRAPH] = "graph",
    };
    return names[kind];
}

static struct block **bucket(uintptr_t address) {
    return &blocks[((address >> 9) * 0x9e3779b97f4a7c15u) >> 48];
}

struct block *books_add(uintptr_t address, size_t size, enum fake_gpu_kind kind, int device) {
    struct block *block = spare ? spare : malloc(sizeof *block), **head = bucket(address);
    if (!block) abort(); /* a test program's end, not a host's */
    if (spare) spare = block->next;
    *block = (struct block){.address = address, .size = size, .kind = kind, .device = device, .next = *head};
    books_count(device, kind, size, 1);
    calls_log("+ %s of device %d at %#lx: %zu", books_kind(kind), device, address, size);
    return *head = block;
}

struct block *books_find(uintptr_t address) {
    struct block *block = *bucket(address);
    while (block && block->address != address)
        block = block->next;
    return block;
}

void books_remove(struct block *block, struct block *removed) {
    struct block **link = bucket(block->address);
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
    *removed = *block;
    block->next = spare;
    spare = block;
    books_count(removed->device, removed->kind, removed->size, -1);
    calls_log("- %s of device %d at %#lx: %zu", books_kind(removed->kind), removed->device, removed->address,
              removed->size);
}

struct block *books_any(const void *owner, unsigned *from) {
    for (; *from < BUCKETS; ++*from)
        for (struct block *block = blocks[*from]; block; block = block->next)
            if (block->owner == owner) return block;
    return NULL;
}
