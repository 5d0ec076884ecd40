/* Fuzzes the parser of the agent's replies. The first byte of the input says how the rest is cut; the result must not
 * depend on that, and no size may pass its bound. */
#include "export/http.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void check(const struct http_reply *reply) {
    require(reply->status == 0 || (reply->status >= 200 && reply->status < 600), "status");
    require(reply->body.size <= HTTP_BODY_LIMIT, "body");
    require(reply->head_size <= HTTP_HEAD_LIMIT, "head");
    require(!reply->keep_alive || reply->status, "a connection is kept after a reply only");
    const char *value = http_reply_header(reply, "Datadog-Rates-Payload-Version");
    require(!value || strlen(value) < HTTP_HEAD_LIMIT, "a header's value ends");
}

/* Reads the reply in pieces of `piece` bytes. */
static int read_reply(struct http_reply *reply, const uint8_t *data, size_t size, size_t piece) {
    int result = 0;
    http_reply_begin(reply);
    for (size_t at = 0; at < size && !result; at += piece) {
        result = http_reply_feed(reply, (const char *)data + at, piece < size - at ? piece : size - at);
        check(reply);
    }
    return result ? result : http_reply_closed(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct http_reply whole, cut; /* keep their memory from run to run */
    if (size < 1) return 0;
    int at_once = read_reply(&whole, data + 1, size - 1, size);
    int in_pieces = read_reply(&cut, data + 1, size - 1, 1 + data[0] % 32);
    require(at_once == in_pieces && whole.status == cut.status && whole.state == cut.state,
            "outcome by pieces");
    require(whole.body.size == cut.body.size, "body by pieces");
    require(!whole.body.size || !memcmp(whole.body.data, cut.body.data, whole.body.size), "bytes by pieces");
    return 0;
}
