#include "cuda/hook_calls.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "unit.h"

#define FIRST  ((const void *)0x1000)
#define SECOND ((const void *)0x2000)

static int begin(void **state) {
    (void)state;
    hook_calls_forked();
    ledger_forked();
    usage_forked();
    owners_forked();
    oom_forked();
    ledger_start();
    return 0;
}

/* ---- contexts ---- */

static void add(uint64_t address, const void *context) {
    hook_calls_begin(LEDGER_PLAIN, false);
    hook_calls_allocated(LEDGER_POINTER, LEDGER_PLAIN, address, 512,
                         (struct hook_place){.context = context, .device = 0});
    assert_false(hook_calls_end(CUDA_OK));
}

static void test_the_only_place_is_known_until_there_is_another(void **state) {
    (void)state;
    assert_null(hook_calls_only_place);
    hook_calls_primary_retained(FIRST, 3);
    assert_int_equal(hook_calls_only_place->device, 3);
    assert_ptr_equal(hook_calls_only_place->context, FIRST);
    hook_calls_primary_retained(FIRST, 3);
    assert_non_null(hook_calls_only_place);
    hook_calls_primary_retained(SECOND, 1);
    assert_null(hook_calls_only_place);
    hook_calls_primary_retained(FIRST, 3);
    assert_null(hook_calls_only_place);
    hook_calls_forget_contexts();
    hook_calls_primary_retained(SECOND, 1);
    assert_non_null(hook_calls_only_place);
    hook_calls_forget_contexts();
    assert_null(hook_calls_only_place);
    hook_calls_context_began(SECOND);
    hook_calls_primary_retained(FIRST, 3); /* not the only one */
    assert_null(hook_calls_only_place);
    hook_calls_forget_contexts();
    hook_calls_primary_retained(FIRST, 64); /* more devices than we count */
    hook_calls_primary_retained(FIRST, -1);
    hook_calls_primary_released(64);
    assert_null(hook_calls_only_place);
}

static void test_a_primary_context_ends_with_its_last_release(void **state) {
    (void)state;
    add(0x10000, FIRST);
    hook_calls_primary_released(0); /* retained before we were there */
    assert_int_equal(ledger_count(), 1);
    hook_calls_primary_retained(FIRST, 0);
    hook_calls_primary_retained(FIRST, 0);
    hook_calls_primary_released(0);
    assert_int_equal(ledger_count(), 1);
    hook_calls_primary_released(0);
    assert_int_equal(ledger_count(), 0);
    add(0x10000, FIRST);
    hook_calls_primary_retained(FIRST, 0);
    hook_calls_primary_reset(0);
    assert_int_equal(ledger_count(), 0);
    hook_calls_primary_reset(1);
    hook_calls_primary_reset(-1);
}

static void test_a_reset_is_of_the_primary_context(void **state) {
    (void)state;
    add(0x10000, FIRST);
    add(0x20000, SECOND);
    hook_calls_primary_retained(FIRST, 0);
    hook_calls_device_reset((struct hook_place){.context = SECOND, .device = 0});
    hook_calls_device_reset((struct hook_place){.device = LEDGER_NO_DEVICE});
    assert_int_equal(ledger_count(), 2);
    hook_calls_device_reset((struct hook_place){.context = FIRST, .device = 0});
    assert_int_equal(ledger_count(), 1);
    hook_calls_device_reset(
        (struct hook_place){.context = SECOND, .device = 1}); /* HIP, or before our time */
    assert_int_equal(ledger_count(), 0);
}

static void test_the_device_of_a_context_is_remembered_until_its_end(void **state) {
    (void)state;
    uint8_t device = 77;
    assert_false(hook_calls_device_of(FIRST, &device));
    hook_calls_remember_device(FIRST, 5);
    assert_true(hook_calls_device_of(FIRST, &device));
    assert_int_equal(device, 5);
    assert_false(hook_calls_device_of(SECOND, &device));
    hook_calls_context_ended(SECOND);
    assert_true(hook_calls_device_of(FIRST, &device));
    hook_calls_context_ended(FIRST);
    assert_false(hook_calls_device_of(FIRST, &device));
    hook_calls_remember_device(FIRST, 5);
    hook_calls_context_began(FIRST); /* whose end was not seen, as that of a green one is not */
    assert_false(hook_calls_device_of(FIRST, &device));
    hook_calls_remember_device((const void *)(UINT64_C(1) << 48), 6); /* no address of x86-64 or aarch64 */
    assert_false(hook_calls_device_of((const void *)(UINT64_C(1) << 48), &device));
    hook_calls_context_ended(NULL);
    hook_calls_remember_device(FIRST, 5);
    hook_calls_forget_contexts();
    assert_false(hook_calls_device_of(FIRST, &device));
}

