/* Runs PROGRAM, a program of another processor, in qemu-user, with the folder ROOT before the paths of this system.
 * Static, so that LD_PRELOAD is PROGRAM's alone. It passes on its own name: what PROGRAM starts again by that name is
 * this again. Compiled with -DQEMU, -DROOT, -DPROGRAM by scripts/foreign-pythons and scripts/check-aarch64. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    char *before[] = {QEMU, "-L", ROOT, "-0", arguments[0], PROGRAM};
    enum { BEFORE = sizeof before / sizeof *before };
    char **command = calloc(BEFORE + count, sizeof *command);
    if (!command) return 127;
    for (int i = 0; i < BEFORE; i++)
        command[i] = before[i];
    for (int i = 1; i < count; i++)
        command[BEFORE + i - 1] = arguments[i];
    execvp(QEMU, command);
    perror(QEMU);
    return 127;
}
