/* container: how the agent can tell which container we are in (Datadog-Entity-ID, Datadog-Container-ID).
 *
 * Any thread; no allocation; errno is preserved. */
#ifndef COMFYDD_CONTAINER_H
#define COMFYDD_CONTAINER_H

struct container {
    char entity_id[80];    /* "ci-<container id>" or "in-<cgroup inode>"; empty when neither is known */
    char container_id[68]; /* 64 hex digits, a uuid, or an ECS task's id; empty when unknown */
};

/* Reads /proc/self/cgroup, /proc/self/ns/cgroup and /sys/fs/cgroup below `root` ("" for the real ones; tests pass a
 * folder). */
void container_detect(struct container *container, const char *root);

#endif
