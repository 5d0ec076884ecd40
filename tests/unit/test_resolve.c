#include "resolve.h"

#include "unit.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void *libc_handle(void) {
    void *handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    assert_non_null(handle);
    return handle;
}

static void test_next_is_what_the_loader_finds(void **state) {
    (void)state;
    /* pthread_cond_wait, realpath, glob: with older versions beside the default one. */
    static const char *const names[] = {"open64",   "execve", "execv", "_exit",          "pthread_cond_wait",
                                        "realpath", "glob",   "dlsym", "dl_iterate_phdr"};
    enum { COUNT = sizeof names / sizeof *names };
    void *found[COUNT];
    resolve_all_next(names, found, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(found[i], dlsym(RTLD_NEXT, names[i]));
        assert_ptr_equal(found[i], resolve_next(names[i]));
        assert_ptr_equal(found[i], resolve_next_at_start(names[i]));
    }
}

static void test_what_is_missing_is_null_beside_what_is_not(void **state) {
    (void)state;
    static const char *const names[] = {"no_such_function", "execve", ""};
    void *found[] = {&found, &found, &found};
    resolve_all_next(names, found, 3);
    assert_null(found[0]);
    assert_ptr_equal(found[1], dlsym(RTLD_NEXT, "execve"));
    assert_null(found[2]);
    assert_null(resolve_first("no_such_function"));
    assert_null(resolve_next_at_start("no_such_function"));
    for (int i = 0; i < 3; i++)
        found[i] = &found;
    assert_false(resolve_all_first(names, found, 3));
    assert_null(found[0]);
    assert_ptr_equal(found[1], dlsym(RTLD_DEFAULT, "execve"));
    assert_null(found[2]);
    assert_true(resolve_all_first(&names[1], found, 1));
}

static void test_an_indirect_function_is_not_taken_for_one(void **state) {
    (void)state;
    void *found = resolve_in("libc.so.6", "strlen");
    assert_true(!found || found == dlsym(libc_handle(), "strlen"));
}

static void test_the_kernels_library_is_skipped(void **state) {
    (void)state;
    assert_null(resolve_first("__vdso_clock_gettime"));
}

static void test_a_library_by_its_file_name(void **state) {
    (void)state;
    void *wanted = dlsym(RTLD_DEFAULT, "cmocka_set_message_output");
    assert_non_null(wanted);
    assert_ptr_equal(resolve_in("libcmocka.so", "cmocka_set_message_output"), wanted);
    assert_ptr_equal(resolve_next("cmocka_set_message_output"), wanted);
    assert_ptr_equal(resolve_first("cmocka_set_message_output"), wanted);
    assert_null(resolve_in("libc.so", "cmocka_set_message_output"));
    assert_null(resolve_in("cmocka", "cmocka_set_message_output"));
    assert_null(resolve_in("libno_such.so", "cmocka_set_message_output"));
}

static void test_a_library_by_an_address(void **state) {
    (void)state;
    struct resolve_library library;
    assert_true(resolve_library_at((char *)dlsym(RTLD_DEFAULT, "cmocka_set_message_output") + 1, &library));
    assert_int_equal(strncmp(resolve_file_name(&library), "libcmocka.so", 12), 0);
    assert_string_equal(resolve_needed(&library, "libc.so"), "libc.so.6");
    assert_null(resolve_needed(&library, "libcudart.so"));
    assert_null(resolve_symbol(&library, "execve")); /* needed, not defined */

    assert_true(resolve_library_at((void *)test_a_library_by_an_address, &library));
    assert_ptr_equal(library.dynamic, _DYNAMIC);
    int local;
    assert_false(resolve_library_at(&local, &library));
}