/* ---- allocations ---- */

static void test_an_allocation_is_the_outermost_calls(void **state) {
    (void)state;
    struct hook_place place = {.context = FIRST, .device = 2};
    hook_calls_begin(LEDGER_PLAIN, true);
    hook_calls_begin(LEDGER_PLAIN, false); /* the driver's, inside: it does not know who calls */
    assert_true(hook_calls_is_new(0x10000));
    hook_calls_allocated(LEDGER_POINTER, LEDGER_PLAIN, 0x10000, 512, place);
    assert_false(hook_calls_end(CUDA_OUT_OF_MEMORY)); /* somebody in between may try again */
    assert_false(hook_calls_is_new(0x10000));
    assert_false(hook_calls_is_new(0));
    assert_true(hook_calls_is_new(0x20000));
    hook_calls_allocated(LEDGER_POINTER, LEDGER_PLAIN, 0x20000, 0, place);
    assert_true(hook_calls_end(CUDA_OUT_OF_MEMORY));
    assert_int_equal(usage_now_on(2).live, 512);
    assert_int_equal(usage_now_on(2).allocated, 0); /* a segment */
    hook_calls_begin(LEDGER_PLAIN, false);
    assert_true(hook_calls_is_new(0x10000)); /* another call may be given the same address */
    assert_false(hook_calls_end(1));
}

static void test_what_is_cut_for_tensors_is_of_one_kind(void **state) {
    (void)state;
    struct hook_place place = {.device = 0};
    hook_calls_begin(LEDGER_PHYSICAL, true);
    hook_calls_allocated(LEDGER_POINTER, LEDGER_PLAIN, 0x10000, 512, place);
    hook_calls_allocated(LEDGER_HANDLE, LEDGER_PHYSICAL, 7, 1024, place);
    hook_calls_end(CUDA_OK);
    hook_calls_begin(LEDGER_ASYNC, true);
    hook_calls_allocated(LEDGER_POINTER, LEDGER_ASYNC, 0x20000, 4096, place);
    hook_calls_end(CUDA_OK);
    assert_int_equal(usage_now().live, 512 + 1024 + 4096);
    assert_int_equal(usage_now().allocated, 512 + 4096);
    ledger_release(7);
    assert_int_equal(usage_now().mapped, 0);
}

static void test_a_pools_memory_may_be_the_hosts(void **state) {
    (void)state;
    struct ledger_entry removed;
    hook_calls_begin(LEDGER_ASYNC, false);
    hook_calls_allocated(LEDGER_POINTER, LEDGER_ASYNC, 0x10000, 512,
                         (struct hook_place){.device = LEDGER_NO_DEVICE, .on_host = true});
    hook_calls_end(CUDA_OK);
    assert_int_equal(usage_now().live, 0);
    assert_int_equal(usage_pinned(), 512);
    assert_true(hook_calls_freeing(LEDGER_POINTER, 0x10000, &removed));
    hook_calls_freed(&removed, CUDA_OK);
    assert_int_equal(usage_pinned(), 0);
}

static void test_a_free_is_the_outermost_calls(void **state) {
    (void)state;
    struct ledger_entry removed, other;
    add(0x10000, FIRST);
    assert_true(hook_calls_freeing(LEDGER_POINTER, 0x10000, &removed));
    assert_true(hook_calls_is_freed(0x10000));
    assert_false(hook_calls_is_freed(0x20000));
    assert_false(hook_calls_freeing(LEDGER_POINTER, 0x10000, &other));
    hook_calls_freed(&removed, 1);
    assert_false(hook_calls_is_freed(0x10000));
    assert_int_equal(ledger_count(), 1);
    assert_true(hook_calls_freeing(LEDGER_POINTER, 0x10000, &removed));
    hook_calls_freed(&removed, CUDA_OK);
    assert_int_equal(ledger_count(), 0);
}

