/* frames_lines: the line of an instruction, from the line table of its code object. Pure; never reads outside the table. */
#ifndef COMFYDD_FRAMES_LINES_H
#define COMFYDD_FRAMES_LINES_H

#include "python/frames_layout.h"

#include <stddef.h>

/* `offset` of the instruction in bytes, `first` as in co_firstlineno. 0: the instruction has no line. */
int frames_lines_find(enum frames_lines format, const uint8_t *table, size_t size, int first,
                      uint32_t offset);

#endif
