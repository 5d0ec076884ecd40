#include "host/container.h"

#include "base/file.h"
#include "host/cgroup.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS "0123456789"
#define HEX    "0123456789abcdef"

/* The cgroup namespace that every kernel starts with (PROC_CGROUP_INIT_INO of linux/proc_ns.h): a process in it is on
 * the host, or in a container that has the host's, and the inode of its cgroup tells nothing. */
#define HOST_NAMESPACE "cgroup:[4026531835]"

/* Whether the text looks like the shape: x for a lower-case hex digit, - for a dash or an underscore. */
static bool has_shape(const char *text, const char *shape) {
    for (; *shape; shape++, text++)
        if (!*text || !strchr(*shape == 'x' ? HEX : "-_", *text)) return false;
    return true;
}

/* The id at the end of [name, name + size), and its size; NULL when there is none. */
static const char *id_at_end(const char *name, size_t size, size_t *id_size) {
    static const char *const shapes[] = {
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", /* docker, containerd, CRI-O */
        "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",                             /* Garden (Cloud Foundry) */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        *id_size = strlen(shapes[i]);
        if (size >= *id_size && has_shape(name + size - *id_size, shapes[i])) return name + size - *id_size;
    }
    /* ECS on Fargate: 32 hex digits, a dash, and a decimal number */
    size_t digits = 0;
    while (digits < size && strchr(DIGITS, name[size - digits - 1]))
        digits++;
    *id_size = 33 + digits;
    if (digits == 0 || size < *id_size) return NULL;
    const char *task = name + size - *id_size;
    return has_shape(task, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-") ? task : NULL;
}

/* A line is "number:controllers:path"; the id ends the path, but for ".scope", and a runtime's name may precede it:
 * /system.slice/docker-<id>.scope, /kubepods/besteffort/pod<uuid>/<id>, /ecs/<task>/<id>. */
static bool find_container_id(char *text, char *id, size_t capacity) {
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        const char *name = strrchr(line, '/');
        if (!name++) continue;
        size_t size = strlen(name), scope = strlen(".scope"), found_size;
        if (size > scope && strcmp(name + size - scope, ".scope") == 0) size -= scope;
        const char *found = id_at_end(name, size, &found_size);
        if (!found || found_size >= capacity) continue;
        memcpy(id, found, found_size);
        id[found_size] = '\0';
        return true;
    }
    return false;
}

static bool in_namespace_of_its_own(const char *root) {
    char path[512], target[64];
    snprintf(path, sizeof path, "%s/proc/self/ns/cgroup", root);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size <= 0) return false;
    target[size] = '\0';
    return strcmp(target, HOST_NAMESPACE) != 0;
}

void container_detect(struct container *container, const char *root) {
    int saved_errno = errno;
    char path[1024], text[8192];
    struct stat info;
    memset(container, 0, sizeof *container);
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (file_read(path, text, sizeof text) > 0 &&
        find_container_id(text, container->container_id, sizeof container->container_id))
        snprintf(container->entity_id, sizeof container->entity_id, "ci-%s", container->container_id);
    else if (in_namespace_of_its_own(root) && cgroup_directory(root, path, sizeof path) &&
             stat(path, &info) == 0)
        snprintf(container->entity_id, sizeof container->entity_id, "in-%llu",
                 (unsigned long long)info.st_ino);
    errno = saved_errno;
}
