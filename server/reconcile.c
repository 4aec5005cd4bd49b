/* See reconcile.h. The provider may still be working on the create when its connection breaks, so
 * one look is not enough; a batch that appears after the last look is what the client's error
 * message warns of.
 *
 *   look ──► accounts, some at a time: page, page, ... ──► all read ──► nothing: the next look
 *                          └─► found: the end                └─► the newest of what was found
 *
 * What was read is kept in the worker's read_log: an account of which a day was read is asked only
 * for what is newer, by the next look and by the next search.
 *
 * How old a batch is, its provider's clock tells, which may be far from ours and may jump
 * meanwhile: ages are kept as moments of our monotonic clock, and turned into the provider's time
 * when a page has come, whose own `Date` is known by then (server/provider_clock.h).
 *
 * A nonce names one batch, so the first account that has it ends the search. An owner and a request
 * may name several, of which the newest is meant: all accounts are read then. */
#include "server/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/upstream/normal.h"
#include "server/attempt.h"
#include "server/ledger.h"
#include "server/listing_scan.h"
#include "server/provider_clock.h"

#define PAGE 100 /* the most that both providers give */
#define MAX_PAGES                                                                                  \
    500 /* of one account in one look: a day and five minutes of 2000 creates an hour (reference   \
           1.3) */
#define MAX_AT_ONCE 4 /* accounts */
#define ROUNDING_S  2 /* what whole seconds may hide of a moment: theirs, and ours */

static const uint32_t look_after_ms[] = {50, 500, 2000};
#define LOOKS (sizeof(look_after_ms) / sizeof(look_after_ms[0]))

/* One account in the look that is under way. */
struct place {
    struct reconcile *reconcile; /* borrowed */
    uint32_t deployment;
    struct attempt *attempt;   /* owned; NULL: not begun, or at its end */
    unsigned pages;            /* read */
    char first[IDS_MAX + 1];   /* id of the first batch of the page before */
    char after[IDS_MAX + 1];   /* cursor; "" from the top */
    int64_t from_ms, begun_ms; /* monotonic: since when it is read, and how far back */
    uint32_t forgotten;        /* of its log, then */
    /* The page that came: */
    bool reading;
    struct strbuf text; /* owned */
    struct listing_scan scan;
    char begins[IDS_MAX + 1], ends[IDS_MAX + 1]; /* ids of its first and last batch so far; "":
                                                    that one has none */
    int64_t oldest;                              /* Unix seconds; INT64_MAX: none tells */
};

struct reconcile {
    struct worker *worker; /* borrowed */
    struct place *places;  /* owned */
    uint32_t num, next;    /* ... the first one that this look has not begun */
    uint32_t running;
    char nonce[MARKER_NONCE + 1]; /* "": by owner and request */
    uint64_t owner, request;
    int64_t limit_ms; /* monotonic; what was made before is of no interest */
    uint64_t known_since_ms;
    bool patient;
    size_t looks; /* made */
    bool complete;
    struct json_doc *best_doc; /* owned; of the next, the newest that was found */
    struct reconcile_result best;
    struct loop_timer timer;
    struct slice slice; /* of the pages that came ... */
    uint32_t turn;      /* ... whose was looked at last */
    reconcile_done_cb on_done;
    void *arg; /* borrowed */
};

static void drop_page(struct place *p)
{
    p->reading = false;
    listing_scan_deinit(&p->scan);
    strbuf_deinit(&p->text);
}

