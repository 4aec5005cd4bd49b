/* See watch.h. A round of one account is one list (or none) and then single calls, one after the
 * other. A call that fails ends the round: what the round did not reach is due again in a minute,
 * and the account is quiet for a while (upkeep.h). */
#include "watch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "copies.h"
#include "due.h"
#include "file_count.h"
#include "pages.h"
#include "objects/moved.h"
#include "objects/owned.h"
#include "objects/polls.h"
#include "core/provider_clock.h"

#define TICKS            60 /* looks into the ledger in the time between two questions ... */
#define MIN_TICK_MS      10 /* ... within these */
#define MAX_TICK_MS      1000
#define LIST_QUERY       "limit=100"
#define ROUND_JITTER     10 /* rounds begin within a tenth of the time between two questions */
#define ORPHAN_JITTER_MS 500

struct watch;

/* One account's round. */
struct watch_round {
    struct watch *watch;
    struct upkeep_account *account;
    struct watch_item *items; /* owned */
    size_t num, cap;
    bool waiting, running; /* until `begin`, to which more may be added; and from then on */
    size_t at, asked;      /* the next item that may be asked for, and how many were */
    size_t turns;          /* items looked at so far: the first one is drawn by lot */
    uint64_t page_age_ms;
    uint64_t moment; /* polls_moment() when it began */
    struct loop_timer begin;
    uint32_t ended, adopted; /* since the round began */
    uint64_t tokens;         /* of those that have ended */
};

struct watch {
    struct upkeep *upkeep;
    struct watch_round *rounds; /* owned; one per account */
    struct watch_gone gone;
    struct loop_timer tick;
    uint32_t tick_ms, ask_ms;
};

/* --- decisions --- */

static uint64_t age_of(const struct watch_item *item, uint64_t now_ms)
{
    return now_ms > item->view.begun_ms ? now_ms - item->view.begun_ms : 0;
}

bool watch_wants_list(const struct watch_item *items, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (items[i].view.id[0] == '\0')
            return true;
    return num >= WATCH_LIST_FROM;
}

bool watch_reads_on(const struct watch_item *items, size_t num, uint64_t page_age_ms,
                    uint64_t now_ms)
{
    size_t missing = 0;

    for (size_t i = 0; i < num; i++) {
        const struct watch_item *item = &items[i];

        if (item->found || age_of(item, now_ms) + WATCH_SLACK_MS < page_age_ms)
            continue;
        missing += item->view.id[0] == '\0' ? WATCH_LIST_FROM : 1;
    }
    return missing >= WATCH_LIST_FROM;
}

uint32_t watch_patience_ms(uint32_t ask_ms)
{
    if (ask_ms / 2 > WATCH_ORPHAN_MS)
        return WATCH_ORPHAN_MS;
    return ask_ms / 2 > WATCH_ORPHAN_MIN_MS ? ask_ms / 2 : WATCH_ORPHAN_MIN_MS;
}

bool watch_gives_up(const struct watch_item *item, uint32_t patience_ms, bool whole,
                    uint64_t page_age_ms, uint64_t now_ms)
{
    return item->view.orphan && item->view.id[0] == '\0' && !item->found &&
           now_ms > item->view.orphan_ms + patience_ms &&
           (whole || page_age_ms > age_of(item, now_ms) + WATCH_SLACK_MS);
}

static bool is_gone_at(const struct watch_gone *gone, size_t i, uint32_t column, const char *id)
{
    return gone->seen[i].column == column + 1 && strcmp(gone->seen[i].id, id) == 0;
}

void watch_gone_not(struct watch_gone *gone, uint32_t column, const char *id)
{
    for (size_t i = 0; i < WATCH_REMEMBER_GONE; i++)
        if (is_gone_at(gone, i, column, id))
            gone->seen[i].column = 0;
}

bool watch_gone_again(struct watch_gone *gone, uint32_t column, const char *id)
{
    size_t at = WATCH_REMEMBER_GONE;

    for (size_t i = 0; i < WATCH_REMEMBER_GONE; i++) {
        if (is_gone_at(gone, i, column, id)) {
            gone->seen[i].column = 0;
            return true;
        }
        if (gone->seen[i].column == 0 && at == WATCH_REMEMBER_GONE)
            at = i;
    }
    if (at == WATCH_REMEMBER_GONE) {
        at = gone->next;
        gone->next = (gone->next + 1) % WATCH_REMEMBER_GONE;
    }
    gone->seen[at].column = column + 1;
    snprintf(gone->seen[at].id, sizeof(gone->seen[at].id), "%s", id);
    return false;
}

