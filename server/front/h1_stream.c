/* See h1_stream.h. */
#include "h1_stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- the stash: bytes behind a head --- */

const char *h1_stream_stash(const struct h1_conn *h1, size_t *len)
{
    *len = h1->stash_len - h1->stash_at;
    return *len != 0 ? h1->stash + h1->stash_at : NULL;
}

bool h1_stream_keep(struct h1_conn *h1, const char *bytes, size_t len)
{
    if (h1->stash_len + len > h1->stash_capacity) {
        size_t capacity = h1->stash_len + len;
        char *grown = realloc(h1->stash, capacity);

        if (grown == NULL)
            return false;
        h1->stash = grown;
        h1->stash_capacity = capacity;
    }
    memcpy(h1->stash + h1->stash_len, bytes, len);
    h1->stash_len += len;
    return true;
}

void h1_stream_took(struct h1_conn *h1, size_t len)
{
    assert(len <= h1->stash_len - h1->stash_at);
    h1->stash_at += len;
    if (h1->stash_at < h1->stash_len || h1->stash_pinned)
        return;
    free(h1->stash);
    h1->stash = NULL;
    h1->stash_len = h1->stash_at = h1->stash_capacity = 0;
}

/* --- decoding --- */

bool h1_stream_is_flowing(const struct h1_stream *s)
{
    return s->started && s->body.ops != NULL && !s->body.paused;
}

static enum chunked_result decode(struct h1_stream *s, char *raw, size_t len, size_t *used,
                                  size_t *out)
{
    assert(!s->ended && !s->broken);
    if (s->framing == FRAMING_CHUNKED)
        return chunked_decode(&s->chunked, raw, len, used, out);
    *used = *out = len < s->left ? len : (size_t)s->left;
    s->left -= *out;
    return s->left == 0 ? CHUNKED_END : CHUNKED_MORE;
}

/* Decode the first slice of raw bytes in place. @param out  bytes of the body, where `raw` begins
 * @return how many were taken */
static size_t take_slice(struct h1_stream *s, char *raw, size_t len, size_t *out)
{
    size_t taken;
    enum chunked_result result = decode(s, raw, len < BODY_SLICE ? len : BODY_SLICE, &taken, out);

    s->ended = result == CHUNKED_END;
    s->broken = result == CHUNKED_BAD;
    s->hello_wanted = false;
    guard_rate_credit(&s->rate, s->conn->front, taken, loop_now_ms(s->conn->front->loop));
    return taken;
}

static bool takes_more(const struct h1_stream *s, bool drop)
{
    return !s->ended && !s->broken && (drop || h1_stream_is_flowing(s));
}

size_t h1_stream_feed(struct h1_stream *s, char *raw, size_t len, bool drop)
{
    size_t used = 0, out;

    while (used < len && takes_more(s, drop)) {
        char *at = raw + used;

        used += take_slice(s, at, len - used, &out);
        if (out > 0 && !drop)
            body_deliver(&s->body, at, out);
    }
    return used;
}

/* The same with the bytes of the stash. A handler that answers with a piece in its hands has the
 * rest dropped, from inside its call: what it has got is behind us then, and stays where it is. */
void h1_stream_feed_stash(struct h1_conn *h1, bool drop)
{
    struct h1_stream *s = h1->stream;
    bool outermost = !h1->stash_pinned;
    size_t len, out;
    char *at;

    h1->stash_pinned = true;
    while ((at = (char *)h1_stream_stash(h1, &len)) != NULL && takes_more(s, drop)) {
        h1->stash_at += take_slice(s, at, len, &out);
        if (out > 0 && !drop)
            body_deliver(&s->body, at, out);
    }
    if (!outermost)
        return;
    h1->stash_pinned = false;
    h1_stream_took(h1, 0);
}

void h1_stream_tell_end(struct h1_stream *s)
{
    if (s->told || !h1_stream_is_flowing(s) || (!s->ended && !s->broken))
        return;
    s->told = true;
    if (s->broken)
        body_fail(&s->body, BODY_MALFORMED);
    else
        body_end(&s->body);
}
