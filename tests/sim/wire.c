/* Bytes of a connection: reading bodies, composing and sending answers. */
#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <zlib.h>

#define GZIP_MAX (64 * 1024 * 1024)

static ssize_t tls_result(struct conn *c, int n)
{
    if (n > 0)
        return n;
    int err = SSL_get_error(c->ssl, n);
    if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE)
        return -1;
    return err == SSL_ERROR_ZERO_RETURN ? 0 : -2;
}

ssize_t wire_read(struct conn *c, void *buf, size_t len)
{
    if (c->ssl != NULL) {
        ERR_clear_error();
        return tls_result(c, SSL_read(c->ssl, buf, (int)len));
    }
    for (;;) {
        ssize_t n = recv(c->fd, buf, len, 0);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN ? -1 : -2;
    }
}

static ssize_t wire_send(struct conn *c, const void *buf, size_t len, bool more)
{
    if (c->ssl != NULL) {
        ERR_clear_error();
        ssize_t n = tls_result(c, SSL_write(c->ssl, buf, (int)len));
        return n == 0 ? -2 : n;
    }
    for (;;) {
        ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN ? -1 : -2;
    }
}

static ssize_t send_file(struct conn *c, size_t len)
{
    static char window[65536];

    if (c->file.fd != -1 && c->ssl == NULL) {
        off_t off = c->file.off + c->file_off;
        ssize_t n = sendfile(c->fd, c->file.fd, &off, len);
        if (n > 0)
            return n;
        return n == -1 && (errno == EAGAIN || errno == EINTR) ? -1 : -2;
    }
    /* A TLS write that was blocked is repeated with the same bytes: same offset, at least the same
     * length. */
    int64_t n =
        blob_read(&c->file, c->file_off, window, len < sizeof(window) ? len : sizeof(window));
    return n <= 0 ? -2 : wire_send(c, window, (size_t)n, false);
}

static ssize_t send_pad(struct conn *c, size_t len)
{
    static char blanks[65536];

    if (blanks[0] == '\0')
        memset(blanks, ' ', sizeof(blanks));
    return wire_send(c, blanks, len < sizeof(blanks) ? len : sizeof(blanks), false);
}

/* One system call's worth. */
static ssize_t send_some(struct conn *c, size_t max)
{
    if (c->out_off < c->out.len) {
        size_t left = c->out.len - c->out_off;
        bool more = c->has_file && c->file_off < c->file_end && max > left;
        ssize_t n = wire_send(c, c->out.data + c->out_off, left < max ? left : max, more);
        if (n > 0)
            c->out_off += (size_t)n;
        return n;
    }
    if (c->has_file && c->file_off < c->file_end) {
        size_t left = (size_t)(c->file_end - c->file_off);
        ssize_t n = send_file(c, left < max ? left : max);
        if (n > 0)
            c->file_off += n;
        return n;
    }
    ssize_t n = send_pad(c, (size_t)c->pad_left < max ? (size_t)c->pad_left : max);
    if (n > 0)
        c->pad_left -= n;
    return n;
}

static bool all_sent(const struct conn *c)
{
    return c->out_off == c->out.len && (!c->has_file || c->file_off == c->file_end) &&
           c->pad_left == 0;
}

enum wire wire_write(struct conn *c, int64_t budget)
{
    while (!all_sent(c)) {
        if (budget <= 0)
            return WIRE_MORE;
        ssize_t n = send_some(c, (size_t)(budget < 1 << 20 ? budget : 1 << 20));
        if (n == -1)
            return WIRE_BLOCKED;
        if (n <= 0)
            return WIRE_BROKEN;
        budget -= n;
    }
    return WIRE_DONE;
}

static int chunk_size(struct conn *c)
{
    char *end = NULL;

    c->chunk_line[c->chunk_line_len] = '\0';
    c->chunk_line_len = 0;
    if (strchr("0123456789abcdefABCDEF", c->chunk_line[0]) == NULL || c->chunk_line[0] == '\0')
        return -1;
    errno = 0;
    long long n = strtoll(c->chunk_line, &end, 16);
    if (errno != 0 || n < 0 || n > (1LL << 40) || (*end != '\0' && *end != ';' && *end != ' '))
        return -1;
    c->chunk_left = n;
    c->chunk = n == 0 ? CHUNK_TRAILER : CHUNK_DATA;
    c->trailer_len = 0;
    return 0;
}

