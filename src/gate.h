/* gate: is this a process in which anything should happen at all?
 *
 * The library is inherited by every child of ComfyUI: git, ffmpeg, nvidia-smi, shells. There it must cost next to nothing,
 * so the answer comes from two symbol addresses, without a system call or a look at the environment. */
#ifndef COMFYDD_GATE_H
#define COMFYDD_GATE_H

#include <stdbool.h>

/* True in a process that has the C API of Python 3.9 or newer, unless another copy of this library came first. */
bool gate_is_open(void);

#endif
