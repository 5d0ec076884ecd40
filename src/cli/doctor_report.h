/* doctor_report: the page that `comfydd doctor` writes: a line for each thing that was looked at. */
#ifndef COMFYDD_DOCTOR_REPORT_H
#define COMFYDD_DOCTOR_REPORT_H

#include <stdbool.h>

/* A line on stdout: "ok" or "problem", the subject, and what there is to say; of a problem, what to do. */
void doctor_report(bool ok, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How many problems there were. */
unsigned doctor_report_problems(void);

#endif
