/* hang: what the library's watchdog (export/watchdog.h) has found in the traced processes below a supervisor. */
#ifndef COMFYDD_HANG_H
#define COMFYDD_HANG_H

#include "cli/verdict.h"

struct process_identity;

/* Looks into the flight memories of living processes in `folder`, without stopping them. Not while one of them is claimed. */
enum verdict_watchdog hang_found(const char *folder, const struct process_identity *supervisor);

#endif
