/* Against a real server on loopback: TCP, IPv6, unix socket, and every way an agent can misbehave. */
#include "base/clock.h"
#include "export/transport.h"
#include "loopback.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a client with everything it needs ---- */

struct client {
    struct transport *transport;
    struct http_reply reply;
};

static void client_start(struct client *client, const char *url) {
    memset(client, 0, sizeof *client);
    assert_int_equal(transport_create(&client->transport, url), 0);
}

static void client_finish(struct client *client) {
    transport_destroy(client->transport);
    http_reply_finish(&client->reply);
}

static int post(struct client *client, const void *body, size_t size, unsigned timeout_ms) {
    const struct http_header headers[] = {{"X-Test", "yes"}};
    const struct transport_request request = {"POST", "/v0.4/traces", headers, 1, body, size};
    return transport_send(client->transport, &request, clock_mono_ns() + timeout_ms * UINT64_C(1000000),
                          &client->reply);
}

/* A request that must be answered with this. */
static void post_ok(struct client *client, int status, const char *body) {
    assert_int_equal(post(client, "payload", 7, LOOPBACK_PATIENCE_MS), 0);
    assert_int_equal(client->reply.status, status);
    assert_int_equal(client->reply.body.size, strlen(body));
    if (*body) assert_memory_equal(client->reply.body.data, body, strlen(body));
}

/* The descriptor of the client's connection to a TCP server. */
static int connection_to(const struct loopback *server) {
    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        if (!getpeername(fd, (struct sockaddr *)&peer, &size) && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == loopback_port(server))
            return fd;
    }
    fail_msg("no connection");
    return -1;
}

/* ---- servers ---- */

/* Answers every request with its own body; the head of the last one goes to context (a struct buf), when
 * given. */
static void echo(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    while (loopback_read(server, fd, &head, &body)) {
        if (server->context) {
            buf_clear(server->context);
            buf_append(server->context, head.data, head.size);
        }
        buf_append(&body, "", 1);
        loopback_reply(fd, 200, "", body.data);
    }
    buf_finish(&head);
    buf_finish(&body);
}

/* Answers the first request of a connection, and closes at the second, having read it. */
static void one_then_close(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    if (loopback_read(server, fd, &head, &body)) loopback_reply(fd, 200, "", "first");
    loopback_read(server, fd, &head, &body);
    buf_finish(&head);
    buf_finish(&body);
}

/* The same, but closes within the head of the second reply. */
static void one_then_half(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    if (loopback_read(server, fd, &head, &body)) loopback_reply(fd, 200, "", "first");
    if (loopback_read(server, fd, &head, &body)) loopback_write(fd, "HTTP/1.1 200 OK\r\nContent-");
    buf_finish(&head);
    buf_finish(&body);
}

/* Answers one request, then closes at once, though it promised to keep the connection. */
static void close_after_reply(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    if (loopback_read(server, fd, &head, &body)) loopback_reply(fd, 200, "", "only");
    buf_finish(&head);
    buf_finish(&body);
}

/* Reads a request and resets the connection after having sent the text in context. */
static void reset_after(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    if (loopback_read(server, fd, &head, &body)) {
        loopback_write(fd, server->context);
        if (*(const char *)server->context)
            loopback_wait(server, fd); /* until the client has gone or we stop */
        loopback_reset(fd);
    }
    buf_finish(&head);
    buf_finish(&body);
}

/* Sends context byte by byte, 5 ms apart, for ever again when it is empty of a reply's end. */
static void drip(struct loopback *server, int fd) {
    struct buf head = {0}, body = {0};
    if (loopback_read(server, fd, &head, &body)) {
        for (const char *text = server->context; *text; text++) {
            struct pollfd client = {.fd = fd, .events = POLLIN};
            if (poll(&client, 1, 5) > 0) break; /* it has gone */
            loopback_write(fd, (char[]){*text, '\0'});
        }
    }
    buf_finish(&head);
    buf_finish(&body);
}

/* Reads nothing and says nothing until the client has gone. */
static void hang(struct loopback *server, int fd) {
    char byte;
    while (loopback_wait(server, fd) && recv(fd, &byte, 1, 0) > 0)
        ;
}

/* Refuses by the head alone, then closes with the body unread. */
static void refuse_early(struct loopback *server, int fd) {
    loopback_wait(server, fd);
    char byte;
    if (recv(fd, &byte, 1, 0) == 1) loopback_reply(fd, 413, "Connection: close\r\n", "too large");
}

/* Refuses by the head alone, and keeps the connection; what still comes of the body is answered no more. */
static void refuse_and_stay(struct loopback *server, int fd) {
    static char bytes[1 << 16];
    loopback_wait(server, fd);
    loopback_reply(fd, 413, "", "too large");
    while (loopback_wait(server, fd) && recv(fd, bytes, sizeof bytes, 0) > 0)
        ;
}

