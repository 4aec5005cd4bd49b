/* See read/long_poll.h. A batch that is waited for is kept for as long as anybody waits; its timer
 * runs between two questions to its provider. Whoever is woken takes a slice of his own and leaves
 * the list when it runs: until then the batch stays. */
#include "read/long_poll.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/poll_cache.h"
#include "calls/attempt.h"
#include "common/strbuf.h"
#include "objects/ledger.h"
#include "objects/moved.h"
#include "objects/polls.h"

#define STATE_BYTES 160 /* of what a state's number is made from */

struct long_poll_batch {
    LIST_ENTRY(long_poll_batch) link; /* in its bucket */
    struct runtime *rt;               /* borrowed */
    struct attempt *attempt;          /* owned; NULL: no question is under way */
    struct loop_timer timer;          /* until the next one */
    struct strbuf text;               /* owned; as the provider sent it last */
    uint64_t moment, state;           /* of `text`: from before it was asked for; what it says */
    uint64_t asked;                   /* the moment of the question under way */
    TAILQ_HEAD(, long_poll) waiters;
    uint64_t key;
    uint32_t deployment, num, users; /* waiting; and whoever reads `text` just now */
    bool failed;                     /* the last question was not answered well */
    char id[];                       /* native */
};

uint64_t long_poll_state(const struct json *batch)
{
    static const char *const counted[] = {"total", "completed", "failed"};
    const struct json *counts = json_get(batch, "request_counts");
    const char *status = json_get_str(batch, "status");
    char text[STATE_BYTES];
    int len = snprintf(text, sizeof(text), "%.64s", status != NULL ? status : "");

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        int64_t count = -1;

        if (!json_int64(json_get(counts, counted[i]), &count))
            count = -1;
        len += snprintf(text + len, sizeof(text) - (size_t)len, " %" PRId64, count);
    }
    return poll_cache_key(0, text, (size_t)len);
}

static uint64_t key_of(const struct runtime *rt, uint32_t deployment, const char *native)
{
    return poll_cache_key(runtime_fingerprint(rt, deployment), native, strlen(native));
}

static struct long_poll_batch *find(const struct runtime *rt, uint32_t deployment,
                                    const char *native)
{
    uint64_t key = key_of(rt, deployment, native);
    struct long_poll_batch *b;

    LIST_FOREACH(b, &rt->long_polls[key % RUNTIME_LONG_POLL_BUCKETS], link)
    if (b->key == key && b->deployment == deployment && strcmp(b->id, native) == 0)
        return b;
    return NULL;
}

static void release(struct long_poll_batch *b)
{
    assert(b->users > 0);
    if (--b->users > 0)
        return;
    assert(b->num == 0);
    LIST_REMOVE(b, link);
    if (b->attempt != NULL)
        attempt_cancel(b->attempt);
    loop_timer_stop(b->rt->loop, &b->timer);
    strbuf_deinit(&b->text);
    free(b);
}

/* --- who waits --- */

static void leave(struct runtime *rt, struct long_poll *poll)
{
    struct long_poll_batch *b = poll->batch;

    poll->batch = NULL;
    TAILQ_REMOVE(&b->waiters, poll, link);
    slices_remove(&rt->slices, &poll->slice);
    loop_timer_stop(rt->loop, &poll->timer);
    b->num--;
    rt->num_long_polls--;
    share_sub(poll->share, SHARE_LONG_POLLS, 1);
}

void long_poll_end(struct runtime *rt, struct long_poll *poll)
{
    struct long_poll_batch *b = poll->batch;

    if (b == NULL)
        return;
    leave(rt, poll);
    release(b);
}

/* Nobody has changed it since. */
static bool is_good(const struct long_poll_batch *b)
{
    return !b->failed && b->text.len > 0 &&
           poll_cache_is_current(b->rt->inherited->poll_cache, b->key, b->moment);
}

static struct long_poll_view view_of(const struct long_poll_batch *b)
{
    return (struct long_poll_view){b->text.data, b->text.len, b->moment};
}

