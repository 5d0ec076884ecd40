/* Traces workflows that nobody runs: makes node spans as fast as it can, for tests of what the exporter does with them.
 *
 * usage: span_driver NODES [--wait | --once]     configured by the environment, like the library
 *
 * A workflow has 200 nodes. With --wait it holds on while the ring is three quarters full, so that nothing need be
 * dropped. At the end everything is flushed: for at most a minute, or with --once in one attempt. Prints one line of
 * JSON. */
#include "base/clock.h"
#include "config.h"
#include "export/exporter.h"
#include "flight.h"
#include "flight_files.h"
#include "identity.h"
#include "trace/ids.h"
#include "trace/sampler.h"
#include "trace/span.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES_PER_WORKFLOW 200
#define FLUSH_NS           UINT64_C(60000000000)

static struct flight *flight;

static void wait_for_room(void) {
    const struct timespec moment = {.tv_nsec = 1000000};
    while (flight_fill(flight) > 0.75)
        nanosleep(&moment, NULL);
}

static void make_node(const struct flight_trace *trace, int number) {
    static const char *const class_types[] = {"KSampler", "CLIPTextEncode", "VAEDecode", "SaveImage"};
    const char *class_type = class_types[number % 4];
    char id[16];
    snprintf(id, sizeof id, "%d", number);
    struct span *span = span_start(FLIGHT_NODE, trace, 0, trace->root_span_id, clock_wall_ns());
    span_text(span, TAG_NODE_CLASS_TYPE, class_type, strlen(class_type));
    span_text(span, TAG_NODE_ID, id, strlen(id));
    span_text(span, TAG_PROMPT_ID, "8a1f7c52-0d3e-4b69-9a47-5c1f2e3d4b5a", 36);
    span_text(span, TAG_NODE_RESULT, "SUCCESS", 7);
    span_number(span, TAG_NODE_ACTIVE_MS, 0.5);
    span_finish(span, clock_wall_ns());
}

static void make_workflow(int nodes, int waits) {
    static const char resource[] = "workflow#span-driver";
    struct flight_trace trace = {.trace_id_low = ids_next(),
                                 .trace_id_high = ids_trace_high(clock_wall_ns())};
    const struct sampler_subject subject = {config()->service, "comfyui.workflow.execute", resource, NULL, 0};
    trace.root_span_id = ids_next();
    sampler_decide(&trace, &subject, clock_mono_ns());
    struct span *span = span_start(FLIGHT_WORKFLOW, &trace, trace.root_span_id, 0, clock_wall_ns());
    span_text(span, TAG_RESOURCE, resource, strlen(resource));
    for (int i = 0; i < nodes; i++) {
        if (waits) wait_for_room();
        make_node(&trace, i);
    }
    span_finish(span, clock_wall_ns());
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: span_driver NODES [--wait | --once]\n");
        return 2;
    }
    int waits = argc > 2 && !strcmp(argv[2], "--wait"), once = argc > 2 && !strcmp(argv[2], "--once");
    config_load(NULL);
    sampler_init(config());
    flight = identity_create_flight(config());
    if (!flight || exporter_start(flight, config())) return 1;
    span_connect(flight, exporter_wake);

    for (int left = atoi(argv[1]); left > 0; left -= NODES_PER_WORKFLOW)
        make_workflow(left < NODES_PER_WORKFLOW ? left : NODES_PER_WORKFLOW, waits);

    uint64_t begin = clock_mono_ns();
    while (!exporter_flush(1000) && !once && clock_mono_ns() - begin < FLUSH_NS)
        ;
    struct flight_counts counts = flight_counts(flight);
    printf("{\"recorded\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"dropped\": %" PRIu64 "}\n", counts.recorded,
           counts.sent, counts.dropped);
    span_disconnect();
    exporter_stop(1000);
    flight_files_remove(); /* what is left has been told */
    return 0;
}
