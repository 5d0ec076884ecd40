/* hook_effects: the effects that cuda_api.def names, as code around the real call. For the files that make wrappers of the
 * list; before including this they define
 *
 *   PLACE()                 struct hook_place: where the calling thread allocates
 *   PLACE_ASYNC(pointer)    that of stream-ordered memory: its stream's device's
 *   PLACE_OF(pointer)       that of a pool's memory, which is asked for
 *   PLACE_AFTER_FAILURE()   the same, without a call that changes what the program will be told about the failure
 *   CUTS_TENSORS(kind)      whether the caller is PyTorch's caching allocator, and this a kind of its segments
 *   ASKED_BY_TORCH          whether the caller is PyTorch's allocator
 *   IS_CAPTURING(stream)    whether what is done on it becomes a graph; asked after there has been a capture only
 *   POOL_RESERVED(device)   what its stream-ordered pool has taken from the device, in bytes
 *   RESOLVED(...)           what RESOLVES does after success
 *
 * Outputs are read after success only, and not at all where the program gave no place for them. */
#ifndef COMFYDD_HOOK_EFFECTS_H
#define COMFYDD_HOOK_EFFECTS_H

#include "cuda/hook_calls.h"
#include "cuda/oom.h"
#include "cuda/owners.h"

/* ---- helpers that rows use ---- */

static inline uint64_t bytes_of_channels(const struct cuda_channels *channels, size_t width, size_t height,
                                         size_t depth, unsigned levels, unsigned flags) {
    if (!channels) return 0;
    unsigned bits = (unsigned)(channels->x + channels->y + channels->z + channels->w);
    return hook_calls_array_bytes(bits, width, height, depth, levels, flags);
}

static inline uint64_t bytes_of_2d(const struct cuda_array_2d *shape) {
    if (!shape) return 0;
    unsigned bits = hook_calls_format_bits(shape->format) * shape->channels;
    return hook_calls_array_bytes(bits, shape->width, shape->height, 0, 1, 0);
}

static inline uint64_t bytes_of_3d(const struct cuda_array_3d *shape, unsigned levels) {
    if (!shape) return 0;
    unsigned bits = hook_calls_format_bits(shape->format) * shape->channels;
    return hook_calls_array_bytes(bits, shape->width, shape->height, shape->depth, levels, shape->flags);
}

static inline struct hook_place place_of(const struct cuda_physical *properties) {
    bool on_device = properties && properties->location.type == CUDA_LOCATION_DEVICE;
    return (struct hook_place){.device = on_device ? (uint8_t)properties->location.id : LEDGER_NO_DEVICE};
}

static inline enum ledger_kind kind_of(const struct cuda_physical *properties) {
    return properties && properties->location.type == CUDA_LOCATION_DEVICE ? LEDGER_PHYSICAL : LEDGER_PINNED;
}

/* What no stream means to the functions for threads with a default stream each. */
static inline cuda_stream own_stream(cuda_stream stream) {
    return stream ? stream : CUDA_STREAM_PER_THREAD;
}

/* ---- a wrapper's body: `real` is the function behind it ---- */

