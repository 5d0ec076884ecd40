#include "cuda/owners.h"

#include "base/each_node.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define OWNERS    4096u /* an entry of the ledger has 16 bits for one */
#define TEXT_SIZE 64

enum state { FREE, AT_WORK, WAITING, CLOSED };
enum { ALLOCATIONS, BYTES, FAILED, COUNTS };

struct owner {
    enum state state;
    uint32_t workflow;     /* its owner; OWNER_NOBODY: this is one */
    uint32_t next_at_work; /* in the list of those at work */
    uint32_t only_node;    /* of a workflow: its node at work when there is exactly one */
    bool used;             /* by a live allocation; only during a sweep */
    uint32_t devices;      /* bit n: there are counts for device n */
    char id[TEXT_SIZE], class_type[TEXT_SIZE];
    uint64_t others[LEDGER_DEVICES][COUNTS]; /* all but owners_mine; 0 for devices that have no counts */
};

EACH_NODE static struct owner *table; /* OWNERS of them; NULL before the first. [0] is nobody */
EACH_NODE static uint32_t searched_to, first_at_work;
EACH_NODE static uint32_t by_default; /* whom threads that work for nobody work for */

EACH_NODE struct owners_mine *owners_mine; /* as many; set before `table` */
__thread struct owners_here owners_here;

static struct owner *get(uint32_t owner) {
    struct owner *owners = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
    return owners && owner != OWNER_NOBODY && owner < OWNERS ? &owners[owner] : NULL;
}

static struct owners_mine *mine_of(const struct owner *owner) {
    return &owners_mine[owner - table];
}

static uint32_t devices_of(const struct owner *owner) {
    return __atomic_load_n(&owner->devices, __ATOMIC_RELAXED);
}

/* ---- a free one (the GIL) ---- */

static void mark(const struct ledger_entry *entry, void *context) {
    (void)context;
    struct owner *owner = get(entry->is.owner);
    if (owner) owner->used = true;
}

/* Frees closed owners of which nothing is live any more: once in thousands of nodes, where counting references would cost
 * something at each allocation. */
static __attribute__((cold)) void sweep(void) {
    for (uint32_t i = 1; i < OWNERS; i++)
        table[i].used = false;
    ledger_each(mark, NULL);
    for (uint32_t i = 1; i < OWNERS; i++)
        if (table[i].state == CLOSED && !table[i].used) table[i].state = FREE;
    searched_to = 1;
}

static uint32_t find_free(void) {
    while (searched_to < OWNERS && table[searched_to].state != FREE)
        searched_to++;
    return searched_to;
}

static bool have_table(void) {
    if (table) return true;
    size_t size = OWNERS * (sizeof *table + sizeof *owners_mine);
    struct owner *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    searched_to = 1;
    owners_mine = (struct owners_mine *)(memory + OWNERS);
    __atomic_store_n(&table, memory, __ATOMIC_RELEASE);
    return true;
}

/* ---- who is at work (the GIL) ---- */

/* Of several nobody can tell. */
static void choose_default(void) {
    uint32_t workflows = 0, workflow = 0;
    for (uint32_t i = first_at_work; i; i = table[i].next_at_work)
        if (!table[i].workflow) workflows++, workflow = i;
    __atomic_store_n(&by_default, workflows == 1 ? workflow : OWNER_NOBODY, __ATOMIC_RELAXED);
}

static void find_only_node(uint32_t workflow) {
    uint32_t nodes = 0, node = 0;
    for (uint32_t i = first_at_work; i && nodes < 2; i = table[i].next_at_work)
        if (table[i].workflow == workflow) nodes++, node = i;
    __atomic_store_n(&table[workflow].only_node, nodes == 1 ? node : 0, __ATOMIC_RELAXED);
}

static void set_state(uint32_t which, enum state state) {
    struct owner *owner = &table[which];
    if (owner->state == AT_WORK && state != AT_WORK) {
        uint32_t *link = &first_at_work;
        while (*link != which)
            link = &table[*link].next_at_work;
        *link = owner->next_at_work;
    } else if (owner->state != AT_WORK && state == AT_WORK) {
        owner->next_at_work = first_at_work;
        first_at_work = which;
    }
    owner->state = state;
    if (owner->workflow)
        find_only_node(owner->workflow);
    else
        choose_default();
}