/* --- a round --- */

static void next_single(struct watch_round *r);

static struct quota *ledger(const struct watch_round *r)
{
    return r->account->upkeep->rt.inherited->quota;
}

static uint64_t now_of(const struct watch_round *r)
{
    return loop_now_ms(r->account->upkeep->rt.loop);
}

/* Unix seconds, as the account tells them. */
static int64_t provider_now_s(const struct watch_round *r)
{
    return provider_clock_now_s(r->account->upkeep->rt.inherited, r->account->deployment);
}

static void finish(struct watch_round *r)
{
    assert(r->running && !r->waiting);
    if (r->ended > 0)
        log_info("account %s: %u batches ended without being polled, %llu tokens released",
                 upkeep_account_name(r->account), r->ended, (unsigned long long)r->tokens);
    if (r->adopted > 0)
        log_info("account %s: %u batches found that the quota ledger did not know",
                 upkeep_account_name(r->account), r->adopted);
    r->num = 0;
    r->running = false;
}

static void note_end(struct watch_round *r, uint64_t tokens)
{
    r->ended++;
    r->tokens += tokens;
}

static void record(struct watch_round *r, uint32_t column, struct observation *s, uint64_t tokens)
{
    struct upkeep *upkeep = r->account->upkeep;
    enum observation_change change;

    observation_refund(upkeep->rt.inherited->config, s);
    change = observation_record(ledger(r), upkeep->rt.slot, column, s, tokens,
                                observation_age_ms(s, provider_now_s(r)), now_of(r));

    if (change == OBSERVATION_RELEASED) {
        note_end(r, tokens);
        observation_note_ended(upkeep->rt.inherited, column, r->account->fingerprint, s, tokens,
                               now_of(r));
        /* Nobody has looked at this batch since it ended. */
        if (!moved_needs_copy(upkeep->rt.inherited, r->account->fingerprint, s) &&
            copies_delete(r->account, s))
            file_count_forget(r->account, s->copy);
    }
    r->adopted += change == OBSERVATION_ADOPTED;
}

/* The due reservation that this batch is: by its id, or an orphan by its marker. */
static struct watch_item *find_item(struct watch_round *r, const struct observation *s)
{
    for (size_t i = 0; i < r->num; i++) {
        const struct quota_view *view = &r->items[i].view;

        if (view->id[0] != '\0'
                ? strcmp(view->id, s->id) == 0
                : s->marked && view->token != 0 &&
                      view->token == quota_token(ledger(r), view->column, s->marker.nonce,
                                                 strlen(s->marker.nonce)))
            return &r->items[i];
    }
    return NULL;
}

/* What a tenant's batch names is the tenant's, also when nobody polls it. */
static void see_files(const struct watch_round *r, const struct observation *s,
                      const struct json *batch)
{
    if (s->marked)
        owned_note_batch(r->account->upkeep->rt.inherited, r->account->fingerprint, s->marker.owner,
                         &s->marker, batch);
}

static void on_listed(void *arg, struct json_doc *doc, struct json *object)
{
    struct watch_round *r = arg;
    struct upkeep *upkeep = r->account->upkeep;
    struct watch_item *item;
    struct observation s;
    uint32_t deployment;
    uint64_t age_ms;

    object = polls_believe(upkeep->rt.inherited, r->account->fingerprint, doc, object, now_of(r),
                           r->moment);
    if (!observation_read(doc, object, upkeep->rt.inherited->seals, &s))
        return;
    see_files(r, &s, object);
    age_ms = observation_age_ms(&s, provider_now_s(r));
    if (age_ms > r->page_age_ms)
        r->page_age_ms = age_ms;
    item = find_item(r, &s);
    if (item != NULL) {
        item->found = true;
        watch_gone_not(&r->watch->gone, item->view.column, s.id);
        record(r, item->view.column, &s, item->view.tokens);
        return;
    }
    /* Of another gateway with the same seals, or of one whose answer was lost. */
    deployment = s.marked ? ledger_deployment(upkeep->rt.inherited, &s.marker) : MODEL_NO_INDEX;
    if (deployment != MODEL_NO_INDEX)
        record(r, upkeep->rt.inherited->columns[deployment], &s, s.marker.tokens);
}

static bool on_more(void *arg)
{
    struct watch_round *r = arg;

    return watch_reads_on(r->items, r->num, r->page_age_ms, now_of(r));
}

