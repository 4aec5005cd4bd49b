/* See long_answer.h. Born with the first slice, or with the text; gone with the request's pool,
 * which outlives what libh2o still has to write of the last part. A slice is a part, at most. */
#include "request/long_answer.h"

#include <stdlib.h>

#include "request/errors.h"
#include "request/operation.h"

#define SLICE_ROWS 2000 /* in one turn, of which some may give nothing; 32 KiB are about 0.2 ms */

struct long_answer {
    struct operation op;
    const char *content_type;
    long_answer_cb write;
    void *arg; /* owned; NULL: all is written */
    void (*free_arg)(void *arg);
    struct long_text text;
    struct slice slice;
    struct loop_timer next; /* part */
};

#define JSON "application/json"

static void drop_arg(struct long_answer *a)
{
    if (a->arg != NULL)
        a->free_arg(a->arg);
    a->arg = NULL;
}

static void long_answer_free(struct operation *op)
{
    struct long_answer *a = (struct long_answer *)op;

    slices_remove(&op->rt->slices, &a->slice);
    loop_timer_stop(op->rt->loop, &a->next);
    long_text_deinit(&a->text);
    drop_arg(a);
    free(a);
}

static const struct operation_ops long_answer_ops = {.free = long_answer_free};

/* --- sending --- */

static void send_part(struct long_answer *a)
{
    const struct long_part *part = a->text.first;

    relay_send(a->op.relay, part->bytes.data, part->bytes.len,
               part->next != NULL ? RELAY_MORE : RELAY_LAST); /* which may free us */
}

static void on_next(struct loop_timer *timer)
{
    send_part(timer->arg);
}

/* Not at once: to a client who keeps up all of it would go out in this turn. */
static void on_proceed(void *arg)
{
    struct long_answer *a = arg;

    long_text_drop(&a->text);
    if (loop_timer_start(a->op.rt->loop, &a->next, 0) != 0)
        send_part(a);
}

static void start_sending(struct long_answer *a)
{
    size_t len = long_text_len(&a->text);

    a->next.cb = on_next;
    a->next.arg = a;
    relay_head(a->op.relay, 200, a->content_type, len);
    relay_start(a->op.relay, 200, (int64_t)len, on_proceed, a);
    if (a->op.relay->method == METHOD_HEAD)
        relay_send(a->op.relay, NULL, 0, RELAY_LAST);
    else
        send_part(a);
}

/* --- writing --- */

static void write_slice(struct long_answer *a)
{
    struct strbuf *out = long_text_out(&a->text);
    unsigned rows = 0;
    enum long_answer_step step = LONG_ANSWER_MORE;

    while (step == LONG_ANSWER_MORE && out->len < LONG_TEXT_PART && rows++ < SLICE_ROWS)
        step = a->write(a->arg, out);
    if (long_text_failed(&a->text)) {
        operation_fail_memory(&a->op);
    } else if (step != LONG_ANSWER_DONE) {
        if (slices_add(&a->op.rt->slices, a->op.rt->loop, &a->slice) != 0)
            operation_fail_memory(&a->op);
    } else {
        drop_arg(a);
        start_sending(a);
    }
}

static void on_slice(struct slice *slice)
{
    write_slice(slice->arg);
}

static void fail_memory(struct relay *relay)
{
    relay_error(relay, OUT_OF_MEMORY, "");
}

/* @return NULL: out of memory; that was answered */
static struct long_answer *long_answer_new(struct relay *relay)
{
    struct long_answer *a = operation_new(sizeof(*a), relay, &long_answer_ops);

    if (a != NULL)
        a->slice = (struct slice){.cb = on_slice, .arg = a, .flow = share_flow(a->op.share)};
    return a;
}

void long_answer_write_as(struct relay *relay, const char *content_type, const char *begin,
                          long_answer_cb write, void *arg, void (*free_arg)(void *arg))
{
    struct long_answer *a;

    if (arg == NULL) {
        fail_memory(relay);
        return;
    }
    a = long_answer_new(relay);
    if (a == NULL) {
        free_arg(arg);
        return;
    }
    a->content_type = content_type;
    a->write = write;
    a->arg = arg;
    a->free_arg = free_arg;
    strbuf_adds(long_text_out(&a->text), begin);
    write_slice(a);
}

void long_answer_write(struct relay *relay, const char *begin, long_answer_cb write, void *arg)
{
    long_answer_write_as(relay, JSON, begin, write, arg, free);
}

void long_answer_send(struct relay *relay, struct long_text *text)
{
    struct long_answer *a;

    if (long_text_failed(text)) {
        long_text_deinit(text);
        fail_memory(relay);
        return;
    }
    a = long_answer_new(relay);
    if (a == NULL) {
        long_text_deinit(text);
        return;
    }
    a->content_type = JSON;
    a->text = *text;
    *text = (struct long_text){0};
    start_sending(a);
}