/* ---- tests ---- */

static void urls_are_understood_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *url;
        int error;
    } urls[] = {
        {"http://localhost:8126", 0},
        {"http://agent", 0},
        {"http://agent/", 0},
        {"http://agent:1/prefix/", 0},
        {"http://[::1]:8126", 0},
        {"http://[fe80::1%25eth0]", 0},
        {"unix:///var/run/datadog/apm.socket", 0},
        {"https://agent:8126", -EPROTONOSUPPORT},
        {"ftp://agent", -EPROTONOSUPPORT},
        {"agent:8126", -EINVAL},
        {"", -EINVAL},
        {"http://", -EINVAL},
        {"http://:8126", -EINVAL},
        {"http://agent:", -EINVAL},
        {"http://agent:0", -EINVAL},
        {"http://agent:65536", -EINVAL},
        {"http://agent:99999999999999999999", -EINVAL},
        {"http://agent:80x", -EINVAL},
        {"http://user:secret@agent:8126", -EINVAL},
        {"http://agent:8126/?query", -EINVAL},
        {"http://agent\r\nX: y", -EINVAL},
        {"http://[::1", -EINVAL},
        {"http://[]:8126", -EINVAL},
        {"http://[::1]8126", -EINVAL},
        {"unix://relative", -EINVAL},
        {"unix://", -EINVAL},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct transport *transport;
        int error = transport_create(&transport, urls[i].url);
        if (error != urls[i].error) fail_msg("%s: %d, not %d", urls[i].url, error, urls[i].error);
        assert_int_equal(transport != NULL, !error);
        transport_destroy(transport);
    }
    char longest[400] = "unix:///", host[400] = "http://";
    memset(longest + 8, 'x', 200);
    memset(host + 7, 'x', 300);
    struct transport *transport;
    assert_int_equal(transport_create(&transport, longest), -ENAMETOOLONG);
    assert_int_equal(transport_create(&transport, host), -ENAMETOOLONG);
}

static void one_connection_carries_many_requests(void **state) {
    (void)state;
    struct buf head = {0};
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, &head));
    client_start(&client, server.url);
    for (int i = 0; i < 3; i++)
        post_ok(&client, 200, "payload");
    assert_int_equal(server.connections, 1);
    assert_int_equal(fcntl(connection_to(&server), F_GETFD), FD_CLOEXEC);
    client_finish(&client);
    loopback_stop(&server);
    char wanted[400];
    snprintf(wanted, sizeof wanted,
             "POST /v0.4/traces HTTP/1.1\r\nHost: %s\r\nX-Test: yes\r\nContent-Length: 7\r\n\r\n",
             server.url + 7);
    assert_string_equal(head.data, wanted);
    buf_finish(&head);
}

static void a_prefix_goes_before_the_path(void **state) {
    (void)state;
    struct buf head = {0};
    struct loopback server;
    struct client client;
    char url[200];
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, &head));
    snprintf(url, sizeof url, "http://localhost:%d/proxy//", loopback_port(&server));
    client_start(&client, url); /* a name this time: it may first be looked for at ::1 */
    post_ok(&client, 200, "payload");
    client_finish(&client);
    loopback_stop(&server);
    assert_memory_equal(head.data, "POST /proxy/v0.4/traces HTTP/1.1\r\n", 34);
    buf_finish(&head);
}

static void ipv6_and_unix_sockets_work_too(void **state) {
    (void)state;
    char folder[] = "/tmp/comfydd-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/apm.socket", folder);
    const char *places[] = {path, "::1"};
    for (int i = 0; i < 2; i++) {
        struct buf head = {0};
        struct loopback server;
        struct client client;
        if (!loopback_start(&server, places[i], 0, echo, &head)) {
            print_message("no %s here\n", places[i]);
            continue;
        }
        client_start(&client, server.url);
        post_ok(&client, 200, "payload");
        post_ok(&client, 200, "payload");
        assert_int_equal(server.connections, 1);
        client_finish(&client);
        loopback_stop(&server);
        assert_non_null(strstr(head.data, i ? "Host: [::1]:" : "Host: localhost\r\n"));
        buf_finish(&head);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void nobody_there_is_said_at_once(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, NULL));
    loopback_stop(&server); /* now nobody listens at that port */
    client_start(&client, server.url);
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -ECONNREFUSED);
    assert_int_equal(client.reply.status, 0);
    client_finish(&client);
    client_start(&client, "unix:///nonexistent/apm.socket");
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -ENOENT);
    client_finish(&client);
    client_start(&client, "http://[not-an-address]:1");
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -EHOSTUNREACH);
    client_finish(&client);
}

