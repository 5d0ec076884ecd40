#include "flight_files.h"

#include "base/clock.h"
#include "base/log.h"
#include "comfydd/flight.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND      UINT64_C(1000000000) /* ns */
#define MOST_AGE    (86400 * SECOND)     /* since the last sign of life: agents refuse older spans */
#define UNFINISHED  (60 * SECOND)        /* a file without content that is older was never finished */
#define MOST_LEFT   16                   /* orphans; the oldest go when there are more */
#define MOST_SEEN   4096                 /* names looked at; anybody can put names into /dev/shm */
#define SHARE       4                    /* a file takes at most this part of the free room */
#define NAME_PREFIX "comfydd-"

/* This process's file; of the parent in a forked child. */
static struct {
    char path[PATH_MAX];
    const char *name; /* in path */
    int fd;           /* for the lock */
    dev_t device;
    ino_t inode;
    pid_t pid; /* 0: none */
} own;

static uint64_t trusted; /* see flight_files_trust */

struct file_name {
    uid_t uid;
    struct process_identity process;
};

/* The system calls themselves: the library's own hooks on open are not for us. */
static int open_at(int folder, const char *name, int flags) {
    return (int)syscall(SYS_openat, folder, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                        0600);
}

static int open_folder(const char *folder) {
    return (int)syscall(SYS_openat, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

/* ---- names ---- */

static void make_name(char *name, size_t size, const struct process_identity *process, unsigned number) {
    snprintf(name, size, NAME_PREFIX "%u-%d-%llu-%u", (unsigned)geteuid(), (int)process->pid,
             (unsigned long long)process->start_ticks, number);
}

static bool parse_name(const char *name, struct file_name *parsed) {
    unsigned uid, number;
    int pid;
    unsigned long long start;
    char again[NAME_MAX + 1];
    if (strncmp(name, NAME_PREFIX, sizeof NAME_PREFIX - 1) != 0 || strlen(name) > 64) return false;
    if (sscanf(name, NAME_PREFIX "%9u-%9d-%19llu-%9u", &uid, &pid, &start, &number) != 4) return false;
    *parsed = (struct file_name){uid, {.pid = pid, .start_ticks = start}};
    snprintf(again, sizeof again, NAME_PREFIX "%u-%d-%llu-%u", uid, pid, start, number);
    return pid > 0 && strcmp(name, again) == 0;
}

/* ---- locks ---- */

/* A record lock: it is the process's, so forked children do not keep it, and the kernel takes it back at the end. */
static bool lock(int fd) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &whole) == 0;
}

/* ---- this process's file ---- */

static bool is_own_descriptor(void) {
    struct stat status;
    return own.pid && fstat(own.fd, &status) == 0 && status.st_dev == own.device &&
           status.st_ino == own.inode;
}

/* `more`: bytes that could be made free. */
static bool has_room(const char *folder, size_t size, uint64_t more) {
    struct statvfs room;
    return statvfs(folder, &room) == 0 && ((uint64_t)room.f_bavail * room.f_frsize + more) / SHARE >= size;
}

/* A file larger than the limit would raise SIGXFSZ, even one in memory. */
static bool may_be_so_large(size_t size) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur >= size;
}

static int reserve(int fd, size_t size) {
    int failed;
    do
        failed = fallocate(fd, 0, 0, (off_t)size);
    while (failed && errno == EINTR);
    return failed ? -errno : 0;
}

/* A new file, locked, its descriptor not one of the three that a host may have closed; -errno. */
static int make_file(int folder, const char *name, size_t size) {
    int low = open_at(folder, name, O_RDWR | O_CREAT | O_EXCL);
    if (low < 0) return -errno;
    int fd = low >= 3 ? low : fcntl(low, F_DUPFD_CLOEXEC, 3);
    int error = fd < 0 ? -errno : 0;
    if (fd != low) close(low); /* before the lock, which it would end */
    if (!error) error = reserve(fd, size);
    if (!error && !lock(fd)) error = -errno;
    if (!error) return fd;
    unlinkat(folder, name, 0);
    if (fd >= 0) close(fd);
    return error;
}

static int keep(const char *path, int fd) {
    struct stat status;
    if (fstat(fd, &status)) return -errno;
    strcpy(own.path, path);
    own.name = strrchr(own.path, '/') + 1;
    own.fd = fd;
    own.device = status.st_dev;
    own.inode = status.st_ino;
    own.pid = getpid();
    return fd;
}