/* The callback may end the last other one that waits: the text stays until it has returned. */
static void tell(struct long_poll *poll)
{
    struct long_poll_batch *b = poll->batch;
    struct long_poll_view view = view_of(b);

    leave(b->rt, poll);
    poll->on_over(poll->arg, is_good(b) ? &view : NULL);
    release(b);
}

static void on_slice(struct slice *slice)
{
    tell(slice->arg);
}

static int wake(struct long_poll *poll)
{
    struct runtime *rt = poll->batch->rt;

    return slices_add(&rt->slices, rt->loop, &poll->slice);
}

/* Those who know another state than this. Where there is no memory for a slice, the time of who waits
 * will be over. */
static void wake_others(struct long_poll_batch *b, uint64_t state)
{
    struct long_poll *poll;

    TAILQ_FOREACH(poll, &b->waiters, link)
    if (poll->state != state && wake(poll) != 0)
        return;
}

static void on_time_over(struct loop_timer *timer)
{
    struct long_poll *poll = timer->arg;

    if (wake(poll) != 0)
        tell(poll);
}

/* --- what is waited for --- */

/* What its clients are shown of it. One that failed late and goes elsewhere has not changed for them
 * (objects/moved.h), until it is there: then who waits has to wait there. */
static uint64_t state_of(const struct long_poll_batch *b, struct json_doc *doc, struct json *batch)
{
    struct marker marker;
    bool marked;
    uint64_t away;

    if (ledger_phase_of(batch) != LEDGER_DROPPED)
        return long_poll_state(batch);
    marked = ledger_marker(b->rt->inherited->seals, batch, &marker);
    away = moved_hide_failure(b->rt, b->deployment, marked ? &marker : NULL, doc, batch) &&
           moved_is_away(b->rt, b->deployment, marked ? &marker : NULL, b->id);
    return long_poll_state(batch) + away;
}

/* @return 0: it is no batch */
static uint64_t read_state(struct long_poll_batch *b, const struct long_poll_view *view)
{
    struct runtime *rt = b->rt;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch =
        doc != NULL && view->len > 0 ? json_parse(doc, view->text, view->len, &error) : NULL;
    uint64_t state = 0;

    if (json_is(batch, JSON_OBJECT) && json_get_str(batch, "id") != NULL)
        state = state_of(b, doc,
                         polls_believe(rt->inherited, runtime_fingerprint(rt, b->deployment), doc,
                                       batch, loop_now_ms(rt->loop), view->moment));
    json_doc_free(doc);
    return state;
}

static bool keep(struct long_poll_batch *b, const struct long_poll_view *view, uint64_t state)
{
    if (view->text != b->text.data) {
        strbuf_reset(&b->text);
        strbuf_add(&b->text, view->text, view->len);
    }
    b->moment = view->moment;
    b->state = state;
    b->failed = strbuf_failed(&b->text);
    return !b->failed;
}

/* It was seen: wake who knows another state. What was asked for before the last look is no news.
 * @return its state; 0: it is no batch, or there is no memory */
static uint64_t see(struct long_poll_batch *b, const struct long_poll_view *view)
{
    uint64_t state = read_state(b, view);

    if (state == 0 || (b->text.len > 0 && view->moment < b->moment))
        return state;
    if (!keep(b, view, state))
        return 0;
    wake_others(b, state);
    return state;
}

static void look_later(struct long_poll_batch *b)
{
    struct runtime *rt = b->rt;

    if (loop_timer_start(rt->loop, &b->timer, rt->config->timeouts.long_poll_ms) != 0)
        b->failed = true; /* nobody looks: whose time is over asks himself */
}

static void on_looked(void *arg, const struct attempt_result *result)
{
    struct long_poll_batch *b = arg;
    struct long_poll_view view = {result->upstream->body, result->upstream->body_len, b->asked};

    b->attempt = NULL;
    b->failed = !result->ok || see(b, &view) == 0;
    look_later(b);
}

/* Looks ask for no place: they leave half of the worker's calls to requests. */
static bool is_busy(const struct runtime *rt)
{
    size_t active = upstream_active(rt->upstream) + rt->calls_waiting + rt->calls_shared;
    uint32_t limit = rt->config->limits.max_upstream_calls;

    return limit != 0 && active >= limit - limit / 2;
}

