/* tree: a temporary folder that stands for the root of a file system. There is one at a time. */
#ifndef COMFYDD_TREE_H
#define COMFYDD_TREE_H

/* Fixtures of a test, or parts of one: make an empty tree, and remove it. They do not look at `state`. */
int tree_setup(void **state);
int tree_teardown(void **state);

#define IN_TREE(test) cmocka_unit_test_setup_teardown(test, tree_setup, tree_teardown)

/* The tree's path. */
const char *tree_root(void);

/* Writes a file at `path` (which starts with a slash) in the tree, making the folders on the way. */
void tree_write(const char *path, const char *text);

/* Removes one file. */
void tree_remove(const char *path);

#endif
