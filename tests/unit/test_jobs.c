#include "cli/jobs.h"

#include "capture.h"
#include "cli/spool.h"
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- a database and a spool in a folder of their own ---- */

static char folder[64], url[96], spool[96];

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/comfydd-jobs-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(url, sizeof url, "sqlite:%s/jobs.db", folder);
    snprintf(spool, sizeof spool, "%s/spool", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(spool);
    unlink(in_folder("jobs.db"));
    return rmdir(folder); /* nothing else may be left, no journal either */
}

static struct spool *open_spool(const char *path) {
    int error;
    struct spool *opened = spool_open(path, &error);
    if (!opened) fail_msg("%s: %s", path, strerror(-error));
    return opened;
}

/* Opens; `others`: a spool to adopt, or NULL. */
static struct jobs *open_beside(const char *sql, const char *others) {
    const char *error = NULL;
    struct jobs *jobs = jobs_open(url, sql, open_spool(spool), &error);
    if (!jobs) fail_msg("jobs_open: %s", error);
    if (others) jobs_adopt(jobs, others);
    jobs_begin(jobs);
    return jobs;
}

static struct jobs *open_jobs(const char *sql) {
    return open_beside(sql, NULL);
}

/* Rows as "a|b\nc|d\n"; NULL values are empty. */
static const char *ask(const char *sql) {
    static char rows[8192];
    sqlite3 *connection;
    sqlite3_stmt *statement;
    size_t used = 0;
    assert_int_equal(sqlite3_open(in_folder("jobs.db"), &connection), SQLITE_OK);
    sqlite3_busy_timeout(connection, 10000);
    int code = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
    if (code) fail_msg("%s: %s", sql, sqlite3_errmsg(connection));
    rows[0] = '\0';
    while (sqlite3_step(statement) == SQLITE_ROW)
        for (int i = 0, count = sqlite3_column_count(statement); i < count; i++) {
            const unsigned char *text = sqlite3_column_text(statement, i);
            used += (size_t)snprintf(rows + used, sizeof rows - used, "%s%c", text ? (const char *)text : "",
                                     i + 1 < count ? '|' : '\n');
        }
    sqlite3_finalize(statement);
    sqlite3_close(connection);
    return rows;
}

static off_t size_of_spool(void) {
    struct stat found;
    return stat(spool, &found) ? -1 : found.st_size;
}

/* Of the program under test too: no power is lost here, and disks are slow. */
int fsync(int fd) {
    (void)fd;
    return 0;
}

int fdatasync(int fd) {
    (void)fd;
    return 0;
}

/* ---- writing ---- */

static void a_job_s_row_follows_its_states(void **state) {
    (void)state;
    struct jobs *jobs = open_jobs(NULL);
    struct job_event event = {
        .job_id = "j", .prompt_id = "p", .state = "running", .started_ns = 1000, .at_ns = 1000};
    jobs_write(jobs, &event);
    event.state = "failed";
    event.reason = "OOMKilled: caf\xc3\xa9 \xff";
    event.node_id = "7";
    event.class_type = "KSampler";
    event.peak_memory_bytes = UINT64_C(1) << 40;
    event.at_ns = UINT64_C(61000000000);
    jobs_write(jobs, &event);
    jobs_close(jobs, 30);
    assert_string_equal(
        ask("SELECT * FROM comfydd_jobs"),
        "p|1970-01-01T00:00:00.000001Z|j|failed|OOMKilled: caf\xc3\xa9 \xef\xbf\xbd|7|KSampler|"
        "1099511627776|1970-01-01T00:01:01.000000Z\n");
    assert_string_equal(ask("SELECT typeof(peak_memory_bytes) FROM comfydd_jobs"), "integer\n");
    assert_string_equal(ask("PRAGMA journal_mode"), "wal\n");
    assert_int_equal(size_of_spool(), 0);
}

static void many_events_arrive_in_order(void **state) {
    (void)state;
    enum { COUNT = 200 };
    char name[16];
    ask("CREATE TABLE log (n integer PRIMARY KEY, job text)");
    struct jobs *jobs = open_jobs("INSERT INTO log (job) VALUES (:job_id)");
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "%04d", i);
        jobs_write(jobs, &(struct job_event){.job_id = name, .state = "running"});
    }
    jobs_close(jobs, 60);
    assert_string_equal(ask("SELECT count(*), min(job), max(job) FROM log"), "200|0000|0199\n");
    assert_string_equal(ask("SELECT count(*) FROM log a JOIN log b ON b.n = a.n + 1 WHERE a.job >= b.job"),
                        "0\n");
    assert_int_equal(size_of_spool(), 0);
}

