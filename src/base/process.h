/* process: who a process is, told from a later one with the same pid. Any thread; no allocation; errno is preserved. */
#ifndef COMFYDD_PROCESS_H
#define COMFYDD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process_identity {
    int32_t pid;          /* 0: nobody */
    uint64_t start_ticks; /* field 22 of /proc/PID/stat; 0 when unknown */
};

#define PROCESS_BOOT_ID_SIZE 40

/* This process; and whether a process still runs. One that has ended and only waits for its parent does not. */
struct process_identity process_self(void);
bool process_runs(const struct process_identity *process);

bool process_is(const struct process_identity *one, const struct process_identity *other);

/* "PID.START" or "PID.START.SECRET", as COMFYDD_SUPERVISOR has it; *secret: 0 without one. */
bool process_parse(const char *text, struct process_identity *process, uint64_t *secret);

/* State (one letter) and start time from the text of /proc/PID/stat; false when it has not so many fields. */
bool process_parse_stat(const char *stat, char *state, uint64_t *start_ticks);

/* The kernel's number of this boot; empty when unknown. */
void process_boot_id(char text[PROCESS_BOOT_ID_SIZE]);

#endif
