/* See fleet.h. */
#include "fleet.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "pricing.h"

#define REPAIRS_A_STEP 4  /* slices of scopes */
#define HELD_AT_ONCE   64 /* accounts and kinds */

struct fleet {
    const struct inherited *inherited; /* borrowed */
    struct store *store;               /* borrowed */
    struct pricing *pricing;           /* borrowed; NULL: budgets are shown nowhere */
    uint32_t slot;
    char node[FLEET_NODE], holder[FLEET_HOLDER];
    struct fleet_me me;
    int64_t since;                    /* of the sums that were read last */
    uint64_t all_ms, tend_ms, fix_ms; /* when each is due */
    uint32_t cycle;                   /* of readings of all sums */
    uint64_t *totals;                 /* [deployments], owned: tokens of all nodes */
    bool fixing;                      /* a repair is under way, behind `behind` */
    char behind[FLEET_ID];
    uint64_t drift; /* of that repair */
};

static uint32_t num_rows(const struct fleet *f)
{
    return table_num_deployments(f->inherited->table);
}

/* --- life --- */

/* A keeper that is started again has its name again. Another one may be there beside it: of another
 * generation, or of another program during an upgrade, which is another master's child. */
static void name_holder(struct fleet *f)
{
    if (!f->inherited->config->count_leases)
        return;
    snprintf(f->holder, sizeof(f->holder), "%s/%u.%d", f->node, f->inherited->generation,
             (int)getppid());
    f->me.holder = f->holder;
}

int fleet_new(const struct inherited *inherited, struct store *store, uint32_t slot,
              const char *node, struct fleet **out)
{
    struct fleet *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return ERR_NOMEM;
    f->inherited = inherited;
    f->store = store;
    f->slot = slot;
    snprintf(f->node, sizeof(f->node), "%s", node);
    f->me.node = f->node;
    name_holder(f);
    f->totals = calloc(num_rows(f) + 1, sizeof(f->totals[0]));
    if (f->totals == NULL) {
        free(f);
        return ERR_NOMEM;
    }
    *out = f;
    return 0;
}

void fleet_free(struct fleet *f)
{
    if (f == NULL)
        return;
    free(f->totals);
    free(f);
}

void fleet_show_budgets(struct fleet *f, struct pricing *pricing)
{
    f->pricing = pricing;
}

const struct fleet_me *fleet_me(const struct fleet *f)
{
    return &f->me;
}

int fleet_join(struct fleet *f)
{
    const struct config *config = f->inherited->config;
    char address[FLEET_NODE];
    int rc;

    if (f->me.epoch != 0)
        return 0;
    snprintf(address, sizeof(address), "%s:%d", config->host, config->port);
    rc = store_fleet_join(f->store, registry_run(f->inherited->registry), address, TRANCHE_VERSION,
                          &f->me);
    if (rc != 0) {
        f->me.epoch = 0;
        return rc;
    }
    log_info("journal: this node is %s, epoch %lld", f->node, (long long)f->me.epoch);
    f->since = 0;
    return 0;
}

void fleet_is_over(struct fleet *f)
{
    if (f->me.epoch != 0)
        log_warn(
            "journal: epoch %lld of this node is over: its row is gone, or another gateway has "
            "its name (%s)",
            (long long)f->me.epoch, f->node);
    f->me.epoch = 0;
}

/* --- what other nodes hold --- */

static void note_deployment(struct fleet *f, uint64_t name, uint64_t tokens)
{
    const struct table *table = f->inherited->table;

    for (uint32_t i = 0; i < num_rows(f); i++)
        if (table_deployment(table, i)->real == name)
            f->totals[i] = tokens;
}

static void on_sum(void *arg, const struct fleet_sum *sum)
{
    struct fleet *f = arg;

    if (sum->kind == FLEET_DEPLOYMENT)
        note_deployment(f, sum->name, sum->tokens);
    else
        quota_set_scope_total(f->inherited->quota, f->slot, sum->name, sum->tokens, sum->batches,
                              f->cycle);
    if (sum->kind == FLEET_TEAM && f->pricing != NULL)
        pricing_sum(f->pricing, f->inherited->series, sum->name, sum->held_nano, sum->spent_nano);
}

static int read_sums(struct fleet *f, uint64_t now_ms)
{
    bool all = now_ms >= f->all_ms;
    int rc;

    if (all) {
        f->since = 0;
        f->cycle++;
        memset(f->totals, 0, num_rows(f) * sizeof(f->totals[0]));
    }
    rc = store_fleet_sums(f->store, &f->since, on_sum, f);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < num_rows(f); i++)
        quota_set_total(f->inherited->quota, f->inherited->columns[i], f->totals[i]);
    if (all) {
        quota_drop_scope_totals(f->inherited->quota, f->cycle);
        f->all_ms = now_ms + FLEET_ALL_MS;
    }
    return 0;
}

/* --- repair, and what is too old --- */

static void tell_drift(struct fleet *f)
{
    if (f->drift == 0)
        return;
    log_warn("journal: sums of limits were off by %llu tokens, and are right again",
             (unsigned long long)f->drift);
    add_relaxed(&f->inherited->shared->database.drift_tokens, f->drift);
    f->drift = 0;
}

static int repair(struct fleet *f, uint64_t now_ms)
{
    int rc = 0;

    if (!f->fixing && now_ms < f->fix_ms)
        return 0;
    f->fixing = true;
    for (int i = 0; i < REPAIRS_A_STEP && rc == 0 && f->fixing; i++) {
        rc = store_fleet_repair(f->store, f->behind, &f->drift);
        f->fixing = f->behind[0] != '\0';
    }
    tell_drift(f);
    if (!f->fixing)
        f->fix_ms = now_ms + FLEET_REPAIR_MS;
    return rc;
}

static int tend(struct fleet *f, uint64_t now_ms)
{
    bool more = false;
    int rc;

    if (now_ms < f->tend_ms)
        return 0;
    rc = store_fleet_tend(f->store, &more);
    f->tend_ms = now_ms + (more ? 1000 : FLEET_TEND_MS);
    return rc;
}

/* --- steps --- */

void fleet_step(struct fleet *f, uint64_t now_ms)
{
    int64_t database_ms = 0;
    int rc = fleet_join(f);

    if (rc == 0)
        rc = store_fleet_beat(f->store, &f->me, &database_ms);
    if (rc == ERR_NOT_FOUND)
        fleet_is_over(f);
    if (rc == 0)
        store_relaxed(&f->inherited->shared->database.clock_skew_ms,
                      (uint64_t)(database_ms - clock_unix_ms()));
    if (rc == 0)
        rc = read_sums(f, now_ms);
    if (rc == 0)
        rc = tend(f, now_ms);
    if (rc == 0)
        rc = repair(f, now_ms);
    if (rc != 0)
        log_debug("journal: the fleet's rows are not up to date: %s", err_str(rc));
}
