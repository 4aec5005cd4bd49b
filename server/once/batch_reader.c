/* See batch_reader.h. */
#include "batch_reader.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "upstream/normal.h"
#include "calls/attempt.h"
#include "calls/list_reader.h"
#include "core/past.h"
#include "core/provider_clock.h"

#define LIST_QUERY     "limit=100" /* the most that both providers give */
/* Of one account in one round: a day and five minutes of 2000 creates an hour (providers 1.3). */
#define MAX_PAGES      500
#define ROUNDING_S     2 /* what whole seconds may hide of a moment: theirs, and ours */
#define ROUNDS         2
/* What the second round reads at most, so that it ends soon: its length is that of a retry's wait.
 */
#define SHORT_ROUND_MS (3600 * INT64_C(1000))

/* From the top of the list down to a time. */
struct round {
    bool active;
    struct batch_query *queries; /* borrowed; who reads along */
    uint32_t deployment;
    struct list_reader list;
    /* Of the first and the last batch of the page being read that tell; INT64_MAX: none */
    int64_t newest_s, oldest_s;
    int64_t from_ms, begun_ms; /* monotonic: since when it is read, and how far back */
    uint32_t forgotten;        /* of the log, then */
};

struct batch_reader {
    struct runtime *rt; /* borrowed */
    struct read_log log;
    struct batch_query *waiting, **last; /* borrowed; for the next round, in their order */
    struct batch_query *ended;           /* borrowed; on_end() is due */
    struct round rounds[ROUNDS];
    uint32_t turn;           /* round whose page is asked for, or was last */
    struct attempt *attempt; /* owned; NULL: none is under way */
    bool has_begun;
    uint64_t begun_ms; /* the last round */
    struct loop_timer timer;
};

static void go_on(struct batch_reader *r);

/* --- queries: each is in one list, or in none --- */

static void unlink_query(struct batch_query *q)
{
    struct batch_reader *r = q->reader;

    if (q->link == NULL)
        return;
    assert(*q->link == q);
    if (r->last == &q->next)
        r->last = q->link;
    *q->link = q->next;
    if (q->next != NULL)
        q->next->link = q->link;
    q->next = NULL;
    q->link = NULL;
}

static void push(struct batch_query **list, struct batch_query *q)
{
    assert(q->link == NULL);
    q->next = *list;
    q->link = list;
    if (q->next != NULL)
        q->next->link = &q->next;
    *list = q;
}

static void append_waiting(struct batch_reader *r, struct batch_query *q)
{
    q->next = NULL;
    q->link = r->last;
    *r->last = q;
    r->last = &q->next;
}

static void end_query(struct batch_query *q, enum batch_read end)
{
    assert(q->reader != NULL && q->link != NULL);
    unlink_query(q);
    q->enough = end == BATCH_READ_ENOUGH;
    q->failed = end == BATCH_READ_FAILED;
    push(&q->reader->ended, q);
}

static void end_all(struct batch_query *list, enum batch_read end)
{
    while (list != NULL) {
        struct batch_query *next = list->next;

        end_query(list, end);
        list = next;
    }
}

/* What they are told may forget others of this reader, and add new ones. */
static void tell_ended(struct batch_reader *r)
{
    while (r->ended != NULL) {
        struct batch_query *q = r->ended;
        enum batch_read end = q->enough   ? BATCH_READ_ENOUGH
                              : q->failed ? BATCH_READ_FAILED
                                          : BATCH_READ_ALL;

        unlink_query(q);
        q->reader = NULL;
        q->on_end(q, end);
    }
}

/* --- what was read before --- */

/* The earliest time that the provider may have told at a moment of the monotonic clock. */
static int64_t told_at(const struct batch_reader *r, const struct round *round, int64_t moment_ms)
{
    int64_t ago_ms = (int64_t)loop_now_ms(r->rt->loop) - moment_ms;

    return provider_clock_floor_s(r->rt->inherited, round->deployment) - ago_ms / 1000 - ROUNDING_S;
}

/* Whether no batch back to `from_ms` and up to log.to_ms can be the wanted one. */
static bool log_excludes(const struct read_log *log, const struct wanted *wanted, int64_t from_ms)
{
    if (!wanted->unmarked && wanted->nonce[0] == '\0')
        return false; /* several may have one owner and request */
    if (!wanted->unmarked && !read_log_excludes(log, READ_LOG_NONCE, wanted->nonce, from_ms))
        return false;
    if (wanted->unmarked && !read_log_excludes(log, READ_LOG_OTHER, "", from_ms))
        return false;
    return wanted->file[0] == '\0' || read_log_excludes(log, READ_LOG_FILE, wanted->file, from_ms);
}

