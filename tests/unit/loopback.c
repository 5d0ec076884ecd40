#include "loopback.h"

#include "unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Asserting on the server's thread would jump out of it: a test that waits in vain ends as a whole. */
static void give_up(const char *what) {
    fprintf(stderr, "loopback: gave up waiting for %s\n", what);
    abort();
}

bool loopback_wait(struct loopback *server, int fd) {
    struct pollfd pollers[2] = {{.fd = server->stop[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    if (poll(pollers, 2, LOOPBACK_PATIENCE_MS) <= 0) give_up("a client");
    return !pollers[0].revents;
}

static void *run(void *argument) {
    struct loopback *server = argument;
    while (loopback_wait(server, server->listener)) {
        int accepted = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (accepted < 0) continue;
        int fd =
            fcntl(accepted, F_DUPFD_CLOEXEC, STDERR_FILENO + 1); /* a test may have closed one of the first */
        close(accepted);
        atomic_fetch_add(&server->connections, 1);
        server->serve(server, fd);
        close(fd);
    }
    return NULL;
}

static int listen_tcp(int family, const char *where, int port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) return -1;
    inet_pton(family, where, family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    if (!bind(fd, address, family == AF_INET ? sizeof v4 : sizeof v6) && !listen(fd, 16)) return fd;
    close(fd);
    return -1;
}

static int listen_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

int loopback_port(const struct loopback *server) {
    struct sockaddr_in6 address;
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin6_port); /* at the same place for IPv4 */
}

bool loopback_start(struct loopback *server, const char *where, int port,
                    void (*serve)(struct loopback *server, int fd), void *context) {
    *server = (struct loopback){.serve = serve, .context = context};
    if (*where == '/') {
        server->listener = listen_unix(where);
        snprintf(server->path, sizeof server->path, "%s", where);
        snprintf(server->url, sizeof server->url, "unix://%s", where);
    } else {
        bool is_v6 = strchr(where, ':');
        server->listener = listen_tcp(is_v6 ? AF_INET6 : AF_INET, where, port);
        if (server->listener < 0) return false;
        snprintf(server->url, sizeof server->url, is_v6 ? "http://[%s]:%d" : "http://%s:%d", where,
                 loopback_port(server));
    }
    assert_int_equal(pipe(server->stop), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
    return true;
}

void loopback_stop(struct loopback *server) {
    assert_int_equal(write(server->stop[1], "x", 1), 1);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    close(server->stop[0]);
    close(server->stop[1]);
    close(server->listener);
    if (server->path[0]) unlink(server->path);
}

/* Reads more into `to`; false at the end of the connection. */
static bool read_more(struct loopback *server, int fd, struct buf *to, size_t most) {
    if (!loopback_wait(server, fd)) return false;
    char *room = buf_room(to, most);
    ssize_t got = room ? recv(fd, room, most, 0) : 0;
    if (got <= 0) return false;
    to->size += (size_t)got;
    return true;
}

bool loopback_read(struct loopback *server, int fd, struct buf *head, struct buf *body) {
    buf_clear(head);
    buf_clear(body);
    do {
        if (!read_more(server, fd, head, 1)) return false;
    } while (head->size < 4 || memcmp(head->data + head->size - 4, "\r\n\r\n", 4));
    buf_append(head, "", 1);
    const char *length = strstr(head->data, "Content-Length: ");
    size_t wanted = length ? strtoul(length + 16, NULL, 10) : 0;
    while (body->size < wanted)
        if (!read_more(server, fd, body, wanted - body->size)) return false;
    return true;
}

void loopback_write(int fd, const char *text) {
    for (size_t left = strlen(text); left;) {
        ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);
        if (sent <= 0) return; /* the client has gone: its own business */
        text += sent;
        left -= (size_t)sent;
    }
}

void loopback_reply(int fd, int status, const char *extra_headers, const char *body) {
    char head[512];
    snprintf(head, sizeof head, "HTTP/1.1 %d Whatever\r\n%sContent-Length: %zu\r\n\r\n", status,
             extra_headers, strlen(body));
    loopback_write(fd, head);
    loopback_write(fd, body);
}

void loopback_reset(int fd) {
    struct linger at_once = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}
