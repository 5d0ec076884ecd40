/* exc_stack: leaving our own coroutine out of what CPython walks at every raise.
 *
 * A thread keeps a stack of the exceptions that its code is handling, a level for each running coroutine and generator
 * (`exc_info` in pystate.h). To give a new exception its context, CPython searches it from the innermost level outwards for
 * one that handles something. The stub of a code swap is a coroutine, and handles nothing while what it awaits runs: without
 * its level all that asks finds the same, nine instructions sooner.
 *
 * For 3.9 - 3.11, where executors' nodes have stubs, at offsets that a test compares first; otherwise nothing is left out.
 * Needs the GIL. */
#ifndef COMFYDD_EXC_STACK_H
#define COMFYDD_EXC_STACK_H

#include <stdbool.h>

/* Once, with no error set: whether the stack is where it is expected, tried with an exception that counts as being handled
 * for a moment. errno is preserved. */
bool exc_stack_init(void);

/* Takes the innermost level off this thread's stack, when it handles nothing and there is one around it. What is returned
 * goes to exc_stack_put_back on the same thread, once what was called in between has ended, or yielded. NULL: nothing was
 * done. */
void *exc_stack_leave_out(void);
void exc_stack_put_back(void *level);

#endif
