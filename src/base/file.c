#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t file_read(const char *path, char *text, size_t capacity) {
    int saved_errno = errno;
    size_t used = 0;
    int error = 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0) error = errno;
    while (fd >= 0 && used < capacity - 1) {
        long got = syscall(SYS_read, fd, text + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) error = errno;
        if (got <= 0) break;
        used += (size_t)got;
    }
    if (fd >= 0) syscall(SYS_close, fd);
    text[error ? 0 : used] = '\0';
    errno = saved_errno;
    return error ? -error : (ssize_t)used;
}

bool file_number(const char *text, const char *name, uint64_t *value) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, name, length) != 0) continue;
        const char *digit = line + length;
        while (*digit == ' ' || *digit == '\t')
            digit++;
        /* The name must end there, and digits begin. */
        if ((digit == line + length && length > 0) || *digit < '0' || *digit > '9') continue;
        *value = 0;
        for (; *digit >= '0' && *digit <= '9'; digit++)
            *value = *value * 10 + (uint64_t)(*digit - '0');
        return true;
    }
    return false;
}
