/* Events and tries: see store_hooks.h. Rows are claimed in two statements, one that finds and locks
 * them and one that names them: PostgreSQL may run a subquery with a limit more than once. */
#include "store_hooks_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIM_MOST 8
#define SLICE      500 /* rows that are dropped at a time */
#define SLICE_TEXT "500"
#define TEST_BATCH "batch_test_"

/* An endpoint that wants an event. */
#define WANTS                                                                                      \
    "h.enabled = 1 and h.events like '%\"' || e.type || '\"%' and"                                 \
    " ((h.batch_id is null and (h.owner is null or h.owner = e.owner))"                            \
    " or h.batch_id = e.batch_id or h.batch_id in"                                                 \
    " (select '" STORE_HOOK_INTENT "' || b.reservation from @batch b where b.id = e.batch_id"      \
    " union all select '" STORE_HOOK_INTENT "' || r.id from @reservation r"                        \
    " where r.batch_id = e.batch_id))"

int hooks_on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

struct ids {
    char text[STORE_HOOKS_SPREAD][HOOK_EVENT_ID + 1];
    size_t num;
};

static int on_id(void *arg, const struct row *row)
{
    struct ids *ids = arg;

    assert(ids->num < STORE_HOOKS_SPREAD); /* the query has a limit */
    snprintf(ids->text[ids->num++], sizeof(ids->text[0]), "%s", row->texts[0]);
    return 0;
}

/* Run a statement that ends where a list of ids belongs.
 *  @param values  with room for them behind the first `num` */
static int run_for(struct store *store, const char *sql, struct value *values, size_t num,
                   const struct ids *ids, const char *end, row_cb on_row, void *arg)
{
    struct strbuf text = STRBUF_INIT;
    int rc = ERR_NOMEM;

    assert(ids->num > 0 && num + ids->num <= ENGINE_MAX_VALUES);
    strbuf_adds(&text, sql);
    for (size_t i = 0; i < ids->num; i++) {
        values[num + i] = value_text(ids->text[i]);
        strbuf_addf(&text, "%s$%zu", i == 0 ? "(" : ", ", num + i + 1);
    }
    strbuf_addf(&text, ")%s", end);
    if (!strbuf_failed(&text))
        rc = work_run(store, strbuf_str(&text), values, num + ids->num, on_row, arg);
    strbuf_deinit(&text);
    return rc;
}

/* ---- events ---- */

static int insert_event(struct store *store, const char *id, const char *body, int spread,
                        const struct store_hook_event *event)
{
    struct value values[] = {value_text(id),
                             value_int((int64_t)event->owner),
                             value_text(hook_type_name(event->type)),
                             value_text(event->batch_id),
                             value_text(body),
                             value_int(event->now_ms),
                             value_int(spread)};

    return WORK_RUN(store,
                    "insert into @hook_event(id, owner, type, batch_id, body, created, spread)"
                    " values($1, $2, $3, $4, $5, $6, $7) on conflict(batch_id, type) do nothing",
                    values, NULL, NULL);
}

static int make_event(struct store *store, int spread, const struct store_hook_event *event,
                      char id[HOOK_EVENT_ID + 1])
{
    struct strbuf body = STRBUF_INIT;
    int rc = hook_event_new_id(id);

    if (rc != 0)
        return rc;
    hook_event_body(id, event->now_ms / 1000, event->type, event->batch_id, &body);
    rc = strbuf_failed(&body) ? ERR_NOMEM
                              : insert_event(store, id, strbuf_str(&body), spread, event);
    strbuf_deinit(&body);
    return rc;
}

int work_hook_event(struct store *store, const struct store_hook_event *event)
{
    char id[HOOK_EVENT_ID + 1];

    assert(event->batch_id != NULL && *event->batch_id != '\0');
    return make_event(store, 0, event, id);
}

static int spread(struct store *store, struct ids *ids)
{
    struct value values[STORE_HOOKS_SPREAD + 1];
    char sql[256];
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);

    snprintf(sql, sizeof(sql),
             "select id from @hook_event where spread = 0 order by created limit %d%s",
             STORE_HOOKS_SPREAD, store->engine->ops->skip_locked);
    if (rc == 0)
        rc = work_run(store, sql, NULL, 0, on_id, ids);
    if (rc != 0 || ids->num == 0)
        return rc;
    values[0] = value_int(now_ms);
    rc = run_for(store,
                 "insert into @hook_try(event_id, hook_id, since, next_at)"
                 " select e.id, h.id, cast($1 as bigint), cast($1 as bigint)"
                 " from @hook_event e join @hook h on " WANTS " where e.id in ",
                 values, 1, ids, " on conflict do nothing", NULL, NULL);
    return rc == 0 ? run_for(store, "update @hook_event set spread = 1 where id in ", values, 0,
                             ids, "", NULL, NULL)
                   : rc;
}

