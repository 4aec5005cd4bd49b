/* What the ledger knows: batches that are not over, and what keys and teams hold of it. */
#include <assert.h>
#include <string.h>

#include "json/json.h"
#include "objects/client_ids.h"
#include "state_parts.h"

#define PLACES_A_TURN 8192
#define SCOPES_A_TURN 16384 /* names of the ledger */
#define KEYS_A_TURN   4096  /* that hold nothing, some 20 ns each ... */
#define KEY_COSTS     32    /* ... and so many times that where one may hold something */

/* --- batches --- */

/* The id as the master sees it, so that it can be asked for and cancelled by it. */
static void write_id(const struct runtime *rt, uint32_t deployment, const char *native,
                     struct strbuf *out)
{
    struct viewer viewer = {.rt = (struct runtime *)(uintptr_t)rt};
    struct strbuf id = STRBUF_INIT;

    client_ids_text(&viewer, deployment, ID_BATCH, client_ids_are_tagged(&viewer, deployment),
                    native, &id);
    json_write_member_string(out, "id", strbuf_str(&id));
    strbuf_deinit(&id);
}

static void write_batch(const struct runtime *rt, const struct quota_view *view, struct strbuf *out)
{
    uint32_t row = state_row_of_column(rt, view->column);
    uint64_t now_ms = loop_now_ms(rt->loop);

    strbuf_addf(out, "{\"tokens\":%llu", (unsigned long long)view->tokens);
    if (view->id[0] != '\0' && row != MODEL_NO_INDEX)
        write_id(rt, row, view->id, out);
    json_write_member_string(
        out, "deployment",
        row != MODEL_NO_INDEX ? table_str(rt->table, table_deployment(rt->table, row)->id) : NULL);
    json_write_member_int(out, "age_s",
                          now_ms > view->begun_ms ? (int64_t)(now_ms - view->begun_ms) / 1000 : 0);
    strbuf_addf(out, ",\"orphan\":%s}", view->orphan ? "true" : "false");
}

/* As many entries are looked at in a turn, found or not, and as many are shown; the rest is counted. */
bool state_ledger_write(struct state_ledger *l, const struct runtime *rt, struct strbuf *out)
{
    uint32_t first = l->cursor, left = PLACES_A_TURN;
    struct quota_view view;

    if (!l->begun)
        strbuf_adds(out, ",\"ledger\":{\"batches\":[");
    l->begun = true;
    while (left > 0 &&
           quota_look(rt->inherited->quota, &l->cursor, left, loop_now_ms(rt->loop), &view)) {
        l->total++;
        l->orphans += view.orphan;
        if (l->shown < STATE_BATCHES) {
            strbuf_adds(out, l->shown++ == 0 ? "" : ",");
            write_batch(rt, &view, out);
        }
        assert(l->cursor > first); /* or it would never end */
        left = l->cursor - first < PLACES_A_TURN ? PLACES_A_TURN - (l->cursor - first) : 0;
    }
    if (l->cursor != 0)
        return true;
    strbuf_addf(out, "],\"total\":%llu,\"orphans\":%llu}", (unsigned long long)l->total,
                (unsigned long long)l->orphans);
    return false;
}

/* --- tenants --- */

static bool is_known(const struct state_tenants *t, uint64_t name)
{
    for (uint32_t i = 0; i < t->num; i++)
        if (t->rows[i].name == name)
            return true;
    return false;
}

/* In its place; the last one makes room. */
static void insert(struct state_tenants *t, const struct state_tenant *row)
{
    uint32_t at = t->num;

    while (at > 0 && t->rows[at - 1].tokens < row->tokens)
        at--;
    if (at == STATE_TENANTS)
        return;
    if (t->num < STATE_TENANTS)
        t->num++;
    memmove(&t->rows[at + 1], &t->rows[at], (t->num - 1 - at) * sizeof(t->rows[0]));
    t->rows[at] = *row;
}

/* @param text  its name for people */
static void look_at(struct state_tenants *t, const struct runtime *rt, uint64_t name,
                    const struct rights_limits *limits, const char *text, bool is_team)
{
    struct state_tenant row = {.name = name,
                               .token_limit = limits->enqueued_tokens,
                               .batch_limit = limits->open_batches,
                               .is_team = is_team};
    struct quota_scope_sum sum;

    if (name == 0 || is_known(t, name) ||
        !quota_read_scope(rt->inherited->quota, name, loop_now_ms(rt->loop), &sum))
        return;
    row.tokens = sum.tokens;
    row.batches = sum.batches;
    memccpy(row.text, text, '\0', sizeof(row.text) - 1);
    insert(t, &row);
}

static void look_at_key(struct state_tenants *t, const struct runtime *rt, const struct rights *key)
{
    char tail[RIGHTS_TAIL + 8] = "sk-...";

    memccpy(tail + 6, key->tail, '\0', RIGHTS_TAIL);
    look_at(t, rt, key->key, &key->key_limits, key->alias[0] != '\0' ? key->alias : tail, false);
    look_at(t, rt, key->team, &key->team_limits, key->team_name, true);
}

static void write_limit(struct strbuf *out, const char *name, uint64_t limit)
{
    if (limit != RIGHTS_UNLIMITED)
        json_write_member_int(out, name, (int64_t)limit);
}

static void write_tenant(const struct state_tenant *row, struct strbuf *out)
{
    strbuf_addf(out, "{\"kind\":\"%s\"", row->is_team ? "team" : "key");
    json_write_member_string(out, "name", row->text);
    json_write_member_int(out, "tokens", (int64_t)row->tokens);
    json_write_member_int(out, "batches", (int64_t)row->batches);
    write_limit(out, "token_limit", row->token_limit);
    write_limit(out, "batch_limit", row->batch_limit);
    strbuf_addc(out, '}');
}

static bool may_hold(const struct state_tenants *t, uint64_t name)
{
    return name != 0 && quota_is_marked(&t->marks, name) && !is_known(t, name);
}

/* @return whether there are more keys */
static bool look_at_keys(struct state_tenants *t, const struct runtime *rt)
{
    const struct rights_table *table = rt->inherited->rights;
    uint64_t name, team;
    struct rights key;

    for (uint32_t cost = 0; cost < KEYS_A_TURN; t->next++) {
        if (!rights_names_at(table, t->next, &name, &team))
            return false;
        cost++;
        if (!may_hold(t, name) && !may_hold(t, team))
            continue;
        cost += KEY_COSTS;
        if (rights_at(table, t->next, &key))
            look_at_key(t, rt, &key);
    }
    return true;
}

/* Of tens of thousands of keys few hold anything: those are marked first, and alone looked at. */
bool state_tenants_write(struct state_tenants *t, const struct runtime *rt, struct strbuf *out)
{
    bool any = rt->inherited->rights != NULL;

    if (any && !t->marked) {
        t->marked = !quota_mark_scopes(rt->inherited->quota, &t->cursor, SCOPES_A_TURN, &t->marks);
        return true;
    }
    if (any && look_at_keys(t, rt))
        return true;
    strbuf_addf(out, ",\"tenants\":{\"keys\":%u,\"rows\":[", t->next);
    for (uint32_t i = 0; i < t->num; i++) {
        strbuf_adds(out, i == 0 ? "" : ",");
        write_tenant(&t->rows[i], out);
    }
    strbuf_adds(out, "]}");
    return false;
}
