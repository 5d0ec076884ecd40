/* manual: what the subcommands do, for people, once: for --help, and as the manual page. */
#ifndef COMFYDD_MANUAL_H
#define COMFYDD_MANUAL_H

#include <stdio.h>

struct setting;

/* The text of one option for --help: its meaning, default and variable. Owned by the caller. Dies without memory. */
char *manual_of_option(const struct setting *row);

/* The text around the options for --help, in argp's form: \v stands where the options go. Likewise. */
char *manual_of_run(void);

/* The text of another subcommand for --help. Likewise. */
char *manual_of_command(const char *name);

/* Prints the manual page comfydd(1), as troff. */
void manual_print(FILE *out);

#endif
