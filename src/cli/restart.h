/* restart: whether a command is started again after it has ended, and after how long. Pure: no clock, no I/O. */
#ifndef COMFYDD_RESTART_H
#define COMFYDD_RESTART_H

#include "cli/verdict.h"

#include <stdbool.h>
#include <stdint.h>

enum restart_when {
    RESTART_AFTER_OOM,
    RESTART_AFTER_FAILURE,
    RESTART_NEVER
}; /* the words of COMFYDD_RESTART */

enum restart_decision {
    RESTART_NOT,
    RESTART_AGAIN,
    RESTART_GIVE_UP, /* it would be, but it has been too often */
};

struct restart {
    enum restart_when when;
    int64_t most;     /* in a row */
    int64_t in_a_row; /* so far; zero at first */
};

/* Decides, after a run of `ran_s` seconds; a command that was told to stop is not started again, whatever it ended of.
 * *wait_s: how long to wait before the start: 1 s, doubled with each restart in a row up to 60 s. A run of
 * RESTART_GOOD_RUN_S ends the row. */
enum restart_decision restart_decide(struct restart *restart, const struct verdict *verdict,
                                     bool told_to_stop, double ran_s, double *wait_s);

#define RESTART_GOOD_RUN_S 600

#endif
