#include "cli/spool.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* {"done":0,"event":OBJECT}\n */
static const char before_object[] = "{\"done\":0,\"event\":", after_object[] = "}\n";
enum {
    MARK = sizeof "{\"done\":" - 1, /* where the 0 is */
    BEFORE = sizeof before_object - 1,
    AFTER = sizeof after_object - 1,
};

struct spool {
    char *path; /* owned */
    int fd;
    off_t first, first_size; /* of the first entry's line; first == size: none */
    off_t size;              /* of the file */
};

/* ---- the file ---- */

static int read_at(int fd, char *to, size_t size, off_t at) {
    while (size) {
        ssize_t got = pread(fd, to, size, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got ? -errno : -EIO;
        to += got;
        at += got;
        size -= (size_t)got;
    }
    return 0;
}

static int write_at(int fd, const char *from, size_t size, off_t at) {
    while (size) {
        ssize_t put = pwrite(fd, from, size, at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return put ? -errno : -EIO;
        from += put;
        at += put;
        size -= (size_t)put;
    }
    return fsync(fd) ? -errno : 0;
}

static int cut(struct spool *spool, off_t size) {
    if (ftruncate(spool->fd, size)) return -errno;
    spool->size = size;
    return fsync(spool->fd) ? -errno : 0;
}

/* The size of the line at `at`, its end included; 0 when there is none. */
static int line_size(const struct spool *spool, off_t at, off_t *size) {
    char chunk[4096];
    *size = 0;
    for (off_t place = at; place < spool->size;) {
        size_t wanted = sizeof chunk;
        if (spool->size - place < (off_t)wanted) wanted = (size_t)(spool->size - place);
        int error = read_at(spool->fd, chunk, wanted, place);
        if (error) return error;
        const char *end = memchr(chunk, '\n', wanted);
        if (end) {
            *size = place + (end - chunk) + 1 - at;
            return 0;
        }
        place += (off_t)wanted;
    }
    return 0;
}

/* Whether an entry, not yet taken out, is the line at `at`. */
static int is_waiting(const struct spool *spool, off_t at, off_t size, bool *waiting) {
    char start[BEFORE], end[AFTER];
    *waiting = size >= BEFORE + AFTER;
    if (!*waiting) return 0;
    int error = read_at(spool->fd, start, sizeof start, at);
    if (!error) error = read_at(spool->fd, end, sizeof end, at + size - AFTER);
    *waiting = memcmp(start, before_object, sizeof start) == 0 && memcmp(end, after_object, sizeof end) == 0;
    return error;
}

/* Cuts off a last line that has no end. */
static int cut_torn_line(struct spool *spool) {
    char chunk[4096];
    off_t whole = spool->size;
    while (whole) {
        size_t wanted = whole < (off_t)sizeof chunk ? (size_t)whole : sizeof chunk;
        int error = read_at(spool->fd, chunk, wanted, whole - (off_t)wanted);
        if (error) return error;
        const char *end = memrchr(chunk, '\n', wanted);
        whole -= end ? chunk + wanted - (end + 1) : (off_t)wanted;
        if (end) break;
    }
    return whole < spool->size ? cut(spool, whole) : 0;
}

/* Moves on to the first line at or after `at` that is an entry still wanted. */
static int find_first(struct spool *spool, off_t at) {
    for (;;) {
        bool waiting;
        off_t size;
        int error = line_size(spool, at, &size);
        spool->first = at;
        spool->first_size = size;
        if (error || !size) return error;
        error = is_waiting(spool, at, size, &waiting);
        if (error || waiting) return error;
        at += size;
    }
}

static int check_file(struct spool *spool) {
    struct stat found;
    if (flock(spool->fd, LOCK_EX | LOCK_NB) || fstat(spool->fd, &found)) return -errno;
    if (!S_ISREG(found.st_mode) || found.st_uid != geteuid()) return -EPERM;
    if (found.st_mode & 077 && fchmod(spool->fd, 0600)) return -errno;
    spool->size = found.st_size;
    int error = cut_torn_line(spool);
    return error ? error : find_first(spool, 0);
}

struct spool *spool_open(const char *path, int *error) {
    struct spool *spool = calloc(1, sizeof *spool);
    char *copy = strdup(path);
    if (!spool || !copy) {
        free(spool);
        free(copy);
        *error = -ENOMEM;
        return NULL;
    }
    spool->path = copy;
    /* O_NONBLOCK: not to wait for a reader where somebody put a pipe. */
    spool->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    *error = spool->fd < 0 ? -errno : check_file(spool);
    if (!*error) return spool;
    spool_close(spool);
    return NULL;
}

void spool_close(struct spool *spool) {
    if (!spool) return;
    if (spool->fd >= 0) close(spool->fd);
    free(spool->path);
    free(spool);
}

const char *spool_path(const struct spool *spool) {
    return spool->path;
}

/* ---- the queue ---- */

bool spool_empty(const struct spool *spool) {
    return spool->first == spool->size;
}

unsigned spool_count(const struct spool *spool) {
    struct spool at = *spool;
    unsigned count = 0;
    while (!spool_empty(&at)) {
        count++;
        if (find_first(&at, at.first + at.first_size)) break;
    }
    return count;
}

/* A file that the limit of this process does not allow to grow would end it with SIGXFSZ. */
static int has_room(const struct spool *spool, size_t more) {
    struct rlimit limit;
    uint64_t grown = (uint64_t)spool->size + more;
    if (grown > SPOOL_MOST) return -ENOSPC;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && grown > limit.rlim_cur ? -EFBIG : 0;
}

static int add_line(struct spool *spool, const char *line, size_t size) {
    int error = has_room(spool, size);
    if (error) return error;
    error = write_at(spool->fd, line, size, spool->size);
    if (error) {
        cut(spool, spool->size); /* if not even that is possible, the next append writes over it */
        return error;
    }
    if (spool_empty(spool)) spool->first_size = (off_t)size;
    spool->size += (off_t)size;
    return 0;
}

int spool_append(struct spool *spool, const char *object, size_t size) {
    struct buf line = {0};
    buf_append(&line, before_object, BEFORE);
    buf_append(&line, object, size);
    buf_append(&line, after_object, AFTER);
    int error = line.failed ? -ENOMEM : add_line(spool, line.data, line.size);
    buf_finish(&line);
    return error;
}

int spool_first(struct spool *spool, struct buf *object) {
    if (spool_empty(spool)) return -ENOENT;
    size_t size = (size_t)spool->first_size - BEFORE - AFTER;
    buf_clear(object);
    char *room = buf_room(object, size + 1);
    if (!room) return -ENOMEM;
    int error = read_at(spool->fd, room, size, spool->first + BEFORE);
    if (error) return error;
    room[size] = '\0';
    object->size = size;
    return 0;
}

int spool_done(struct spool *spool) {
    off_t done = spool->first;
    int error = find_first(spool, done + spool->first_size);
    if (error) spool->first = spool->size; /* unreadable: nothing of it can be delivered by this process */
    if (!error && spool_empty(spool) && !cut(spool, 0)) {
        spool->first = 0;
        return 0;
    }
    int marked = write_at(spool->fd, "1", 1, done + MARK);
    return error ? error : marked;
}
