/* See pricing.h. */
#include "pricing.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "counts.h"
#include "price/budget.h"
#include "price/usage_count.h"
#include "store/store_usage.h"

#define MEANS        64 /* groups and owners whose last batches are remembered */
#define MEAN_KEPT_MS 60000
#define BUDGETS      1024 /* teams whose budgets are shown */
#define TELL_MS      60000

struct mean {
    char group[WIRE_MAX_NAME + 1]; /* "": free */
    uint64_t owner;
    uint64_t read_ms;
    struct store_usage_mean sums;
};

/* A team with a budget, as its last create had it. */
struct budget {
    uint64_t team; /* fingerprint; 0: free */
    uint64_t nano;
    char id[SERIES_TEXT];
};

struct pricing {
    const struct price_book *book; /* borrowed */
    struct store *store;           /* borrowed; NULL: none */
    uint64_t told_ms;              /* of a price that is missing; 0: never */
    struct mean means[MEANS];
    struct budget budgets[BUDGETS]; /* each at one place by its fingerprint; others' go */
};

int pricing_new(const struct price_book *book, struct store *store, struct pricing **out)
{
    struct pricing *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return ERR_NOMEM;
    p->book = book;
    p->store = store;
    *out = p;
    return 0;
}

void pricing_free(struct pricing *pricing)
{
    free(pricing);
}

static void tell(struct pricing *p, const char *model, uint32_t deployment)
{
    uint64_t now_ms = clock_now_ms();

    if (p->told_ms != 0 && now_ms - p->told_ms < TELL_MS)
        return;
    p->told_ms = now_ms;
    log_warn(
        "usage: no price for model \"%.64s\" at deployment %08x: what it costs is not counted. "
        "Give it prices in model_info, or name it in tranche_settings.price_map",
        model, deployment);
}

/* --- what was used --- */

static const char *source_name(uint32_t source)
{
    return usage_source_name(source == WIRE_USAGE_BATCH    ? USAGE_OF_BATCH
                             : source == WIRE_USAGE_OUTPUT ? USAGE_OF_OUTPUT
                                                           : USAGE_NONE);
}

static struct price_tokens tokens_of(const struct wire_usage *u)
{
    return (struct price_tokens){.in = u->in,
                                 .cached = u->cached,
                                 .out = u->out,
                                 .long_in = u->long_in,
                                 .long_cached = u->long_cached,
                                 .long_out = u->long_out};
}

static void price_row(struct pricing *p, uint32_t deployment, const struct wire_usage *u,
                      struct store_usage *row, char from[PRICE_FROM_BYTES])
{
    struct price_tokens tokens = tokens_of(u);
    struct price_found found;

    row->unpriced = u->unmeasured;
    if (tokens.in == 0 && tokens.out == 0)
        return; /* nothing was used that has a price */
    if (!price_book_find(p->book, deployment, u->model, &found) ||
        !price_cost(&found.price, &tokens, &row->nano)) {
        row->nano = 0;
        row->unpriced = u->ok > 0 ? u->ok : 1;
        tell(p, u->model, deployment);
        return;
    }
    memcpy(from, found.from, PRICE_FROM_BYTES);
    row->price = from;
}

void pricing_usage(struct pricing *pricing, const struct wire_seen *seen, struct priced *out)
{
    assert(seen->num_usage <= WIRE_MAX_MODELS);
    out->num = seen->num_usage;
    for (size_t i = 0; i < out->num; i++) {
        const struct wire_usage *u = &seen->usage[i];

        out->rows[i] = (struct store_usage){.model = u->model,
                                            .ok = u->ok,
                                            .bad = u->bad,
                                            .tok_in = u->in,
                                            .tok_cached = u->cached < u->in ? u->cached : u->in,
                                            .tok_out = u->out,
                                            .tok_reason = u->reasoning,
                                            .source = source_name(seen->source)};
        out->from[i][0] = '\0';
        price_row(pricing, seen->deployment, u, &out->rows[i], out->from[i]);
        assert(out->rows[i].nano >= 0);
    }
}