int store_hooks_spread(struct store *store, size_t *num)
{
    struct ids *ids = calloc(1, sizeof(*ids));
    int rc;

    *num = 0;
    if (ids == NULL)
        return ERR_NOMEM;
    rc = work_begin(store, WORK_WRITE);
    if (rc == 0)
        rc = work_end(store, spread(store, ids));
    if (rc == 0)
        *num = ids->num;
    free(ids);
    return rc;
}

static int add_try(struct store *store, const char *event_id, const char *hook_id)
{
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);
    struct value values[] = {value_text(event_id), value_text(hook_id), value_int(now_ms)};

    return rc == 0 ? WORK_RUN(store,
                              "insert into @hook_try(event_id, hook_id, since, next_at)"
                              " values($1, $2, $3, $3)",
                              values, NULL, NULL)
                   : rc;
}

/* Spread 2: it is for those alone that have a try of it. */
int store_hooks_test(struct store *store, const struct store_hook *hook, char id[HOOK_EVENT_ID + 1])
{
    char batch[sizeof(TEST_BATCH) + HOOK_EVENT_ID];
    struct store_hook_event event = {
        .batch_id = batch, .owner = hook->of.all ? 0 : hook->of.owner, .type = HOOK_COMPLETED};
    int rc = hook_event_new_id(id);

    if (rc != 0)
        return rc;
    snprintf(batch, sizeof(batch), TEST_BATCH "%s", id + strlen("evt_"));
    rc = work_begin(store, WORK_WRITE);
    if (rc != 0)
        return rc;
    rc = work_now(store, &event.now_ms);
    if (rc == 0)
        rc = make_event(store, 2, &event, id);
    if (rc == 0)
        rc = add_try(store, id, hook->id);
    return work_end(store, rc);
}

static int replay(struct store *store, const char *event_id,
                  const struct store_hook_owner *for_whom, size_t *num)
{
    struct value values[4];
    int64_t there = 0, now_ms = 0;
    int rc;

    hooks_whom(for_whom, values);
    values[2] = value_text(event_id);
    rc = work_run(store,
                  "select count(*) from @hook_event e where (cast($1 as bigint) = 1"
                  " or e.owner = $2) and e.id = $3",
                  values, 3, hooks_on_number, &there);
    if (rc == 0 && there == 0)
        return ERR_NOT_FOUND;
    if (rc == 0)
        rc = work_now(store, &now_ms);
    values[3] = value_int(now_ms);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "insert into @hook_try(event_id, hook_id, since, next_at)"
                      " select e.id, h.id, cast($4 as bigint), cast($4 as bigint)"
                      " from @hook_event e join @hook h on " WANTS " where e.id = $3"
                      " and (cast($1 as bigint) = 1 or h.owner = $2)"
                      " and (e.spread <> 2 or exists(select 1 from @hook_try o"
                      " where o.event_id = e.id and o.hook_id = h.id))"
                      " on conflict(event_id, hook_id) do update set state = 0, tries = 0,"
                      " since = excluded.since, next_at = excluded.next_at, claim_node = null,"
                      " claim_until = 0 returning hook_id",
                      values, on_count, num);
    return rc;
}

int store_hooks_replay(struct store *store, const char *event_id,
                       const struct store_hook_owner *for_whom, size_t *num)
{
    int rc = work_begin(store, WORK_WRITE);

    *num = 0;
    return rc == 0 ? work_end(store, replay(store, event_id, for_whom, num)) : rc;
}

/* ---- how it went ---- */

void store_hook_stories_deinit(struct store_hook_stories *stories)
{
    for (size_t i = 0; i < stories->num; i++) {
        free(stories->rows[i].event_id);
        free(stories->rows[i].type);
        free(stories->rows[i].batch_id);
        free(stories->rows[i].last_error);
    }
    free(stories->rows);
    memset(stories, 0, sizeof(*stories));
}

