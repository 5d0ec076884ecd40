/* oom: the state at the last failed allocations, kept for the moment when one of them turns out to be an out-of-memory.
 *
 * A failed CUDA call is not an out-of-memory: PyTorch and comfy-aimdo free what they can and try again, cuDNN fails on
 * purpose. The Python exception tells (comfy/failure), or c10's own report. But by then ComfyUI has unloaded its models: so
 * the picture is taken when the call fails, or at c10's report, which comes later and knows more, and the last few are kept.
 *
 * oom_failed and oom_reported are called in hooks: no malloc, no GIL, no CUDA. Their time is O(live allocations). */
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
    bool reported;                           /* by c10, not only by a failed call */
    uint64_t requested, allocated, reserved; /* bytes */
    uint64_t free, total; /* as the driver told the program at that time; OOM_UNKNOWN when it has not */
    unsigned groups;
    struct oom_group group[OOM_GROUPS]; /* the largest totals first */
};

/* An allocating call is about to return to the program with "out of memory". */
void oom_failed(uint8_t device, uint64_t requested, uint32_t owner);

/* c10 reports an out-of-memory of its allocator; PyTorch will raise. */
void oom_reported(uint8_t device, uint64_t requested, uint32_t owner);

/* The program asked how much memory is free and was told. PyTorch does so between the failed call and the exception. */
void oom_meminfo(uint8_t device, uint64_t free, uint64_t total);

/* The serial of the latest picture, 0 before the first: what is newer than this was taken after now. */
uint64_t oom_serial(void);

/* The latest picture newer than `since` of this owner, or, without one, the latest newer one of anybody; false when there is
 * none. Copies it. */
bool oom_take(uint64_t since, uint32_t owner, struct oom_picture *picture);

/* In the child of a fork: none yet. */
void oom_forked(void);

#endif
