/* ledger: every GPU allocation that is live, as the hooked functions report it.
 *
 * An entry is known by (space, address). Both layers of hooks (runtime and driver) report the same allocation, one inside
 * the other; therefore adding what is there already with the same size, and removing what is not there, do nothing. Who
 * removes does it BEFORE the real free, because another thread may be given the address at once, and restores the entry
 * when the real free fails.
 *
 * Every function may be called from any thread, at any time, in a CUDA hook: nothing here allocates with malloc, takes the
 * GIL, calls CUDA, logs (but once, when recording ends), or changes errno. Time is O(1) but for those functions that are
 * about all entries. Locks are spin locks of one shard, held for a few memory accesses, and nothing is called under them.
 * Without memory, recording ends for good: entries stay, figures say so (ledger_recording), hooks go on forwarding.
 *
 * Figures (live, peaks, counts) are kept in cuda/usage, who owns an allocation in cuda/owners. */
#ifndef COMFYDD_LEDGER_H
#define COMFYDD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_NO_DEVICE 0xff /* the device is not known */
/* Devices with figures of their own; further ones, and unknown ones, share the last. */
#define LEDGER_DEVICES 16

enum ledger_space {
    LEDGER_POINTER, /* device and managed pointers */
    LEDGER_HOST,    /* pinned and registered host pointers */
    LEDGER_ARRAY,   /* array handles */
    LEDGER_HANDLE,  /* cuMemCreate's handles: physical memory */
    LEDGER_MAPPING, /* addresses where physical memory is mapped */
    LEDGER_TENSOR,  /* what PyTorch's own allocator hands out of its segments */
};

enum ledger_kind {
    LEDGER_PLAIN,      /* cuMemAlloc, arrays, pitched */
    LEDGER_ASYNC,      /* from a stream-ordered pool */
    LEDGER_MANAGED,    /* unified memory; counted as if on its device */
    LEDGER_PHYSICAL,   /* VMM */
    LEDGER_PART,       /* a tensor: part of a segment, counted by c10's own totals */
    LEDGER_PINNED,     /* page-locked host memory, VMM on the host too */
    LEDGER_REGISTERED, /* the program's own host memory, page-locked later */
    LEDGER_KINDS,
};

/* What is kept of an allocation besides its address and size; in one word, so that it is handed on in one. */
struct ledger_what {
    union {
        uint32_t context; /* ledger_context of the one whose end would free it */
        struct {
            uint16_t holds, mappings; /* of physical memory: 1 and 0 at first, then the ledger's own */
        };
    };
    uint16_t owner; /* cuda/owners */
    uint8_t device; /* or LEDGER_NO_DEVICE */
    uint8_t space : 3, kind : 3;
    uint8_t segment : 1; /* PyTorch's allocator made it to cut tensors from it */
    uint8_t unused : 1;
};

/* Half a cache line: what is live is read and written at random, so its size is its cost. */
struct ledger_entry {
    uint64_t address; /* or handle */
    uint64_t size;    /* bytes */
    struct ledger_what is;
    uint32_t stack; /* as given by the stack source; 0: none */
    uint32_t next;  /* the ledger's own */
};

/* What an entry keeps of a context: 32 well-mixed bits of its address; 0 when unknown. A process has a handful of them. */
static inline uint32_t ledger_context(const void *context) {
    return (uint32_t)((uintptr_t)context * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* The place of a device in tables of LEDGER_DEVICES. */
static inline unsigned ledger_device_index(uint8_t device) {
    return device < LEDGER_DEVICES ? device : LEDGER_DEVICES - 1;
}

/* Whether it is one of the allocations on devices that figures count: no host memory, and of PyTorch's segments the tensors.
 * Not asked of mappings. Not by value: the counts of physical memory change meanwhile. */
static inline bool ledger_is_counted(const struct ledger_what *what) {
    return what->kind < LEDGER_PINNED && !what->segment;
}

/* Begins recording; before that nothing is recorded. Idempotent. */
void ledger_start(void);

/* Whether everything since the start is in the ledger. */
bool ledger_recording(void);

/* What gives a new entry its stack id: called in the hook, on the allocating thread, without locks of ours, GIL state
 * unknown. NULL (the default): none. */
void ledger_set_stack_source(uint32_t (*capture)(uint64_t size));

/* Adds an allocation of `size` bytes; its owner is filled in here. Another size at a known address replaces what was there,
 * and a known handle stands for new memory: the end of the old one was not seen. */
void ledger_add(uint64_t address, uint64_t size, struct ledger_what what);

/* Takes an entry out and copies it to *removed; false when there is none. */
bool ledger_remove(enum ledger_space space, uint64_t address, struct ledger_entry *removed);

/* Puts back what was removed: its real free has failed. Not a new allocation: no count changes. */
void ledger_restore(const struct ledger_entry *removed);

/* Physical memory (space HANDLE) lives until its handle is released and nothing maps it. Map: `size` bytes at `address` are
 * (part of) that handle's memory; an unknown handle (imported, say) is ignored. Unmap takes out every mapping in the range;
 * false when there was none. Retain: the program holds the handle of what is mapped at `address`, once
 * more or again. Release is reported before the real call, as
 * ledger_remove is; a release fails only for a handle that is not there. Unmap is reported AFTER the real call has
 * succeeded: addresses are given out by reservations, not by mapping. */
void ledger_map(uint64_t address, uint64_t size, uint64_t handle);
bool ledger_unmap(uint64_t address, uint64_t size);
void ledger_retain(uint64_t handle, uint64_t address);
void ledger_release(uint64_t handle);

/* The context has ended: what belongs to it is gone. */
void ledger_purge_context(const void *context);

/* How many live allocations there are on devices, PyTorch's segments not counted but the tensors in them. */
uint64_t ledger_count(void);

/* Calls `see` for every live entry, a shard's lock held: it must neither block nor call the ledger. Entries that come or go
 * meanwhile may be missed. */
void ledger_each(void (*see)(const struct ledger_entry *entry, void *context), void *context);

/* In the child of a fork: its CUDA state is not the parent's; starts anew, empty. Async-signal-safe. */
void ledger_forked(void);

#endif
