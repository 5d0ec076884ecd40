/* meminfo: how much memory the host, the container and this process have left or use.
 *
 * Any thread; no allocation, no lock waited for: readers of a sample being renewed take the one before. No descriptor
 * stays open between samples: the host could see or close it. */
#ifndef COMFYDD_MEMINFO_H
#define COMFYDD_MEMINFO_H

#include <stdint.h>

struct cgroup;

struct meminfo {
    /* MemAvailable, or the cgroup's headroom when that is smaller; 0 when unknown. */
    uint64_t available_bytes;
    uint64_t rss_bytes; /* resident set of this process; 0 when unknown */
};

/* A sample: rss_bytes at most 10 ms old (mono_ns is the caller's clock_mono_ns()), available_bytes 50 ms. Errors leave a
 * field 0. errno is preserved. Which cgroup it is may be known from up to 5 s ago. */
struct meminfo meminfo_sample(uint64_t mono_ns);

/* For nodes that take less than a sample does, a thread of ours takes the samples while they are asked for in quick
 * succession, so that the program's thread finds a young one.
 *
 * meminfo_on_demand: `wake` (NULL: nobody) is called by meminfo_sample on the thread that asks, when it had to take a
 * sample although the one before was asked for less than 25 ms ago. Set it before samples are asked for.
 * meminfo_refresh: takes a sample if the last is 8 ms old. Returns when to call again, in clock_mono_ns; UINT64_MAX when
 * nobody has asked for 25 ms. */
void meminfo_on_demand(void (*wake)(void));
uint64_t meminfo_refresh(uint64_t mono_ns);

/* Reads the files now, below `root` ("" for the real ones; tests pass a folder). */
struct meminfo meminfo_read(const char *root, const struct cgroup *cgroup);

/* Forgets files and samples: in a forked child, before its first sample. */
void meminfo_reset(void);

#endif
