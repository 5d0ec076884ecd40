/* The checks stand in the order in which a span meets what they look at. */
#include "cli/doctor.h"

#include "base/log.h"
#include "base/process.h"
#include "cli/die.h"
#include "cli/doctor_library.h"
#include "cli/doctor_python.h"
#include "cli/doctor_report.h"
#include "cli/jobs_start.h"
#include "cli/ld_preload.h"
#include "cli/limit.h"
#include "cli/manual.h"
#include "config.h"
#include "export/agent.h"
#include "export/recover.h"
#include "flight.h"
#include "flight_files.h"
#include "settings.h"
#include "trace/sampler.h"

#include <argp.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MiB         (1u << 20)
#define FLIGHT_ROOM (8u * MiB) /* more than a flight memory takes */

/* ---- settings ---- */

static unsigned settings_problems;

/* The parser's own lines. */
static void setting_refused(const char *line) {
    doctor_report(false, "settings", "%s", line);
    settings_problems++;
}

static bool is_known(const char *variable) {
    /* Those of scripts/entrypoint.sh are not in the table. */
    static const char *const others[] = {"COMFYDD_PROGRAM", "COMFYDD_LD_SO_PRELOAD"};
    size_t size = strcspn(variable, "=");
    for (size_t i = 0; i < settings_count; i++)
        if (strlen(settings[i].name) == size && strncmp(settings[i].name, variable, size) == 0) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i]) == size && strncmp(others[i], variable, size) == 0) return true;
    return false;
}

static void check_settings(void) {
    log_divert(setting_refused);
    if (!config_load_run(NULL)) die(DIE_OURS, "no memory");
    sampler_init(config());
    log_divert(NULL);
    for (char **variable = environ; *variable; variable++) {
        if (strncmp(*variable, "COMFYDD_", 8) != 0 || is_known(*variable)) continue;
        doctor_report(false, "settings",
                      "%.*s is not a variable of comfydd's, and does nothing: is it misspelled?",
                      (int)strcspn(*variable, "="), *variable);
        settings_problems++;
    }
    if (!config()->enabled || !config()->trace_enabled || !config()->apm_tracing)
        setting_refused("tracing is switched off: see COMFYDD_ENABLED, DD_TRACE_ENABLED, "
                        "OTEL_TRACES_EXPORTER and DD_APM_TRACING_ENABLED");
    if (!settings_problems)
        doctor_report(true, "settings", "service %s, env %s; all that is set is understood",
                      config()->service, config()->env);
}

/* ---- the library, and Python ---- */

static void check_python(const char *name, const char *library) {
    const char *existing = getenv("LD_PRELOAD");
    char preload[2 * PATH_MAX];
    if (!ld_preload_compose(library, existing, preload, sizeof preload)) {
        doctor_report(false, "python", "LD_PRELOAD is too long: %zu bytes", strlen(existing));
        return;
    }
    struct doctor_python python = doctor_python_ask(name, preload);
    if (!python.answered)
        doctor_report(false, "python", "%s (doctor -- PYTHON names another)", python.problem);
    else if (!python.loaded)
        doctor_report(
            false, "python",
            "%s is Python %s, but LD_PRELOAD does not reach it: a wrapper takes it out of the environment, "
            "or it is linked statically or against another libc",
            name, python.version);
    else if (!python.watches)
        doctor_report(false, "python", "%s is Python %s; the library is loaded, and does not work in it%s%s",
                      name, python.version, *python.problem ? ": " : "", python.problem);
    else
        doctor_report(true, "python", "%s is Python %s; the library is loaded, and waits for a ComfyUI", name,
                      python.version);
    if (!python.answered) return;
    int major = atoi(python.ddtrace);
    const char *dot = strchr(python.ddtrace, '.');
    bool is_old = *python.ddtrace && (major < 3 || (major == 3 && dot && atoi(dot + 1) < 10));
    if (!*python.ddtrace)
        doctor_report(true, "ddtrace", "not installed: no spans of libraries, only ours");
    else
        doctor_report(!is_old, "ddtrace", "%s%s", python.ddtrace,
                      is_old ? " is too old for spans of libraries: 3.10 or newer is needed" : "");
}

static void check_library(const char *python) {
    char path[PATH_MAX], text[512];
    if (!ld_preload_find(config()->run.library, path, sizeof path)) {
        doctor_report(false, "library", "%s is not there: build it, or set COMFYDD_LIB",
                      config()->run.library ? config()->run.library : "libcomfydd.so");
        return;
    }
    if (!ld_preload_can_name(path)) {
        doctor_report(false, "library",
                      "%s cannot be preloaded: its path has a blank, a colon or a dollar sign", path);
        return;
    }
    bool loads = doctor_library_load(path, text, sizeof text);
    doctor_report(loads, "library", "%s: %s", path, text);
    if (loads) check_python(python, path);
}

static void check_cuda(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    int (*get_version)(int *) = driver ? (int (*)(int *))dlsym(driver, "cuDriverGetVersion") : NULL;
    int version = 0;
    if (get_version && get_version(&version) == 0)
        doctor_report(true, "cuda", "libcuda.so.1, for CUDA up to %d.%d", version / 1000,
                      version % 1000 / 10);
    else if (driver)
        doctor_report(false, "cuda", "libcuda.so.1 is there, and does not answer");
    else if (access("/dev/nvidiactl", F_OK) == 0)
        doctor_report(false, "cuda",
                      "a GPU is here, libcuda.so.1 is not: a container needs "
                      "NVIDIA_DRIVER_CAPABILITIES=compute,utility");
    else
        doctor_report(true, "cuda", "no libcuda.so.1, so no NVIDIA GPU: spans have no figures of GPU memory");
}

