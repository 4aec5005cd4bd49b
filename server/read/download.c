/* See download.h. Two buffers a transfer: one is being sent, the other fills; above DOWNLOAD_BUFFER
 * the provider is paused. What came in a turn goes out in one piece at its end.
 *
 * A client that does not read must not hold a provider's connection: the call of a pause that lasts
 * (timeouts.paused_ms) is ended, and when the client reads again the rest is asked for by Range. A
 * provider that knows no ranges sends the whole again, of which the client gets the rest; that is
 * done once, and later pauses only hold the call. Bytes that are not known to be of the same file
 * are never put together.
 *
 * A transfer that breaks after its head went out ends in a visibly broken response (connection
 * closed, or RST_STREAM): never a short file that looks whole. */
#include "read/download.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mask.h"
#include "core/reading.h"
#include "request/errors.h"
#include "request/admit.h"
#include "calls/attempt.h"
#include "objects/locate.h"
#include "calls/range.h"
#include "request/operation.h"
#include "request/resolve.h"
#include "download_step.h"
#include "read/resume.h"

#define MAX_CONTENT_TRIES 3            /* unless the operator says otherwise */
#define DOWNLOAD_READ     (128u << 10) /* most bytes that libcurl reads at a time */

/* Bytes waiting; with what libcurl had read by then, less than 240 KiB. A whole read must reach it,
 * also one that began with the head, or libcurl reads on. */
#define DOWNLOAD_BUFFER (DOWNLOAD_READ - (16u << 10))

struct download {
    struct operation op;
    enum download_step step;
    struct target target; /* owned */
    char *range;          /* owned; the client's Range, NULL: none */
    struct range part;    /* what of a whole answer the client gets; RANGE_NONE: all */
    uint64_t position;    /* in the file, of the next byte that the provider sends */
    uint64_t next, end; /* in the file: what the client still needs; end UINT64_MAX: as it comes */
    struct resume_mark mark;
    struct admit_place place;
    struct reading reading; /* nobody deletes it meanwhile */
    struct strbuf filling, sending;
    bool busy;          /* a relay_send() is outstanding */
    bool lost;          /* bytes, for want of memory: the end must say so */
    bool no_resuming;   /* it would cost the whole again */
    uint64_t paused_ms; /* since when */
    struct loop_timer end_of_turn, pause;
};

static bool ask(struct download *dl);
static bool resume(struct download *dl);

static struct download *download_of(struct operation *op)
{
    return (struct download *)op;
}

static void download_free(struct operation *op)
{
    struct download *dl = download_of(op);

    admit_cancel(&dl->place);
    reading_end(&dl->reading);
    loop_timer_stop(op->rt->loop, &dl->end_of_turn);
    loop_timer_stop(op->rt->loop, &dl->pause);
    target_deinit(&dl->target);
    strbuf_deinit(&dl->filling);
    strbuf_deinit(&dl->sending);
    free(dl->range);
    free(dl);
}

static const struct operation_ops download_ops = {.free = download_free};

/* A client that reads slowly makes it pause many times: that is not told, a pause that lasts is. */
static void go(struct download *dl, enum download_step step)
{
    enum download_step from = dl->step;

    if (step == from)
        return;
    assert(download_step_may(from, step));
    dl->step = step;
    if (step != DOWNLOAD_PAUSE && from != DOWNLOAD_PAUSE)
        log_debug("request %s: download %s -> %s", dl->op.relay->request_id,
                  download_step_name(from), download_step_name(step));
}

/* The response head is out. */
static bool is_started(const struct download *dl)
{
    return dl->step >= DOWNLOAD_STREAM;
}

/* No more bytes will come. */
static bool is_ended(const struct download *dl)
{
    return dl->step >= DOWNLOAD_WHOLE;
}

static void end_whole(struct download *dl)
{
    go(dl, dl->lost ? DOWNLOAD_SHORT : DOWNLOAD_WHOLE);
}

/* --- towards the client --- */

static void swap_buffers(struct download *dl)
{
    struct strbuf swap = dl->sending;

    dl->sending = dl->filling;
    dl->filling = swap;
    strbuf_reset(&dl->filling);
}

/* Send what is there, one piece at a time; the last one carries the end. */
static void flush(struct download *dl)
{
    enum relay_more more = RELAY_MORE;

    if (dl->busy || !is_started(dl) || (dl->filling.len == 0 && !is_ended(dl)))
        return;
    swap_buffers(dl);
    if (is_ended(dl))
        more = dl->step == DOWNLOAD_SHORT ? RELAY_BROKEN : RELAY_LAST;
    dl->busy = true;
    if (more == RELAY_BROKEN)
        log_warn(
            "request %s: the provider's file ended early; the transfer to the client is aborted",
            dl->op.relay->request_id);
    relay_send(dl->op.relay, dl->sending.data, dl->sending.len, more);
}

