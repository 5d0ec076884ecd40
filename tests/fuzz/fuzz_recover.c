/* Recovery from a file of any content, up to an agent that checks payloads and answers as the content says: nothing outside
 * of the file is read, every payload can be unpacked, and what was taken once is not sent again. */
#include "export/recover.h"

#include "config.h"
#include "export/agent.h"
#include "flight.h"
#include "fuzz.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROMISED(condition)                                                                                  \
    if (!(condition)) __builtin_trap()

/* ---- an agent, in place of export/agent.c ---- */

static struct {
    unsigned answers; /* two bits each, the lowest first; then everything is taken */
    uint64_t accepted;
} agent;

int agent_create(struct agent **made, const struct config *settings) {
    (void)settings;
    *made = NULL;
    return 0;
}

void agent_destroy(struct agent *unused) {
    (void)unused;
}

void agent_set_interrupt(struct agent *unused, int interrupt) {
    (void)unused, (void)interrupt;
}

bool agent_takes_events(const struct agent *unused) {
    (void)unused;
    return true;
}

enum agent_answer agent_ask_info(struct agent *unused) {
    (void)unused;
    return AGENT_ACCEPTED;
}

enum agent_answer agent_post(struct agent *unused, const void *payload, size_t size, uint32_t chunks,
                             size_t spans) {
    static const enum agent_answer answers[] = {AGENT_ACCEPTED, AGENT_TOO_LARGE, AGENT_BUSY, AGENT_REFUSED};
    (void)unused;
    msgpack_unpacked unpacked;
    size_t offset = 0, packed = 0;
    msgpack_unpacked_init(&unpacked);
    PROMISED(msgpack_unpack_next(&unpacked, payload, size, &offset) == MSGPACK_UNPACK_SUCCESS &&
             offset == size);
    PROMISED(unpacked.data.type == MSGPACK_OBJECT_ARRAY && unpacked.data.via.array.size == chunks);
    for (uint32_t i = 0; i < chunks; i++)
        packed += unpacked.data.via.array.ptr[i].via.array.size;
    PROMISED(packed == spans);
    msgpack_unpacked_destroy(&unpacked);
    enum agent_answer answer = answers[agent.answers & 3];
    agent.answers >>= 2;
    if (answer == AGENT_ACCEPTED) agent.accepted += spans;
    return answer;
}

/* ---- recovery ---- */

static void see(const struct recover_workflow *workflow, void *context) {
    unsigned *times = context;
    ++*times;
    PROMISED(strlen(workflow->prompt_id) < 256 && strlen(workflow->job_id) < 256);
    PROMISED(strlen(workflow->node_id) < 256 && strlen(workflow->class_type) < 256);
    PROMISED(workflow->death_ns >= workflow->start_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int file = -1;
    if (file < 0) file = memfd_create("recover", MFD_CLOEXEC);
    PROMISED(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    const struct recover_verdict verdict = {"killed", "ProcessKilled", "A sentence.", size % 2};
    for (int attempt = 0, done = 0; attempt < 20 && !done; attempt++) {
        struct recover_result result = {0};
        unsigned times = 0;
        agent.answers = attempt || !size ? 0 : data[size - 1];
        agent.accepted = 0;
        int error = recover_send(file, &verdict, config(), 0, -1, see, &times, &result);
        PROMISED(error <= 0 && result.sent == agent.accepted);
        PROMISED(error ? times == 0 || times == result.workflows : times == result.workflows);
        done = error != -EAGAIN;
        PROMISED(done || attempt == 0);
    }
    return 0;
}
