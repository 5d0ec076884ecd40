/* Files of flight memories: whose they are, who may take them over, and what is left alone. */
#include "flight_files.h"

#include "base/clock.h"
#include "capture.h"
#include "comfydd/flight.h"
#include "left_behind.h"
#include "tree.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DAY = 86400 };

static const char *folder;
static struct process_identity self;

static char path[PATH_MAX];         /* of what was claimed last */
static const char *removed_by_then; /* by another process, when we have the lock */

/* Of the program under test too. */
int fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETLK && removed_by_then) unlink(removed_by_then);
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

static int start(void **state) {
    self = process_self();
    if (tree_setup(state)) return -1;
    folder = tree_root();
    left_in(folder);
    return 0;
}

static int finish(void **state) {
    removed_by_then = NULL;
    flight_files_remove();
    return tree_teardown(state);
}

static void leave_dead(void) {
    struct flight_header header = left_header(left_somebody_dead());
    left_make(left_name(left_somebody_dead(), 0), &header);
}

static bool keep(void *context, int file, const char *found) {
    *(int *)context = fcntl(file, F_DUPFD_CLOEXEC, 3); /* closing the other one ends the lock */
    snprintf(path, sizeof path, "%s", found);
    return false;
}

/* The first orphan, claimed, as the next start would. */
static int claim(void) {
    int first = -ENOENT;
    int error = flight_files_orphans(folder, &self, true, keep, &first);
    if (error || first < 0) return error ? error : first;
    close(first);
    return flight_files_claim(path, &self);
}

static void assert_claimed(void) {
    int fd = claim();
    if (fd < 0) fail_msg("nothing is claimed: %d", fd);
    close(fd);
}

static void assert_left_alone(const char *name) {
    assert_int_equal(claim(), -ENOENT);
    assert_int_equal(access(name, F_OK), 0);
}

