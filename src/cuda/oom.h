/* oom: the state at the last failed allocations, kept for the moment when one of them turns out to be an out-of-memory.
 *
 * A failed CUDA call is not an out-of-memory: PyTorch and comfy-aimdo free what they can and try again, cuDNN fails on
 * purpose. The Python exception tells (comfy/failure), or c10's own report. But by then ComfyUI has unloaded its models: so
 * the picture is taken when the call fails, or at c10's report, which comes later and knows more, and the last few are kept.
 *
 * All but oom_take and oom_serial are called in hooks: no malloc, no GIL, no CUDA. Taking a picture is O(live
 * allocations). */
#ifndef COMFYDD_OOM_H
#define COMFYDD_OOM_H

#include <stdbool.h>
#include <stdint.h>

#define OOM_GROUPS  32 /* most groups of live allocations that are kept */
#define OOM_UNKNOWN UINT64_MAX

/* Live allocations of one owner and size. */
struct oom_group {
    char id[64], class_type[64]; /* the owning node's; empty: nobody's */
    uint64_t size, count;        /* bytes of each */
    uint32_t stack;              /* of one of them */
    uint8_t device;
};

struct oom_picture {
    uint64_t time_ns; /* since the Unix epoch */
    uint64_t serial;  /* grows from picture to picture of the process */
    uint32_t owner;
    uint8_t device;
    bool reported;      /* by c10, not only by a failed call */
    uint64_t requested; /* bytes; OOM_UNKNOWN when no call has failed */
    uint64_t allocated,
        reserved;         /* bytes; reserved with what the async pool keeps when the program has been told: */
    uint64_t free, total; /* as the driver told the program at that time; OOM_UNKNOWN when it has not */
    unsigned groups;
    struct oom_group group[OOM_GROUPS]; /* the largest totals first */
};

/* An allocating call is about to return to the program with "out of memory". */
void oom_failed(uint8_t device, uint64_t requested, uint32_t owner);

/* c10 reports an out-of-memory of its allocator; PyTorch will raise. */
void oom_reported(uint8_t device, uint64_t requested, uint32_t owner);

/* PyTorch's allocator has asked how much memory is free although no call has failed. It does so before it raises because of a
 * limit of its own (torch.cuda.set_per_process_memory_fraction), and seldom otherwise. */
void oom_refused(uint8_t device, uint32_t owner);

/* The program asked how much memory is free and was told. PyTorch does so between the failed call and the exception. `pool`:
 * what the device's async pool has reserved; asked for when oom_waits, else 0. */
void oom_meminfo(uint8_t device, uint64_t free, uint64_t total, uint64_t pool);

/* Whether the latest picture lacks what oom_meminfo tells. */
bool oom_waits(void);

/* The serial of the latest picture, 0 before the first: what is newer than this was taken after now. */
uint64_t oom_serial(void);

/* The latest picture newer than `since` of this owner, or, without one, the latest newer one of anybody; false when there is
 * none. Copies it. */
bool oom_take(uint64_t since, uint32_t owner, struct oom_picture *picture);

/* In the child of a fork: none yet. */
void oom_forked(void);

#endif