static bool is_excluded(const struct batch_reader *r, const struct batch_query *q)
{
    return log_excludes(&r->log, q->wanted, q->limit_ms);
}

/* How far back a query has to read in a round that begins now. */
static int64_t from_of(const struct batch_reader *r, const struct batch_query *q)
{
    int64_t newer_ms = r->log.to_ms - READ_LOG_SLACK_S * 1000;

    return is_excluded(r, q) && newer_ms > q->limit_ms ? newer_ms : q->limit_ms;
}

/* Nothing new can be learned. */
static bool is_settled(const struct batch_reader *r, const struct batch_query *q)
{
    return q->known_since_ms != 0 && is_excluded(r, q) &&
           r->log.to_ms >= (int64_t)q->known_since_ms;
}

/* By what it may be looked for. */
static void note_in_log(struct read_log *log, const struct batch_seen *seen)
{
    const char *file = json_get_str(seen->batch, "input_file_id");

    if (seen->marker != NULL)
        read_log_add(log, READ_LOG_NONCE, seen->marker->nonce);
    else if (file != NULL && file[0] != '\0')
        read_log_add(log, READ_LOG_FILE, file);
    else
        read_log_add(log, READ_LOG_OTHER, "");
}

/* --- a page --- */

static struct round *round_of_turn(struct batch_reader *r)
{
    return &r->rounds[r->turn];
}

static bool is_reading(const struct batch_reader *r)
{
    return list_reader_is_reading(&r->rounds[r->turn].list);
}

static void note_time(struct round *round, int64_t created_s)
{
    if (created_s == 0)
        return;
    round->oldest_s = created_s;
    if (round->newest_s == INT64_MAX)
        round->newest_s = created_s;
}

/* Batches older than the query's window are ignored: equal content does not mean the same
 * request. */
static void show(const struct batch_reader *r, struct round *round, const struct batch_seen *seen)
{
    int64_t now_ms = (int64_t)loop_now_ms(r->rt->loop);
    int64_t now_s = told_at(r, round, now_ms); /* the rest is arithmetic, for each query */

    for (struct batch_query *q = round->queries; q != NULL; q = q->next)
        if (!q->enough &&
            (seen->created_s == 0 || seen->created_s >= now_s - (now_ms - q->limit_ms) / 1000))
            q->enough = q->on_batch(q, seen);
}

static void on_object(void *arg, const struct list_object *object)
{
    struct batch_reader *r = arg;
    struct round *round = round_of_turn(r);
    struct marker marker;
    struct batch_seen seen = {.batch = object->json, .text = object->text, .len = object->len};

    if (!normal_time(json_get(object->json, "created_at"), &seen.created_s))
        seen.created_s = 0;
    if (wanted_marker(object->json, &marker))
        seen.marker = &marker;
    note_time(round, seen.created_s);
    note_in_log(&r->log, &seen);
    past_saw(r->rt->inherited, round->deployment, object->json, loop_now_ms(r->rt->loop));
    show(r, round, &seen);
}

enum page_end { PAGE_MORE, PAGE_LAST, PAGE_UNREADABLE };

/* Whether the rest of the list is older than its last page, and that older than this time. A list
 * that begins with the oldest has the newest at its end. */
static bool is_past(const struct round *round, int64_t from_s)
{
    return round->oldest_s != INT64_MAX && round->oldest_s < from_s &&
           round->newest_s >= round->oldest_s;
}

/* Whether the account has older batches that count. A list that breaks off may hide the one that is
 * looked for: only a provider that does not tell whether more follows may give a page again. */
static enum page_end what_follows(const struct batch_reader *r, const struct round *round,
                                  enum list_page page)
{
    if (page == LIST_PAGE_UNREADABLE)
        return PAGE_UNREADABLE;
    if (page == LIST_PAGE_LAST || is_past(round, told_at(r, round, round->from_ms)) ||
        (page == LIST_PAGE_AGAIN && !round->list.told))
        return PAGE_LAST;
    return page == LIST_PAGE_MORE ? PAGE_MORE : PAGE_UNREADABLE;
}

/* --- rounds --- */

static void end_round(struct round *round, enum batch_read end)
{
    end_all(round->queries, end);
    round->active = false;
}

/* Who was shown enough, and who wanted nothing older than this page. The others read on, and no
 * further back than they need. */
