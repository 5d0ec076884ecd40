/* file: reads a small file whole, without being seen.
 *
 * It goes to the kernel directly: the library's own hooks on open are not entered, no cancellation point is
 * passed, and no descriptor stays open. Any thread; no allocation; errno is preserved. */
#ifndef COMFYDD_FILE_H
#define COMFYDD_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads at most `capacity` - 1 bytes into `text` and terminates it (capacity is at least 1). Returns the
 * number of bytes, or -errno; then `text` is empty. A longer file is cut. */
ssize_t file_read(const char *path, char *text, size_t capacity);

#endif
