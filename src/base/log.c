#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool debug;
static bool holding;
static char held[4096];
static size_t held_size;

void log_set_debug(bool on) {
    __atomic_store_n(&debug, on, __ATOMIC_RELAXED);
}

static void write_line(const char *format, va_list arguments) {
    int saved_errno = errno;
    char line[1024] = "comfydd: ";
    size_t used = strlen(line);
    int wanted = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    if (wanted < 0) wanted = 0;
    used += (size_t)wanted < sizeof line - used - 1 ? (size_t)wanted : sizeof line - used - 2;
    line[used++] = '\n';
    if (__atomic_load_n(&holding, __ATOMIC_ACQUIRE)) {
        if (used <= sizeof held - held_size) {
            memcpy(held + held_size, line, used);
            held_size += used;
        }
        errno = saved_errno;
        return;
    }
    /* A full pipe or a closed stderr is the host's business, not ours: no retry. */
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
    errno = saved_errno;
}

void log_hold(void) {
    __atomic_store_n(&holding, true, __ATOMIC_RELEASE);
}

void log_release(void) {
    if (!__atomic_exchange_n(&holding, false, __ATOMIC_ACQ_REL) || held_size == 0) return;
    int saved_errno = errno;
    ssize_t ignored = write(STDERR_FILENO, held, held_size);
    (void)ignored;
    held_size = 0;
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
