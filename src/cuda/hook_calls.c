#include "cuda/hook_calls.h"

#include "base/spin.h"
#include "cuda/oom.h"
#include "cuda/owners.h"

#include <string.h>

#define PRIMARIES    64
#define DEVICE_SLOTS 64 /* 2^6: device_slot knows */

bool hook_calls_on, hook_calls_captured;

__thread struct hook_calls_here hook_calls_here;

/* ---- allocations ---- */

void hook_calls_failed(enum ledger_kind kind, uint64_t size, struct hook_place place) {
    if (kind >= LEDGER_PINNED) return;
    uint32_t owner = owners_current();
    owners_count_failure(owner, place.device);
    oom_failed(place.device, size, owner);
}

/* ---- contexts ---- */

static uint32_t lock;
static struct {
    const void *context;
    int retained;
} primaries[PRIMARIES];

static bool is_device(int device) {
    return device >= 0 && device < PRIMARIES;
}

const struct hook_place *hook_calls_only_place;
static struct hook_place first_place;
static bool are_several;

static void note_several(void) {
    __atomic_store_n(&are_several, true, __ATOMIC_RELAXED);
    __atomic_store_n(&hook_calls_only_place, NULL, __ATOMIC_RELEASE);
}

/* The lock is held. Another thread that still takes the first place for the only one is right: its own current context
 * was not changed by this. */
static void note_place(const void *context, int device) {
    if (first_place.context && first_place.context != context) note_several();
    if (first_place.context || are_several) return;
    first_place = (struct hook_place){.context = context, .device = (uint8_t)device};
    __atomic_store_n(&hook_calls_only_place, &first_place, __ATOMIC_RELEASE);
}

void hook_calls_primary_retained(const void *context, int device) {
    if (!is_device(device)) {
        note_several();
        return;
    }
    spin_lock(&lock);
    note_place(context, device);
    primaries[device].context = context;
    primaries[device].retained++;
    spin_unlock(&lock);
}

/* Takes the context of a device that is to be reset, or NULL. */
static const void *take_primary(int device, bool release) {
    if (!is_device(device)) return NULL;
    spin_lock(&lock);
    const void *context = primaries[device].context;
    if (release && (primaries[device].retained == 0 || --primaries[device].retained > 0)) context = NULL;
    spin_unlock(&lock);
    return context;
}

void hook_calls_primary_released(int device) {
    hook_calls_context_ended(take_primary(device, true));
}

void hook_calls_primary_reset(int device) {
    hook_calls_context_ended(take_primary(device, false));
}

void hook_calls_device_reset(struct hook_place before) {
    if (!is_device(before.device)) return;
    const void *primary = take_primary(before.device, false);
    /* With another context current the runtime resets its own state only (cuda_runtime_api.h, cudaDeviceReset). */
    if (!primary || primary == before.context) hook_calls_context_ended(before.context);
}

/* Context and device in one word: 48 bits and 8. */
static uint64_t devices[DEVICE_SLOTS];

static uint64_t *device_slot(const void *context) {
    return &devices[(uintptr_t)context * UINT64_C(0x9e3779b97f4a7c15) >> 58];
}

bool hook_calls_device_of(const void *context, uint8_t *device) {
    uint64_t known = __atomic_load_n(device_slot(context), __ATOMIC_RELAXED);
    if (known >> 16 != (uintptr_t)context) return false;
    *device = (uint8_t)known;
    return true;
}

void hook_calls_remember_device(const void *context, uint8_t device) {
    if ((uint64_t)(uintptr_t)context >> 48) return;
    __atomic_store_n(device_slot(context), (uint64_t)(uintptr_t)context << 16 | device, __ATOMIC_RELAXED);
}

static void forget_device(const void *context) {
    uint8_t device;
    if (hook_calls_device_of(context, &device)) __atomic_store_n(device_slot(context), 0, __ATOMIC_RELAXED);
}

/* Its address may have been another's, whose end was not seen (that of a green one is called by another handle). */
void hook_calls_context_began(const void *context) {
    note_several();
    forget_device(context);
}

void hook_calls_context_ended(const void *context) {
    if (!context) return;
    forget_device(context);
    ledger_purge_context(context);
}

void hook_calls_forget(void *reals[], unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (__atomic_load_n(&reals[i], __ATOMIC_RELAXED)) __atomic_store_n(&reals[i], NULL, __ATOMIC_RELAXED);
}

void hook_calls_forget_contexts(void) {
    spin_lock(&lock);
    __atomic_store_n(&hook_calls_only_place, NULL, __ATOMIC_RELEASE);
    first_place = (struct hook_place){.context = NULL};
    __atomic_store_n(&are_several, false, __ATOMIC_RELAXED);
    memset(primaries, 0, sizeof primaries);
    memset(devices, 0, sizeof devices);
    spin_unlock(&lock);
}

void hook_calls_forked(void) {
    lock = 0;
    hook_calls_forget_contexts();
    hook_calls_here.depth = 0;
}

/* ---- arrays ---- */

unsigned hook_calls_format_bits(int format) {
    switch (format) {
    case 0x01: /* CU_AD_FORMAT_UNSIGNED_INT8 */
    case 0x08: /* SIGNED_INT8 */
        return 8;
    case 0x02: /* UNSIGNED_INT16 */
    case 0x09: /* SIGNED_INT16 */
    case 0x10: /* HALF */
        return 16;
    case 0x03: /* UNSIGNED_INT32 */
    case 0x0a: /* SIGNED_INT32 */
    case 0x20: /* FLOAT */
        return 32;
    }
    return 0; /* compressed, planar and normalised ones: nothing in ComfyUI's world makes them */
}

uint64_t hook_calls_array_bytes(uint64_t element_bits, size_t width, size_t height, size_t depth,
                                unsigned levels, unsigned flags) {
    if (flags & (CUDA_ARRAY_SPARSE | CUDA_ARRAY_DEFERRED)) return 0;
    bool layered = flags & CUDA_ARRAY_LAYERED;
    uint64_t elements = 0;
    height += height == 0;
    depth += depth == 0;
    for (unsigned level = 0;;) {
        elements += (uint64_t)width * height * depth;
        /* There is one level, and there are no more than halving gives (cuda.h, cuMipmappedArrayCreate). */
        if (++level >= levels || (width <= 1 && height <= 1 && (layered || depth <= 1))) break;
        width = width > 1 ? width / 2 : width;
        height = height > 1 ? height / 2 : height;
        if (!layered) depth = depth > 1 ? depth / 2 : depth;
    }
    return elements * element_bits / 8;
}
