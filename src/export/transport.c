#include "export/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

struct transport {
    struct sockaddr_un unix_address; /* sun_path is empty: TCP */
    char name[256], port[6];         /* of the host, without brackets */
    char host[280];                  /* for the Host header */
    char prefix[256];                /* goes before every path; empty, or begins with a slash */
    int fd;                          /* -1: not connected */
    int interrupt;                   /* see transport_set_interrupt; -1: none */
    dev_t device;                    /* identity of the socket behind fd */
    ino_t inode;
    struct buf head;
};

/* ---- the URL ---- */

/* Copies `size` bytes and terminates them. */
static int take(char *to, size_t room, const char *from, size_t size) {
    if (size >= room) return -ENAMETOOLONG;
    memcpy(to, from, size);
    to[size] = '\0';
    return 0;
}

/* 1 .. 65535. By hand: newer C libraries turn atoi into a symbol that older ones, and musl, lack. */
static bool is_port(const char *text) {
    unsigned port = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || port > 65535) return false;
        port = port * 10 + (unsigned)(*c - '0');
    }
    return port > 0 && port < 65536;
}

/* HOST[:PORT][/PREFIX] */
static int parse_authority(struct transport *t, const char *text) {
    size_t size = strcspn(text, "/"), prefix_size = strlen(text + size);
    if (text[strcspn(text, "@?# \t\r\n")]) return -EINVAL;
    while (prefix_size && text[size + prefix_size - 1] == '/')
        prefix_size--;
    const char *name = text, *name_end, *after;
    if (*text == '[') {
        name++;
        name_end = memchr(text, ']', size);
        if (!name_end) return -EINVAL;
        after = name_end + 1;
    } else {
        name_end = memchr(text, ':', size);
        if (!name_end) name_end = text + size;
        after = name_end;
    }
    if (name_end == name) return -EINVAL;
    const char *port = "8126";
    size_t port_size = 4;
    if (after < text + size) {
        if (*after != ':') return -EINVAL;
        port = after + 1;
        port_size = (size_t)(text + size - port);
    }
    int error = take(t->port, sizeof t->port, port, port_size);
    if (error || !is_port(t->port)) return -EINVAL;
    error = take(t->name, sizeof t->name, name, (size_t)(name_end - name));
    if (!error) error = take(t->prefix, sizeof t->prefix, text + size, prefix_size);
    snprintf(t->host, sizeof t->host, *text == '[' ? "[%s]:%s" : "%s:%s", t->name, t->port);
    return error;
}

static int parse_url(struct transport *t, const char *url) {
    if (!strncmp(url, "http://", 7)) return parse_authority(t, url + 7);
    if (strncmp(url, "unix://", 7)) return strstr(url, "://") ? -EPROTONOSUPPORT : -EINVAL;
    if (url[7] != '/') return -EINVAL;
    t->unix_address.sun_family = AF_UNIX;
    strcpy(t->host, "localhost");
    return take(t->unix_address.sun_path, sizeof t->unix_address.sun_path, url + 7, strlen(url + 7));
}

int transport_create(struct transport **made, const char *url) {
    *made = NULL;
    struct transport *t = calloc(1, sizeof *t);
    if (!t) return -ENOMEM;
    t->fd = t->interrupt = -1;
    int error = parse_url(t, url);
    if (error)
        free(t);
    else
        *made = t;
    return error;
}

void transport_set_interrupt(struct transport *t, int interrupt) {
    t->interrupt = interrupt;
}

/* ---- the connection ---- */

/* Whether the descriptor is still our socket: a host that closes all descriptors may have reused its number.
 */
static bool is_ours(const struct transport *t) {
    struct stat now;
    return t->fd >= 0 && !fstat(t->fd, &now) && now.st_dev == t->device && now.st_ino == t->inode;
}

static void disconnect(struct transport *t) {
    if (is_ours(t)) close(t->fd);
    t->fd = -1;
}

void transport_destroy(struct transport *t) {
    if (!t) return;
    disconnect(t);
    buf_finish(&t->head);
    free(t);
}

void transport_forked(struct transport *t) {
    disconnect(t);
}

/* Waits for `events` of `fd`; returns them, or -ETIMEDOUT, -ECANCELED, or -errno. */
static int wait_for(int fd, short events, uint64_t deadline_ns, int interrupt) {
    for (;;) {
        uint64_t now = clock_mono_ns();
        if (now >= deadline_ns) return -ETIMEDOUT;
        uint64_t left_ms = (deadline_ns - now + 999999) / 1000000;
        struct pollfd pollers[] = {{.fd = fd, .events = events}, {.fd = interrupt, .events = POLLIN}};
        int ready = poll(pollers, 2, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
        if (ready > 0 && pollers[0].revents)
            return pollers[0].revents & POLLNVAL ? -EBADF : pollers[0].revents;
        if (ready > 0) return -ECANCELED;
        if (ready < 0 && errno != EINTR) return -errno;
    }
}

/* A socket on a descriptor that is not one of the standard three. */
static int new_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (fd > STDERR_FILENO) return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), error = errno;
    close(fd);
    return moved < 0 ? -error : moved;
}

