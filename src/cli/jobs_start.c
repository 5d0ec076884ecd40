#include "cli/jobs_start.h"

#include "base/hash.h"
#include "base/log.h"
#include "cli/die.h"
#include "cli/jobs.h"
#include "cli/spool.h"
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SUPERVISORS 32 /* on one machine, with one state folder and database */

/* What the settings ask for. */
struct wanted {
    const char *url;       /* borrowed, or `own` */
    char folder[PATH_MAX]; /* for the spool; empty when there is none to be had */
    char own[PATH_MAX + 32];
    uint64_t key; /* of the database: spools of different ones must not be mixed up */
};

/* Where COMFYDD_STATE does not say: as the XDG base directories have it. Empty when there is no home. */
static void find_folder(char *folder, size_t size) {
    const char *state = config()->run.state, *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    *folder = '\0';
    if (state)
        snprintf(folder, size, "%s", state);
    else if (xdg && *xdg == '/')
        snprintf(folder, size, "%s/comfydd", xdg);
    else if (home && *home == '/')
        snprintf(folder, size, "%s/.local/state/comfydd", home);
}

/* That a password has become: it may change. */
static void drop_stars(char *text) {
    char *kept = text;
    for (; *text; text++)
        if (*text != '*') *kept++ = *text;
    *kept = '\0';
}

static uint64_t mix(uint64_t key, const char *text) {
    size_t size = strlen(text);
    return hash_mix(key, hash_bytes(text, size), size);
}

/* By the URL without its password, and the statement. */
static uint64_t key_of(const char *url, const char *sql) {
    char *shown = strdup(url), here[PATH_MAX] = "";
    bool is_relative = strncmp(url, "sqlite:", 7) == 0 && url[7] != '/';
    if (!shown) die(DIE_OURS, "no memory");
    jobs_hide_password(shown);
    drop_stars(shown);
    if (is_relative && !getcwd(here, sizeof here)) *here = '\0';
    uint64_t key = mix(mix(mix(0, shown), here), sql ? sql : "");
    free(shown);
    return key;
}

static struct wanted read_settings(void) {
    struct wanted wanted = {.url = config()->run.jobs_db};
    find_folder(wanted.folder, sizeof wanted.folder);
    snprintf(wanted.own, sizeof wanted.own, "sqlite:%s/jobs.db", wanted.folder);
    wanted.key = key_of(wanted.url ? wanted.url : wanted.own, config()->run.jobs_sql);
    return wanted;
}

static const char *url_of(const struct wanted *wanted) {
    return wanted->url ? wanted->url : wanted->own;
}

enum { PATH_SIZE = PATH_MAX + 64 }; /* of a spool */

static const char *name_spool(const struct wanted *wanted, int number, char path[PATH_SIZE]) {
    snprintf(path, PATH_SIZE, "%s/jobs-%016" PRIx64 "-%d.spool", wanted->folder, wanted->key, number);
    return path;
}

/* mkdir -p; 0 or -errno. */
static int make_folder(char *folder) {
    for (char *slash = folder; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        int failed = mkdir(folder, 0700);
        *slash = '/';
        if (failed && errno != EEXIST) return -errno;
    }
    return mkdir(folder, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* The first spool that no other supervisor has; NULL with -errno. */
static struct spool *take_spool(const struct wanted *wanted, int *error) {
    char path[PATH_SIZE];
    struct spool *spool = NULL;
    *error = -EWOULDBLOCK;
    for (int number = 0; number < MOST_SUPERVISORS && *error == -EWOULDBLOCK; number++)
        spool = spool_open(name_spool(wanted, number, path), error);
    return spool;
}

/* Our own is ours already, and so passed over. */
static void adopt_others(struct jobs *jobs, const struct wanted *wanted) {
    char path[PATH_SIZE];
    for (int number = 0; number < MOST_SUPERVISORS; number++)
        jobs_adopt(jobs, name_spool(wanted, number, path));
}

static bool is_none(const struct wanted *wanted) {
    return wanted->url && strcmp(wanted->url, "none") == 0;
}

static const char *reason_of(int error) {
    return error == -EWOULDBLOCK                ? "32 others are using it already"
           : error == -EPERM || error == -ELOOP ? "the spool file in it is not a plain file of this user"
                                                : strerror(-error);
}

struct jobs *jobs_start(void) {
    struct wanted wanted = read_settings();
    const char *problem;
    if (is_none(&wanted)) return NULL;
    int error = *wanted.folder ? make_folder(wanted.folder) : -ENOENT;
    struct spool *spool = error ? NULL : take_spool(&wanted, &error);
    if (!spool) {
        const char *where = *wanted.folder ? wanted.folder : "there is no folder for them";
        const char *why = *wanted.folder ? reason_of(error) : "HOME is not set";
        if (wanted.url) die(DIE_OURS, "jobs cannot be recorded: %s: %s (set COMFYDD_STATE)", where, why);
        log_line("jobs are not recorded: %s: %s (set COMFYDD_STATE, or COMFYDD_JOBS_DB=none)", where, why);
        return NULL;
    }
    struct jobs *jobs = jobs_open(url_of(&wanted), config()->run.jobs_sql, spool, &problem);
    if (!jobs) die(DIE_OURS, "jobs cannot be recorded: %s", problem);
    adopt_others(jobs, &wanted);
    jobs_begin(jobs);
    return jobs;
}

/* ---- for the doctor ---- */

/* Events that no living supervisor has. */
static unsigned count_waiting(const struct wanted *wanted) {
    char path[PATH_SIZE];
    unsigned count = 0;
    int error;
    for (int number = 0; number < MOST_SUPERVISORS; number++) {
        name_spool(wanted, number, path);
        struct spool *spool = access(path, F_OK) == 0 ? spool_open(path, &error) : NULL;
        if (spool) count += spool_count(spool);
        spool_close(spool);
    }
    return count;
}

/* The folder, or the nearest one above it that is there. */
static bool can_be_made(char *folder) {
    while (*folder && access(folder, F_OK) != 0) {
        char *slash = strrchr(folder, '/');
        if (!slash) return access(".", W_OK) == 0;
        slash[slash == folder] = '\0';
    }
    return access(folder, W_OK | X_OK) == 0;
}

bool jobs_start_check(struct jobs_start_state *state) {
    struct wanted wanted = read_settings();
    char folder[PATH_MAX];
    *state = (struct jobs_start_state){.waiting = 0};
    if (is_none(&wanted)) {
        snprintf(state->text, sizeof state->text, "none is wanted (COMFYDD_JOBS_DB=none)");
        return true;
    }
    snprintf(folder, sizeof folder, "%s", wanted.folder);
    if (!*wanted.folder || !can_be_made(folder)) {
        if (*wanted.folder)
            snprintf(state->text, sizeof state->text, "%.400s cannot be written: set COMFYDD_STATE",
                     wanted.folder);
        else
            snprintf(state->text, sizeof state->text,
                     "HOME is not set: set COMFYDD_STATE to a folder for it");
        return false;
    }
    state->waiting = count_waiting(&wanted);
    if (!wanted.url && access(wanted.folder, F_OK) != 0) {
        snprintf(state->text, sizeof state->text, "%.400s will be made", wanted.own);
        return true;
    }
    if (!jobs_reach(url_of(&wanted), config()->run.jobs_sql, state->text, sizeof state->text)) return false;
    snprintf(state->text, sizeof state->text, "%.400s can be written", url_of(&wanted));
    jobs_hide_password(state->text);
    return true;
}
