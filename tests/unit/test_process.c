#include "base/process.h"
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void this_process_runs(void **state) {
    (void)state;
    errno = 77;
    struct process_identity self = process_self(), again = process_self();
    assert_int_equal(self.pid, getpid());
    assert_true(self.start_ticks > 0);
    assert_true(process_runs(&self) && process_is(&self, &again));
    assert_int_equal(errno, 77);
}

static void a_later_process_with_the_pid_is_another_one(void **state) {
    (void)state;
    struct process_identity earlier = process_self(), self = earlier;
    earlier.start_ticks--;
    assert_false(process_runs(&earlier));
    assert_false(process_is(&earlier, &self));
}

static void a_process_that_nobody_has_waited_for_does_not_run(void **state) {
    (void)state;
    int ready[2], go[2];
    char byte = 0;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct process_identity self = process_self();
        if (write(ready[1], &self, sizeof self) != sizeof self || read(go[0], &byte, 1) != 1) _exit(1);
        _exit(0);
    }
    struct process_identity child;
    assert_int_equal(read(ready[0], &child, sizeof child), sizeof child);
    assert_int_equal(child.pid, pid);
    assert_true(process_runs(&child));
    assert_int_equal(write(go[1], &byte, 1), 1);
    siginfo_t ended;
    assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT), 0); /* it stays a zombie */
    assert_false(process_runs(&child));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(process_runs(&child));
    close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

static void nobody_does_not_run(void **state) {
    (void)state;
    const struct process_identity nobody = {0}, group = {.pid = -1};
    assert_false(process_runs(&nobody));
    assert_false(process_runs(&group));
}

static void an_identity_is_read_from_text(void **state) {
    (void)state;
    struct process_identity process = {0};
    uint64_t secret = 7;
    assert_true(process_parse("4711.123456789012", &process, &secret));
    assert_int_equal(secret, 0);
    assert_true(process_parse("4711.123456789012.18446744073709551615", &process, &secret));
    assert_true(secret == UINT64_MAX);
    assert_int_equal(process.pid, 4711);
    assert_int_equal(process.start_ticks, 123456789012);
    const char *const wrong[] = {"",
                                 "0.1",
                                 "-1.5",
                                 "4711",
                                 "4711.",
                                 ".5",
                                 "4711.5x",
                                 " 4711.5",
                                 "4711 .5",
                                 "4711.-5",
                                 "99999999999.5",
                                 "4711.5.",
                                 "4711.5.x",
                                 "4711.5.-6",
                                 "4711.5.6.7",
                                 "4711.5.999999999999999999999",
                                 "4711.99999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (process_parse(wrong[i], &process, &secret)) fail_msg("\"%s\" is taken for a process", wrong[i]);
    assert_int_equal(process.pid, 4711);
}

static void the_boot_has_a_number(void **state) {
    (void)state;
    char boot_id[PROCESS_BOOT_ID_SIZE];
    process_boot_id(boot_id);
    assert_int_equal(strlen(boot_id), 36);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_process_runs),
        cmocka_unit_test(a_later_process_with_the_pid_is_another_one),
        cmocka_unit_test(a_process_that_nobody_has_waited_for_does_not_run),
        cmocka_unit_test(nobody_does_not_run),
        cmocka_unit_test(an_identity_is_read_from_text),
        cmocka_unit_test(the_boot_has_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