static void make_old(const char *name, time_t seconds) {
    time_t then = time(NULL) - seconds;
    struct timespec times[2] = {{.tv_sec = then}, {.tv_sec = then}};
    assert_int_equal(utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* ---- one's own ---- */

static void a_file_is_its_owners_and_goes_when_told(void **state) {
    (void)state;
    struct stat status;
    errno = 77;
    int fd = flight_files_create(folder, LEFT_SIZE);
    assert_true(fd >= 3);
    assert_int_equal(errno, 77);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(lstat(left_name(self, 0), &status), 0);
    assert_int_equal(status.st_mode, S_IFREG | 0600);
    assert_int_equal(status.st_size, LEFT_SIZE);
    assert_true(status.st_blocks * 512 >= LEFT_SIZE); /* all of it is there */
    assert_true(flight_files_has_own());
    flight_files_remove();
    assert_false(flight_files_has_own());
    assert_int_equal(access(left_name(self, 0), F_OK), -1);
}

/* In a child: whether it can claim something. */
static bool another_process_claims(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        self = process_self();
        _exit(claim() >= 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_standard_descriptors_stay_closed_where_they_were(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    int kept[] = {dup(STDIN_FILENO), dup(STDOUT_FILENO)};
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    int fd = flight_files_create(folder, LEFT_SIZE);
    int is_open = fcntl(STDIN_FILENO, F_GETFD) >= 0 || fcntl(STDOUT_FILENO, F_GETFD) >= 0;
    for (int standard = STDIN_FILENO; standard <= STDOUT_FILENO; standard++) {
        dup2(kept[standard], standard);
        close(kept[standard]);
    }
    assert_true(fd >= 3);
    assert_false(is_open);
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    assert_false(another_process_claims()); /* it is locked */
}

static void a_living_process_keeps_its_file(void **state) {
    (void)state;
    struct flight_header header = left_header(self);
    int fd = flight_files_create(folder, LEFT_SIZE);
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    assert_left_alone(left_name(self, 0));
    assert_false(another_process_claims());
    /* Even where its pid cannot be seen: the lock tells. */
    header.pid_start_ticks--;
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    assert_false(another_process_claims());
}

/* The descriptors of the host are its own: it may close all it finds. */
static void a_file_whose_lock_is_gone_still_has_its_owner(void **state) {
    (void)state;
    struct flight_header header = left_header(self);
    int fd = flight_files_create(folder, LEFT_SIZE);
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    close(fd);
    assert_false(another_process_claims());
    assert_true(flight_files_has_own());
}

static int descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 64; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_forked_child_makes_its_own(void **state) {
    (void)state;
    assert_true(flight_files_create(folder, LEFT_SIZE) >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        flight_files_remove(); /* not the child's */
        int before = descriptors();
        bool right = !flight_files_has_own() && access(left_name(self, 0), F_OK) == 0 &&
                     flight_files_create(folder, LEFT_SIZE) >= 0 &&
                     access(left_name(process_self(), 0), F_OK) == 0 &&
                     descriptors() == before; /* one in the place of its parent's */
        flight_files_remove();
        _exit(right && access(left_name(process_self(), 0), F_OK) != 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(flight_files_has_own());
}

static void a_program_that_replaced_another_claims_what_that_left(void **state) {
    (void)state;
    struct flight_header header = left_header(self);
    left_make(left_name(self, 0), &header);
    int fd = flight_files_create(folder, LEFT_SIZE);
    assert_true(fd >= 0);
    assert_int_equal(access(left_name(self, 1), F_OK), 0);
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    int claimed = claim();
    assert_true(claimed >= 0);
    assert_string_equal(path, left_name(self, 0));
    assert_int_equal(unlink(path), 0);
    close(claimed);
    assert_int_equal(claim(), -ENOENT);
    assert_false(another_process_claims()); /* the new one's is locked as before */
}

static void a_folder_that_refuses_is_done_without(void **state) {
    (void)state;
    char missing[PATH_MAX];
    snprintf(missing, sizeof missing, "%s/missing", folder);
    assert_int_equal(flight_files_create(missing, LEFT_SIZE), -ENOENT);
    assert_int_equal(flight_files_create(folder, (size_t)1 << 60), -ENOSPC); /* no room */
    assert_int_equal(flight_files_orphans(missing, &self, true, keep, NULL), -ENOENT);
    assert_int_equal(flight_files_claim(missing, &self), -ENOENT);
    struct rlimit before, small = {LEFT_SIZE - 1, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(flight_files_create(folder, LEFT_SIZE), -ENOSPC); /* and no SIGXFSZ */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(flight_files_has_own());
}

static bool count(void *context, int file, const char *found) {
    (void)file, (void)found;
    return ++*(unsigned *)context < 100;
}

/* ---- those of others ---- */

static void the_dead_ones_are_claimed_once(void **state) {
    (void)state;
    leave_dead();
    int fd = claim();
    assert_true(fd >= 0);
    assert_string_equal(path, left_name(left_somebody_dead(), 0));
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_false(another_process_claims());
    close(fd);
    assert_true(another_process_claims()); /* it was let go of */
    assert_claimed();
}

static void a_file_that_was_removed_meanwhile_is_not_claimed(void **state) {
    (void)state;
    leave_dead();
    int fd = claim();
    assert_int_equal(unlink(path), 0);
    close(fd);
    assert_int_equal(claim(), -ENOENT);
}

/* By who had it until then: the same name may be a new file's. */
static void a_file_that_was_removed_before_the_lock_is_not_claimed(void **state) {
    (void)state;
    leave_dead();
    removed_by_then = left_name(left_somebody_dead(), 0);
    assert_int_equal(flight_files_claim(removed_by_then, &self), -EPERM);
}

static void links_and_other_things_are_left_alone(void **state) {
    (void)state;
    char target[PATH_MAX];
    struct flight_header header = left_header(left_somebody_dead());
    const char *name = left_name(left_somebody_dead(), 0);
    snprintf(target, sizeof target, "%s/target", folder);
    left_make(target, &header);

    assert_int_equal(symlink(target, name), 0);
    assert_left_alone(name);
    unlink(name);
    assert_int_equal(link(target, name), 0);
    assert_left_alone(name);
    unlink(name);
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_left_alone(name);
    unlink(name);
    assert_int_equal(mkdir(name, 0700), 0);
    assert_left_alone(name);
    rmdir(name);
    assert_int_equal(rename(target, name), 0);
    assert_claimed(); /* nothing else was wrong */
}

static void a_link_in_the_way_of_a_new_file_is_not_followed(void **state) {
    (void)state;
    char target[PATH_MAX];
    snprintf(target, sizeof target, "%s/target", folder);
    assert_int_equal(symlink(target, left_name(self, 0)), 0);
    assert_true(flight_files_create(folder, LEFT_SIZE) >= 0);
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(access(left_name(self, 1), F_OK), 0);
}

static void files_that_others_could_have_written_are_left_alone(void **state) {
    (void)state;
    leave_dead();
    const char *name = left_name(left_somebody_dead(), 0);
    for (mode_t open_to = 1; open_to < 0100; open_to <<= 1) {
        assert_int_equal(chmod(name, 0600 | open_to), 0);
        assert_left_alone(name);
    }
    assert_int_equal(chmod(name, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(name, 65534, 65534), 0);
        assert_left_alone(name);
        assert_int_equal(chown(name, 0, 0), 0);
    }
    assert_claimed();
}

static void names_of_others_are_left_alone(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    const char *const names[] = {
        "comfydd-%u-1-2",    "comfydd-%u-1-2-3x", "comfydd-%u-01-2-3",         "xcomfydd-%u-1-2-3",
        "comfydd-7%u-1-2-3", "comfydd-%u--1-2-3", "comfydd-%u-99999999999-2-3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[PATH_MAX / 2], whole[PATH_MAX];
        snprintf(name, sizeof name, names[i], (unsigned)geteuid());
        snprintf(whole, sizeof whole, "%s/%s", folder, name);
        left_make(whole, &header);
        assert_left_alone(whole);
        unlink(whole);
    }
}

static void another_boot_is_over(void **state) {
    (void)state;
    struct process_identity parent = {.pid = getppid()}; /* runs; its start is not looked at */
    struct flight_header header = left_header(parent);
    left_make(left_name(parent, 0), &header);
    assert_left_alone(left_name(parent, 0));
    unlink(left_name(parent, 0));
    memcpy(header.boot_id, "00000000-1111-2222-3333-444444444444", 37);
    left_make(left_name(parent, 0), &header);
    assert_claimed();
}

static void a_supervisor_comes_first_as_long_as_it_lives(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    const char *name = left_name(left_somebody_dead(), 0);
    header.supervisor_pid = getppid();
    left_make(name, &header);
    assert_left_alone(name);
    unlink(name);
    header.supervisor_pid = self.pid;
    header.supervisor_start_ticks = self.start_ticks;
    left_make(name, &header);
    assert_claimed();
    unlink(name);
    header.supervisor_start_ticks--; /* it is dead */
    left_make(name, &header);
    assert_claimed();
}

static void earlier_programs_of_a_process_are_over(void **state) {
    (void)state;
    struct flight_header header = left_header(self);
    header.supervisor_pid = getppid(); /* it lives */
    left_make(left_name(self, 0), &header);
    assert_claimed(); /* by its process */
    unlink(left_name(self, 0));
    const struct process_identity parent = {.pid = getppid()};
    header = left_header(parent);
    left_make(left_name(parent, 0), &header);
    assert_left_alone(left_name(parent, 0));
    unlink(left_name(parent, 0));
    header.replaced = 1;
    left_make(left_name(parent, 0), &header);
    assert_claimed();
}

/* ---- rubbish ---- */

static void files_that_were_never_finished_go_after_a_minute(void **state) {
    (void)state;
    const char *name = left_name(left_somebody_dead(), 0);
    left_make(name, NULL);
    assert_left_alone(name);
    make_old(name, 70);
    capture_start();
    assert_int_equal(claim(), -ENOENT);
    assert_non_null(strstr(capture_stop(), "comfydd: removed 1 old file of spans"));
    assert_int_equal(access(name, F_OK), -1);
}

static void a_file_shorter_than_its_header_goes_too(void **state) {
    (void)state;
    const char *name = left_name(left_somebody_dead(), 0);
    leave_dead();
    assert_int_equal(truncate(name, sizeof(struct flight_header) - 1), 0);
    make_old(name, 70);
    capture_start();
    assert_int_equal(claim(), -ENOENT);
    capture_stop();
    assert_int_equal(access(name, F_OK), -1);
}

/* Whoever sends files knows versions. */
static void files_of_another_version_are_passed_for_a_day(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    const char *name = left_name(left_somebody_dead(), 0);
    header.version++;
    left_make(name, &header);
    make_old(name, DAY - 60);
    assert_claimed();
    make_old(name, DAY + 60);
    capture_start();
    assert_int_equal(claim(), -ENOENT);
    capture_stop();
    assert_int_equal(access(name, F_OK), -1);
}

static void a_walk_without_tidying_changes_nothing(void **state) {
    (void)state;
    unsigned passed = 0;
    struct flight_header header = left_header(left_somebody_dead());
    header.alive_ns -= 2 * DAY * UINT64_C(1000000000);
    for (unsigned i = 0; i < 3; i++) {
        left_make(left_name(left_somebody_dead(), i), i ? &header : NULL);
        make_old(left_name(left_somebody_dead(), i), 2 * DAY);
    }
    assert_int_equal(flight_files_orphans(folder, &self, false, count, &passed), 0);
    assert_int_equal(passed, 2); /* one holds nothing */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(access(left_name(left_somebody_dead(), i), F_OK), 0);
}

static void a_walk_goes_on_after_a_file_that_stays(void **state) {
    (void)state;
    unsigned passed = 0;
    struct flight_header header = left_header(left_somebody_dead());
    for (unsigned i = 0; i < 3; i++)
        left_make(left_name(left_somebody_dead(), i), &header);
    assert_int_equal(flight_files_orphans(folder, &self, true, count, &passed), 0);
    assert_int_equal(passed, 3);
    passed = 99;
    assert_int_equal(flight_files_orphans(folder, &self, true, count, &passed), 0);
    assert_int_equal(passed, 100); /* until it is told to stop */
}

static void what_is_named_is_refused_with_the_reason(void **state) {
    (void)state;
    char other[PATH_MAX];
    struct flight_header header = left_header(left_somebody_dead());
    snprintf(other, sizeof other, "%s/a name of nobody", folder);
    left_make(other, &header);
    int fd = flight_files_claim(other, &self);
    assert_true(fd >= 0);
    close(fd);
    header.pid = getppid(), header.pid_start_ticks = 0; /* it lives */
    left_make(left_name(self, 7), &header);
    assert_int_equal(flight_files_claim(left_name(self, 7), &self), -EBUSY);
    left_make(left_name(self, 8), NULL);
    assert_int_equal(flight_files_claim(left_name(self, 8), &self), -EINVAL);
    assert_int_equal(symlink(other, left_name(self, 9)), 0);
    assert_int_equal(flight_files_claim(left_name(self, 9), &self), -ELOOP);
    assert_int_equal(chmod(other, 0640), 0);
    assert_int_equal(flight_files_claim(other, &self), -EPERM);
    assert_int_equal(flight_files_claim(folder, &self), -EISDIR);
}

static void the_last_sign_of_life_counts_not_the_first_nor_what_others_write(void **state) {
    (void)state;
    struct flight_header header = left_header(left_somebody_dead());
    const char *name = left_name(left_somebody_dead(), 0);
    left_make(name, &header);
    make_old(name, 3 * DAY); /* it ran for long */
    assert_claimed();
    unlink(name);
    header.alive_ns -= (DAY + 60) * UINT64_C(1000000000);
    left_make(name, &header); /* now */
    capture_start();
    assert_int_equal(claim(), -ENOENT);
    assert_non_null(strstr(capture_stop(), "removed 1 old file"));
}

static void a_full_folder_is_not_looked_through_for_ever(void **state) {
    (void)state;
    for (int i = 0; i < 5000; i++) {
        char name[PATH_MAX];
        snprintf(name, sizeof name, "%s/comfydd-%u-1-%d-x", folder, (unsigned)geteuid(), i);
        left_make(name, NULL);
    }
    assert_int_equal(claim(), -ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
        TEST(a_file_is_its_owners_and_goes_when_told),
        TEST(the_standard_descriptors_stay_closed_where_they_were),
        TEST(a_living_process_keeps_its_file),
        TEST(a_file_whose_lock_is_gone_still_has_its_owner),
        TEST(a_forked_child_makes_its_own),
        TEST(a_program_that_replaced_another_claims_what_that_left),
        TEST(a_folder_that_refuses_is_done_without),
        TEST(the_dead_ones_are_claimed_once),
        TEST(a_file_that_was_removed_meanwhile_is_not_claimed),
        TEST(a_file_that_was_removed_before_the_lock_is_not_claimed),
        TEST(links_and_other_things_are_left_alone),
        TEST(a_link_in_the_way_of_a_new_file_is_not_followed),
        TEST(files_that_others_could_have_written_are_left_alone),
        TEST(names_of_others_are_left_alone),
        TEST(another_boot_is_over),
        TEST(a_supervisor_comes_first_as_long_as_it_lives),
        TEST(earlier_programs_of_a_process_are_over),
        TEST(files_that_were_never_finished_go_after_a_minute),
        TEST(a_file_shorter_than_its_header_goes_too),
        TEST(files_of_another_version_are_passed_for_a_day),
        TEST(a_walk_without_tidying_changes_nothing),
        TEST(a_walk_goes_on_after_a_file_that_stays),
        TEST(what_is_named_is_refused_with_the_reason),
        TEST(the_last_sign_of_life_counts_not_the_first_nor_what_others_write),
        TEST(a_full_folder_is_not_looked_through_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
