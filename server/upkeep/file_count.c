/* See file_count.h. Two keys of one Azure resource are counted once, by the first of them that the
 * balancer uses, for the columns of both. */
#include "file_count.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "objects/facts.h"
#include "pages.h"

#define WHOLE_QUERY  "purpose=batch"
#define PAGED_QUERY  "purpose=batch&limit=10000"
#define OFTEN        10 /* times as often near a limit */
#define NEAR_PERCENT 90
#define JITTER       10 /* a tenth of the period */

struct file_count {
    struct upkeep_account *account; /* borrowed */
    struct file_count_tally tally;
    uint64_t limits[SLOTS_KINDS];
    uint32_t period_ms;
    bool failed; /* the last time: to log changes only */
    struct loop_timer begin;
};

static bool is_set(const struct json *value)
{
    const char *text = json_str(value, NULL);
    int64_t number;

    if (value == NULL || json_is(value, JSON_NULL) || (text != NULL && text[0] == '\0'))
        return false;
    return !json_int64(value, &number) || number != 0;
}

void file_count_take(struct file_count_tally *tally, const struct json *file)
{
    const char *purpose = json_get_str(file, "purpose"), *status = json_get_str(file, "status");

    if (purpose == NULL || strcmp(purpose, "batch") != 0 ||
        (status != NULL && strcasecmp(status, "deleted") == 0))
        return;
    tally->held[is_set(json_get(file, "expires_at")) ? SLOTS_EXPIRING : SLOTS_LASTING]++;
}

uint32_t file_count_next_ms(const struct file_count_tally *tally,
                            const uint64_t limits[SLOTS_KINDS], uint32_t period_ms)
{
    for (int kind = 0; kind < SLOTS_KINDS; kind++)
        if (limits[kind] != 0 && tally->held[kind] > limits[kind] / 100 * NEAR_PERCENT +
                                                         limits[kind] % 100 * NEAR_PERCENT / 100)
            return period_ms / OFTEN;
    return period_ms;
}

static void schedule(struct file_count *c, uint32_t delay_ms)
{
    if (loop_timer_start(c->account->upkeep->rt.loop, &c->begin,
                         delay_ms + upkeep_random_below(c->account->upkeep, delay_ms / JITTER)) !=
        0)
        log_error("account %s: file counting stopped: %s", upkeep_account_name(c->account),
                  err_str(ERR_NOMEM));
}

static void publish(const struct file_count *c)
{
    const struct upkeep *upkeep = c->account->upkeep;
    const struct inherited *inherited = upkeep->rt.inherited;

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        uint32_t account = table_deployment(inherited->table, i)->account;

        if (upkeep->accounts[account].same_resource != c->account->same_resource)
            continue;
        for (int kind = 0; kind < SLOTS_KINDS; kind++)
            slots_set(inherited->slots, inherited->columns[i], (enum slots_kind)kind,
                      c->tally.held[kind]);
    }
}

void file_count_forget(const struct upkeep_account *account, const char *native)
{
    const struct upkeep *upkeep = account->upkeep;
    const struct inherited *inherited = upkeep->rt.inherited;
    enum slots_kind kind;

    if (!facts_take_slot(inherited->memo, account->fingerprint, native,
                         loop_now_ms(upkeep->rt.loop), &kind))
        return;
    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++)
        if (upkeep->accounts[table_deployment(inherited->table, i)->account].same_resource ==
            account->same_resource)
            slots_add(inherited->slots, inherited->columns[i], kind, -1);
}

static void on_file(void *arg, struct json_doc *doc, struct json *object)
{
    struct file_count *c = arg;

    (void)doc;
    file_count_take(&c->tally, object);
}

static bool on_more(void *arg)
{
    (void)arg;
    return true;
}

static void on_end(void *arg, enum pages_end end, const char *why)
{
    struct file_count *c = arg;

    if (end == PAGES_FAILED) {
        if (!c->failed)
            log_warn("account %s: cannot count its files: %s", upkeep_account_name(c->account),
                     why);
        c->failed = true;
        schedule(c, c->period_ms / OFTEN);
        return;
    }
    c->failed = false;
    log_debug("account %s: %llu input files that stay, %llu that expire",
              upkeep_account_name(c->account), (unsigned long long)c->tally.held[SLOTS_LASTING],
              (unsigned long long)c->tally.held[SLOTS_EXPIRING]);
    publish(c);
    schedule(c, file_count_next_ms(&c->tally, c->limits, c->period_ms));
}

static void on_begin(struct loop_timer *timer)
{
    struct file_count *c = timer->arg;
    const struct model_account *account =
        &c->account->upkeep->rt.inherited->config->models.accounts[c->account->account];
    /* Azure's dated files list knows no paging: it is always whole (providers 2.4). */
    bool paged = account->provider != PROVIDER_AZURE || account->api_version == NULL;
    struct pages_spec spec = {.account = c->account,
                              .call = CALL_FILE_LIST,
                              .query = paged ? PAGED_QUERY : WHOLE_QUERY,
                              .paged = paged,
                              .max_pages = FILE_COUNT_MAX_PAGES,
                              .on_object = on_file,
                              .on_more = on_more,
                              .on_done = on_end,
                              .arg = c};

    c->tally = (struct file_count_tally){0};
    if (pages_start(&spec) != 0)
        on_end(c, PAGES_FAILED, err_str(ERR_NOMEM));
}

/* Whether its files are counted, and by this key of the resource. */
static bool counts(const struct upkeep *upkeep, size_t i)
{
    const struct upkeep_account *a = &upkeep->accounts[i];

    if (!a->balanced)
        return false;
    for (size_t k = a->same_resource; k < i; k++)
        if (upkeep->accounts[k].same_resource == a->same_resource && upkeep->accounts[k].balanced)
            return false;
    return true;
}

int file_count_start(struct upkeep *upkeep)
{
    const struct config *config = upkeep->rt.inherited->config;
    struct file_count *all = calloc(upkeep->num_accounts + 1, sizeof(*all));
    int ret = all != NULL ? 0 : ERR_NOMEM;

    upkeep->file_count = all;
    for (size_t i = 0; i < upkeep->num_accounts && ret == 0; i++) {
        enum provider provider = config->models.accounts[i].provider;
        struct file_count *c = &all[i];

        c->account = &upkeep->accounts[i];
        c->limits[SLOTS_LASTING] = config->limits.max_files[provider];
        c->limits[SLOTS_EXPIRING] = config->limits.max_expiring_files[provider];
        c->period_ms = config->timeouts.count_files_ms;
        c->begin = (struct loop_timer){.cb = on_begin, .arg = c};
        if ((c->limits[SLOTS_LASTING] != 0 || c->limits[SLOTS_EXPIRING] != 0) && counts(upkeep, i))
            ret = loop_timer_start(upkeep->rt.loop, &c->begin,
                                   upkeep_stagger_ms(i, upkeep->num_accounts));
    }
    return ret;
}
