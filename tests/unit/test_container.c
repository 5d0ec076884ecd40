#include "host/container.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID   "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"
#define UUID "6f265890-5165-7fab-6b52-18d1c7a2a3b4"
#define TASK "34dc0b5e626f2c5c4c5170e34b10e765-1234567890"

static struct container detect(const char *cgroup) {
    struct container container;
    if (cgroup) tree_write("/proc/self/cgroup", cgroup);
    container_detect(&container, tree_root());
    return container;
}

static void a_container_id_ends_a_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        /* docker, v1 */
        {"13:name=systemd:/docker/" ID "\n12:pids:/docker/" ID "\n", ID},
        /* docker under systemd */
        {"12:rdma:/\n11:memory:/system.slice/docker-" ID ".scope\n0::/system.slice/docker-" ID ".scope\n",
         ID},
        /* docker, v2, the host's cgroup namespace */
        {"0::/system.slice/docker-" ID ".scope", ID},
        /* kubernetes */
        {"11:perf_event:/kubepods/besteffort/pod3d274242-8ee0-11e9-a8a6-1e68d864ef1a/" ID "\n", ID},
        {"1:name=systemd:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-"
         "pod2d3da189_6407_48e3_9ab6_78188d75e609.slice/cri-containerd-" ID ".scope\n",
         ID},
        /* ECS, and ECS on Fargate before and after 1.4 */
        {"9:perf_event:/ecs/haissam-ecs-classic/5a0d5ceddf6c44c1928d367a815d890f/" ID "\n", ID},
        {"11:hugetlb:/ecs/55091c13-b8cf-4801-b527-f4601742204d/" ID "\n", ID},
        {"1:name=systemd:/ecs/34dc0b5e626f2c5c4c5170e34b10e765/" TASK "\n", TASK},
        /* Cloud Foundry */
        {"1:name=systemd:/system.slice/garden.service/garden/" UUID "\n", UUID},
        /* lines before it without an id */
        {"nonsense\n\n12:rdma:/\n3:cpu:/user.slice\n2:pids:/docker/" ID "\n", ID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct container container = detect(cases[i][0]);
        char entity[80];
        snprintf(entity, sizeof entity, "ci-%s", cases[i][1]);
        assert_string_equal(container.container_id, cases[i][1]);
        assert_string_equal(container.entity_id, entity);
    }
}

static void other_paths_hold_no_id(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        "0::/\n",
        "0::/user.slice/user-1000.slice/session-2.scope\n",
        "0::/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f86986\n",  /* 63 digits */
        "0::/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f86986X\n", /* no digit */
        "0::/ecs/34dc0b5e626f2c5c4c5170e34b10e765-\n",
        "0::/ecs/4dc0b5e626f2c5c4c5170e34b10e765-12\n",
        "0::/ecs/34dc0b5e626f2c5c4c5170e34b10e765-12345678901234567890123456789012345678901234567890\n",
        "0::/garden/6f265890-5165-7fab-6b52-18d1c7a2a3b\n",
        "0::/.scope\n",
        ID "\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct container container = detect(cases[i]);
        assert_string_equal(container.container_id, "");
        assert_string_equal(container.entity_id, "");
    }
}

static void name_the_namespace(const char *target) {
    char path[256];
    tree_write("/proc/self/ns/other", "");
    snprintf(path, sizeof path, "%s/proc/self/ns/cgroup", tree_root());
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
}

static void assert_inode_of(const struct container *container, const char *directory) {
    char path[256], expected[80];
    struct stat info;
    snprintf(path, sizeof path, "%s%s", tree_root(), directory);
    assert_int_equal(stat(path, &info), 0);
    snprintf(expected, sizeof expected, "in-%llu", (unsigned long long)info.st_ino);
    assert_string_equal(container->entity_id, expected);
    assert_string_equal(container->container_id, "");
}

static void in_a_namespace_of_its_own_the_cgroups_inode_tells(void **state) {
    (void)state;
    name_the_namespace("cgroup:[4026532570]");
    tree_write("/sys/fs/cgroup/memory.max", "max\n");
    tree_write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1\n");
    struct container container = detect("0::/\n");
    assert_inode_of(&container, "/sys/fs/cgroup");
    container = detect("5:memory:/\n0::/\n");
    assert_inode_of(&container, "/sys/fs/cgroup/memory");
    container = detect("0::/docker/" ID "\n");
    assert_string_equal(container.entity_id, "ci-" ID);
}

static void in_the_hosts_namespace_it_does_not(void **state) {
    (void)state;
    tree_write("/sys/fs/cgroup/memory.max", "max\n");
    name_the_namespace("cgroup:[4026531835]");
    assert_string_equal(detect("0::/\n").entity_id, "");
}

static void without_files_nothing_is_known(void **state) {
    (void)state;
    errno = 77;
    struct container container = detect(NULL);
    assert_string_equal(container.entity_id, "");
    assert_string_equal(container.container_id, "");
    assert_int_equal(errno, 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(a_container_id_ends_a_line),
        IN_TREE(other_paths_hold_no_id),
        IN_TREE(in_a_namespace_of_its_own_the_cgroups_inode_tells),
        IN_TREE(in_the_hosts_namespace_it_does_not),
        IN_TREE(without_files_nothing_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