static void test_libraries_opened_for_themselves_count(void **state) {
    (void)state;
    void *handle = dlopen("libanl.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!handle) skip();
    struct resolve_library library;
    assert_true(resolve_library("libanl.so", &library));
    assert_string_equal(resolve_file_name(&library), "libanl.so.1");
    dlclose(handle);
}

static void test_what_has_been_unloaded_is_counted(void **state) {
    (void)state;
    void *handle = dlopen("libanl.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!handle) skip();
    struct resolve_library library, holder;
    assert_true(resolve_library("libanl.so", &library));
    unsigned long long before = resolve_unloaded();
    assert_true(resolve_library_at(library.dynamic, &holder));
    dlclose(handle);
    assert_int_equal(resolve_unloaded(), before + 1);
    assert_false(resolve_library_at(library.dynamic, &holder));
}

static void test_dlerror_is_left_alone(void **state) {
    (void)state;
    dlerror();
    resolve_next("no_such_function");
    resolve_in("libno_such.so", "execve");
    assert_null(dlerror());
    dlsym(libc_handle(), "no_such_function");
    resolve_next("execve");
    resolve_next("no_such_function");
    assert_non_null(strstr(dlerror(), "no_such_function"));
}

/* ---- a library of our own making, as a linker writes it with --hash-style=sysv ---- */

static const char strings[] = "\0first\0old\0undefined\0local\0indirect\0data";

#define NAME(offset)        .st_name = (offset)
#define INFO(binding, type) .st_info = ELF64_ST_INFO(binding, type)

static const ElfW(Sym) symbols[] = {
    {0},
    {NAME(1), INFO(STB_GLOBAL, STT_FUNC), .st_shndx = 1, .st_value = 0x10},
    {NAME(7), INFO(STB_GLOBAL, STT_FUNC), .st_shndx = 1, .st_value = 0x20}, /* an old version */
    {NAME(7), INFO(STB_GLOBAL, STT_FUNC), .st_shndx = 1, .st_value = 0x30},
    {NAME(11), INFO(STB_GLOBAL, STT_FUNC), .st_shndx = SHN_UNDEF, .st_value = 0x40},
    {NAME(21), INFO(STB_LOCAL, STT_FUNC), .st_shndx = 1, .st_value = 0x50},
    {NAME(27), INFO(STB_GLOBAL, STT_GNU_IFUNC), .st_shndx = 1, .st_value = 0x60},
    {NAME(36), INFO(STB_WEAK, STT_OBJECT), .st_shndx = 1, .st_value = 0x70},
};
static const ElfW(Half) versions[] = {0, 1, 2 | 0x8000, 3, 1, 0, 1, 1};

static struct resolve_library library_with(const uint32_t *hash) {
    return (struct resolve_library){.path = "",
                                    .base = 0x1000,
                                    .symbols = symbols,
                                    .strings = strings,
                                    .versions = versions,
                                    .hash = hash};
}

static uintptr_t looked_up(const char *name, const struct resolve_library *library) {
    void *found = resolve_symbol(library, name);
    return found ? (uintptr_t)found - library->base : 0;
}

static void test_the_older_hash_table(void **state) {
    (void)state;
    /* One bucket: a chain through every symbol. */
    static const uint32_t hash[] = {1, 8, 1, 0, 2, 3, 4, 5, 6, 7, 0};
    struct resolve_library library = library_with(hash);
    assert_int_equal(looked_up("first", &library), 0x10);
    assert_int_equal(looked_up("old", &library), 0x30);
    assert_int_equal(looked_up("undefined", &library), 0);
    assert_int_equal(looked_up("local", &library), 0);
    assert_int_equal(looked_up("indirect", &library), 0);
    assert_int_equal(looked_up("data", &library), 0x70);
    assert_int_equal(looked_up("firs", &library), 0);
    assert_int_equal(looked_up("first_of_all", &library), 0);
    library.versions = NULL;
    assert_int_equal(looked_up("old", &library), 0x20);
    static const uint32_t empty[] = {0, 0};
    library.hash = empty;
    assert_int_equal(looked_up("first", &library), 0);
}

static void test_the_older_hash_table_spreads_over_buckets(void **state) {
    (void)state;
    /* Each name in the bucket where the ELF specification's function puts it. */
    uint32_t hash[2 + 2 + 8] = {2, 8};
    for (uint32_t index = 1; index < 8; index++) {
        uint32_t value = 0;
        for (const char *at = strings + symbols[index].st_name; *at; at++) {
            value = (value << 4) + (unsigned char)*at;
            if (value & 0xf0000000) value ^= (value & 0xf0000000) >> 24;
            value &= 0x0fffffff;
        }
        uint32_t *link = &hash[2 + value % 2];
        while (*link)
            link = &hash[4 + *link];
        *link = index;
    }
    struct resolve_library library = library_with(hash);
    assert_int_equal(looked_up("first", &library), 0x10);
    assert_int_equal(looked_up("old", &library), 0x30);
    assert_int_equal(looked_up("data", &library), 0x70);
    assert_int_equal(looked_up("nothing", &library), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_is_what_the_loader_finds),
        cmocka_unit_test(test_what_is_missing_is_null_beside_what_is_not),
        cmocka_unit_test(test_an_indirect_function_is_not_taken_for_one),
        cmocka_unit_test(test_the_kernels_library_is_skipped),
        cmocka_unit_test(test_a_library_by_its_file_name),
        cmocka_unit_test(test_a_library_by_an_address),
        cmocka_unit_test(test_libraries_opened_for_themselves_count),
        cmocka_unit_test(test_what_has_been_unloaded_is_counted),
        cmocka_unit_test(test_dlerror_is_left_alone),
        cmocka_unit_test(test_the_older_hash_table),
        cmocka_unit_test(test_the_older_hash_table_spreads_over_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
