/* How many files of flight memories there may be, and how large a part of their folder they may take. */
#include "flight_files.h"

#include "capture.h"
#include "left_behind.h"
#include "tree.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *folder;
static struct process_identity self;

/* ---- what the kernel answers, where a test wants something else ---- */

static uint64_t room_for; /* files of LEFT_SIZE that the folder takes, those in it included; 0: as it is */
static bool cannot_reserve;

static uint64_t count_files(void) {
    uint64_t count = 0;
    DIR *list = opendir(folder);
    for (struct dirent *entry; (entry = readdir(list));)
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

int statvfs(const char *at, struct statvfs *room) {
    struct statfs found;
    if (statfs(at, &found)) return -1;
    *room = (struct statvfs){.f_frsize = (unsigned long)found.f_bsize, .f_bavail = found.f_bavail};
    if (room_for) *room = (struct statvfs){.f_frsize = LEFT_SIZE, .f_bavail = room_for - count_files()};
    return 0;
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
    if (cannot_reserve) errno = ENOSPC;
    return cannot_reserve ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

static int start(void **state) {
    self = process_self();
    if (tree_setup(state)) return -1;
    folder = tree_root();
    left_in(folder);
    return 0;
}

static int finish(void **state) {
    room_for = 0;
    cannot_reserve = false;
    flight_files_remove();
    return tree_teardown(state);
}

/* ---- a file of one's own ---- */

static void a_file_takes_a_quarter_of_the_room_and_leaves_nothing_where_it_fails(void **state) {
    (void)state;
    room_for = 3;
    assert_int_equal(flight_files_create(folder, LEFT_SIZE), -ENOSPC);
    room_for = 4;
    cannot_reserve = true;
    assert_int_equal(flight_files_create(folder, LEFT_SIZE), -ENOSPC);
    assert_int_equal(count_files(), 0);
    cannot_reserve = false;
    assert_true(flight_files_create(folder, LEFT_SIZE) >= 0);
}

/* ---- those of the dead ---- */

/* Without an agent, every end would leave one more. The oldest are the least worth. */
static void files_do_not_pile_up(void **state) {
    (void)state;
    enum { MOST = 16 };
    struct flight_header living = left_header(self);
    left_make(left_name(self, MOST + 2), &living); /* somebody's who lives: neither counted nor removed */
    /* Those that died first have been written to last, as when somebody tries to send them. */
    for (unsigned i = 0; i < MOST + 2; i++) {
        struct flight_header header = left_header(left_somebody_dead());
        header.alive_ns -= (i == 5 ? MOST + 2 : i) * UINT64_C(1000000000);
        left_make(left_name(left_somebody_dead(), i), &header);
    }
    struct process_identity next = {.pid = getppid()};
    capture_start();
    errno = 77;
    flight_files_make_room(folder, &next);
    assert_int_equal(errno, 77);
    assert_non_null(strstr(capture_stop(), "removed 3 old files"));
    for (unsigned i = 0; i < MOST + 2; i++)
        assert_int_equal(access(left_name(left_somebody_dead(), i), F_OK),
                         i == 5 || i == MOST || i == MOST + 1 ? -1 : 0);
    assert_int_equal(access(left_name(self, MOST + 2), F_OK), 0);
    flight_files_make_room(folder, &next);
    assert_int_equal(access(left_name(left_somebody_dead(), MOST - 1), F_OK), 0); /* there is room */
}

/* But not where nothing is gained by it. */
static void files_of_the_dead_make_room_for_a_new_one(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    for (unsigned i = 0; i < 4; i++) {
        char *content = calloc(1, LEFT_SIZE);
        left_make(left_name(left_somebody_dead(), i), &header);
        int fd = open(left_name(left_somebody_dead(), i), O_WRONLY | O_APPEND);
        assert_int_equal(ftruncate(fd, sizeof header), 0);
        assert_int_equal(write(fd, content, LEFT_SIZE - sizeof header), LEFT_SIZE - sizeof header);
        close(fd);
        free(content);
    }
    const struct process_identity next = {.pid = getppid()};
    room_for = 8;
    flight_files_make_room(folder, &next);
    assert_int_equal(count_files(), 4);
    room_for = 6;
    capture_start();
    flight_files_make_room(folder, &next);
    assert_non_null(strstr(capture_stop(), "removed 2 old files"));
    assert_int_equal(count_files(), 2);
    room_for = 3;
    flight_files_make_room(folder, &next);
    assert_int_equal(count_files(), 2);
}

static bool count(void *context, int file, const char *found) {
    (void)file, (void)found;
    return ++*(unsigned *)context < 100;
}

static void files_of_a_living_supervisor_are_removed_by_that_one(void **state) {
    (void)state;
    struct process_identity other = {.pid = getppid()};
    struct flight_header header = left_header(left_somebody_dead());
    header.supervisor_pid = other.pid;
    for (unsigned i = 0; i < 20; i++)
        left_make(left_name(left_somebody_dead(), i), &header);
    unsigned left = 0;
    flight_files_make_room(folder, &self);
    assert_int_equal(flight_files_orphans(folder, &other, false, count, &left), 0);
    assert_int_equal(left, 20);
    capture_start();
    flight_files_make_room(folder, &other);
    capture_stop();
    left = 0;
    assert_int_equal(flight_files_orphans(folder, &other, false, count, &left), 0);
    assert_int_equal(left, 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
        TEST(a_file_takes_a_quarter_of_the_room_and_leaves_nothing_where_it_fails),
        TEST(files_do_not_pile_up),
        TEST(files_of_the_dead_make_room_for_a_new_one),
        TEST(files_of_a_living_supervisor_are_removed_by_that_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
