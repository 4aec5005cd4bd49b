/* See download.h. Two buffers a transfer: one is being sent, the other fills; above DOWNLOAD_BUFFER
 * the provider is paused. What came in a turn goes out in one piece at its end. A transfer that
 * breaks after its head went out ends in a visibly broken response (connection closed, or
 * RST_STREAM): never a short file that looks whole. */
#include "server/download.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "common/mask.h"
#include "server/attempt.h"
#include "server/locate.h"
#include "server/range.h"
#include "server/resolve.h"

#define MAX_CONTENT_TRIES 3            /* unless the operator says otherwise */
#define DOWNLOAD_READ     (128u << 10) /* most bytes that libcurl reads at a time */

/* Bytes waiting; with what libcurl had read by then, less than 240 KiB. A whole read must reach it,
 * also one that began with the head, or libcurl reads on. */
#define DOWNLOAD_BUFFER (DOWNLOAD_READ - (16u << 10))

struct download {
    h2o_generator_t generator; /* first: libh2o hands it back to us */
    struct relay *relay;       /* borrowed; NULL once the client is gone */
    struct worker *worker;
    struct target target;    /* owned */
    uint32_t deployment;     /* where the file is; MODEL_NO_INDEX: not known yet */
    char *range;             /* owned; the client's Range, NULL: none */
    struct range part;       /* what of a whole answer the client gets; RANGE_NONE: all */
    uint64_t position;       /* of the next byte that the provider sends */
    struct locate *locate;   /* owned; the place is being looked for */
    struct attempt *attempt; /* owned */
    struct strbuf filling, sending;
    bool started; /* the response head is out */
    bool busy;    /* an h2o_send is outstanding */
    bool paused;  /* the provider waits for the client */
    bool ended;   /* no more bytes will come */
    bool broken;  /* ... because the transfer failed */
    uint32_t tries;
    struct loop_timer retry, end_of_turn;
};

static void ask(struct download *dl);

static void download_free(struct download *dl)
{
    if (dl->attempt != NULL)
        attempt_cancel(dl->attempt);
    locate_cancel(dl->locate);
    loop_timer_stop(dl->worker->loop, &dl->retry);
    loop_timer_stop(dl->worker->loop, &dl->end_of_turn);
    target_deinit(&dl->target);
    strbuf_deinit(&dl->filling);
    strbuf_deinit(&dl->sending);
    free(dl->range);
    free(dl);
}

static void on_client_gone(void *op)
{
    download_free(op);
}

static struct relay *detach(struct download *dl)
{
    struct relay *relay = dl->relay;

    dl->relay = NULL;
    relay->op = NULL;
    relay->deployment = dl->deployment;
    return relay;
}

/* --- towards the client --- */

static void swap_buffers(struct download *dl)
{
    struct strbuf swap = dl->sending;

    dl->sending = dl->filling;
    dl->filling = swap;
    strbuf_reset(&dl->filling);
}

/* Send what is there, one h2o_send at a time; the last one carries the end. */
static void flush(struct download *dl)
{
    h2o_send_state_t state = H2O_SEND_STATE_IN_PROGRESS;
    h2o_req_t *req = dl->relay->req;
    h2o_iovec_t buf;

    if (dl->busy || !dl->started || (dl->filling.len == 0 && !dl->ended))
        return;
    swap_buffers(dl);
    if (dl->ended)
        state = dl->broken ? H2O_SEND_STATE_ERROR : H2O_SEND_STATE_FINAL;
    buf = h2o_iovec_init(dl->sending.data, dl->sending.len);
    dl->busy = true;
    if (state == H2O_SEND_STATE_ERROR && dl->broken)
        log_warn("request %s: the provider's file ended early; the client's transfer is broken off",
                 dl->relay->request_id);
    h2o_send(req, &buf, buf.len > 0 ? 1 : 0, state);
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
    if (loop_timer_start(dl->worker->loop, &dl->end_of_turn, 0) != 0)
        flush(dl);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct download *dl = H2O_STRUCT_FROM_MEMBER(struct download, generator, generator);

    (void)req;
    dl->busy = false;
    if (dl->filling.len == 0)
        swap_buffers(dl); /* who keeps up needs one buffer, and it stays in the cache */
    if (dl->paused) {     /* what is waiting goes out now, so there is room again */
        dl->paused = false;
        attempt_resume(dl->attempt);
    }
    flush(dl); /* last: the end of a response may free us */
}

