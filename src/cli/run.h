/* run: `comfydd run`, which starts a command, watches over it, and starts it again. */
#ifndef COMFYDD_RUN_H
#define COMFYDD_RUN_H

/* The subcommand. Returns the exit code; dies over what keeps it from running the command. */
int run_main(int argc, char **argv);

#endif