/* --- what may be used --- */

static bool has_budget(const struct wire_intent *intent)
{
    return (intent->scopes[WIRE_KEY].name != 0 &&
            intent->scopes[WIRE_KEY].nano != WIRE_UNLIMITED) ||
           (intent->scopes[WIRE_TEAM].name != 0 &&
            intent->scopes[WIRE_TEAM].nano != WIRE_UNLIMITED);
}

/* The place of a group and owner, or the one that was read the longest ago. */
static struct mean *mean_of(struct pricing *p, const char *group, uint64_t owner)
{
    struct mean *oldest = &p->means[0];

    for (size_t i = 0; i < MEANS; i++) {
        struct mean *m = &p->means[i];

        if (m->owner == owner && strcmp(m->group, group) == 0)
            return m;
        if (m->read_ms < oldest->read_ms)
            oldest = m;
    }
    *oldest = (struct mean){.owner = owner};
    memcpy(oldest->group, group, strlen(group) + 1);
    return oldest;
}

/* Of the owner's own batches, else of all of the group. A database that does not answer knows of
 * none. */
static void read_mean(struct pricing *p, struct mean *mean, uint64_t now_ms)
{
    int rc = store_usage_mean(p->store, mean->group, &mean->owner, &mean->sums);

    if (rc == 0 && mean->sums.tok_in == 0)
        rc = store_usage_mean(p->store, mean->group, NULL, &mean->sums);
    if (rc != 0)
        mean->sums = (struct store_usage_mean){0};
    mean->read_ms = now_ms;
}

static void take_mean(struct pricing *p, const struct wire_who *who, uint64_t now_ms,
                      struct budget_job *job)
{
    size_t len = strlen(who->group);
    struct mean *mean;

    if (p->store == NULL || len == 0 || len > WIRE_MAX_NAME)
        return;
    mean = mean_of(p, who->group, who->owner);
    if (mean->read_ms == 0 || now_ms - mean->read_ms >= MEAN_KEPT_MS)
        read_mean(p, mean, now_ms);
    job->seen_in = (uint64_t)mean->sums.tok_in;
    job->seen_out = (uint64_t)mean->sums.tok_out;
}

static void keep_budget(struct pricing *p, const struct wire_intent *intent)
{
    const struct wire_scope *scope = &intent->scopes[WIRE_TEAM];
    struct budget *budget = &p->budgets[scope->name % BUDGETS];

    if (scope->name == 0 || scope->nano == WIRE_UNLIMITED || intent->who.team_id == NULL)
        return;
    budget->team = scope->name;
    budget->nano = scope->nano;
    snprintf(budget->id, sizeof(budget->id), "%s", intent->who.team_id);
}

void pricing_sum(struct pricing *pricing, struct series *series, uint64_t team, int64_t held_nano,
                 int64_t spent_nano)
{
    const struct budget *budget = &pricing->budgets[team % BUDGETS];
    int64_t left = budget->nano < INT64_MAX ? (int64_t)budget->nano : INT64_MAX;

    assert(team != 0);
    if (budget->team != team)
        return;
    if (__builtin_sub_overflow(left, held_nano, &left) ||
        __builtin_sub_overflow(left, spent_nano, &left))
        left = 0;
    counts_budget(series, budget->id, left);
}

uint64_t pricing_intent(struct pricing *pricing, const struct wire_intent *intent, uint64_t now_ms)
{
    struct budget_job job = {.input = intent->input != 0 ? intent->input : intent->tokens,
                             .output = intent->output};
    struct price_found found;

    if (intent->kind != WIRE_CREATE || !has_budget(intent))
        return 0;
    keep_budget(pricing, intent);
    if (!price_book_find(pricing->book, intent->deployment, "", &found)) {
        tell(pricing, intent->who.group, intent->deployment);
        return 0;
    }
    if (job.output == 0)
        take_mean(pricing, &intent->who, now_ms, &job);
    return (uint64_t)budget_estimate(&found.price, &job);
}