/* The connection broke under the response; the relay's disposer does the rest. */
static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)generator;
    (void)req;
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

    pass_header(dl->relay, "content-type", type != NULL ? type : "application/octet-stream");
    relay_header(dl->relay, "x-content-type-options", "nosniff");
    if (encoding != NULL)
        pass_header(dl->relay, "content-encoding", encoding);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = upstream_header_find(head, names[i]);

        if (value != NULL && (head->status == 206 || strcmp(names[i], "content-range") != 0))
            pass_header(dl->relay, names[i], value);
    }
}

/* The provider sent the whole although a part was asked for: the part is cut out here. */
static void set_range_headers(struct download *dl, const struct upstream_head *head)
{
    char text[96];

    snprintf(text, sizeof(text), "bytes %llu-%llu/%lld", (unsigned long long)dl->part.first,
             (unsigned long long)dl->part.last, (long long)head->content_length);
    relay_header(dl->relay, "content-range", text);
    dl->relay->req->res.status = 206;
    dl->relay->req->res.content_length = (size_t)(dl->part.last - dl->part.first + 1);
}

static void start_response(struct download *dl, const struct upstream_head *head)
{
    struct relay *relay = dl->relay;
    h2o_req_t *req = relay->req;

    relay->deployment = dl->deployment;
    relay->answered = true;
    relay_common_headers(relay);
    copy_headers(dl, head);
    req->res.status = head->status;
    req->res.content_length = head->content_length >= 0 ? (size_t)head->content_length : SIZE_MAX;
    if (dl->part.kind == RANGE_PART)
        set_range_headers(dl, head);
    req->res.reason = relay_reason(req->res.status);
    dl->generator.proceed = on_proceed;
    dl->generator.stop = on_stop;
    dl->started = true;
    if (head->content_length > 0) /* else it doubles its way there */
        (void)strbuf_reserve(&dl->filling, head->content_length < DOWNLOAD_READ
                                               ? (size_t)head->content_length
                                               : DOWNLOAD_READ);
    h2o_start_response(req, &dl->generator);
}

static void answer_unsatisfiable(struct download *dl, int64_t total)
{
    struct relay *relay = detach(dl);
    char text[48];

    download_free(dl);
    snprintf(text, sizeof(text), "bytes */%lld", (long long)total);
    relay_header(relay, "content-range", text);
    relay_problem(relay, 416, "invalid_request_error", "range_not_satisfiable", "",
                  "The file has %lld bytes.", (long long)total);
}

/* --- from the provider --- */

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct download *dl = arg;

    if (head->status != 200 && (head->status != 206 || dl->range == NULL))
        return false; /* collected: an error to translate, or an answer to another question */
    if (head->status == 200 && head->content_length >= 0)
        dl->part = range_parse(dl->range, (uint64_t)head->content_length);
    if (dl->part.kind == RANGE_UNSATISFIABLE) {
        answer_unsatisfiable(dl, head->content_length);
        return true;
    }
    start_response(dl, head);
    if (dl->relay->method ==
        METHOD_HEAD) { /* the head was all that is wanted: leave the provider's body where it is */
        h2o_req_t *req = detach(dl)->req;

        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
        download_free(dl);
    }
    return true;
}

/* Of these bytes, those that the client asked for. */
static void cut_part(struct download *dl, const char **bytes, size_t *len)
{
    uint64_t from = dl->position, to = dl->position + *len; /* [from, to) */

    dl->position = to;
    if (dl->part.kind != RANGE_PART)
        return;
    if (from < dl->part.first)
        from = dl->part.first < to ? dl->part.first : to;
    if (to > dl->part.last + 1)
        to = dl->part.last + 1 > from ? dl->part.last + 1 : from;
    *bytes += from - (dl->position - *len);
    *len = (size_t)(to - from);
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct download *dl = arg;

    cut_part(dl, &bytes, &len);
    strbuf_add(&dl->filling, bytes, len);
    dl->broken |= strbuf_failed(&dl->filling); /* bytes were lost: the end must say so */
    if (dl->part.kind == RANGE_PART && dl->position > dl->part.last &&
        !strbuf_failed(&dl->filling)) {
        attempt_cancel(dl->attempt); /* the rest is of no interest */
        dl->attempt = NULL;
        dl->ended = true;
        flush(dl); /* last: the end of a response may free us */
        return true;
    }
    flush_soon(dl);
    dl->paused = dl->filling.len >= DOWNLOAD_BUFFER;
    return !dl->paused;
}

static void fail_memory(struct download *dl)
{
    struct relay *relay = detach(dl);

    download_free(dl);
    relay_problem(relay, 500, "server_error", "out_of_memory", "", "The gateway is out of memory.");
}

