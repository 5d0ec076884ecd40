/* watchdog: notices, in the exporter's thread, that ComfyUI has stopped working although its process lives
 * (COMFYDD_WATCHDOG).
 *
 * Two things are noticed, each with a log line and a note in flight memory, which `comfydd run` reads:
 *   - no progress: spans are open, and none has begun or ended in the whole process for the given time. The open ones are
 *     marked, and are sent with an event "stalled" and the tag watchdog.stalled_after_ms.
 *   - the worker is gone: an exception has left the executor (one that it does not catch: a SystemExit, another
 *     BaseException, an error of the executor itself), and the thread in which that happened has ended. ComfyUI's server
 *     goes on taking prompts, and none is executed.
 * Nothing of Python is touched: an interpreter that hangs with its GIL held is noticed too. One thread. */
#ifndef COMFYDD_WATCHDOG_H
#define COMFYDD_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct flight;

/* Zero-initialised but for limit_ns is a beginning. */
struct watchdog {
    uint64_t limit_ns;  /* of a time without progress; 0: nothing is watched */
    uint64_t seen;      /* what was open and had ended at the last look */
    uint64_t looked_ns; /* the last look; clock_mono_ns */
    uint64_t quiet_ns;  /* since the last progress */
    bool has_stalled;
};

/* Whether watchdog_look must be called though no span is open: a worker may be about to end, or something is to be taken
 * back. */
bool watchdog_waits(const struct watchdog *watchdog, const struct flight *flight);

/* Looks; to be called about every second while spans are open or it waits. */
void watchdog_look(struct watchdog *watchdog, struct flight *flight, uint64_t now_mono_ns);

#endif
