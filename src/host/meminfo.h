/* meminfo: how much memory the host, the container and this process have left or use.
 *
 * Any thread; no allocation, no lock waited for: readers of a sample being renewed take the one before. */
#ifndef COMFYDD_MEMINFO_H
#define COMFYDD_MEMINFO_H

#include <stdint.h>

struct meminfo {
    uint64_t available_bytes; /* MemAvailable, or the cgroup's headroom when that is smaller; 0 when unknown */
    uint64_t rss_bytes;       /* resident set of this process; 0 when unknown */
};

/* A sample at most 10 ms old (mono_ns is the caller's clock_mono_ns()). Errors leave a field 0. errno is preserved. */
struct meminfo meminfo_sample(uint64_t mono_ns);

/* Forgets files and samples: in a forked child, before its first sample. */
void meminfo_reset(void);

#endif