static void a_number_is_one_in_a_table_without_types_too(void **state) {
    (void)state;
    ask("CREATE TABLE log (peak)");
    struct jobs *jobs = open_jobs("INSERT INTO log VALUES (:peak_memory)");
    jobs_write(jobs, &(struct job_event){.state = "failed", .peak_memory_bytes = 5});
    jobs_close(jobs, 30);
    assert_string_equal(ask("SELECT peak, typeof(peak) FROM log"), "5|integer\n");
}

static void long_texts_are_cut(void **state) {
    (void)state;
    char *lengthy = malloc(100001);
    memset(lengthy, 'x', 100000);
    lengthy[100000] = '\0';
    struct jobs *jobs = open_jobs(NULL);
    jobs_write(jobs, &(struct job_event){.prompt_id = "p", .state = "failed", .reason = lengthy});
    jobs_close(jobs, 30);
    free(lengthy);
    assert_string_equal(ask("SELECT length(reason), substr(reason, -4) FROM comfydd_jobs"), "5000|x...\n");
}

static void what_is_left_in_the_spool_is_written_by_the_next(void **state) {
    (void)state;
    char path[128];
    strcpy(path, in_folder("jobs.db"));
    assert_int_equal(mkdir(path, 0700), 0); /* no database can be there */
    struct jobs *jobs = open_jobs(NULL);
    jobs_write(jobs, &(struct job_event){.prompt_id = "p1", .state = "failed"});
    jobs_write(jobs, &(struct job_event){.prompt_id = "p2", .state = "failed"});
    jobs_close(jobs, 1);
    assert_true(size_of_spool() > 0);
    assert_int_equal(rmdir(path), 0);
    jobs_close(open_jobs(NULL), 30);
    assert_string_equal(ask("SELECT prompt_id FROM comfydd_jobs ORDER BY rowid"), "p1\np2\n");
    assert_int_equal(size_of_spool(), 0);
}

/* ---- time, which goes by at once where a test wants that ---- */

static bool hurried;
static unsigned waits[64], wait_count; /* seconds */

/* Of the program under test too. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until) {
    if (!__atomic_load_n(&hurried, __ATOMIC_SEQ_CST)) {
        int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *) =
            (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(
                RTLD_NEXT, "pthread_cond_timedwait");
        return real(condition, lock, until);
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    unsigned count = __atomic_load_n(&wait_count, __ATOMIC_SEQ_CST);
    if (count < sizeof waits / sizeof *waits) {
        waits[count] = (unsigned)(until->tv_sec - now.tv_sec + (until->tv_nsec > now.tv_nsec));
        __atomic_store_n(&wait_count, count + 1, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(lock);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(lock);
    return ETIMEDOUT;
}

static void wait_for_waits(unsigned count) {
    for (int tries = 0; __atomic_load_n(&wait_count, __ATOMIC_SEQ_CST) < count; tries++) {
        if (tries == 20000) fail_msg("%u waits, not %u", wait_count, count);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void wait_for_delivery(void) {
    for (int tries = 0; size_of_spool() != 0; tries++) {
        if (tries == 20000) fail_msg("nothing is written");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void attempts_become_rarer_and_begin_anew_after_a_good_one(void **state) {
    (void)state;
    char path[128];
    const unsigned seconds[] = {1, 2, 4, 8, 16, 32, 60, 60};
    strcpy(path, in_folder("jobs.db"));
    assert_int_equal(mkdir(path, 0700), 0); /* no database can be there */
    hurried = true;
    struct jobs *jobs = open_jobs(NULL);
    for (int times = 0; times < 2; times++) {
        __atomic_store_n(&wait_count, 0, __ATOMIC_SEQ_CST);
        jobs_write(jobs, &(struct job_event){.prompt_id = "p", .state = "failed"});
        wait_for_waits(sizeof seconds / sizeof *seconds);
        for (unsigned i = 0; i < sizeof seconds / sizeof *seconds; i++)
            assert_int_equal(waits[i], seconds[i]);
        assert_int_equal(rmdir(path), 0);
        wait_for_delivery();
        for (const char *const *end = (const char *const[]){"", "-wal", "-shm", NULL}; *end; end++) {
            char file[140];
            snprintf(file, sizeof file, "%s%s", path, *end);
            unlink(file);
        }
        assert_int_equal(mkdir(path, 0700), 0);
    }
    __atomic_store_n(&hurried, false, __ATOMIC_SEQ_CST);
    jobs_close(jobs, 30);
    assert_int_equal(rmdir(path), 0);
}

