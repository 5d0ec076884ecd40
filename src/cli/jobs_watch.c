#include "cli/jobs_watch.h"

#include "base/clock.h"
#include "base/process.h"
#include "cli/jobs_live.h"
#include "flight.h"
#include "flight_files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SIZE (64u << 20) /* bytes of a file; ours have less than 7 MiB */

struct watched {
    struct watched *next;
    dev_t device;
    ino_t inode;
    int fd;                 /* -1: its process is dead, and all has been read */
    struct jobs_live *live; /* owned */
    bool there;             /* in the folder, at this look */
};

struct jobs_watch {
    const char *folder;
    struct process_identity supervisor;
    void (*report)(void *context, const struct job_event *event);
    void *context;
    struct watched *files; /* owned */
};

struct jobs_watch *jobs_watch_create(const char *folder, const struct process_identity *supervisor,
                                     void (*report)(void *context, const struct job_event *event),
                                     void *context) {
    struct jobs_watch *watch = calloc(1, sizeof *watch);
    if (watch)
        *watch = (struct jobs_watch){
            .folder = folder, .supervisor = *supervisor, .report = report, .context = context};
    return watch;
}

/* ---- which files there are ---- */

static void finish(struct watched *file) {
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
    jobs_live_destroy(file->live);
    file->live = NULL;
}

static bool add(struct jobs_watch *watch, int fd, const struct stat *status) {
    struct watched *file = calloc(1, sizeof *file);
    struct jobs_live *live = jobs_live_create(watch->report, watch->context);
    if (!file || !live) {
        free(file);
        jobs_live_destroy(live);
        return false;
    }
    *file = (struct watched){.next = watch->files,
                             .device = status->st_dev,
                             .inode = status->st_ino,
                             .fd = fd,
                             .live = live,
                             .there = true};
    watch->files = file;
    return true;
}

static void find(void *context, int fd) {
    struct jobs_watch *watch = context;
    struct stat status;
    if (fstat(fd, &status) == 0) {
        struct watched *file = watch->files;
        while (file && (file->inode != status.st_ino || file->device != status.st_dev))
            file = file->next;
        if (file)
            file->there = true;
        else if (add(watch, fd, &status))
            return;
    }
    close(fd);
}

static void drop(struct jobs_watch *watch, struct watched *gone) {
    struct watched **at = &watch->files;
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    finish(gone);
    free(gone);
}

/* ---- what is in them ---- */

/* A copy of the whole file: a mapping would end us if the file shrank. NULL when it cannot be read. */
static void *read_whole(int fd, size_t size) {
    char *memory = size && size <= MOST_SIZE ? malloc(size) : NULL;
    for (size_t used = 0; memory && used < size;) {
        ssize_t got = pread(fd, memory + used, size - used, (off_t)used);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) {
            used += (size_t)got;
        } else {
            free(memory);
            memory = NULL;
        }
    }
    return memory;
}

/* False when the file cannot be read now: without memory, or caught in the middle of a change. */
static bool see(struct watched *file, size_t size) {
    struct flight_view view;
    void *memory = read_whole(file->fd, size);
    bool seen = memory && flight_view_open(&view, memory, size) == 0;
    if (seen) {
        jobs_live_see(file->live, &view);
        flight_view_close(&view);
    }
    free(memory);
    return seen;
}

static bool is_dead(int fd) {
    struct flight_header header;
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header) return true;
    return !process_runs(&(struct process_identity){header.pid, header.pid_start_ticks});
}

static void look_at(struct watched *file) {
    struct stat status;
    /* Whether it is over is asked before reading: then nothing is written after the last look. */
    bool dead = is_dead(file->fd), known = fstat(file->fd, &status) == 0;
    bool removed = known && status.st_nlink == 0;
    bool seen = known && see(file, (size_t)status.st_size);
    if (seen && removed) jobs_live_gone(file->live, clock_wall_ns());
    if (removed || dead) finish(file);
}

void jobs_watch_look(struct jobs_watch *watch) {
    for (struct watched *file = watch->files; file; file = file->next)
        file->there = false;
    if (flight_files_supervised(watch->folder, &watch->supervisor, find, watch)) return;
    for (struct watched *file = watch->files, *next; file; file = next) {
        next = file->next;
        if (file->fd >= 0) look_at(file);
        if (file->fd < 0 && !file->there) drop(watch, file);
    }
}

void jobs_watch_destroy(struct jobs_watch *watch) {
    while (watch && watch->files)
        drop(watch, watch->files);
    free(watch);
}
