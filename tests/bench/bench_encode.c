/* Encodes node spans as a workflow makes them: 12 text tags, 8 numbers, chunks of 200 and a workflow span.
 * Prints spans per second. usage: bench_encode [ROUNDS]; a round is one chunk (callgrind: the difference of
 * two runs with different ROUNDS, divided by 201 spans a round, is the cost of a span). */
#include "export/msgpack_v04.h"
#include "flight.h"
#include "trace/tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES 200

static char *put_text(char *at, enum tag key, const char *value) {
    return flight_tag_write(at, (uint16_t)key, FLIGHT_TEXT, value, strlen(value));
}

static char *put_number(char *at, enum tag key, double value) {
    return flight_tag_write(at, (uint16_t)key, FLIGHT_NUMBER, &value, sizeof value);
}

static size_t identity_entries(char *entries) {
    char *at = entries;
    at = put_text(at, TAG_SERVICE, "comfyui");
    at = put_text(at, TAG_ENV, "production");
    at = put_text(at, TAG_VERSION, "0.3.40");
    at = put_text(at, TAG_COMPONENT, "comfyui");
    at = put_text(at, TAG_LANGUAGE, "c");
    at = put_text(at, TAG_RUNTIME_ID, "3f2b8c0d9e1a4f5b8c7d6e5f4a3b2c1d");
    at = put_text(at, TAG_USER_TAG, "team:rendering");
    at = put_number(at, TAG_PROCESS_ID, 4711);
    return (size_t)(at - entries);
}

static size_t node_entries(char *entries) {
    static const enum tag numbers[] = {TAG_VRAM_PEAK,   TAG_NODE_ACTIVE_MS,      TAG_RAM_AVAILABLE_BEFORE,
                                       TAG_RSS_AFTER,   TAG_RAM_AVAILABLE_AFTER, TAG_NODE_EXECUTIONS,
                                       TAG_NODES_TOTAL, TAG_NODES_CACHED};
    char *at = entries;
    at = put_text(at, TAG_PROMPT_ID, "8a1f7c52-0d3e-4b69-9a47-5c1f2e3d4b5a");
    at = put_text(at, TAG_NODE_ID, "117");
    at = put_text(at, TAG_NODE_CLASS_TYPE, "KSamplerAdvanced");
    at = put_text(at, TAG_NODE_DISPLAY_ID, "117.0.0.3");
    at = put_text(at, TAG_NODE_PARENT_ID, "98");
    at = put_text(at, TAG_NODE_CACHED, "true");
    at = put_text(at, TAG_NODE_RESULT, "SUCCESS");
    at = put_text(at, TAG_JOB_ID, "job-20240611-000017");
    at = put_text(at, TAG_WORKFLOW_STATUS, "success");
    at = put_text(at, TAG_ERROR_TYPE, "builtins.ValueError");
    at = put_text(at, TAG_ERROR_MESSAGE, "the latent has a wrong shape: expected four channels");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        at = put_number(at, numbers[i], 1.5e9 + (double)i);
    return (size_t)(at - entries);
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 10000;
    static char shared[1024], tags[2048];
    const char *names[TAG_COUNT];
    tags_list_names(names);
    struct v04_identity *identity = v04_identity_create(shared, identity_entries(shared), names, TAG_COUNT);
    if (!identity) return 1;
    static struct flight_span spans[NODES + 1];
    static struct v04_span chunk[NODES + 1];
    uint32_t tags_size = (uint32_t)node_entries(tags);
    for (int i = 0; i <= NODES; i++) {
        spans[i] = (struct flight_span){
            .trace = {.trace_id_high = 0x6710000000000000,
                      .trace_id_low = 0x7edcba9876543210,
                      .priority = 1,
                      .root_span_id = 1,
                      .agent_rate = 1,
                      .rule_rate = -1,
                      .limit_rate = -1,
                      .mechanism = 1},
            .span_id = 0x123456789abcdef0 + (uint64_t)i,
            .parent_id = 0x123456789abcdef0,
            .start_ns = 1718000000000000000 + (uint64_t)i * 1000000,
            .end_ns = 1718000000000900000 + (uint64_t)i * 1000000,
            .kind = i < NODES ? FLIGHT_NODE : FLIGHT_WORKFLOW,
            .tags_size = tags_size,
        };
        chunk[i] = (struct v04_span){&spans[i], tags, 0, spans[i].end_ns};
    }
    struct buf payload = {0};
    clock_t begin = clock(); /* processor time: others may be using the machine */
    for (long i = 0; i < rounds; i++) {
        buf_clear(&payload);
        v04_begin(&payload, 1);
        v04_chunk(&payload, identity, chunk, NODES + 1, -1);
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("encode: %.2f million spans/s, %zu bytes a span\n", (double)rounds * (NODES + 1) / seconds / 1e6,
           payload.size / (NODES + 1));
    buf_finish(&payload);
    v04_identity_destroy(identity);
    return 0;
}
