#include "cuda/ledger.h"
#include "cuda/oom.h"
#include "cuda/owners.h"
#include "cuda/usage.h"
#include "unit.h"

#include <string.h>

static int begin(void **state) {
    (void)state;
    oom_forked();
    owners_forked();
    ledger_forked();
    usage_forked();
    ledger_start();
    return 0;
}

static void add(uint64_t address, uint64_t size) {
    ledger_add(address, size, (struct ledger_what){.space = LEDGER_POINTER});
}

static void test_the_picture_is_that_of_the_moment(void **state) {
    (void)state;
    struct oom_picture picture;
    struct ledger_entry removed;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""),
             loader = owners_open(workflow, "4", "Loader");
    uint32_t sampler = owners_open(workflow, "3", "KSampler");
    owners_enter(loader);
    add(0x1000, 5000);
    owners_enter(sampler);
    for (uint64_t i = 0; i < 3; i++)
        add(0x10000 + i * 4096, 1000);
    add(0x90000, 10);
    uint64_t before = oom_serial();
    assert_false(oom_take(before, sampler, &picture));
    oom_failed(0, 123456, sampler);
    oom_meminfo(0, 77, 8000, 0);
    oom_meminfo(0, 6000, 8000, 0); /* after the clean-up */
    assert_true(ledger_remove(LEDGER_POINTER, 0x1000, &removed));
    assert_true(oom_take(before, sampler, &picture));
    assert_int_equal(picture.requested, 123456);
    assert_int_equal(picture.allocated, 8010);
    assert_int_equal(picture.reserved, 8010);
    assert_int_equal(picture.free, 77);
    assert_int_equal(picture.total, 8000);
    assert_false(picture.reported);
    assert_int_equal(picture.groups, 3);
    assert_string_equal(picture.group[0].id, "4");
    assert_string_equal(picture.group[0].class_type, "Loader");
    assert_int_equal(picture.group[0].size, 5000);
    assert_int_equal(picture.group[1].size, 1000);
    assert_int_equal(picture.group[1].count, 3);
    assert_string_equal(picture.group[1].class_type, "KSampler");
    assert_int_equal(picture.group[2].count, 1);
    assert_false(oom_take(oom_serial(), sampler, &picture));
}

/* PyTorch: fails, asks how much is free, reports. */
static void test_a_report_knows_what_the_driver_said_just_before(void **state) {
    (void)state;
    struct oom_picture picture;
    oom_meminfo(0, 5555, 8000, 0); /* long ago */
    oom_failed(0, 100, 1);
    oom_meminfo(0, 42, 8000, 0);
    oom_reported(0, 99, 1);
    assert_true(oom_take(0, 1, &picture));
    assert_true(picture.reported);
    assert_int_equal(picture.requested, 99);
    assert_int_equal(picture.free, 42);
    oom_failed(1, 100, 1);
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.free, OOM_UNKNOWN);
    oom_meminfo(0, 42, 8000, 0);
    oom_reported(1, 100, 1); /* what was told was of another device */
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.free, OOM_UNKNOWN);
}

/* cudaMallocAsync: what the pool keeps is reserved too, once, however often the program asks (each layer does). */
static void test_what_the_pool_keeps_is_reserved(void **state) {
    (void)state;
    struct oom_picture picture;
    assert_false(oom_waits());
    ledger_add(0x1000, 300, (struct ledger_what){.kind = LEDGER_ASYNC});
    add(0x2000, 50);
    oom_failed(0, 100, 1);
    assert_true(oom_waits());
    oom_meminfo(0, 42, 8000, 1000);
    assert_false(oom_waits());
    oom_meminfo(0, 42, 8000, 0);
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.allocated, 350);
    assert_int_equal(picture.reserved, 1050);
    oom_reported(0, 100, 1);
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.reserved, 1050);
    oom_failed(0, 100, 1);
    oom_meminfo(0, 42, 8000, 200); /* the pool that is asked is not the one that has been allocated from */
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.reserved, 350);
    oom_failed(1, 100, 1);
    oom_meminfo(0, 42, 8000, 1000);
    assert_true(oom_waits()); /* it was another device */
}

static void test_a_refusal_is_a_picture_without_a_size(void **state) {
    (void)state;
    struct oom_picture picture;
    add(0x1000, 5000);
    oom_refused(0, 1);
    oom_meminfo(0, 42, 8000, 0);
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.requested, OOM_UNKNOWN);
    assert_int_equal(picture.allocated, 5000);
    assert_int_equal(picture.free, 42);
    assert_int_equal(picture.groups, 1);
    oom_reported(0, 77, 1); /* the native allocator knows more */
    assert_true(oom_take(0, 1, &picture));
    assert_int_equal(picture.requested, 77);
    assert_int_equal(picture.free, 42);
}

