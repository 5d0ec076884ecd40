/* tree: a temporary folder that stands for the root of a file system. */
#ifndef COMFYDD_TREE_H
#define COMFYDD_TREE_H

/* Makes an empty one and returns its path, valid until tree_finish. */
const char *tree_start(void);

/* Writes a file at `path` (which starts with a slash) in the tree, making the folders on the way. */
void tree_write(const char *path, const char *text);

/* Removes one file. */
void tree_remove(const char *path);

/* Removes the tree. */
void tree_finish(void);

#endif
