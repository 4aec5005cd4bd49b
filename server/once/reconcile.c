/* See reconcile.h. The provider may still be working on the create when its connection breaks, so
 * one look is not enough; a batch that appears after the last look is what the client's error
 * message warns of.
 *
 *   look ──► accounts, some at a time, through their readers ──► all read ──► nothing: next look
 *                          └─► found: the end                       └─► the newest that was found
 *
 * A nonce names one batch, so the first account that has it ends the search. What is known by its
 * request, or by what it is made from, may be there several times, and the newest is meant: all
 * accounts are read then. */
#include "once/reconcile.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "batch_reader.h"

#define MAX_AT_ONCE 4 /* accounts */

static const uint32_t look_after_ms[] = {50, 500, 2000};
#define LOOKS (sizeof(look_after_ms) / sizeof(look_after_ms[0]))

struct reconcile {
    struct runtime *rt;          /* borrowed */
    struct batch_query *queries; /* owned; one for each account */
    uint32_t num, next;          /* ... the first one that this look has not begun */
    uint32_t running;
    struct wanted wanted;
    bool patient;
    size_t looks; /* made */
    bool complete, unsure, conflict;
    bool failed;         /* for want of memory: what was found cannot be shown */
    struct strbuf found; /* the text of the newest that was; empty: none */
    int64_t found_s;     /* ... its time, and where it is */
    uint32_t found_at;
    struct loop_timer timer;
    reconcile_done_cb on_done;
    void *arg; /* borrowed */
};

static void reconcile_free(struct reconcile *r)
{
    for (uint32_t i = 0; r->queries != NULL && i < r->num; i++)
        batch_reader_forget(&r->queries[i]);
    loop_timer_stop(r->rt->loop, &r->timer);
    strbuf_deinit(&r->found);
    free(r->queries);
    free(r);
}

void reconcile_cancel(struct reconcile *r)
{
    reconcile_free(r);
}

static enum reconcile_end end_of(const struct reconcile *r, const struct json *batch)
{
    if (batch != NULL)
        return RECONCILE_FOUND;
    if (r->conflict)
        return RECONCILE_CONFLICT;
    if (!r->complete || r->failed || r->found.len > 0)
        return RECONCILE_UNREAD;
    return r->unsure ? RECONCILE_UNSURE : RECONCILE_NOTHING;
}

static void finish(struct reconcile *r)
{
    reconcile_done_cb on_done = r->on_done;
    void *arg = r->arg;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct reconcile_result result = {.deployment = r->found_at, .doc = doc};

    if (doc != NULL && r->found.len > 0 && !strbuf_failed(&r->found))
        result.batch = json_parse(doc, strbuf_str(&r->found), r->found.len, &error);
    result.end = end_of(r, result.batch);
    reconcile_free(r);
    on_done(arg, &result);
    json_doc_free(doc);
}

/* --- what comes by --- */

static void keep_newest(struct reconcile *r, const struct batch_query *query,
                        const struct batch_seen *seen)
{
    if (r->found.len > 0 && r->found_s >= seen->created_s)
        return;
    strbuf_reset(&r->found);
    strbuf_add(&r->found, seen->text, seen->len);
    r->failed = strbuf_failed(&r->found);
    r->found_s = seen->created_s;
    r->found_at = query->deployment;
}

static bool on_batch(struct batch_query *query, const struct batch_seen *seen)
{
    struct reconcile *r = query->arg;

    switch (wanted_match(&r->wanted, seen->batch, seen->marker)) {
    case WANTED_YES:
        keep_newest(r, query, seen);
        return r->wanted.nonce[0] != '\0'; /* of several the newest, in whatever order they come */
    case WANTED_CONFLICT:
        r->conflict = true;
        return true;
    case WANTED_MAYBE:
        r->unsure = true;
        return false;
    case WANTED_NO:
        break;
    }
    return false;
}

/* --- the way through the accounts --- */

static void end_look(struct reconcile *r)
{
    assert(r->running == 0 && r->next == r->num);
    r->looks++;
    if (r->found.len == 0 && !r->conflict && r->patient && r->looks < LOOKS &&
        loop_timer_start(r->rt->loop, &r->timer, look_after_ms[r->looks]) == 0)
        return;
    finish(r);
}

/* As many accounts as may be read at once; the end, when there is none left. */
static void go_on(struct reconcile *r)
{
    while (r->running < MAX_AT_ONCE && r->next < r->num) {
        if (batch_reader_ask(r->rt, &r->queries[r->next++]))
            r->running++;
        else
            r->complete = false;
    }
    if (r->running == 0)
        end_look(r);
}

static void on_end(struct batch_query *query, enum batch_read end)
{
    struct reconcile *r = query->arg;

    assert(r->running > 0 && r->running <= MAX_AT_ONCE);
    r->running--;
    if (end == BATCH_READ_FAILED)
        r->complete = false;
    if (end == BATCH_READ_ENOUGH)
        finish(r);
    else
        go_on(r);
}

static void on_timer(struct loop_timer *timer)
{
    struct reconcile *r = timer->arg;

    assert(r->running == 0 && r->looks < LOOKS);
    r->next = 0;
    r->complete = true;
    r->unsure = false;
    go_on(r);
}

static bool make_queries(struct reconcile *r, const struct reconcile_spec *spec)
{
    int64_t now_ms = (int64_t)loop_now_ms(r->rt->loop);

    r->queries = calloc(spec->num + 1u, sizeof(*r->queries));
    if (r->queries == NULL)
        return false;
    r->num = spec->num;
    for (uint32_t i = 0; i < spec->num; i++)
        r->queries[i] = (struct batch_query){.deployment = spec->deployments[i],
                                             .wanted = &r->wanted,
                                             .limit_ms = now_ms - (int64_t)spec->age_s * 1000,
                                             .known_since_ms = spec->known_since_ms,
                                             .on_batch = on_batch,
                                             .on_end = on_end,
                                             .arg = r};
    return true;
}

struct reconcile *reconcile_start(struct runtime *rt, const struct reconcile_spec *spec,
                                  reconcile_done_cb on_done, void *arg)
{
    struct reconcile *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->rt = rt;
    r->wanted = *spec->wanted;
    r->patient = spec->patient;
    r->on_done = on_done;
    r->arg = arg;
    r->timer.cb = on_timer;
    r->timer.arg = r;
    if (make_queries(r, spec) &&
        loop_timer_start(rt->loop, &r->timer, spec->patient ? look_after_ms[0] : 0) == 0)
        return r;
    reconcile_free(r);
    return NULL;
}
