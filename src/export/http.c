#include "export/http.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- requests ---- */

static void append_value(struct buf *out, const char *value) {
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c >= ' ' && *c != 0x7f) buf_append(out, c, 1);
}

static void append_header(struct buf *out, const char *name, const char *value) {
    buf_string(out, name);
    buf_string(out, ": ");
    append_value(out, value);
    buf_string(out, "\r\n");
}

void http_request(struct buf *out, const char *method, const char *path, const char *host,
                  const struct http_header *headers, size_t header_count, size_t content_length) {
    buf_string(out, method);
    buf_string(out, " ");
    append_value(out, path);
    buf_string(out, " HTTP/1.1\r\n");
    append_header(out, "Host", host);
    for (size_t i = 0; i < header_count; i++)
        if (headers[i].value) append_header(out, headers[i].name, headers[i].value);
    char length[24];
    snprintf(length, sizeof length, "%zu", content_length);
    append_header(out, "Content-Length", length);
    buf_string(out, "\r\n");
}

/* ---- the reply's head ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* "HTTP/1.1 200 OK" */
static bool parse_status_line(struct http_reply *r, const char *line) {
    if (strncmp(line, "HTTP/1.", 7) || !is_digit(line[7]) || line[8] != ' ') return false;
    for (int i = 9; i < 12; i++)
        if (!is_digit(line[i])) return false;
    if (line[12] && line[12] != ' ') return false;
    r->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    r->keep_alive = line[7] != '0';
    return r->status >= 100 && r->status < 600 && r->status != 101;
}

/* Whether a comma-separated list has `token` (as its last one, when so asked). */
static bool list_has(const char *list, const char *token, bool last) {
    size_t size = strlen(token);
    for (const char *item = list;;) {
        while (is_blank(*item) || *item == ',')
            item++;
        const char *end = item + strcspn(item, ",; \t");
        const char *next = strchr(item, ',');
        if ((size_t)(end - item) == size && !strncasecmp(item, token, size) && !(last && next)) return true;
        if (!next) return false;
        item = next + 1;
    }
}

