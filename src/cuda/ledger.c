#include "cuda/ledger.h"

#include "base/log.h"
#include "base/spin.h"
#include "cuda/owners.h"
#include "cuda/usage.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SHARDS     64u   /* powers of two */
#define BUCKETS    1024u /* of a shard: chains stay short up to some 100,000 live entries */
#define CHUNK_SIZE (64u << 10)

/* Physical memory (space HANDLE) is counted by references: one while the program holds the handle, and one of each mapping.
 * When it has let go of the handle, which may then be given out again, the entry goes on under a key of its own. */
struct node {
    struct node *next; /* in its bucket, or in the shard's list of free ones */
    struct ledger_entry entry;
    struct node *physical;    /* of a mapping: what it maps; itself a node of space HANDLE */
    uint32_t holds, mappings; /* of physical memory; changed under the lock of `physical_lock` */
};

struct shard {
    uint32_t lock;
    uint32_t count; /* of entries that ledger_count counts */
    struct node **buckets;
    struct node *free;
    char *fresh, *fresh_end; /* of the last chunk, what has not been a node yet */
    char padding[24];        /* up to a cache line */
};

static struct shard shards[SHARDS];
static bool recording, lost;
static uint32_t (*capture)(uint64_t size);
static uint32_t physical_lock; /* taken before a shard's lock, never after */