static void test_the_child_of_a_fork_is_in_no_call(void **state) {
    (void)state;
    hook_calls_begin(LEDGER_PLAIN, false);
    hook_calls_forked();
    hook_calls_begin(LEDGER_PLAIN, false);
    assert_true(hook_calls_end(CUDA_OUT_OF_MEMORY));
}

static void test_failures_on_devices_count(void **state) {
    (void)state;
    uint32_t owner = owners_open(OWNER_NOBODY, "prompt", "");
    struct oom_picture picture;
    hook_calls_failed(LEDGER_PINNED, 100, (struct hook_place){.device = 1});
    hook_calls_failed(LEDGER_REGISTERED, 100, (struct hook_place){.device = 1});
    assert_int_equal(owners_counts(owner).failed, 0);
    assert_false(oom_take(0, owner, &picture));
    hook_calls_failed(LEDGER_MANAGED, 100, (struct hook_place){.device = 1});
    assert_int_equal(owners_counts_on(owner, 1).failed, 1);
    assert_true(oom_take(0, owner, &picture));
    assert_int_equal(picture.requested, 100);
    assert_int_equal(picture.device, 1);
    assert_int_equal(picture.owner, owner);
}

/* ---- arrays ---- */

static void test_bytes_of_arrays(void **state) {
    (void)state;
    static const struct {
        uint64_t bits;
        size_t width, height, depth;
        unsigned levels, flags;
        uint64_t bytes;
    } cases[] = {
        {32, 10, 0, 0, 1, 0, 40},
        {32, 10, 5, 0, 1, 0, 200},
        {12, 4, 4, 4, 1, 0, 96},
        {8, 8, 8, 8, 2, 0, 512 + 64},
        {8, 8, 8, 8, 2, CUDA_ARRAY_LAYERED, 512 + 128},
        {8, 4, 1, 0, 3, 0, 4 + 2 + 1},
        {8, 4, 1, 0, 40, 0, 4 + 2 + 1}, /* the driver makes no more levels than there are */
        {8, 1, 2, 3, 9, 0, 6 + 1},
        {8, 2, 1, 3, 9, CUDA_ARRAY_LAYERED, 6 + 3},
        {8, 4, 1, 0, 0, 0, 4}, /* nor less than one */
        {8, 8, 8, 8, 1, CUDA_ARRAY_SPARSE, 0},
        {8, 8, 8, 8, 1, CUDA_ARRAY_DEFERRED, 0},
        {0, 8, 8, 8, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(hook_calls_array_bytes(cases[i].bits, cases[i].width, cases[i].height,
                                                cases[i].depth, cases[i].levels, cases[i].flags),
                         cases[i].bytes);
    static const int formats[] = {0x01, 8,    0x08, 8,    0x02, 16,   0x09, 16,   0x10,
                                  16,   0x03, 32,   0x0a, 32,   0x20, 32,   0xb0, 0};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i += 2)
        assert_int_equal(hook_calls_format_bits(formats[i]), formats[i + 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_only_place_is_known_until_there_is_another, begin),
        cmocka_unit_test_setup(test_a_primary_context_ends_with_its_last_release, begin),
        cmocka_unit_test_setup(test_a_reset_is_of_the_primary_context, begin),
        cmocka_unit_test_setup(test_the_device_of_a_context_is_remembered_until_its_end, begin),
        cmocka_unit_test_setup(test_an_allocation_is_the_outermost_calls, begin),
        cmocka_unit_test_setup(test_what_is_cut_for_tensors_is_of_one_kind, begin),
        cmocka_unit_test_setup(test_a_pools_memory_may_be_the_hosts, begin),
        cmocka_unit_test_setup(test_a_free_is_the_outermost_calls, begin),
        cmocka_unit_test_setup(test_the_child_of_a_fork_is_in_no_call, begin),
        cmocka_unit_test_setup(test_failures_on_devices_count, begin),
        cmocka_unit_test_setup(test_bytes_of_arrays, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