static int on_story(void *arg, const struct row *row)
{
    struct store_hook_stories *stories = arg;
    struct store_hook_story *grown = grow(stories->rows, stories->num, sizeof(*grown)), *out;

    if (grown == NULL)
        return ERR_NOMEM;
    stories->rows = grown;
    out = &grown[stories->num++];
    *out = (struct store_hook_story){.created_ms = row_int(row, 3),
                                     .state = (enum store_hook_state)row_int(row, 4),
                                     .tries = row_int(row, 5),
                                     .next_ms = row_int(row, 6),
                                     .last_ms = row_int(row, 7),
                                     .last_status = row_int(row, 8)};
    return copy_column(&out->event_id, row, 0) && copy_column(&out->type, row, 1) &&
                   copy_column(&out->batch_id, row, 2) && copy_column(&out->last_error, row, 9)
               ? 0
               : ERR_NOMEM;
}

int store_hooks_stories(struct store *store, const char *hook_id, const char *before, size_t max,
                        struct store_hook_stories *out)
{
    struct value values[] = {value_text(hook_id), value_text(before), value_int((int64_t)max)};
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store,
                  WORK_RUN(store,
                           "select e.id, e.type, e.batch_id, e.created, t.state, t.tries,"
                           " t.next_at, t.last_at, t.last_status, t.last_error from @hook_try t"
                           " join @hook_event e on e.id = t.event_id"
                           " left join @hook_event b on b.id = cast($2 as text)"
                           " where t.hook_id = $1 and (b.id is null or e.created < b.created"
                           " or (e.created = b.created and e.id < b.id))"
                           " order by e.created desc, e.id desc limit $3",
                           values, on_story, out));
    if (rc != 0)
        store_hook_stories_deinit(out);
    return rc;
}

/* ---- tries ---- */

void store_hook_try_deinit(struct store_hook_try *row)
{
    char *texts[] = {row->event_id, row->hook_id, row->body,
                     row->url,      row->secret,  row->old_secret};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    memset(row, 0, sizeof(*row));
}

void store_hook_tries_deinit(struct store_hook_tries *tries)
{
    for (size_t i = 0; i < tries->num; i++)
        store_hook_try_deinit(&tries->rows[i]);
    free(tries->rows);
    memset(tries, 0, sizeof(*tries));
}

struct due {
    char (*ids)[STORE_HOOK_ID + 1];
    size_t max, num;
};

static int on_due(void *arg, const struct row *row)
{
    struct due *due = arg;

    assert(due->num < due->max); /* the query has a limit */
    snprintf(due->ids[due->num++], STORE_HOOK_ID + 1, "%s", row->texts[0]);
    return 0;
}

static int read_due(struct store *store, struct due *due)
{
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);
    struct value values[] = {value_int(now_ms), value_int((int64_t)due->max)};

    return rc == 0 ? WORK_RUN(store,
                              "select t.hook_id, min(t.next_at) from @hook_try t"
                              " join @hook h on h.id = t.hook_id where t.state = 0"
                              " and t.next_at <= $1 and t.claim_until <= $1 and h.enabled = 1"
                              " and h.rest_until <= $1 group by t.hook_id order by 2 limit $2",
                              values, on_due, due)
                   : rc;
}

int store_hooks_due(struct store *store, char (*ids)[STORE_HOOK_ID + 1], size_t max, size_t *num)
{
    struct due due = {.ids = ids, .max = max};
    int rc = work_begin(store, WORK_READ);

    *num = 0;
    if (rc != 0)
        return rc;
    rc = work_end(store, read_due(store, &due));
    if (rc == 0)
        *num = due.num;
    return rc;
}

struct claim {
    struct store_hook_tries *out;
    int64_t now_ms;
};

static int on_claimed(void *arg, const struct row *row)
{
    struct claim *claim = arg;
    struct store_hook_tries *out = claim->out;
    struct store_hook_try *grown = grow(out->rows, out->num, sizeof(*grown)), *one;

    if (grown == NULL)
        return ERR_NOMEM;
    out->rows = grown;
    one = &grown[out->num++];
    *one = (struct store_hook_try){.tries = row_int(row, 5),
                                   .age_ms = claim->now_ms - row_int(row, 6)};
    if (row_int(row, 8) <= claim->now_ms) /* the old secret signs no more */
        return copy_column(&one->event_id, row, 0) && copy_column(&one->hook_id, row, 1) &&
                       copy_column(&one->body, row, 2) && copy_column(&one->url, row, 3) &&
                       copy_column(&one->secret, row, 4)
                   ? 0
                   : ERR_NOMEM;
    return copy_column(&one->event_id, row, 0) && copy_column(&one->hook_id, row, 1) &&
                   copy_column(&one->body, row, 2) && copy_column(&one->url, row, 3) &&
                   copy_column(&one->secret, row, 4) && copy_column(&one->old_secret, row, 7)
               ? 0
               : ERR_NOMEM;
}

