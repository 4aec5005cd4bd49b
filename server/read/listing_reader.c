/* One account of a list being read: page by page until it has given enough, said that it has no
 * more, or used its time. Pages are read in slices, one slice of the whole list in each turn of the
 * loop, so that other clients do not wait for long ones. */
#include "listing_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "objects/ledger.h"
#include "objects/polls.h"
#include "objects/moved.h"
#include "objects/observation.h"
#include "objects/owned.h"
#include "request/errors.h"

#define MAX_PAGES     200   /* of one account and answer: bounds a provider that walks in circles */
#define MAX_BURST     65536 /* bytes taken from one account in one turn of the loop */
/* At one page, unless the operator says: a list that lacks an account for a hiccup is a poor
 * answer */
#define MAX_TRIES     2
#define OPEN_AT_ONCE  8 /* accounts whose reading begins in one turn of the loop: 0.3 ms */
#define OPEN_EVERY_MS 1 /* libcurl begins all calls of a millisecond in one go */
#define ASK_GROWTH    4 /* of the pages that are passed over on the way to the cursor */

static void read_page(struct reader *r);

static struct listing_source *source_of(const struct reader *r)
{
    return &r->list->sources[r->index];
}

/* Azure's dated files list knows no paging: it is always whole (providers 2.4). */
static bool is_paged(const struct reader *r)
{
    const struct model_account *account = runtime_account(r->list->op.rt, r->deployment);

    return !(account->provider == PROVIDER_AZURE && account->api_version != NULL &&
             r->list->question.kind == ID_FILE);
}

/* --- accounts that are no OpenAI --- */

#define MEMO_WHOLE    'w'              /* kind of key: how an account has to be read */
#define WHOLE_KEEP_MS (60 * 60 * 1000) /* then it is tried page by page again */
#define WHOLE_PAGE    10000            /* objects asked for at once */

/* Servers with OpenAI's API have lists of their own making: some list the oldest objects first
 * whatever `order` says, some honour `limit` and ignore `after`. Page by page the first would be
 * merged in the wrong order, and the second end with their first page. Such an account is read
 * whole, and the next lists know. */
static uint64_t whole_key(const struct reader *r)
{
    return memo_key(MEMO_WHOLE, r->list->question.kind, (const char *)&r->key, sizeof(r->key));
}

static bool is_known_whole(const struct reader *r)
{
    uint64_t value[MEMO_WORDS];

    return memo_get(r->list->op.rt->inherited->memo, whole_key(r), WHOLE_KEEP_MS,
                    loop_now_ms(r->list->op.rt->loop), value);
}

/* Whether the objects stand in another order than was asked for. */
static bool is_disordered(const struct reader *r)
{
    const struct listing_source *s = source_of(r);
    bool ascending = r->list->question.ascending;

    for (size_t i = 1; i < s->num; i++)
        if (ascending ? s->items[i].created_at < s->items[i - 1].created_at
                      : s->items[i].created_at > s->items[i - 1].created_at)
            return true;
    return false;
}

/* Begin again, with all it has. */
static void read_whole(struct reader *r)
{
    static const uint64_t value[MEMO_WORDS] = {1};
    struct listing *l = r->list;

    assert(!r->whole && !r->done);
    memo_put(l->op.rt->inherited->memo, whole_key(r), value, loop_now_ms(l->op.rt->loop));
    source_of(r)->num = 0;
    r->whole = true;
    r->from_top = r->more = false;
    r->after[0] = r->skipped[0] = '\0';
    r->pages = 0;
    r->tries = 0;
    r->ask = WHOLE_PAGE;
    read_page(r);
}

/* Numbers at which servers cut lists that they do not page. Without `has_more` nobody can tell such
 * a list from one that ends there by chance. */
static bool may_be_cut(size_t num)
{
    static const size_t caps[] = {20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000};

    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
        if (num == caps[i])
            return true;
    return false;
}

static bool holds_cursor(const struct reader *r)
{
    return r->list->cursor.set && r->list->cursor.source == r->index;
}

/* --- its end --- */

static void reader_done(struct reader *r)
{
    struct listing *l = r->list;

    assert(!r->done);
    r->done = true;
    for (size_t i = 0; i < l->num; i++)
        if (!l->readers[i].done)
            return;
    listing_finish(l);
}

/* It broke off: what it gave before that is good, and the answer ends there. */
static void reader_failed(struct reader *r, const struct failure *failure)
{
    r->failed = source_of(r)->broken = true;
    r->failure = *failure;
    reader_done(r);
}

