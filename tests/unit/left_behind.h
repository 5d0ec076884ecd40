/* left_behind: files of flight memories that somebody has left, in a folder of a test's own. */
#ifndef COMFYDD_LEFT_BEHIND_H
#define COMFYDD_LEFT_BEHIND_H

#include "base/process.h"
#include "comfydd/flight.h"

enum { LEFT_SIZE = 8192 }; /* bytes of each */

/* Where the functions below work; borrowed. */
void left_in(const char *folder);

/* This process's pid was his before. */
struct process_identity left_somebody_dead(void);

/* That of a memory which holds nothing. */
struct flight_header left_header(struct process_identity process);

/* The path of a process's file; valid until the next call. */
const char *left_name(struct process_identity process, unsigned number);

/* Makes a file there, which nobody has; without a header when that is NULL. */
void left_make(const char *path, const struct flight_header *header);

#endif