static void end_some(const struct batch_reader *r, struct round *round, bool page_read)
{
    int64_t from_ms = INT64_MAX;

    for (struct batch_query *q = round->queries, *next; q != NULL; q = next) {
        next = q->next;
        if (q->enough)
            end_query(q, BATCH_READ_ENOUGH);
        else if (page_read && is_past(round, told_at(r, round, q->from_ms)))
            end_query(q, BATCH_READ_ALL);
        else if (q->from_ms < from_ms)
            from_ms = q->from_ms;
    }
    if (from_ms != INT64_MAX)
        round->from_ms = from_ms;
}

static void end_page(struct batch_reader *r, enum page_end end)
{
    struct round *round = round_of_turn(r);

    if (end == PAGE_LAST)
        read_log_note(&r->log, round->forgotten, round->from_ms, round->begun_ms);
    end_some(r, round, end != PAGE_UNREADABLE);
    if (end == PAGE_UNREADABLE)
        end_round(round, BATCH_READ_FAILED);
    else if (end == PAGE_LAST || round->queries == NULL)
        end_round(round, BATCH_READ_ALL);
    go_on(r);
}

/* Some of the page was read. @return false: nobody wants the rest, and the round is over */
static bool is_wanted(struct batch_reader *r)
{
    struct round *round = round_of_turn(r);

    end_some(r, round, false);
    if (round->queries != NULL)
        return true;
    list_reader_end(&round->list);
    round->active = false;
    go_on(r);
    return false;
}

static void on_slice(void *arg)
{
    struct batch_reader *r = arg;

    if (is_wanted(r))
        tell_ended(r);
}

static void on_page(void *arg, enum list_page page)
{
    struct batch_reader *r = arg;

    if (is_wanted(r))
        end_page(r, what_follows(r, round_of_turn(r), page));
}

static void on_list(void *arg, const struct attempt_result *result)
{
    struct batch_reader *r = arg;
    struct round *round = round_of_turn(r);

    assert(r->attempt != NULL && round->active && round->queries != NULL);
    r->attempt = NULL;
    round->newest_s = round->oldest_s = INT64_MAX;
    if (!result->ok ||
        list_reader_page(&round->list, result->upstream->body, result->upstream->body_len) != 0)
        end_page(r, PAGE_UNREADABLE);
}

/* @return false: it could not be asked */
static bool ask_page(struct batch_reader *r, const struct round *round)
{
    struct strbuf query = STRBUF_INIT;
    struct attempt_spec spec = {
        .deployment = round->deployment, .call = CALL_BATCH_LIST, .on_done = on_list, .arg = r};

    assert(r->attempt == NULL && !is_reading(r));
    /* An id that could not stand in a query as it is would end the reading of this account. */
    list_reader_query(&round->list, LIST_QUERY, &query);
    spec.query = strbuf_str(&query);
    r->attempt = strbuf_failed(&query) ? NULL : attempt_start(r->rt, &spec);
    strbuf_deinit(&query);
    return r->attempt != NULL;
}

/* --- whose turn it is --- */

/* Which of those that wait may read along in it: all, or whoever wants it short. */
static void take_waiting(struct batch_reader *r, struct round *round, bool only_short)
{
    for (struct batch_query *q = r->waiting, *next; q != NULL; q = next) {
        int64_t from_ms = from_of(r, q);

        next = q->next;
        if (is_settled(r, q)) {
            end_query(q, BATCH_READ_ALL);
            continue;
        }
        if (only_short && from_ms < round->begun_ms - SHORT_ROUND_MS)
            continue;
        unlink_query(q);
        q->from_ms = from_ms;
        q->enough = false;
        if (from_ms < round->from_ms)
            round->from_ms = from_ms;
        round->deployment = q->deployment;
        push(&round->queries, q);
    }
}

static void begin_round(struct batch_reader *r)
{
    struct round *round = r->rounds[0].active ? &r->rounds[1] : &r->rounds[0];
    uint64_t now_ms = loop_now_ms(r->rt->loop);

    if (round->active || r->waiting == NULL ||
        (r->has_begun && now_ms < r->begun_ms + READER_GAP_MS))
        return;
    assert(round->queries == NULL && !list_reader_is_reading(&round->list));
    r->has_begun = true;
    r->begun_ms = now_ms;
    *round = (struct round){.from_ms = INT64_MAX,
                            .begun_ms = (int64_t)now_ms,
                            .forgotten = r->log.forgotten,
                            .list = {.loop = r->rt->loop,
                                     .slices = &r->rt->slices,
                                     .max_pages = MAX_PAGES,
                                     .on_object = on_object,
                                     .on_slice = on_slice,
                                     .on_page = on_page,
                                     .arg = r}};
    list_reader_begin(&round->list);
    take_waiting(r, round, r->rounds[0].active);
    round->active = round->queries != NULL;
}

