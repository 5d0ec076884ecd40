/* The reader of a foreign flight memory: whatever the mapping holds, it reads nothing outside it, and passes only
 * spans that keep what flight_view_each promises. */
#include "flight.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define PROMISED(condition)                                                                                  \
    if (!(condition)) __builtin_trap()

struct seen {
    const struct flight_view *view;
    size_t passed;
};

/* What has been read; so that nothing of the reading is optimised away, and AddressSanitizer sees all of it. */
static volatile size_t touched;

static size_t touch(const unsigned char *bytes, size_t size) {
    size_t sum = 0;
    while (size--)
        sum += *bytes++;
    return sum;
}

static void check_entries(const struct flight_view *view, const void *entries, size_t size) {
    struct flight_tag tag;
    const void *value;
    size_t offset = 0;
    while (flight_tag_next(entries, size, &offset, &tag, &value)) {
        PROMISED(tag.key < view->name_count);
        PROMISED(tag.type == FLIGHT_TEXT || (tag.type == FLIGHT_NUMBER && tag.size == sizeof(double)));
        touched += strlen(view->names[tag.key]) + touch(value, tag.size);
    }
    PROMISED(offset == size);
}

static void check_span(void *context, const struct flight_span *span, const void *tags,
                       struct flight_found found) {
    struct seen *seen = context;
    seen->passed++;
    PROMISED(span->span_id && span->trace.trace_id_low);
    PROMISED(span->kind == FLIGHT_WORKFLOW || span->kind == FLIGHT_NODE);
    PROMISED(span->trace.priority >= -1 && span->trace.priority <= 2);
    PROMISED(span->trace.rule_rate <= 1);
    PROMISED(!found.open || !span->end_ns);
    check_entries(seen->view, tags, span->tags_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    unsigned char *memory = malloc(size ? size : 1); /* its own end, not that of the fuzzer's buffer */
    struct flight_view view;
    if (!memory) return 0;
    memcpy(memory, data, size);
    if (flight_view_open(&view, memory, size) == 0) {
        struct seen seen = {.view = &view};
        check_entries(&view, view.identity, view.identity_size);
        PROMISED(flight_view_each(&view, check_span, &seen) == seen.passed);
        uint64_t position = view.header.reserved[0]; /* any */
        size_t before = seen.passed;
        size_t found = flight_view_history(&view, &position, check_span, &seen);
        PROMISED(found == seen.passed - before && position == view.header.ring_head);
        flight_view_close(&view);
    }
    free(memory);
    return 0;
}