static void fill_trouble(int rc, struct failure *failure)
{
    if (rc == ERR_NOMEM)
        error_fill(failure, OUT_OF_MEMORY, "");
    else
        error_fill(failure, LIST_UNREADABLE, "");
}

/* @param rc  ERR_NOMEM, or another error: what came cannot be read */
static void reader_broke(struct reader *r, int rc)
{
    struct failure failure;

    fill_trouble(rc, &failure);
    reader_failed(r, &failure);
}

/* Its time is over. */
static void reader_late(struct reader *r)
{
    struct failure failure;

    error_fill(&failure, LIST_LATE, "");
    reader_failed(r, &failure);
}

/* The provider says that there is more, and it does not come. */
static void reader_stuck(struct reader *r)
{
    struct failure failure;

    error_fill(&failure, LIST_STUCK, "");
    reader_failed(r, &failure);
}

/* What `after` names is not there any more: deleted since it was shown. What is behind it is found
 * by its time. */
static bool read_from_top(struct reader *r)
{
    if (r->after[0] == '\0' || r->pages > 0 || r->from_top || !r->list->cursor.set)
        return false;
    r->after[0] = r->begin[0] = '\0';
    r->from_top = true;
    r->tries = 0;
    read_page(r);
    return true;
}

/* --- objects --- */

/* Whether an object belongs behind the cursor. What a list that came whole holds is sorted and
 * trimmed at its end. */
static bool is_behind(const struct reader *r, int64_t created_at)
{
    const struct listing *l = r->list;

    if (!is_paged(r) || r->whole)
        return true;
    if (holds_cursor(r) && r->from_top)
        return listing_may_be_behind(&l->cursor, created_at, l->question.ascending);
    return listing_is_behind(&l->cursor, r->index, created_at, l->question.ascending);
}

/* Whether a batch is the caller's: its marker says so, of one without a marker what was noted when
 * its owner made it. */
static bool is_callers(const struct reader *r, const struct json *batch,
                       const struct marker *marker)
{
    const struct listing *l = r->list;
    const struct runtime *rt = l->op.rt;
    uint64_t owner = l->op.relay->owner;

    if (owner == 0)
        return true;
    return owner == (marker != NULL
                         ? marker->owner
                         : owned_by(rt->inherited, runtime_fingerprint(rt, r->deployment), ID_BATCH,
                                    json_get_str(batch, "id")));
}

/* Whether the caller may see the object, and what the quota ledger learns from it. A File has no
 * field upstream that could say whose it is: only the master reads providers' lists of files. */
static bool observe(const struct reader *r, const struct json *object)
{
    const struct listing *l = r->list;
    const struct runtime *rt = l->op.rt;
    uint64_t now_ms = loop_now_ms(rt->loop);
    struct observation seen;
    bool marked;

    if (l->question.kind == ID_FILE)
        return l->op.relay->owner == 0;
    if (polls_is_outdated(rt->inherited, runtime_fingerprint(rt, r->deployment), object, now_ms))
        marked = ledger_marker(rt->inherited->seals, object, &seen.marker); /* and no reservation */
    else
        marked = observation_of_batch(
            rt->inherited, rt->slot, runtime_fingerprint(rt, r->deployment), object, now_ms, &seen);
    return is_callers(r, object, marked ? &seen.marker : NULL) &&
           !moved_is_here(rt, r->deployment, marked ? &seen.marker : NULL, object);
}

/* Whether this object is the cursor; then it and the items before it are dropped. The cursor is on
 * this page because the provider ignored `after`, or because the list is read from its start after
 * the provider did not know the cursor. */
static bool begin_behind(struct reader *r, const char *id)
{
    if (!is_paged(r))
        return false;
    if (r->from_top && holds_cursor(r) && strcmp(id, r->list->cursor_target.native) == 0) {
        source_of(r)->num = 0;
        r->from_top = false;
        return true;
    }
    if (strcmp(id, r->after) != 0)
        return false;
    assert(r->page_from <= source_of(r)->num);
    source_of(r)->num = r->page_from;
    return true;
}

static int take_object(void *arg, struct json_doc *doc, struct json *object, const char *text,
                       size_t len)
{
    struct reader *r = arg;
    const struct listing *l = r->list;
    const char *id = json_get_str(object, "id");
    int64_t created_at;
    bool shown;

    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(r->last))
        return 0;
    memcpy(r->last, id, strlen(id) + 1);
    if (begin_behind(r, id))
        return 0;
    shown = observe(r, object);
    created_at = listing_created_at(l, doc, object);
    if (!is_behind(r, created_at)) {
        if (source_of(r)->num == 0)
            memcpy(r->skipped, id, strlen(id) + 1);
        return 0;
    }
    return shown ? listing_source_add(source_of(r), created_at, id, text, len) : 0;
}

