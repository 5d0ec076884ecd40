/* Lets a program under callgrind say which part of it counts. Outside of valgrind these functions do nothing. */
#include <valgrind/callgrind.h>

void meter_begin(void);
void meter_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/* Writes the count since meter_begin under this name, and stops counting. */
void meter_end(const char *name);
void meter_end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