/* A full disk: what the spool does not take is in memory, up to a thousand, and in the spool as soon as it can be. */
static void without_room_for_the_spool_a_thousand_are_kept(void **state) {
    (void)state;
    enum { ROOM = 4096, MORE = 1100 };
    char path[128];
    struct rlimit before, small;
    strcpy(path, in_folder("jobs.db"));
    assert_int_equal(mkdir(path, 0700), 0); /* no database can be there */
    struct jobs *jobs = open_jobs(NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = ROOM, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    capture_start();
    for (uint64_t i = 1; i <= MORE; i++)
        jobs_write(jobs, &(struct job_event){.prompt_id = "p", .state = "failed", .started_ns = i * 1000});
    const char *said = capture_stop();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(said, "there is no room to keep events for the database: they are lost"));
    for (int tries = 0; size_of_spool() <= ROOM; tries++) {
        if (tries == 20000) fail_msg("the spool has not grown");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(rmdir(path), 0);
    jobs_close(jobs, 60);
    const char *rows = ask("SELECT count(*) FROM comfydd_jobs");
    assert_in_range(atoi(rows), 1001, MORE - 50);
}

/* Two supervisors were there, one with a spool of another name. */
static void what_others_have_left_is_adopted_before_our_own(void **state) {
    (void)state;
    char path[128], others[128];
    strcpy(path, in_folder("jobs.db"));
    strcpy(others, in_folder("others"));
    assert_int_equal(mkdir(path, 0700), 0);       /* no database can be there */
    struct jobs *jobs = open_beside(NULL, spool); /* its own */
    jobs_write(jobs, &(struct job_event){.prompt_id = "p1", .state = "failed"});
    jobs_write(jobs, &(struct job_event){.prompt_id = "p2", .state = "failed"});
    jobs_close(jobs, 30);
    assert_int_equal(rename(spool, others), 0);
    jobs = open_beside(NULL, in_folder("missing"));
    jobs_write(jobs, &(struct job_event){.prompt_id = "p3", .state = "failed"});
    jobs_close(jobs, 30);
    assert_int_equal(rmdir(path), 0);
    jobs = open_beside(NULL, others);
    jobs_write(jobs, &(struct job_event){.prompt_id = "p4", .state = "failed"});
    jobs_close(jobs, 30);
    assert_string_equal(ask("SELECT prompt_id FROM comfydd_jobs ORDER BY rowid"), "p1\np2\np3\np4\n");
    assert_int_equal(size_of_spool(), 0);
    assert_int_equal(unlink(others), 0);
    assert_int_equal(access(in_folder("missing"), F_OK), -1);
}

static void a_spool_that_somebody_uses_is_left_to_him(void **state) {
    (void)state;
    char others[128];
    const char *error;
    strcpy(others, in_folder("others"));
    struct jobs *first = jobs_open(url, NULL, open_spool(others), &error),
                *second = open_beside(NULL, others);
    jobs_begin(first);
    jobs_write(first, &(struct job_event){.prompt_id = "p1", .state = "failed"});
    jobs_close(second, 30);
    jobs_close(first, 30);
    assert_string_equal(ask("SELECT prompt_id FROM comfydd_jobs"), "p1\n");
    assert_int_equal(unlink(others), 0);
}

static void what_can_be_reached_and_what_not(void **state) {
    (void)state;
    char message[256], missing[160];
    assert_true(jobs_reach(url, NULL, message, sizeof message)); /* it would be made */
    assert_int_equal(access(in_folder("jobs.db"), F_OK), -1);
    ask("CREATE TABLE log (job text)");
    assert_true(jobs_reach(url, "INSERT INTO log VALUES (:job_id)", message, sizeof message));
    assert_false(jobs_reach(url, "INSERT INTO lag VALUES (:job_id)", message, sizeof message));
    assert_non_null(strstr(message, "no such table: lag"));
    snprintf(missing, sizeof missing, "sqlite:%s/missing/jobs.db", folder);
    assert_false(jobs_reach(missing, NULL, message, sizeof message));
    assert_false(jobs_reach("mysql://x", NULL, message, sizeof message));
    assert_string_equal(ask("SELECT name FROM sqlite_master"), "log\n");
}

static void nothing_need_be_written(void **state) {
    (void)state;
    jobs_close(open_jobs(NULL), 0);
    jobs_close(NULL, 0);
    assert_int_equal(size_of_spool(), 0);
    assert_int_equal(access(in_folder("jobs.db"), F_OK), -1);
}

/* ---- opening ---- */

static void what_cannot_be_right_is_explained(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"", NULL, "sqlite:PATH or postgresql://"},
        {"/var/lib/jobs.db", NULL, "sqlite:PATH or postgresql://"},
        {"sqlite:", NULL, "sqlite:PATH"},
        {"sqlite:///jobs.db", NULL, "sqlite:PATH"},
        {"sqlite::memory:", NULL, "sqlite:PATH"},
        {"sqlite:x", "SELECT :nothing", "unknown parameter"},
        {"sqlite:x", "", "empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *error = NULL;
        assert_null(jobs_open(cases[i][0], cases[i][1], open_spool(spool), &error));
        assert_non_null(error);
        if (!strstr(error, cases[i][2])) fail_msg("%s: %s", cases[i][0], error);
        spool_close(open_spool(spool)); /* nobody has it any more */
    }
}

