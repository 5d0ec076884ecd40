/* bootstrap: getting the GIL, once, early, without anybody calling us.
 *
 * The interposed open64 (hooks_libc.c) reports every file that the process opens that way, and Python opens its modules so.
 * The first one opened by a thread that Python knows, in the main interpreter, is the moment to begin: before any program
 * code, for scripts, -m,
 * -c, embedding alike. */
#ifndef COMFYDD_BOOTSTRAP_H
#define COMFYDD_BOOTSTRAP_H

#include <stdbool.h>

/* Arms the bootstrap (the constructor, in a process that passed the gate). `begin` is called once, with the GIL, in the
 * main interpreter, the program's error indicator set aside. */
void bootstrap_arm(void (*begin)(void));

/* A file is about to be opened (NULL: an open that will fail). Any thread, GIL held or not; errno is preserved. */
void bootstrap_file_opened(const char *path);

/* Begins now, for a library loaded by dlopen. Needs the GIL. Does nothing when begun already or not armed. */
void bootstrap_now(void);

/* Whether `begin` has run. */
bool bootstrap_begun(void);

#endif
