/* See reconcile.h. The provider may still be working on the create when its connection breaks, so
 * one look is not enough; a batch that appears after the last look is what the client's error
 * message warns of.
 *
 *   look ──► accounts, some at a time: page, page, ... ──► all read ──► nothing: the next look
 *                          └─► found: the end                └─► the newest of what was found
 *
 * A nonce names one batch, so the first account that has it ends the search. An owner and a request
 * may name several, of which the newest is meant: all accounts are read then. */
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
#define MAX_AT_ONCE   4   /* accounts */
#define CLOCK_SLACK_S 300 /* the provider's clock against ours */

static const uint32_t look_after_ms[] = {50, 500, 2000};
#define LOOKS (sizeof(look_after_ms) / sizeof(look_after_ms[0]))

/* One account in the look that is under way. */
struct place {
    struct reconcile *reconcile; /* borrowed */
    uint32_t deployment;
    struct attempt *attempt; /* owned; NULL: not begun, or at its end */
    unsigned pages;          /* read */
    char first[IDS_MAX + 1]; /* id of the first batch of the page before */
    char after[IDS_MAX + 1]; /* cursor; "" from the top */
    bool whole;              /* an earlier look has read it as far back as is of interest */
};

struct reconcile {
    struct worker *worker; /* borrowed */
    struct place *places;  /* owned */
    uint32_t num, next;    /* ... the first one that this look has not begun */
    uint32_t running;
    char nonce[MARKER_NONCE + 1]; /* "": by owner and request */
    uint64_t owner, request;
    int64_t not_before_s, begun_s;
    bool patient;
    size_t looks; /* made */
    bool complete;
    struct json_doc *best_doc; /* owned; of the next, the newest that was found */
    struct reconcile_result best;
    struct loop_timer timer;
    reconcile_done_cb on_done;
    void *arg; /* borrowed */
};

static void reconcile_free(struct reconcile *r)
{
    for (uint32_t i = 0; r->places != NULL && i < r->num; i++)
        if (r->places[i].attempt != NULL)
            attempt_cancel(r->places[i].attempt);
    loop_timer_stop(r->worker->loop, &r->timer);
    json_doc_free(r->best_doc);
    free(r->places);
    free(r);
}

void reconcile_cancel(struct reconcile *r)
{
    reconcile_free(r);
}

/* With the best that was found, or nothing. */
static void finish(struct reconcile *r)
{
    reconcile_done_cb on_done = r->on_done;
    void *arg = r->arg;
    struct reconcile_result result = r->best;
    struct json_doc *doc = r->best_doc;

    result.complete = r->complete;
    r->best_doc = NULL;
    reconcile_free(r);
    on_done(arg, &result);
    json_doc_free(doc);
}

/* 0: not told. */
static int64_t created_at(const struct json *batch)
{
    int64_t t;

    return normal_time(json_get(batch, "created_at"), &t) ? t : 0;
}

/* --- what a page says --- */

