#include "host/cgroup.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MiB (UINT64_C(1) << 20)

/* A v2 group with so many MiB; a negative limit is "max". */
static void v2_group(const char *path, int limit, int usage, int inactive_file) {
    char file[512], text[256];
    snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.max", path);
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)limit * MiB);
    tree_write(file, limit < 0 ? "max\n" : text);
    snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.current", path);
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)usage * MiB);
    tree_write(file, text);
    snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.stat", path);
    snprintf(text, sizeof text, "anon 1\nfile 2\nactive_file 77\ninactive_file %llu\nslab 3\n",
             (unsigned long long)inactive_file * MiB);
    tree_write(file, text);
}

static uint64_t headroom(void) {
    struct cgroup cgroup;
    cgroup_find(&cgroup, tree_root());
    return cgroup_headroom(&cgroup);
}

static void v2_counts_droppable_page_cache_as_free(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/system.slice/comfyui.service\n");
    v2_group("/system.slice/comfyui.service", 1000, 600, 100);
    assert_int_equal(headroom(), 500 * MiB);
}

static void the_tightest_parent_decides(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/cri-1.scope\n");
    v2_group("/kubepods.slice/kubepods-pod1.slice/cri-1.scope", -1, 600, 0);
    v2_group("/kubepods.slice/kubepods-pod1.slice", 800, 700, 50);
    v2_group("/kubepods.slice", 4000, 3950, 20);
    v2_group("", 9000, 5000, 0);
    struct cgroup cgroup;
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(cgroup.count, 3);
    assert_int_equal(cgroup_headroom(&cgroup), 70 * MiB);
}

static void inside_a_namespace_the_group_is_the_root(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/\n");
    v2_group("", 512, 500, 0);
    struct cgroup cgroup;
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(cgroup.count, 1);
    assert_int_equal(cgroup_headroom(&cgroup), 12 * MiB);
}

static void the_hosts_path_without_a_namespace_ends_at_the_mount(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    v2_group("", 512, 500, 0);
    assert_int_equal(headroom(), 12 * MiB);
}

static void over_the_limit_nothing_is_left(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/a\n");
    v2_group("/a", 100, 130, 10);
    assert_int_equal(headroom(), 0);
    v2_group("/a", 100, 50, 60); /* more droppable than used: the files are not read at one instant */
    assert_int_equal(headroom(), 100 * MiB);
}

static void limits_stay_while_usage_moves(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup", "0::/a\n");
    v2_group("/a", 100, 10, 0);
    struct cgroup cgroup;
    cgroup_find(&cgroup, tree_root());
    v2_group("/a", 50, 20, 0);
    assert_int_equal(cgroup_headroom(&cgroup), 80 * MiB);
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(cgroup_headroom(&cgroup), 30 * MiB);
}

static void v1_reads_its_own_files(void **state) {
    (void)state;
    tree_write("/proc/self/cgroup",
               "12:cpu,cpuacct:/docker/c1\n5:memory:/docker/c1\n1:name=systemd:/docker/c1\n0::/x\n");
    tree_write("/sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes", "1048576000\n");
    tree_write("/sys/fs/cgroup/memory/docker/c1/memory.usage_in_bytes", "524288000\n");
    tree_write("/sys/fs/cgroup/memory/docker/c1/memory.stat",
               "inactive_file 1\ntotal_inactive_file 104857600\n");
    tree_write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    v2_group("/x", 1, 1, 0); /* the unified hierarchy has no memory controller here */
    struct cgroup cgroup;
    cgroup_find(&cgroup, tree_root());
    assert_int_equal(cgroup.count, 1);
    assert_int_equal(cgroup_headroom(&cgroup), 600 * MiB);
}

static void without_limits_or_files_there_is_no_limit(void **state) {
    (void)state;
    assert_true(headroom() == CGROUP_NO_LIMIT);
    tree_write("/proc/self/cgroup", "0::/a\n");
    assert_true(headroom() == CGROUP_NO_LIMIT);
    v2_group("/a", -1, 10, 0);
    assert_true(headroom() == CGROUP_NO_LIMIT);
    v2_group("/a", 10, 10, 0);
    tree_remove("/sys/fs/cgroup/a/memory.current");
    errno = 77;
    assert_true(headroom() == CGROUP_NO_LIMIT);
    assert_int_equal(errno, 77);
}

static void nonsense_is_survived(void **state) {
    (void)state;
    static char deep[6000];
    memset(deep, 'd', sizeof deep - 1);
    memcpy(deep, "0::/", 4);
    const char *const texts[] = {
        "", "\n\n", ":", "::", "0:", "0::", "0::relative", "memory", deep, "0::/../../a\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tree_write("/proc/self/cgroup", texts[i]);
        assert_true(headroom() == CGROUP_NO_LIMIT);
    }
    static char slashes[900];
    memset(slashes, '/', sizeof slashes - 1);
    memcpy(slashes, "0::", 3);
    tree_write("/proc/self/cgroup", slashes);
    v2_group("", 512, 500, 0);
    assert_int_equal(headroom(), 12 * MiB); /* the same limit at 16 levels */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(v2_counts_droppable_page_cache_as_free),
        IN_TREE(the_tightest_parent_decides),
        IN_TREE(inside_a_namespace_the_group_is_the_root),
        IN_TREE(the_hosts_path_without_a_namespace_ends_at_the_mount),
        IN_TREE(over_the_limit_nothing_is_left),
        IN_TREE(limits_stay_while_usage_moves),
        IN_TREE(v1_reads_its_own_files),
        IN_TREE(without_limits_or_files_there_is_no_limit),
        IN_TREE(nonsense_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