/* One byte of the framing around chunks. Returns 1 at the end of the body, 0 to go on, -1 on bad
 * framing. */
static int chunk_byte(struct conn *c, char b)
{
    if (c->chunk == CHUNK_SIZE) {
        if (b == '\n')
            return chunk_size(c);
        if (b != '\r' && c->chunk_line_len + 1 < sizeof(c->chunk_line))
            c->chunk_line[c->chunk_line_len++] = b;
        return 0;
    }
    if (c->chunk == CHUNK_END) {
        if (b == '\n')
            c->chunk = CHUNK_SIZE;
        else if (b != '\r')
            return -1;
        return 0;
    }
    if (b == '\n') {
        bool empty = c->trailer_len == 0;
        c->trailer_len = 0;
        return empty ? 1 : 0;
    }
    if (b != '\r')
        c->trailer_len++;
    return 0;
}

static ssize_t body_chunked(struct conn *c, const char *p, size_t len, bool *done)
{
    size_t used = 0;

    while (used < len) {
        if (c->chunk != CHUNK_DATA) {
            int rc = chunk_byte(c, p[used++]);
            if (rc < 0)
                return -1;
            if (rc > 0) {
                *done = true;
                break;
            }
            continue;
        }
        size_t n = len - used < (size_t)c->chunk_left ? len - used : (size_t)c->chunk_left;
        if (blob_append(&c->req.body, p + used, n) != 0)
            return -2;
        used += n;
        c->req.body_bytes += (int64_t)n;
        c->chunk_left -= (int64_t)n;
        if (c->chunk_left == 0)
            c->chunk = CHUNK_END;
    }
    return (ssize_t)used;
}

ssize_t wire_body(struct conn *c, const char *p, size_t len, bool *done)
{
    *done = false;
    if (c->req.chunked)
        return body_chunked(c, p, len, done);
    size_t n = len < (size_t)c->body_left ? len : (size_t)c->body_left;
    if (n > 0 && blob_append(&c->req.body, p, n) != 0)
        return -2;
    c->body_left -= (int64_t)n;
    c->req.body_bytes += (int64_t)n;
    *done = c->body_left == 0;
    return (ssize_t)n;
}

static int gzip_text(const char *text, size_t len, struct strbuf *out)
{
    z_stream z = {0};

    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -1;
    size_t bound = deflateBound(&z, len);
    strbuf_reset(out);
    if (strbuf_reserve(out, bound) != 0) {
        deflateEnd(&z);
        return -1;
    }
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (unsigned int)len;
    z.next_out = (unsigned char *)out->data;
    z.avail_out = (unsigned int)bound;
    int rc = deflate(&z, Z_FINISH);
    out->len = z.total_out;
    deflateEnd(&z);
    return rc == Z_STREAM_END ? 0 : -1;
}

static bool accepts_gzip(const struct request *req)
{
    const struct header *h = request_header(req, "accept-encoding");

    for (size_t i = 0; h != NULL && i + 4 <= h->value_len; i++) {
        if (strncasecmp(h->value + i, "gzip", 4) == 0)
            return true;
    }
    return false;
}

/* A fault may ask for compression that nobody offered, of content too. */
static void compress_reply(struct conn *c)
{
    struct reply *rep = &c->rep;
    bool forced = c->fault != NULL && c->fault->gzip;
    struct strbuf packed = STRBUF_INIT;

    if (!forced && (!c->acc->sw.gzip || rep->no_compress || rep->has_file || rep->body.len == 0 ||
                    !accepts_gzip(&c->req)))
        return;
    if (rep->has_file) {
        if (rep->file.len > GZIP_MAX || strbuf_reserve(&rep->body, (size_t)rep->file.len + 1) != 0)
            return;
        int64_t n = blob_read(&rep->file, 0, rep->body.data, (size_t)rep->file.len);
        rep->body.len = n > 0 ? (size_t)n : 0;
        blob_free(&rep->file);
        rep->has_file = false;
    }
    if (gzip_text(strbuf_str(&rep->body), rep->body.len, &packed) == 0) {
        strbuf_deinit(&rep->body);
        rep->body = packed;
        reply_header(rep, "content-encoding", "gzip");
        reply_header(rep, "vary", "Accept-Encoding");
    } else {
        strbuf_deinit(&packed);
    }
}

