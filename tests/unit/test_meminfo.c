#include "base/clock.h"
#include "host/cgroup.h"
#include "host/meminfo.h"
#include "tree.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void the_smaller_of_host_and_container_counts(void **state) {
    (void)state;
    struct cgroup cgroup = {0};
    tree_write("/proc/meminfo",
               "MemTotal:       32000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n");
    tree_write("/proc/self/statm", "5000 1234 400 2 0 900 0\n");
    struct meminfo sample = meminfo_read(tree_root(), &cgroup);
    assert_int_equal(sample.available_bytes, 8000 * 1024);
    assert_int_equal(sample.rss_bytes, 1234 * sysconf(_SC_PAGESIZE));

    tree_write("/proc/self/cgroup", "0::/\n");
    tree_write("/sys/fs/cgroup/memory.max", "3000000\n");
    tree_write("/sys/fs/cgroup/memory.current", "1000000\n");
    tree_write("/sys/fs/cgroup/memory.stat", "inactive_file 500000\n");
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(meminfo_read(tree_root(), &cgroup).available_bytes, 2500000);
    tree_write("/sys/fs/cgroup/memory.max", "300000000000\n");
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(meminfo_read(tree_root(), &cgroup).available_bytes, 8000 * 1024);
}

static void what_cannot_be_read_is_zero(void **state) {
    (void)state;
    const struct cgroup cgroup = {0};
    errno = 77;
    struct meminfo sample = meminfo_read(tree_root(), &cgroup);
    assert_int_equal(sample.available_bytes, 0);
    assert_int_equal(sample.rss_bytes, 0);
    assert_int_equal(errno, 77);
    tree_write("/proc/meminfo", "MemTotal: 32000 kB\nXMemAvailable: 5 kB\nMemAvailable: none\n");
    tree_write("/proc/self/statm", "\n");
    sample = meminfo_read(tree_root(), &cgroup);
    assert_int_equal(sample.available_bytes, 0);
    assert_int_equal(sample.rss_bytes, 0);
}

/* `bytes` more of resident memory. */
static void *touch(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, bytes);
    return memory;
}

static void a_sample_is_renewed_after_ten_milliseconds(void **state) {
    (void)state;
    const size_t more = 64u << 20;
    meminfo_reset();
    struct meminfo first = meminfo_sample(1000000000);
    assert_true(first.available_bytes > 0);
    assert_true(first.rss_bytes > 0);
    void *memory = touch(more);
    struct meminfo young = meminfo_sample(1010000000);
    assert_int_equal(young.rss_bytes, first.rss_bytes);
    assert_int_equal(meminfo_sample(999000000).rss_bytes, first.rss_bytes); /* a clock read before */
    struct meminfo renewed = meminfo_sample(1010000001);
    assert_true(renewed.rss_bytes >= first.rss_bytes + more / 2);
    munmap(memory, more);
    meminfo_reset();
    assert_true(meminfo_sample(1010000001).rss_bytes < renewed.rss_bytes - more / 4);
}

static int demands;

static void count_demand(void) {
    demands++;
}

static void only_who_asks_in_quick_succession_demands_a_refresher(void **state) {
    (void)state;
    const uint64_t start = 1000000000, ms = 1000000;
    meminfo_reset();
    meminfo_on_demand(count_demand);
    demands = 0;
    meminfo_sample(start);
    meminfo_sample(start + 26 * ms); /* 26 ms later */
    meminfo_sample(start + 36 * ms); /* young enough */
    assert_int_equal(demands, 0);
    meminfo_sample(start + 37 * ms);
    assert_int_equal(demands, 1);
    meminfo_sample(start + 38 * ms);
    meminfo_sample(start + 63 * ms); /* 25 ms later */
    assert_int_equal(demands, 2);
    meminfo_on_demand(NULL);
    meminfo_sample(start + 74 * ms);
    assert_int_equal(demands, 2);
}

static void a_refresher_is_ahead_while_samples_are_asked_for(void **state) {
    (void)state;
    const uint64_t start = 1000000000, ms = 1000000;
    const size_t more = 64u << 20;
    meminfo_reset();
    assert_true(meminfo_refresh(start) == UINT64_MAX);
    struct meminfo first = meminfo_sample(start);
    void *memory = touch(more);
    uint64_t due = start + 8 * ms + 1;
    assert_true(meminfo_refresh(start + 8 * ms) == due);
    assert_int_equal(meminfo_sample(start + 9 * ms).rss_bytes, first.rss_bytes);
    assert_true(meminfo_refresh(due) == due + 8 * ms + 1);
    assert_true(meminfo_sample(due).rss_bytes >= first.rss_bytes + more / 2);
    assert_true(meminfo_refresh(due + 25 * ms) == due + 33 * ms + 1);
    assert_true(meminfo_refresh(due + 25 * ms + 1) == UINT64_MAX);
    munmap(memory, more);
}

static size_t open_descriptors(void) {
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void no_descriptor_stays_open(void **state) {
    (void)state;
    size_t before = open_descriptors();
    meminfo_reset();
    meminfo_sample(1);
    assert_int_equal(open_descriptors(), before);
}

static void *sample_often(void *unused) {
    (void)unused;
    for (int i = 0; i < 20000; i++)
        if (meminfo_sample(clock_mono_ns()).rss_bytes == 0) return "zero";
    return NULL;
}

static void threads_share_samples(void **state) {
    (void)state;
    meminfo_reset();
    assert_true(meminfo_sample(clock_mono_ns()).rss_bytes > 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sample_often, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *problem;
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(the_smaller_of_host_and_container_counts),
        IN_TREE(what_cannot_be_read_is_zero),
        cmocka_unit_test(a_sample_is_renewed_after_ten_milliseconds),
        cmocka_unit_test(only_who_asks_in_quick_succession_demands_a_refresher),
        cmocka_unit_test(a_refresher_is_ahead_while_samples_are_asked_for),
        cmocka_unit_test(no_descriptor_stays_open),
        cmocka_unit_test(threads_share_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
