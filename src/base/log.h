/* log: the library's few lines on stderr.
 *
 * Every line starts with "comfydd: ", is at most 1,023 bytes long and is written with one write(2), so lines of several
 * threads never mix. Control characters, which could make a line look like two, become question marks. A line that stderr
 * does not take within a second is lost. Any thread may call; nothing allocates, errno is preserved. Text must never
 * contain prompt contents, keys or tags a user could have put secrets into. */
#ifndef COMFYDD_LOG_H
#define COMFYDD_LOG_H

#include <stdbool.h>

/* Whether lines are left out. For a program that was started without stderr: they would go into whatever it has opened under
 * that number. */
void log_set_silent(bool on);

/* Whether log_debug prints (DD_TRACE_DEBUG). Off until set. */
void log_set_debug(bool on);

/* Lines go to `sink`, without prefix and end, instead of stderr; NULL: to stderr again. For a program that has a page of its
 * own to write (comfydd doctor); one thread. */
void log_divert(void (*sink)(const char *line));

/* A line for the operator: only for what he should know or act on. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line for the developer; nothing unless debugging is on. */
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What lines are freed of control characters with: for other things that are printed. */
void log_clean(char *text);

/* log_line, once per call site and process. */
#define log_once(...)                                                                                        \
    do {                                                                                                     \
        static bool said;                                                                                    \
        if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) log_line(__VA_ARGS__);                      \
    } while (0)

#endif
