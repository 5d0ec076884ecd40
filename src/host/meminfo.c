#include "host/meminfo.h"

#include "base/each_node.h"
#include "base/file.h"
#include "host/cgroup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RSS_AGE_NS UINT64_C(10000000)
/* /proc/meminfo, with the control group's files, is most of what a sample costs, and what others do is in it. */
#define AVAILABLE_AGE_NS UINT64_C(50000000)
#define LIMITS_AGE_NS    UINT64_C(5000000000)

/* A sample is renewed ahead of its time, with room for a late wake-up. */
#define AHEAD_AGE_NS        UINT64_C(8000000)
#define QUICK_SUCCESSION_NS UINT64_C(25000000)

/* The last sample. The two figures are independent of each other, so a reader that gets one from this sample and one
 * from the next (at least 8 ms later) has lost nothing: no sequence lock is needed. */
EACH_NODE static _Atomic uint64_t sampled_at; /* 0: never */
EACH_NODE static _Atomic uint64_t available_bytes, rss_bytes;
EACH_NODE static _Atomic uint64_t asked_at; /* 0: never */
static void (*wake_refresher)(void);

/* Whoever sets it renews the sample, and alone touches what follows. */
static atomic_bool renewing;
static uint64_t available_at; /* 0: never */
static struct cgroup limits;
static uint64_t limits_found_at; /* 0: never */

/* Names are put together for tests only: printing a path costs as much as all the rest here. */
static ssize_t read_below(const char *root, const char *name, char *text, size_t size) {
    if (!*root) return file_read(name, text, size);
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    return file_read(path, text, size);
}

static uint64_t available(const char *root, const struct cgroup *cgroup) {
    char text[8192];
    uint64_t kibibytes;
    if (read_below(root, "/proc/meminfo", text, sizeof text) <= 0 ||
        !file_number(text, "MemAvailable:", &kibibytes))
        return 0;
    uint64_t headroom = cgroup_headroom(cgroup);
    return kibibytes * 1024 < headroom ? kibibytes * 1024 : headroom;
}

/* "size resident shared text lib data dt", in pages */
static uint64_t resident(const char *root) {
    char text[256];
    uint64_t pages;
    if (read_below(root, "/proc/self/statm", text, sizeof text) <= 0 ||
        !file_number(text + strcspn(text, " "), "", &pages))
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct meminfo meminfo_read(const char *root, const struct cgroup *cgroup) {
    return (struct meminfo){.available_bytes = available(root, cgroup), .rss_bytes = resident(root)};
}

static bool is_older(uint64_t at, uint64_t age_ns, uint64_t mono_ns) {
    return at == 0 || (mono_ns > at && mono_ns - at > age_ns);
}

static __attribute__((cold)) void read_files(uint64_t mono_ns) {
    if (is_older(limits_found_at, LIMITS_AGE_NS, mono_ns)) {
        cgroup_find(&limits, "");
        limits_found_at = mono_ns;
    }
    if (is_older(available_at, AVAILABLE_AGE_NS, mono_ns)) {
        atomic_store_explicit(&available_bytes, available("", &limits), memory_order_relaxed);
        available_at = mono_ns;
    }
    atomic_store_explicit(&rss_bytes, resident(""), memory_order_relaxed);
    atomic_store_explicit(&sampled_at, mono_ns, memory_order_release);
}

/* False: the sample is young enough, or another thread is at it. */
static bool renew(uint64_t mono_ns, uint64_t age_ns) {
    uint64_t at = atomic_load_explicit(&sampled_at, memory_order_acquire);
    if (!is_older(at, age_ns, mono_ns) || atomic_exchange_explicit(&renewing, true, memory_order_acquire))
        return false;
    read_files(mono_ns);
    atomic_store_explicit(&renewing, false, memory_order_release);
    return true;
}

void meminfo_on_demand(void (*wake)(void)) {
    wake_refresher = wake;
}

uint64_t meminfo_refresh(uint64_t mono_ns) {
    if (is_older(atomic_load_explicit(&asked_at, memory_order_relaxed), QUICK_SUCCESSION_NS, mono_ns))
        return UINT64_MAX;
    renew(mono_ns, AHEAD_AGE_NS);
    uint64_t due = atomic_load_explicit(&sampled_at, memory_order_relaxed) + AHEAD_AGE_NS + 1;
    return due > mono_ns ? due : mono_ns + AHEAD_AGE_NS; /* it is being renewed */
}

struct meminfo meminfo_sample(uint64_t mono_ns) {
    uint64_t before = atomic_load_explicit(&asked_at, memory_order_relaxed);
    atomic_store_explicit(&asked_at, mono_ns, memory_order_relaxed); /* of several askers any will do */
    bool quick = !is_older(before, QUICK_SUCCESSION_NS, mono_ns);
    if (renew(mono_ns, RSS_AGE_NS) && quick && wake_refresher) wake_refresher();
    return (struct meminfo){
        .available_bytes = atomic_load_explicit(&available_bytes, memory_order_relaxed),
        .rss_bytes = atomic_load_explicit(&rss_bytes, memory_order_relaxed),
    };
}

void meminfo_reset(void) {
    sampled_at = 0;
    asked_at = 0;
    available_bytes = 0;
    rss_bytes = 0;
    limits_found_at = 0;
    available_at = 0;
    renewing = false;
}