static int claim_some(struct store *store, const struct store_hook_claimer *claimer,
                      const char *hook_id, size_t max, struct claim *claim, struct ids *ids)
{
    struct value values[4 + STORE_HOOKS_SPREAD];
    char sql[320];
    int rc = work_now(store, &claim->now_ms);

    snprintf(sql, sizeof(sql),
             "select event_id from @hook_try where hook_id = $1 and state = 0 and next_at <= $2"
             " and claim_until <= $2 order by next_at limit %zu%s",
             max, store->engine->ops->skip_locked);
    values[0] = value_text(hook_id);
    values[1] = value_int(claim->now_ms);
    if (rc == 0)
        rc = work_run(store, sql, values, 2, on_id, ids);
    if (rc != 0 || ids->num == 0)
        return rc;
    values[1] = value_text(claimer->node);
    values[2] = value_int(claimer->epoch);
    values[3] = value_int(claim->now_ms);
    rc = run_for(store,
                 "update @hook_try set claim_node = $2, claim_epoch = $3, last_at = $4,"
                 " claim_until = cast($4 as bigint) + 60000, tries = tries + 1"
                 " where hook_id = $1 and event_id in ",
                 values, 4, ids, "", NULL, NULL);
    if (rc == 0)
        rc = run_for(store,
                     "select e.id, h.id, e.body, h.url, h.secret, t.tries, t.since, h.old_secret,"
                     " h.old_until from @hook_try t join @hook_event e on e.id = t.event_id"
                     " join @hook h on h.id = t.hook_id where t.hook_id = $1 and t.event_id in ",
                     values, 1, ids, "", on_claimed, claim);
    return rc;
}

static_assert(STORE_HOOK_CLAIM_MS == 60000, "as the statement says");

int store_hooks_claim(struct store *store, const struct store_hook_claimer *claimer,
                      const char *hook_id, size_t max, struct store_hook_tries *out)
{
    struct claim claim = {.out = out};
    struct ids *ids = calloc(1, sizeof(*ids));
    int rc;

    assert(max > 0 && max <= CLAIM_MOST);
    memset(out, 0, sizeof(*out));
    if (ids == NULL)
        return ERR_NOMEM;
    rc = work_begin(store, WORK_WRITE);
    if (rc == 0)
        rc = work_end(store, claim_some(store, claimer, hook_id, max, &claim, ids));
    if (rc != 0)
        store_hook_tries_deinit(out);
    free(ids);
    return rc;
}

static int write_try(struct store *store, const struct store_hook_claimer *claimer,
                     const struct store_hook_result *result, int64_t now_ms)
{
    struct value values[] = {value_text(result->event_id), value_text(result->hook_id),
                             value_int(result->state),     value_int(now_ms + result->wait_ms),
                             value_int(result->status),    value_text(result->error),
                             value_text(claimer->node),    value_int(claimer->epoch)};
    size_t num = 0;
    int rc = WORK_RUN(store,
                      "update @hook_try set state = $3, next_at = $4, claim_node = null,"
                      " claim_until = 0, last_status = $5, last_error = $6 where event_id = $1"
                      " and hook_id = $2 and claim_node = $7 and claim_epoch = $8 and state = 0"
                      " returning event_id",
                      values, on_count, &num);

    return rc == 0 && num == 0 ? ERR_NOT_FOUND : rc;
}

static int note_success(struct store *store, const char *hook_id, int64_t now_ms)
{
    struct value values[] = {value_text(hook_id), value_int(now_ms)};

    return WORK_RUN(store,
                    "update @hook set last_ok = $2, failing_since = null, rest_until = 0"
                    " where id = $1",
                    values, NULL, NULL);
}

static int note_failure(struct store *store, const struct store_hook_result *result, int64_t now_ms,
                        int64_t *since_ms)
{
    struct value values[] = {value_text(result->hook_id), value_int(now_ms),
                             value_int(result->rest_ms > 0 ? now_ms + result->rest_ms : 0)};

    return WORK_RUN(store,
                    "update @hook set failing_since = coalesce(failing_since, $2),"
                    " rest_until = case when rest_until < $3 then $3 else rest_until end"
                    " where id = $1 returning failing_since",
                    values, hooks_on_number, since_ms);
}

