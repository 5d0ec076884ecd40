#include "cli/verdict.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define GiB (UINT64_C(1) << 30)

/* A group in which a process was killed for memory, just now or before; `hits`: how often its own limit was reached. */
#define KILL_IN_GROUP(hits)                                                                                  \
    .has_group = true, .oom_kills_before = 2, .oom_kills_lately = 2, .oom_kills_after = 3,                   \
    .limit_hits_before = 5, .limit_hits_after = 5 + (hits)
#define EARLIER_KILL_IN_GROUP                                                                                \
    .has_group = true, .oom_kills_before = 2, .oom_kills_lately = 3, .oom_kills_after = 3,                   \
    .limit_hits_before = 5, .limit_hits_after = 6
#define QUIET_GROUP .has_group = true, .oom_kills_before = 2, .oom_kills_lately = 2, .oom_kills_after = 2
#define HOST_KILL   .host_oom_kills_before = 7, .host_oom_kills_after = 8
#define LIMITED     .limit = VERDICT_GROUP_LIMIT, .limit_bytes = 64 * GiB, .peak_bytes = 64 * GiB
#define DATA(peak)  .limit = VERDICT_DATA_LIMIT, .limit_bytes = 64 * GiB, .peak_bytes = (peak)*GiB
#define BY(number)  .signalled = true, .code = (number)

