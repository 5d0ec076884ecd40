#include "comfy/memory.h"

#include "base/clock.h"
#include "base/each_node.h"
#include "base/log.h"
#include "comfy/allocations.h"
#include "comfy/failure.h"
#include "config.h"
#include "cuda/devices.h"
#include "cuda/hooks_driver.h"
#include "cuda/ledger.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "flight.h"
#include "host/meminfo.h"
#include "python/frames.h"
#include "trace/span.h"

#include <stdlib.h>
#include <string.h>

struct memory {
    struct memory *workflow; /* borrowed; NULL: this is one */
    uint32_t owner;
    bool pytorch;
    struct usage_window window;
    uint64_t oom_serial;     /* at the start */
    struct oom_picture *oom; /* a workflow's: of its node that ran out of memory; owned */
};

/* The last one that was closed, for the next: most nodes run one after the other. */
EACH_NODE static struct memory *spare;

/* Out-of-memories that c10 did not report: those of the cudaMallocAsync backend. */
static uint64_t unreported_ooms;

/* The sample of the host that was noted last for who comes after a kill; many nodes get the same one. */
EACH_NODE static struct meminfo noted;

void memory_start(void) {
    static bool started;
    if (started || !config()->pytorch_memory) return;
    started = true;
    if (frames_start())
        ledger_set_stack_source(frames_sample);
    else
        log_line("GPU allocations are tracked without Python stacks: %s", frames_failure());
}

void memory_forked(void) {
    ledger_forked();
    usage_forked();
    owners_forked();
    oom_forked();
    unreported_ooms = 0;
    noted = (struct meminfo){0};
}

static bool gpu_in_use(void) {
    return ledger_recording() && (usage_devices() || usage_pinned());
}

/* What the async pools keep back. */
static uint64_t idle(const struct usage *now) {
    uint64_t reserved = 0;
    for (uint32_t mask = usage_async_devices(); mask; mask &= mask - 1)
        reserved += hooks_driver_pool_reserved((uint8_t)__builtin_ctz(mask));
    return reserved > now->async ? reserved - now->async : 0;
}

static void bytes(struct span *span, enum tag key, uint64_t value) {
    span_number(span, key, (double)value);
}

static void difference(struct span *span, enum tag key, uint64_t after, uint64_t before) {
    span_number(span, key, (double)(int64_t)(after - before));
}

/* ---- for who comes after a kill ---- */

/* The most that was seen allocated since a workflow last began. */
static uint64_t last_peak;

static struct flight_figures figures_of(const struct meminfo *host, bool gpu) {
    struct flight_figures figures = {host->rss_bytes, host->available_bytes, 0, 0};
    if (!gpu) return figures;
    figures.vram_allocated_bytes = usage_now().allocated;
    uint64_t peak = __atomic_load_n(&last_peak, __ATOMIC_RELAXED);
    figures.vram_peak_bytes = peak > figures.vram_allocated_bytes ? peak : figures.vram_allocated_bytes;
    return figures;
}

static void note_figures(const struct memory *memory, const struct meminfo *host, bool gpu) {
    if (!gpu && host->rss_bytes == noted.rss_bytes && host->available_bytes == noted.available_bytes) return;
    noted = *host;
    if (memory && memory->workflow->window.peak > last_peak)
        __atomic_store_n(&last_peak, memory->workflow->window.peak, __ATOMIC_RELAXED);
    struct flight_figures figures = figures_of(host, gpu);
    span_note_figures(&figures);
}

void memory_beat(struct flight *flight) {
    struct meminfo host = meminfo_sample(clock_mono_ns());
    struct flight_figures figures = figures_of(&host, gpu_in_use());
    /* Two threads may both have seen a higher one: then one of them is noted. */
    __atomic_store_n(&last_peak, figures.vram_peak_bytes, __ATOMIC_RELAXED);
    flight_note_figures(flight, &figures);
}

/* ---- opening ---- */

