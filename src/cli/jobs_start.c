#include "cli/jobs_start.h"

#include "base/log.h"
#include "cli/die.h"
#include "cli/jobs.h"
#include "cli/spool.h"
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_SUPERVISORS 32 /* on one machine, with one state folder */

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

/* The first spool that no other supervisor has. It stays ours by what jobs_open does with it. 0 or -errno. */
static int find_spool(const char *folder, char *path, size_t size) {
    int error = 0;
    for (int number = 0; number < MOST_SUPERVISORS; number++) {
        snprintf(path, size, "%s/jobs-%d.spool", folder, number);
        struct spool *spool = spool_open(path, &error);
        spool_close(spool);
        if (spool) return 0;
        if (error != -EWOULDBLOCK) break;
    }
    return error;
}

struct jobs *jobs_start(void) {
    const char *wanted = config()->run.jobs_db, *problem;
    char folder[PATH_MAX], spool[PATH_MAX + 32], own[PATH_MAX + 32];
    if (wanted && strcmp(wanted, "none") == 0) return NULL;
    find_folder(folder, sizeof folder);
    int error = *folder ? make_folder(folder) : -ENOENT;
    if (!error) error = find_spool(folder, spool, sizeof spool);
    if (!*folder) snprintf(folder, sizeof folder, "HOME is not set");
    if (error) {
        if (wanted)
            die(DIE_OURS, "jobs cannot be recorded: %s: %s (COMFYDD_STATE)", folder, strerror(-error));
        log_line("jobs are not recorded: %s: %s (set COMFYDD_STATE, or COMFYDD_JOBS_DB=none)", folder,
                 strerror(-error));
        return NULL;
    }
    snprintf(own, sizeof own, "sqlite:%s/jobs.db", folder);
    struct jobs *jobs = jobs_open(wanted ? wanted : own, config()->run.jobs_sql, spool, &problem);
    if (!jobs) die(DIE_OURS, "jobs cannot be recorded: %s", problem);
    return jobs;
}
