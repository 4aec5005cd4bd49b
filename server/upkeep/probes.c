/* See probes.h. */
#include "probes.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "json/json.h"
#include "common/log.h"
#include "common/shm_words.h"
#include "upstream/normal.h"

#define LOOK_MS       100  /* between two looks whether somebody wants to know more */
#define LEAST_MS      1000 /* between two calls to one account, whoever wants to know */
#define MAX_IN_FLIGHT 8
#define CALL_MS       15000 /* the longest that one call may take */
#define MAX_ANSWER    (1u << 20)

/* One account's. */
struct probe {
    struct probes *probes;          /* borrowed */
    struct upkeep_account *account; /* borrowed */
    struct loop_timer timer;        /* until the next call */
    struct probe *next;             /* in the queue of those that are due */
    bool known, healthy;            /* last finding, to log changes only */
    bool waiting;                   /* for its timer: neither due nor in flight */
    uint64_t ended_ms;              /* when its last call ended; 0: there was none */
};

struct probes {
    struct probe *due, **due_end; /* borrowed; queue */
    unsigned in_flight;
    struct upkeep *upkeep;  /* borrowed */
    struct loop_timer look; /* for who wants to know more */
    struct probe of[];      /* one for each account, as in the model list */
};

static void schedule(struct probe *a, uint64_t delay_ms)
{
    a->waiting = true;
    if (loop_timer_start(a->account->upkeep->rt.loop, &a->timer, delay_ms) != 0)
        log_error("account %s: health checks stopped: %s", upkeep_account_name(a->account),
                  err_str(ERR_NOMEM));
}

static void log_change(struct probe *a, bool healthy, int status, enum outcome outcome,
                       const char *why)
{
    const char *from = !a->known ? "unknown" : a->healthy ? "healthy" : "unhealthy";

    if (a->known && a->healthy == healthy)
        return;
    if (healthy)
        log_info("account %s: %s -> healthy", upkeep_account_name(a->account), from);
    else
        log_warn("account %s: %s -> unhealthy, status %d, %s: %s", upkeep_account_name(a->account),
                 from, status, outcome_name(outcome), outcome_detail(outcome, why));
    a->known = true;
    a->healthy = healthy;
}

/* One answer speaks for all deployments of the account. `checked_unix_s` is written last: a reader
 * that sees it sees the rest. */
static void publish(const struct probe *a, bool healthy, int status, enum outcome outcome)
{
    const struct inherited *inherited = a->account->upkeep->rt.inherited;
    uint64_t now_s = (uint64_t)clock_unix_s();

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        struct probe_word *word = &inherited->probes[i];

        if (table_deployment(inherited->table, i)->account != a->account->account)
            continue;
        atomic_store(&word->status, status);
        atomic_store(&word->outcome, outcome);
        atomic_store(&word->healthy, healthy);
        atomic_store(&word->checked_unix_s, now_s);
    }
}

static struct probe_word *word_of(const struct probe *a)
{
    return &a->account->upkeep->rt.inherited->probes[a->account->deployment];
}

/* All who wanted to know by now are answered by what was found. */
static void answer_wanted(const struct probe *a)
{
    store_relaxed_32(&word_of(a)->wanted, 0);
    atomic_fetch_add(&word_of(a)->rounds, 1);
}

static void record(struct probe *a, enum outcome outcome, bool healthy, int status, const char *why)
{
    struct upkeep *upkeep = a->account->upkeep;
    uint32_t period_ms = upkeep->rt.config->health_check_interval_ms;

    log_change(a, healthy, status, outcome, why);
    publish(a, healthy, status, outcome);
    answer_wanted(a);
    a->ended_ms = loop_now_ms(upkeep->rt.loop);
    schedule(a, period_ms - period_ms / 10 + upkeep_random_below(upkeep, period_ms / 5));
}

/* A page of some portal is no provider, whatever its status. */
static const char *judge(const struct upstream_result *result)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    bool found = doc != NULL && result->body != NULL &&
                 normal_list_data(json_parse(doc, result->body, result->body_len, &error)) != NULL;

    json_doc_free(doc);
    return found ? NULL : "the answer is no list of batches";
}