static void give_up_orphans(struct watch_round *r, bool whole)
{
    uint32_t orphans = 0, patience_ms = watch_patience_ms(r->watch->ask_ms);

    for (size_t i = 0; i < r->num; i++) {
        const struct quota_view *view = &r->items[i].view;

        r->items[i].missing = whole && !r->items[i].found;
        if (watch_gives_up(&r->items[i], patience_ms, whole, r->page_age_ms, now_of(r)) &&
            quota_release_view(ledger(r), r->account->upkeep->rt.slot, view, now_of(r)))
            orphans++;
    }
    if (orphans > 0)
        log_info(
            "account %s: %u creates of unknown outcome were not found: their tokens are released",
            upkeep_account_name(r->account), orphans);
}

static void on_list_end(void *arg, enum pages_end end, const char *why)
{
    struct watch_round *r = arg;

    if (end == PAGES_FAILED) {
        log_debug("account %s: its batches cannot be watched: %s", upkeep_account_name(r->account),
                  why);
        finish(r);
        return;
    }
    give_up_orphans(r, end == PAGES_WHOLE);
    next_single(r);
}

/* What a call for one batch has told about it. @return false: nothing, and the round is over */
static bool take_answer(struct watch_round *r, const struct watch_item *item,
                        const struct attempt_result *result)
{
    const struct quota_view *view = &item->view;
    struct upkeep *upkeep = r->account->upkeep;
    struct json *batch;
    struct json_doc *doc;
    struct json_error error;
    struct observation s;

    if (outcome_is_gone(result->upstream)) {
        /* A list that does not show it either is as good as a second answer. */
        if ((item->missing || watch_gone_again(&r->watch->gone, view->column, view->id)) &&
            quota_release(ledger(r), upkeep->rt.slot, view->column, view->id, strlen(view->id),
                          QUOTA_DROPPED, now_of(r)))
            note_end(r, view->tokens);
        return true;
    }
    if (!result->ok)
        return result->outcome == OUTCOME_OK; /* a 4xx about this one */
    doc = json_doc_new();
    if (doc == NULL)
        return false;
    batch = json_parse(doc, result->upstream->body, result->upstream->body_len, &error);
    if (observation_read(doc, batch, upkeep->rt.inherited->seals, &s) &&
        strcmp(s.id, view->id) == 0) {
        see_files(r, &s, batch);
        watch_gone_not(&r->watch->gone, view->column, view->id);
        record(r, view->column, &s, view->tokens);
    }
    json_doc_free(doc);
    return true;
}

static void on_single(void *arg, const struct attempt_result *result)
{
    struct watch_round *r = arg;

    assert(r->running && r->turns > 0 && r->turns <= r->num);
    if (take_answer(r, &r->items[(r->at + r->turns - 1) % r->num], result))
        next_single(r);
    else
        finish(r);
}

/* The round begins at an item drawn by lot, so that the last ones of a long table get their turn
 * too. */
static void next_single(struct watch_round *r)
{
    while (r->turns < r->num && r->asked < WATCH_MAX_SINGLES) {
        const struct watch_item *item = &r->items[(r->at + r->turns) % r->num];

        r->turns++;
        if (item->found || item->view.id[0] == '\0')
            continue;
        r->asked++;
        if (upkeep_call_start(r->account, CALL_BATCH_GET, item->view.id, NULL, on_single, r) == 0)
            return;
    }
    finish(r);
}

static void on_begin(struct loop_timer *timer)
{
    struct watch_round *r = timer->arg;
    struct pages_spec spec = {.account = r->account,
                              .call = CALL_BATCH_LIST,
                              .query = LIST_QUERY,
                              .paged = true,
                              .max_pages = WATCH_MAX_PAGES,
                              .on_object = on_listed,
                              .on_more = on_more,
                              .on_done = on_list_end,
                              .arg = r};

    assert(r->waiting && !r->running && r->num > 0);
    r->waiting = false;
    r->running = true;
    r->at = upkeep_random_below(r->account->upkeep, (uint32_t)r->num);
    r->turns = r->asked = 0;
    r->ended = r->adopted = 0;
    r->tokens = r->page_age_ms = 0;
    r->moment = polls_moment(r->account->upkeep->rt.inherited);
    if (!watch_wants_list(r->items, r->num))
        next_single(r);
    else if (pages_start(&spec) != 0)
        finish(r);
}

/* --- what is due --- */

