/* Where a page begins. One account knows its own cursor. When several are merged, the time of the
 * cursor's object says where the others begin: remembered from the page before, else asked for. */
#include "server/listing_impl.h"

#include <string.h>

static void ask_next(struct listing *l);

/* The account of the list that holds the cursor. @return false: none of them */
static bool set_cursor(struct listing *l, uint32_t fingerprint, int64_t created_at)
{
    for (size_t i = 0; i < l->num; i++) {
        if (l->readers[i].fingerprint != fingerprint)
            continue;
        l->cursor = (struct listing_cursor){.set = true, .created_at = created_at, .source = i};
        memcpy(l->readers[i].after, l->cursor_target.native, sizeof(l->readers[i].after));
        return true;
    }
    return false;
}

static uint32_t fingerprint_of(const struct listing *l, uint32_t deployment)
{
    return l->worker->account_fingerprint[table_deployment(l->worker->table, deployment)->account];
}

static bool is_listed(const struct listing *l, uint32_t deployment)
{
    for (size_t i = 0; i < l->num; i++)
        if (l->readers[i].fingerprint == fingerprint_of(l, deployment))
            return true;
    return false;
}

/* Of a list of one account: whether the cursor can be in it. */
static bool may_hold_cursor(const struct listing *l)
{
    for (uint32_t i = 0; i < l->cursor_target.num; i++)
        if (is_listed(l, l->cursor_target.deployments[i]))
            return true;
    return false;
}

static void on_cursor(void *arg, const struct attempt_result *result)
{
    struct listing *l = arg;
    uint32_t deployment = l->cursor_target.deployments[l->cursor_at++];
    struct json_doc *doc;
    struct json_error error;
    struct json *object;
    int64_t created_at;

    l->cursor_attempt = NULL;
    if (!result->ok) {
        if (result->upstream->head.status != 404)
            l->cursor_failure = result->failure;
        ask_next(l);
        return;
    }
    doc = listing_scratch(l);
    object = doc != NULL
                 ? json_parse(doc, result->upstream->body, result->upstream->body_len, &error)
                 : NULL;
    if (!json_is(object, JSON_OBJECT)) {
        ask_next(l);
        return;
    }
    created_at = listing_created_at(l, doc, object);
    if (set_cursor(l, fingerprint_of(l, deployment), created_at))
        listing_read(l);
    else
        ask_next(l);
}

static void ask_next(struct listing *l)
{
    struct attempt_spec spec = {.call =
                                    l->question.kind == ID_FILE ? CALL_FILE_GET : CALL_BATCH_GET,
                                .id = l->cursor_target.native,
                                .on_done = on_cursor,
                                .arg = l};
    uint64_t now_ms = loop_now_ms(l->worker->loop);

    while (l->cursor_at < l->cursor_target.num &&
           !is_listed(l, l->cursor_target.deployments[l->cursor_at]))
        l->cursor_at++;
    if (l->cursor_at == l->cursor_target.num || now_ms >= l->deadline_ms) {
        if (l->cursor_failure.status != 0)
            listing_fail(l, &l->cursor_failure);
        else
            listing_fail_cursor(l);
        return;
    }
    spec.deployment = l->cursor_target.deployments[l->cursor_at];
    spec.total_ms = (uint32_t)(l->deadline_ms - now_ms);
    l->cursor_attempt = attempt_start(l->worker, &spec);
    if (l->cursor_attempt == NULL)
        listing_fail_memory(l);
}

/* The page before left a note. @return false: it did not, or is forgotten */
static bool recall(struct listing *l)
{
    const struct memo *memo = l->worker->inherit->list_places;
    const struct listing_question *q = &l->question;
    uint64_t now_ms = loop_now_ms(l->worker->loop);
    struct strbuf key = STRBUF_INIT;
    struct listing_page_end end;
    struct listing_place place;
    bool found;

    listing_places_key(&key, q->kind, q->ascending, q->purpose, q->after);
    found = !strbuf_failed(&key) && listing_places_get_end(memo, &key, now_ms, &end) &&
            set_cursor(l, end.account, end.created_at);
    for (size_t i = 0; found && i < l->num; i++) {
        struct reader *r = &l->readers[i];

        if (!listing_places_get(memo, &key, r->fingerprint, now_ms, &place))
            continue;
        r->expects = place.more;
        if (i != l->cursor.source)
            memcpy(r->after, place.id, sizeof(r->after));
    }
    strbuf_deinit(&key);
    return found;
}

void listing_locate(struct listing *l)
{
    if (l->question.after[0] == '\0' || recall(l)) {
        listing_read(l);
        return;
    }
    if (l->num == 1 && may_hold_cursor(l)) {
        memcpy(l->readers[0].after, l->cursor_target.native, sizeof(l->readers[0].after));
        listing_read(l);
        return;
    }
    l->deadline_ms = loop_now_ms(l->worker->loop) + l->worker->config->timeouts.list_ms;
    ask_next(l);
}