static struct memory *memory_open(struct memory *workflow, const char *id, const char *class_type) {
    struct memory *memory = spare ? spare : malloc(sizeof *memory);
    if (!memory) return NULL;
    spare = NULL;
    memory->workflow = workflow;
    memory->owner = OWNER_NOBODY;
    memory->pytorch = false;
    memory->window.next = NULL;
    memory->oom_serial = oom_serial();
    memory->oom = NULL;
    if (ledger_recording())
        memory->owner = owners_open(workflow ? workflow->owner : OWNER_NOBODY, id, class_type);
    usage_open(&memory->window);
    return memory;
}

static void pytorch_figures(struct span *span, enum tag allocated, enum tag kept, enum tag ooms) {
    struct usage now = usage_now();
    bytes(span, allocated, now.torch_allocated);
    bytes(span, kept, now.torch_reserved + idle(&now));
    bytes(span, ooms, usage_out_of_memory() + unreported_ooms);
}

struct memory *memory_open_workflow(const char *prompt_id, bool pytorch, struct span *span) {
    struct memory *memory = memory_open(NULL, prompt_id, "");
    if (!memory) return NULL;
    memory->pytorch = pytorch;
    __atomic_store_n(&last_peak, 0, __ATOMIC_RELAXED);
    if (pytorch && gpu_in_use())
        pytorch_figures(span, TAG_PYTORCH_ALLOCATED_BEFORE, TAG_PYTORCH_RESERVED_BEFORE,
                        TAG_PYTORCH_OOMS_BEFORE);
    return memory;
}

static void node_before(struct memory *memory, struct span *span, uint64_t mono_ns) {
    if (!span) return;
    struct meminfo host = meminfo_sample(mono_ns);
    if (host.available_bytes) bytes(span, TAG_RAM_AVAILABLE_BEFORE, host.available_bytes);
    bool gpu = gpu_in_use();
    note_figures(memory, &host, gpu);
    if (!memory || !gpu) return;
    struct usage now = usage_now();
    bytes(span, TAG_VRAM_ALLOCATED_BEFORE, memory->window.before);
    bytes(span, TAG_VRAM_RESERVED_BEFORE, now.live + idle(&now));
}

struct memory *memory_open_node(struct memory *workflow, const char *id, const char *class_type,
                                struct span *span, uint64_t mono_ns) {
    struct memory *memory = workflow ? memory_open(workflow, id, class_type) : NULL;
    node_before(memory, span, mono_ns);
    return memory;
}

void memory_wait(struct memory *memory, bool waiting, struct span *span, uint64_t mono_ns) {
    if (memory) owners_wait(memory->owner, waiting);
    if (waiting) return;
    if (memory) usage_open(&memory->window);
    node_before(memory, span, mono_ns); /* once more: the last ones count */
}

void memory_enter(const struct memory *memory) {
    owners_enter(memory ? memory->owner : OWNER_NOBODY);
}

/* ---- closing ---- */

static void free_memory(struct memory *memory) {
    if (memory->oom) free(memory->oom);
    if (spare) free(spare); /* seldom */
    spare = memory;
}

static void node_after(struct memory *memory, struct span *span, uint64_t mono_ns) {
    if (!span) return;
    struct meminfo host = meminfo_sample(mono_ns);
    if (host.available_bytes) bytes(span, TAG_RAM_AVAILABLE_AFTER, host.available_bytes);
    if (host.rss_bytes) bytes(span, TAG_RSS_AFTER, host.rss_bytes);
    bool gpu = gpu_in_use();
    note_figures(memory, &host, gpu);
    if (!memory || !gpu) return;
    struct usage now = usage_now();
    bytes(span, TAG_VRAM_ALLOCATED_AFTER, now.allocated);
    bytes(span, TAG_VRAM_RESERVED_AFTER, now.live + idle(&now));
    bytes(span, TAG_VRAM_PEAK, memory->window.peak);
    difference(span, TAG_VRAM_DELTA, now.allocated, memory->window.before);
    bytes(span, TAG_VRAM_MAPPED_AFTER, now.mapped);
    bytes(span, TAG_PINNED_AFTER, usage_pinned());
    if (memory->owner == OWNER_NOBODY) return; /* nobody has counted */
    struct owner_counts counts = owners_counts(memory->owner);
    bytes(span, TAG_VRAM_ALLOC_COUNT, counts.allocations);
    bytes(span, TAG_VRAM_ALLOC_BYTES, counts.bytes);
    bytes(span, TAG_VRAM_FAILED_ALLOCS, counts.failed);
}