static void test_the_owners_picture_is_preferred(void **state) {
    (void)state;
    struct oom_picture picture;
    oom_failed(0, 1, 10);
    oom_failed(0, 2, 20);
    assert_true(oom_take(0, 10, &picture));
    assert_int_equal(picture.requested, 1);
    assert_true(oom_take(0, 30, &picture));
    assert_int_equal(picture.requested, 2);
}

static uint32_t give_a_stack(uint64_t size) {
    return size == 1000 ? 7 : 0;
}

static void test_groups_are_of_one_size_and_device_and_owner(void **state) {
    (void)state;
    struct oom_picture picture;
    uint32_t workflow = owners_open(OWNER_NOBODY, "prompt", ""), node = owners_open(workflow, "1", "Node");
    ledger_set_stack_source(give_a_stack);
    add(0x1000, 3500);
    owners_enter(workflow);
    owners_close(node);
    add(0x1000, 3500); /* known: as it was */
    for (uint64_t i = 0; i < 4; i++)
        add(0x10000 + i * 4096, 1000);
    ledger_add(0x20000, 1000, (struct ledger_what){.space = LEDGER_POINTER, .device = 1});
    ledger_set_stack_source(NULL);
    owners_enter(OWNER_NOBODY);
    oom_failed(0, 1, 0);
    assert_true(oom_take(0, 0, &picture));
    assert_int_equal(picture.groups, 3);
    assert_int_equal(picture.group[0].size * picture.group[0].count, 4000); /* the largest sum, not size */
    assert_int_equal(picture.group[0].stack, 7);
    assert_int_equal(picture.group[0].device, 0);
    assert_int_equal(picture.group[1].size, 3500);
    assert_string_equal(picture.group[1].class_type, "Node");
    assert_int_equal(picture.group[2].size, 1000);
    assert_int_equal(picture.group[2].device, 1);
}

static void test_the_child_of_a_fork_has_no_pictures(void **state) {
    (void)state;
    struct oom_picture picture;
    oom_failed(0, 1, 0);
    oom_meminfo(0, 42, 8000, 1000);
    oom_forked();
    assert_int_equal(oom_serial(), 0);
    assert_false(oom_waits());
    assert_false(oom_take(0, 0, &picture));
    oom_reported(0, 1, 0);
    assert_true(oom_take(0, 0, &picture));
    assert_int_equal(picture.free, OOM_UNKNOWN);
}

static void test_many_groups(void **state) {
    (void)state;
    struct oom_picture picture;
    for (uint64_t i = 1; i <= 2000; i++)
        add(i << 12, i);
    oom_failed(0, 1, 0);
    assert_true(oom_take(0, 0, &picture));
    assert_int_equal(picture.groups, OOM_GROUPS);
    for (unsigned i = 1; i < picture.groups; i++)
        assert_true(picture.group[i - 1].size * picture.group[i - 1].count >=
                    picture.group[i].size * picture.group[i].count);
}

static void test_host_memory_is_not_the_devices(void **state) {
    (void)state;
    struct oom_picture picture;
    add(0x1000, 1);
    ledger_add(0x2000, 1000, (struct ledger_what){.space = LEDGER_HOST, .kind = LEDGER_PINNED});
    ledger_add(0x3000, 1000,
               (struct ledger_what){.space = LEDGER_HANDLE, .kind = LEDGER_PINNED, .holds = 1}); /* VMM's */
    oom_failed(0, 1, 0);
    assert_true(oom_take(0, 0, &picture));
    assert_int_equal(picture.groups, 1);
    assert_int_equal(picture.group[0].size, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_picture_is_that_of_the_moment, begin),
        cmocka_unit_test_setup(test_a_report_knows_what_the_driver_said_just_before, begin),
        cmocka_unit_test_setup(test_what_the_pool_keeps_is_reserved, begin),
        cmocka_unit_test_setup(test_a_refusal_is_a_picture_without_a_size, begin),
        cmocka_unit_test_setup(test_the_owners_picture_is_preferred, begin),
        cmocka_unit_test_setup(test_groups_are_of_one_size_and_device_and_owner, begin),
        cmocka_unit_test_setup(test_the_child_of_a_fork_has_no_pictures, begin),
        cmocka_unit_test_setup(test_many_groups, begin),
        cmocka_unit_test_setup(test_host_memory_is_not_the_devices, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
