#include "base/buf.h"
#include "cli/spool.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a spool in a folder of its own ---- */

static char folder[64], path[80];
static struct spool *spool;

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/comfydd-spool-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/spool", folder);
    spool = NULL;
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    spool_close(spool);
    unlink(path);
    return rmdir(folder);
}

static void open_again(void) {
    int error = 0;
    spool_close(spool);
    spool = spool_open(path, &error);
    if (!spool) fail_msg("spool_open: %s", strerror(-error));
}

static void append(const char *object) {
    assert_int_equal(spool_append(spool, object, strlen(object)), 0);
}

static void assert_first(const char *object) {
    struct buf first = {0};
    assert_int_equal(spool_first(spool, &first), 0);
    assert_string_equal(first.data, object);
    assert_int_equal(first.size, strlen(object));
    buf_finish(&first);
}

static void take(const char *object) {
    assert_first(object);
    assert_int_equal(spool_done(spool), 0);
}

static void assert_empty(void) {
    struct buf first = {0};
    assert_true(spool_empty(spool));
    assert_int_equal(spool_first(spool, &first), -ENOENT);
    buf_finish(&first);
}

static off_t size_of_file(void) {
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    return found.st_size;
}

static void set_file(const char *content) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

/* ---- a queue ---- */

/* Of the program under test too. */
static unsigned syncs;
static bool disk_is_broken;
int fsync(int fd) {
    syncs++;
    if (disk_is_broken) errno = EIO;
    return disk_is_broken ? -1 : (int)syscall(SYS_fsync, fd);
}

static void every_change_is_on_disk_when_a_call_returns(void **state) {
    (void)state;
    open_again();
    for (unsigned i = 1; i <= 3; i++) {
        append("{}");
        assert_int_equal(syncs, i);
    }
    for (unsigned i = 4; i <= 6; i++) {
        take("{}");
        assert_true(syncs >= i);
    }
}

static void first_in_first_out(void **state) {
    (void)state;
    open_again();
    assert_empty();
    append("{\"n\":1}");
    append("{}");
    append("{\"n\":3}");
    take("{\"n\":1}");
    append("{\"n\":4}");
    take("{}");
    take("{\"n\":3}");
    take("{\"n\":4}");
    assert_empty();
    assert_int_equal(size_of_file(), 0);
    append("{\"n\":5}");
    take("{\"n\":5}");
    assert_empty();
}

static void entries_longer_than_what_is_read_at_once(void **state) {
    (void)state;
    char *lengthy = malloc(20001);
    memset(lengthy, 'x', 20000);
    lengthy[20000] = '\0';
    open_again();
    append(lengthy);
    append("{}");
    append(lengthy);
    open_again();
    take(lengthy);
    take("{}");
    take(lengthy);
    assert_empty();
    free(lengthy);
}

static void entries_outlast_their_process(void **state) {
    (void)state;
    open_again();
    append("{\"n\":1}");
    append("{\"n\":2}");
    append("{\"n\":3}");
    open_again();
    take("{\"n\":1}");
    open_again();
    take("{\"n\":2}");
    open_again();
    append("{\"n\":4}");
    take("{\"n\":3}");
    open_again();
    take("{\"n\":4}");
    open_again();
    assert_empty();
}

/* ---- files that are not as we left them ---- */

#define ENTRY(n) "{\"done\":0,\"event\":{\"n\":" #n "}}\n"
#define DONE(n)  "{\"done\":1,\"event\":{\"n\":" #n "}}\n"

static void a_file_cut_anywhere(void **state) {
    (void)state;
    static const char whole[] = DONE(1) ENTRY(2) DONE(3) ENTRY(4);
    const size_t entry = sizeof ENTRY(1) - 1;
    for (size_t size = 0; size <= sizeof whole - 1; size++) {
        char cut[sizeof whole];
        memcpy(cut, whole, size);
        cut[size] = '\0';
        spool_close(spool);
        spool = NULL;
        set_file(cut);
        open_again();
        append("{\"n\":5}");
        if (size >= 2 * entry) take("{\"n\":2}");
        if (size >= 4 * entry) take("{\"n\":4}");
        take("{\"n\":5}");
        assert_empty();
        assert_int_equal(size_of_file(), 0);
    }
}

