/* transport: requests to the agent, over TCP or a unix socket, every one under a deadline.
 *
 * One connection, kept alive between requests. A connection that the agent closed meanwhile is replaced
 * silently, once. Sockets are non-blocking, close-on-exec, never below descriptor 3 (the host may have closed
 * its stderr), raise no SIGPIPE, and are left alone when the host has closed our descriptor under us. One
 * thread. The only step that may overrun a deadline is the look-up of a host name. */
#ifndef COMFYDD_TRANSPORT_H
#define COMFYDD_TRANSPORT_H

#include "export/http.h"

#include <stddef.h>
#include <stdint.h>

struct transport;

/* `url`: http://HOST[:PORT][/PREFIX], HOST a name, an IPv4 or a bracketed IPv6 address, PORT 8126 unless
 * given; or unix:///ABSOLUTE/PATH. Connects nothing yet. Returns 0, or -EINVAL (malformed), -EPROTONOSUPPORT
 * (another scheme), -ENAMETOOLONG, -ENOMEM. */
int transport_create(struct transport **made, const char *url);
void transport_destroy(struct transport *transport);

struct transport_request {
    const char *method, *path;
    const struct http_header *headers;
    size_t header_count;
    const void *body;
    size_t body_size;
};

/* Sends a request and reads the reply until `deadline_ns` (clock_mono_ns). `reply` needs no http_reply_begin.
 * Returns 0 once the agent has answered: reply->status says what; of a reply that breaks off after its head,
 * the body is what came. Else -errno: -ETIMEDOUT, -EPROTO or -EMSGSIZE (not HTTP), -EHOSTUNREACH (the name is
 * not known), -ENOMEM, or what the connection said. */
int transport_send(struct transport *transport, const struct transport_request *request, uint64_t deadline_ns,
                   struct http_reply *reply);

/* Connecting, and waiting for the reply to a request without a body, end with -ECANCELED as soon as this descriptor can be
 * read (borrowed; -1: none). For a caller who must hear of something else while he waits. With a body it would not be known
 * whether the agent has taken that. */
void transport_set_interrupt(struct transport *transport, int interrupt);

/* In a forked child: closes its copy of the connection. The parent's stays. */
void transport_forked(struct transport *transport);

#endif
