/* die: how the program ends when it cannot do what it was told. Only in cli/: the library never ends anybody. */
#ifndef COMFYDD_DIE_H
#define COMFYDD_DIE_H

/* Exit codes of our own, as env(1), timeout(1) and docker have them. */
enum { DIE_OURS = 125, DIE_NOT_EXECUTABLE = 126, DIE_NOT_FOUND = 127 };

/* Says why, in one line on stderr, and exits with `code`. */
_Noreturn void die(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
