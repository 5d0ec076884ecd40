/* file: reads a small file whole, without being seen.
 *
 * It goes to the kernel directly: the library's own hooks on open are not entered, no cancellation point is
 * passed, and no descriptor stays open. Any thread; no allocation; errno is preserved. */
#ifndef COMFYDD_FILE_H
#define COMFYDD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads at most `capacity` - 1 bytes into `text` and terminates it (capacity is at least 1). Returns the
 * number of bytes, or -errno; then `text` is empty. A longer file is cut. */
ssize_t file_read(const char *path, char *text, size_t capacity);

/* The decimal number after `name` and blanks at the beginning of a line, as files of /proc and cgroups have it;
 * an empty name for files of one number. False when there is none. */
bool file_number(const char *text, const char *name, uint64_t *value);

#endif