/* The one after the last one; NULL: none is under way. */
static struct round *next_round(struct batch_reader *r)
{
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        struct round *round = &r->rounds[(r->turn + i) % ROUNDS];

        if (round->active)
            return round;
    }
    return NULL;
}

/* Until the next round may begin, or somebody is to be told. */
static int wait_for_round(struct batch_reader *r)
{
    uint64_t now_ms = loop_now_ms(r->rt->loop);
    uint64_t due_ms = r->has_begun && r->ended == NULL ? r->begun_ms + READER_GAP_MS : 0;

    return loop_timer_start(r->rt->loop, &r->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* Ask for the next page, arrange the next round, and tell who is through. */
static void go_on(struct batch_reader *r)
{
    struct round *round;

    while (r->attempt == NULL && !is_reading(r) && (round = next_round(r)) != NULL) {
        r->turn = (uint32_t)(round - r->rounds);
        if (!ask_page(r, round))
            end_round(round, BATCH_READ_FAILED);
    }
    if (r->waiting != NULL && !(r->rounds[0].active && r->rounds[1].active) &&
        wait_for_round(r) != 0)
        end_all(r->waiting, BATCH_READ_FAILED);
    tell_ended(r);
}

static void on_timer(struct loop_timer *timer)
{
    struct batch_reader *r = timer->arg;

    begin_round(r);
    go_on(r);
}

/* --- life --- */

static struct batch_reader *reader_of(struct runtime *rt, uint32_t deployment)
{
    uint32_t account = rt->account_same_resource[table_deployment(rt->table, deployment)->account];
    struct batch_reader *r;

    if (rt->readers == NULL)
        rt->readers = calloc(rt->config->models.num_accounts + 1, sizeof(*rt->readers));
    if (rt->readers == NULL || rt->readers[account] != NULL)
        return rt->readers != NULL ? rt->readers[account] : NULL;
    r = rt->readers[account] = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->rt = rt;
    r->last = &r->waiting;
    r->timer = (struct loop_timer){.cb = on_timer, .arg = r};
    return r;
}

bool batch_reader_ask(struct runtime *rt, struct batch_query *query)
{
    struct batch_reader *r = reader_of(rt, query->deployment);

    if (r == NULL || (r->waiting == NULL && wait_for_round(r) != 0))
        return false;
    assert(query->reader == NULL && query->link == NULL);
    query->reader = r;
    query->enough = query->failed = false;
    append_waiting(r, query);
    if (!is_settled(r, query))
        return true;
    end_query(query, BATCH_READ_ALL);
    if (wait_for_round(r) == 0)
        return true;
    batch_reader_forget(query);
    return false;
}

/* Nobody reads along any more. */
static void drop_round(struct batch_reader *r, struct round *round)
{
    round->active = false;
    if (round != &r->rounds[r->turn])
        return;
    if (r->attempt != NULL)
        attempt_cancel(r->attempt);
    r->attempt = NULL;
    list_reader_end(&round->list);
}

void batch_reader_forget(struct batch_query *query)
{
    struct batch_reader *r = query->reader;

    if (r == NULL)
        return;
    unlink_query(query);
    query->reader = NULL;
    for (uint32_t i = 0; i < ROUNDS; i++)
        if (r->rounds[i].active && r->rounds[i].queries == NULL)
            drop_round(r, &r->rounds[i]);
    if (r->waiting == NULL && r->ended == NULL)
        loop_timer_stop(r->rt->loop, &r->timer);
    /* The other round goes on, and from a turn of its own: nobody is called back from here. */
    if (next_round(r) != NULL && r->attempt == NULL && !is_reading(r) &&
        loop_timer_start(r->rt->loop, &r->timer, 0) != 0)
        log_warn("reading batches: out of memory; a search waits for the next one");
}

static void reader_free(struct batch_reader *r)
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        if (r->rounds[i].active)
            drop_round(r, &r->rounds[i]);
    assert(r->waiting == NULL && r->ended == NULL);
    loop_timer_stop(r->rt->loop, &r->timer);
    read_log_deinit(&r->log);
    free(r);
}

void batch_readers_free(struct runtime *rt)
{
    for (uint32_t i = 0; rt->readers != NULL && i < rt->config->models.num_accounts; i++)
        if (rt->readers[i] != NULL)
            reader_free(rt->readers[i]);
    free(rt->readers);
    rt->readers = NULL;
}