/* --- pages --- */

/* Drop the items that sort before another account's cursor. */
static void drop_in_front(struct reader *r)
{
    const struct listing *l = r->list;
    struct listing_source *s = source_of(r);
    size_t kept = 0;

    for (size_t i = 0; i < s->num; i++)
        if (listing_is_behind(&l->cursor, r->index, s->items[i].created_at, l->question.ascending))
            s->items[kept++] = s->items[i];
    s->num = kept;
}

/* When the object of this id was made. @return false: it is not in the list */
static bool find_time(const struct listing_source *s, const char *id, int64_t *out)
{
    for (size_t i = 0; i < s->num; i++) {
        if (strcmp(listing_source_id(s, i), id) != 0)
            continue;
        *out = s->items[i].created_at;
        return true;
    }
    return false;
}

/* A list that came whole: sort it, and begin behind the cursor, which may be missing in it: deleted
 * since, or of another purpose. */
static void end_whole(struct reader *r, bool more)
{
    struct listing *l = r->list;
    struct listing_source *s = source_of(r);
    bool ascending = l->question.ascending;
    int64_t cursor_time = l->cursor.created_at;

    listing_sort(s, ascending);
    if (l->cursor.set && !holds_cursor(r)) {
        drop_in_front(r);
    } else if (r->begin[0] != '\0') {
        if (!l->cursor.set && !find_time(s, r->begin, &cursor_time)) {
            listing_fail_cursor(l);
            return;
        }
        listing_trim(s, cursor_time, r->begin, ascending);
    }
    if (more)
        reader_stuck(r);
    else
        reader_done(r);
}

/* A page of an account that is read whole. @param count  objects on it */
static void end_whole_page(struct reader *r, bool more, bool told, size_t count)
{
    bool new = source_of(r)->num > r->page_from, full = count >= r->ask || may_be_cut(count);

    r->pages++;
    if (!(told ? more : full && count > 0)) {
        end_whole(r, false);
    } else if (!new || r->last[0] == '\0' || r->pages >= MAX_PAGES) {
        /* It does not go on where it should: more is there, or nobody can tell. */
        end_whole(r, true);
    } else {
        memcpy(r->after, r->last, sizeof(r->after));
        read_page(r);
    }
}

/* A page was read. @param more  it is not the last one @param told  says the provider
 * @param count  objects on it */
static void end_part(struct reader *r, bool more, bool told, size_t count)
{
    const struct listing *l = r->list;
    size_t num = source_of(r)->num,
           max = l->question.kind == ID_FILE ? LISTING_MAX_FILES : LISTING_MAX_BATCHES;
    bool stuck = more && (r->last[0] == '\0' || strcmp(r->last, r->after) == 0);

    if (r->last[0] == '\0' && r->expects && read_from_top(r))
        return;
    if (is_disordered(r) || (stuck && !told && count >= r->ask)) {
        read_whole(r);
        return;
    }
    r->pages++;
    /* Where nothing is filtered out, what the provider says of the rest is exact; else one more
     * object than the page shows has to be found. */
    r->more = more && told && num >= l->question.limit && l->op.relay->owner == 0 &&
              !moved_is_any(l->op.rt);
    if (!more || r->more || num > l->question.limit || (stuck && !told)) {
        reader_done(r);
    } else if (stuck || r->pages >= MAX_PAGES) {
        reader_stuck(r);
    } else {
        memcpy(r->after, r->last, sizeof(r->after));
        if (num == 0)
            r->ask = r->ask * ASK_GROWTH < max ? r->ask * ASK_GROWTH : max;
        read_page(r);
    }
}

/* No object of the page is used, as on the way to a cursor deep down. */
static void drop_text(struct reader *r)
{
    if (r->page != NULL)
        strbuf_deinit(&r->page->bytes);
    r->page = NULL;
}

/* A page that cannot be read to its end counts as none. */
static void spoil_page(struct reader *r, int rc)
{
    source_of(r)->num = r->page_from;
    drop_text(r);
    reader_broke(r, rc);
}

