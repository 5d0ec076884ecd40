/* resolve: the real functions behind those that we interpose, found without dlsym (which is one of them).
 *
 * Reads the symbol tables of the loaded libraries itself, in the loader's order: works on every libc, takes none of the
 * loader's locks but the one of dl_iterate_phdr, sets no dlerror, and costs children a fraction of what dlsym does. Default
 * versions only. Any thread; not in signal handlers. */
#ifndef COMFYDD_RESOLVE_H
#define COMFYDD_RESOLVE_H

#include <stddef.h>

/* The definition of `name` in the first library, in the loader's order, that is not ours (what RTLD_NEXT would find, and
 * beyond: libraries opened RTLD_LOCAL count too). NULL when there is none. */
void *resolve_next(const char *name);

/* The same for several names in one walk; entries that are not found become NULL. */
void resolve_all_next(const char *const names[], void *found[], size_t count);

/* The definition in the loaded library whose file name begins with `library` ("libcuda.so"); NULL when not loaded. */
void *resolve_in(const char *library, const char *name);

#endif
