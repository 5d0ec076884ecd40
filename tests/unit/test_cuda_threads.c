/* Everything that hooks do at once, from eight threads, over functions that stand for the driver's: allocations, frees
 * of what others allocated, physical memory and its mappings, failures with their pictures, while nodes begin and end
 * and snapshots are taken. What is left at the end is known; ThreadSanitizer looks on (make tsan). */
#include "cuda/ledger.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>

#define DEVICES 2

static __thread uint8_t device_here;

static struct hook_place here(void);
#define PLACE()               here()
#define PLACE_AFTER_FAILURE() here()
#define CUTS_TENSORS(kind)    false
#define RESOLVED(...)         (void)0
#include "cuda/hook_effects.h"

static struct hook_place here(void) {
    return (struct hook_place){.context = &device_here, .device = device_here};
}

/* ---- a driver ---- */

enum { UNIT = 1 << 16 };

/* Addresses are never given out again here: who frees what is decided by the threads. */
static uint64_t next_address = UNIT;

static cuda_result real_allocate(cuda_pointer *out, size_t size, bool fails) {
    if (fails) return CUDA_OUT_OF_MEMORY;
    *out = __atomic_fetch_add(&next_address, (size / UNIT + 1) * UNIT, __ATOMIC_RELAXED);
    return CUDA_OK;
}

static cuda_result real_free(cuda_pointer pointer) {
    return pointer ? CUDA_OK : CUDA_OUT_OF_MEMORY;
}

static cuda_result real_create(cuda_handle *out, size_t size, const struct cuda_physical *properties) {
    (void)properties;
    return real_allocate(out, size, false);
}

static cuda_result real_release(cuda_handle handle) {
    (void)handle;
    return CUDA_OK;
}

static cuda_result real_map(cuda_pointer address, size_t size, cuda_handle handle) {
    (void)address, (void)size, (void)handle;
    return CUDA_OK;
}

static cuda_result real_unmap(cuda_pointer address, size_t size) {
    (void)address, (void)size;
    return CUDA_OK;
}

static cuda_result driver_async(cuda_pointer *out, size_t size, bool fails) {
    HOOK_BODY(real_allocate, (out, size, fails), ALLOCATES(POINTER, ASYNC, out, size));
}

static cuda_result driver_plain(cuda_pointer *out, size_t size, bool fails) {
    HOOK_BODY(real_allocate, (out, size, fails), ALLOCATES(POINTER, PLAIN, out, size));
}

static cuda_result driver_free(cuda_pointer pointer) {
    HOOK_BODY(real_free, (pointer), FREES(POINTER, pointer));
}

static cuda_result runtime_async(cuda_pointer *out, size_t size, bool fails) {
    HOOK_BODY(driver_async, (out, size, fails), ALLOCATES(POINTER, ASYNC, out, size));
}

static cuda_result runtime_plain(cuda_pointer *out, size_t size, bool fails) {
    HOOK_BODY(driver_plain, (out, size, fails), ALLOCATES(POINTER, PLAIN, out, size));
}

static cuda_result runtime_free(cuda_pointer pointer) {
    HOOK_BODY(driver_free, (pointer), FREES(POINTER, pointer));
}

static cuda_result create(cuda_handle *out, size_t size, const struct cuda_physical *properties) {
    HOOK_BODY(real_create, (out, size, properties), CREATES(out, size, properties));
}

static cuda_result release(cuda_handle handle) {
    HOOK_BODY(real_release, (handle), RELEASES(handle));
}

static cuda_result map(cuda_pointer address, size_t size, cuda_handle handle) {
    HOOK_BODY(real_map, (address, size, handle), MAPS(address, size, handle));
}

static cuda_result unmap(cuda_pointer address, size_t size) {
    HOOK_BODY(real_unmap, (address, size), UNMAPS(address, size));
}

/* ---- threads ---- */

enum { THREADS = 8, STEPS = 1500, SHARED = 64 };

static uint64_t shared[SHARED]; /* addresses, handed from thread to thread */
static uint64_t allocations;    /* that have succeeded */
static uint32_t workflow;
static pthread_mutex_t interpreter = PTHREAD_MUTEX_INITIALIZER; /* stands for the GIL */

static void must(bool right) {
    if (!right) abort();
}

