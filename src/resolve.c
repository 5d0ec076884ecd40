/* The library runs this in every child, before main, on a symbol table of thousands of names: it calls no function of libc
 * but dl_iterate_phdr, where that will not do getauxval, because each first call costs the loader a search of its own. */
#include "resolve.h"

#include <sys/auxv.h>

#define HIDDEN_VERSION 0x8000 /* in .gnu.version: an old version, for programs that were linked with it */
#define WORD_BITS      (8 * sizeof(ElfW(Addr)))

/* ---- texts ---- */

static bool equal(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool begins(const char *text, const char *prefix) {
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

static const char *file_name(const char *path) {
    const char *name = path;
    for (; *path; path++)
        if (*path == '/') name = path + 1;
    return name;
}

/* ---- one library ---- */

/* What glibc has turned into an address already, other loaders leave as it is in the file. */
static const void *pointer(uintptr_t base, ElfW(Addr) value) {
    return (const void *)(value < base ? base + value : value);
}

static const ElfW(Dyn) * dynamic_of(const struct dl_phdr_info *info) {
    for (const ElfW(Phdr) *part = info->dlpi_phdr; part < info->dlpi_phdr + info->dlpi_phnum; part++)
        if (part->p_type == PT_DYNAMIC) return (const void *)(info->dlpi_addr + part->p_vaddr);
    return NULL;
}

static const char *path_of(const struct dl_phdr_info *info) {
    return info->dlpi_name ? info->dlpi_name : "";
}

/* False when there is nothing to search, as in the kernel's own library: it has no functions that anybody interposes, and
 * not every loader maps it like others. */
static bool read_tables(struct resolve_library *library) {
    if (!library->dynamic || begins(library->path, "linux-"))
        return false; /* linux-vdso.so.1, linux-gate.so.1 */
    for (const ElfW(Dyn) *entry = library->dynamic; entry->d_tag != DT_NULL; entry++) {
        const void *value = pointer(library->base, entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            library->symbols = value;
        else if (entry->d_tag == DT_STRTAB)
            library->strings = value;
        else if (entry->d_tag == DT_VERSYM)
            library->versions = value;
        else if (entry->d_tag == DT_GNU_HASH)
            library->gnu_hash = value;
        else if (entry->d_tag == DT_HASH)
            library->hash = value;
    }
    return library->symbols && library->strings && (library->gnu_hash || library->hash);
}

static struct resolve_library library_of(const struct dl_phdr_info *info) {
    return (struct resolve_library){path_of(info), .base = info->dlpi_addr, .dynamic = dynamic_of(info)};
}

static bool read_library(const struct dl_phdr_info *info, struct resolve_library *library) {
    *library = library_of(info);
    return read_tables(library);
}

/* The symbol's address when it is what a program that is linked now would get, else NULL. */
static void *definition(const struct resolve_library *library, uint32_t index, const char *name) {
    const ElfW(Sym) *symbol = &library->symbols[index];
    unsigned type = symbol->st_info & 0xf, binding = symbol->st_info >> 4;
    if (symbol->st_shndx == SHN_UNDEF || binding == STB_LOCAL ||
        !equal(library->strings + symbol->st_name, name))
        return NULL;
    if (library->versions && (library->versions[index] & HIDDEN_VERSION)) return NULL;
    if (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE) return NULL;
    return (void *)(library->base + symbol->st_value);
}

static uint32_t gnu_hash_of(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* header: buckets, first hashed symbol, filter words, filter shift; filter; buckets; hashes, the last of a bucket odd */
static void *search_gnu_hash(const struct resolve_library *library, const char *name) {
    const uint32_t *header = library->gnu_hash, hash = gnu_hash_of(name);
    uint32_t buckets = header[0], first = header[1], words = header[2], shift = header[3];
    if (buckets == 0 || words == 0) return NULL;
    const ElfW(Addr) *filter = (const void *)(header + 4);
    ElfW(Addr) word = filter[hash / WORD_BITS & (words - 1)];
    if (!(word >> hash % WORD_BITS & word >> (hash >> shift) % WORD_BITS & 1)) return NULL;
    const uint32_t *bucket = (const void *)(filter + words), *hashes = bucket + buckets;
    uint32_t index = bucket[hash % buckets];
    if (index < first) return NULL;
    for (;; index++) {
        uint32_t here = hashes[index - first];
        if ((here | 1) == (hash | 1)) {
            void *found = definition(library, index, name);
            if (found) return found;
        }
        if (here & 1) return NULL;
    }
}

static uint32_t hash_of(const char *name) {
    uint32_t hash = 0;
    for (; *name; name++) {
        hash = (hash << 4) + (unsigned char)*name;
        uint32_t high = hash & 0xf0000000;
        hash = (hash ^ high >> 24) & ~high;
    }
    return hash;
}

/* header: buckets, symbols; buckets; for each symbol the next one of its bucket */
static void *search_hash(const struct resolve_library *library, const char *name) {
    const uint32_t *header = library->hash, *bucket = header + 2, *next = bucket + header[0];
    if (header[0] == 0) return NULL;
    for (uint32_t index = bucket[hash_of(name) % header[0]]; index != STN_UNDEF; index = next[index]) {
        void *found = definition(library, index, name);
        if (found) return found;
    }
    return NULL;
}

void *resolve_symbol(const struct resolve_library *library, const char *name) {
    return library->gnu_hash ? search_gnu_hash(library, name) : search_hash(library, name);
}

const char *resolve_file_name(const struct resolve_library *library) {
    return file_name(library->path);
}

const char *resolve_needed(const struct resolve_library *library, const char *prefix) {
    for (const ElfW(Dyn) *entry = library->dynamic; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag != DT_NEEDED) continue;
        const char *name = library->strings + entry->d_un.d_val;
        if (begins(name, prefix)) return name;
    }
    return NULL;
}

/* ---- walks over all libraries ---- */

enum part { BEFORE_US, AFTER_US, EVERYWHERE };

struct search {
    enum part part;
    const char *const *names;
    void **found;
    size_t count, missing;
    bool program_seen, we_are_seen;
};

/* Whether the library is in the part of the order that is searched. */
static bool is_in_part(struct search *search, const struct resolve_library *library) {
    bool is_program = !search->program_seen;
    search->program_seen = true;
    if (search->part == EVERYWHERE) return true;
    if (!search->we_are_seen && library->dynamic == _DYNAMIC) {
        search->we_are_seen = true;
        return false;
    }
    return search->part == AFTER_US ? search->we_are_seen : !search->we_are_seen && !is_program;
}

/* Whether that was all. */
static bool search_library(struct search *search, struct resolve_library *library) {
    if (!is_in_part(search, library) || !read_tables(library)) return false;
    for (size_t i = 0; i < search->count; i++)
        if (!search->found[i] && (search->found[i] = resolve_symbol(library, search->names[i])))
            search->missing--;
    return search->missing == 0;
}

static int search_one(struct dl_phdr_info *info, size_t size, void *search) {
    (void)size;
    struct resolve_library library = library_of(info);
    return search_library(search, &library);
}

static void walk_as_programs_do(struct search *search) {
    dl_iterate_phdr(search_one, search);
}

/* The loader's list, as debuggers find it; NULL: it has none. */
static const struct link_map *first_library(void) {
    const ElfW(Phdr) *parts = (const void *)getauxval(AT_PHDR), *end = parts + getauxval(AT_PHNUM);
    uintptr_t base = 0;
    for (const ElfW(Phdr) *part = parts; part < end; part++) {
        if (part->p_type == PT_PHDR) base = (uintptr_t)parts - part->p_vaddr;
        if (part->p_type != PT_DYNAMIC) continue;
        for (const ElfW(Dyn) *entry = (const void *)(base + part->p_vaddr); entry->d_tag != DT_NULL; entry++)
            if (entry->d_tag == DT_DEBUG && entry->d_un.d_ptr)
                return ((const struct r_debug *)entry->d_un.d_ptr)->r_map;
    }
    return NULL;
}

static void walk_as_debuggers_do(struct search *search) {
    for (const struct link_map *each = first_library(); each; each = each->l_next) {
        struct resolve_library library = {each->l_name, .base = each->l_addr, .dynamic = each->l_ld};
        if (search_library(search, &library)) return;
    }
}

static void walk(struct search *search, enum part part, void (*way)(struct search *search)) {
    search->part = part;
    search->program_seen = search->we_are_seen = false;
    way(search);
}

static void find_all_next(const char *const names[], void *found[], size_t count,
                          void (*way)(struct search *search)) {
    struct search search = {.names = names, .found = found, .count = count, .missing = count};
    for (size_t i = 0; i < count; i++)
        found[i] = NULL;
    walk(&search, AFTER_US, way);
    if (search.missing) walk(&search, BEFORE_US, way);
}

void resolve_all_next(const char *const names[], void *found[], size_t count) {
    find_all_next(names, found, count, walk_as_programs_do);
}

void *resolve_next_at_start(const char *name) {
    void *found;
    find_all_next(&name, &found, 1, walk_as_debuggers_do);
    return found;
}

void *resolve_next(const char *name) {
    void *found;
    resolve_all_next(&name, &found, 1);
    return found;
}

bool resolve_all_first(const char *const names[], void *found[], size_t count) {
    struct search search = {.names = names, .found = found, .count = count, .missing = count};
    for (size_t i = 0; i < count; i++)
        found[i] = NULL;
    walk(&search, EVERYWHERE, walk_as_programs_do);
    return search.missing == 0;
}

void *resolve_first(const char *name) {
    void *found;
    resolve_all_first(&name, &found, 1);
    return found;
}

struct each {
    bool (*see)(const struct resolve_library *library, void *context);
    void *context;
    bool we_are_seen;
};

static int see_one(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    struct each *each = context;
    struct resolve_library library;
    if (!each->we_are_seen) {
        each->we_are_seen = dynamic_of(info) == _DYNAMIC;
        return 0;
    }
    return read_library(info, &library) && each->see(&library, each->context);
}

bool resolve_each(bool (*see)(const struct resolve_library *, void *), void *context) {
    struct each each = {.see = see, .context = context};
    return dl_iterate_phdr(see_one, &each) != 0;
}

struct wanted {
    const char *prefix;
    uintptr_t address;
    struct resolve_library *library;
};

static int is_named(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    struct wanted *wanted = context;
    return begins(file_name(path_of(info)), wanted->prefix) && dynamic_of(info) != _DYNAMIC &&
           read_library(info, wanted->library);
}

bool resolve_library(const char *prefix, struct resolve_library *library) {
    struct wanted wanted = {.prefix = prefix, .library = library};
    return dl_iterate_phdr(is_named, &wanted) != 0;
}

static int holds(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    struct wanted *wanted = context;
    for (const ElfW(Phdr) *part = info->dlpi_phdr; part < info->dlpi_phdr + info->dlpi_phnum; part++)
        if (part->p_type == PT_LOAD && wanted->address - info->dlpi_addr - part->p_vaddr < part->p_memsz)
            return read_library(info, wanted->library);
    return 0;
}

bool resolve_library_at(const void *address, struct resolve_library *library) {
    struct wanted wanted = {.address = (uintptr_t)address, .library = library};
    return dl_iterate_phdr(holds, &wanted) != 0;
}

/* The loader's lock is held for it. */
static int act_once(struct dl_phdr_info *info, size_t size, void *act) {
    (void)info;
    (void)size;
    (*(void (**)(void))act)();
    return 1;
}

void resolve_undisturbed(void (*act)(void)) {
    dl_iterate_phdr(act_once, &act);
}

static int tell_unloaded(struct dl_phdr_info *info, size_t size, void *unloaded) {
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs)
        *(unsigned long long *)unloaded = info->dlpi_subs;
    return 1;
}

unsigned long long resolve_unloaded(void) {
    unsigned long long unloaded = 0;
    dl_iterate_phdr(tell_unloaded, &unloaded);
    return unloaded;
}

void *resolve_in(const char *library, const char *name) {
    struct resolve_library found;
    return resolve_library(library, &found) ? resolve_symbol(&found, name) : NULL;
}
