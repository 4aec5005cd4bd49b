/* What to say about a job when it is not placed: a pure function of the candidates. */
#include "balancer/quota.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIN_WAIT_MS 1000u
#define MAX_WAIT_MS 86400000u

static bool can_ever_fit(const struct pick_candidate *c, uint64_t tokens)
{
    return c->limit == 0 || pick_tokens(c, tokens) <= c->limit;
}

static bool is_cooling_down(const struct pick_candidate *c, uint64_t tokens)
{
    return c->full_for_ms > 0 && tokens >= c->full_tokens;
}

/* Until it has drained enough, and is asked again. */
static double wait_ms_of(const struct pick_candidate *c, uint64_t tokens)
{
    uint64_t taken = pick_tokens(c, tokens);
    double wait = 0;

    if (c->limit > 0 && c->enqueued > c->limit - taken)
        wait = (double)(c->enqueued - (c->limit - taken)) / pick_drain_rate(c) * 1000;
    if (is_cooling_down(c, tokens))
        wait = fmax(wait, (double)c->full_for_ms);
    return wait;
}

static uint64_t as_wait(double ms)
{
    if (!(ms > MIN_WAIT_MS))
        return MIN_WAIT_MS;
    return ms < MAX_WAIT_MS ? (uint64_t)ceil(ms) : MAX_WAIT_MS;
}

enum quota_fit quota_verdict(const struct pick_candidate *candidates, uint32_t n, uint64_t tokens,
                             uint64_t *wait_ms)
{
    enum quota_fit fit = n > 0 ? QUOTA_NEVER_FITS : QUOTA_FITS;
    double least = INFINITY;

    if (wait_ms != NULL)
        *wait_ms = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (pick_fits(&candidates[i], tokens))
            return QUOTA_FITS;
        if (!can_ever_fit(&candidates[i], tokens))
            continue;
        fit = QUOTA_NOT_NOW;
        least = fmin(least, wait_ms_of(&candidates[i], tokens));
    }
    if (fit == QUOTA_NOT_NOW && wait_ms != NULL)
        *wait_ms = as_wait(least);
    return fit;
}

uint64_t quota_scope_wait_ms(const struct quota_scope_sum *sum, const struct quota_refusal *refusal,
                             uint64_t tokens)
{
    const struct pick_candidate nowhere = {0};
    double held = (double)sum->tokens, rate = sum->drain_rate, ahead = 0;
    double over = (double)refusal->used + 1 - (double)refusal->limit; /* batches */

    if (!(rate > 0))
        rate = pick_drain_rate(&nowhere);
    if ((double)sum->around > held)
        rate *= held / (double)sum->around;
    if (refusal->by == QUOTA_BY_TOKENS)
        ahead = (double)refusal->used + (double)tokens - (double)refusal->limit;
    else if (sum->batches > 0)
        ahead = held * fmin(over / (double)sum->batches, 1);
    return as_wait(rate > 0 ? ahead / rate * 1000 : 0);
}

/* A text being written into a buffer that may be too small. */
struct text {
    char *data;
    size_t size, len;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->data + t->len, t->size - t->len, format, args);
    va_end(args);
    if (n > 0)
        t->len = (size_t)n < t->size - t->len ? t->len + (size_t)n : t->size - 1;
}

static void add_limits(struct text *t, const struct pick_candidate *candidates,
                       const char *const *names, uint32_t n, bool with_free, uint64_t tokens)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct pick_candidate *c = &candidates[i];
        uint64_t room = c->limit > c->enqueued ? c->limit - c->enqueued : 0;

        add(t, "%s%s ", i > 0 ? ", " : "", names[i]);
        if (c->limit == 0)
            add(t, "says that it is full");
        else if (with_free && is_cooling_down(c, tokens))
            add(t, "refused %" PRIu64 " just now, limit %" PRIu64, c->full_tokens, c->limit);
        else if (with_free)
            add(t, "%" PRIu64 " of %" PRIu64 " free", room, c->limit);
        else
            add(t, "%" PRIu64, c->limit);
    }
}

static void mark_cut(struct text *t)
{
    if (t->len + 1 >= t->size && t->size > 4)
        memcpy(t->data + t->size - 4, "...", 4);
}

void quota_explain(const struct pick_candidate *candidates, uint32_t n, const char *const *names,
                   uint32_t named, uint64_t tokens, char *text, size_t size)
{
    struct text t = {text, size, 0};
    uint64_t wait_ms;
    enum quota_fit fit = quota_verdict(candidates, n, tokens, &wait_ms);

    if (size == 0)
        return;
    text[0] = '\0';
    add(&t, "This batch is about %" PRIu64 " enqueued tokens", tokens);
    if (fit == QUOTA_NEVER_FITS) {
        add(&t, ", more than the limit of every deployment of this model: ");
        add_limits(&t, candidates, names, named < n ? named : n, false, tokens);
        add(&t, "%s", named < n ? ", and others" : "");
        add(&t, ". Split its input file.");
    } else if (fit == QUOTA_NOT_NOW) {
        add(&t, ", which no deployment of this model has room for now: ");
        add_limits(&t, candidates, names, named < n ? named : n, true, tokens);
        add(&t, "%s", named < n ? ", and others" : "");
        add(&t, ". Room is expected in %" PRIu64 " s.", (wait_ms + 999) / 1000);
    } else {
        add(&t, "; there is room for that.");
    }
    mark_cut(&t);
}
