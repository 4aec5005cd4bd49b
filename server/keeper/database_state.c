/* See database_state.h. */
#include "database_state.h"

#include <assert.h>
#include <string.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "json/json.h"
#include "store/store_batches.h"
#include "store/store_deletions.h"
#include "store/store_fleet.h"
#include "store/store_hooks.h"

static void note_reach(const struct database_state *s, uint64_t keys_generation)
{
    struct database_words *w = s->words;
    enum store_state state = store_state(s->store);

    store_relaxed_32(&w->configured, 1);
    store_relaxed_32(&w->journal, s->journal);
    store_relaxed_32(&w->up, state == STORE_UP || state == STORE_FULL);
    store_relaxed(&w->contact_ms, store_reached_ms(s->store));
    store_relaxed(&w->keys_generation, keys_generation);
    if (state == STORE_UP)
        problem_clear(&w->why);
    else if (store_why(s->store)[0] != '\0')
        problem_set(&w->why, store_why(s->store));
    else
        problem_set(&w->why, store_state_name(state));
}

/* One line of at most PROBLEM_BYTES: an address that makes it longer is left out. */
static void put_node(struct database_words *w, size_t i, const struct fleet_node *node)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_adds(&text, "{\"id\":");
    json_write_string(&text, node->node, strlen(node->node));
    strbuf_addf(&text, ",\"live\":%s", node->live ? "true" : "false");
    json_write_member_int(&text, "seen_s", node->age_ms / 1000);
    json_write_member_int(&text, "epoch", node->epoch);
    json_write_member_string(&text, "version", node->version);
    strbuf_addc(&text, '}');
    if (!strbuf_failed(&text) && text.len < PROBLEM_BYTES)
        problem_set(&w->node[i], strbuf_str(&text));
    else
        problem_clear(&w->node[i]);
    strbuf_deinit(&text);
}

static void ask_nodes(const struct database_state *s)
{
    static struct fleet_node nodes[DATABASE_NODES]; /* one per process */
    struct database_words *w = s->words;
    uint32_t live = 0;
    size_t num = 0;

    if (store_fleet_nodes(s->store, nodes, DATABASE_NODES, &num) != 0)
        return;
    assert(num <= DATABASE_NODES);
    for (size_t i = 0; i < DATABASE_NODES; i++) {
        if (i < num)
            put_node(w, i, &nodes[i]);
        else
            problem_clear(&w->node[i]);
        live += i < num && nodes[i].live;
    }
    store_relaxed_32(&w->nodes, (uint32_t)num);
    store_relaxed_32(&w->nodes_up, live);
}

static void ask_batches(const struct database_state *s)
{
    struct database_words *w = s->words;
    struct store_batch_counts counts;
    int64_t now_ms = clock_unix_ms();

    if (store_batches_count(s->store, s->node, &counts) != 0)
        return;
    store_relaxed(&w->open, counts.open);
    store_relaxed(&w->unmeasured, counts.unmeasured);
    store_relaxed(&w->due, counts.due);
    store_relaxed(&w->claimed, counts.claimed);
    store_relaxed(&w->late_ms, counts.late_ms != 0 && counts.late_ms < now_ms
                                   ? (uint64_t)(now_ms - counts.late_ms)
                                   : 0);
}

static void ask_deletions(const struct database_state *s)
{
    struct database_words *w = s->words;
    struct store_deletion_counts counts;
    int64_t now_ms = clock_unix_ms();

    if (store_deletions_count(s->store, &counts) != 0)
        return;
    store_relaxed(&w->deletions, counts.waiting);
    store_relaxed(&w->deletions_late_ms, counts.late_ms != 0 && counts.late_ms < now_ms
                                             ? (uint64_t)(now_ms - counts.late_ms)
                                             : 0);
}

static void ask_hooks(const struct database_state *s)
{
    struct database_words *w = s->words;
    struct store_hook_counts counts;

    if (store_hooks_count(s->store, &counts) != 0)
        return;
    store_relaxed(&w->hooks_due, (uint64_t)counts.due);
    store_relaxed(&w->hooks_late_ms, counts.overdue_ms > 0 ? (uint64_t)counts.overdue_ms : 0);
    store_relaxed(&w->hooks, (uint64_t)counts.endpoints);
    store_relaxed(&w->hooks_off, (uint64_t)counts.off);
}

void database_state_step(struct database_state *s, uint64_t keys_generation, uint64_t now_ms)
{
    if (s->store == NULL) {
        store_relaxed_32(&s->words->configured, 0);
        return;
    }
    if (s->journal && now_ms >= s->ask_ms && store_state(s->store) == STORE_UP) {
        s->ask_ms = now_ms + DATABASE_STATE_MS;
        ask_nodes(s);
        ask_batches(s);
        ask_hooks(s);
        ask_deletions(s);
    }
    note_reach(s, keys_generation);
}
