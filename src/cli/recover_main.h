/* recover_main: `comfydd recover`, which sends what dead processes have left in their flight memories. */
#ifndef COMFYDD_RECOVER_MAIN_H
#define COMFYDD_RECOVER_MAIN_H

/* The subcommand. 0: everything that there was has been delivered. 1: not; each file concerned has a line that says why. */
int recover_main(int argc, char **argv);

#endif
