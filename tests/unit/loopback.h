/* loopback: a server on a thread, for tests of what talks to an agent. Connections are served one after the
 * other. Nothing waits longer than LOOPBACK_PATIENCE_MS; a wait that ends so fails the test. */
#ifndef COMFYDD_LOOPBACK_H
#define COMFYDD_LOOPBACK_H

#include "base/buf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define LOOPBACK_PATIENCE_MS 20000

struct loopback {
    char url[160];                                  /* for transport_create */
    void (*serve)(struct loopback *server, int fd); /* one connection; the caller closes fd */
    void *context;
    atomic_int connections;
    /* private */
    pthread_t thread;
    int listener, stop[2];
    char path[100];
};

/* `where`: "127.0.0.1", "::1", or the path of a unix socket; `port` 0 picks one. Returns false when the
 * machine has no such address. */
bool loopback_start(struct loopback *server, const char *where, int port,
                    void (*serve)(struct loopback *server, int fd), void *context);
void loopback_stop(struct loopback *server);

/* The port of a TCP server. */
int loopback_port(const struct loopback *server);

/* Waits until fd can be read; false when the server is being stopped. */
bool loopback_wait(struct loopback *server, int fd);

/* Reads one request (head terminated with a NUL; body by Content-Length). False at the end of the connection.
 */
bool loopback_read(struct loopback *server, int fd, struct buf *head, struct buf *body);

/* Sends text as it is. */
void loopback_write(int fd, const char *text);

/* Sends a whole reply with a Content-Length. */
void loopback_reply(int fd, int status, const char *extra_headers, const char *body);

/* Makes the coming close a reset. */
void loopback_reset(int fd);

#endif
