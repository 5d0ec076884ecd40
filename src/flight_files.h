/* flight_files: where flight memories live so that they outlast their process, and who may take over those of the dead.
 *
 * A traced process keeps its flight memory in a file of mode 0600 in a folder in memory (COMFYDD_FLIGHT_FOLDER), named
 * comfydd-UID-PID-START-N: START is field 22 of /proc/PID/stat, so that a reused pid is not taken for the same process; N
 * counts the programs that the process has become (execv), and a new one notes in the files of earlier ones that they are
 * such. As long as it lives it holds a lock on the file, which children do not inherit and which does not survive execv.
 * Whoever comes next (its supervisor, else the next traced process of the same user on this machine) claims the file with
 * that lock, sends what is in it (export/recover) and removes it. One process claims a file at a time, and a file is
 * removed by who has claimed it, or by its own process at its end.
 *
 * Under a supervisor (comfydd run) files carry its identity in their header, and only that supervisor claims them as long as
 * it lives. Nothing is ever followed through a link, nothing of another user is touched (but see flight_files_trust), no
 * name is trusted, and no file of somebody else is mapped: it could shrink. One thread at a time. */
#ifndef COMFYDD_FLIGHT_FILES_H
#define COMFYDD_FLIGHT_FILES_H

#include "base/process.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Creates this process's file with `size` bytes, all of them reserved, and locks it: a descriptor to map, which stays open
 * for the lock and is not the caller's to close. Or -errno when the folder refuses, or has little room. */
int flight_files_create(const char *folder, size_t size);

/* Removes this process's file, if it has one; the mapping stays. Not what a parent has created. */
void flight_files_remove(void);

/* Whether it has one. */
bool flight_files_has_own(void);

/* From here on files of other users are ours too when they have this secret in their header: root's supervisor has a command
 * that went on as somebody else, and told nobody but that of it. 0: none. */
void flight_files_trust(uint64_t secret);

/* Claims the file at `path`, in whatever folder, if it is an orphan: a flight memory of this user whose process is dead, and
 * whose supervisor, if it has one, is `me` or dead. A process that has become another program (execv) is dead to the new
 * one, whatever its supervisor, and to all once that has noted it (header.replaced). Returns a descriptor; closing it lets
 * go of the file. Who is done with the file unlinks it before that. Or -errno:
 * -EBUSY when its process or its supervisor lives or somebody else has claimed it, -ELOOP for a link, -EPERM for what is
 * no plain file of mode 0600 of ours, -EINVAL for what is no flight memory. */
int flight_files_claim(const char *path, const struct process_identity *me);

/* Claims each orphan in the folder in turn and calls `each` with it, until that returns false; the descriptor is not the
 * callee's to close. With `tidy`, what holds nothing and what is older than a day is removed on the way; without, nothing
 * is. 0, or -errno when the folder cannot be read. */
int flight_files_orphans(const char *folder, const struct process_identity *me, bool tidy,
                         bool (*each)(void *context, int file, const char *path), void *context);

/* Removes the oldest orphans until there is room for one more beside the others, and they are fewer than 16: for an agent
 * that is away for long. Before a file is created; a supervisor does so when it has dealt with a death. */
void flight_files_make_room(const char *folder, const struct process_identity *me);

/* Calls `each` with a descriptor for reading, the callee's to close, of every file whose process, dead or alive, has this
 * supervisor. 0, or -errno when the folder cannot be read. Not while the caller has claimed one of them: to close another
 * descriptor of the same file would end the lock. */
int flight_files_supervised(const char *folder, const struct process_identity *supervisor,
                            void (*each)(void *context, int fd), void *context);

#endif