static void allocate(unsigned random) {
    size_t size = 512 * (1 + random / 8 % 64);
    cuda_pointer pointer = 0;
    bool fails = random % 64 == 0;
    cuda_result result =
        random & 128 ? runtime_async(&pointer, size, fails) : runtime_plain(&pointer, size, fails);
    must((result == CUDA_OK) != fails);
    if (fails) return;
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    uint64_t other = __atomic_exchange_n(&shared[random / 256 % SHARED], pointer, __ATOMIC_ACQ_REL);
    if (other) must(runtime_free(other) == CUDA_OK);
}

static void use_physical(void) {
    struct cuda_physical properties = {.location = {.type = CUDA_LOCATION_DEVICE, .id = device_here}};
    cuda_handle handle, range;
    must(create(&handle, UNIT, &properties) == CUDA_OK && real_allocate(&range, 2 * UNIT, false) == CUDA_OK);
    must(map(range, UNIT, handle) == CUDA_OK && map(range + UNIT, UNIT, handle) == CUDA_OK);
    must(release(handle) == CUDA_OK && unmap(range, 2 * UNIT) == CUDA_OK);
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
}

/* Nodes begin and end on every thread, windows with them. */
static void run_node(unsigned thread, unsigned random) {
    static struct usage_window windows[THREADS];
    static uint32_t nodes[THREADS];
    static struct oom_picture picture;
    pthread_mutex_lock(&interpreter);
    owners_enter(workflow);
    usage_close(&windows[thread]);
    must(windows[thread].peak >= windows[thread].before);
    owners_close(nodes[thread]);
    nodes[thread] = random % 4 ? owners_open(workflow, "1", "KSampler") : OWNER_NOBODY;
    usage_open(&windows[thread]);
    owners_wait(nodes[thread], random % 8 == 1);
    owners_enter(random % 16 ? nodes[thread] : OWNER_NOBODY);
    oom_take(0, workflow, &picture);
    pthread_mutex_unlock(&interpreter);
}

static void add_size(const struct ledger_entry *entry, void *sum) {
    *(uint64_t *)sum += entry->size + entry->stack;
}

static void take_snapshot(void) {
    uint64_t sum = 0;
    ledger_each(add_size, &sum);
    must(usage_now().live < UINT64_C(1) << 40 && usage_now_on(device_here).allocated < UINT64_C(1) << 40);
    must(ledger_count() <= SHARED + 4 * THREADS);
    owners_counts(workflow);
    owners_counts_on(workflow, device_here);
}

static void *work(void *argument) {
    unsigned thread = (unsigned)(uintptr_t)argument, random = thread * 7919 + 1;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        unsigned choice = random >> 16;
        device_here = (uint8_t)(choice / 4096 % DEVICES);
        if (choice % 8 < 5)
            allocate(choice);
        else if (choice % 8 < 7)
            use_physical();
        else if (choice % 64 == 7)
            run_node(thread, choice / 64);
        else if (choice % 64 == 15)
            take_snapshot();
        else
            oom_meminfo(device_here, choice, UINT64_C(1) << 33, choice);
    }
    pthread_mutex_lock(&interpreter);
    owners_enter(OWNER_NOBODY);
    pthread_mutex_unlock(&interpreter);
    return NULL;
}

static uint32_t count_stack(uint64_t size) {
    static uint32_t stacks;
    return size % 1024 ? 0 : __atomic_add_fetch(&stacks, 1, __ATOMIC_RELAXED);
}

static void run_all(void) {
    pthread_t threads[THREADS];
    allocations = 0;
    owners_forked();
    workflow = owners_open(OWNER_NOBODY, "prompt", "");
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t live = 0, count = 0, sum = 0;
    for (unsigned i = 0; i < SHARED; i++)
        count += shared[i] != 0;
    assert_int_equal(ledger_count(), count);
    ledger_each(add_size, &live);
    for (unsigned i = 0; i < SHARED; i++) {
        if (shared[i]) assert_int_equal(runtime_free(shared[i]), CUDA_OK);
        shared[i] = 0;
    }
    ledger_each(add_size, &sum);
    assert_int_equal(sum | usage_now().live | usage_now().allocated | usage_now().mapped, 0);
    assert_int_equal(ledger_count(), 0);
    assert_true(allocations > STEPS && live > 0 && oom_serial() > 0);
    assert_true(owners_counts(workflow).allocations <= allocations);
}

static void test_all_at_once(void **state) {
    (void)state;
    ledger_start();
    __atomic_store_n(&hook_calls_on, true, __ATOMIC_RELEASE);
    run_all();
}

static void test_all_at_once_with_stacks(void **state) {
    (void)state;
    ledger_set_stack_source(count_stack);
    run_all();
    ledger_set_stack_source(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_all_at_once_with_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