static void a_connection_closed_meanwhile_is_replaced(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, close_after_reply, NULL));
    client_start(&client, server.url);
    for (int i = 0; i < 3; i++)
        post_ok(&client, 200, "only");
    assert_int_equal(server.connections, 3);
    client_finish(&client);
    loopback_stop(&server);

    /* closed at the very moment of the second request */
    assert_true(loopback_start(&server, "127.0.0.1", 0, one_then_close, NULL));
    client_start(&client, server.url);
    for (int i = 0; i < 3; i++)
        post_ok(&client, 200, "first");
    assert_int_equal(server.connections, 3);
    client_finish(&client);
    loopback_stop(&server);
}

static void a_reset_of_a_fresh_connection_is_an_error(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    char nothing[] = "";
    assert_true(loopback_start(&server, "127.0.0.1", 0, reset_after, nothing));
    client_start(&client, server.url);
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -ECONNRESET);
    assert_int_equal(server.connections, 1);
    client_finish(&client);
    loopback_stop(&server);
}

static void a_reply_that_breaks_off_counts_from_its_head_on(void **state) {
    (void)state;
    char with_head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    char without[] = "HTTP/1.1 200 OK\r\nContent-";
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, drip, with_head));
    client_start(&client, server.url);
    post_ok(&client, 200, "half");
    client_finish(&client);
    loopback_stop(&server);

    assert_true(loopback_start(&server, "127.0.0.1", 0, drip, without));
    client_start(&client, server.url);
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -ECONNRESET);
    assert_int_equal(client.reply.status, 0);
    client_finish(&client);
    loopback_stop(&server);
}

/* The agent has seen it: not the same as a connection that was closed before. */
static void a_second_reply_that_breaks_off_is_an_error(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, one_then_half, NULL));
    client_start(&client, server.url);
    post_ok(&client, 200, "first");
    assert_int_equal(post(&client, "x", 1, LOOPBACK_PATIENCE_MS), -ECONNRESET);
    assert_int_equal(server.connections, 1);
    client_finish(&client);
    loopback_stop(&server);
}

static void a_slow_reply_is_read_to_its_end(void **state) {
    (void)state;
    char slow[] = "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, drip, slow));
    client_start(&client, server.url);
    post_ok(&client, 503, "no");
    client_finish(&client);
    loopback_stop(&server);
}

/* Whatever the server does, a request ends at its deadline, and the next one starts afresh. */
static void nothing_outlasts_the_deadline(void **state) {
    (void)state;
    static char endless[4000];
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, "HTTP/1.1 ", 9);
    static void (*const servers[])(struct loopback *, int) = {hang, drip, reset_after};
    for (int i = 0; i < 3; i++) {
        struct loopback server;
        struct client client;
        assert_true(loopback_start(&server, "127.0.0.1", 0, servers[i], endless));
        client_start(&client, server.url);
        for (int k = 1; k <= 2; k++) {
            uint64_t begin = clock_mono_ns();
            assert_int_equal(post(&client, "x", 1, 150), -ETIMEDOUT);
            uint64_t took_ms = (clock_mono_ns() - begin) / 1000000;
            assert_in_range(took_ms, 149, 5000); /* the machine may be busy */
        }
        assert_int_equal(server.connections, 2);
        client_finish(&client);
        loopback_stop(&server);
    }
}

/* A body may have been taken: what became of it is worth waiting for. */
static void an_interrupt_ends_what_can_be_asked_again(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    int ends[2];
    const struct transport_request request = {"GET", "/info", NULL, 0, NULL, 0};
    assert_int_equal(pipe(ends), 0);
    assert_true(loopback_start(&server, "127.0.0.1", 0, hang, NULL));
    client_start(&client, server.url);
    transport_set_interrupt(client.transport, ends[0]);
    assert_int_equal(post(&client, "x", 1, 50), -ETIMEDOUT);
    assert_int_equal(write(ends[1], "x", 1), 1);
    uint64_t begin = clock_mono_ns(), deadline = begin + LOOPBACK_PATIENCE_MS * UINT64_C(1000000);
    assert_int_equal(transport_send(client.transport, &request, deadline, &client.reply), -ECANCELED);
    assert_true(clock_mono_ns() - begin < deadline - begin);
    transport_set_interrupt(client.transport, -1);
    assert_int_equal(post(&client, "x", 1, 50), -ETIMEDOUT);
    client_finish(&client);
    loopback_stop(&server);
    close(ends[0]);
    close(ends[1]);
}