#define HOOK_BODY(real, arguments, effect)                                                                   \
    if (!hook_calls_record() || PASSES_##effect) return (real)arguments;                                     \
    BEFORE_##effect;                                                                                         \
    cuda_result result = (real)arguments;                                                                    \
    AFTER_##effect;                                                                                          \
    return result

/* Effects that an outer call may have had already. */
#define PASSES_FREES(space, address) hook_calls_is_freed((uint64_t)(address))

#define AFTER_ALLOCATION(space, kind, out_exists, address, size, asked_for, place, failure_place)            \
    if (result == CUDA_OK && (out_exists) && hook_calls_is_new((uint64_t)(address)))                         \
        hook_calls_allocated(LEDGER_##space, kind, (uint64_t)(address), size, place);                        \
    if (hook_calls_end(result)) hook_calls_failed(kind, asked_for, failure_place)

#define PASSES_ALLOCATES(space, kind, out, size) false
#define BEFORE_ALLOCATES(space, kind, out, size) hook_calls_begin(LEDGER_##kind, CUTS_TENSORS(LEDGER_##kind))
#define AFTER_ALLOCATES(space, kind, out, size)                                                              \
    AFTER_ALLOCATION(space, LEDGER_##kind, out, *(out), size, size, PLACE(), PLACE_AFTER_FAILURE())

/* Before the call, because afterwards it would have to be remembered; nothing that this thread calls ends a capture. */
#define IS_THE_GRAPHS(stream) (hook_calls_captures() && IS_CAPTURING(stream))

#define PASSES_ALLOCATES_ASYNC(out, size, stream) IS_THE_GRAPHS(stream)
#define BEFORE_ALLOCATES_ASYNC(out, size, stream) hook_calls_begin(LEDGER_ASYNC, false)
#define AFTER_ALLOCATES_ASYNC(out, size, stream)                                                             \
    AFTER_ALLOCATION(POINTER, LEDGER_ASYNC, out, *(out), size, size, PLACE_ASYNC(*(out)),                    \
                     PLACE_AFTER_FAILURE())

#define PASSES_ALLOCATES_FROM_POOL(out, size, stream) IS_THE_GRAPHS(stream)
#define BEFORE_ALLOCATES_FROM_POOL(out, size, stream) hook_calls_begin(LEDGER_ASYNC, false)
#define AFTER_ALLOCATES_FROM_POOL(out, size, stream)                                                         \
    AFTER_ALLOCATION(POINTER, LEDGER_ASYNC, out, *(out), size, size, PLACE_OF(*(out)), PLACE_AFTER_FAILURE())

#define PASSES_REGISTERS(pointer, size) false
#define BEFORE_REGISTERS(pointer, size) hook_calls_begin(LEDGER_REGISTERED, false)
#define AFTER_REGISTERS(pointer, size)                                                                       \
    AFTER_ALLOCATION(HOST, LEDGER_REGISTERED, true, pointer, size, size, PLACE(), PLACE_AFTER_FAILURE())

#define PASSES_PITCHES(out, pitch, width, height) false
#define BEFORE_PITCHES(out, pitch, width, height) hook_calls_begin(LEDGER_PLAIN, false)
#define AFTER_PITCHES(out, pitch, width, height)                                                             \
    AFTER_ALLOCATION(POINTER, LEDGER_PLAIN, (out) && (pitch), *(out), *(pitch) * (height),                   \
                     (width) * (height), PLACE(), PLACE_AFTER_FAILURE())

#define PASSES_PITCHES_3D(out, extent) false
#define BEFORE_PITCHES_3D(out, extent) hook_calls_begin(LEDGER_PLAIN, false)
#define AFTER_PITCHES_3D(out, extent)                                                                        \
    AFTER_ALLOCATION(POINTER, LEDGER_PLAIN, out, (out)->pointer,                                             \
                     (out)->pitch *(extent).height *(extent).depth,                                          \
                     (extent).width *(extent).height *(extent).depth, PLACE(), PLACE_AFTER_FAILURE())

#define PASSES_ARRAYS(out, bytes) false
#define BEFORE_ARRAYS(out, bytes) hook_calls_begin(LEDGER_PLAIN, false)
#define AFTER_ARRAYS(out, bytes)                                                                             \
    AFTER_ALLOCATION(ARRAY, LEDGER_PLAIN, out, *(out), bytes, bytes, PLACE(), PLACE_AFTER_FAILURE())

#define PASSES_CREATES(out, size, properties) false
#define BEFORE_CREATES(out, size, properties) hook_calls_begin(LEDGER_PHYSICAL, CUTS_TENSORS(LEDGER_PHYSICAL))
#define AFTER_CREATES(out, size, properties)                                                                 \
    AFTER_ALLOCATION(HANDLE, kind_of(properties), out, *(out), size, size, place_of(properties),             \
                     place_of(properties))

#define BEFORE_FREES(space, address)                                                                         \
    struct ledger_entry removed;                                                                             \
    bool is_removed = hook_calls_freeing(LEDGER_##space, (uint64_t)(address), &removed)
#define AFTER_FREES(space, address)                                                                          \
    if (is_removed) hook_calls_freed(&removed, result)

#define PASSES_RELEASES(handle) false
#define BEFORE_RELEASES(handle) ledger_release((uint64_t)(handle))
#define AFTER_RELEASES(handle)  (void)0

#define PASSES_RETAINS(out, address) false
#define BEFORE_RETAINS(out, address) (void)0
#define AFTER_RETAINS(out, address)                                                                          \
    if (result == CUDA_OK && (out)) ledger_retain((uint64_t) * (out), (uint64_t)(address))

#define PASSES_MAPS(address, size, handle) false
#define BEFORE_MAPS(address, size, handle) (void)0
#define AFTER_MAPS(address, size, handle)                                                                    \
    if (result == CUDA_OK) ledger_map((uint64_t)(address), size, (uint64_t)(handle))

#define PASSES_UNMAPS(address, size) false
#define BEFORE_UNMAPS(address, size) (void)0
#define AFTER_UNMAPS(address, size)                                                                          \
    if (result == CUDA_OK) ledger_unmap((uint64_t)(address), size)

#define PASSES_CONTEXT_BEGINS(out) false
#define BEFORE_CONTEXT_BEGINS(out) (void)0
#define AFTER_CONTEXT_BEGINS(out)                                                                            \
    if (result == CUDA_OK && (out)) hook_calls_context_began(*(out))

#define PASSES_CONTEXT_ENDS(context) false
#define BEFORE_CONTEXT_ENDS(context) (void)0
#define AFTER_CONTEXT_ENDS(context)                                                                          \
    if (result == CUDA_OK) hook_calls_context_ended(context)

#define PASSES_PRIMARY_RETAINS(out, device) false
#define BEFORE_PRIMARY_RETAINS(out, device) (void)0
#define AFTER_PRIMARY_RETAINS(out, device)                                                                   \
    if (result == CUDA_OK && (out)) hook_calls_primary_retained(*(out), device)

#define PASSES_PRIMARY_RELEASES(device) false
#define BEFORE_PRIMARY_RELEASES(device) (void)0
#define AFTER_PRIMARY_RELEASES(device)                                                                       \
    if (result == CUDA_OK) hook_calls_primary_released(device)

#define PASSES_PRIMARY_RESETS(device) false
#define BEFORE_PRIMARY_RESETS(device) (void)0
#define AFTER_PRIMARY_RESETS(device)                                                                         \
    if (result == CUDA_OK) hook_calls_primary_reset(device)

#define PASSES_RESETS false
#define BEFORE_RESETS struct hook_place before = PLACE()
#define AFTER_RESETS                                                                                         \
    if (result == CUDA_OK) hook_calls_device_reset(before)

#define PASSES_CAPTURES false
#define BEFORE_CAPTURES (void)0
#define AFTER_CAPTURES                                                                                       \
    if (result == CUDA_OK) hook_calls_capture_began()

#define PASSES_TELLS_MEMORY(free, total) false
#define BEFORE_TELLS_MEMORY(free, total) bool refuses = ASKED_BY_TORCH && !oom_waits()
#define AFTER_TELLS_MEMORY(free, total)                                                                      \
    if (result == CUDA_OK && (free) && (total)) {                                                            \
        uint8_t device = PLACE().device;                                                                     \
        if (refuses) oom_refused(device, owners_current());                                                  \
        oom_meminfo(device, *(free), *(total), oom_waits() ? POOL_RESERVED(device) : 0);                     \
    }                                                                                                        \
    (void)0

#define PASSES_RESOLVES(name, out, version, flags) false
#define BEFORE_RESOLVES(name, out, version, flags) (void)0
#define AFTER_RESOLVES(name, out, version, flags)                                                            \
    if (result == CUDA_OK && (out) && *(out)) RESOLVED(name, out, version, flags)

#endif
