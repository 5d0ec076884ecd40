/* On a tree of plain files: that the right files get the right texts. Real groups:
 * tests/integration/test_launcher_memory.py (v1), tests/check_vm (v2). */
#include "base/file.h"
#include "host/cgroup_group.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define V1 "/sys/fs/cgroup/memory/docker/c1"
#define V2 "/sys/fs/cgroup/a.service"

static const char *content(const char *path) {
    static char text[256];
    char full[512];
    snprintf(full, sizeof full, "%s%s", tree_root(), path);
    assert_true(file_read(full, text, sizeof text) >= 0);
    return text;
}

/* The kernel makes a group's files with its directory; here they are there before. */
static void make_v1(void) {
    tree_write("/proc/self/cgroup", "5:memory:/docker/c1\n0::/\n");
    tree_write(V1 "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    tree_write(V1 "/comfydd-7/memory.limit_in_bytes", "");
    tree_write(V1 "/comfydd-7/memory.usage_in_bytes", "5000\n");
    tree_write(V1 "/comfydd-7/memory.max_usage_in_bytes", "9000\n");
    tree_write(V1 "/comfydd-7/memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n");
    tree_write(V1 "/comfydd-7/memory.failcnt", "12\n");
    tree_write(V1 "/comfydd-7/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    tree_write(V1 "/comfydd-7/cgroup.procs", "");
}

static void make_v2(const char *controllers, const char *subtree) {
    tree_write("/proc/self/cgroup", "0::/a.service\n");
    tree_write(V2 "/cgroup.controllers", controllers);
    tree_write(V2 "/cgroup.subtree_control", subtree);
    tree_write(V2 "/cgroup.procs", "");
    tree_write(V2 "/comfydd-7/memory.max", "");
    tree_write(V2 "/comfydd-7/memory.oom.group", "");
    tree_write(V2 "/comfydd-7/memory.current", "5000\n");
    tree_write(V2 "/comfydd-7/memory.peak", "9000\n");
    tree_write(V2 "/comfydd-7/memory.stat", "anon 1\ninactive_file 2000\n");
    tree_write(V2 "/comfydd-7/memory.events",
               "low 0\nhigh 0\nmax 40\noom 12\noom_kill 3\noom_group_kill 1\n");
    tree_write(V2 "/comfydd-7/cgroup.procs", "");
}

static void assert_it_works(struct cgroup_group *group, const char *procs) {
    struct cgroup_counts counts;
    assert_true(cgroup_group_counts(group, &counts));
    assert_int_equal(counts.kills, 3);
    assert_int_equal(counts.hits, 12);
    assert_int_equal(cgroup_group_usage(group), 3000);
    assert_int_equal(cgroup_group_peak(group), 9000);
    assert_int_equal(cgroup_group_enter(group), 0);
    assert_string_equal(content(procs), "0");
}

static void v1(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v1();
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 64 << 20), 0);
    assert_string_equal(content(V1 "/comfydd-7/memory.limit_in_bytes"), "67108864");
    assert_it_works(&group, V1 "/comfydd-7/cgroup.procs");
}

static void v2_with_the_controller(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v2("cpu memory pids\n", "memory\n");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 64 << 20), 0);
    assert_string_equal(content(V2 "/comfydd-7/memory.max"), "67108864");
    assert_string_equal(content(V2 "/comfydd-7/memory.oom.group"), "1");
    assert_string_equal(content(V2 "/cgroup.subtree_control"), "memory\n"); /* as it was */
    assert_it_works(&group, V2 "/comfydd-7/cgroup.procs");
}

static void limits_of_groups_below_are_not_ours(void **state) {
    (void)state;
    struct cgroup_group group;
    struct cgroup_counts counts;
    make_v2("memory\n", "memory\n");
    tree_write(V2 "/comfydd-7/memory.events.local", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 64 << 20), 0);
    assert_true(cgroup_group_counts(&group, &counts));
    assert_int_equal(counts.kills, 3);
    assert_int_equal(counts.hits, 0);
}

static void v2_turns_the_controller_on(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v2("cpu memory pids\n", "cpu\n");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 64 << 20), 0);
    assert_string_equal(content(V2 "/cgroup.subtree_control"), "+memory");
    assert_it_works(&group, V2 "/comfydd-7/cgroup.procs");
}

