/* Where a page begins. One account knows its own cursor. When several are merged, the time of the
 * cursor's object says where the others begin: remembered from the page before, else asked for. */
#include "listing_impl.h"
#include "request/errors.h"

#include <string.h>

/* The account of the list that holds the cursor. @return false: none of them */
static bool set_cursor(struct listing *l, uint32_t key, int64_t created_at)
{
    for (size_t i = 0; i < l->num; i++) {
        if (l->readers[i].key != key)
            continue;
        l->cursor = (struct listing_cursor){.set = true, .created_at = created_at, .source = i};
        memcpy(l->readers[i].after, l->cursor_target.native, sizeof(l->readers[i].after));
        return true;
    }
    return false;
}

static bool is_listed(const struct listing *l, uint32_t deployment)
{
    for (size_t i = 0; i < l->num; i++)
        if (l->readers[i].key == runtime_account_key(l->op.rt, deployment))
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

/* That one account is not the list's. */
static void on_located(struct operation *op, const struct locate_result *result)
{
    struct listing *l = (struct listing *)op;
    struct json_doc *doc = listing_scratch(l);
    struct json_error error;
    struct json *object;

    op->deployment = MODEL_NO_INDEX;
    loop_timer_stop(op->rt->loop, &l->late);
    if (!result->found && result->failure.status != 404) {
        operation_fail(op, &result->failure);
        return;
    }
    object = result->found && doc != NULL
                 ? json_parse(doc, result->answer->body, result->answer->body_len, &error)
                 : NULL;
    if (json_is(object, JSON_OBJECT) &&
        set_cursor(l, runtime_account_key(l->op.rt, result->deployment),
                   listing_created_at(l, doc, object)))
        listing_read(l);
    else
        listing_fail_cursor(l);
}

static void on_late(struct loop_timer *timer)
{
    struct failure late;

    error_fill(&late, CURSOR_LATE, "after");
    operation_fail(timer->arg, &late);
}

/* Ask for the cursor's object where it may be and the list covers it. */
static void ask(struct listing *l)
{
    struct target *target = &l->cursor_target;
    uint32_t num = 0;

    for (uint32_t i = 0; i < target->num; i++)
        if (is_listed(l, target->deployments[i]))
            target->deployments[num++] = target->deployments[i];
    if (num == 0) {
        listing_fail_cursor(l);
        return;
    }
    l->late.cb = on_late;
    l->late.arg = &l->op;
    if (loop_timer_start(l->op.rt->loop, &l->late, l->op.rt->config->timeouts.list_ms) != 0)
        operation_fail_memory(&l->op);
    else
        operation_locate(&l->op, l->question.kind, target->native, target->deployments, num,
                         on_located);
}

/* The page before left a note. @return false: it did not, or is forgotten */
static bool recall(struct listing *l)
{
    const struct memo *memo = l->op.rt->inherited->list_places;
    const struct listing_question *q = &l->question;
    uint64_t now_ms = loop_now_ms(l->op.rt->loop);
    struct strbuf key = STRBUF_INIT;
    struct listing_page_end end;
    struct listing_place place;
    bool found;

    listing_places_key(&key, q->owner, q->kind, q->ascending, q->purpose, q->after);
    found = !strbuf_failed(&key) && listing_places_get_end(memo, &key, now_ms, &end) &&
            set_cursor(l, end.account, end.created_at);
    for (size_t i = 0; found && i < l->num; i++) {
        struct reader *r = &l->readers[i];

        if (!listing_places_get(memo, &key, r->key, now_ms, &place))
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
    ask(l);
}
