/* See reconcile.h. The provider may still be working on the create when its connection breaks, so
 * one look is not enough; a batch that appears after the last look is what the client's error
 * message warns of. */
#include "server/reconcile.h"

#include <stdlib.h>
#include <string.h>

#include "common/upstream/normal.h"
#include "server/attempt.h"

#define NEWEST                                                                                     \
    "limit=20" /* a create is among the newest: the account's other clients make few batches in    \
                  these seconds */

static const uint32_t look_after_ms[] = {50, 500, 2000};
#define LOOKS (sizeof(look_after_ms) / sizeof(look_after_ms[0]))

struct reconcile {
    struct worker *worker; /* borrowed */
    uint32_t deployment;
    char nonce[MARKER_NONCE + 1];
    size_t looks;            /* made */
    struct attempt *attempt; /* owned */
    struct loop_timer timer;
    reconcile_done_cb on_done;
    void *arg; /* borrowed */
};

static void on_timer(struct loop_timer *timer);

static void reconcile_free(struct reconcile *r)
{
    if (r->attempt != NULL)
        attempt_cancel(r->attempt);
    loop_timer_stop(r->worker->loop, &r->timer);
    free(r);
}

void reconcile_cancel(struct reconcile *r)
{
    reconcile_free(r);
}

static void finish(struct reconcile *r, struct json_doc *doc, struct json *batch)
{
    reconcile_done_cb on_done = r->on_done;
    void *arg = r->arg;

    reconcile_free(r);
    on_done(arg, doc, batch);
}

static bool is_ours(const struct reconcile *r, const struct json *batch)
{
    const char *text = json_get_str(json_get(batch, "metadata"), MARKER_KEY);
    struct marker marker;

    return text != NULL && marker_read(r->worker->inherit->seals, text, &marker) == 0 &&
           strcmp(marker.nonce, r->nonce) == 0;
}

static struct json *find(const struct reconcile *r, struct json_doc *doc,
                         const struct upstream_result *res)
{
    struct json_error error;
    struct json *root = json_parse(doc, res->body, res->body_len, &error);
    struct json *data = json_is(root, JSON_OBJECT) ? normal_list_data(root) : NULL;

    for (size_t i = 0; i < json_size(data); i++)
        if (is_ours(r, json_at(data, i)))
            return json_at(data, i);
    return NULL;
}

static void look_again(struct reconcile *r)
{
    if (r->looks == LOOKS ||
        loop_timer_start(r->worker->loop, &r->timer, look_after_ms[r->looks]) != 0)
        finish(r, NULL, NULL);
}

static void on_list(void *arg, const struct attempt_result *result)
{
    struct reconcile *r = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json *batch = doc != NULL ? find(r, doc, result->upstream) : NULL;

    r->attempt = NULL;
    if (batch != NULL)
        finish(r, doc, batch);
    else
        look_again(r);
    json_doc_free(doc);
}

static void on_timer(struct loop_timer *timer)
{
    struct reconcile *r = timer->arg;
    struct attempt_spec spec = {.deployment = r->deployment,
                                .call = CALL_BATCH_LIST,
                                .query = NEWEST,
                                .on_done = on_list,
                                .arg = r};

    r->looks++;
    r->attempt = attempt_start(r->worker, &spec);
    if (r->attempt == NULL)
        look_again(r);
}

struct reconcile *reconcile_start(struct worker *worker, uint32_t deployment,
                                  const char nonce[MARKER_NONCE + 1], reconcile_done_cb on_done,
                                  void *arg)
{
    struct reconcile *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->worker = worker;
    r->deployment = deployment;
    memcpy(r->nonce, nonce, sizeof(r->nonce));
    r->on_done = on_done;
    r->arg = arg;
    r->timer.cb = on_timer;
    r->timer.arg = r;
    if (loop_timer_start(worker->loop, &r->timer, look_after_ms[0]) == 0)
        return r;
    free(r);
    return NULL;
}
