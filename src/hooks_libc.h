/* hooks_libc: libc's functions that the library exports under their own names, to be called instead. */
#ifndef COMFYDD_HOOKS_LIBC_H
#define COMFYDD_HOOKS_LIBC_H

/* Finds the real functions. In every process, first of all (the constructor). */
void hooks_libc_resolve(void);

#endif
