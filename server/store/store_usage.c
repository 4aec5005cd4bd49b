/* See store_usage.h. */
#include "store/store_usage.h"

#include <assert.h>
#include <stdio.h>

#include "store_impl.h"

#define COLUMNS                                                                                    \
    "batch_id, part, model, owner, key_id, key_alias, team_id, user_id, tags, deployment,"         \
    " model_group, ok, bad, tok_in, tok_cached, tok_out, tok_reason, nano, price, unpriced,"       \
    " source, created, finished, seq"
#define NUM_COLUMNS  24
#define MEAN_OF_TEXT "50" /* rows that a mean is made of */

static_assert(NUM_COLUMNS <= ENGINE_MAX_COLUMNS, "a row of usage");

/* ---- rows out ---- */

struct reader {
    store_usage_cb on_row;
    void *arg;
    size_t num, limit;
    int64_t last;
    bool more;
};

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static int on_usage(void *arg, const struct row *row)
{
    struct reader *r = arg;
    const char *const *t = row->texts;
    struct store_usage_row usage = {.batch_id = or_empty(t[0]),
                                    .part = row_int(row, 1),
                                    .model = or_empty(t[2]),
                                    .owner = (uint64_t)row_int(row, 3),
                                    .key_id = t[4],
                                    .key_alias = t[5],
                                    .team_id = t[6],
                                    .user_id = t[7],
                                    .tags = t[8],
                                    .deployment = (uint32_t)row_int(row, 9),
                                    .group = t[10],
                                    .ok = row_int(row, 11),
                                    .bad = row_int(row, 12),
                                    .tok_in = row_int(row, 13),
                                    .tok_cached = row_int(row, 14),
                                    .tok_out = row_int(row, 15),
                                    .tok_reason = row_int(row, 16),
                                    .nano = row_int(row, 17),
                                    .price = t[18],
                                    .unpriced = row_int(row, 19),
                                    .source = or_empty(t[20]),
                                    .created_ms = row_int(row, 21),
                                    .finished_ms = row_int(row, 22),
                                    .seq = row_int(row, 23)};

    if (r->num == r->limit) {
        r->more = true;
        return 0;
    }
    assert(usage.seq > r->last); /* the cursor never stands still */
    r->num++;
    r->last = usage.seq;
    return r->on_row(r->arg, &usage);
}

int store_usage_read(struct store *store, const struct store_usage_query *query, int64_t *last,
                     bool *more, store_usage_cb on_row, void *arg)
{
    struct reader reader = {
        .on_row = on_row, .arg = arg, .limit = query->limit, .last = query->since_seq};
    struct value values[] = {value_int(query->since_seq), value_int((int64_t)query->limit + 1),
                             value_int((int64_t)query->owner)};
    int rc;

    assert(query->limit >= 1 && query->limit <= STORE_USAGE_PAGE);
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    if (!query->of_owner)
        rc = work_run(store, "select " COLUMNS " from @usage where seq > $1 order by seq limit $2",
                      values, 2, on_usage, &reader);
    else
        rc = work_run(store,
                      "select " COLUMNS " from @usage where owner = $3 and seq > $1"
                      " order by seq limit $2",
                      values, 3, on_usage, &reader);
    *last = reader.last;
    *more = reader.more;
    return work_end(store, rc);
}

/* ---- means ---- */

static int on_mean(void *arg, const struct row *row)
{
    struct store_usage_mean *mean = arg;

    mean->tok_in = row_int(row, 0);
    mean->tok_out = row_int(row, 1);
    return 0;
}

int store_usage_mean(struct store *store, const char *group, const uint64_t *owner,
                     struct store_usage_mean *out)
{
    struct value values[] = {value_text(group), value_int(owner != NULL ? (int64_t)*owner : 0)};
    char sql[320];
    int rc = work_begin(store, WORK_READ);

    *out = (struct store_usage_mean){0};
    if (rc != 0)
        return rc;
    snprintf(sql, sizeof(sql),
             "select sum(tok_in), sum(tok_out) from (select tok_in, tok_out from @usage"
             " where model_group = $1 and tok_in > 0%s order by seq desc limit " MEAN_OF_TEXT
             ") as newest",
             owner != NULL ? " and owner = $2" : "");
    rc = work_run(store, sql, values, owner != NULL ? 2 : 1, on_mean, out);
    return work_end(store, rc);
}
