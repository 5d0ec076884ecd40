#include "comfy/allocations.h"

#include "base/buf.h"
#include "base/log.h"
#include "cuda/ledger.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "python/frames.h"
#include "trace/span.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define TAG_LIMIT  4900 /* of the 5,000 bytes that a tag may have */
#define STACK_SIZE 1024 /* of one stack in a list */
#define LARGEST    5

static const double megabyte = 1 << 20;

/* ---- at an out-of-memory ---- */

static json_t *group_object(const struct oom_group *group) {
    json_t *object = json_pack("{s:i, s:I, s:I}", "device", (int)group->device, "size",
                               (json_int_t)group->size, "count", (json_int_t)group->count);
    if (*group->class_type) {
        json_object_set_new(object, "node_id", json_string(group->id));
        json_object_set_new(object, "class_type", json_string(group->class_type));
    }
    char stack[STACK_SIZE];
    if (group->stack && frames_text(group->stack, stack, sizeof stack))
        json_object_set_new(object, "stack", json_string(stack));
    return object;
}

static void top_allocations(struct span *span, const struct oom_picture *picture) {
    char text[TAG_LIMIT + 1];
    size_t used = 0;
    for (unsigned i = 0; i < picture->groups; i++) {
        json_t *object = group_object(&picture->group[i]);
        size_t room = TAG_LIMIT - used - 2; /* for what stands before it, and the closing bracket */
        size_t size = object ? json_dumpb(object, text + used + 1, room, JSON_COMPACT) : 0;
        json_decref(object);
        if (size == 0 || size > room) break;
        text[used] = used ? ',' : '[';
        used += 1 + size;
    }
    if (used == 0) return;
    text[used++] = ']';
    span_text(span, TAG_OOM_TOP_ALLOCATIONS, text, used);
}

static void number(struct span *span, enum tag key, uint64_t value) {
    if (value != OOM_UNKNOWN) span_number(span, key, (double)value);
}

void allocations_oom_tags(struct span *span, const struct oom_picture *picture) {
    number(span, TAG_OOM_REQUESTED, picture->requested);
    if (picture->device != LEDGER_NO_DEVICE) number(span, TAG_OOM_DEVICE, picture->device);
    number(span, TAG_OOM_ALLOCATED, picture->allocated);
    number(span, TAG_OOM_RESERVED, picture->reserved);
    number(span, TAG_OOM_FREE, picture->free);
    number(span, TAG_OOM_TOTAL, picture->total);
    top_allocations(span, picture);
    number(span, TAG_OOM_EVENT, picture->time_ns);
}

/* ---- the largest now ---- */

struct largest {
    struct ledger_entry entry[LARGEST]; /* falling size */
    unsigned count;
};

static void keep_if_large(const struct ledger_entry *entry, void *context) {
    struct largest *largest = context;
    if (!ledger_is_counted(&entry->is)) return;
    if (largest->count == LARGEST && entry->size <= largest->entry[LARGEST - 1].size) return;
    unsigned at = largest->count < LARGEST ? largest->count++ : LARGEST - 1;
    for (; at > 0 && largest->entry[at - 1].size < entry->size; at--)
        largest->entry[at] = largest->entry[at - 1];
    largest->entry[at] = *entry;
}

/* "123.4 MB on GPU 0 by KSampler (node 3): sample.py:12 sample, ..." */
static size_t describe(const struct ledger_entry *entry, char *out, size_t room) {
    char owner[160] = "", stack[STACK_SIZE] = "";
    if (*owners_class_type(entry->is.owner))
        snprintf(owner, sizeof owner, " by %s (node %s)", owners_class_type(entry->is.owner),
                 owners_id(entry->is.owner));
    bool traced = entry->stack && frames_text(entry->stack, stack, sizeof stack);
    int size = snprintf(out, room, "%.1f MB on GPU %u%s%s%s", (double)entry->size / megabyte,
                        entry->is.device, owner, traced ? ": " : "", stack);
    return size < 0 ? 0 : (size_t)size < room ? (size_t)size : room - 1;
}

void allocations_largest(struct span *span) {
    struct largest largest = {.count = 0};
    ledger_each(keep_if_large, &largest);
    span_number(span, TAG_PYTORCH_CUDA_MB, (double)usage_now().torch_allocated / megabyte);
    span_number(span, TAG_PYTORCH_ALLOCATIONS, (double)ledger_count());
    if (largest.count == 0) return;
    span_number(span, TAG_PYTORCH_LARGEST_MB, (double)largest.entry[0].size / megabyte);
    char text[TAG_LIMIT];
    size_t used = 0;
    for (unsigned i = 0; i < largest.count && used + 1 < sizeof text; i++) {
        char line[STACK_SIZE + 256];
        size_t size = describe(&largest.entry[i], line, sizeof line);
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%.*s", used ? "\n" : "", (int)size, line);
        for (char *end = line; (end = strchr(end, '\n')); end++)
            *end = ','; /* a log line is one line */
        log_line("GPU allocation %u of %" PRIu64 ": %s", i + 1, ledger_count(), line);
    }
    span_text(span, TAG_PYTORCH_LARGEST_INFO, text, used < sizeof text ? used : sizeof text - 1);
}
