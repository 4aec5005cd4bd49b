/* Printing a checked file with another model name: one pass over the original, with the spans that
 * the checker kept. The sizes are known before: nothing is parsed again. The original is read to
 * the end of the caller's own buffer and moved to its beginning piece by piece, so a pass needs no
 * buffer. */
#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "json/json_text.h"
#include "jsonl_impl.h"

/* Where the next span is. */
struct spans {
    size_t cursor; /* in j->spans */
    uint64_t left;
    uint64_t at; /* offset in the original; the end of the file when there is none */
    uint64_t len, last_len;
};

struct jsonl_splice {
    const struct jsonl *j; /* borrowed */
    jsonl_read_cb read;
    void *arg;          /* borrowed */
    struct strbuf name; /* as JSON, with quotes; empty: copy */
    size_t name_left;   /* bytes of it that are still to be given out */
    struct spans spans;
    uint64_t offset; /* in the original: what comes next */
    int result;      /* final once not 0 */
};

static uint64_t take_varint(const struct jsonl *j, struct spans *spans)
{
    uint64_t value = 0;
    unsigned shift = 0;
    unsigned char c;

    do {
        c = (unsigned char)j->spans.data[spans->cursor++];
        value |= (uint64_t)(c & 0x7f) << shift;
        shift += 7;
    } while (c >= 0x80);
    return value;
}

/* `from` is the end of the span before. */
static void next_span(const struct jsonl *j, struct spans *spans, uint64_t from)
{
    uint64_t gap;

    if (spans->left == 0) {
        spans->at = j->bytes;
        spans->len = 0;
        return;
    }
    spans->left--;
    gap = take_varint(j, spans);
    if ((gap & 1) != 0)
        spans->last_len = take_varint(j, spans);
    spans->at = from + (gap >> 1);
    spans->len = spans->last_len;
}

uint64_t jsonl_spliced_size(const struct jsonl *j, const char *name)
{
    if (name == NULL || j->num_spans == 0)
        return j->bytes;
    return j->bytes - j->span_bytes + j->num_spans * json_string_size(name, strlen(name));
}

struct jsonl_splice *jsonl_splice_new(const struct jsonl *j, const char *name, jsonl_read_cb read,
                                      void *arg)
{
    struct jsonl_splice *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->j = j;
    s->read = read;
    s->arg = arg;
    if (name != NULL && j->num_spans > 0)
        json_write_string(&s->name, name, strlen(name));
    if (strbuf_failed(&s->name)) {
        jsonl_splice_free(s);
        return NULL;
    }
    jsonl_splice_rewind(s);
    return s;
}

void jsonl_splice_rewind(struct jsonl_splice *s)
{
    s->spans = (struct spans){.left = s->name.len > 0 ? s->j->num_spans : 0};
    s->name_left = 0;
    s->offset = 0;
    s->result = 0;
    next_span(s->j, &s->spans, 0);
}

void jsonl_splice_free(struct jsonl_splice *s)
{
    if (s == NULL)
        return;
    strbuf_deinit(&s->name);
    free(s);
}

/* How far a buffer of `len` bytes is used, and which bytes of it are taken: by the original
 * and by what was printed. */
struct fill {
    size_t len;
    size_t in, out; /* bytes of the original used up, bytes printed */
    /* Most that the second was ever before the first: the original stands so far behind the
     * beginning that nothing is printed over what is to come */
    size_t lead;
};

/* Use up the original to the next span and, when there is room, the span. @return false: the buffer
 * or the file ends before it; *piece: bytes of the original before the span */
static bool next_piece(const struct jsonl_splice *s, const struct spans *spans, uint64_t offset,
                       struct fill *f, size_t *piece)
{
    size_t room = f->len - f->in - f->lead, lead = f->lead, in, out;
    uint64_t gap = spans->at - offset;

    *piece = gap < room ? (size_t)gap : room;
    in = f->in + *piece + spans->len;
    out = f->out + *piece + s->name.len;
    if (out > in && out - in > lead)
        lead = out - in;
    if (spans->len == 0 || in + lead > f->len) { /* also when the piece ends before the span */
        f->in += *piece;
        f->out += *piece;
        return false;
    }
    *f = (struct fill){f->len, in, out, lead};
    return true;
}

/* How the next bytes of the original fill a buffer. */
static struct fill measure(const struct jsonl_splice *s, size_t len)
{
    struct spans spans = s->spans;
    struct fill f = {.len = len};
    uint64_t offset = s->offset;
    size_t piece;

    while (next_piece(s, &spans, offset, &f, &piece)) {
        offset = spans.at + spans.len;
        next_span(s->j, &spans, offset);
    }
    return f;
}

static int read_original(struct jsonl_splice *s, char *buf, size_t len)
{
    size_t done = 0;
    ssize_t n;

    for (; done < len; done += (size_t)n) {
        n = s->read(s->arg, buf + done, len - done, s->offset + done);
        if (n <= 0 || (size_t)n > len - done)
            return ERR_IO;
    }
    return 0;
}

/* The original from here on, with new names in it. The offset is before a span, and `len` is not
 * 0. @return bytes in `buf`, at least one, or a negative code */
static ssize_t print(struct jsonl_splice *s, char *buf, size_t len)
{
    struct fill whole = measure(s, len), f = {.len = len};
    char *original = buf + whole.lead, *to = buf;
    bool more = true;
    size_t piece;

    if (read_original(s, original, whole.in) != 0)
        return ERR_IO;
    while (more) {
        more = next_piece(s, &s->spans, s->offset, &f, &piece);
        memmove(to, original, piece);
        to += piece;
        s->offset += piece;
        if (more) {
            memcpy(to, s->name.data, s->name.len);
            to += s->name.len;
            original += piece + s->spans.len;
            s->offset += s->spans.len;
            next_span(s->j, &s->spans, s->offset);
        }
    }
    return (ssize_t)f.out;
}

static size_t give_name(struct jsonl_splice *s, char *buf, size_t len)
{
    size_t n = s->name_left < len ? s->name_left : len;

    memcpy(buf, s->name.data + s->name.len - s->name_left, n);
    s->name_left -= n;
    return n;
}

ssize_t jsonl_splice_read(struct jsonl_splice *s, char *buf, size_t len)
{
    size_t done = 0;
    ssize_t n;

    while (done < len && s->result == 0) {
        if (s->name_left > 0) {
            done += give_name(s, buf + done, len - done);
        } else if (s->offset < s->spans.at) {
            n = print(s, buf + done, len - done);
            if (n < 0)
                s->result = (int)n;
            else
                done += (size_t)n;
        } else if (s->spans.len > 0) {
            s->name_left = s->name.len;
            s->offset += s->spans.len;
            next_span(s->j, &s->spans, s->offset);
        } else {
            break; /* the end */
        }
    }
    return done > 0 ? (ssize_t)done : s->result;
}
