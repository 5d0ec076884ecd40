/* Node spans as a workflow makes them, in a flight memory that outlasts the process, and drained. For callgrind, which counts
 * inside the functions of flight memory. usage: bench_flight FOLDER SPANS */
#include "flight.h"
#include "flight_files.h"
#include "trace/span.h"

#include <stdlib.h>
#include <string.h>

#define PORTION 1000 /* spans between two drainings */

static void ignore(enum flight_span_kind kind) {
    (void)kind;
}

static void text(struct span *span, enum tag key, const char *value) {
    span_text(span, key, value, strlen(value));
}

static void make_node(void) {
    static const enum tag numbers[] = {
        TAG_RAM_AVAILABLE_BEFORE, TAG_VRAM_ALLOCATED_BEFORE, TAG_RSS_AFTER,       TAG_RAM_AVAILABLE_AFTER,
        TAG_VRAM_ALLOCATED_AFTER, TAG_NODE_ACTIVE_MS,        TAG_NODE_EXECUTIONS, TAG_VRAM_PEAK};
    const struct flight_trace trace = {.trace_id_low = 7, .root_span_id = 1, .priority = 1};
    const struct flight_figures figures = {1, 2, 3, 4};
    struct span *span = span_start(FLIGHT_NODE, &trace, 0, 1, 1000);
    text(span, TAG_NODE_CLASS_TYPE, "KSamplerAdvanced");
    text(span, TAG_NODE_ID, "117");
    text(span, TAG_PROMPT_ID, "8a1f7c52-0d3e-4b69-9a47-5c1f2e3d4b5a");
    text(span, TAG_NODE_RESULT, "SUCCESS");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        span_number(span, numbers[i], 1.5e9);
    span_note_figures(&figures); /* before it, and after it */
    span_note_figures(&figures);
    span_finish(span, 2000);
}

int main(int argc, char **argv) {
    struct flight *flight = argc == 3 ? flight_create_in(argv[1], NULL, NULL, 0) : NULL;
    if (!flight || !flight_files_has_own()) return 1;
    span_connect(flight, ignore);
    for (long i = 1, spans = atol(argv[2]); i <= spans; i++) {
        uint64_t position = 0;
        struct flight_record *record;
        make_node();
        while (i % PORTION == 0 && (record = flight_next(flight, &position)))
            flight_settle(flight, record, true);
        flight_trim(flight);
    }
    flight_files_remove();
    return flight_counts(flight).dropped ? 1 : 0;
}
