/* See reconcile.h. The provider may still be working on the create when its connection breaks, so
 * one look is not enough; a batch that appears after the last look is what the client's error
 * message warns of. */
#include "server/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/upstream/normal.h"
#include "server/attempt.h"
#include "server/ledger.h"

#define PAGE 100 /* the most that both providers give */
#define MAX_PAGES                                                                                  \
    500 /* of one account in one look: a day and five minutes of 2000 creates an hour (reference   \
           1.3) */
#define CLOCK_SLACK_S 300 /* the provider's clock against ours */

static const uint32_t look_after_ms[] = {50, 500, 2000};
#define LOOKS (sizeof(look_after_ms) / sizeof(look_after_ms[0]))

struct reconcile {
    struct worker *worker; /* borrowed */
    uint32_t *deployments; /* owned */
    uint32_t num, at;
    char nonce[MARKER_NONCE + 1]; /* "": by owner and request */
    uint64_t owner, request;
    int64_t not_before_s, begun_s;
    bool patient;
    size_t looks;   /* made */
    unsigned pages; /* read of this account in this look */
    bool complete;
    char after[IDS_MAX + 1]; /* cursor; "" from the top */
    struct attempt *attempt; /* owned */
    struct loop_timer timer;
    reconcile_done_cb on_done;
    void *arg; /* borrowed */
};

static void ask(struct reconcile *r);

static void reconcile_free(struct reconcile *r)
{
    if (r->attempt != NULL)
        attempt_cancel(r->attempt);
    loop_timer_stop(r->worker->loop, &r->timer);
    free(r->deployments);
    free(r);
}

void reconcile_cancel(struct reconcile *r)
{
    reconcile_free(r);
}

static void finish(struct reconcile *r, struct reconcile_result *result)
{
    reconcile_done_cb on_done = r->on_done;
    void *arg = r->arg;

    result->complete = r->complete;
    if (r->at < r->num)
        result->deployment = r->deployments[r->at];
    reconcile_free(r);
    on_done(arg, result);
}

/* 0: not told. */
static int64_t created_at(const struct json *batch)
{
    int64_t t;

    return normal_time(json_get(batch, "created_at"), &t) ? t : 0;
}

/* An older one with the same words is of an earlier day: who asks now wants another one. */
static bool is_wanted(const struct reconcile *r, const struct json *batch, struct marker *marker)
{
    int64_t t = created_at(batch);

    if ((t != 0 && t < r->not_before_s) || !ledger_marker(r->worker->inherit->seals, batch, marker))
        return false;
    if (r->nonce[0] != '\0')
        return strcmp(marker->nonce, r->nonce) == 0;
    return marker->owner == r->owner && marker->request == r->request;
}

/* What one page says. */
enum page_end { PAGE_FOUND, PAGE_MORE, PAGE_LAST, PAGE_UNREADABLE };

static enum page_end read_page(struct reconcile *r, struct json_doc *doc,
                               const struct upstream_result *res, struct reconcile_result *found)
{
    struct json_error error;
    struct json *root = json_parse(doc, res->body, res->body_len, &error);
    struct json *data = json_is(root, JSON_OBJECT) ? normal_list_data(root) : NULL;
    size_t num = json_size(data);
    bool more = num > 0;
    int64_t oldest = INT64_MAX;

    if (data == NULL)
        return PAGE_UNREADABLE;
    for (size_t i = 0; i < num; i++) {
        struct json *batch = json_at(data, i);
        const char *id = json_get_str(batch, "id");
        int64_t t = created_at(batch);

        if (is_wanted(r, batch, &found->marker)) {
            found->doc = doc;
            found->batch = batch;
            return PAGE_FOUND;
        }
        if (t != 0)
            oldest = t;
        snprintf(r->after, sizeof(r->after), "%s", id != NULL ? id : "");
    }
    (void)json_bool(json_get(root, "has_more"), &more);
    return more && r->after[0] != '\0' && oldest >= r->not_before_s ? PAGE_MORE : PAGE_LAST;
}

static void next_account(struct reconcile *r)
{
    struct reconcile_result nothing = {0};

    r->pages = 0;
    r->after[0] = '\0';
    if (++r->at < r->num) {
        ask(r);
        return;
    }
    r->looks++;
    /* What appears from now on is of now: the next look reads no further than that. */
    if (r->complete && r->not_before_s < r->begun_s - CLOCK_SLACK_S)
        r->not_before_s = r->begun_s - CLOCK_SLACK_S;
    if (r->patient && r->looks < LOOKS &&
        loop_timer_start(r->worker->loop, &r->timer, look_after_ms[r->looks]) == 0)
        return;
    finish(r, &nothing);
}

static void on_list(void *arg, const struct attempt_result *result)
{
    struct reconcile *r = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct reconcile_result found = {0};
    enum page_end end = doc != NULL ? read_page(r, doc, result->upstream, &found) : PAGE_UNREADABLE;

    r->attempt = NULL;
    r->pages++;
    if (end == PAGE_UNREADABLE || (end == PAGE_MORE && r->pages >= MAX_PAGES))
        r->complete = false;
    if (end == PAGE_FOUND)
        finish(r, &found);
    else if (end == PAGE_MORE && r->pages < MAX_PAGES)
        ask(r);
    else
        next_account(r);
    json_doc_free(doc);
}

static void ask(struct reconcile *r)
{
    char query[64 + 3 * IDS_MAX];
    struct attempt_spec spec = {.deployment = r->deployments[r->at],
                                .call = CALL_BATCH_LIST,
                                .query = query,
                                .on_done = on_list,
                                .arg = r};

    /* An id that could not stand in a query as it is would end the reading of this account. */
    if (r->after[0] != '\0')
        snprintf(query, sizeof(query), "limit=%d&after=%s", PAGE, r->after);
    else
        snprintf(query, sizeof(query), "limit=%d", PAGE);
    r->attempt = attempt_start(r->worker, &spec);
    if (r->attempt == NULL) {
        r->complete = false;
        next_account(r);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct reconcile *r = timer->arg;

    r->at = 0;
    r->complete = true;
    ask(r);
}

struct reconcile *reconcile_start(struct worker *worker, const struct reconcile_spec *spec,
                                  reconcile_done_cb on_done, void *arg)
{
    struct reconcile *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->worker = worker;
    r->num = spec->num;
    r->deployments = calloc(spec->num, sizeof(*r->deployments));
    if (spec->nonce != NULL)
        snprintf(r->nonce, sizeof(r->nonce), "%s", spec->nonce);
    r->owner = spec->owner;
    r->request = spec->request;
    r->not_before_s = spec->not_before_s;
    r->begun_s = clock_unix_s();
    r->patient = spec->patient;
    r->on_done = on_done;
    r->arg = arg;
    r->timer.cb = on_timer;
    r->timer.arg = r;
    if (r->deployments != NULL) {
        memcpy(r->deployments, spec->deployments, spec->num * sizeof(*r->deployments));
        if (loop_timer_start(worker->loop, &r->timer, spec->patient ? look_after_ms[0] : 0) == 0)
            return r;
    }
    reconcile_free(r);
    return NULL;
}
