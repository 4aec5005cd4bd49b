/* See file_totals.h. Rows of one account have a column each, all with the same number; its news are
 * taken from the first of them. */
#include "file_totals.h"

#include <assert.h>
#include <stdlib.h>

#include "crypto/account_map.h"
#include "store/store_fleet.h"

/* One account, and a kind of files. */
struct total {
    uint32_t resource; /* index of the account, the first one of the same place */
    enum slots_kind kind;
    struct slots_news news; /* taken, while they are told */
};

struct file_totals {
    const struct inherited *inherited; /* borrowed */
    struct store *store;               /* borrowed */
    struct account_map map;
    struct total *totals;    /* owned [num] */
    struct fleet_held *held; /* owned [num]; of the call under way */
    size_t num;
    uint64_t due_ms; /* when the database is asked though nothing happened here */
    uint64_t next_ms;
};

/* --- columns --- */

/* The next row behind `i` of an account; MODEL_NO_INDEX: none. */
static uint32_t next_row(const struct file_totals *t, uint32_t resource, uint32_t i)
{
    const struct table *table = t->inherited->table;

    for (; i < table_num_deployments(table); i++)
        if (t->map.same_resource[table_deployment(table, i)->account] == resource)
            return i;
    return MODEL_NO_INDEX;
}

/* The same news stand in each column of the account. @return whether there are any */
static bool take_news(const struct file_totals *t, struct total *total)
{
    bool first = true, any = false;

    for (uint32_t i = 0; (i = next_row(t, total->resource, i)) != MODEL_NO_INDEX; i++) {
        struct slots_news news;
        bool taken =
            slots_take_news(t->inherited->slots, t->inherited->columns[i], total->kind, &news);

        if (first) {
            total->news = news;
            any = taken;
        }
        first = false;
    }
    return any;
}

static void return_news(const struct file_totals *t, const struct total *total)
{
    for (uint32_t i = 0; (i = next_row(t, total->resource, i)) != MODEL_NO_INDEX; i++)
        slots_return_news(t->inherited->slots, t->inherited->columns[i], total->kind, &total->news);
}

static void share(const struct file_totals *t, const struct total *total, int64_t files)
{
    for (uint32_t i = 0; (i = next_row(t, total->resource, i)) != MODEL_NO_INDEX; i++)
        slots_share(t->inherited->slots, t->inherited->columns[i], total->kind, &total->news,
                    (uint64_t)files);
}

/* --- the database --- */

static struct fleet_held held_of(const struct file_totals *t, const struct total *total)
{
    bool counted = total->news.counted && total->news.held != UINT64_MAX;

    return (struct fleet_held){.account = t->map.key[total->resource],
                               .kind = total->kind,
                               .counted = counted,
                               .files = counted ? (int64_t)total->news.held : total->news.change};
}

/* The call has put them into an order of its own. */
static const struct fleet_held *find_held(const struct file_totals *t, const struct total *total)
{
    for (size_t i = 0; i < t->num; i++)
        if (t->held[i].account == t->map.key[total->resource] &&
            t->held[i].kind == (unsigned)total->kind)
            return &t->held[i];
    return NULL;
}

static void hear(const struct file_totals *t)
{
    for (size_t i = 0; i < t->num; i++) {
        const struct fleet_held *held = find_held(t, &t->totals[i]);

        assert(held != NULL);
        if (held->files >= 0)
            share(t, &t->totals[i], held->files);
    }
}

static bool take_all_news(struct file_totals *t)
{
    bool any = false;

    for (size_t i = 0; i < t->num; i++)
        any |= take_news(t, &t->totals[i]);
    return any;
}

void file_totals_look(struct file_totals *t, uint64_t now_ms)
{
    if (t->num == 0 || now_ms < t->next_ms)
        return;
    t->next_ms = now_ms + FILE_TOTALS_EVERY_MS;
    if (!take_all_news(t) && now_ms < t->due_ms)
        return;
    for (size_t i = 0; i < t->num; i++)
        t->held[i] = held_of(t, &t->totals[i]);
    if (store_fleet_files(t->store, t->held, t->num) == 0) {
        t->due_ms = now_ms + FILE_TOTALS_QUIET_MS;
        hear(t);
        return;
    }
    for (size_t i = 0; i < t->num; i++) /* the database is away */
        return_news(t, &t->totals[i]);
}

/* --- life --- */

static int list_accounts(struct file_totals *t)
{
    t->totals = calloc((size_t)t->map.num * SLOTS_KINDS + 1, sizeof(*t->totals));
    t->held = calloc((size_t)t->map.num * SLOTS_KINDS + 1, sizeof(*t->held));
    if (t->totals == NULL || t->held == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < t->map.num; i++) {
        if (t->map.same_resource[i] != i || next_row(t, i, 0) == MODEL_NO_INDEX)
            continue;
        for (int kind = 0; kind < SLOTS_KINDS; kind++)
            t->totals[t->num++] = (struct total){.resource = i, .kind = (enum slots_kind)kind};
    }
    return 0;
}

int file_totals_new(const struct inherited *inherited, struct store *store,
                    struct file_totals **out)
{
    struct file_totals *t = calloc(1, sizeof(*t));
    int ret;

    if (t == NULL)
        return ERR_NOMEM;
    t->inherited = inherited;
    t->store = store;
    ret = account_map_init(&t->map, &inherited->config->models, inherited->config->balance_batches);
    if (ret == 0)
        ret = list_accounts(t);
    if (ret != 0) {
        file_totals_free(t);
        return ret;
    }
    *out = t;
    return 0;
}

void file_totals_free(struct file_totals *t)
{
    if (t == NULL)
        return;
    account_map_deinit(&t->map);
    free(t->totals);
    free(t->held);
    free(t);
}