/* The state at the failure: by now ComfyUI has cleaned up. */
static __attribute__((cold)) void keep_out_of_memory(struct memory *memory, struct span *span) {
    struct oom_picture picture;
    bool known = oom_take(memory->oom_serial, memory->owner, &picture);
    if (!known || !picture.reported) unreported_ooms++;
    if (!known) return;
    allocations_oom_tags(span, &picture);
    struct memory *workflow = memory->workflow;
    if (workflow->oom || !(workflow->oom = malloc(sizeof picture))) return;
    *workflow->oom = picture;
}

void memory_close_node(struct memory *memory, const struct failure *failure, struct span *span,
                       uint64_t mono_ns) {
    if (memory) usage_close(&memory->window);
    node_after(memory, span, mono_ns);
    if (!memory) return;
    if (failure && strcmp(failure->type, "OutOfMemoryError") == 0) keep_out_of_memory(memory, span);
    owners_close(memory->owner);
    free_memory(memory);
}

/* Of the whole process, or of one device. */
static void workflow_figures(const struct memory *memory, struct span *span, enum tag first, uint64_t peak,
                             uint64_t after, uint64_t before, struct owner_counts counts) {
    bytes(span, first + GPU_PEAK, peak);
    difference(span, first + GPU_DELTA, after, before);
    if (memory->owner == OWNER_NOBODY) return;
    bytes(span, first + GPU_ALLOC_COUNT, counts.allocations);
    bytes(span, first + GPU_ALLOC_BYTES, counts.bytes);
    bytes(span, first + GPU_FAILED_ALLOCS, counts.failed);
}

static void device_tags(struct span *span, enum tag first, unsigned index) {
    const struct device *device = devices_get((uint8_t)index);
    if (!device) return;
    if (*device->uuid) span_text(span, first + GPU_UUID, device->uuid, strlen(device->uuid));
    if (*device->name) span_text(span, first + GPU_NAME, device->name, strlen(device->name));
}

/* Of each device that the process uses; with a suffix when there are several. */
static void devices_tags(const struct memory *memory, struct span *span) {
    uint32_t mask = memory->window.devices;
    if (!mask) return;
    bool several = mask & (mask - 1);
    span_number(span, TAG_GPU_COUNT, __builtin_popcount(mask));
    device_tags(span, TAG_GPU_PEAK, (unsigned)__builtin_ctz(mask));
    for (; mask; mask &= mask - 1) {
        unsigned device = (unsigned)__builtin_ctz(mask);
        enum tag first = several ? gpu_tags(device) : TAG_GPU_PEAK;
        uint64_t used, total;
        if (devices_memory((uint8_t)device, &used, &total)) {
            bytes(span, first + GPU_MEMORY_USED, used);
            bytes(span, first + GPU_MEMORY_TOTAL, total);
        }
        if (!several) continue;
        device_tags(span, first, device);
        workflow_figures(memory, span, first + GPU_PEAK, memory->window.peak_on[device],
                         usage_now_on((uint8_t)device).allocated, memory->window.before_on[device],
                         owners_counts_on(memory->owner, (uint8_t)device));
    }
}

void memory_close_workflow(struct memory *memory, struct span *span) {
    if (!memory) return;
    usage_close(&memory->window);
    if (gpu_in_use()) {
        struct usage now = usage_now();
        workflow_figures(memory, span, TAG_GPU_PEAK, memory->window.peak, now.allocated,
                         memory->window.before, owners_counts(memory->owner));
        devices_tags(memory, span);
        if (memory->pytorch) {
            pytorch_figures(span, TAG_PYTORCH_ALLOCATED_AFTER, TAG_PYTORCH_RESERVED_AFTER,
                            TAG_PYTORCH_OOMS_AFTER);
            allocations_largest(span);
        }
        if (memory->oom) allocations_oom_tags(span, memory->oom);
    }
    owners_close(memory->owner);
    free_memory(memory);
}

void memory_discard(struct memory *memory) {
    if (!memory) return;
    usage_close(&memory->window);
    owners_close(memory->owner);
    free_memory(memory);
}

void memory_abandon(struct memory *memory) {
    if (memory) free_memory(memory);
}