static void on_end_of_turn(struct loop_timer *timer)
{
    flush(timer->arg);
}

/* libcurl hands on a read in small pieces, and the end often comes right behind the last. */
static void flush_soon(struct download *dl)
{
    if (dl->busy || dl->end_of_turn.slot != 0)
        return;
    dl->end_of_turn.cb = on_end_of_turn;
    dl->end_of_turn.arg = dl;
    if (loop_timer_start(dl->op.rt->loop, &dl->end_of_turn, 0) != 0)
        flush(dl);
}

static void on_proceed(void *arg)
{
    struct download *dl = arg;

    assert(dl->busy && is_started(dl));
    dl->busy = false;
    if (dl->filling.len == 0)
        swap_buffers(dl);             /* who keeps up needs one buffer, and it stays in the cache */
    if (dl->step == DOWNLOAD_PAUSE) { /* what is waiting goes out now, so there is room again */
        go(dl, DOWNLOAD_STREAM);
        attempt_resume(dl->op.attempt);
    } else if (dl->step == DOWNLOAD_LEFT && !resume(dl)) {
        return;
    }
    flush(dl); /* last: the end of a response may free us */
}

/* A header in the provider's words, which may quote the key that it was sent. */
static void pass_header(struct relay *relay, const char *name, const char *value)
{
    char *copy = strdup(value);
    size_t len = strlen(value);

    if (copy == NULL)
        return;
    mask_hide(mask_installed(), copy, len, len + 1);
    relay_header(relay, name, copy);
    free(copy);
}

/* The headers of content that mean the same to our client; nothing else of the provider's is passed
 * on. What a file is, its client said: no browser has to guess. */
static void copy_headers(struct download *dl, const struct upstream_head *head)
{
    static const char *const names[] = {"content-disposition", "content-range", "accept-ranges",
                                        "etag", "last-modified"};
    const char *type = upstream_header_find(head, "content-type");
    const char *encoding = upstream_header_find(head, "content-encoding");

    pass_header(dl->op.relay, "content-type", type != NULL ? type : "application/octet-stream");
    relay_header(dl->op.relay, "x-content-type-options", "nosniff");
    if (encoding != NULL)
        pass_header(dl->op.relay, "content-encoding", encoding);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = upstream_header_find(head, names[i]);

        if (value != NULL && (head->status == 206 || strcmp(names[i], "content-range") != 0))
            pass_header(dl->op.relay, names[i], value);
    }
}

/* The provider sent the whole although a part was asked for: the part is cut out here. */
static void set_range_headers(struct download *dl, const struct upstream_head *head)
{
    char text[96];

    snprintf(text, sizeof(text), "bytes %llu-%llu/%lld", (unsigned long long)dl->part.first,
             (unsigned long long)dl->part.last, (long long)head->content_length);
    relay_header(dl->op.relay, "content-range", text);
}

static void start_response(struct download *dl, const struct upstream_head *head)
{
    struct relay *relay = dl->op.relay;
    int64_t length = head->content_length;
    int status = head->status;

    relay->deployment = dl->op.deployment;
    relay_begin_answer(relay);
    copy_headers(dl, head);
    if (dl->part.kind == RANGE_PART) {
        set_range_headers(dl, head);
        status = 206;
        length = (int64_t)(dl->part.last - dl->part.first + 1);
    }
    go(dl, DOWNLOAD_STREAM);
    if (head->content_length > 0) /* else it doubles its way there */
        (void)strbuf_reserve(&dl->filling, head->content_length < DOWNLOAD_READ
                                               ? (size_t)head->content_length
                                               : DOWNLOAD_READ);
    relay_start(relay, status, length, on_proceed, dl);
}

static void answer_unsatisfiable(struct download *dl, int64_t total)
{
    struct relay *relay = operation_end(&dl->op);
    char text[48];

    snprintf(text, sizeof(text), "bytes */%lld", (long long)total);
    relay_header(relay, "content-range", text);
    relay_error(relay, RANGE_BEYOND, "", (long long)total);
}

/* --- from the provider --- */

/* What the client gets of the file. A 206 that does not say what it holds, or not the truth, goes
 * on as it is. */
static void note_extent(struct download *dl, const struct upstream_head *head)
{
    struct content_range part;

    resume_note(&dl->mark, head);
    dl->end = UINT64_MAX;
    if (dl->part.kind == RANGE_PART) {
        dl->next = dl->part.first;
        dl->end = dl->part.last + 1;
    } else if (head->status == 200 && head->content_length >= 0) {
        dl->end = (uint64_t)head->content_length;
    } else if (head->status == 206 &&
               content_range_parse(upstream_header_find(head, "content-range"), &part) &&
               (head->content_length < 0 ||
                (uint64_t)head->content_length == part.last - part.first + 1)) {
        dl->position = dl->next = part.first;
        dl->end = part.last + 1;
    } else {
        dl->no_resuming = head->status == 206;
    }
}