/* How far back this account is read: what appears after the first look is of now. */
static int64_t oldest_wanted(const struct place *p)
{
    const struct reconcile *r = p->reconcile;
    int64_t now_s = r->begun_s - CLOCK_SLACK_S;

    return p->whole && now_s > r->not_before_s ? now_s : r->not_before_s;
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

enum page_end { PAGE_FOUND, PAGE_MORE, PAGE_LAST, PAGE_UNREADABLE };

/* Whether the provider has another page. One that ignores `after` gives the first page for ever. */
static enum page_end what_follows(struct place *p, const struct json *root, const struct json *data,
                                  int64_t oldest)
{
    size_t num = json_size(data);
    const char *first = num > 0 ? json_get_str(json_at(data, 0), "id") : NULL;
    const char *last = num > 0 ? json_get_str(json_at(data, num - 1), "id") : NULL;
    bool more = num > 0, told = json_bool(json_get(root, "has_more"), &more);

    if (!more || oldest < oldest_wanted(p))
        return PAGE_LAST;
    if (first == NULL || last == NULL)
        return PAGE_UNREADABLE;
    if (p->pages > 0 && strcmp(first, p->first) == 0)
        return told ? PAGE_UNREADABLE : PAGE_LAST;
    snprintf(p->first, sizeof(p->first), "%s", first);
    snprintf(p->after, sizeof(p->after), "%s", last);
    return PAGE_MORE;
}

static enum page_end read_page(struct place *p, struct json_doc *doc,
                               const struct upstream_result *res, struct reconcile_result *found)
{
    struct json_error error;
    struct json *root = json_parse(doc, res->body, res->body_len, &error);
    struct json *data = json_is(root, JSON_OBJECT) ? normal_list_data(root) : NULL;
    int64_t oldest = INT64_MAX;

    if (data == NULL)
        return PAGE_UNREADABLE;
    for (size_t i = 0; i < json_size(data); i++) {
        struct json *batch = json_at(data, i);
        int64_t t = created_at(batch);

        if (is_wanted(p->reconcile, batch, &found->marker)) {
            found->deployment = p->deployment;
            found->doc = doc;
            found->batch = batch;
            return PAGE_FOUND;
        }
        if (t != 0)
            oldest = t;
    }
    return what_follows(p, root, data, oldest);
}

/* --- the way through the accounts --- */

static void on_list(void *arg, const struct attempt_result *result);

static bool ask(struct place *p)
{
    char query[64 + 3 * IDS_MAX];
    struct attempt_spec spec = {.deployment = p->deployment,
                                .call = CALL_BATCH_LIST,
                                .query = query,
                                .on_done = on_list,
                                .arg = p};

    /* An id that could not stand in a query as it is would end the reading of this account. */
    if (p->after[0] != '\0')
        snprintf(query, sizeof(query), "limit=%d&after=%s", PAGE, p->after);
    else
        snprintf(query, sizeof(query), "limit=%d", PAGE);
    p->attempt = attempt_start(p->reconcile->worker, &spec);
    if (p->attempt == NULL)
        p->reconcile->complete = false;
    return p->attempt != NULL;
}

static void end_look(struct reconcile *r)
{
    r->looks++;
    if (r->best.batch == NULL && r->patient && r->looks < LOOKS &&
        loop_timer_start(r->worker->loop, &r->timer, look_after_ms[r->looks]) == 0)
        return;
    finish(r);
}

/* As many accounts as may be read at once; the end, when there is none left. */
static void go_on(struct reconcile *r)
{
    while (r->running < MAX_AT_ONCE && r->next < r->num) {
        struct place *p = &r->places[r->next++];

        p->pages = 0;
        p->after[0] = '\0';
        if (ask(p))
            r->running++;
    }
    if (r->running == 0)
        end_look(r);
}

/* Takes the document. */
static void keep_best(struct reconcile *r, struct json_doc *doc,
                      const struct reconcile_result *found)
{
    if (r->best.batch != NULL && created_at(r->best.batch) >= created_at(found->batch)) {
        json_doc_free(doc);
        return;
    }
    json_doc_free(r->best_doc);
    r->best_doc = doc;
    r->best = *found;
}

static void on_list(void *arg, const struct attempt_result *result)
{
    struct place *p = arg;
    struct reconcile *r = p->reconcile;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct reconcile_result found = {0};
    enum page_end end = doc != NULL ? read_page(p, doc, result->upstream, &found) : PAGE_UNREADABLE;

    p->attempt = NULL;
    p->pages++;
    if (end == PAGE_FOUND)
        keep_best(r, doc, &found);
    else
        json_doc_free(doc);
    if (end == PAGE_FOUND && r->nonce[0] != '\0') {
        finish(r);
        return;
    }
    if (end == PAGE_MORE && p->pages < MAX_PAGES && ask(p))
        return;
    if (end == PAGE_LAST)
        p->whole = true;
    else if (end != PAGE_FOUND)
        r->complete = false;
    r->running--;
    go_on(r);
}

static void on_timer(struct loop_timer *timer)
{
    struct reconcile *r = timer->arg;

    r->next = 0;
    r->complete = true;
    go_on(r);
}

static bool copy_places(struct reconcile *r, const struct reconcile_spec *spec)
{
    r->places = calloc(spec->num, sizeof(*r->places));
    if (r->places == NULL)
        return false;
    r->num = spec->num;
    for (uint32_t i = 0; i < spec->num; i++) {
        r->places[i].reconcile = r;
        r->places[i].deployment = spec->deployments[i];
    }
    return true;
}

struct reconcile *reconcile_start(struct worker *worker, const struct reconcile_spec *spec,
                                  reconcile_done_cb on_done, void *arg)
{
    struct reconcile *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->worker = worker;
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
    if (copy_places(r, spec) &&
        loop_timer_start(worker->loop, &r->timer, spec->patient ? look_after_ms[0] : 0) == 0)
        return r;
    reconcile_free(r);
    return NULL;
}