static int switch_off(struct store *store, const char *hook_id, const char *why, bool *off)
{
    struct value values[] = {value_text(hook_id), value_text(why)};
    size_t num = 0;
    int rc = WORK_RUN(store,
                      "update @hook set enabled = 0, off_why = $2 where id = $1 and enabled = 1"
                      " returning id",
                      values, on_count, &num);

    *off = num > 0;
    return rc;
}

static int report(struct store *store, const struct store_hook_claimer *claimer,
                  const struct store_hook_result *result, int64_t dead_ms, bool *off)
{
    int64_t now_ms = 0, since_ms = 0;
    const char *why = result->off_why;
    int rc = work_now(store, &now_ms);

    if (rc == 0)
        rc = write_try(store, claimer, result, now_ms);
    if (rc == 0 && result->state == STORE_HOOK_DELIVERED)
        return note_success(store, result->hook_id, now_ms);
    if (rc == 0)
        rc = note_failure(store, result, now_ms, &since_ms);
    if (why == NULL && since_ms != 0 && now_ms - since_ms >= dead_ms)
        why = "it took nothing for 72 hours";
    return rc == 0 && why != NULL ? switch_off(store, result->hook_id, why, off) : rc;
}

int store_hooks_report(struct store *store, const struct store_hook_claimer *claimer,
                       const struct store_hook_result *result, int64_t dead_ms, bool *off)
{
    int rc = work_begin(store, WORK_WRITE);

    *off = false;
    return rc == 0 ? work_end(store, report(store, claimer, result, dead_ms, off)) : rc;
}

int store_hooks_take_back(struct store *store, const struct store_hook_claimer *claimer)
{
    struct value values[] = {value_text(claimer->node), value_int(claimer->epoch)};
    int rc = work_begin(store, WORK_WRITE);

    return rc == 0
               ? work_end(store, WORK_RUN(store,
                                          "update @hook_try set claim_node = null, claim_until = 0"
                                          " where claim_node = $1 and claim_epoch <> $2",
                                          values, NULL, NULL))
               : rc;
}

/* ---- upkeep ---- */

static int tend(struct store *store, size_t *num)
{
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);
    struct value values[] = {value_int(now_ms - STORE_HOOK_KEPT_MS)};
    struct value late[] = {value_int(now_ms - STORE_HOOK_KEPT_MS - 7 * (int64_t)86400000)};

    if (rc == 0)
        rc = WORK_RUN(store,
                      "delete from @hook where id in (select id from @hook where batch_id is not"
                      " null and created <= $1 limit " SLICE_TEXT ")",
                      late, NULL, NULL);
    return rc == 0 ? WORK_RUN(store,
                              "delete from @hook_event where id in (select id from @hook_event"
                              " where created <= $1 order by created limit " SLICE_TEXT ")"
                              " returning id",
                              values, on_count, num)
                   : rc;
}

int store_hooks_tend(struct store *store, bool *more)
{
    size_t num = 0;
    int rc = work_begin(store, WORK_WRITE);

    *more = false;
    if (rc != 0)
        return rc;
    rc = work_end(store, tend(store, &num));
    *more = rc == 0 && num == SLICE;
    return rc;
}

static int on_counts(void *arg, const struct row *row)
{
    struct store_hook_counts *out = arg;

    out->due = row_int(row, 0);
    out->overdue_ms = row_int(row, 1);
    return 0;
}

static int on_endpoints(void *arg, const struct row *row)
{
    struct store_hook_counts *out = arg;

    out->endpoints = row_int(row, 0);
    out->off = row_int(row, 1);
    return 0;
}

static int count(struct store *store, struct store_hook_counts *out)
{
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);
    struct value values[] = {value_int(now_ms)};

    if (rc == 0)
        rc = WORK_RUN(store,
                      "select count(*), cast($1 as bigint) - min(t.next_at) from @hook_try t"
                      " join @hook h on h.id = t.hook_id where t.state = 0 and t.next_at <= $1"
                      " and h.enabled = 1",
                      values, on_counts, out);
    return rc == 0 ? work_run(store,
                              "select count(*), count(case when enabled = 0 then 1 end) from @hook"
                              " where batch_id is null",
                              NULL, 0, on_endpoints, out)
                   : rc;
}

int store_hooks_count(struct store *store, struct store_hook_counts *out)
{
    int rc = work_begin(store, WORK_READ);

    memset(out, 0, sizeof(*out));
    return rc == 0 ? work_end(store, count(store, out)) : rc;
}
