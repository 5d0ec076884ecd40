#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool debug;

void log_set_debug(bool on) {
    __atomic_store_n(&debug, on, __ATOMIC_RELAXED);
}

static void (*diverted)(const char *line);

void log_divert(void (*sink)(const char *line)) {
    diverted = sink;
}

static void write_line(const char *format, va_list arguments) {
    int saved_errno = errno;
    char line[1024] = "comfydd: ";
    size_t used = strlen(line);
    int wanted = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    if (wanted < 0) wanted = 0;
    if (diverted) {
        diverted(line + used);
        return;
    }
    used += (size_t)wanted < sizeof line - used - 1 ? (size_t)wanted : sizeof line - used - 2;
    line[used++] = '\n';
    /* A full pipe or a closed stderr is the host's business, not ours: no retry. */
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
    errno = saved_errno;
}

void log_line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

void log_debug(const char *format, ...) {
    if (!__atomic_load_n(&debug, __ATOMIC_RELAXED)) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}