static int finish_connect(const struct transport *t, int fd, uint64_t deadline_ns) {
    int ready = wait_for(fd, POLLOUT, deadline_ns, t->interrupt), error = 0;
    if (ready < 0) return ready;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) return -errno;
    return -error;
}

static int connect_to(struct transport *t, const struct sockaddr *address, socklen_t size,
                      uint64_t deadline_ns) {
    int fd = new_socket(address->sa_family), on = 1, error = 0;
    if (fd < 0) return fd;
    if (address->sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, address, size))
        error = errno == EINPROGRESS ? finish_connect(t, fd, deadline_ns) : -errno;
    struct stat made;
    if (!error && fstat(fd, &made)) error = -errno;
    if (error) {
        close(fd);
        return error;
    }
    t->fd = fd;
    t->device = made.st_dev;
    t->inode = made.st_ino;
    return 0;
}

/* Tries the host's addresses in turn, each with its share of the time that is left. */
static int connect_tcp(struct transport *t, uint64_t deadline_ns) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    if (getaddrinfo(t->name, t->port, &hints, &list)) return -EHOSTUNREACH;
    unsigned untried = 0;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        untried++;
    int error = -EHOSTUNREACH;
    for (struct addrinfo *a = list; a && error; a = a->ai_next, untried--) {
        uint64_t now = clock_mono_ns();
        uint64_t share = now < deadline_ns ? (deadline_ns - now) / untried : 0;
        error = connect_to(t, a->ai_addr, a->ai_addrlen, now + share);
    }
    freeaddrinfo(list);
    return error;
}

static int connect_agent(struct transport *t, uint64_t deadline_ns) {
    if (!t->unix_address.sun_path[0]) return connect_tcp(t, deadline_ns);
    return connect_to(t, (const struct sockaddr *)&t->unix_address, sizeof t->unix_address, deadline_ns);
}

/* Whether a kept connection can still be used: between requests the agent has nothing to say but goodbye. */
static bool is_idle(const struct transport *t) {
    struct pollfd poller = {.fd = t->fd, .events = POLLIN};
    return is_ours(t) && poll(&poller, 1, 0) == 0;
}

/* ---- a request ---- */

/* What is still to be sent. */
struct sending {
    struct iovec parts[2];
    size_t left;
};

static void advance(struct sending *s, size_t sent) {
    s->left -= sent;
    for (int i = 0; i < 2; i++) {
        size_t part = sent < s->parts[i].iov_len ? sent : s->parts[i].iov_len;
        s->parts[i].iov_base = (char *)s->parts[i].iov_base + part;
        s->parts[i].iov_len -= part;
        sent -= part;
    }
}

static int send_some(int fd, struct sending *s) {
    struct msghdr message = {.msg_iov = s->parts, .msg_iovlen = 2};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) advance(s, (size_t)sent);
    return sent >= 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* Reads what is there. The end of the connection is -ECONNRESET unless it properly ends the reply. */
static int receive_some(int fd, struct http_reply *reply) {
    char bytes[8192];
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) return http_reply_feed(reply, bytes, (size_t)got);
    if (got == 0) return http_reply_closed(reply);
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* Sends and receives at the same time: an agent may refuse a large body before it has read it, and then
 * closes. The refusal is worth more than the broken pipe. */
static int exchange(struct transport *t, struct sending *s, uint64_t deadline_ns, int interrupt,
                    struct http_reply *reply) {
    int send_error = 0, error = 0;
    while (!error && reply->state != HTTP_DONE) {
        bool sends = s->left && !send_error;
        int ready = wait_for(t->fd, sends ? POLLIN | POLLOUT : POLLIN, deadline_ns, interrupt);
        if (ready < 0) return ready;
        if (sends && ready & POLLOUT) send_error = send_some(t->fd, s);
        if (ready & ~POLLOUT) error = receive_some(t->fd, reply);
    }
    return error && send_error ? send_error : error;
}

static int attempt(struct transport *t, const struct transport_request *request, uint64_t deadline_ns,
                   struct http_reply *reply) {
    struct sending sending = {{{t->head.data, t->head.size}, {(void *)request->body, request->body_size}},
                              t->head.size + request->body_size};
    http_reply_begin(reply);
    if (t->fd < 0) {
        int error = connect_agent(t, deadline_ns);
        if (error) return error;
    }
    int error = exchange(t, &sending, deadline_ns, request->body_size ? -1 : t->interrupt, reply);
    if (error || !reply->keep_alive || sending.left) disconnect(t);
    return reply->status ? 0 : error;
}

int transport_send(struct transport *t, const struct transport_request *request, uint64_t deadline_ns,
                   struct http_reply *reply) {
    char path[sizeof t->prefix + 256];
    snprintf(path, sizeof path, "%s%s", t->prefix, request->path);
    buf_clear(&t->head);
    http_request(&t->head, request->method, path, t->host, request->headers, request->header_count,
                 request->body_size);
    if (t->head.failed) return -ENOMEM;
    if (!is_idle(t)) disconnect(t);
    bool is_reused = t->fd >= 0;
    int error = attempt(t, request, deadline_ns, reply);
    /* The agent closed the kept connection while our request was under way: it has not seen it. */
    bool is_stale = is_reused && (error == -ECONNRESET || error == -EPIPE) && !reply->head_size;
    return is_stale ? attempt(t, request, deadline_ns, reply) : error;
}
