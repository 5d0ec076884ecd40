/* Recovery from a file of any content: nothing outside of it is read, nothing but spans' states is written to it, and what
 * arrives at the agent is a payload. There is no agent here: all goes up to the first attempt to reach it. */
#include "export/recover.h"

#include "config.h"
#include "flight.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROMISED(condition)                                                                                  \
    if (!(condition)) __builtin_trap()

static void see(const struct recover_workflow *workflow, void *context) {
    unsigned *times = context;
    ++*times;
    PROMISED(strlen(workflow->prompt_id) < 256 && strlen(workflow->job_id) < 256);
    PROMISED(strlen(workflow->node_id) < 256 && strlen(workflow->class_type) < 256);
    PROMISED(workflow->death_ns >= workflow->start_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct config settings;
    static int file = -1;
    if (file < 0) {
        settings = *config();
        settings.agent_url = "unix:///nonexistent/agent";
        file = memfd_create("recover", MFD_CLOEXEC);
    }
    PROMISED(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    const struct recover_verdict verdict = {"killed", "ProcessKilled", "A sentence.", size % 2};
    struct recover_result result = {0};
    unsigned times = 0;
    int error = recover_send(file, &verdict, &settings, 0, see, &times, &result);
    PROMISED(error <= 0 && times == result.workflows && !result.sent && !result.failed);
    return 0;
}
