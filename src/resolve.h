/* resolve: the real functions behind those that we interpose, found without dlsym (which is one of them).
 *
 * Reads the symbol tables of the loaded libraries itself, in the loader's order: works on every libc, takes none of the
 * loader's locks but the one of dl_iterate_phdr, sets no dlerror, and costs children a fraction of what dlsym does. Default
 * versions only; no indirect functions (STT_GNU_IFUNC); libraries of the caller's namespace only. Any thread; not in signal
 * handlers. */
#ifndef COMFYDD_RESOLVE_H
#define COMFYDD_RESOLVE_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The definition of `name` in the first library, in the loader's order, that is not ours (what RTLD_NEXT would find, and
 * beyond: libraries opened RTLD_LOCAL count too, and after all others those before us, but never the program itself, which
 * may forward to us). NULL when there is none. */
void *resolve_next(const char *name);

/* The same for several names in one walk; entries that are not found become NULL. */
void resolve_all_next(const char *const names[], void *found[], size_t count);

/* The same as resolve_next at a program's start, as long as nobody else loads or unloads libraries: without dl_iterate_phdr.
 * The program may have one of its own, which asks dlsym for the real one first (Seastar's); dlsym is looked up so. */
void *resolve_next_at_start(const char *name);

/* The first definition of all, the program's and ours included. */
void *resolve_first(const char *name);

/* The same for several names in one walk; entries that are not found become NULL. Whether all were found. */
bool resolve_all_first(const char *const names[], void *found[], size_t count);

/* The definition in the loaded library whose file name begins with `library` ("libcuda.so"); NULL when not loaded. */
void *resolve_in(const char *library, const char *name);

/* A loaded library; everything is borrowed from the loader and valid as long as the library is loaded. */
struct resolve_library {
    const char *path; /* as the loader knows it; "" for the program */
    uintptr_t base;
    const ElfW(Dyn) * dynamic;
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Half) * versions;     /* NULL: no versions */
    const uint32_t *gnu_hash, *hash; /* one of them */
};

/* The first library, ours not included, whose file name begins with `prefix`. */
bool resolve_library(const char *prefix, struct resolve_library *library);

/* The library (or program) that holds `address`. */
bool resolve_library_at(const void *address, struct resolve_library *library);

/* Calls `act`; nobody loads or unloads a library until it returns. Under the loader's lock, which is recursive: of this
 * header `act` may call what only asks. */
void resolve_undisturbed(void (*act)(void));

/* How many libraries have been unloaded so far; a loader that does not count them says 0. */
unsigned long long resolve_unloaded(void);

/* Calls `see` for each library after ours, in the loader's order, until it returns true; whether it did. Under the loader's
 * lock: `see` may call what follows here, nothing else of this header. */
bool resolve_each(bool (*see)(const struct resolve_library *library, void *context), void *context);

/* The name, as `library` asks for it (DT_NEEDED), of the first library that it needs whose name begins with `prefix`; NULL
 * when it needs none. */
const char *resolve_needed(const struct resolve_library *library, const char *prefix);

/* The file name of a library, without its folder. */
const char *resolve_file_name(const struct resolve_library *library);

/* The definition of `name` in that library; NULL when there is none. */
void *resolve_symbol(const struct resolve_library *library, const char *name);

#endif