/* Connecting is under the deadline as well: a full backlog leaves a connection unanswered. */
static void an_unanswered_connection_ends_at_the_deadline(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[8];
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&address, size);
    }
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    struct client client;
    client_start(&client, url);
    uint64_t begin = clock_mono_ns();
    assert_int_equal(post(&client, "x", 1, 150), -ETIMEDOUT);
    assert_in_range((clock_mono_ns() - begin) / 1000000, 149, 5000);
    client_finish(&client);
    for (int i = 0; i < 8; i++)
        close(fillers[i]);
    close(listener);
}

static void a_refusal_of_an_unread_body_is_heard(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    size_t size = 64u << 20; /* more than the sockets between the two hold */
    char *body = calloc(1, size);
    assert_non_null(body);
    assert_true(loopback_start(&server, "127.0.0.1", 0, refuse_early, NULL));
    client_start(&client, server.url);
    assert_int_equal(post(&client, body, size, LOOPBACK_PATIENCE_MS), 0);
    assert_int_equal(client.reply.status, 413);
    client_finish(&client);
    loopback_stop(&server);

    /* On that connection the server waits for the rest of the body. */
    assert_true(loopback_start(&server, "127.0.0.1", 0, refuse_and_stay, NULL));
    client_start(&client, server.url);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(post(&client, body, size, LOOPBACK_PATIENCE_MS), 0);
        assert_int_equal(client.reply.status, 413);
    }
    assert_int_equal(server.connections, 2);
    client_finish(&client);
    loopback_stop(&server);
    free(body);
}

static void large_bodies_arrive_whole(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    size_t size = HTTP_BODY_LIMIT;
    char *body = malloc(size);
    assert_non_null(body);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)('a' + i % 23);
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, NULL));
    client_start(&client, server.url);
    assert_int_equal(post(&client, body, size, LOOPBACK_PATIENCE_MS), 0);
    assert_int_equal(client.reply.body.size, size);
    assert_memory_equal(client.reply.body.data, body, size);
    client_finish(&client);
    loopback_stop(&server);
    free(body);
}

/* A host that has closed its standard streams must not find our connection in their place. */
static void the_standard_descriptors_are_left_alone(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, NULL));
    client_start(&client, server.url);
    int saved = dup(STDIN_FILENO);
    assert_true(saved > STDERR_FILENO);
    close(STDIN_FILENO);
    post_ok(&client, 200, "payload");
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    close(saved);
    client_finish(&client);
    loopback_stop(&server);
}

/* A host that closes every descriptor and opens its own files must not find our requests in them. */
static void a_descriptor_taken_by_the_host_is_left_alone(void **state) {
    (void)state;
    struct loopback server;
    struct client client;
    assert_true(loopback_start(&server, "127.0.0.1", 0, echo, NULL));
    client_start(&client, server.url);
    post_ok(&client, 200, "payload");
    int fd = connection_to(&server);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(dup2(fileno(file), fd), fd);
    post_ok(&client, 200, "payload");
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0); /* still open, still the file */
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(status.st_size, 0);
    close(fd);
    fclose(file);

    int sockets[2]; /* as ours is one */
    char byte;
    fd = connection_to(&server);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(dup2(sockets[0], fd), fd);
    close(sockets[0]);
    post_ok(&client, 200, "payload");
    assert_int_equal(recv(sockets[1], &byte, 1, MSG_DONTWAIT), -1); /* neither written to nor closed */
    assert_int_equal(errno, EAGAIN);
    close(fd);
    close(sockets[1]);
    client_finish(&client);
    loopback_stop(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_understood_or_refused),
        cmocka_unit_test(one_connection_carries_many_requests),
        cmocka_unit_test(a_prefix_goes_before_the_path),
        cmocka_unit_test(ipv6_and_unix_sockets_work_too),
        cmocka_unit_test(nobody_there_is_said_at_once),
        cmocka_unit_test(a_connection_closed_meanwhile_is_replaced),
        cmocka_unit_test(a_reset_of_a_fresh_connection_is_an_error),
        cmocka_unit_test(a_reply_that_breaks_off_counts_from_its_head_on),
        cmocka_unit_test(a_second_reply_that_breaks_off_is_an_error),
        cmocka_unit_test(a_slow_reply_is_read_to_its_end),
        cmocka_unit_test(nothing_outlasts_the_deadline),
        cmocka_unit_test(an_interrupt_ends_what_can_be_asked_again),
        cmocka_unit_test(an_unanswered_connection_ends_at_the_deadline),
        cmocka_unit_test(a_refusal_of_an_unread_body_is_heard),
        cmocka_unit_test(large_bodies_arrive_whole),
        cmocka_unit_test(the_standard_descriptors_are_left_alone),
        cmocka_unit_test(a_descriptor_taken_by_the_host_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
