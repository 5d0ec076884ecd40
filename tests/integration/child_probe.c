/* What a child process finds of itself: threads, descriptors, whether it is setuid. Exits with its argument. Built
 * for glibc, for musl, and without a dynamic loader, by test_children.py. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

static int entries(const char *folder) {
    DIR *stream = opendir(folder);
    int count = 0;
    while (stream && readdir(stream))
        count++;
    if (stream) closedir(stream);
    return count - 2; /* . and .. */
}

int main(int argc, char **argv) {
    printf("threads %d, descriptors %d, secure %lu\n", entries("/proc/self/task"), entries("/proc/self/fd"),
           getauxval(AT_SECURE));
    return argc > 1 ? atoi(argv[1]) : 0;
}
