#include "export/orphans.h"

#include "base/log.h"
#include "config.h"
#include "export/recover.h"
#include "flight_files.h"

#include "comfydd/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Nobody has seen the death: what can be told is told by the header. */
static struct recover_verdict judge(const struct flight_header *header, const struct process_identity *self) {
    struct recover_verdict verdict = {
        .status = "killed",
        .error_type = "ProcessKilled",
        .message =
            "The process ended without saying why: it was killed, or crashed. The next start has found this.",
    };
    char boot_id[PROCESS_BOOT_ID_SIZE];
    process_boot_id(boot_id);
    if (boot_id[0] && header->boot_id[0] && strcmp(header->boot_id, boot_id) != 0) {
        verdict.error_type = "HostRestarted";
        verdict.message = "The machine was restarted while this was running.";
    } else if (header->pid == self->pid && header->pid_start_ticks == self->start_ticks) {
        verdict.error_type = "ProcessRestarted";
        verdict.message =
            "The process replaced itself by another program (execv) while this was running: a restart.";
    } else if (header->clean_exit) {
        verdict.error_type = "ProcessEnded";
        verdict.message = "The process ended in an orderly way while this was running.";
    }
    return verdict;
}

/* Whether a later attempt may end otherwise. */
static bool is_temporary(int error) {
    return error == -EAGAIN || error == -ENOMEM;
}

static int send_file(int file, const struct config *config, const struct process_identity *self) {
    struct flight_header header;
    struct recover_result result = {0};
    int error = recover_read_header(file, &header);
    if (error) return error;
    struct recover_verdict verdict = judge(&header, self);
    error = recover_send(file, &verdict, config, 0, NULL, NULL, &result);
    if (!error && result.workflows)
        log_line("process %" PRId32 " ended (%s) while a workflow was running; what it had recorded, %" PRIu64
                 " spans, is sent now",
                 header.pid, verdict.error_type, result.sent);
    else if (!error)
        log_debug("sent %" PRIu64 " spans of process %" PRId32, result.sent, header.pid);
    return error;
}

bool orphans_send(const struct config *config) {
    const struct process_identity self = process_self();
    char path[PATH_MAX];
    int file, error = 0;
    while (!is_temporary(error) &&
           (file = flight_files_claim(config->flight_folder, &self, path, sizeof path)) >= 0) {
        error = send_file(file, config, &self);
        if (error && !is_temporary(error))
            log_once("%s cannot be sent (error %d) and is removed: it holds no spans that can be read", path,
                     -error);
        if (!is_temporary(error)) unlink(path);
        close(file);
    }
    return !is_temporary(error);
}
