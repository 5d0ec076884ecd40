#include "cli/hang.h"

#include "base/process.h"
#include "comfydd/flight.h"
#include "export/recover.h"
#include "flight_files.h"

#include <unistd.h>

static void see(void *context, int file) {
    enum verdict_watchdog *found = context;
    struct flight_header header;
    int error = recover_read_header(file, &header);
    close(file);
    if (error || !process_runs(&(struct process_identity){header.pid, header.pid_start_ticks})) return;
    if (header.worker_gone) *found = VERDICT_WORKER_GONE;
    if (header.stalled_since_ns) *found = VERDICT_STALLED;
}

enum verdict_watchdog hang_found(const char *folder, const struct process_identity *supervisor) {
    enum verdict_watchdog found = VERDICT_WORKS;
    flight_files_supervised(folder, supervisor, see, &found);
    return found;
}