int flight_files_create(const char *folder, size_t size) {
    const unsigned most_programs = 1000; /* that one process becomes, each having left something */
    char path[PATH_MAX], name[NAME_MAX + 1];
    struct process_identity self = process_self();
    if (is_own_descriptor() && own.pid != getpid()) close(own.fd); /* a child's copy of its parent's */
    own.pid = 0;
    int saved_errno = errno, result = -ENOSPC;
    int at = open_folder(folder);
    if (at < 0) result = -errno;
    if (at >= 0 && may_be_so_large(size) && has_room(folder, size, 0)) {
        result = -EEXIST;
        for (unsigned number = 0; result == -EEXIST && number < most_programs; number++) {
            make_name(name, sizeof name, &self, number);
            if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
                result = -ENAMETOOLONG;
            else
                result = make_file(at, name, size);
        }
    }
    if (at >= 0) close(at);
    if (result >= 0) result = keep(path, result);
    errno = saved_errno;
    return result;
}

bool flight_files_has_own(void) {
    struct stat status;
    int saved_errno = errno;
    bool has = own.pid == getpid() && lstat(own.path, &status) == 0 && status.st_dev == own.device &&
               status.st_ino == own.inode;
    errno = saved_errno;
    return has;
}

void flight_files_trust(uint64_t secret) {
    trusted = secret;
}

void flight_files_remove(void) {
    int saved_errno = errno;
    if (flight_files_has_own()) unlink(own.path);
    errno = saved_errno;
}

/* ---- the files of others ---- */

static bool is_private(const struct stat *status) {
    return S_ISREG(status->st_mode) && (status->st_mode & 077) == 0 && status->st_nlink == 1;
}

static bool read_header(int fd, struct flight_header *header) {
    return pread(fd, header, sizeof *header, 0) == (ssize_t)sizeof *header && header->magic == FLIGHT_MAGIC;
}

/* A file that is open. */
struct candidate {
    int fd;
    struct stat status;
    bool has_header;
    struct flight_header header;
};

static bool is_ours(const struct candidate *file) {
    if (file->status.st_uid == geteuid()) return true;
    return trusted && file->has_header && file->header.supervisor_secret == trusted;
}

static int look(struct candidate *file) {
    if (fstat(file->fd, &file->status)) return -errno;
    if (!is_private(&file->status)) return -EPERM;
    file->has_header = read_header(file->fd, &file->header);
    return is_ours(file) ? 0 : -EPERM;
}

/* `named`: whose it is by its name, for one without a header. */
static bool is_dead(const struct candidate *file, const struct process_identity *named,
                    const struct process_identity *me) {
    if (!file->has_header) return process_is(named, me) || !process_runs(named);
    const struct flight_header *header = &file->header;
    const struct process_identity process = {header->pid, header->pid_start_ticks};
    const struct process_identity supervisor = {header->supervisor_pid, header->supervisor_start_ticks};
    char boot_id[PROCESS_BOOT_ID_SIZE];
    if (process_is(&process, me)) return true;
    process_boot_id(boot_id);
    if (header->boot_id[0] && boot_id[0] && strncmp(header->boot_id, boot_id, sizeof boot_id) != 0)
        return true;
    if (!process_is(&supervisor, me) && process_runs(&supervisor)) return false;
    return header->replaced || !process_runs(&process);
}

static int claim_opened(struct candidate *file, const struct process_identity *named,
                        const struct process_identity *me) {
    int error = look(file);
    if (error) return error;
    if (!file->has_header && !named) return -EINVAL;
    /* Before the lock: as long as we hold it, a supervisor that looks would find its file taken. */
    if (!is_dead(file, named, me) || !lock(file->fd)) return -EBUSY;
    return look(file); /* again: somebody may have had it, and have removed it */
}

/* Opens the file and locks it; 0, or -errno with nothing open. */
static int claim(int folder, const char *path, const struct process_identity *named,
                 const struct process_identity *me, struct candidate *file) {
    file->fd = open_at(folder, path, O_RDWR);
    if (file->fd < 0) return -errno;
    int error = claim_opened(file, named, me);
    if (error) close(file->fd);
    return error;
}

int flight_files_claim(const char *path, const struct process_identity *me) {
    struct candidate file;
    int saved_errno = errno;
    int error = claim(AT_FDCWD, path, NULL, me, &file);
    errno = saved_errno;
    return error ? error : file.fd;
}

/* ---- all that are in the folder ---- */

/* Of the process that the file is of. The time of modification is none where there is another: whoever tries to send the file
 * notes in it what has been told of it. */
static uint64_t last_sign_ns(const struct candidate *file) {
    if (file->has_header && file->header.version == FLIGHT_VERSION) return file->header.alive_ns;
    return (uint64_t)file->status.st_mtim.tv_sec * SECOND + (uint64_t)file->status.st_mtim.tv_nsec;
}

