/* ld_preload: where libcomfydd.so is, and the value of LD_PRELOAD that loads it. */
#ifndef COMFYDD_LD_PRELOAD_H
#define COMFYDD_LD_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the library: `chosen` when it is not NULL, else beside the program, else in ../lib. Writes its absolute path.
 * False when there is none. */
bool ld_preload_find(const char *chosen, char *path, size_t size);

/* Whether the loader can be given this path: blanks and colons separate entries, and a dollar sign begins $LIB. */
bool ld_preload_can_name(const char *path);

/* Writes LD_PRELOAD's new value: the library, then what was there (`existing`, may be NULL). Where a libcomfydd.so is
 * there already, another copy of it too, the value stays as it is. False when there is no room. */
bool ld_preload_compose(const char *library, const char *existing, char *value, size_t size);

#endif