static void reconcile_free(struct reconcile *r)
{
    for (uint32_t i = 0; r->places != NULL && i < r->num; i++) {
        if (r->places[i].attempt != NULL)
            attempt_cancel(r->places[i].attempt);
        drop_page(&r->places[i]);
    }
    loop_timer_stop(r->worker->loop, &r->timer);
    slices_remove(&r->worker->slices, &r->slice);
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

/* --- what was read before --- */

static struct read_log *log_of(const struct place *p)
{
    const struct worker *w = p->reconcile->worker;

    return &w->read_logs[w->account_twin[table_deployment(w->table, p->deployment)->account]];
}

/* The earliest time that the provider may have told at a moment of the monotonic clock. */
static int64_t told_at(const struct place *p, int64_t moment_ms)
{
    const struct worker *w = p->reconcile->worker;
    int64_t ago_ms = (int64_t)loop_now_ms(w->loop) - moment_ms;

    return provider_clock_floor_s(w->inherit, p->deployment) - ago_ms / 1000 - ROUNDING_S;
}

/* Whether the nonce is known not to be among the account's batches up to log_of(p)->to_ms. */
static bool is_excluded(const struct place *p)
{
    const struct reconcile *r = p->reconcile;

    return r->nonce[0] != '\0' && read_log_excludes(log_of(p), r->nonce, r->limit_ms);
}

static void begin_place(struct place *p)
{
    const struct reconcile *r = p->reconcile;
    const struct read_log *log = log_of(p);

    p->pages = 0;
    p->after[0] = '\0';
    p->begun_ms = (int64_t)loop_now_ms(r->worker->loop);
    p->forgotten = log->forgotten;
    p->from_ms = r->limit_ms;
    if (is_excluded(p) && log->to_ms - READ_LOG_SLACK_S * 1000 > p->from_ms)
        p->from_ms = log->to_ms - READ_LOG_SLACK_S * 1000;
}

/* Nothing new can be learned there. */
static bool is_settled(const struct place *p)
{
    const struct reconcile *r = p->reconcile;

    return r->known_since_ms != 0 && is_excluded(p) &&
           log_of(p)->to_ms >= (int64_t)r->known_since_ms;
}

static void end_place(struct place *p)
{
    read_log_note(log_of(p), p->forgotten, p->from_ms, p->begun_ms);
}

/* --- what a page says --- */

/* An older one with the same words is of an earlier day: who asks now wants another one. */
static bool is_wanted(struct place *p, const struct json *batch, struct marker *marker)
{
    const struct reconcile *r = p->reconcile;
    int64_t t = created_at(batch);

    if ((t != 0 && t < told_at(p, r->limit_ms)) ||
        !ledger_marker(r->worker->inherit->seals, batch, marker))
        return false;
    read_log_add(log_of(p), marker->nonce);
    if (r->nonce[0] != '\0')
        return strcmp(marker->nonce, r->nonce) == 0;
    return marker->owner == r->owner && marker->request == r->request;
}

enum page_end { PAGE_FOUND, PAGE_MORE, PAGE_LAST, PAGE_UNREADABLE };

/* Whether the provider has another page. One that ignores `after` gives the first page for ever. */
static enum page_end what_follows(struct place *p)
{
    bool more, told;

    if (listing_scan_rest(&p->scan, &more, &told) != 0)
        return PAGE_UNREADABLE;
    if (!more || p->oldest < told_at(p, p->from_ms))
        return PAGE_LAST;
    if (p->begins[0] == '\0' || p->ends[0] == '\0')
        return PAGE_UNREADABLE;
    if (p->pages > 0 && strcmp(p->begins, p->first) == 0)
        return told ? PAGE_UNREADABLE : PAGE_LAST;
    memcpy(p->first, p->begins, sizeof(p->first));
    memcpy(p->after, p->ends, sizeof(p->after));
    return PAGE_MORE;
}

static void note_id(struct place *p, const struct json *batch)
{
    const char *id = json_get_str(batch, "id");

    if (id == NULL || strlen(id) > IDS_MAX)
        id = "";
    memcpy(p->ends, id, strlen(id) + 1);
    if (p->scan.num == 1)
        memcpy(p->begins, id, strlen(id) + 1);
}

#define FOUND 2 /* beside what listing_scan_slice() returns */

struct looking { /* at one slice */
    struct place *place;
    struct reconcile_result *found;
};

static int look_at(void *arg, struct json_doc *doc, struct json *batch, const char *text,
                   size_t len)
{
    const struct looking *looking = arg;
    struct place *p = looking->place;
    struct reconcile_result *found = looking->found;
    int64_t t = created_at(batch);

    (void)text;
    (void)len;
    note_id(p, batch);
    if (is_wanted(p, batch, &found->marker)) {
        found->deployment = p->deployment;
        found->doc = doc;
        found->batch = batch;
        return FOUND;
    }
    if (t != 0)
        p->oldest = t;
    return 0;
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

        begin_place(p);
        if (!is_settled(p) && ask(p))
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

/* @param doc  taken; of what was found */
static void end_page(struct place *p, enum page_end end, struct json_doc *doc,
                     const struct reconcile_result *found)
{
    struct reconcile *r = p->reconcile;

    drop_page(p);
    p->pages++;
    if (end == PAGE_FOUND)
        keep_best(r, doc, found);
    if (end == PAGE_FOUND && r->nonce[0] != '\0') {
        finish(r);
        return;
    }
    if (end == PAGE_MORE && p->pages < MAX_PAGES && ask(p))
        return;
    if (end == PAGE_LAST)
        end_place(p);
    else if (end != PAGE_FOUND)
        r->complete = false;
    r->running--;
    go_on(r);
}

/* The next place with a page to read; NULL: none. */
static struct place *next_turn(const struct reconcile *r)
{
    for (uint32_t i = 1; i <= r->num; i++) {
        struct place *p = &r->places[(r->turn + i) % r->num];

        if (p->reading)
            return p;
    }
    return NULL;
}

/* @return false: the search has ended */
static bool wait_for_turn(struct reconcile *r)
{
    if (slices_add(&r->worker->slices, r->worker->loop, &r->slice) == 0)
        return true;
    r->complete = false;
    finish(r);
    return false;
}

static enum page_end page_end_of(struct place *p, int rc)
{
    if (rc == FOUND)
        return PAGE_FOUND;
    return rc == 0 ? what_follows(p) : PAGE_UNREADABLE;
}

static void on_slice(struct slice *slice)
{
    struct reconcile *r = slice->arg;
    struct place *p = next_turn(r);
    struct json_doc *doc = json_doc_new();
    struct reconcile_result found = {0};
    struct looking looking = {p, &found};
    int rc = listing_scan_slice(&p->scan, doc, look_at, &looking);

    r->turn = (uint32_t)(p - r->places);
    p->reading = rc == LISTING_SCAN_MORE;
    if (rc != FOUND) {
        json_doc_free(doc);
        doc = NULL;
    }
    /* In the queue before the page ends, since that may end the search. */
    if (next_turn(r) != NULL && !wait_for_turn(r))
        json_doc_free(doc);
    else if (rc != LISTING_SCAN_MORE)
        end_page(p, page_end_of(p, rc), doc, &found);
}

static void on_list(void *arg, const struct attempt_result *result)
{
    struct place *p = arg;

    p->attempt = NULL;
    if (result->ok)
        strbuf_add(&p->text, result->upstream->body, result->upstream->body_len);
    if (!result->ok || strbuf_failed(&p->text)) {
        end_page(p, PAGE_UNREADABLE, NULL, NULL);
        return;
    }
    listing_scan_init(&p->scan, strbuf_str(&p->text), p->text.len);
    p->oldest = INT64_MAX;
    p->begins[0] = p->ends[0] = '\0';
    p->reading = true;
    (void)wait_for_turn(p->reconcile);
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
    struct worker *w = r->worker;

    if (w->read_logs == NULL)
        w->read_logs = calloc(w->config->models.num_accounts + 1, sizeof(*w->read_logs));
    r->places = calloc(spec->num, sizeof(*r->places));
    if (r->places == NULL || w->read_logs == NULL)
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
    r->limit_ms = (int64_t)loop_now_ms(worker->loop) - (int64_t)spec->age_s * 1000;
    r->known_since_ms = spec->known_since_ms;
    r->patient = spec->patient;
    r->on_done = on_done;
    r->arg = arg;
    r->timer.cb = on_timer;
    r->timer.arg = r;
    r->slice = (struct slice){.cb = on_slice, .arg = r};
    if (copy_places(r, spec) &&
        loop_timer_start(worker->loop, &r->timer, spec->patient ? look_after_ms[0] : 0) == 0)
        return r;
    reconcile_free(r);
    return NULL;
}