static const struct {
    const char *name;
    struct verdict_facts facts;
    enum verdict_kind kind;
    int exit_code;
    const char *status, *error_type, *says; /* says: what the sentence must have in it */
} rows[] = {
    {"a good end", {.code = 0}, VERDICT_SUCCESS, 0, "interrupted", "", "ended"},
    {"an exit code", {.code = 3}, VERDICT_FAILURE, 3, "error", "ProcessExited", "exit code 3"},
    {"an exit code above the signals", {.code = 200}, VERDICT_FAILURE, 200, "error", "ProcessExited", "200"},
    {"the first one above them", {.code = 160}, VERDICT_FAILURE, 160, "error", "ProcessExited", "160"},
    {"exit(-1)", {.code = 255}, VERDICT_FAILURE, 255, "error", "ProcessExited", "exit code 255"},
    {"a crash", {BY(SIGSEGV)}, VERDICT_CRASH, 139, "killed", "SIGSEGV", "crashed with SIGSEGV"},
    {"an abort", {BY(SIGABRT)}, VERDICT_CRASH, 134, "killed", "SIGABRT", "SIGABRT"},
    {"a bus error", {BY(SIGBUS)}, VERDICT_CRASH, 135, "killed", "SIGBUS", "SIGBUS"},
    {"a crash that a shell reports", {.code = 139}, VERDICT_CRASH, 139, "killed", "SIGSEGV", "SIGSEGV"},
    {"a crash that a Python reports", {.code = 245}, VERDICT_CRASH, 245, "killed", "SIGSEGV", "SIGSEGV"},
    {"a kill, nothing known of memory",
     {BY(SIGKILL)},
     VERDICT_KILLED,
     137,
     "killed",
     "ProcessKilled",
     "SIGKILL"},
    {"a kill, not for memory",
     {BY(SIGKILL), QUIET_GROUP, LIMITED},
     VERDICT_KILLED,
     137,
     "killed",
     "ProcessKilled",
     "not for memory"},
    {"somebody's SIGTERM", {BY(SIGTERM)}, VERDICT_KILLED, 143, "killed", "ProcessKilled", "SIGTERM"},
    {"a hang",
     {BY(SIGTERM), .watchdog = VERDICT_STALLED, .watchdog_s = 90},
     VERDICT_HUNG,
     143,
     "killed",
     "ProcessHung",
     "no node had begun or ended for 90 s"},
    {"a hang that does not stop",
     {BY(SIGKILL), .we_killed = true, .watchdog = VERDICT_STALLED},
     VERDICT_HUNG,
     137,
     "killed",
     "ProcessHung",
     "by the watchdog"},
    {"a worker that is gone",
     {.code = 0, .watchdog = VERDICT_WORKER_GONE},
     VERDICT_HUNG,
     0,
     "killed",
     "WorkerGone",
     "worker thread had ended"},
    {"a hang close to RLIMIT_DATA",
     {BY(SIGTERM), DATA(63), .watchdog = VERDICT_STALLED},
     VERDICT_HUNG,
     143,
     "killed",
     "ProcessHung",
     "by the watchdog"},
    {"a memory kill while a hang is ended",
     {BY(SIGKILL), KILL_IN_GROUP(1), LIMITED, .watchdog = VERDICT_STALLED},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "its limit"},
    {"a user's stop while a hang is ended",
     {BY(SIGTERM), .stop_signal = SIGTERM, .watchdog = VERDICT_STALLED},
     VERDICT_STOPPED,
     143,
     "interrupted",
     "",
     "stopped with SIGTERM"},
    {"a signal without a name", {BY(40)}, VERDICT_KILLED, 168, "killed", "ProcessKilled", "signal 40"},

    {"the limit",
     {BY(SIGKILL), KILL_IN_GROUP(1), LIMITED},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "its limit of 64.00 GiB"},
    {"the limit, reported by a shell",
     {.code = 137, KILL_IN_GROUP(1), LIMITED},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "its limit"},
    {"the limit, reported by a Python",
     {.code = 247, KILL_IN_GROUP(1), LIMITED},
     VERDICT_MEMORY,
     247,
     "killed",
     "OOMKilled",
     "its limit"},
    {"the container's limit, below ours",
     {BY(SIGKILL), KILL_IN_GROUP(0), LIMITED},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "below its own limit"},
    {"the container's limit, without ours",
     {BY(SIGKILL), KILL_IN_GROUP(1)},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "the machine or the container"},
    {"the machine's, no group",
     {BY(SIGKILL), HOST_KILL},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "out-of-memory killer"},
    {"the machine's, but in another group",
     {BY(SIGKILL), HOST_KILL, QUIET_GROUP},
     VERDICT_KILLED,
     137,
     "killed",
     "ProcessKilled",
     "not for memory"},
    {"a child killed for memory, the command failing later",
     {.code = 1, EARLIER_KILL_IN_GROUP, LIMITED},
     VERDICT_FAILURE,
     1,
     "error",
     "ProcessExited",
     "exit code 1"},
    {"a child killed for memory, the command failing at once",
     {.code = 1, KILL_IN_GROUP(1), LIMITED},
     VERDICT_MEMORY,
     1,
     "killed",
     "OOMKilled",
     "its limit"},
    {"a child killed for memory by the container, the command failing at once",
     {.code = 1, KILL_IN_GROUP(1), DATA(10)},
     VERDICT_MEMORY,
     1,
     "killed",
     "OOMKilled",
     "the machine or the container"},
    {"a child killed for memory, the command stopped and failing at once",
     {.code = 1, .stop_signal = SIGINT, KILL_IN_GROUP(1), LIMITED},
     VERDICT_STOPPED,
     1,
     "interrupted",
     "",
     "SIGINT"},
    {"a child killed for memory, the command ending well",
     {.code = 0, KILL_IN_GROUP(1), LIMITED},
     VERDICT_SUCCESS,
     0,
     "interrupted",
     "",
     "ended"},
    {"a child killed for memory, a crash later",
     {BY(SIGSEGV), KILL_IN_GROUP(1), LIMITED},
     VERDICT_CRASH,
     139,
     "killed",
     "SIGSEGV",
     "SIGSEGV"},

    {"a failed allocation", {.code = 1, DATA(60)}, VERDICT_MEMORY, 1, "killed", "OOMKilled", "64.00 GiB"},
    {"a failed allocation in C++",
     {BY(SIGABRT), DATA(63)},
     VERDICT_MEMORY,
     134,
     "killed",
     "OOMKilled",
     "probably"},
    {"a failure far below the limit",
     {.code = 1, DATA(40)},
     VERDICT_FAILURE,
     1,
     "error",
     "ProcessExited",
     "1"},
    {"a good end close to the limit", {.code = 0, DATA(63)}, VERDICT_SUCCESS, 0, "interrupted", "", "ended"},
    {"a kill close to the limit",
     {BY(SIGKILL), DATA(63)},
     VERDICT_KILLED,
     137,
     "killed",
     "ProcessKilled",
     "KILL"},
    {"the machine's, under such a limit",
     {BY(SIGKILL), HOST_KILL, DATA(10)},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "killer"},

    {"stopped",
     {BY(SIGTERM), .stop_signal = SIGTERM},
     VERDICT_STOPPED,
     143,
     "interrupted",
     "",
     "with SIGTERM"},
    {"stopped, and it said 0",
     {.code = 0, .stop_signal = SIGTERM},
     VERDICT_STOPPED,
     0,
     "interrupted",
     "",
     "stopped"},
    {"interrupted, and it said 1",
     {.code = 1, .stop_signal = SIGINT},
     VERDICT_STOPPED,
     1,
     "interrupted",
     "",
     "SIGINT"},
    {"interrupted, and it crashed",
     {BY(SIGSEGV), .stop_signal = SIGINT},
     VERDICT_STOPPED,
     139,
     "interrupted",
     "",
     "SIGINT"},
    {"killed by us",
     {BY(SIGKILL), .stop_signal = SIGTERM, .we_killed = true},
     VERDICT_STOPPED,
     137,
     "interrupted",
     "",
     "not stopped in time"},
    {"killed by us, memory elsewhere",
     {BY(SIGKILL), .stop_signal = SIGTERM, .we_killed = true, HOST_KILL},
     VERDICT_STOPPED,
     137,
     "interrupted",
     "",
     "not stopped in time"},
    {"out of memory while stopping",
     {BY(SIGKILL), .stop_signal = SIGTERM, KILL_IN_GROUP(1), LIMITED},
     VERDICT_MEMORY,
     137,
     "killed",
     "OOMKilled",
     "limit"},

    {"a failed allocation while stopping",
     {.code = 1, .stop_signal = SIGTERM, DATA(63)},
     VERDICT_MEMORY,
     1,
     "killed",
     "OOMKilled",
     "probably"},

    {"a restart by comfy-cli, after an end with 1",
     {.code = 1, .restart_wanted = true},
     VERDICT_RESTART,
     1,
     "interrupted",
     "",
     "started again"},
    {"a restart by comfy-cli",
     {.code = 0, .restart_wanted = true},
     VERDICT_RESTART,
     0,
     "interrupted",
     "",
     "started again"},
    {"a crash in spite of the file",
     {BY(SIGSEGV), .restart_wanted = true},
     VERDICT_CRASH,
     139,
     "killed",
     "SIGSEGV",
     "SIGSEGV"},
};