static bool make_room(struct watch_round *r)
{
    size_t cap = r->cap != 0 ? r->cap * 2 : 16;
    struct watch_item *items;

    assert(r->num <= r->cap && r->cap <= WATCH_MAX_DUE);
    if (r->num < r->cap)
        return true;
    if (r->num == WATCH_MAX_DUE)
        return false;
    items = realloc(r->items, cap * sizeof(*items));
    if (items == NULL)
        return false;
    r->items = items;
    r->cap = cap;
    return true;
}

static bool has_orphan(const struct watch_round *r)
{
    for (size_t i = 0; i < r->num; i++)
        if (r->items[i].view.orphan)
            return true;
    return false;
}

/* When a round that is wanted begins: within a tenth of the time between two questions, so that
 * many gateways do not ask at once; but who looks for an orphan is in a hurry. */
static uint32_t round_delay_ms(const struct watch_round *r)
{
    uint32_t within_ms = r->watch->ask_ms / ROUND_JITTER;

    if (has_orphan(r) && within_ms > ORPHAN_JITTER_MS)
        within_ms = ORPHAN_JITTER_MS;
    return upkeep_random_below(r->account->upkeep, within_ms);
}

/* Somebody of the fleet looks at it. An orphan has no batch yet, and one whose lease has ended is let
 * go of: about those the provider is asked in any case. */
static bool is_left_to_fleet(const struct watch *w, const struct quota_view *view)
{
    uint64_t round = loop_now_ms(w->upkeep->rt.loop) / w->ask_ms;

    return !view->orphan && !view->last_call && (view->entry + round) % WATCH_SELDOM != 0 &&
           due_is_served(w->upkeep);
}

/* What cannot be asked about now was marked as asked, and is due the next time. */
static void collect(struct watch *w)
{
    const struct upkeep *upkeep = w->upkeep;
    struct quota_view view;
    uint32_t cursor = 0;

    while (quota_watch(upkeep->rt.inherited->quota, &cursor, loop_now_ms(upkeep->rt.loop), &view)) {
        uint32_t deployment =
            view.column < upkeep->num_columns ? upkeep->deployment_of[view.column] : MODEL_NO_INDEX;
        struct watch_round *r;

        if (deployment == MODEL_NO_INDEX)
            continue; /* no longer in the configuration: its lease will end it */
        if (is_left_to_fleet(w, &view))
            continue;
        r = &w->rounds[table_deployment(upkeep->rt.inherited->table, deployment)->account];
        if (r->running || upkeep_account_is_quiet(r->account) || !make_room(r))
            continue;
        r->items[r->num++] = (struct watch_item){.view = view};
    }
}

static void on_tick(struct loop_timer *timer)
{
    struct watch *w = timer->arg;

    collect(w);
    for (size_t i = 0; i < w->upkeep->num_accounts; i++) {
        struct watch_round *r = &w->rounds[i];

        if (r->waiting || r->running || r->num == 0)
            continue;
        r->waiting = loop_timer_start(w->upkeep->rt.loop, &r->begin, round_delay_ms(r)) == 0;
        if (!r->waiting)
            r->num = 0;
    }
    (void)loop_timer_start(w->upkeep->rt.loop, timer,
                           w->tick_ms); /* cannot fail: slot just freed */
}

int watch_start(struct upkeep *upkeep)
{
    struct watch *w = calloc(1, sizeof(*w));
    uint32_t ask_ms = upkeep->rt.inherited->config->timeouts.watch_ms;

    if (w == NULL)
        return ERR_NOMEM;
    w->rounds = calloc(upkeep->num_accounts + 1, sizeof(*w->rounds));
    if (w->rounds == NULL) {
        free(w);
        return ERR_NOMEM;
    }
    upkeep->watch = w;
    w->upkeep = upkeep;
    w->ask_ms = ask_ms != 0 ? ask_ms : QUOTA_ASK_MS;
    w->tick_ms = w->ask_ms / TICKS;
    if (w->tick_ms < MIN_TICK_MS)
        w->tick_ms = MIN_TICK_MS;
    if (w->tick_ms > MAX_TICK_MS)
        w->tick_ms = MAX_TICK_MS;
    for (size_t i = 0; i < upkeep->num_accounts; i++) {
        struct watch_round *r = &w->rounds[i];

        r->watch = w;
        r->account = &upkeep->accounts[i];
        r->begin = (struct loop_timer){.cb = on_begin, .arg = r};
    }
    w->tick = (struct loop_timer){.cb = on_tick, .arg = w};
    quota_ask_every(upkeep->rt.inherited->quota, w->ask_ms);
    return loop_timer_start(upkeep->rt.loop, &w->tick, w->tick_ms);
}