/* No more bytes will come, and some are missing. */
static void break_off(struct download *dl)
{
    go(dl, DOWNLOAD_SHORT);
    flush_soon(dl);
}

static bool on_head_of_rest(struct download *dl, const struct upstream_head *head)
{
    if (head->status != 200 && head->status != 206)
        return false;
    go(dl, DOWNLOAD_STREAM);
    switch (resume_judge(&dl->mark, head, dl->next)) {
    case RESUME_REST:
        dl->position = dl->next;
        break;
    case RESUME_WHOLE:
        dl->position = 0;
        dl->no_resuming = true;
        break;
    case RESUME_OTHER:
        log_warn("request %s: cannot resume: the file may have changed at the provider",
                 dl->op.relay->request_id);
        operation_stop(&dl->op);
        break_off(dl);
        break;
    }
    return true;
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct download *dl = download_of(arg);

    if (is_started(dl))
        return on_head_of_rest(dl, head);
    if (head->status != 200 && (head->status != 206 || dl->range == NULL))
        return false; /* collected: an error to translate, or an answer to another question */
    if (head->status == 200 && head->content_length >= 0)
        dl->part = range_parse(dl->range, (uint64_t)head->content_length);
    if (dl->part.kind == RANGE_UNSATISFIABLE) {
        answer_unsatisfiable(dl, head->content_length);
        return true;
    }
    note_extent(dl, head);
    start_response(dl, head);
    if (dl->op.relay->method == METHOD_HEAD) { /* the provider's body stays where it is */
        relay_send(operation_detach(&dl->op), NULL, 0, RELAY_LAST);
        operation_free(&dl->op);
    }
    return true;
}

/* Of these bytes, those that the client needs. */
static void cut_part(struct download *dl, const char **bytes, size_t *len)
{
    uint64_t from = dl->position, to = dl->position + *len; /* [from, to) */

    dl->position = to;
    if (from < dl->next)
        from = dl->next < to ? dl->next : to;
    if (to > dl->end)
        to = dl->end > from ? dl->end : from;
    assert(from <= to && to <= dl->position);
    *bytes += from - (dl->position - *len);
    *len = (size_t)(to - from);
    dl->next += *len;
}

static void on_pause_lasts(struct loop_timer *timer)
{
    struct download *dl = timer->arg;
    uint32_t limit_ms = dl->op.rt->config->timeouts.paused_ms;
    uint64_t paused_ms = loop_now_ms(dl->op.rt->loop) - dl->paused_ms;

    if (dl->step != DOWNLOAD_PAUSE || dl->no_resuming)
        return;
    if (paused_ms < limit_ms) {
        (void)loop_timer_start(dl->op.rt->loop, timer, limit_ms - paused_ms);
        return;
    }
    log_debug("request %s: the client does not read; the provider is left at byte %llu",
              dl->op.relay->request_id, (unsigned long long)dl->next);
    operation_stop(&dl->op);
    go(dl, DOWNLOAD_LEFT);
}

/* Pauses come and go, the timer stays: it looks for one that lasts. Without memory for it the
 * provider waits. */
static void note_pause(struct download *dl)
{
    uint32_t limit_ms = dl->op.rt->config->timeouts.paused_ms;

    dl->paused_ms = loop_now_ms(dl->op.rt->loop);
    if (limit_ms == 0 || dl->no_resuming || dl->pause.slot != 0 || !resume_is_possible(&dl->mark))
        return;
    dl->pause.cb = on_pause_lasts;
    dl->pause.arg = dl;
    (void)loop_timer_start(dl->op.rt->loop, &dl->pause, limit_ms);
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct download *dl = download_of(arg);

    cut_part(dl, &bytes, &len);
    strbuf_add(&dl->filling, bytes, len);
    dl->lost |= strbuf_failed(&dl->filling);
    if (dl->part.kind == RANGE_PART && dl->next >= dl->end && !strbuf_failed(&dl->filling)) {
        operation_stop(&dl->op); /* the rest is of no interest */
        end_whole(dl);
        flush(dl); /* last: the end of a response may free us */
        return true;
    }
    flush_soon(dl);
    if (dl->filling.len < DOWNLOAD_BUFFER)
        return true;
    go(dl, DOWNLOAD_PAUSE);
    note_pause(dl);
    return false;
}

/* A 2xx that carries no file: 204 is a provider's way to send an empty one. */
static void answer_odd(struct download *dl, int status)
{
    struct relay *relay = operation_end(&dl->op);

    if (status == 204) {
        relay_header(relay, "x-content-type-options", "nosniff");
        relay_bytes(relay, 200, "application/octet-stream", "", 0);
    } else {
        relay_error(relay, ANSWER_STATUS, "", status);
    }
}

