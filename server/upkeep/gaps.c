/* See gaps.h. */
#include "gaps.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "pages.h"
#include "upstream/normal.h"

#define PAGED_QUERY "limit=10000"

struct gaps;

/* One account's list. */
struct gaps_reader {
    struct gaps *gaps;
    struct upkeep_account *account; /* borrowed */
    int64_t oldest_s;               /* of what was read */
    bool enough;
};

struct gaps {
    struct upkeep *upkeep;       /* borrowed */
    struct gaps_reader *readers; /* owned [num_accounts] */
    struct registry_gaps tried;  /* what was looked at last */
    uint64_t again_ms;           /* when the same is looked at again */
    uint32_t wait_ms;            /* the last wait because of unknown files; 0: none */
    unsigned reading;            /* accounts */
    bool failed;
    uint32_t unknown;
    struct loop_timer look;
};

bool gaps_cover(const struct registry_gaps *gaps, int64_t created_s)
{
    return created_s == 0 || created_s < gaps->since_unix_s ||
           (created_s >= gaps->lost_from_unix_s && created_s <= gaps->lost_until_unix_s);
}

bool gaps_count_purpose(const char *purpose)
{
    static const char output[] = "output", results[] = "results";
    size_t len = purpose != NULL ? strlen(purpose) : 0;

    if (len >= strlen(output) && strcmp(purpose + len - strlen(output), output) == 0)
        return false;
    return len < strlen(results) || strcmp(purpose + len - strlen(results), results) != 0;
}

static bool are_equal(const struct registry_gaps *a, const struct registry_gaps *b)
{
    return a->since_unix_s == b->since_unix_s && a->lost_from_unix_s == b->lost_from_unix_s &&
           a->lost_until_unix_s == b->lost_until_unix_s;
}

static void look_later(struct gaps *g)
{
    (void)loop_timer_start(g->upkeep->rt.loop, &g->look, GAPS_LOOK_MS); /* it had a slot */
}

/* --- a round --- */

static void end_round(struct gaps *g)
{
    uint32_t wait_ms = GAPS_RETRY_MS;

    if (!g->failed && g->unknown == 0) {
        registry_close_gaps(g->upkeep->rt.inherited->registry, &g->tried);
    } else if (!g->failed) {
        if (g->wait_ms == 0)
            log_info("files of tenants: %u files of the time that their lists leave open are not "
                     "known to be anybody's",
                     g->unknown);
        g->wait_ms = g->wait_ms == 0 ? GAPS_AGAIN_MS : g->wait_ms * 2;
        if (g->wait_ms > GAPS_SELDOM_MS)
            g->wait_ms = GAPS_SELDOM_MS;
        wait_ms = g->wait_ms;
    }
    g->again_ms = loop_now_ms(g->upkeep->rt.loop) + wait_ms;
    look_later(g);
}

static void on_file(void *arg, struct json_doc *doc, struct json *file)
{
    struct gaps_reader *r = arg;
    const struct inherited *inherited = r->account->upkeep->rt.inherited;
    const char *native = json_get_str(file, "id"), *status = json_get_str(file, "status");
    struct registry_row row;
    int64_t created_s = 0;

    normal_file(doc, file, -1);
    (void)json_int64(json_get(file, "created_at"), &created_s);
    if (created_s != 0 && created_s < r->oldest_s)
        r->oldest_s = created_s;
    if (native == NULL || !gaps_cover(&r->gaps->tried, created_s) ||
        !gaps_count_purpose(json_get_str(file, "purpose")) ||
        (status != NULL && strcasecmp(status, "deleted") == 0))
        return;
    if (!registry_find(inherited->registry, ID_FILE, r->account->fingerprint, native, &row))
        r->gaps->unknown++;
}

/* What is older than the gap is not read. */
static bool on_more(void *arg)
{
    struct gaps_reader *r = arg;

    r->enough = r->gaps->tried.since_unix_s == 0 && r->oldest_s < r->gaps->tried.lost_from_unix_s;
    return !r->enough && r->gaps->unknown == 0;
}

static void on_done(void *arg, enum pages_end end, const char *why)
{
    struct gaps_reader *r = arg;
    struct gaps *g = r->gaps;

    if (end == PAGES_FAILED)
        log_debug("account %s: cannot look for its files: %s", upkeep_account_name(r->account),
                  why);
    if (end != PAGES_WHOLE && !r->enough && g->unknown == 0)
        g->failed = true;
    if (--g->reading == 0)
        end_round(g);
}

static void read_account(struct gaps *g, struct gaps_reader *r)
{
    const struct model_account *account =
        &g->upkeep->rt.inherited->config->models.accounts[r->account->account];
    /* Azure's dated files list knows no paging: it is always whole (providers 2.4). */
    bool paged = account->provider != PROVIDER_AZURE || account->api_version == NULL;
    struct pages_spec spec = {.account = r->account,
                              .call = CALL_FILE_LIST,
                              .query = paged ? PAGED_QUERY : "",
                              .paged = paged,
                              .max_pages = GAPS_MAX_PAGES,
                              .on_object = on_file,
                              .on_more = on_more,
                              .on_done = on_done,
                              .arg = r};

    r->oldest_s = INT64_MAX;
    r->enough = false;
    if (pages_start(&spec) == 0)
        g->reading++;
    else
        g->failed = true;
}

static void start_round(struct gaps *g)
{
    struct upkeep *upkeep = g->upkeep;

    g->failed = false;
    g->unknown = 0;
    g->reading = 1; /* this round's own */
    for (size_t i = 0; i < upkeep->num_accounts; i++)
        if (upkeep->accounts[i].same_resource == i &&
            upkeep->accounts[i].deployment != MODEL_NO_INDEX)
            read_account(g, &g->readers[i]);
    if (--g->reading == 0)
        end_round(g);
}

static void on_look(struct loop_timer *timer)
{
    struct gaps *g = timer->arg;
    struct registry_gaps gaps = registry_gaps(g->upkeep->rt.inherited->registry, 0);
    bool is_one = gaps.since_unix_s != 0 || gaps.lost_until_unix_s != 0;

    if (!is_one || (are_equal(&gaps, &g->tried) && loop_now_ms(g->upkeep->rt.loop) < g->again_ms)) {
        look_later(g);
        return;
    }
    if (!are_equal(&gaps, &g->tried))
        g->wait_ms = 0;
    g->tried = gaps;
    start_round(g);
}

int gaps_start(struct upkeep *upkeep)
{
    const struct inherited *inherited = upkeep->rt.inherited;
    struct gaps *g;

    if (inherited->registry == NULL || !secret_is_set(&inherited->config->database))
        return 0;
    g = calloc(1, sizeof(*g));
    if (g == NULL)
        return ERR_NOMEM;
    upkeep->gaps = g;
    g->upkeep = upkeep;
    g->look = (struct loop_timer){.cb = on_look, .arg = g};
    g->readers = calloc(upkeep->num_accounts + 1, sizeof(*g->readers));
    if (g->readers == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < upkeep->num_accounts; i++)
        g->readers[i] = (struct gaps_reader){.gaps = g, .account = &upkeep->accounts[i]};
    return loop_timer_start(upkeep->rt.loop, &g->look, GAPS_FIRST_MS);
}
