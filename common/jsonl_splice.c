/* Printing a checked file with another model name: one pass over the original in blocks, with the
 * spans that the checker kept. The sizes are known before: nothing is parsed again. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/json_text.h"
#include "common/jsonl_impl.h"

enum { BLOCK_BYTES = 64 * 1024 };

struct jsonl_splice {
    const struct jsonl *j; /* borrowed */
    jsonl_read_cb read;
    void *arg;          /* borrowed */
    struct strbuf name; /* as JSON, with quotes; empty: copy */
    size_t name_left;   /* bytes of it that are still to be given out */
    size_t span_cursor; /* in j->spans */
    uint64_t spans_left;
    uint64_t span_at; /* offset in the original of the next span; the end of the file when there is
                         none */
    uint64_t span_len;
    uint64_t offset;   /* in the original: what comes next */
    uint64_t block_at; /* offset of the block */
    size_t block_len;
    int result; /* final once not 0 */
    char block[BLOCK_BYTES];
};

static uint64_t take_varint(struct jsonl_splice *s)
{
    uint64_t value = 0;
    unsigned shift = 0;
    unsigned char c;

    do {
        c = (unsigned char)s->j->spans.data[s->span_cursor++];
        value |= (uint64_t)(c & 0x7f) << shift;
        shift += 7;
    } while (c >= 0x80);
    return value;
}

/* `from` is the end of the span before. */
static void next_span(struct jsonl_splice *s, uint64_t from)
{
    if (s->spans_left == 0) {
        s->span_at = s->j->bytes;
        s->span_len = 0;
        return;
    }
    s->spans_left--;
    s->span_at = from + take_varint(s);
    s->span_len = take_varint(s);
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
    struct jsonl_splice *s = malloc(sizeof(*s));

    if (s == NULL)
        return NULL;
    memset(s, 0, offsetof(struct jsonl_splice, block));
    s->j = j;
    s->read = read;
    s->arg = arg;
    if (name != NULL && j->num_spans > 0) {
        json_write_string(&s->name, name, strlen(name));
        s->spans_left = j->num_spans;
    }
    if (strbuf_failed(&s->name)) {
        jsonl_splice_free(s);
        return NULL;
    }
    next_span(s, 0);
    return s;
}

void jsonl_splice_free(struct jsonl_splice *s)
{
    if (s == NULL)
        return;
    strbuf_deinit(&s->name);
    free(s);
}

/* Original bytes from the current offset are in the block afterwards, at least one. */
static int fill(struct jsonl_splice *s)
{
    uint64_t left = s->j->bytes - s->offset;
    ssize_t n;

    if (s->offset >= s->block_at && s->offset < s->block_at + s->block_len)
        return 0;
    n = s->read(s->arg, s->block, left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES, s->offset);
    if (n <= 0 || (uint64_t)n > left)
        return ERR_IO;
    s->block_at = s->offset;
    s->block_len = (size_t)n;
    return 0;
}

/* Original bytes up to the next span. Returns how many, or a negative code. */
static ssize_t copy(struct jsonl_splice *s, char *buf, size_t len)
{
    uint64_t n, in_block;

    if (fill(s) != 0)
        return ERR_IO;
    n = s->span_at - s->offset;
    in_block = s->block_at + s->block_len - s->offset;
    if (n > in_block)
        n = in_block;
    if (n > len)
        n = len;
    memcpy(buf, s->block + (s->offset - s->block_at), n);
    s->offset += n;
    return (ssize_t)n;
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
        } else if (s->offset < s->span_at) {
            n = copy(s, buf + done, len - done);
            if (n < 0)
                s->result = (int)n;
            else
                done += (size_t)n;
        } else if (s->span_len > 0) {
            s->name_left = s->name.len;
            s->offset += s->span_len;
            next_span(s, s->offset);
        } else {
            break; /* the end */
        }
    }
    return done > 0 ? (ssize_t)done : s->result;
}
