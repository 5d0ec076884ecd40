#include "cuda/ledger.h"

#include "base/log.h"
#include "base/spin.h"
#include "cuda/owners.h"
#include "cuda/usage.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SHARDS       64u    /* powers of two, all three */
#define BUCKETS      2048u  /* of a shard */
#define SHARD_NODES  65536u /* most entries of a shard: four million in all */
#define REGION_NODES (SHARDS * SHARD_NODES)

/* Entries are kept as they are, and refer to each other by their numbers in the region; 0 is none.
 *
 * Physical memory (space HANDLE) is counted by references: one while the program holds the handle, and one of each mapping.
 * When it has let go of the handle, which may then be given out again, the entry goes on under a key of its own. It
 * belongs to no context; `context` holds these counts instead. A mapping's `owner` is the number of what it maps. */
struct references {
    uint32_t holds, mappings;
};
_Static_assert(sizeof(struct references) <= sizeof(const void *), "counts fit in place of a context");

struct shard {
    uint32_t lock;
    uint32_t free;  /* the first of those that have been given back */
    uint32_t fresh; /* how many of its nodes have been in use at all */
    char padding[52];
};

/* Made at the first allocation; addresses only, memory comes with use. */
struct region {
    uint32_t buckets[SHARDS][BUCKETS];
    struct ledger_entry nodes[REGION_NODES];
};

static struct shard shards[SHARDS] __attribute__((aligned(64)));
static struct region *region;
static bool recording, lost;
static uint32_t (*capture)(uint64_t size);
static uint32_t physical_lock; /* of holds and mappings; taken before a shard's lock, never after */

