#include "export/orphans.h"

#include "base/log.h"
#include "config.h"
#include "export/recover.h"
#include "flight_files.h"

#include "comfydd/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

struct sending {
    const struct config *config;
    struct process_identity self;
    int error; /* the agent's, or for want of memory: the last file was left for later */
};

static int send_file(const struct sending *sending, int file) {
    struct flight_header header;
    struct recover_result result = {0};
    int error = recover_read_header(file, &header);
    if (error) return error;
    struct recover_verdict verdict = recover_unseen(&header, &sending->self);
    error = recover_send(file, &verdict, sending->config, 0, -1, NULL, NULL, &result);
    if (!error && result.workflows)
        log_line("process %" PRId32 " ended (%s) while a workflow was running; what it had recorded, %" PRIu64
                 " spans, is sent now",
                 header.pid, verdict.error_type, result.sent);
    else if (!error)
        log_debug("sent %" PRIu64 " spans of process %" PRId32, result.sent, header.pid);
    return error;
}

static bool send_next(void *context, int file, const char *path) {
    struct sending *sending = context;
    int error = send_file(sending, file);
    if (error == -ENOTSUP) return true; /* its own version may come back */
    sending->error = recover_is_temporary(error) ? error : 0;
    if (sending->error) return false;
    if (error) log_once("%s is removed: it holds no spans that can be read", path);
    unlink(path);
    return true;
}

static bool note_if_replaced(void *context, int file, const char *path) {
    (void)path;
    struct flight_header header;
    const struct process_identity *self = context;
    if (recover_read_header(file, &header)) return true;
    const struct process_identity process = {header.pid, header.pid_start_ticks};
    if (process_is(&process, self) && !header.replaced) recover_note_replaced(file);
    return true;
}

void orphans_note_replaced(const struct config *config) {
    struct process_identity self = process_self();
    flight_files_orphans(config->flight_folder, &self, false, note_if_replaced, &self);
}

/* It sends them, and records the jobs, which we cannot. */
static bool has_supervisor(const struct config *config) {
    struct process_identity supervisor;
    uint64_t secret;
    return config->supervisor && process_parse(config->supervisor, &supervisor, &secret) &&
           process_runs(&supervisor);
}

bool orphans_send(const struct config *config) {
    struct sending sending = {.config = config, .self = process_self()};
    if (has_supervisor(config)) return false;
    flight_files_orphans(config->flight_folder, &sending.self, true, send_next, &sending);
    return !sending.error;
}
