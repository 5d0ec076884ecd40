/* options: the command line of comfydd run.
 *
 * The options are those rows of src/settings.c that name one; given on the command line they win over the variable. */
#ifndef COMFYDD_OPTIONS_H
#define COMFYDD_OPTIONS_H

/* Reads command line and environment: config() afterwards. Returns the command to run, terminated by NULL (borrowed from
 * argv). Dies with DIE_OURS over what is wrong; --help prints and exits. */
char **options_parse(int argc, char **argv);

#endif