static inline uint64_t hash(enum ledger_space space, uint64_t address) {
    return (address + space) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline unsigned shard_of(uint64_t hashed) {
    return hashed >> 58;
}

static inline uint32_t *bucket_of(uint64_t hashed) {
    return &region->buckets[shard_of(hashed)][hashed >> 40 & (BUCKETS - 1)];
}

static inline struct ledger_entry *node_at(uint32_t number) {
    return &region->nodes[number];
}

static inline struct references *references(uint32_t number) {
    return (struct references *)&node_at(number)->context;
}

/* ---- memory ---- */

__attribute__((noinline, cold)) static void give_up(void) {
    if (__atomic_exchange_n(&lost, true, __ATOMIC_RELAXED)) return;
    __atomic_store_n(&recording, false, __ATOMIC_RELAXED);
    log_line(
        "no memory to record GPU allocations; memory figures of this process are incomplete from now on");
}

__attribute__((noinline, cold)) static bool make_region(void) {
    int saved_errno = errno;
    void *memory = mmap(NULL, sizeof *region, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct region *none = NULL;
    if (memory != MAP_FAILED &&
        !__atomic_compare_exchange_n(&region, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, sizeof *region); /* another thread was first */
    errno = saved_errno;
    return region != NULL;
}

static inline bool have_region(void) {
    return __builtin_expect(__atomic_load_n(&region, __ATOMIC_ACQUIRE) != NULL, 1);
}

/* ---- one shard, its lock held ---- */

static inline uint32_t take_node(unsigned of) {
    struct shard *shard = &shards[of];
    uint32_t number = shard->free;
    if (number)
        shard->free = node_at(number)->next;
    else if (shard->fresh < SHARD_NODES - 1)
        number = of * SHARD_NODES + ++shard->fresh; /* never 0 */
    return number;
}

static inline void give_node(unsigned of, uint32_t number) {
    node_at(number)->next = shards[of].free;
    shards[of].free = number;
}

static inline bool is_counted(const struct ledger_entry *entry) {
    return !entry->segment && entry->space != LEDGER_HOST && entry->space != LEDGER_MAPPING &&
           entry->kind != LEDGER_PINNED;
}

/* The link that leads to the node, or to none. */
static inline uint32_t *find(uint64_t hashed, enum ledger_space space, uint64_t address) {
    uint32_t *link = bucket_of(hashed);
    while (*link) {
        struct ledger_entry *node = node_at(*link);
        if (node->address == address && node->space == space) break;
        link = &node->next;
    }
    return link;
}

static inline void link_node(uint64_t hashed, uint32_t number) {
    uint32_t *bucket = bucket_of(hashed);
    node_at(number)->next = *bucket;
    *bucket = number;
}

static inline uint32_t unlink_node(uint32_t *link) {
    uint32_t number = *link;
    *link = node_at(number)->next;
    return number;
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
__attribute__((noinline, cold)) static enum added replace(uint32_t number, const struct ledger_entry *entry,
                                                          struct ledger_entry *replaced) {
    struct ledger_entry *node = node_at(number);
    if (node->size == entry->size) return THERE_ALREADY;
    *replaced = *node;
    *node = *entry;
    node->next = replaced->next;
    return REPLACED;
}

__attribute__((always_inline)) static inline enum added
insert(const struct ledger_entry *entry, uint32_t *number, struct ledger_entry *replaced) {
    uint64_t hashed = hash(entry->space, entry->address);
    unsigned of = shard_of(hashed);
    enum added result = NO_MEMORY;
    if (!have_region() && !make_region()) return NO_MEMORY;
    spin_lock(&shards[of].lock);
    *number = *find(hashed, entry->space, entry->address);
    if (__builtin_expect(*number != 0, 0)) {
        result = replace(*number, entry, replaced);
    } else if ((*number = take_node(of))) {
        *node_at(*number) = *entry;
        if (entry->space == LEDGER_HANDLE) *references(*number) = (struct references){.holds = 1};
        link_node(hashed, *number);
        result = ADDED;
    }
    spin_unlock(&shards[of].lock);
    return result;
}

void ledger_add(struct ledger_entry *entry) {
    if (!ledger_recording()) return;
    struct ledger_entry replaced;
    uint32_t number;
    entry->owner = owners_current();
    entry->stack = 0;
    enum added result = insert(entry, &number, &replaced);
    if (result == THERE_ALREADY) return;
    if (result == NO_MEMORY) {
        give_up();
        return;
    }
    if (result == REPLACED) usage_change(&replaced, -1);
    usage_change(entry, 1);
    if (!is_counted(entry)) return;
    owners_count_allocation(entry->owner, entry->device, entry->size);
    /* Nobody can free it yet: the program has not got the address. */
    uint32_t (*source)(uint64_t) = __atomic_load_n(&capture, __ATOMIC_ACQUIRE);
    if (source) __atomic_store_n(&node_at(number)->stack, source(entry->size), __ATOMIC_RELAXED);
}

bool ledger_remove(enum ledger_space space, uint64_t address, struct ledger_entry *removed) {
    uint64_t hashed = hash(space, address);
    unsigned of = shard_of(hashed);
    if (!have_region()) return false;
    spin_lock(&shards[of].lock);
    uint32_t *link = find(hashed, space, address);
    bool found = *link != 0;
    if (found) {
        uint32_t number = unlink_node(link);
        *removed = *node_at(number);
        give_node(of, number);
    }
    spin_unlock(&shards[of].lock);
    if (found) usage_change(removed, -1);
    return found;
}

void ledger_restore(const struct ledger_entry *removed) {
    uint32_t number;
    struct ledger_entry replaced;
    enum added result = insert(removed, &number, &replaced);
    if (result == NO_MEMORY) give_up();
    if (result == REPLACED) usage_change(&replaced, -1);
    if (result == ADDED || result == REPLACED) usage_change(removed, 1);
}

/* ---- physical memory and its mappings; physical_lock is held in all that is static ---- */

static uint32_t find_number(enum ledger_space space, uint64_t address) {
    uint64_t hashed = hash(space, address);
    if (!have_region()) return 0;
    spin_lock(&shards[shard_of(hashed)].lock);
    uint32_t number = *find(hashed, space, address);
    spin_unlock(&shards[shard_of(hashed)].lock);
    return number;
}

static uint64_t hash_of(uint32_t number) {
    return hash(node_at(number)->space, node_at(number)->address);
}

static void take_out(uint32_t number) {
    uint64_t hashed = hash_of(number);
    unsigned of = shard_of(hashed);
    spin_lock(&shards[of].lock);
    uint32_t *link = find(hashed, node_at(number)->space, node_at(number)->address);
    if (*link == number) unlink_node(link);
    spin_unlock(&shards[of].lock);
}

static void give_back(uint32_t number) {
    unsigned of = number / SHARD_NODES;
    spin_lock(&shards[of].lock);
    give_node(of, number);
    spin_unlock(&shards[of].lock);
}

static void change_key(uint32_t number, uint64_t key) {
    take_out(number);
    node_at(number)->address = key;
    uint64_t hashed = hash_of(number);
    spin_lock(&shards[shard_of(hashed)].lock);
    link_node(hashed, number);
    spin_unlock(&shards[shard_of(hashed)].lock);
}

/* Forgets it when nothing refers to it any more: then true, and *gone is what it was. */
static bool drop_if_unused(uint32_t number, struct ledger_entry *gone) {
    if (references(number)->holds || references(number)->mappings) return false;
    take_out(number);
    *gone = *node_at(number);
    give_back(number);
    return true;
}

void ledger_release(uint64_t handle) {
    struct ledger_entry gone = {0};
    bool dropped = false;
    spin_lock(&physical_lock);
    uint32_t number = find_number(LEDGER_HANDLE, handle);
    if (number && --references(number)->holds == 0) {
        dropped = drop_if_unused(number, &gone);
        /* The handle may be given out again from now on. */
        if (!dropped) change_key(number, number | UINT64_C(1) << 63);
    }
    spin_unlock(&physical_lock);
    if (dropped) usage_change(&gone, -1);
}

/* The smallest unit of physical memory that any driver gives out, so a mapping begins nowhere else. */
#define GRANULARITY (UINT64_C(64) << 10)
#define FURTHEST    1024 /* units from the beginning of a mapping to an address in it that is looked for */

static uint32_t physical_at(uint64_t address) {
    address -= address % GRANULARITY;
    for (unsigned i = 0; i < FURTHEST && i * GRANULARITY <= address; i++) {
        uint32_t mapping = find_number(LEDGER_MAPPING, address - i * GRANULARITY);
        if (!mapping) continue;
        return node_at(mapping)->size > i * GRANULARITY ? node_at(mapping)->owner : 0;
    }
    return 0;
}

void ledger_retain(uint64_t handle, uint64_t address) {
    spin_lock(&physical_lock);
    uint32_t number = find_number(LEDGER_HANDLE, handle);
    if (!number && (number = physical_at(address))) change_key(number, handle); /* it had let go of it */
    if (number) references(number)->holds++;
    spin_unlock(&physical_lock);
}

static bool unmap_one(uint64_t address, uint64_t *size) {
    struct ledger_entry gone = {0};
    bool dropped = false;
    spin_lock(&physical_lock);
    uint32_t mapping = find_number(LEDGER_MAPPING, address);
    if (mapping) {
        uint32_t physical = node_at(mapping)->owner;
        *size = node_at(mapping)->size;
        take_out(mapping);
        give_back(mapping);
        references(physical)->mappings--;
        dropped = drop_if_unused(physical, &gone);
    }
    spin_unlock(&physical_lock);
    if (dropped) usage_change(&gone, -1);
    return mapping != 0;
}

void ledger_map(uint64_t address, uint64_t size, uint64_t handle) {
    if (!ledger_recording()) return;
    uint64_t old_size;
    unmap_one(address, &old_size); /* whose end was not seen */
    struct ledger_entry entry = {.space = LEDGER_MAPPING, .address = address, .size = size}, replaced;
    uint32_t mapping;
    spin_lock(&physical_lock);
    uint32_t physical = find_number(LEDGER_HANDLE, handle);
    enum added result = physical ? insert(&entry, &mapping, &replaced) : THERE_ALREADY;
    if (result == ADDED) {
        node_at(mapping)->owner = physical;
        references(physical)->mappings++;
    }
    spin_unlock(&physical_lock);
    if (result == NO_MEMORY) give_up();
}

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

/* Physical memory and its mappings outlive contexts. */
static bool is_of_context(const struct ledger_entry *node, const void *context) {
    return node->space != LEDGER_HANDLE && node->space != LEDGER_MAPPING && node->context == context;
}

void ledger_purge_context(const void *context) {
    if (!context || !have_region()) return;
    for (unsigned of = 0; of < SHARDS; of++) {
        uint32_t gone = 0;
        spin_lock(&shards[of].lock);
        for (unsigned i = 0; i < BUCKETS; i++)
            for (uint32_t *link = &region->buckets[of][i]; *link;)
                if (is_of_context(node_at(*link), context)) {
                    uint32_t number = unlink_node(link);
                    node_at(number)->next = gone;
                    gone = number;
                } else {
                    link = &node_at(*link)->next;
                }
        spin_unlock(&shards[of].lock);
        for (uint32_t next; gone; gone = next) {
            struct ledger_entry entry = *node_at(gone);
            next = node_at(gone)->next;
            give_back(gone);
            usage_change(&entry, -1);
        }
    }
}

void ledger_each(void (*see)(const struct ledger_entry *, void *), void *context) {
    if (!have_region()) return;
    for (unsigned of = 0; of < SHARDS; of++) {
        spin_lock(&shards[of].lock);
        for (unsigned i = 0; i < BUCKETS; i++)
            for (uint32_t number = region->buckets[of][i]; number; number = node_at(number)->next) {
                const struct ledger_entry *entry = node_at(number);
                if (entry->space != LEDGER_MAPPING) see(entry, context);
            }
        spin_unlock(&shards[of].lock);
    }
}

static void count(const struct ledger_entry *entry, void *sum) {
    *(uint64_t *)sum += is_counted(entry);
}

uint64_t ledger_count(void) {
    uint64_t sum = 0;
    ledger_each(count, &sum);
    return sum;
}

void ledger_forked(void) {
    memset(shards, 0, sizeof shards);
    region = NULL; /* the parent's copy is left alone: freeing it would take time in every child */
    physical_lock = 0;
}
