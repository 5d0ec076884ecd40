/* flight_files: where flight memories live so that they outlast their process, and who may take over those of the dead.
 *
 * A traced process keeps its flight memory in a file of mode 0600 in /dev/shm, named comfydd-UID-PID-START: START is field 22 of
 * /proc/PID/stat, so that a reused pid is not taken for the same process. Whoever survives (its supervisor, else the next
 * traced process of the same user on this machine) claims the file with a lock, sends what is in it (export/recover) and removes it.
 * One process claims a file at a time, and a file is removed by who has claimed it, or by its own process at its end.
 *
 * Under a supervisor (comfydd run) files carry its identity in their header, and only that supervisor claims them as long as
 * it lives. Nothing is ever followed through a link, nothing of another user is touched, no name is trusted: what is in a
 * file is checked by flight_view. Async-signal-safe: no function here but flight_files_open in a forked child. */
#ifndef COMFYDD_FLIGHT_FILES_H
#define COMFYDD_FLIGHT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A process, told from a later one with the same pid. */
struct process_identity {
    int32_t pid;
    uint64_t start_ticks; /* field 22 of /proc/PID/stat */
};

/* Creates this process's file: a descriptor (close-on-exec), and its path; -errno when the folder refuses. */
int flight_files_create(char *path, size_t room);

/* Removes this process's file (the mapping stays). */
void flight_files_remove(void);

/* The next orphan: a file of this user whose process is dead, and whose supervisor, if it has one, is `me` or dead. Claims it:
 * a locked descriptor, and its path; -ENOENT when there is none. Close the descriptor to let go of it, unlink the path first
 * when it is done with. */
int flight_files_claim(const struct process_identity *me, char *path, size_t room);

#endif
