/* See recovery.h. */
#include "recovery.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "objects/ledger.h"
#include "copies.h"
#include "due.h"
#include "pages.h"
#include "core/past.h"
#include "core/provider_clock.h"

#define LIST_QUERY     "limit=100"
#define FIRST_AGAIN_MS 1000u /* before an account that failed is tried anew; doubled ... */
#define MAX_AGAIN_MS   300000u
#define MAX_COPIES     100 /* of moved batches, that are deleted after one start */

struct recovery {
    struct upkeep_account *account; /* borrowed */
    struct recovery_tally tally;
    uint32_t copies; /* asked to be deleted */
    uint32_t again_ms;
    bool told; /* that it failed */
    struct loop_timer begin;
};

bool recovery_reads_on(bool ask_first, const struct recovery_tally *tally)
{
    return tally->newest_age_ms <= QUOTA_LEASE_MS || (ask_first && tally->unfinished);
}

/* One batch of the list. Pure but for the ledger.
 * @param column  of the deployment that its marker names; UINT32_MAX: it has no marker of ours, or
 *        names none of this configuration */
static void take_batch(struct recovery_tally *tally, struct quota *quota, uint32_t holder,
                       uint32_t column, const struct observation *s, uint64_t age_ms,
                       uint64_t now_ms)
{
    if (age_ms < tally->newest_age_ms)
        tally->newest_age_ms = age_ms;
    if (s->phase != LEDGER_RUNNING)
        return;
    tally->unfinished = true;
    if (column == UINT32_MAX || !s->marked || s->marker.tokens == 0) {
        tally->foreign++;
        return;
    }
    if (observation_record(quota, holder, column, s, s->marker.tokens, age_ms, now_ms) ==
        OBSERVATION_FULL) {
        tally->refused++;
        return;
    }
    tally->adopted++;
    tally->tokens += s->marker.tokens;
}

static void begin_page(struct recovery *r)
{
    r->tally.unfinished = false;
    r->tally.newest_age_ms = UINT64_MAX;
}

static const struct inherited *inherited_of(const struct recovery *r)
{
    return r->account->upkeep->rt.inherited;
}

static void on_batch(void *arg, struct json_doc *doc, struct json *object)
{
    struct recovery *r = arg;
    const struct inherited *inherited = inherited_of(r);
    uint32_t deployment;
    struct observation s;

    past_saw(inherited, r->account->deployment, object, loop_now_ms(r->account->upkeep->rt.loop));
    if (!observation_read(doc, object, inherited->seals, &s))
        return;
    observation_refund(inherited->config, &s);
    deployment = s.marked ? ledger_deployment(inherited, &s.marker) : MODEL_NO_INDEX;
    take_batch(&r->tally, inherited->quota, r->account->upkeep->rt.slot,
               deployment != MODEL_NO_INDEX ? inherited->columns[deployment] : UINT32_MAX, &s,
               observation_age_ms(&s, provider_clock_now_s(inherited, r->account->deployment)),
               loop_now_ms(r->account->upkeep->rt.loop));
    if (s.phase == LEDGER_RUNNING)
        due_found(r->account->upkeep, r->account, &s, object);
    /* A batch that ended while nobody was there to see it. Most copies went long ago, and to ask
     * for them again finds nothing: so only the newest ones are asked for. */
    if (s.phase != LEDGER_RUNNING && r->copies < MAX_COPIES)
        r->copies += copies_delete(r->account, &s);
}

static bool on_more(void *arg)
{
    struct recovery *r = arg;
    const struct inherited *inherited = inherited_of(r);
    bool more = recovery_reads_on(
        inherited->config->models.accounts[r->account->account].provider == PROVIDER_AZURE,
        &r->tally);

    begin_page(r);
    return more;
}

/* Columns of the account that the balancer uses. @return how many of them are not rebuilt yet */
static uint32_t for_each_column(const struct recovery *r, bool mark)
{
    const struct inherited *inherited = inherited_of(r);
    uint32_t missing = 0;

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        const struct table_deployment *d = table_deployment(inherited->table, i);

        if (d->account != r->account->account || d->group == MODEL_NO_INDEX)
            continue;
        if (mark)
            quota_note_recovered(inherited->quota, inherited->columns[i]);
        missing += !quota_is_recovered(inherited->quota, inherited->columns[i]);
    }
    return missing;
}

static void try_again(struct recovery *r, const char *why)
{
    struct loop *loop = r->account->upkeep->rt.loop;
    uint32_t delay_ms = r->again_ms + upkeep_random_below(r->account->upkeep, r->again_ms / 4);

    assert(r->again_ms >= FIRST_AGAIN_MS && r->again_ms <= MAX_AGAIN_MS);
    if (!r->told)
        log_warn("account %s: quota ledger recovery failed, assuming 0 enqueued tokens until it "
                 "succeeds: %s",
                 upkeep_account_name(r->account), why);
    r->told = true;
    r->again_ms = r->again_ms * 2 < MAX_AGAIN_MS ? r->again_ms * 2 : MAX_AGAIN_MS;
    if (loop_timer_start(loop, &r->begin, delay_ms) != 0)
        log_error("account %s: quota ledger recovery stopped: %s", upkeep_account_name(r->account),
                  err_str(ERR_NOMEM));
}

static void on_end(void *arg, enum pages_end end, const char *why)
{
    struct recovery *r = arg;
    const struct recovery_tally *t = &r->tally;

    if (end == PAGES_FAILED) {
        try_again(r, why);
        return;
    }
    for_each_column(r, true);
    log_info(
        "account %s: quota ledger recovered: %u batches, %llu tokens; %u batches of other clients",
        upkeep_account_name(r->account), t->adopted, (unsigned long long)t->tokens, t->foreign);
    if (t->refused > 0)
        log_warn("account %s: the quota ledger is full: %u batches are not counted",
                 upkeep_account_name(r->account), t->refused);
}

static void on_begin(struct loop_timer *timer)
{
    struct recovery *r = timer->arg;
    struct pages_spec spec = {.account = r->account,
                              .call = CALL_BATCH_LIST,
                              .query = LIST_QUERY,
                              .paged = true,
                              .max_pages = RECOVERY_MAX_PAGES,
                              .on_object = on_batch,
                              .on_more = on_more,
                              .on_done = on_end,
                              .arg = r};

    r->tally = (struct recovery_tally){0};
    begin_page(r);
    if (pages_start(&spec) != 0)
        try_again(r, err_str(ERR_NOMEM));
}

int recovery_start(struct upkeep *upkeep)
{
    struct recovery *all = calloc(upkeep->num_accounts + 1, sizeof(*all));
    int ret = all != NULL ? 0 : ERR_NOMEM;

    upkeep->recovery = all;
    for (size_t i = 0; i < upkeep->num_accounts && ret == 0; i++) {
        struct recovery *r = &all[i];

        r->account = &upkeep->accounts[i];
        r->again_ms = FIRST_AGAIN_MS;
        r->begin = (struct loop_timer){.cb = on_begin, .arg = r};
        if ((r->account->balanced || upkeep->rt.config->has_tenants) &&
            r->account->deployment != MODEL_NO_INDEX && for_each_column(r, false) > 0)
            ret = loop_timer_start(upkeep->rt.loop, &r->begin,
                                   upkeep_stagger_ms(i, upkeep->num_accounts));
    }
    return ret;
}
