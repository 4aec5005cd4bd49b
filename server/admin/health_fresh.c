/* See health_fresh.h. */
#include "health_fresh.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/shm_words.h"
#include "request/errors.h"
#include "request/operation.h"

#define LOOK_MS 20

/* Of an account: whether it was wanted, and how often it had been asked before. */
struct wanted {
    bool is;
    uint32_t rounds;
};

struct fresh {
    struct operation op;
    struct health_filter filter;
    void (*answer)(struct relay *relay, const struct health_filter *filter);
    uint64_t until_ms;
    struct wanted wanted[]; /* by account */
};

/* --- the query --- */

/* @return ANSWERED: it is too long, or no text */
static enum answered read_name(struct relay *relay, const char *key, char *out, size_t size)
{
    out[0] = '\0';
    if (!route_query_has(relay->query, relay->query_len, key) ||
        route_query(relay->query, relay->query_len, key, out, size) >= 0)
        return GO_ON;
    relay_error(relay, INVALID_VALUE, key, key);
    return ANSWERED;
}

static enum answered read_fresh(struct relay *relay, bool *fresh)
{
    char text[ROUTE_NAME_MAX];

    if (read_name(relay, "fresh", text, sizeof(text)) == ANSWERED)
        return ANSWERED;
    *fresh = strcmp(text, "true") == 0;
    if (*fresh || text[0] == '\0' || strcmp(text, "false") == 0)
        return GO_ON;
    relay_error(relay, INVALID_CHOICE, "fresh", "fresh", "true", "false");
    return ANSWERED;
}

bool health_filter_takes(const struct health_filter *filter, const struct runtime *rt,
                         uint32_t deployment)
{
    const struct table_deployment *d = table_deployment(rt->table, deployment);

    if (filter->model_id[0] != '\0' && strcmp(table_str(rt->table, d->id), filter->model_id) != 0)
        return false;
    if (filter->model[0] == '\0' ||
        strcmp(table_str(rt->table, d->litellm_model), filter->model) == 0)
        return true;
    return d->group != MODEL_NO_INDEX &&
           strcmp(table_group_name(rt->table, d->group), filter->model) == 0;
}

static bool takes_any(const struct health_filter *filter, const struct runtime *rt)
{
    for (uint32_t i = 0; i < table_num_deployments(rt->table); i++)
        if (health_filter_takes(filter, rt, i))
            return true;
    return false;
}

enum answered health_filter_read(struct relay *relay, struct health_filter *filter)
{
    bool named;

    if (read_name(relay, "model", filter->model, sizeof(filter->model)) == ANSWERED ||
        read_name(relay, "model_id", filter->model_id, sizeof(filter->model_id)) == ANSWERED ||
        read_fresh(relay, &filter->fresh) == ANSWERED)
        return ANSWERED;
    named = filter->model[0] != '\0' || filter->model_id[0] != '\0';
    if (!named || takes_any(filter, relay->rt))
        return GO_ON;
    relay_error(relay, NO_MODEL, filter->model_id[0] != '\0' ? "model_id" : "model",
                filter->model_id[0] != '\0' ? filter->model_id : filter->model);
    return ANSWERED;
}

/* --- the wait --- */

static void free_fresh(struct operation *op)
{
    free(op);
}

static const struct operation_ops fresh_ops = {.free = free_fresh};

/* The prober looks at the word of an account's first row. */
static struct probe_word *word_of(const struct runtime *rt, size_t account)
{
    assert(rt->account_first[account] < table_num_deployments(rt->table));
    return &rt->inherited->probes[rt->account_first[account]];
}

static void want(struct fresh *f, uint32_t account)
{
    struct probe_word *word = word_of(f->op.rt, account);

    if (f->wanted[account].is)
        return;
    f->wanted[account].is = true;
    f->wanted[account].rounds = load_relaxed_32(&word->rounds);
    store_relaxed_32(&word->wanted, 1);
}

static bool all_asked(const struct fresh *f)
{
    for (size_t i = 0; i < f->op.rt->config->models.num_accounts; i++)
        if (f->wanted[i].is &&
            load_relaxed_32(&word_of(f->op.rt, i)->rounds) == f->wanted[i].rounds)
            return false;
    return true;
}

static void look(struct operation *op)
{
    struct fresh *f = (struct fresh *)op;
    void (*answer)(struct relay * relay, const struct health_filter *filter) = f->answer;
    struct health_filter filter = f->filter;

    if (!all_asked(f) && !op->rt->draining && loop_now_ms(op->rt->loop) < f->until_ms &&
        operation_wait(op, LOOK_MS, look))
        return;
    answer(operation_end(op), &filter);
}

void health_fresh_start(struct relay *relay, const struct health_filter *filter,
                        void (*answer)(struct relay *relay, const struct health_filter *filter))
{
    const struct runtime *rt = relay->rt;
    size_t size = sizeof(struct fresh) + rt->config->models.num_accounts * sizeof(struct wanted);
    struct fresh *f = operation_new(size, relay, &fresh_ops);

    if (f == NULL)
        return;
    f->filter = *filter;
    f->answer = answer;
    f->until_ms = loop_now_ms(rt->loop) + HEALTH_FRESH_MS;
    for (uint32_t i = 0; i < table_num_deployments(rt->table); i++)
        if (health_filter_takes(filter, rt, i))
            want(f, table_deployment(rt->table, i)->account);
    look(&f->op);
}