/* ---- passwords ---- */

static void passwords_are_hidden(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"postgresql://u:secret@h/d", "postgresql://u:******@h/d"},
        {"postgres://u:a%40b:c@h:5432/d?x=y", "postgres://u:*******@h:5432/d?x=y"},
        {"postgresql://u:p@ss@h/d", "postgresql://u:****@h/d"},
        {"postgresql://u:p/ss@h/d", "postgresql://u:****@h/d"},
        {"postgresql://u@h:5432/d", "postgresql://u@h:5432/d"},
        {"postgresql://h:5432/d", "postgresql://h:5432/d"},
        {"postgresql://u:@h/d", "postgresql://u:@h/d"},
        {"postgresql:///d?user=u&password=secret&host=h", "postgresql:///d?user=u&password=******&host=h"},
        {"postgresql:///d?PassWord=secret", "postgresql:///d?PassWord=******"},
        {"postgresql:///d?sslpassword=a&password=b", "postgresql:///d?sslpassword=*&password=*"},
        {"postgresql:///d?pass%77ord=secret&user=u", "postgresql:///d?pass%77ord=******&user=u"},
        {"postgresql:///d?user=u&p%61%73sword=a%26b", "postgresql:///d?user=u&p%61%73sword=*****"},
        {"postgresql:///d?user=password&host=h", "postgresql:///d?user=password&host=h"},
        {"postgresql:///d?password", "postgresql:///d?password"},
        {"postgresql:///d?%password=a&%7=b&%", "postgresql:///d?%password=*&%7=b&%"},
        {"sqlite:/var/lib/jobs.db", "sqlite:/var/lib/jobs.db"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        strcpy(text, cases[i][0]);
        jobs_hide_password(text);
        assert_string_equal(text, cases[i][1]);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_job_s_row_follows_its_states),
        TEST(many_events_arrive_in_order),
        TEST(a_number_is_one_in_a_table_without_types_too),
        TEST(long_texts_are_cut),
        TEST(what_is_left_in_the_spool_is_written_by_the_next),
        TEST(attempts_become_rarer_and_begin_anew_after_a_good_one),
        TEST(without_room_for_the_spool_a_thousand_are_kept),
        TEST(what_others_have_left_is_adopted_before_our_own),
        TEST(a_spool_that_somebody_uses_is_left_to_him),
        TEST(what_can_be_reached_and_what_not),
        TEST(nothing_need_be_written),
        TEST(what_cannot_be_right_is_explained),
        cmocka_unit_test(passwords_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