static void on_timer(struct loop_timer *timer)
{
    struct long_poll_batch *b = timer->arg;
    struct attempt_spec spec = {.deployment = b->deployment,
                                .call = CALL_BATCH_GET,
                                .id = b->id,
                                .on_done = on_looked,
                                .arg = b};

    assert(b->attempt == NULL);
    b->asked = polls_moment(b->rt->inherited);
    if (!is_busy(b->rt))
        b->attempt = attempt_start(b->rt, &spec);
    if (b->attempt == NULL) { /* whose time is over asks himself */
        b->failed = true;
        look_later(b);
    }
}

/* With one user, who is about to wait. */
static struct long_poll_batch *batch_new(struct runtime *rt, uint32_t deployment,
                                         const char *native)
{
    size_t bytes = strlen(native) + 1;
    struct long_poll_batch *b = calloc(1, sizeof(*b) + bytes);

    if (b == NULL)
        return NULL;
    b->rt = rt;
    b->deployment = deployment;
    b->key = key_of(rt, deployment, native);
    b->users = 1;
    TAILQ_INIT(&b->waiters);
    b->timer.cb = on_timer;
    b->timer.arg = b;
    memcpy(b->id, native, bytes);
    LIST_INSERT_HEAD(&rt->long_polls[b->key % RUNTIME_LONG_POLL_BUCKETS], b, link);
    if (loop_timer_start(rt->loop, &b->timer, rt->config->timeouts.long_poll_ms) != 0) {
        release(b);
        return NULL;
    }
    return b;
}

bool long_poll_seen(const struct runtime *rt, uint32_t deployment, const char *native,
                    struct long_poll_view *out)
{
    const struct long_poll_batch *b = find(rt, deployment, native);

    if (b == NULL || !is_good(b))
        return false;
    *out = view_of(b);
    return true;
}

static bool has_room(const struct runtime *rt, const struct long_poll *poll)
{
    return !rt->draining && rt->num_long_polls < LONG_POLLS_MOST &&
           share_may(poll->share, SHARE_LONG_POLLS, 1, rt->num_long_polls, LONG_POLLS_MOST);
}

/* @param b  with a user for it. @return 0, ERR_NOMEM */
static int wait_for(struct long_poll_batch *b, struct long_poll *poll, uint64_t wait_ms)
{
    struct runtime *rt = b->rt;

    poll->timer.cb = on_time_over;
    poll->timer.arg = poll;
    if (loop_timer_start(rt->loop, &poll->timer, wait_ms) != 0)
        return ERR_NOMEM;
    poll->slice = (struct slice){.cb = on_slice, .arg = poll, .flow = share_flow(poll->share)};
    poll->batch = b;
    TAILQ_INSERT_TAIL(&b->waiters, poll, link);
    b->num++;
    rt->num_long_polls++;
    share_add(poll->share, SHARE_LONG_POLLS, 1);
    return 0;
}

int long_poll_begin(struct runtime *rt, uint32_t deployment, const char *native,
                    const struct long_poll_view *view, uint64_t wait_ms, struct long_poll *poll)
{
    struct long_poll_batch *b;
    int rc;

    assert(poll->batch == NULL);
    if (!has_room(rt, poll))
        return ERR_FULL;
    b = find(rt, deployment, native);
    if (b != NULL)
        b->users++;
    else if ((b = batch_new(rt, deployment, native)) == NULL)
        return ERR_NOMEM;
    poll->state = see(b, view);
    rc = poll->state != 0 ? wait_for(b, poll, wait_ms) : ERR_SYNTAX;
    if (rc != 0)
        release(b);
    else if (poll->state != b->state)
        wake_others(b, b->state);
    return rc;
}

void long_poll_drain(struct runtime *rt)
{
    for (size_t i = 0; i < RUNTIME_LONG_POLL_BUCKETS; i++) {
        struct long_poll_batch *b;

        LIST_FOREACH(b, &rt->long_polls[i], link)
        wake_others(b, 0);
    }
}
