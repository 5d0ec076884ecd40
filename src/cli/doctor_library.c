#include "cli/doctor_library.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(unsigned machine) {
    return machine == EM_X86_64 ? "x86-64" : machine == EM_AARCH64 ? "aarch64" : "another machine";
}

/* The e_machine of an ELF file of 64 bits; EM_NONE for anything else. */
static unsigned machine_of(const char *path) {
    ElfW(Ehdr) header;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool is_elf = file >= 0 && read(file, &header, sizeof header) == (ssize_t)sizeof header &&
                  memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64;
    if (file >= 0) close(file);
    return is_elf ? header.e_machine : EM_NONE;
}

/* The names of the libraries that it needs, each after a blank. */
static void list_needed(const struct link_map *map, char *text, size_t room) {
    const char *strings = NULL;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_STRTAB) strings = (const char *)entry->d_un.d_ptr;
    for (const ElfW(Dyn) *entry = map->l_ld; strings && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag != DT_NEEDED) continue;
        size_t used = strlen(text);
        snprintf(text + used, room - used, " %s", strings + entry->d_un.d_val);
    }
}

bool doctor_library_load(const char *path, char *text, size_t room) {
    unsigned machine = machine_of(path), ours = machine_of("/proc/self/exe");
    if (machine != ours) {
        snprintf(text, room,
                 machine == EM_NONE ? "it is no 64-bit library" : "it is for %s, this machine is %s",
                 name_of(machine), name_of(ours));
        return false;
    }
    struct link_map *map;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library || dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) {
        snprintf(text, room, "it cannot be loaded: %s", dlerror());
        return false;
    }
    snprintf(text, room, "for %s, needs", name_of(machine));
    list_needed(map, text, room);
    return true;
}
