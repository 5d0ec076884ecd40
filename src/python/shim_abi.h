/* shim_abi: the library's side of include/comfydd/shim.h, the C functions that comfyui_shim/ calls.
 *
 * Needs the GIL. */
#ifndef COMFYDD_SHIM_ABI_H
#define COMFYDD_SHIM_ABI_H

/* What comfydd_start does: starts watching, returns whether the library watches. The constructor registers it in a
 * process where the library may work; without one comfydd_start returns 0. */
void shim_on_start(int (*start)(void));

/* comfydd_shim_abi of this copy of the library, whichever copy's the name is bound to. */
int shim_abi(void);

/* The runtime id of this process, 32 lower-case hex digits: ddtrace's when the shim gave one, else our own; a forked
 * child has a new one. Valid and unchanged until the next call, or comfydd_set_runtime_id. */
const char *shim_runtime_id(void);

#endif
