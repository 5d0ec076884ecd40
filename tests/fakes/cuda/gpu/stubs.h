/* stubs: a function for every name that a header declares, compiled into each library with its own list. What the library
 * defines elsewhere replaces the stub. Stubs are counted and logged, and succeed; a stub of a per-thread-stream name
 * (NAME_ptsz, NAME_ptds) is NAME under an address of its own. */
#ifndef FAKE_STUBS_H
#define FAKE_STUBS_H

typedef void (*any_function)(void);

/* Every function that the library exports. No dlsym: what is under test hooks that. */
void stubs_each(void (*see)(const char *name, any_function address));

/* Stands in for functions that no header here declares, of newer drivers for instance. */
int stubs_unknown(void);

#endif