static const char *http_date(time_t now)
{
    static time_t at;
    static char text[64];

    if (now != at) {
        struct tm tm;
        at = now;
        gmtime_r(&now, &tm);
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    return text;
}

/* By the account's own clock, unless a fault says it. */
static void add_date(struct conn *c, struct strbuf *out)
{
    const struct account *acc = c->acc;
    int64_t now_s = acc->sim->now_ms / 1000 + acc->sw.clock_skew_s;
    const char *headers = strbuf_str(&c->rep.headers);

    if (!acc->sw.date || strncasecmp(headers, "date:", 5) == 0 ||
        strcasestr(headers, "\r\ndate:") != NULL)
        return;
    strbuf_adds(out, "\r\ndate: ");
    strbuf_adds(out, http_date((time_t)now_s));
}

static void add_number(struct strbuf *out, int64_t n)
{
    char digits[24];
    size_t i = sizeof(digits);

    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    strbuf_add(out, digits + i, sizeof(digits) - i);
}

static void compose_head(struct conn *c, int64_t length, bool bodyless)
{
    struct strbuf *out = &c->out;

    strbuf_adds(out, "HTTP/1.1 ");
    add_number(out, c->rep.status);
    strbuf_addc(out, ' ');
    strbuf_adds(out, reply_reason(c->rep.status));
    add_date(c, out);
    if (c->rep.type != NULL && !bodyless) {
        strbuf_adds(out, "\r\ncontent-type: ");
        strbuf_adds(out, c->rep.type);
    }
    if (!bodyless) {
        strbuf_adds(out, "\r\ncontent-length: ");
        add_number(out, length);
    }
    strbuf_adds(out, c->close_after      ? "\r\nconnection: close\r\n"
                     : c->req.minor == 0 ? "\r\nconnection: keep-alive\r\n"
                                         : "\r\n");
    strbuf_add(out, strbuf_str(&c->rep.headers), c->rep.headers.len);
    strbuf_adds(out, "\r\n");
}

/* Announce everything, send `keep` bytes of it. */
static void cut_body(struct conn *c, int64_t keep)
{
    int64_t text = (int64_t)(c->out.len - c->head_len);
    int64_t file = c->has_file ? c->file_end - c->file_off : 0;

    if (keep >= text + file + c->pad_left)
        return;
    c->close_after = true;
    if (keep < text) {
        c->out.len = c->head_len + (size_t)keep;
        keep = text;
    }
    keep -= text;
    if (keep < file) {
        c->file_end = c->file_off + keep;
        keep = file;
    }
    c->pad_left = keep - file;
}

void wire_compose(struct conn *c)
{
    struct reply *rep = &c->rep;
    const struct fault *f = c->fault;
    bool is_head = request_is(&c->req, "HEAD");
    bool bodyless = rep->status == 204 || rep->status == 304;

    if (f != NULL && f->not_json) {
        if (rep->has_file)
            blob_free(&rep->file);
        rep->has_file = false;
        strbuf_reset(&rep->body);
        strbuf_adds(&rep->body, "<html><body>this is not JSON</body></html>\n");
    }
    compress_reply(c);
    strbuf_reset(&c->out);
    c->out_off = 0;
    c->file_off = 0;
    c->pad_left = 0;
    c->has_file = rep->has_file;
    if (rep->has_file) {
        c->file = rep->file;
        c->file_end = rep->file.len;
        rep->file = (struct blob)BLOB_INIT;
        rep->has_file = false;
    }
    int64_t length = c->has_file ? c->file_end : (int64_t)rep->body.len;
    if (f != NULL && f->oversize > length && !bodyless) {
        c->pad_left = f->oversize - length;
        length = f->oversize;
    }
    if (f != NULL && f->truncate >= 0 && f->truncate < length)
        c->close_after = true;
    compose_head(c, length, bodyless);
    c->head_len = c->out.len;
    if (is_head || bodyless) {
        c->file_end = 0;
        c->pad_left = 0;
        return;
    }
    if (!c->has_file)
        strbuf_add(&c->out, strbuf_str(&rep->body), rep->body.len);
    if (f != NULL && f->truncate >= 0)
        cut_body(c, f->truncate);
}
