#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 1000

static bool debug;
static bool silent;

void log_set_debug(bool on) {
    __atomic_store_n(&debug, on, __ATOMIC_RELAXED);
}

void log_set_silent(bool on) {
    __atomic_store_n(&silent, on, __ATOMIC_RELAXED);
}

static void (*diverted)(const char *line);

void log_divert(void (*sink)(const char *line)) {
    diverted = sink;
}

void log_clean(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}

/* Whether stderr takes a line: a pipe that nobody empties, or a terminal that has been halted, would hold us up for ever. */
static bool has_room(void) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    int found = poll(&ready, 1, PATIENCE_MS);
    return found > 0 || (found < 0 && errno != EINTR);
}

static void write_line(const char *format, va_list arguments) {
    int saved_errno = errno;
    char line[1024] = "comfydd: ";
    size_t used = strlen(line);
    int wanted = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    if (wanted < 0) wanted = 0;
    log_clean(line + used);
    if (diverted) {
        diverted(line + used);
        errno = saved_errno;
        return;
    }
    used += (size_t)wanted < sizeof line - used - 1 ? (size_t)wanted : sizeof line - used - 2;
    line[used++] = '\n';
    if (!__atomic_load_n(&silent, __ATOMIC_RELAXED) && has_room()) {
        ssize_t ignored = write(STDERR_FILENO, line, used);
        (void)ignored;
    }
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