static bool is_too_old(const struct candidate *file) {
    uint64_t last = last_sign_ns(file), now = clock_wall_ns();
    return now > last && now - last > (file->has_header ? MOST_AGE : UNFINISHED);
}

/* The names in the folder of which we know who they are, one after the other; NULL at the end. */
static const char *next_name(DIR *list, unsigned *seen, struct file_name *parsed) {
    struct dirent *entry;
    while ((*seen)++ < MOST_SEEN && (entry = readdir(list)))
        if (parse_name(entry->d_name, parsed) && (trusted || parsed->uid == geteuid())) return entry->d_name;
    return NULL;
}

static DIR *open_list(const char *folder, int *error) {
    int at = open_folder(folder);
    DIR *list = at >= 0 ? fdopendir(at) : NULL;
    *error = list ? 0 : -errno;
    if (!list && at >= 0) close(at);
    return list;
}

static void tell_removed(unsigned count, const char *folder) {
    if (count)
        log_line("removed %u old file%s of spans in %s that no agent has taken", count, count == 1 ? "" : "s",
                 folder);
}

int flight_files_orphans(const char *folder, const struct process_identity *me, bool tidy,
                         bool (*each)(void *context, int file, const char *path), void *context) {
    char path[PATH_MAX];
    int saved_errno = errno, error;
    unsigned removed = 0, seen = 0;
    struct file_name parsed;
    DIR *list = open_list(folder, &error);
    const char *name;
    for (bool more = list; more && (name = next_name(list, &seen, &parsed));) {
        struct candidate file;
        if (own.pid == getpid() && strcmp(name, own.name) == 0) continue; /* closing it would end our lock */
        if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) continue;
        if (claim(dirfd(list), name, &parsed.process, me, &file)) continue;
        if (tidy && is_too_old(&file))
            removed += unlinkat(dirfd(list), name, 0) == 0;
        else if (file.has_header)
            more = each(context, file.fd, path);
        close(file.fd);
    }
    if (list) closedir(list);
    tell_removed(removed, folder);
    errno = saved_errno;
    return error;
}

/* ---- not too many of them ---- */

struct left {
    unsigned count;
    uint64_t bytes;
    /* Of the oldest: */
    char path[PATH_MAX];
    uint64_t last_ns;
    size_t size;
};

static bool add_left(void *context, int fd, const char *path) {
    struct left *left = context;
    struct candidate file = {.fd = fd};
    if (look(&file)) return true;
    uint64_t last = last_sign_ns(&file);
    if (!left->count++ || last < left->last_ns) {
        left->last_ns = last;
        left->size = (size_t)file.status.st_size;
        snprintf(left->path, sizeof left->path, "%s", path);
    }
    left->bytes += (uint64_t)file.status.st_blocks * 512;
    return true;
}

static bool is_one_too_many(const char *folder, const struct left *left) {
    if (left->count >= MOST_LEFT) return true;
    return left->count && !has_room(folder, left->size, 0) && has_room(folder, left->size, left->bytes);
}

static bool remove_orphan(const char *path, const struct process_identity *me) {
    int file = flight_files_claim(path, me);
    if (file < 0) return false;
    bool removed = unlink(path) == 0;
    close(file);
    return removed;
}

void flight_files_make_room(const char *folder, const struct process_identity *me) {
    int saved_errno = errno;
    unsigned removed = 0;
    for (;; removed++) {
        struct left left = {.count = 0};
        flight_files_orphans(folder, me, true, add_left, &left);
        if (!is_one_too_many(folder, &left) || !remove_orphan(left.path, me)) break;
    }
    tell_removed(removed, folder);
    errno = saved_errno;
}

/* ---- those of living processes ---- */

/* A descriptor of the file, if its process has that supervisor; else -1. */
static int open_supervised(int folder, const char *name, const struct process_identity *supervisor) {
    struct candidate file = {.fd = open_at(folder, name, O_RDONLY)};
    if (file.fd < 0) return -1;
    if (look(&file) == 0 && file.has_header) {
        struct process_identity named = {file.header.supervisor_pid, file.header.supervisor_start_ticks};
        if (process_is(&named, supervisor)) return file.fd;
    }
    close(file.fd);
    return -1;
}

int flight_files_supervised(const char *folder, const struct process_identity *supervisor,
                            void (*each)(void *context, int fd), void *context) {
    int saved_errno = errno, error;
    unsigned seen = 0;
    struct file_name parsed;
    DIR *list = open_list(folder, &error);
    const char *name;
    while (list && (name = next_name(list, &seen, &parsed))) {
        int fd = open_supervised(dirfd(list), name, supervisor);
        if (fd >= 0) each(context, fd);
    }
    if (list) closedir(list);
    errno = saved_errno;
    return error;
}