static void pump(struct probes *p);

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct probe *a = arg;
    const char *error = result->upstream->error;

    assert(a->probes->in_flight > 0 && a->probes->in_flight <= MAX_IN_FLIGHT);
    a->probes->in_flight--;
    record(a, result->outcome, result->ok, result->upstream->head.status,
           error[0] != '\0' ? error : result->failure.message);
    pump(a->probes);
}

static void begin(struct probe *a)
{
    struct runtime *rt = &a->account->upkeep->rt;
    struct attempt_spec spec = {.deployment = a->account->deployment,
                                .call = CALL_BATCH_LIST,
                                .query = "limit=1",
                                .total_ms = upkeep_total_ms(rt->config, CALL_MS),
                                .max_body = MAX_ANSWER,
                                .background = true,
                                .judge = judge,
                                .on_done = on_answer,
                                .arg = a};

    if (attempt_start(rt, &spec) != NULL)
        a->probes->in_flight++;
    else
        record(a, OUTCOME_CANCELLED, false, 0, "the call could not be built");
}

static void pump(struct probes *p)
{
    while (p->due != NULL && p->in_flight < MAX_IN_FLIGHT) {
        struct probe *a = p->due;

        p->due = a->next;
        if (p->due == NULL)
            p->due_end = &p->due;
        begin(a);
    }
}

static void on_due(struct loop_timer *timer)
{
    struct probe *a = timer->arg;
    struct probes *p = a->probes;

    assert(a->waiting);
    a->waiting = false;
    a->next = NULL;
    *p->due_end = a;
    p->due_end = &a->next;
    pump(p);
}

/* One that is due or under way answers them as it is. */
static void on_look(struct loop_timer *timer)
{
    struct probes *all = timer->arg;
    uint64_t now_ms = loop_now_ms(all->upkeep->rt.loop);

    for (size_t i = 0; i < all->upkeep->num_accounts; i++) {
        struct probe *a = &all->of[i];

        if (a->account == NULL || !a->waiting || load_relaxed_32(&word_of(a)->wanted) == 0 ||
            (a->ended_ms != 0 && now_ms < a->ended_ms + LEAST_MS))
            continue;
        store_relaxed_32(&word_of(a)->wanted, 0);
        schedule(a, 0);
    }
    (void)loop_timer_start(all->upkeep->rt.loop, timer, LOOK_MS); /* its place was just freed */
}

/* What an earlier prober found is not news. */
static void init(struct probe *a, struct probes *all, struct upkeep_account *account)
{
    const struct probe_word *word = &account->upkeep->rt.inherited->probes[account->deployment];

    *a = (struct probe){.probes = all,
                        .account = account,
                        .known = atomic_load(&word->checked_unix_s) != 0,
                        .healthy = atomic_load(&word->healthy) != 0};
    a->timer = (struct loop_timer){.cb = on_due, .arg = a};
}

int probes_start(struct upkeep *upkeep)
{
    size_t num = upkeep->num_accounts;
    struct probes *all = calloc(1, sizeof(*all) + num * sizeof(all->of[0]));

    if (all == NULL)
        return ERR_NOMEM;
    upkeep->probes = all;
    all->upkeep = upkeep;
    all->due_end = &all->due;
    all->look = (struct loop_timer){.cb = on_look, .arg = all};
    for (size_t i = 0; i < num; i++) {
        if (upkeep->accounts[i].deployment == MODEL_NO_INDEX)
            continue;
        init(&all->of[i], all, &upkeep->accounts[i]);
        schedule(&all->of[i], upkeep_stagger_ms(i, num));
    }
    return loop_timer_start(upkeep->rt.loop, &all->look, LOOK_MS);
}

void probes_again(struct upkeep *upkeep, uint32_t credential)
{
    const struct model_account *accounts = upkeep->rt.config->models.accounts;

    for (size_t i = 0; upkeep->probes != NULL && i < upkeep->num_accounts; i++) {
        struct probe *a = &upkeep->probes->of[i];

        if (accounts[i].auth == ACCOUNT_AUTH_ENTRA && accounts[i].entra == credential &&
            a->waiting && a->known && !a->healthy)
            schedule(a, 0);
    }
}
