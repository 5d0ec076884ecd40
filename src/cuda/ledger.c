#include "cuda/ledger.h"

#include "base/each_node.h"
#include "base/log.h"
#include "base/spin.h"
#include "cuda/owners.h"
#include "cuda/usage.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SHARDS       256u /* powers of two, all four */
#define SHARD_BITS   8
#define BUCKETS      (SHARDS * 1024)
#define BUCKET_BITS  18
#define REGION_NODES (1u << 22) /* most entries; PyTorch makes some ten thousand */
#define CHUNK        64u /* entries that a shard takes at once, so that memory fills from its beginning */

/* Entries are kept as they are, and refer to each other by their numbers in the region; 0 is none.
 *
 * Physical memory (space HANDLE) is counted by references: one while the program holds the handle, and one of each mapping.
 * When it has let go of the handle, which may then be given out again, the entry goes on under a key of its own. It
 * belongs to no context, and has these counts instead. A mapping's `stack` is the number of what it maps. */
_Static_assert(sizeof(struct ledger_entry) == 32, "two of them are a cache line");
_Static_assert(SHARDS == 1u << SHARD_BITS && BUCKETS == 1u << BUCKET_BITS, "bits as counts");

struct shard {
    _Alignas(64) uint32_t lock;
    uint32_t free;             /* the first of those that have been given back */
    uint32_t fresh, fresh_end; /* of its chunk, what has not been in use yet */
};

/* Made at the first allocation; addresses only, memory comes with use. */
struct region {
    uint32_t buckets[BUCKETS];
    struct ledger_entry nodes[REGION_NODES];
};

static struct shard shards[SHARDS];
static struct region *region;
static uint32_t chunks; /* how many have been taken */
EACH_NODE static bool recording, lost;
static bool nothing_special; /* recording, with a region and without a source of stacks */
static uint32_t (*capture)(uint64_t size);
static uint32_t physical_lock; /* of holds and mappings; taken before a shard's lock, never after */

/* An address in two spaces is rare. */
static inline uint64_t hash(uint64_t address) {
    return address * UINT64_C(0x9e3779b97f4a7c15);
}

/* A shard's buckets lie side by side. */
static inline struct shard *shard_of(uint64_t hashed) {
    return &shards[hashed >> (64 - SHARD_BITS)];
}

static inline uint32_t *bucket_of(uint64_t hashed) {
    return &region->buckets[hashed >> (64 - BUCKET_BITS)];
}

static inline struct ledger_entry *node_at(uint32_t number) {
    return &region->nodes[number];
}

/* ---- memory ---- */

static void note_state(void) {
    bool nothing = __atomic_load_n(&recording, __ATOMIC_RELAXED) &&
                   __atomic_load_n(&region, __ATOMIC_RELAXED) && !__atomic_load_n(&capture, __ATOMIC_RELAXED);
    __atomic_store_n(&nothing_special, nothing, __ATOMIC_RELEASE);
}

__attribute__((noinline, cold)) static void give_up(void) {
    if (__atomic_exchange_n(&lost, true, __ATOMIC_RELAXED)) return;
    __atomic_store_n(&recording, false, __ATOMIC_RELAXED);
    note_state();
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
    note_state();
    return region != NULL;
}

static inline bool have_region(void) {
    return __builtin_expect(__atomic_load_n(&region, __ATOMIC_ACQUIRE) != NULL, 1);
}

/* ---- one shard, its lock held ---- */

static uint32_t take_fresh(struct shard *shard) {
    if (shard->fresh == shard->fresh_end) {
        uint32_t chunk = __atomic_load_n(&chunks, __ATOMIC_RELAXED);
        do {
            if (chunk == REGION_NODES / CHUNK) return 0;
        } while (!__atomic_compare_exchange_n(&chunks, &chunk, chunk + 1, true, __ATOMIC_RELAXED,
                                              __ATOMIC_RELAXED));
        shard->fresh = chunk * CHUNK + (chunk == 0); /* number 0 is none */
        shard->fresh_end = (chunk + 1) * CHUNK;
    }
    return shard->fresh++;
}

static uint32_t take_node(struct shard *shard) {
    uint32_t number = shard->free;
    if (number == 0) return take_fresh(shard);
    shard->free = node_at(number)->next;
    return number;
}

static inline void give_node(struct shard *shard, uint32_t number) {
    node_at(number)->next = shard->free;
    shard->free = number;
}

