/* spool: a queue of lines on disk, first in, first out, that survives the death of its process at any moment.
 *
 * A file of mode 0600 with a line of JSON for each entry, in the order in which they came: {"done":0,"event":{...}}. An entry
 * is on disk (fsync) when spool_append returns. Taking the first one out turns its 0 into a 1, one byte in place; when no
 * entry is left the file is emptied. A last line that was torn by a kill is cut off: its append never returned. What is in
 * the file otherwise and is no entry of ours is passed over.
 *
 * The file is locked: one process at a time. Errors are -errno. One thread at a time. */
#ifndef COMFYDD_SPOOL_H
#define COMFYDD_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct spool;

#define SPOOL_MOST (64u << 20) /* bytes; a spool of that size takes no more (-ENOSPC) */

/* Opens the file, or makes it; it is locked until spool_close. NULL, with the reason in *error: -EWOULDBLOCK when
 * another process has it, -EPERM when it is not a plain file of our own. */
struct spool *spool_open(const char *path, int *error);

/* Adds an entry: one JSON object, without line ends. When it fails the file is as before. */
int spool_append(struct spool *spool, const char *object, size_t size);

/* The path that it was opened under; as long as it is open. */
const char *spool_path(const struct spool *spool);

bool spool_empty(const struct spool *spool);

/* How many entries there are; those before one that cannot be read. */
unsigned spool_count(const struct spool *spool);

/* The first entry's object, terminated, in `object`. -ENOENT when there is none. */
int spool_first(struct spool *spool, struct buf *object);

/* Takes the first entry out. The entry is gone for this process even if the file cannot be changed. */
int spool_done(struct spool *spool);

/* Closes; entries stay in the file. NULL is fine. */
void spool_close(struct spool *spool);

#endif
