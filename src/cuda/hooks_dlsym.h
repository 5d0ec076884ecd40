/* hooks_dlsym: the exported dlsym. Static runtimes, comfy-aimdo and ctypes ask the driver's library for its functions by
 * handle and name; those that are hooked are replaced by their wrappers.
 *
 * Everything else goes to the real dlsym by a jump, not a call: RTLD_NEXT and RTLD_DEFAULT mean the library that the return
 * address lies in, and LLVM's OpenMP recurses for ever when that is ours (HAMi issue 2903). What passes costs some ten
 * instructions, and is not touched in processes that trace nothing. */
#ifndef COMFYDD_HOOKS_DLSYM_H
#define COMFYDD_HOOKS_DLSYM_H

#include <stdbool.h>

/* At the start. NULL: looked for at the first call, and again until it is there. */
void hooks_dlsym_set_real(void *real);

/* Whether lookups of driver functions are looked at. */
void hooks_dlsym_watch(bool on);

#endif
