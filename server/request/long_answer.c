/* See long_answer.h. Born with the first slice, or with the text; gone with the request's pool,
 * which outlives what libh2o still has to write of the last part. A slice is a part, at most. */
#include "request/long_answer.h"

#include <stdlib.h>

#define SLICE_ROWS 2000 /* in one turn, of which some may give nothing; 32 KiB are about 0.2 ms */

struct long_answer {
    struct relay *relay; /* borrowed */
    struct runtime *rt;  /* borrowed */
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

static void long_answer_free(struct long_answer *a)
{
    slices_remove(&a->rt->slices, &a->slice);
    loop_timer_stop(a->rt->loop, &a->next);
    long_text_deinit(&a->text);
    drop_arg(a);
    free(a);
}

static void on_client_gone(void *op)
{
    long_answer_free(op);
}

static void fail_memory(struct relay *relay)
{
    relay_problem(relay, 500, "server_error", "out_of_memory", "", "The gateway is out of memory.");
}

/* Nothing was sent yet. */
static void give_up(struct long_answer *a)
{
    struct relay *relay = a->relay;

    relay->op = NULL;
    long_answer_free(a);
    fail_memory(relay);
}

/* --- sending --- */

static void send_part(struct long_answer *a)
{
    const struct long_part *part = a->text.first;

    relay_send(a->relay, part->bytes.data, part->bytes.len,
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
    if (loop_timer_start(a->rt->loop, &a->next, 0) != 0)
        send_part(a);
}

static void start_sending(struct long_answer *a)
{
    size_t len = long_text_len(&a->text);

    a->next.cb = on_next;
    a->next.arg = a;
    relay_head(a->relay, 200, a->content_type, len);
    relay_start(a->relay, 200, (int64_t)len, on_proceed, a);
    if (a->relay->method == METHOD_HEAD)
        relay_send(a->relay, NULL, 0, RELAY_LAST);
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
        give_up(a);
    } else if (step != LONG_ANSWER_DONE) {
        if (slices_add(&a->rt->slices, a->rt->loop, &a->slice) != 0)
            give_up(a);
    } else {
        drop_arg(a);
        start_sending(a);
    }
}

static void on_slice(struct slice *slice)
{
    write_slice(slice->arg);
}

static struct long_answer *long_answer_new(struct relay *relay)
{
    struct long_answer *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->relay = relay;
    a->rt = relay->rt;
    a->slice = (struct slice){.cb = on_slice, .arg = a};
    relay_attach(relay, a, on_client_gone);
    return a;
}

void long_answer_write_as(struct relay *relay, const char *content_type, const char *begin,
                          long_answer_cb write, void *arg, void (*free_arg)(void *arg))
{
    struct long_answer *a = arg != NULL ? long_answer_new(relay) : NULL;

    if (a == NULL) {
        if (arg != NULL)
            free_arg(arg);
        fail_memory(relay);
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
    struct long_answer *a = !long_text_failed(text) ? long_answer_new(relay) : NULL;

    if (a == NULL) {
        long_text_deinit(text);
        fail_memory(relay);
        return;
    }
    a->content_type = JSON;
    a->text = *text;
    *text = (struct long_text){0};
    start_sending(a);
}
