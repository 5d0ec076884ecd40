#include "cli/restart.h"

static bool is_wanted(enum restart_when when, enum verdict_kind kind) {
    switch (kind) {
    case VERDICT_MEMORY:
    case VERDICT_HUNG:      /* the watchdog ends it for that */
    case VERDICT_UNSTARTED: /* a restart was wanted */
        return when != RESTART_NEVER;
    case VERDICT_FAILURE:
    case VERDICT_CRASH:
    case VERDICT_KILLED:
        return when == RESTART_AFTER_FAILURE;
    case VERDICT_SUCCESS:
    case VERDICT_STOPPED:
    case VERDICT_RESTART: /* by whom it asked */
        break;
    }
    return false;
}

enum restart_decision restart_decide(struct restart *restart, const struct verdict *verdict,
                                     bool told_to_stop, double ran_s, double *wait_s) {
    if (told_to_stop || !is_wanted(restart->when, verdict->kind)) return RESTART_NOT;
    if (ran_s >= RESTART_GOOD_RUN_S) restart->in_a_row = 0;
    if (restart->in_a_row >= restart->most) return RESTART_GIVE_UP;
    *wait_s = restart->in_a_row < 6 ? (double)(1 << restart->in_a_row) : 60;
    restart->in_a_row++;
    return RESTART_AGAIN;
}
