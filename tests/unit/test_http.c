#include "export/http.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

static void a_request_head_is_written(void **state) {
    (void)state;
    const struct http_header headers[] = {{"Absent", NULL}, {"X-Evil", "a\r\nInjected: b\x7f"}};
    struct buf out = {0};
    http_request(&out, "POST", "/v0.4/traces", "agent:8126", headers, 2, 12);
    assert_true(buf_append(&out, "", 1));
    assert_string_equal(out.data, "POST /v0.4/traces HTTP/1.1\r\nHost: agent:8126\r\nX-Evil: aInjected: b\r\n"
                                  "Content-Length: 12\r\n\r\n");
    buf_finish(&out);
}

/* ---- replies ---- */

struct expectation {
    const char *reply;
    int status;
    const char *body;
    int keep_alive;
    int at_close; /* what http_reply_closed says after all bytes */
};

static const struct expectation good[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 1, 0},
    {"HTTP/1.1 200 OK\r\ncontent-LENGTH:5  \r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 1, 0},
    {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", 1, 0},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", 1, 0},
    {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", 1, 0},
    {"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 429, "{}", 0, 0},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", 0, 0},
    {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", 1, 0},
    {"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", 0, 0},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 1, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello", 1, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;name=\"v\"\r\nhel\r\n0002 "
     "\r\nlo\r\n0\r\nA: b\r\nC: d\r\n\r\n",
     200, "hello", 1, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
     200, "01234567890123456789", 1, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200,
     "hello", 0, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\nContent-Length: 1\r\n\r\nabc", 200, "abc", 0,
     0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok", 0, 0},
    /* cut by the peer: what arrived is there, and the caller hears of it */
    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 200, "hello", 0, -ECONNRESET},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, "hel", 0, -ECONNRESET},
    {"HTTP/1.1 200 OK\r\nContent-Le", 0, "", 0, -ECONNRESET},
    {"", 0, "", 0, -ECONNRESET},
};

static void check(const struct expectation *wanted, struct http_reply *reply) {
    int keep_alive = reply->keep_alive;
    assert_int_equal(http_reply_closed(reply), wanted->at_close);
    assert_int_equal(reply->status, wanted->status);
    if (!wanted->at_close) assert_int_equal(keep_alive, wanted->keep_alive);
    assert_int_equal(reply->body.size, strlen(wanted->body));
    if (reply->body.size) assert_memory_equal(reply->body.data, wanted->body, reply->body.size);
}

/* Feeds a heap copy of exactly that size, for the sanitiser to watch. */
static int feed(struct http_reply *reply, const char *bytes, size_t size) {
    char *copy = malloc(size + !size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    int result = http_reply_feed(reply, copy, size);
    free(copy);
    return result;
}

static void replies_are_read_wherever_they_are_split(void **state) {
    (void)state;
    struct http_reply reply = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t size = strlen(good[i].reply);
        for (size_t first = 0; first <= size; first++) {
            for (size_t second = first; second <= size; second++) {
                http_reply_begin(&reply);
                assert_int_equal(feed(&reply, good[i].reply, first), 0);
                assert_int_equal(feed(&reply, good[i].reply + first, second - first), 0);
                assert_int_equal(feed(&reply, good[i].reply + second, size - second), 0);
                check(&good[i], &reply);
            }
        }
        http_reply_begin(&reply);
        for (size_t at = 0; at < size; at++)
            assert_int_equal(feed(&reply, good[i].reply + at, 1), 0);
        check(&good[i], &reply);
    }
    http_reply_finish(&reply);
}

static void what_is_not_http_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 700 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nName : blank before the colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
    };
    struct http_reply reply = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        http_reply_begin(&reply);
        if (feed(&reply, bad[i], strlen(bad[i])) != -EPROTO) fail_msg("accepted: %s", bad[i]);
        assert_false(reply.keep_alive);
        assert_int_equal(feed(&reply, "HTTP/1.1 200 OK\r\n\r\n", 19), -EPROTO);
        assert_int_equal(http_reply_closed(&reply), -ECONNRESET);
        assert_null(http_reply_header(&reply, "no such header"));
    }
    http_reply_begin(&reply);
    assert_int_equal(feed(&reply, "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", 25), -EPROTO);
    http_reply_finish(&reply);
}

/* Feeds `head`, then `filler` over and over until the parser has had enough; returns what it says. */
static int feed_endlessly(struct http_reply *reply, const char *head, const char *filler) {
    http_reply_begin(reply);
    int result = feed(reply, head, strlen(head));
    for (size_t fed = 0; !result && fed < 64 * HTTP_HEAD_LIMIT; fed += strlen(filler))
        result = http_reply_feed(reply, filler, strlen(filler));
    return result;
}

static void endless_heads_end(void **state) {
    (void)state;
    struct http_reply reply = {0};
    assert_int_equal(feed_endlessly(&reply, "", "x"), -EMSGSIZE);
    assert_int_equal(feed_endlessly(&reply, "HTTP/1.1 200 OK\r\n", "A: b\r\n"), -EMSGSIZE);
    const char *chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    char chunk[100];
    snprintf(chunk, sizeof chunk, "%s5;", chunked);
    assert_int_equal(feed_endlessly(&reply, chunk, "e=x;"), -EMSGSIZE);
    snprintf(chunk, sizeof chunk, "%s0\r\n", chunked);
    assert_int_equal(feed_endlessly(&reply, chunk, "A: b\r\n"), -EMSGSIZE);
    http_reply_finish(&reply);
}

static void of_a_huge_body_the_beginning_is_kept(void **state) {
    (void)state;
    struct http_reply reply = {0};
    static char block[65536];
    memset(block, 'x', sizeof block);
    http_reply_begin(&reply);
    assert_int_equal(feed(&reply, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n", 44), 0);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(reply.state, HTTP_BODY);
        assert_int_equal(http_reply_feed(&reply, block, sizeof block), 0);
    }
    assert_int_equal(reply.state, HTTP_DONE);
    assert_int_equal(reply.body.size, HTTP_BODY_LIMIT);
    assert_true(reply.keep_alive);
    http_reply_finish(&reply);
}

static void headers_are_found_by_name(void **state) {
    (void)state;
    struct http_reply reply = {0};
    const char *text = "HTTP/1.1 200 OK\r\nDatadog-Rates-Payload-Version:  v7 \r\nEmpty:\r\nLast: "
                       "x\r\nContent-Length: 0\r\n\r\n";
    http_reply_begin(&reply);
    assert_null(http_reply_header(&reply, "Last"));
    assert_int_equal(feed(&reply, text, strlen(text)), 0);
    assert_string_equal(http_reply_header(&reply, "datadog-rates-payload-version"), "v7");
    assert_string_equal(http_reply_header(&reply, "Empty"), "");
    assert_string_equal(http_reply_header(&reply, "LAST"), "x");
    assert_null(http_reply_header(&reply, "Datadog-Rates"));
    assert_null(http_reply_header(&reply, "OK"));
    http_reply_finish(&reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_head_is_written),
        cmocka_unit_test(replies_are_read_wherever_they_are_split),
        cmocka_unit_test(what_is_not_http_is_refused),
        cmocka_unit_test(endless_heads_end),
        cmocka_unit_test(of_a_huge_body_the_beginning_is_kept),
        cmocka_unit_test(headers_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
