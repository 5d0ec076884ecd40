/* frames_test: whether frames_reader reads this interpreter's stacks right.
 *
 * Runs a few lines of Python whose frames are known, and compares every frame below too with what Python itself says, with
 * the GIL held and released. Memory is read through the kernel, so a layout that is wrong is found out and does no harm. */
#ifndef COMFYDD_FRAMES_TEST_H
#define COMFYDD_FRAMES_TEST_H

#include <stdbool.h>
#include <stddef.h>

/* Needs the GIL, which is released and taken again; after frames_reader_init. Python code runs and its errors do not get
 * out, but Ctrl-C that happens to arrive goes back to where the program will notice it. When false, `why` says in one line
 * what was wrong. */
bool frames_test_run(char *why, size_t room);

#endif