/* All objects of the page were taken. */
static void end_page(struct reader *r)
{
    bool more, told;
    size_t count = r->scan.num;
    int rc = listing_scan_rest(&r->scan, &more, &told);

    if (rc != 0) {
        spoil_page(r, rc);
        return;
    }
    listing_scan_deinit(&r->scan);
    if (source_of(r)->num == r->page_from)
        drop_text(r);
    r->page = NULL;
    if (!is_paged(r))
        end_whole(r, told && more);
    else if (r->whole)
        end_whole_page(r, more, told, count);
    else
        end_part(r, more, told, count);
}

/* The next reader with a page to read; NULL: none. */
static struct reader *next_turn(struct listing *l)
{
    for (size_t i = 1; i <= l->num; i++) {
        size_t at = (l->turn + i) % l->num;

        if (!l->readers[at].complete)
            continue;
        l->turn = at;
        return &l->readers[at];
    }
    return NULL;
}

static void on_turn(struct slice *slice)
{
    struct listing *l = slice->arg;
    struct reader *r = next_turn(l);
    int rc;

    if (r == NULL)
        return;
    rc = listing_scan_slice(&r->scan, listing_scratch(l), take_object, r);
    if (rc != LISTING_SCAN_MORE)
        r->complete = false;
    /* In the queue before the page ends, since that may end the list. */
    if (slices_add(&l->op.rt->slices, l->op.rt->loop, slice) != 0)
        operation_fail_memory(&l->op);
    else if (rc == 0)
        end_page(r);
    else if (rc != LISTING_SCAN_MORE)
        spoil_page(r, rc == ERR_SYNTAX ? ERR_SYNTAX : ERR_NOMEM);
}

/* --- receiving --- */

static bool on_page_head(void *arg, const struct upstream_head *head)
{
    struct reader *r = arg;
    struct listing *l = r->list;

    if (head->status < 200 || head->status > 299)
        return false; /* collected: an error to translate */
    r->page = calloc(1, sizeof(*r->page));
    if (r->page == NULL)
        return false;
    r->page->next = l->texts;
    l->texts = r->page;
    r->burst = 0;
    if (head->content_length > 0 && head->content_length <= ATTEMPT_MAX_LIST)
        strbuf_reserve(&r->page->bytes,
                       (size_t)head->content_length); /* else it is copied as it grows */
    return true;
}

static void on_flow(struct loop_timer *timer)
{
    struct listing *l = timer->arg;

    for (size_t i = 0; i < l->num; i++) {
        struct reader *r = &l->readers[i];

        if (!r->paused)
            continue;
        r->paused = false;
        r->burst = 0;
        attempt_resume(r->attempt);
    }
}

/* curl would take in all that has come, of all accounts in the same turn: 10 MB are 10 ms. */
static bool on_page_data(void *arg, const char *bytes, size_t len)
{
    struct reader *r = arg;
    struct listing *l = r->list;
    struct strbuf *text = &r->page->bytes;

    strbuf_add(text, bytes, len);
    if (strbuf_failed(text) || text->len > ATTEMPT_MAX_LIST) {
        int rc = strbuf_failed(text) ? ERR_NOMEM : ERR_LIMIT;

        attempt_cancel(r->attempt);
        r->attempt = NULL;
        r->page = NULL;
        reader_broke(r, rc); /* last: it may end the list */
        return true;
    }
    r->burst += len;
    if (r->burst < MAX_BURST)
        return true;
    l->flow.cb = on_flow;
    l->flow.arg = l;
    r->paused = loop_timer_start(l->op.rt->loop, &l->flow, 0) == 0;
    return !r->paused;
}

static void on_retry(struct loop_timer *timer)
{
    read_page(timer->arg);
}

/* @return false: no second try, or no time for one */
static bool try_again(struct reader *r, const struct attempt_result *result)
{
    struct listing *l = r->list;
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer decision;

    question.pinned = question.idempotent = true;
    question.tries = r->tries;
    attempt_limits(l->op.rt, r->deployment, MAX_TRIES, &question);
    decision = attempt_decide(l->op.rt, r->deployment, &question);
    if (decision.action != RETRY_SAME ||
        loop_now_ms(l->op.rt->loop) + decision.delay_ms >= l->deadline_ms)
        return false;
    r->retry.cb = on_retry;
    r->retry.arg = r;
    return loop_timer_start(l->op.rt->loop, &r->retry, decision.delay_ms) == 0;
}

static void page_failed(struct reader *r, const struct attempt_result *result)
{
    struct listing *l = r->list;
    int status = result->upstream->head.status;

    drop_text(r);
    if (try_again(r, result))
        return;

    /* What a provider says of a cursor it does not know is documented nowhere (providers 6). */
    if ((status == 404 || status == 400) && read_from_top(r))
        return;
    if (status == 404 && l->num == 1 && r->pages == 0 && r->after[0] != '\0')
        listing_fail_cursor(l);
    else
        reader_failed(r, &result->failure);
}