static void ask_again(struct operation *op)
{
    ask(download_of(op));
}

/* It ended before a byte went to the client: so it may be asked again. */
static void without_stream(struct download *dl, const struct attempt_result *result)
{
    const char *range;

    if (result->ok) {
        answer_odd(dl, result->upstream->head.status);
        return;
    }
    if (result->upstream->head.status == 416 &&
        (range = upstream_header_find(&result->upstream->head, "content-range")) != NULL)
        pass_header(dl->op.relay, "content-range",
                    range); /* the size that the ranges have to fit (RFC 9110 section 15.5.17) */
    if (!operation_try_again(&dl->op, result, MAX_CONTENT_TRIES, ask_again))
        operation_fail_object(&dl->op, ID_FILE, &result->failure);
}

static bool is_complete(const struct download *dl, const struct attempt_result *result)
{
    return dl->step != DOWNLOAD_RESUME && result->upstream->end == UPSTREAM_ANSWERED &&
           (dl->end == UINT64_MAX || dl->next == dl->end);
}

static void on_asked(struct operation *op, const struct attempt_result *result)
{
    struct download *dl = download_of(op);

    if (!is_started(dl)) {
        without_stream(dl, result);
        return;
    }
    if (dl->step == DOWNLOAD_RESUME &&
        operation_try_again(op, result, MAX_CONTENT_TRIES, ask_again))
        return;
    if (is_complete(dl, result))
        end_whole(dl);
    else
        go(dl, DOWNLOAD_SHORT);
    flush(dl);
}

/* @return false: it was broken off, or answered: it may be gone */
static bool ask(struct download *dl)
{
    char rest[64];
    struct attempt_spec spec = {.call = CALL_FILE_CONTENT,
                                .id = dl->target.native,
                                .range = dl->range,
                                .on_head = on_head,
                                .on_data = on_data};

    if (dl->step == DOWNLOAD_RESUME) {
        resume_range(dl->next, dl->end, rest, sizeof(rest));
        spec.range = rest;
        spec.if_range = resume_validator(&dl->mark);
    } else {
        go(dl, DOWNLOAD_ASK);
    }
    if (operation_ask(&dl->op, &spec, on_asked) == 0)
        return true;
    if (dl->step == DOWNLOAD_RESUME)
        break_off(dl);
    else
        operation_fail_memory(&dl->op);
    return false;
}

/* There is room again, and nobody who sends. @return as ask() */
static bool resume(struct download *dl)
{
    if (dl->next == dl->end) { /* only the provider's end was not seen yet */
        end_whole(dl);
        return true;
    }
    go(dl, DOWNLOAD_RESUME);
    dl->op.tries = 0;
    return ask(dl);
}

static void on_located(struct operation *op, const struct locate_result *result)
{
    if (result->found)
        ask(download_of(op));
    else
        operation_fail_object(op, ID_FILE, &result->failure);
}

static void begin(struct download *dl)
{
    const struct runtime *rt = dl->op.rt;

    reading_begin(&dl->reading, &rt->inherited->shared->reading[rt->slot], dl->target.native);
    if (dl->target.unsure)
        operation_locate(&dl->op, ID_FILE, dl->target.native, dl->target.deployments,
                         dl->target.num, on_located);
    else
        ask(dl);
}

static void on_place(void *arg, bool granted)
{
    struct download *dl = arg;

    if (granted) {
        begin(dl);
        return;
    }
    dl->op.deployment = MODEL_NO_INDEX;
    admit_refuse(operation_end(&dl->op));
}

/* The Range to honour. Not on HEAD (RFC 9110 section 14.2), not with If-Range (the providers give
 * no validators to compare), and only one range: then the whole file is the answer. */
static char *range_of(const struct relay *relay)
{
    const char *value, *condition;
    size_t len, condition_len;
    char *text;

    if (!relay_request_header(relay, "range", &value, &len) || relay->method != METHOD_GET ||
        relay_request_header(relay, "if-range", &condition, &condition_len))
        return NULL;
    text = strndup(value, len);
    if (text != NULL && range_parse(text, UINT64_MAX).kind == RANGE_NONE) {
        free(text);
        text = NULL;
    }
    return text;
}

void download_start(struct relay *relay)
{
    struct download *dl = operation_new(sizeof(*dl), relay, &download_ops);

    if (dl == NULL)
        return; /* answered */
    if (resolve_id(relay, ID_FILE, relay->route.id, relay->route.id_len, &dl->target) == ANSWERED) {
        operation_answered(&dl->op);
        return;
    }
    dl->op.deployment = dl->target.deployments[0];
    dl->range = range_of(relay);
    if (admit_download(relay, &dl->place, on_place, dl))
        begin(dl);
}
