/* manual: what `comfydd run` does, for people, once: for --help, and as the manual page. */
#ifndef COMFYDD_MANUAL_H
#define COMFYDD_MANUAL_H

#include <stdio.h>

struct setting;

/* The text of one option for --help: its meaning, default and variable. Owned by the caller. Dies without memory. */
char *manual_of_option(const struct setting *row);

/* The text around the options for --help, in argp's form: \v stands where the options go. Likewise. */
char *manual_of_run(void);

/* Prints the manual page comfydd(1), as troff. */
void manual_print(FILE *out);

#endif