static void fail(struct download *dl, const struct failure *failure)
{
    struct failure copy = *failure;
    struct relay *relay = detach(dl);

    download_free(dl);
    if (copy.status != 404) {
        relay_failure(relay, &copy);
    } else {
        relay->deployment = MODEL_NO_INDEX;
        resolve_not_found(relay, ID_FILE, relay->route.id);
    }
}

/* A 2xx that carries no file: 204 is a provider's way to send an empty one. */
static void answer_odd(struct download *dl, int status)
{
    struct relay *relay = detach(dl);

    download_free(dl);
    if (status == 204) {
        relay_header(relay, "x-content-type-options", "nosniff");
        relay_bytes(relay, 200, "application/octet-stream", "", 0);
    } else {
        relay_problem(relay, 502, "server_error", "bad_upstream_answer", "",
                      "The provider answered with status %d.", status);
    }
}

static void on_retry_timer(struct loop_timer *timer)
{
    ask(timer->arg);
}

/* It ended before a byte went to the client: so it may be asked again. */
static void without_stream(struct download *dl, const struct attempt_result *result)
{
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer decision;
    const char *range;

    if (result->ok) {
        answer_odd(dl, result->upstream->head.status);
        return;
    }
    if (result->upstream->head.status == 416 &&
        (range = upstream_header_find(&result->upstream->head, "content-range")) != NULL)
        pass_header(dl->relay, "content-range",
                    range); /* the size that the ranges have to fit (RFC 9110 section 15.5.17) */
    question.pinned = question.idempotent = true;
    question.tries = dl->tries;
    attempt_limits(dl->worker, dl->deployment, MAX_CONTENT_TRIES, &question);
    decision = attempt_decide(dl->worker, dl->deployment, &question);
    if (decision.action == RETRY_SAME) {
        dl->retry.cb = on_retry_timer;
        dl->retry.arg = dl;
        if (loop_timer_start(dl->worker->loop, &dl->retry, decision.delay_ms) == 0)
            return;
    }
    fail(dl, &result->failure);
}

static void on_done(void *arg, const struct attempt_result *result)
{
    struct download *dl = arg;

    dl->attempt = NULL;
    if (!dl->started) {
        without_stream(dl, result);
        return;
    }
    dl->ended = true;
    dl->paused = false;
    dl->broken |= result->upstream->end != UPSTREAM_ANSWERED;
    flush(dl);
}

static void ask(struct download *dl)
{
    struct attempt_spec spec = {.deployment = dl->deployment,
                                .call = CALL_FILE_CONTENT,
                                .id = dl->target.native,
                                .range = dl->range,
                                .request_id = dl->relay->request_id,
                                .on_head = on_head,
                                .on_data = on_data,
                                .on_done = on_done,
                                .arg = dl};

    dl->tries++;
    dl->attempt = attempt_start(dl->worker, &spec);
    if (dl->attempt == NULL)
        fail_memory(dl);
}

static void on_located(void *arg, const struct locate_result *result)
{
    struct download *dl = arg;

    dl->locate = NULL;
    dl->deployment = result->deployment;
    if (result->found)
        ask(dl);
    else
        fail(dl, &result->failure);
}

static void locate(struct download *dl)
{
    dl->deployment = MODEL_NO_INDEX;
    dl->locate = locate_start(dl->worker, ID_FILE, dl->target.native, dl->target.deployments,
                              dl->target.num, on_located, dl);
    if (dl->locate == NULL)
        fail_memory(dl);
}

/* The Range to honour. Not on HEAD (RFC 9110 section 14.2), not with If-Range (the providers give
 * no validators to compare), and only one range: then the whole file is the answer. */
static char *range_of(const struct relay *relay)
{
    const h2o_headers_t *headers = &relay->req->headers;
    ssize_t at = h2o_find_header(headers, H2O_TOKEN_RANGE, -1);
    char *text;

    if (at == -1 || relay->method != METHOD_GET ||
        h2o_find_header(headers, H2O_TOKEN_IF_RANGE, -1) != -1)
        return NULL;
    text = strndup(headers->entries[at].value.base, headers->entries[at].value.len);
    if (text != NULL && range_parse(text, UINT64_MAX).kind == RANGE_NONE) {
        free(text);
        text = NULL;
    }
    return text;
}

void download_start(struct relay *relay)
{
    struct download *dl = calloc(1, sizeof(*dl));

    if (dl == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    dl->relay = relay;
    dl->worker = relay->worker;
    if (!resolve_id(relay, ID_FILE, relay->route.id, relay->route.id_len, &dl->target)) {
        free(dl);
        return;
    }
    dl->deployment = dl->target.deployments[0];
    dl->range = range_of(relay);
    relay_attach(relay, dl, on_client_gone);
    if (dl->target.unsure)
        locate(dl);
    else
        ask(dl);
}
