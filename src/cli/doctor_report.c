#include "cli/doctor_report.h"

#include <stdarg.h>
#include <stdio.h>

static unsigned problems;

void doctor_report(bool ok, const char *subject, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%-8s %s: ", ok ? "ok" : "problem", subject);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    problems += !ok;
}

unsigned doctor_report_problems(void) {
    return problems;
}
