/* http: HTTP/1.1 as a client of the agent needs it. Pure: no I/O, no clock.
 *
 * A reply is parsed as its bytes come, cut anywhere, and is not trusted: every size is bounded. */
#ifndef COMFYDD_HTTP_H
#define COMFYDD_HTTP_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_LIMIT 8192       /* status line and headers; also a chunk's extensions, the trailers */
#define HTTP_BODY_LIMIT (1u << 20) /* of a longer body the beginning is kept, the rest skipped */

struct http_header {
    const char *name, *value; /* a NULL value leaves the header out */
};

/* Appends the head of a request with a body of `content_length` bytes. Control characters, which could end a
 * header, are left out of values. */
void http_request(struct buf *out, const char *method, const char *path, const char *host,
                  const struct http_header *headers, size_t header_count, size_t content_length);

enum http_state {
    HTTP_HEAD,
    HTTP_BODY, /* `left` bytes */
    HTTP_UNTIL_CLOSE,
    HTTP_CHUNK_SIZE, /* the digits */
    HTTP_CHUNK_REST, /* of the line, after the digits */
    HTTP_CHUNK_DATA, /* `left` bytes */
    HTTP_CHUNK_END,  /* the line end after the data */
    HTTP_TRAILER,
    HTTP_DONE,
    HTTP_BROKEN,
};

/* Read status, keep_alive and body once it is done; status alone once it is not 0. */
struct http_reply {
    enum http_state state;
    int status;      /* 200..599; 0 before the final head is complete */
    bool keep_alive; /* the connection can carry another request */
    struct buf body; /* owned */
    /* private */
    size_t head_size, line_size, extra_size;
    uint64_t left;
    unsigned digits;
    char head[HTTP_HEAD_LIMIT]; /* lines, each terminated once the head is complete */
};

/* Gets ready for a reply; memory of an earlier one is kept. The first time on a zeroed struct. */
void http_reply_begin(struct http_reply *reply);
void http_reply_finish(struct http_reply *reply);

/* Takes the next bytes. Bytes after the end forbid to reuse the connection. Returns 0, or -EPROTO when this
 * is not HTTP/1.x, -EMSGSIZE when the head is too large; then the reply is broken and takes nothing more. */
int http_reply_feed(struct http_reply *reply, const char *bytes, size_t size);

/* The peer has closed. Returns 0 when that was a proper end of the reply, else -ECONNRESET. */
int http_reply_closed(struct http_reply *reply);

/* The value of a header (any case), NULL when there is none. Valid until the next http_reply_begin. */
const char *http_reply_header(const struct http_reply *reply, const char *name);

#endif
