/* The part of a body that all sources share: the limit, the hand-over, the end that comes once. */
#include "front/body.h"

#include <assert.h>

int64_t body_length(const struct body *body)
{
    return body->length;
}

void body_start(struct body *body, const struct body_ops *ops, void *arg, uint64_t max_bytes)
{
    assert(body->ops == NULL && body->taken == 0); /* one reader, who reads it once */
    assert(ops->on_data != NULL && ops->on_end != NULL && ops->on_failure != NULL);
    body->ops = ops;
    body->arg = arg;
    body->max_bytes = max_bytes;
    body->source->start(body);
}

void body_pause(struct body *body)
{
    if (body->paused || body->ops == NULL)
        return;
    body->paused = true;
    body->source->pause(body);
}

void body_resume(struct body *body)
{
    if (!body->paused || body->ops == NULL)
        return;
    body->paused = false;
    body->source->resume(body);
}

void body_slice(struct body *body, size_t bytes)
{
    assert(bytes > 0 && bytes <= BODY_SLICE);
    body->slice = bytes;
}

void body_abandon(struct body *body)
{
    if (body == NULL || body->source == NULL)
        return;
    body->ops = NULL;
    body->source->abandon(body);
}

/* The one way out: detach, then tell. */
static const struct body_ops *detach(struct body *body)
{
    const struct body_ops *ops = body->ops;

    body->ops = NULL;
    return ops;
}

bool body_deliver(struct body *body, const char *bytes, size_t len)
{
    if (body->ops == NULL)
        return false;
    assert(body->taken <= body->max_bytes); /* beyond it the reader was told, and let go */
    body->taken += len;
    if (body->taken > body->max_bytes) {
        body_fail(body, BODY_TOO_LARGE);
        return false;
    }
    body->ops->on_data(body->arg, bytes, len);
    return body->ops != NULL && !body->paused;
}

void body_end(struct body *body)
{
    const struct body_ops *ops = detach(body);

    if (ops != NULL)
        ops->on_end(body->arg);
}

void body_fail(struct body *body, enum body_failure why)
{
    const struct body_ops *ops = detach(body);

    if (ops != NULL)
        ops->on_failure(body->arg, why);
}