static uint64_t hash(enum ledger_space space, uint64_t address) {
    return (address + space) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct shard *shard_of(uint64_t hashed) {
    return &shards[hashed >> 58 & (SHARDS - 1)];
}

static struct node **bucket_of(struct shard *shard, uint64_t hashed) {
    return &shard->buckets[hashed >> 40 & (BUCKETS - 1)];
}

/* ---- memory ---- */

static void *map(size_t size) {
    int saved_errno = errno;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved_errno;
    return memory == MAP_FAILED ? NULL : memory;
}

static void give_up(void) {
    if (__atomic_exchange_n(&lost, true, __ATOMIC_RELAXED)) return;
    __atomic_store_n(&recording, false, __ATOMIC_RELAXED);
    log_line(
        "no memory to record GPU allocations; memory figures of this process are incomplete from now on");
}

/* All with the shard's lock held. */
static struct node *take_node(struct shard *shard) {
    struct node *node = shard->free;
    if (node) {
        shard->free = node->next;
        return node;
    }
    if (shard->fresh_end - shard->fresh < (ptrdiff_t)sizeof *node) {
        shard->fresh = map(CHUNK_SIZE);
        shard->fresh_end = shard->fresh ? shard->fresh + CHUNK_SIZE : NULL;
        if (!shard->fresh) return NULL;
    }
    node = (struct node *)shard->fresh;
    shard->fresh += sizeof *node;
    return node;
}

static void give_node(struct shard *shard, struct node *node) {
    node->next = shard->free;
    shard->free = node;
}

static bool have_buckets(struct shard *shard) {
    if (!shard->buckets) shard->buckets = map(BUCKETS * sizeof *shard->buckets);
    return shard->buckets != NULL;
}

/* ---- one shard, its lock held ---- */

static bool is_counted(const struct ledger_entry *entry) {
    return !entry->segment && entry->kind != LEDGER_PINNED && entry->kind != LEDGER_REGISTERED &&
           entry->space != LEDGER_MAPPING;
}

static struct node **find(struct shard *shard, uint64_t hashed, enum ledger_space space, uint64_t address) {
    struct node **link = bucket_of(shard, hashed);
    while (*link && ((*link)->entry.address != address || (*link)->entry.space != space))
        link = &(*link)->next;
    return link;
}

static void link_node(struct shard *shard, uint64_t hashed, struct node *node) {
    struct node **bucket = bucket_of(shard, hashed);
    node->next = *bucket;
    *bucket = node;
    shard->count += is_counted(&node->entry);
}

static struct node *unlink_node(struct shard *shard, struct node **link) {
    struct node *node = *link;
    *link = node->next;
    shard->count -= is_counted(&node->entry);
    return node;
}

/* ---- plain entries ---- */

void ledger_start(void) {
    if (!__atomic_load_n(&lost, __ATOMIC_RELAXED)) __atomic_store_n(&recording, true, __ATOMIC_RELAXED);
}

bool ledger_recording(void) {
    return __atomic_load_n(&recording, __ATOMIC_RELAXED);
}

void ledger_set_stack_source(uint32_t (*source)(uint64_t)) {
    __atomic_store_n(&capture, source, __ATOMIC_RELEASE);
}

enum added { ADDED, THERE_ALREADY, REPLACED, NO_MEMORY };

/* `replaced` is filled with what was there. */
static enum added insert(const struct ledger_entry *entry, struct node **inserted,
                         struct ledger_entry *replaced) {
    uint64_t hashed = hash(entry->space, entry->address);
    struct shard *shard = shard_of(hashed);
    enum added result = NO_MEMORY;
    spin_lock(&shard->lock);
    if (have_buckets(shard)) {
        struct node *known = *find(shard, hashed, entry->space, entry->address);
        if (known && known->entry.size == entry->size) {
            result = THERE_ALREADY;
        } else if (known) {
            *replaced = known->entry;
            shard->count -= is_counted(&known->entry);
            known->entry = *entry;
            shard->count += is_counted(entry);
            *inserted = known;
            result = REPLACED;
        } else if ((*inserted = take_node(shard))) {
            **inserted = (struct node){.entry = *entry, .holds = 1};
            link_node(shard, hashed, *inserted);
            result = ADDED;
        }
    }
    spin_unlock(&shard->lock);
    return result;
}

void ledger_add(const struct ledger_entry *given) {
    if (!ledger_recording()) return;
    struct ledger_entry entry = *given, replaced;
    struct node *node;
    entry.owner = owners_current();
    entry.stack = 0;
    switch (insert(&entry, &node, &replaced)) {
    case THERE_ALREADY:
        return;
    case NO_MEMORY:
        give_up();
        return;
    case REPLACED:
        usage_change(&replaced, -1);
        break;
    case ADDED:
        break;
    }
    usage_change(&entry, 1);
    if (!is_counted(&entry)) return;
    owners_count_allocation(entry.owner, entry.device, entry.size);
    /* Nobody can free it yet: the program has not got the address. */
    uint32_t (*source)(uint64_t) = __atomic_load_n(&capture, __ATOMIC_ACQUIRE);
    if (source) __atomic_store_n(&node->entry.stack, source(entry.size), __ATOMIC_RELAXED);
}

bool ledger_remove(enum ledger_space space, uint64_t address, struct ledger_entry *removed) {
    uint64_t hashed = hash(space, address);
    struct shard *shard = shard_of(hashed);
    bool found = false;
    spin_lock(&shard->lock);
    if (shard->buckets) {
        struct node **link = find(shard, hashed, space, address);
        if (*link) {
            struct node *node = unlink_node(shard, link);
            *removed = node->entry;
            give_node(shard, node);
            found = true;
        }
    }
    spin_unlock(&shard->lock);
    if (found) usage_change(removed, -1);
    return found;
}

void ledger_restore(const struct ledger_entry *removed) {
    struct node *node;
    struct ledger_entry replaced;
    enum added result = insert(removed, &node, &replaced);
    if (result == NO_MEMORY) give_up();
    if (result == REPLACED) usage_change(&replaced, -1);
    if (result == ADDED || result == REPLACED) usage_change(removed, 1);
}

/* ---- physical memory and its mappings; physical_lock held in all that is static ---- */

static struct node *find_node(enum ledger_space space, uint64_t address) {
    uint64_t hashed = hash(space, address);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    struct node *node = shard->buckets ? *find(shard, hashed, space, address) : NULL;
    spin_unlock(&shard->lock);
    return node;
}

static void take_out(struct node *node) {
    uint64_t hashed = hash(node->entry.space, node->entry.address);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    struct node **link = find(shard, hashed, node->entry.space, node->entry.address);
    if (*link == node) unlink_node(shard, link);
    spin_unlock(&shard->lock);
}

static void give_back(struct node *node) {
    struct shard *shard = shard_of(hash(node->entry.space, node->entry.address));
    spin_lock(&shard->lock);
    give_node(shard, node);
    spin_unlock(&shard->lock);
}

/* The handle's number may be given out again from now on. */
static void change_key(struct node *node) {
    take_out(node);
    node->entry.address = (uintptr_t)node | UINT64_C(1) << 63;
    uint64_t hashed = hash(node->entry.space, node->entry.address);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    if (have_buckets(shard)) link_node(shard, hashed, node);
    spin_unlock(&shard->lock);
}

/* True when it is gone. */
static bool drop_if_unused(struct node *node) {
    if (node->holds || node->mappings) return false;
    take_out(node);
    return true;
}

void ledger_release(uint64_t handle) {
    struct ledger_entry gone = {0};
    spin_lock(&physical_lock);
    struct node *node = find_node(LEDGER_HANDLE, handle);
    if (node && --node->holds == 0) {
        if (drop_if_unused(node)) {
            gone = node->entry;
            give_back(node);
        } else {
            change_key(node);
        }
    }
    spin_unlock(&physical_lock);
    if (gone.size) usage_change(&gone, -1);
}

void ledger_retain(uint64_t handle) {
    spin_lock(&physical_lock);
    struct node *node = find_node(LEDGER_HANDLE, handle);
    if (node) node->holds++;
    spin_unlock(&physical_lock);
}

static bool unmap_one(uint64_t address, uint64_t *size) {
    struct ledger_entry gone = {0};
    spin_lock(&physical_lock);
    struct node *mapping = find_node(LEDGER_MAPPING, address);
    if (mapping) {
        struct node *physical = mapping->physical;
        *size = mapping->entry.size;
        take_out(mapping);
        give_back(mapping);
        physical->mappings--;
        if (drop_if_unused(physical)) {
            gone = physical->entry;
            give_back(physical);
        }
    }
    spin_unlock(&physical_lock);
    if (gone.size) usage_change(&gone, -1);
    return mapping != NULL;
}

void ledger_map(uint64_t address, uint64_t size, uint64_t handle) {
    if (!ledger_recording()) return;
    uint64_t old_size;
    unmap_one(address, &old_size); /* whose end was not seen */
    struct ledger_entry entry = {.space = LEDGER_MAPPING, .address = address, .size = size}, replaced;
    struct node *mapping;
    spin_lock(&physical_lock);
    struct node *physical = find_node(LEDGER_HANDLE, handle);
    enum added result = physical ? insert(&entry, &mapping, &replaced) : THERE_ALREADY;
    if (result == ADDED) {
        mapping->physical = physical;
        physical->mappings++;
    }
    spin_unlock(&physical_lock);
    if (result == NO_MEMORY) give_up();
}

/* The smallest unit of physical memory that any driver gives out, so a mapping begins nowhere else. */
#define GRANULARITY (UINT64_C(64) << 10)

bool ledger_unmap(uint64_t address, uint64_t size) {
    bool any = false;
    for (uint64_t end = address + size; address < end;) {
        uint64_t mapped;
        if (unmap_one(address, &mapped)) {
            any = true;
            address += mapped;
        } else {
            address += GRANULARITY;
        }
    }
    return any;
}

/* ---- many ---- */

/* Everything on a device but physical memory, which outlives contexts. */
static bool is_of_context(const struct ledger_entry *entry, const void *context) {
    return entry->space != LEDGER_HANDLE && entry->space != LEDGER_MAPPING && context &&
           entry->context == context;
}

static bool is_of_pool(const struct ledger_entry *entry, const void *pool) {
    return entry->kind == LEDGER_ASYNC && pool && entry->pool == pool;
}

static bool is_of_device(const struct ledger_entry *entry, const void *device) {
    return entry->space != LEDGER_HANDLE && entry->space != LEDGER_MAPPING &&
           entry->device == *(const uint8_t *)device;
}

static void purge(bool (*matches)(const struct ledger_entry *, const void *), const void *with) {
    for (struct shard *shard = shards; shard < shards + SHARDS; shard++) {
        struct node *gone = NULL;
        spin_lock(&shard->lock);
        for (unsigned i = 0; shard->buckets && i < BUCKETS; i++)
            for (struct node **link = &shard->buckets[i]; *link;)
                if (matches(&(*link)->entry, with)) {
                    struct node *node = unlink_node(shard, link);
                    node->next = gone;
                    gone = node;
                } else {
                    link = &(*link)->next;
                }
        spin_unlock(&shard->lock);
        for (struct node *next; gone; gone = next) {
            next = gone->next;
            usage_change(&gone->entry, -1);
            spin_lock(&shard->lock);
            give_node(shard, gone);
            spin_unlock(&shard->lock);
        }
    }
}

void ledger_purge_context(const void *context) {
    purge(is_of_context, context);
}

void ledger_purge_pool(const void *pool) {
    purge(is_of_pool, pool);
}

void ledger_purge_device(uint8_t device) {
    purge(is_of_device, &device);
}

uint64_t ledger_count(void) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        sum += __atomic_load_n(&shards[i].count, __ATOMIC_RELAXED);
    return sum;
}

void ledger_each(void (*see)(const struct ledger_entry *, void *), void *context) {
    for (struct shard *shard = shards; shard < shards + SHARDS; shard++) {
        spin_lock(&shard->lock);
        for (unsigned i = 0; shard->buckets && i < BUCKETS; i++)
            for (struct node *node = shard->buckets[i]; node; node = node->next)
                if (node->entry.space != LEDGER_MAPPING) see(&node->entry, context);
        spin_unlock(&shard->lock);
    }
}

void ledger_forked(void) {
    memset(shards, 0,
           sizeof shards); /* their memory is left alone: freeing it would take time in every child */
    physical_lock = 0;
}