/* The link that leads to the node, or to none. */
static inline uint32_t *find(uint64_t hashed, enum ledger_space space, uint64_t address) {
    uint32_t *link = bucket_of(hashed);
    while (*link) {
        struct ledger_entry *node = node_at(*link);
        if (node->address == address && node->is.space == space) break;
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
    note_state();
}

bool ledger_recording(void) {
    return __atomic_load_n(&recording, __ATOMIC_RELAXED);
}

void ledger_set_stack_source(uint32_t (*source)(uint64_t)) {
    __atomic_store_n(&capture, source, __ATOMIC_RELEASE);
    note_state();
}

enum added { ADDED, THERE_ALREADY, REPLACED, NO_MEMORY };

/* `replaced` is filled with what was there. */
static enum added replace(struct ledger_entry *node, const struct ledger_entry *entry,
                          struct ledger_entry *replaced) {
    if (node->size == entry->size) return THERE_ALREADY;
    *replaced = *node;
    *node = *entry;
    node->next = replaced->next;
    return REPLACED;
}

static enum added insert(const struct ledger_entry *entry, struct ledger_entry *replaced) {
    if (!have_region() && !make_region()) return NO_MEMORY;
    uint64_t hashed = hash(entry->address);
    struct shard *shard = shard_of(hashed);
    enum added result = ADDED;
    spin_lock(&shard->lock);
    uint32_t number = *find(hashed, entry->is.space, entry->address);
    if (number) {
        result = replace(node_at(number), entry, replaced);
    } else if ((number = take_node(shard))) {
        *node_at(number) = *entry;
        link_node(hashed, number);
    } else {
        result = NO_MEMORY;
    }
    spin_unlock(&shard->lock);
    return result;
}

static inline void usage_went(const struct ledger_entry *entry) {
    usage_freed(entry->is, entry->size);
}

/* False when nothing has changed. */
static bool put(const struct ledger_entry *entry) {
    struct ledger_entry replaced;
    enum added result = insert(entry, &replaced);
    if (result == NO_MEMORY) give_up();
    if (result == REPLACED) usage_went(&replaced);
    if (result == NO_MEMORY || result == THERE_ALREADY) return false;
    usage_change(entry->is, (int64_t)entry->size);
    return true;
}

static void release_unseen(uint64_t handle);

__attribute__((noinline)) static void add_in_any_case(uint64_t address, uint64_t size,
                                                      struct ledger_what what) {
    if (!ledger_recording()) return;
    if (what.space == LEDGER_HANDLE) release_unseen(address);
    uint32_t (*source)(uint64_t) = __atomic_load_n(&capture, __ATOMIC_ACQUIRE);
    struct ledger_entry entry = {.address = address, .size = size, .is = what};
    entry.is.owner = (uint16_t)owners_current();
    if (source && ledger_is_counted(&what)) entry.stack = source(size);
    if (put(&entry) && ledger_is_counted(&what)) owners_count_allocation(entry.is.owner, what.device, size);
}

__attribute__((noinline)) static void count_in_any_case(uint32_t owner, uint64_t size,
                                                        struct ledger_what what) {
    if (ledger_is_counted(&what)) owners_count_allocation(owner, what.device, size);
    usage_change(what, (int64_t)size);
}

static inline bool is_there(uint64_t hashed, enum ledger_space space, uint64_t address) {
    for (uint32_t number = *bucket_of(hashed); number; number = node_at(number)->next)
        if (node_at(number)->address == address && node_at(number)->is.space == space) return true;
    return false;
}

/* Nearly always it is a node's, at an address that is new, and an entry has been given back: then nothing is called from
 * here, and nothing has to be saved from a call. */
void ledger_add(uint64_t address, uint64_t size, struct ledger_what what) {
    uint64_t hashed = hash(address);
    struct shard *shard = shard_of(hashed);
    uint32_t owner = owners_here.node, number;
    if (owner == OWNER_NOBODY || !__atomic_load_n(&nothing_special, __ATOMIC_ACQUIRE) ||
        !spin_try(&shard->lock)) {
        add_in_any_case(address, size, what);
        return;
    }
    if (is_there(hashed, what.space, address) || !(number = shard->free)) {
        spin_unlock(&shard->lock);
        add_in_any_case(address, size, what);
        return;
    }
    struct ledger_entry *node = node_at(number);
    shard->free = node->next;
    node->address = address;
    node->size = size;
    node->is = what;
    node->is.owner = (uint16_t)owner;
    node->stack = 0;
    link_node(hashed, number);
    spin_unlock(&shard->lock);
    if ((usage_is_simple_async(what) || usage_is_simple_plain(what)) && owners_count_mine(what.device, size))
        usage_allocated(what, size);
    else
        count_in_any_case(owner, size, what);
}

/* The shard's lock is held, and is let go of. */
static inline bool remove_locked(struct shard *shard, uint64_t hashed, enum ledger_space space,
                                 uint64_t address, struct ledger_entry *removed) {
    uint32_t *link = find(hashed, space, address);
    bool found = *link != 0;
    if (found) {
        uint32_t number = unlink_node(link);
        *removed = *node_at(number);
        give_node(shard, number);
    }
    spin_unlock(&shard->lock);
    if (found) usage_went(removed);
    return found;
}

__attribute__((noinline)) static bool remove_after_waiting(struct shard *shard, uint64_t hashed,
                                                           enum ledger_space space, uint64_t address,
                                                           struct ledger_entry *removed) {
    spin_wait(&shard->lock);
    return remove_locked(shard, hashed, space, address, removed);
}

bool ledger_remove(enum ledger_space space, uint64_t address, struct ledger_entry *removed) {
    uint64_t hashed = hash(address);
    struct shard *shard = shard_of(hashed);
    if (!have_region()) return false;
    if (!spin_try(&shard->lock)) return remove_after_waiting(shard, hashed, space, address, removed);
    return remove_locked(shard, hashed, space, address, removed);
}

void ledger_restore(const struct ledger_entry *removed) {
    put(removed);
}

/* ---- physical memory and its mappings; physical_lock is held in all that is static ---- */

static uint32_t find_number(enum ledger_space space, uint64_t address) {
    if (!have_region()) return 0;
    uint64_t hashed = hash(address);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    uint32_t number = *find(hashed, space, address);
    spin_unlock(&shard->lock);
    return number;
}

static uint64_t hash_of(uint32_t number) {
    return hash(node_at(number)->address);
}

static void take_out(uint32_t number) {
    uint64_t hashed = hash_of(number);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    uint32_t *link = find(hashed, node_at(number)->is.space, node_at(number)->address);
    if (*link == number) unlink_node(link);
    spin_unlock(&shard->lock);
}

/* To any shard; its own is at hand. */
static void give_back(uint32_t number) {
    struct shard *shard = shard_of(hash_of(number));
    spin_lock(&shard->lock);
    give_node(shard, number);
    spin_unlock(&shard->lock);
}

static void change_key(uint32_t number, uint64_t key) {
    take_out(number);
    node_at(number)->address = key;
    uint64_t hashed = hash_of(number);
    struct shard *shard = shard_of(hashed);
    spin_lock(&shard->lock);
    link_node(hashed, number);
    spin_unlock(&shard->lock);
}

/* A count that has reached its end stays there, and what it counts with it. */
static void count_one_more(uint16_t *count) {
    if (*count < UINT16_MAX) ++*count;
}

static void count_one_less(uint16_t *count) {
    if (*count > 0 && *count < UINT16_MAX) --*count;
}

/* Forgets it when nothing refers to it any more: then true, and *gone is what it was. */
static bool drop_if_unused(uint32_t number, struct ledger_entry *gone) {
    if (node_at(number)->is.holds || node_at(number)->is.mappings) return false;
    take_out(number);
    *gone = *node_at(number);
    give_back(number);
    return true;
}

/* The program holds its handle no more, which may be given out again from now on. As drop_if_unused. */
static bool let_go(uint32_t number, struct ledger_entry *gone) {
    node_at(number)->is.holds = 0;
    if (drop_if_unused(number, gone)) return true;
    change_key(number, number | UINT64_C(1) << 63);
    return false;
}

void ledger_release(uint64_t handle) {
    struct ledger_entry gone = {0};
    spin_lock(&physical_lock);
    uint32_t number = find_number(LEDGER_HANDLE, handle);
    if (number) count_one_less(&node_at(number)->is.holds);
    bool dropped = number && node_at(number)->is.holds == 0 && let_go(number, &gone);
    spin_unlock(&physical_lock);
    if (dropped) usage_went(&gone);
}

/* Of a handle that is given out: what was known by it has been released past us, and lives as long as it is mapped. */
static void release_unseen(uint64_t handle) {
    struct ledger_entry gone = {0};
    spin_lock(&physical_lock);
    uint32_t number = find_number(LEDGER_HANDLE, handle);
    bool dropped = number && let_go(number, &gone);
    spin_unlock(&physical_lock);
    if (dropped) usage_went(&gone);
}

/* The smallest unit of physical memory that any driver gives out, so a mapping begins nowhere else. */
#define GRANULARITY (UINT64_C(64) << 10)
#define FURTHEST    1024 /* units from the beginning of a mapping to an address in it that is looked for */

static uint32_t physical_at(uint64_t address) {
    address -= address % GRANULARITY;
    for (unsigned i = 0; i < FURTHEST && i * GRANULARITY <= address; i++) {
        uint32_t mapping = find_number(LEDGER_MAPPING, address - i * GRANULARITY);
        if (!mapping) continue;
        return node_at(mapping)->size > i * GRANULARITY ? node_at(mapping)->stack : 0;
    }
    return 0;
}

void ledger_retain(uint64_t handle, uint64_t address) {
    spin_lock(&physical_lock);
    uint32_t number = find_number(LEDGER_HANDLE, handle);
    if (!number && (number = physical_at(address))) change_key(number, handle); /* it had let go of it */
    if (number) count_one_more(&node_at(number)->is.holds);
    spin_unlock(&physical_lock);
}

static bool unmap_one(uint64_t address, uint64_t *size) {
    struct ledger_entry gone = {0};
    bool dropped = false;
    spin_lock(&physical_lock);
    uint32_t mapping = find_number(LEDGER_MAPPING, address);
    if (mapping) {
        uint32_t physical = node_at(mapping)->stack;
        *size = node_at(mapping)->size;
        take_out(mapping);
        give_back(mapping);
        count_one_less(&node_at(physical)->is.mappings);
        dropped = drop_if_unused(physical, &gone);
    }
    spin_unlock(&physical_lock);
    if (dropped) usage_went(&gone);
    return mapping != 0;
}

void ledger_map(uint64_t address, uint64_t size, uint64_t handle) {
    if (!ledger_recording()) return;
    uint64_t old_size;
    unmap_one(address, &old_size); /* whose end was not seen */
    struct ledger_entry entry = {.address = address, .size = size, .is.space = LEDGER_MAPPING}, replaced;
    spin_lock(&physical_lock);
    entry.stack = find_number(LEDGER_HANDLE, handle);
    enum added result = entry.stack ? insert(&entry, &replaced) : THERE_ALREADY;
    if (result == ADDED) count_one_more(&node_at(entry.stack)->is.mappings);
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
static bool is_of_context(const struct ledger_entry *node, uint32_t context) {
    return node->is.space != LEDGER_HANDLE && node->is.space != LEDGER_MAPPING && node->is.context == context;
}

/* Takes the context's entries out of a bucket, into the list `gone`. */
static void purge_bucket(uint32_t *bucket, uint32_t context, uint32_t *gone) {
    for (uint32_t *link = bucket; *link;)
        if (is_of_context(node_at(*link), context)) {
            uint32_t number = unlink_node(link);
            node_at(number)->next = *gone;
            *gone = number;
        } else {
            link = &node_at(*link)->next;
        }
}

static uint32_t *buckets_of(unsigned shard) {
    return &region->buckets[shard * (BUCKETS / SHARDS)];
}

void ledger_purge_context(const void *context) {
    if (!context || !have_region()) return;
    for (unsigned of = 0; of < SHARDS; of++) {
        uint32_t gone = 0;
        spin_lock(&shards[of].lock);
        for (unsigned i = 0; i < BUCKETS / SHARDS; i++)
            purge_bucket(buckets_of(of) + i, ledger_context(context), &gone);
        spin_unlock(&shards[of].lock);
        for (uint32_t next; gone; gone = next) {
            struct ledger_entry entry = *node_at(gone);
            next = entry.next;
            give_back(gone);
            usage_went(&entry);
        }
    }
}

void ledger_each(void (*see)(const struct ledger_entry *, void *), void *context) {
    if (!have_region()) return;
    for (unsigned of = 0; of < SHARDS; of++) {
        spin_lock(&shards[of].lock);
        for (unsigned i = 0; i < BUCKETS / SHARDS; i++)
            for (uint32_t number = buckets_of(of)[i]; number; number = node_at(number)->next) {
                const struct ledger_entry *entry = node_at(number);
                if (entry->is.space != LEDGER_MAPPING) see(entry, context);
            }
        spin_unlock(&shards[of].lock);
    }
}

static void count(const struct ledger_entry *entry, void *sum) {
    *(uint64_t *)sum += ledger_is_counted(&entry->is);
}

uint64_t ledger_count(void) {
    uint64_t sum = 0;
    ledger_each(count, &sum);
    return sum;
}

void ledger_forked(void) {
    memset(shards, 0, sizeof shards);
    region = NULL; /* the parent's copy is left alone: freeing it would take time in every child */
    nothing_special = false;
    chunks = 0;
    physical_lock = 0;
}
