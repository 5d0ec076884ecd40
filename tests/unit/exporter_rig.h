/* exporter_rig: everything that one test of the exporter needs: a configuration, an agent, flight memory, and what was
 * said on stderr. exporter_rig_setup and exporter_rig_teardown go around each test, whose state is the rig. */
#ifndef COMFYDD_EXPORTER_RIG_H
#define COMFYDD_EXPORTER_RIG_H

#include "config.h"
#include "fake_agent.h"
#include "flight.h"

#include <stdio.h>

struct rig {
    struct config config;    /* may be changed before rig_start */
    struct fake_agent agent; /* up from the beginning */
    struct flight *flight;   /* from rig_start on */
    /* private */
    char url[160];
    bool agent_is_up;
    FILE *log; /* stands for stderr meanwhile */
    int stderr_fd;
};

int rig_setup(void **state);
int rig_teardown(void **state);

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

/* Starts the exporter over new flight memory; stops it (done by the teardown otherwise). */
void rig_start(struct rig *rig);
void rig_stop(struct rig *rig);

/* The agent goes away, and a new one, empty, comes at the same address. */
void rig_agent_leaves(struct rig *rig);
void rig_agent_returns(struct rig *rig);

/* How many lines with `text` were said. */
int rig_lines(struct rig *rig, const char *text);

/* A kept trace with the workflow `root`. */
struct flight_trace rig_trace(uint64_t root);

/* Finishes nodes of the workflow `root`, with ids from `first` on; and the workflow itself. */
void rig_nodes(uint64_t root, uint64_t first, int count);
void rig_workflow(uint64_t root);

/* Flushes, which must succeed. */
void rig_flush(void);

void rig_assert_counts(const struct rig *rig, uint64_t recorded, uint64_t sent, uint64_t dropped);

/* A copy of what the agent received so far. */
const struct fake_agent_seen *rig_seen(struct rig *rig);

#endif