static void on_page(void *arg, const struct attempt_result *result)
{
    struct reader *r = arg;
    struct listing *l = r->list;

    r->attempt = NULL;
    r->paused = false;
    if (!result->ok) {
        page_failed(r, result);
        return;
    }
    l->slice.cb = on_turn;
    l->slice.arg = l;
    l->slice.flow = share_flow(l->op.share);
    if (r->page == NULL || slices_add(&l->op.rt->slices, l->op.rt->loop, &l->slice) != 0) {
        r->page = NULL;
        reader_broke(r, ERR_NOMEM);
        return;
    }
    r->complete = true;
    r->tries = 0;
    r->page_from = source_of(r)->num;
    r->last[0] = '\0';
    listing_scan_init(&r->scan, strbuf_str(&r->page->bytes), r->page->bytes.len);
}

static void list_query(const struct reader *r, struct strbuf *query)
{
    const struct listing_question *q = &r->list->question;

    if (is_paged(r)) {
        strbuf_addf(query, "limit=%zu", r->ask);
        if (r->after[0] != '\0')
            strbuf_addf(query, "&after=%s",
                        r->after); /* ids are URL-safe: ids_open() checked, or the provider's own */
        if (q->ascending && !r->whole)
            strbuf_adds(query, "&order=asc");
    }
    if (q->purpose[0] != '\0')
        strbuf_addf(query, "%spurpose=%s", query->len > 0 ? "&" : "", q->purpose);
}

static void read_page(struct reader *r)
{
    struct listing *l = r->list;
    struct strbuf query = STRBUF_INIT;
    uint64_t now_ms = loop_now_ms(l->op.rt->loop);
    struct attempt_spec spec = {.deployment = r->deployment,
                                .call =
                                    l->question.kind == ID_FILE ? CALL_FILE_LIST : CALL_BATCH_LIST,
                                .request_id = l->op.relay->request_id,
                                .owner = share_owner(l->op.share),
                                .on_head = on_page_head,
                                .on_data = on_page_data,
                                .on_done = on_page,
                                .arg = r};

    if (now_ms >= l->deadline_ms) {
        reader_late(r);
        return;
    }
    list_query(r, &query);
    spec.query = strbuf_str(&query);
    spec.total_ms = (uint32_t)(l->deadline_ms - now_ms);
    r->tries++;
    r->attempt = strbuf_failed(&query) ? NULL : attempt_start(l->op.rt, &spec);
    strbuf_deinit(&query);
    if (r->attempt == NULL)
        reader_broke(r, ERR_NOMEM);
}

void listing_reader_deinit(struct reader *r)
{
    if (r->attempt != NULL)
        attempt_cancel(r->attempt);
    loop_timer_stop(r->list->op.rt->loop, &r->retry);
    listing_scan_deinit(&r->scan);
}

/* What one page is asked for: one more than the page shows tells whether there is more. */
static size_t page_size(const struct listing_question *q)
{
    size_t max = q->kind == ID_FILE ? LISTING_MAX_FILES : LISTING_MAX_BATCHES;

    return q->limit + 1 < max ? q->limit + 1 : max;
}

/* The last one to end finishes the list, and that frees it. */
static void open_some(struct loop_timer *timer)
{
    struct listing *l = timer->arg;
    size_t at = l->opened, num = l->num - at < OPEN_AT_ONCE ? l->num - at : OPEN_AT_ONCE;

    l->opened += num;
    if (l->opened < l->num && loop_timer_start(l->op.rt->loop, timer, OPEN_EVERY_MS) != 0) {
        operation_fail_memory(&l->op);
        return;
    }
    for (size_t end = at + num; at < end; at++)
        read_page(&l->readers[at]);
}

void listing_read(struct listing *l)
{
    l->deadline_ms = loop_now_ms(l->op.rt->loop) + l->op.rt->config->timeouts.list_ms;
    for (size_t i = 0; i < l->num; i++) {
        struct reader *r = &l->readers[i];

        r->ask = page_size(&l->question);
        memcpy(r->begin, r->after, sizeof(r->begin));
        if (is_paged(r) && is_known_whole(r)) {
            r->whole = true;
            r->after[0] = '\0';
            r->ask = WHOLE_PAGE;
        }
    }
    l->open = (struct loop_timer){.cb = open_some, .arg = l};
    open_some(&l->open);
}
