#include "tree.h"
#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

int tree_setup(void **state) {
    (void)state;
    strcpy(root, "/tmp/comfydd-tree-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

int tree_teardown(void **state) {
    (void)state;
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *tree_root(void) {
    return root;
}

static void full_path(char *full, size_t size, const char *path) {
    assert_true((size_t)snprintf(full, size, "%s%s", root, path) < size);
}

void tree_write(const char *path, const char *text) {
    char full[1024];
    full_path(full, sizeof full, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void tree_remove(const char *path) {
    char full[1024];
    full_path(full, sizeof full, path);
    assert_int_equal(unlink(full), 0);
}
