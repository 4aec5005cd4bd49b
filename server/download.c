/* See download.h. Two buffers a transfer: one is being sent, the other fills; above DOWNLOAD_BUFFER the provider is paused. A transfer that breaks after its head went
 * out ends in a visibly broken response (connection closed, or RST_STREAM): never a short file that looks whole. */
#include "server/download.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/attempt.h"
#include "server/resolve.h"

#define DOWNLOAD_BUFFER (128u << 10) /* bytes waiting while another buffer is on its way: 256 KiB a stream at most */

struct download {
    h2o_generator_t generator; /* first: libh2o hands it back to us */
    struct relay *relay;       /* borrowed; NULL once the client is gone */
    struct worker *worker;
    struct target target;      /* owned */
    uint32_t at;
    char *range;               /* owned; the client's Range, NULL: none */
    struct attempt *attempt;   /* owned */
    struct strbuf filling, sending;
    bool started;              /* the response head is out */
    bool busy;                 /* an h2o_send is outstanding */
    bool paused;               /* the provider waits for the client */
    bool ended;                /* no more bytes will come */
    bool broken;               /* ... because the transfer failed */
    struct failure worst;
};

static void ask(struct download *dl);

static void download_free(struct download *dl)
{
    if (dl->attempt != NULL)
        attempt_cancel(dl->attempt);
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
    relay->deployment = dl->target.deployments[dl->at];
    return relay;
}

/* --- towards the client --- */

/* Send what is there, one h2o_send at a time; the last one carries the end. */
static void flush(struct download *dl)
{
    h2o_send_state_t state = H2O_SEND_STATE_IN_PROGRESS;
    h2o_req_t *req = dl->relay->req;
    struct strbuf swap;
    h2o_iovec_t buf;

    if (dl->busy || !dl->started || (dl->filling.len == 0 && !dl->ended))
        return;
    swap = dl->sending;
    dl->sending = dl->filling;
    dl->filling = swap;
    strbuf_reset(&dl->filling);
    if (dl->ended)
        state = dl->broken ? H2O_SEND_STATE_ERROR : H2O_SEND_STATE_FINAL;
    buf = h2o_iovec_init(dl->sending.data, dl->sending.len);
    dl->busy = true;
    if (state == H2O_SEND_STATE_ERROR && dl->broken)
        log_warn("request %s: the provider's file ended early; the client's transfer is broken off", dl->relay->request_id);
    h2o_send(req, &buf, buf.len > 0 ? 1 : 0, state);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct download *dl = H2O_STRUCT_FROM_MEMBER(struct download, generator, generator);

    (void)req;
    dl->busy = false;
    if (dl->paused) { /* what is waiting goes out now, so there is room again */
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

/* The headers of content that mean the same to our client; nothing else of the provider's is passed on. */
static void copy_headers(struct download *dl, const struct upstream_head *head)
{
    static const char *const names[] = {"content-disposition", "content-range", "accept-ranges", "etag", "last-modified"};
    const char *type = upstream_header_find(head, "content-type");
    const char *encoding = upstream_header_find(head, "content-encoding");

    relay_header(dl->relay, "content-type", type != NULL ? type : "application/octet-stream");
    if (encoding != NULL)
        relay_header(dl->relay, "content-encoding", encoding);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = upstream_header_find(head, names[i]);

        if (value != NULL)
            relay_header(dl->relay, names[i], value);
    }
}

static void start_response(struct download *dl, const struct upstream_head *head)
{
    struct relay *relay = dl->relay;
    h2o_req_t *req = relay->req;

    relay->deployment = dl->target.deployments[dl->at];
    relay->answered = true;
    relay_common_headers(relay);
    copy_headers(dl, head);
    req->res.status = head->status;
    req->res.reason = relay_reason(head->status);
    req->res.content_length = head->content_length >= 0 ? (size_t)head->content_length : SIZE_MAX;
    dl->generator.proceed = on_proceed;
    dl->generator.stop = on_stop;
    dl->started = true;
    h2o_start_response(req, &dl->generator);
}

/* --- from the provider --- */

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct download *dl = arg;

    if (head->status != 200 && head->status != 206)
        return false; /* collected: an error to translate */
    start_response(dl, head);
    if (dl->relay->method == METHOD_HEAD) { /* the head was all that is wanted: leave the provider's body where it is */
        h2o_req_t *req = detach(dl)->req;

        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
        download_free(dl);
    }
    return true;
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct download *dl = arg;

    strbuf_add(&dl->filling, bytes, len);
    flush(dl);
    dl->paused = dl->filling.len >= DOWNLOAD_BUFFER;
    return !dl->paused;
}

static void next_candidate(struct download *dl, const struct failure *failure)
{
    struct relay *relay;
    struct failure worst;

    if (failure->status != 404)
        dl->worst = *failure;
    if (dl->at + 1 < dl->target.num) {
        dl->at++;
        ask(dl);
        return;
    }
    worst = dl->worst;
    relay = detach(dl);
    download_free(dl);
    if (worst.status != 0) {
        relay_failure(relay, &worst);
    } else {
        relay->deployment = MODEL_NO_INDEX;
        resolve_not_found(relay, ID_FILE, relay->route.id);
    }
}

static void on_done(void *arg, const struct attempt_result *result)
{
    struct download *dl = arg;

    dl->attempt = NULL;
    if (!dl->started) {
        next_candidate(dl, &result->failure);
        return;
    }
    dl->ended = true;
    dl->paused = false;
    dl->broken = result->upstream->end != UPSTREAM_ANSWERED || strbuf_failed(&dl->filling);
    flush(dl);
}

static void ask(struct download *dl)
{
    struct attempt_spec spec = {.deployment = dl->target.deployments[dl->at],
                                .call = CALL_FILE_CONTENT,
                                .id = dl->target.native,
                                .range = dl->range,
                                .on_head = on_head,
                                .on_data = on_data,
                                .on_done = on_done,
                                .arg = dl};

    dl->attempt = attempt_start(dl->worker, &spec);
    if (dl->attempt == NULL) {
        struct relay *relay = detach(dl);

        download_free(dl);
        relay_problem(relay, 500, "server_error", "out_of_memory", "", "The gateway is out of memory.");
    }
}

static char *range_of(const h2o_req_t *req)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_RANGE, -1);

    return at == -1 ? NULL : strndup(req->headers.entries[at].value.base, req->headers.entries[at].value.len);
}

void download_start(struct relay *relay)
{
    struct download *dl = calloc(1, sizeof(*dl));

    if (dl == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "", "The gateway is out of memory.");
        return;
    }
    dl->relay = relay;
    dl->worker = relay->worker;
    if (!resolve_id(relay, ID_FILE, relay->route.id, relay->route.id_len, &dl->target)) {
        free(dl);
        return;
    }
    dl->range = range_of(relay->req);
    relay_attach(relay, dl, on_client_gone);
    ask(dl);
}
