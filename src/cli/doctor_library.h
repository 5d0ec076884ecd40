/* doctor_library: whether the loader can load a library here. */
#ifndef COMFYDD_DOCTOR_LIBRARY_H
#define COMFYDD_DOCTOR_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* Loads it, into this process, for good. Writes what it is for and needs, or what is wrong, as one line. */
bool doctor_library_load(const char *path, char *text, size_t room);

#endif