/* Not by printing: that costs more than all the rest here. */
static void copy_cut(char out[TEXT_SIZE], const char *text) {
    size_t size = strnlen(text, TEXT_SIZE - 1);
    while (text[size] && size && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--; /* not in the middle of a character */
    memcpy(out, text, size);
    out[size] = '\0';
}

uint32_t owners_open(uint32_t workflow, const char *id, const char *class_type) {
    if (!have_table()) return OWNER_NOBODY;
    if (find_free() == OWNERS) sweep();
    uint32_t found = find_free();
    if (found == OWNERS) return OWNER_NOBODY;
    struct owner *owner = &table[found];
    for (uint32_t left = devices_of(owner); left; left &= left - 1) { /* few, in large arrays */
        memset(owner->others[__builtin_ctz(left)], 0, sizeof owner->others[0]);
        memset(&mine_of(owner)->on[__builtin_ctz(left)], 0, sizeof mine_of(owner)->on[0]);
    }
    mine_of(owner)->thread = NULL;
    memset(owner, 0, offsetof(struct owner, id));
    owner->workflow = workflow;
    copy_cut(owner->id, id);
    copy_cut(owner->class_type, class_type);
    set_state(found, AT_WORK);
    return found;
}

void owners_wait(uint32_t which, bool waiting) {
    struct owner *owner = get(which);
    if (owner && (owner->state == AT_WORK || owner->state == WAITING))
        set_state(which, waiting ? WAITING : AT_WORK);
}

static uint64_t count_of(const struct owner *owner, unsigned device, unsigned what) {
    uint64_t count = __atomic_load_n(&owner->others[device][what], __ATOMIC_RELAXED);
    if (what == ALLOCATIONS)
        count += __atomic_load_n(&mine_of(owner)->on[device].allocations, __ATOMIC_RELAXED);
    if (what == BYTES) count += __atomic_load_n(&mine_of(owner)->on[device].bytes, __ATOMIC_RELAXED);
    return count;
}

static void note_device(struct owner *owner, unsigned index) {
    if (!(devices_of(owner) & 1u << index)) __atomic_fetch_or(&owner->devices, 1u << index, __ATOMIC_RELAXED);
}

void owners_close(uint32_t which) {
    struct owner *owner = get(which);
    if (!owner || owner->state == FREE || owner->state == CLOSED) return;
    struct owner *workflow = get(owner->workflow);
    for (uint32_t left = workflow ? devices_of(owner) : 0; left; left &= left - 1) {
        unsigned device = (unsigned)__builtin_ctz(left);
        note_device(workflow, device);
        for (unsigned what = 0; what < COUNTS; what++)
            __atomic_fetch_add(&workflow->others[device][what], count_of(owner, device, what),
                               __ATOMIC_RELAXED);
    }
    if (devices_of(owner)) {
        set_state(which, CLOSED);
        return;
    }
    set_state(which,
              FREE); /* it owns nothing; most nodes do not allocate, and should not take up a place each */
    if (which < searched_to) searched_to = which;
}

uint32_t owners_enter(uint32_t which) {
    uint32_t before = owners_here.owner;
    struct owner *owner = get(which);
    owners_here = (struct owners_here){.owner = (uint16_t)which};
    if (!owner) return before;
    __atomic_store_n(&mine_of(owner)->thread, &owners_here, __ATOMIC_RELAXED);
    if (owner->workflow) owners_here.node = (uint16_t)which;
    return before;
}

/* ---- in hooks ---- */

uint32_t owners_by_default(void) {
    uint32_t which = owners_here.owner ? owners_here.owner : __atomic_load_n(&by_default, __ATOMIC_RELAXED);
    const struct owner *owner = get(which);
    uint32_t node = owner ? __atomic_load_n(&owner->only_node, __ATOMIC_RELAXED) : 0;
    return node ? node : which;
}

static void add(uint64_t *count, uint64_t by) {
    __atomic_fetch_add(count, by, __ATOMIC_RELAXED);
}

void owners_count_allocation(uint32_t which, uint8_t device, uint64_t bytes) {
    struct owner *owner = get(which);
    if (!owner) return;
    unsigned index = ledger_device_index(device);
    note_device(owner, index);
    bool mine = __atomic_load_n(&mine_of(owner)->thread, __ATOMIC_RELAXED) == &owners_here;
    add(mine ? &mine_of(owner)->on[index].allocations : &owner->others[index][ALLOCATIONS], 1);
    add(mine ? &mine_of(owner)->on[index].bytes : &owner->others[index][BYTES], bytes);
}

void owners_count_failure(uint32_t which, uint8_t device) {
    struct owner *owner = get(which);
    if (!owner) return;
    unsigned index = ledger_device_index(device);
    note_device(owner, index);
    add(&owner->others[index][FAILED], 1);
}

/* ---- reading ---- */

struct owner_counts owners_counts_on(uint32_t which, uint8_t device) {
    const struct owner *owner = get(which);
    unsigned index = ledger_device_index(device);
    if (!owner) return (struct owner_counts){0};
    return (struct owner_counts){.allocations = count_of(owner, index, ALLOCATIONS),
                                 .bytes = count_of(owner, index, BYTES),
                                 .failed = count_of(owner, index, FAILED)};
}

struct owner_counts owners_counts(uint32_t which) {
    const struct owner *owner = get(which);
    struct owner_counts sum = {0};
    for (uint32_t left = owner ? devices_of(owner) : 0; left; left &= left - 1) {
        struct owner_counts on = owners_counts_on(which, (uint8_t)__builtin_ctz(left));
        sum.allocations += on.allocations;
        sum.bytes += on.bytes;
        sum.failed += on.failed;
    }
    return sum;
}

const char *owners_id(uint32_t which) {
    const struct owner *owner = get(which);
    return owner ? owner->id : "";
}

const char *owners_class_type(uint32_t which) {
    const struct owner *owner = get(which);
    return owner ? owner->class_type : "";
}

void owners_forked(void) {
    table = NULL; /* the parent's copy is left alone: freeing it would take time in every child */
    first_at_work = by_default = OWNER_NOBODY;
    owners_here = (struct owners_here){.owner = OWNER_NOBODY};
}
