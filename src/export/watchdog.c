#include "export/watchdog.h"

#include "base/clock.h"
#include "base/log.h"
#include "flight.h"
#include "trace/tags.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Between two looks no more than this counts: a process or a machine that was stopped has not hung. */
#define MOST_BETWEEN UINT64_C(5000000000)

union copied_slot {
    struct flight_slot slot;
    unsigned char bytes[FLIGHT_SLOT_SIZE];
};

/* ---- progress ---- */

/* Calls `each` for the open spans whose own work has begun; returns how many. */
static unsigned each_open(struct flight *flight, void (*each)(void *context, const struct flight_slot *slot),
                          void *context) {
    union copied_slot copy;
    unsigned count = 0;
    for (uint32_t i = 0; i < FLIGHT_SLOT_COUNT && flight_slots_taken(flight) > count; i++) {
        if (!flight_copy_slot(flight, i, &copy.slot) || copy.slot.span.waiting) continue;
        each(context, &copy.slot);
        count++;
    }
    return count;
}

static void add_id(void *sum, const struct flight_slot *slot) {
    *(uint64_t *)sum += slot->span.span_id;
}

/* A number that changes when a span begins or ends; 0 when none is open. */
static uint64_t state_of(struct flight *flight) {
    uint64_t state = flight_counts(flight).recorded;
    return each_open(flight, add_id, &state) ? state : 0;
}

/* ---- log lines ---- */

struct description {
    char prompt[256], node[256], class_type[256];
};

static void copy_text(char *to, size_t room, const struct flight_slot *slot, enum tag key) {
    struct flight_tag tag;
    const void *value;
    for (size_t offset = 0; flight_tag_next(slot + 1, slot->span.tags_size, &offset, &tag, &value);)
        if (tag.key == key && tag.type == FLIGHT_TEXT)
            snprintf(to, room, "%.*s", (int)tag.size, (const char *)value);
}

static void describe(void *context, const struct flight_slot *slot) {
    struct description *text = context;
    copy_text(text->prompt, sizeof text->prompt, slot, TAG_PROMPT_ID);
    copy_text(text->node, sizeof text->node, slot, TAG_NODE_ID);
    copy_text(text->class_type, sizeof text->class_type, slot, TAG_NODE_CLASS_TYPE);
}

static void say_stalled(struct flight *flight, uint64_t quiet_ns) {
    struct description text = {0};
    each_open(flight, describe, &text);
    log_line("watchdog: no node has begun or ended for %.0f s; workflow %s is running%s%s%s%s",
             (double)quiet_ns / 1e9, text.prompt, *text.node ? ", in node " : "", text.node,
             *text.class_type ? ", " : "", text.class_type);
}

/* ---- looking ---- */

static void look_for_progress(struct watchdog *watchdog, struct flight *flight, uint64_t now) {
    uint64_t state = state_of(flight), since_last = now - watchdog->looked_ns;
    bool is_same = state && state == watchdog->seen;
    watchdog->seen = state;
    watchdog->quiet_ns += since_last < MOST_BETWEEN ? since_last : MOST_BETWEEN;
    if (!is_same) watchdog->quiet_ns = 0;
    if (!is_same && watchdog->has_stalled) {
        flight_note_stall(flight, 0, 0);
        watchdog->has_stalled = false;
        log_line("watchdog: the workflow goes on");
    }
    if (watchdog->quiet_ns < watchdog->limit_ns || watchdog->has_stalled) return;
    uint64_t wall = clock_wall_ns();
    flight_note_stall(flight, wall - watchdog->quiet_ns, wall);
    watchdog->has_stalled = true;
    say_stalled(flight, watchdog->quiet_ns);
}

static bool is_gone(int32_t thread) {
    return syscall(SYS_tgkill, getpid(), thread, 0) != 0 && errno == ESRCH;
}

static void look_for_worker(struct flight *flight) {
    int32_t thread = flight_raised(flight);
    if (!thread || flight_is_worker_gone(flight) || !is_gone(thread)) return;
    flight_note_worker_gone(flight);
    log_line(
        "watchdog: ComfyUI's worker thread has ended, after an exception that its executor does not catch; "
        "the server takes prompts, but none will run until it is started again");
}

bool watchdog_waits(const struct watchdog *watchdog, const struct flight *flight) {
    if (!watchdog->limit_ns) return false;
    return watchdog->has_stalled || (flight_raised(flight) && !flight_is_worker_gone(flight));
}

void watchdog_look(struct watchdog *watchdog, struct flight *flight, uint64_t now_mono_ns) {
    if (!watchdog->limit_ns) return;
    look_for_progress(watchdog, flight, now_mono_ns);
    watchdog->looked_ns = now_mono_ns;
    look_for_worker(flight);
}