static void every_row(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verdict verdict = verdict_of(&rows[i].facts);
        if (verdict.kind != rows[i].kind || verdict.exit_code != rows[i].exit_code ||
            strcmp(verdict.status, rows[i].status) != 0 ||
            strcmp(verdict.error_type, rows[i].error_type) != 0 || !strstr(verdict.sentence, rows[i].says))
            fail_msg("%s: kind %d, exit code %d, %s, %s: %s", rows[i].name, verdict.kind, verdict.exit_code,
                     verdict.status, verdict.error_type, verdict.sentence);
    }
}

/* Seen by us, or reported by a shell or a Python that ran the command. */
static void every_crash_signal_is_a_crash(void **state) {
    (void)state;
    static const struct {
        int number;
        const char *name;
    } crashes[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"}, {SIGFPE, "SIGFPE"},
                   {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"}};
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        const struct verdict_facts ways[] = {
            {BY(crashes[i].number)}, {.code = 128 + crashes[i].number}, {.code = 256 - crashes[i].number}};
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            struct verdict verdict = verdict_of(&ways[way]);
            assert_int_equal(verdict.kind, VERDICT_CRASH);
            assert_string_equal(verdict.error_type, crashes[i].name);
            assert_string_equal(verdict.status, "killed");
        }
    }
}

/* Whatever the facts are: an error has a type, texts are terminated, and the exit code is one. */
static void any_facts_give_a_verdict(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 200000; i++) {
        struct verdict_facts facts;
        for (size_t at = 0; at < sizeof facts; at++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            ((unsigned char *)&facts)[at] = (unsigned char)(random >> 56);
        }
        facts.signalled = random & 1;
        facts.we_killed = random & 2;
        facts.restart_wanted = random & 4;
        facts.has_group = random & 8;
        facts.limit = (enum verdict_limit)((random >> 8) % 3);
        facts.code = (int)((random >> 16) % (facts.signalled ? 65 : 256));
        facts.stop_signal = random & 16 ? (int)((random >> 24) % 65) : 0;
        struct verdict verdict = verdict_of(&facts);
        assert_true(verdict.exit_code >= 0 && verdict.exit_code < 256);
        bool is_error = strcmp(verdict.status, "interrupted") != 0;
        assert_int_equal(is_error, *verdict.error_type != '\0');
        assert_true(strlen(verdict.sentence) > 0 && strlen(verdict.sentence) < sizeof verdict.sentence - 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row),
                                       cmocka_unit_test(every_crash_signal_is_a_crash),
                                       cmocka_unit_test(any_facts_give_a_verdict)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