static void v2_without_the_controller(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v2("cpu pids\n", "\n");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 64 << 20), -ENOTSUP);
    assert_string_equal(content(V2 "/comfydd-7/memory.max"), "");
}

static void in_a_container_the_group_is_the_mount(void **state) {
    (void)state;
    struct cgroup_group group;
    struct cgroup_counts counts;
    tree_write("/proc/self/cgroup", "5:memory:/docker/c1\n");
    tree_write("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill 4\n");
    assert_true(cgroup_group_own(&group, tree_root()));
    assert_true(cgroup_group_counts(&group, &counts));
    assert_int_equal(counts.kills, 4);
    tree_write("/sys/fs/cgroup/memory/comfydd-7/memory.limit_in_bytes", "");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 4096), 0);
    assert_string_equal(content("/sys/fs/cgroup/memory/comfydd-7/memory.limit_in_bytes"), "4096");
}

static void only_a_group_of_our_making_is_killed_or_removed(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v1();
    assert_true(cgroup_group_own(&group, tree_root()));
    tree_write(V1 "/cgroup.procs", "2147483646\n");
    assert_false(cgroup_group_kill(&group));
    assert_int_equal(cgroup_group_remove(&group), 0);
    assert_string_equal(content(V1 "/cgroup.procs"), "2147483646\n");
}

static void what_is_left_goes_to_the_parent(void **state) {
    (void)state;
    struct cgroup_group group;
    make_v1();
    tree_write(V1 "/cgroup.procs", "");
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 4096), 0);
    tree_write(V1 "/comfydd-7/cgroup.procs", "2147483646\n");
    cgroup_group_remove(&group);
    assert_string_equal(content(V1 "/cgroup.procs"), "2147483646");
}

static void what_launchers_that_were_killed_have_left_is_removed(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool goes;
    } groups[] = {
        {"comfydd-9-2147483646", true},  {"comfydd-9-2147483646-launcher", true},
        {"comfydd-9-1", false},          {"comfydd-9-1-launcher", false},
        {"comfydd-8-2147483646", false}, {"comfydd-9-2147483646-other", false},
        {"comfydd-9-", false},           {"comfydd-9--2147483646", false},
        {"comfydd-9-0", false},          {"comfydd-9-2147483645/full", false},
        {"comfydd-9-2147483644", true},  {"comfydd-9-2147483644/comfydd-9-2147483643", true},
    };
    char path[512];
    make_v2("memory\n", "memory\n");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        snprintf(path, sizeof path, V2 "/%s/here", groups[i].name); /* makes the folders above it */
        tree_write(path, "");
        snprintf(path, sizeof path, "%s" V2 "/%s/here", tree_root(), groups[i].name);
        assert_int_equal(unlink(path), 0);
    }
    cgroup_group_remove_left(tree_root(), "comfydd-9-");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        snprintf(path, sizeof path, "%s" V2 "/%s", tree_root(), groups[i].name);
        if ((access(path, F_OK) == 0) == groups[i].goes) fail_msg("%s", groups[i].name);
    }
}

static void nothing_there(void **state) {
    (void)state;
    struct cgroup_group group;
    assert_false(cgroup_group_own(&group, tree_root()));
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 4096), -ENOTSUP);
    tree_write("/proc/self/cgroup", "0::/a.service\n");
    assert_false(cgroup_group_own(&group, tree_root()));
    assert_int_equal(cgroup_group_make(&group, tree_root(), "comfydd-7", 4096), -ENOTSUP);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(v1),
        IN_TREE(v2_with_the_controller),
        IN_TREE(limits_of_groups_below_are_not_ours),
        IN_TREE(v2_turns_the_controller_on),
        IN_TREE(v2_without_the_controller),
        IN_TREE(in_a_container_the_group_is_the_mount),
        IN_TREE(only_a_group_of_our_making_is_killed_or_removed),
        IN_TREE(what_is_left_goes_to_the_parent),
        IN_TREE(what_launchers_that_were_killed_have_left_is_removed),
        IN_TREE(nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