static bool parse_length(const char *text, uint64_t *length) {
    *length = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (!is_digit(*text) || *length > UINT64_MAX / 10 - 10) return false;
        *length = *length * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

/* What the headers say about the body, collected before the decision. */
struct framing {
    bool has_length, has_encoding, chunked;
    uint64_t length;
};

/* One header line, already terminated; trailing blanks of the value are cut off. */
static bool parse_header(struct http_reply *r, char *line, struct framing *framing) {
    char *colon = strchr(line, ':');
    if (!colon || colon == line || is_blank(colon[-1]) || is_blank(line[0])) return false;
    for (char *end = colon + strlen(colon); is_blank(end[-1]);)
        *--end = '\0';
    size_t name_size = (size_t)(colon - line);
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (name_size == 14 && !strncasecmp(line, "Content-Length", name_size)) {
        uint64_t length;
        if (!parse_length(value, &length) || (framing->has_length && framing->length != length)) return false;
        framing->has_length = true;
        framing->length = length;
    } else if (name_size == 17 && !strncasecmp(line, "Transfer-Encoding", name_size)) {
        framing->has_encoding = true;
        framing->chunked = list_has(value, "chunked", true);
    } else if (name_size == 10 && !strncasecmp(line, "Connection", name_size)) {
        if (list_has(value, "close", false)) r->keep_alive = false;
        if (list_has(value, "keep-alive", false)) r->keep_alive = true;
    }
    return true;
}

/* RFC 9112, 6.3. */
static void begin_body(struct http_reply *r, const struct framing *framing) {
    if (r->status == 204 || r->status == 304) {
        r->state = HTTP_DONE;
    } else if (framing->chunked) {
        r->state = HTTP_CHUNK_SIZE;
        if (framing->has_length) r->keep_alive = false; /* somebody may want to smuggle a reply */
    } else if (framing->has_length && !framing->has_encoding) {
        r->left = framing->length;
        r->state = r->left ? HTTP_BODY : HTTP_DONE;
    } else {
        r->state = HTTP_UNTIL_CLOSE;
        r->keep_alive = false;
    }
}

static int parse_head(struct http_reply *r) {
    struct framing framing = {0};
    char *end = r->head + r->head_size;
    if (memchr(r->head, '\0', r->head_size)) return -EPROTO;
    for (char *line = r->head, *newline; line < end; line = newline + 1) {
        newline = memchr(line, '\n', (size_t)(end - line)); /* a head ends in one */
        *newline = '\0';
        if (newline > line && newline[-1] == '\r') newline[-1] = '\0';
        if (!*line) break;
        if (line == r->head ? !parse_status_line(r, line) : !parse_header(r, line, &framing)) return -EPROTO;
    }
    if (!r->status) return -EPROTO;
    if (r->status < 200) { /* "100 Continue": the real head follows */
        r->status = 0;
        r->keep_alive = false;
        r->head_size = r->line_size = 0;
        return 0;
    }
    begin_body(r, &framing);
    return 0;
}

const char *http_reply_header(const struct http_reply *r, const char *name) {
    size_t name_size = strlen(name);
    for (size_t at = 0; r->status && at < r->head_size; at += strlen(r->head + at) + 1) {
        const char *line = r->head + at;
        if (!strncasecmp(line, name, name_size) && line[name_size] == ':')
            return line + name_size + 1 + strspn(line + name_size + 1, " \t");
    }
    return NULL;
}

/* ---- the reply's bytes ---- */

static int feed_head(struct http_reply *r, char c) {
    if (r->head_size == sizeof r->head) return -EMSGSIZE;
    r->head[r->head_size++] = c;
    if (c == '\r') return 0;
    if (c != '\n') {
        r->line_size++;
        return 0;
    }
    bool is_last = r->line_size == 0;
    r->line_size = 0;
    int error = is_last ? parse_head(r) : 0;
    if (error) r->status = 0; /* nothing of it counts */
    return error;
}

static int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void begin_chunk_size(struct http_reply *r) {
    r->state = HTTP_CHUNK_SIZE;
    r->left = 0;
    r->digits = 0;
    r->extra_size = 0;
}

/* The bytes between the chunks' data. */
static int feed_chunk_line(struct http_reply *r, char c) {
    if (r->state == HTTP_CHUNK_SIZE && hex_value(c) >= 0) {
        r->left = r->left * 16 + (unsigned)hex_value(c);
        return ++r->digits > 15 ? -EPROTO : 0;
    }
    if (r->state != HTTP_CHUNK_END && ++r->extra_size > HTTP_HEAD_LIMIT) return -EMSGSIZE;
    switch (r->state) {
    case HTTP_CHUNK_SIZE:
        if (!r->digits || (c != '\r' && c != '\n' && c != ';' && !is_blank(c))) return -EPROTO;
        r->state = HTTP_CHUNK_REST; /* fall through */
    case HTTP_CHUNK_REST:
        if (c == '\n') r->state = r->left ? HTTP_CHUNK_DATA : HTTP_TRAILER;
        return 0;
    case HTTP_CHUNK_END:
        if (c == '\n')
            begin_chunk_size(r);
        else if (c != '\r')
            return -EPROTO;
        return 0;
    default: /* HTTP_TRAILER */
        if (c == '\n') {
            if (!r->line_size) r->state = HTTP_DONE;
            r->line_size = 0;
        } else if (c != '\r') {
            r->line_size++;
        }
        return 0;
    }
}

/* Takes as much of the body as is there; returns how much that was. */
static size_t feed_body(struct http_reply *r, const char *bytes, size_t size) {
    size_t taken = r->state == HTTP_UNTIL_CLOSE || size < r->left ? size : (size_t)r->left;
    size_t room = HTTP_BODY_LIMIT - r->body.size;
    buf_append(&r->body, bytes, taken < room ? taken : room);
    if (r->state == HTTP_UNTIL_CLOSE) return taken;
    r->left -= taken;
    if (!r->left) r->state = r->state == HTTP_BODY ? HTTP_DONE : HTTP_CHUNK_END;
    return taken;
}

void http_reply_begin(struct http_reply *r) {
    struct buf body = r->body;
    buf_clear(&body);
    memset(r, 0, offsetof(struct http_reply, head));
    r->body = body;
}

void http_reply_finish(struct http_reply *r) {
    buf_finish(&r->body);
}

int http_reply_feed(struct http_reply *r, const char *bytes, size_t size) {
    int error = r->state == HTTP_BROKEN ? -EPROTO : 0;
    for (size_t i = 0; i < size && !error;) {
        switch (r->state) {
        case HTTP_DONE:
            r->keep_alive = false;
            return 0;
        case HTTP_BODY:
        case HTTP_UNTIL_CLOSE:
        case HTTP_CHUNK_DATA:
            i += feed_body(r, bytes + i, size - i);
            break;
        case HTTP_HEAD:
            error = feed_head(r, bytes[i++]);
            break;
        default:
            error = feed_chunk_line(r, bytes[i++]);
        }
    }
    if (error) {
        r->state = HTTP_BROKEN;
        r->keep_alive = false;
    }
    return error;
}

int http_reply_closed(struct http_reply *r) {
    r->keep_alive = false;
    if (r->state == HTTP_UNTIL_CLOSE) r->state = HTTP_DONE;
    return r->state == HTTP_DONE ? 0 : -ECONNRESET;
}