/* ---- flight memory ---- */

static void check_flight_folder(void) {
    const char *folder = config()->flight_folder;
    struct statvfs room = {.f_frsize = 0};
    int error = flight_files_create(folder, FLIGHT_ROOM);
    flight_files_remove();
    statvfs(folder, &room);
    unsigned long long free_MiB = (unsigned long long)room.f_bavail * room.f_frsize / MiB;
    if (error == -ENOSPC)
        doctor_report(
            false, "flight folder",
            "%s, %llu MiB free: no file can be kept there, and a kill loses what was not sent: it needs %u "
            "MiB free, and a ulimit -f that allows it",
            folder, free_MiB, 4 * FLIGHT_ROOM / MiB);
    else if (error < 0)
        doctor_report(
            false, "flight folder",
            "%s: %s: a kill loses what was not sent; set COMFYDD_FLIGHT_FOLDER to a folder in memory", folder,
            strerror(-error));
    else
        doctor_report(true, "flight folder", "%s, %llu MiB free", folder, free_MiB);
}

struct orphans {
    unsigned count;
    char pids[128];
};

static bool note_orphan(void *context, int file, const char *path) {
    struct orphans *orphans = context;
    struct flight_header header;
    (void)path;
    size_t used = strlen(orphans->pids);
    if (recover_read_header(file, &header) == 0)
        snprintf(orphans->pids + used, sizeof orphans->pids - used, "%s%d", used ? ", " : "",
                 (int)header.pid);
    orphans->count++;
    return true;
}

static void check_orphans(void) {
    const struct process_identity self = process_self();
    struct orphans orphans = {0};
    if (flight_files_orphans(config()->flight_folder, &self, false, note_orphan, &orphans))
        return; /* said above */
    if (orphans.count)
        doctor_report(false, "left behind", "%u dead process%s (%s) left spans: comfydd recover sends them",
                      orphans.count, orphans.count == 1 ? "" : "es", orphans.pids);
    else
        doctor_report(true, "left behind", "nothing");
}

/* ---- the agent ---- */

static void agent_failed(const char *line) {
    doctor_report(false, "agent", "%s", line);
}

static const char *or_not(bool can) {
    return can ? "" : "no ";
}

static void tell_of_agent(const struct agent *agent) {
    const struct agent_self *self = agent_self(agent);
    if (self->takes_traces)
        doctor_report(true, "agent", "%s, version %s, takes traces, %slong-running spans, %sspan events",
                      config()->agent_url, *self->version ? self->version : "unknown",
                      or_not(agent_takes_snapshots(agent)), or_not(agent_takes_events(agent)));
    else
        doctor_report(
            false, "agent",
            "what answers at %s does not say that it takes traces (/v0.4/traces): is it a Datadog agent "
            "with APM enabled?",
            config()->agent_url);
}

static void check_agent(void) {
    const unsigned attempts_that_are_told = 3;
    struct agent *agent;
    log_divert(agent_failed);
    if (agent_create(&agent, config()) == 0) {
        enum agent_answer answer = agent_ask_info(agent);
        if (answer == AGENT_UNREACHABLE || answer == AGENT_BUSY)
            agent_report_failure(agent, attempts_that_are_told);
        else
            tell_of_agent(agent);
        agent_destroy(agent);
    }
    log_divert(NULL);
}

/* ---- what comfydd run needs ---- */

static void ignore(const char *line) {
    (void)line;
}

static void check_limit(void) {
    struct limit limit;
    char text[1200];
    log_divert(ignore); /* what it warns of is in its description too */
    limit_start(&limit, (uint64_t)config()->run.memory_limit);
    limit_describe(&limit, text, sizeof text);
    doctor_report(true, "comfydd run", "%s%s", text,
                  limit.kind == VERDICT_DATA_LIMIT
                      ? ": no control group can be made here, so each process has "
                        "the limit for itself"
                      : "");
    limit_finish(&limit);
    log_divert(NULL);
}

static void check_jobs(void) {
    struct jobs_start_state state;
    bool ok = jobs_start_check(&state);
    doctor_report(ok, "record of jobs", "%s", state.text);
    if (state.waiting)
        doctor_report(false, "record of jobs", "%u change%s wait%s for the next comfydd run to write them",
                      state.waiting, state.waiting == 1 ? "" : "s", state.waiting == 1 ? "s" : "");
}

/* ---- the subcommand ---- */

static error_t parse(int key, char *argument, struct argp_state *state) {
    if (key != ARGP_KEY_ARG || state->arg_num > 0) return ARGP_ERR_UNKNOWN;
    *(const char **)state->input = argument;
    return 0;
}

int doctor_main(int argc, char **argv) {
    const char *python = "python3";
    char *text = manual_of_command("doctor");
    const struct argp argp = {.parser = parse, .args_doc = "[-- PYTHON]", .doc = text};
    argp_err_exit_status = DIE_OURS;
    argp_parse(&argp, argc, argv, 0, NULL, &python);
    free(text);
    check_settings();
    check_library(python);
    check_cuda();
    check_flight_folder();
    check_orphans();
    check_agent();
    check_limit();
    check_jobs();
    if (fflush(stdout) != 0) return DIE_OURS;
    return doctor_report_problems() ? 1 : 0;
}