static void what_is_no_entry_is_passed_over(void **state) {
    (void)state;
    set_file(
        "\n{}\n{\"done\":0,\"event\":\nnonsense\n" ENTRY(1) "{\"done\":0,\"event\":{\"n\":9}]\n"
                                                            "{\"done\":2,\"event\":{}}\n" ENTRY(2) "\n\n");
    open_again();
    take("{\"n\":1}");
    take("{\"n\":2}");
    assert_empty();
}

static void others_have_no_access(void **state) {
    (void)state;
    struct stat found;
    set_file(ENTRY(1));
    assert_int_equal(chmod(path, 0666), 0);
    open_again();
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    take("{\"n\":1}");
}

static void no_link_pipe_or_folder_is_opened(void **state) {
    (void)state;
    int error = 0;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_null(spool_open(path, &error));
    assert_int_equal(error, -ELOOP);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(spool_open(path, &error));
    assert_int_equal(error, -EPERM);
    assert_null(spool_open(folder, &error));
    assert_int_equal(error, -EISDIR);
    assert_null(spool_open("/nowhere/at/all", &error));
    assert_int_equal(error, -ENOENT);
}

static void somebody_elses_is_left_to_him(void **state) {
    (void)state;
    int error = 0;
    if (geteuid() != 0) skip();
    set_file(ENTRY(1));
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_null(spool_open(path, &error));
    assert_int_equal(error, -EPERM);
}

static void one_at_a_time(void **state) {
    (void)state;
    int error = 0;
    open_again();
    assert_null(spool_open(path, &error));
    assert_int_equal(error, -EWOULDBLOCK);
    open_again();
}

/* ---- no room ---- */

/* In a child: the limit is the process's, and exceeding it must not end it. */
static int fill_up(void) {
    open_again();
    append("{\"n\":1}");
    struct rlimit limit = {.rlim_cur = (rlim_t)size_of_file() + 20, .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_DFL);
    if (setrlimit(RLIMIT_FSIZE, &limit)) return 2;
    if (spool_append(spool, "{\"n\":2}", 7) != -EFBIG || size_of_file() + 20 != (off_t)limit.rlim_cur)
        return 3;
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit)) return 4;
    append("{\"n\":3}");
    return 0;
}

static void a_file_that_may_not_grow(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) _exit(fill_up());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    open_again();
    take("{\"n\":1}");
    take("{\"n\":3}");
    assert_empty();
}

static void what_does_not_get_to_the_disk_is_not_in_the_file(void **state) {
    (void)state;
    open_again();
    append("{\"n\":1}");
    off_t before = size_of_file();
    disk_is_broken = true;
    assert_int_equal(spool_append(spool, "{\"n\":2}", 7), -EIO);
    disk_is_broken = false;
    assert_int_equal(size_of_file(), before);
    append("{\"n\":3}");
    take("{\"n\":1}");
    take("{\"n\":3}");
}

static void a_spool_has_an_end(void **state) {
    (void)state;
    open_again();
    append("{\"n\":1}");
    char *most = calloc(1, SPOOL_MOST);
    memset(most, 'x', SPOOL_MOST);
    assert_int_equal(spool_append(spool, most, SPOOL_MOST), -ENOSPC);
    free(most);
    append("{\"n\":2}");
    take("{\"n\":1}");
    take("{\"n\":2}");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(every_change_is_on_disk_when_a_call_returns),
        TEST(first_in_first_out),
        TEST(entries_longer_than_what_is_read_at_once),
        TEST(entries_outlast_their_process),
        TEST(a_file_cut_anywhere),
        TEST(what_is_no_entry_is_passed_over),
        TEST(others_have_no_access),
        TEST(no_link_pipe_or_folder_is_opened),
        TEST(somebody_elses_is_left_to_him),
        TEST(one_at_a_time),
        TEST(a_file_that_may_not_grow),
        TEST(what_does_not_get_to_the_disk_is_not_in_the_file),
        TEST(a_spool_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
