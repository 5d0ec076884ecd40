#include "cli/ld_preload.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define LIBRARY "libcomfydd.so"

static bool is_file(const char *path, char *absolute, size_t size) {
    char resolved[PATH_MAX];
    if (access(path, R_OK) != 0 || !realpath(path, resolved)) return false;
    int length = snprintf(absolute, size, "%s", resolved);
    return length >= 0 && (size_t)length < size;
}

bool ld_preload_find(const char *chosen, char *path, size_t size) {
    if (chosen) return is_file(chosen, path, size);
    char program[PATH_MAX], candidate[PATH_MAX + 32];
    /* As it was executed: /proc/self/exe is not there in every chroot. */
    const char *executed = (const char *)getauxval(AT_EXECFN);
    if (!executed || !realpath(executed, program)) return false;
    *strrchr(program, '/') = '\0';
    static const char *const folders[] = {"", "/../lib"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(candidate, sizeof candidate, "%s%s/" LIBRARY, program, folders[i]);
        if (is_file(candidate, path, size)) return true;
    }
    return false;
}

bool ld_preload_can_name(const char *path) {
    return !strpbrk(path, " \t\n:$");
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool has(const char *entries, const char *library) {
    const char *name = file_name(library);
    while (*entries) {
        size_t length = strcspn(entries, ": ");
        const char *end = entries + length;
        const char *start = end; /* of the entry's file name */
        while (start > entries && start[-1] != '/')
            start--;
        size_t size = (size_t)(end - start);
        if (size > 0 && (size == strlen(name) && strncmp(start, name, size) == 0)) return true;
        if (size == strlen(LIBRARY) && strncmp(start, LIBRARY, size) == 0) return true;
        entries = end + (*end != '\0');
    }
    return false;
}

bool ld_preload_compose(const char *library, const char *existing, char *value, size_t size) {
    if (!existing) existing = "";
    int length = has(existing, library)
                     ? snprintf(value, size, "%s", existing)
                     : snprintf(value, size, "%s%s%s", library, *existing ? ":" : "", existing);
    return length >= 0 && (size_t)length < size;
}
