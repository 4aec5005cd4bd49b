/* See errand.h. */
#include "errand.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define MAX_IN_FLIGHT    8 /* beside the eight of the probes */
#define MAX_PER_ACCOUNT  2 /* one that follows batches, and one that counts files */
#define CALL_MS          20000
#define FILES_MS         60000      /* a list of ten thousand files in one answer */
#define MAX_JSON         (1u << 20) /* a server's list of models may be long; no client waits */
#define FIRST_REST_MS    1000u
#define MAX_REST_DOUBLED 6

struct errand {
    struct errand_account *account; /* borrowed */
    enum provider_call call;
    char *id, *query; /* owned; NULL: none */
    attempt_done_cb on_done;
    void *arg;           /* borrowed */
    struct errand *next; /* in the queue */
};

static void pump(struct errands *errands);

const char *errand_account_name(const struct errand_account *a)
{
    return a->errands->rt.inherited->config->models.accounts[a->account].name;
}

bool errand_account_is_quiet(const struct errand_account *a)
{
    return loop_now_ms(a->errands->rt.loop) < a->quiet_until_ms;
}

uint32_t errand_random_below(struct errands *errands, uint32_t bound)
{
    return (uint32_t)(runtime_random(&errands->rt) * bound);
}

uint64_t errand_rest_ms(enum outcome outcome, int64_t retry_after_ms, unsigned failures,
                        uint32_t random)
{
    unsigned doubled = failures > 0 ? failures - 1 : 0;
    uint64_t rest_ms;

    if (outcome == OUTCOME_OK)
        return 0;
    if (retry_after_ms >= 0)
        return (uint64_t)retry_after_ms + (uint64_t)retry_after_ms * random / 10000;
    rest_ms = (uint64_t)FIRST_REST_MS << (doubled < MAX_REST_DOUBLED ? doubled : MAX_REST_DOUBLED);
    return rest_ms - rest_ms / 4 + rest_ms * random / 2000;
}

static void errand_free(struct errand *e)
{
    free(e->id);
    free(e->query);
    free(e);
}

/* The one way out. */
static void finish(struct errand *e, const struct attempt_result *result)
{
    struct errands *errands = e->account->errands;
    attempt_done_cb on_done = e->on_done;
    void *arg = e->arg;

    errands->in_flight--;
    e->account->in_flight--;
    errand_free(e);
    on_done(arg, result);
    pump(errands);
}

static void set_pace(struct errand_account *a, enum outcome outcome, int64_t retry_after_ms)
{
    uint64_t rest_ms;

    a->failures = outcome == OUTCOME_OK ? 0 : a->failures + 1;
    rest_ms =
        errand_rest_ms(outcome, retry_after_ms, a->failures, errand_random_below(a->errands, 1000));
    if (rest_ms > 0)
        a->quiet_until_ms = loop_now_ms(a->errands->rt.loop) + rest_ms;
}

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct errand *e = arg;

    set_pace(e->account, result->outcome, result->failure.retry_after_ms);
    finish(e, result);
}

uint32_t errand_total_ms(const struct config *config, uint32_t most_ms)
{
    uint32_t total_ms = config->timeouts.json_total_ms;

    return total_ms == 0 || total_ms > most_ms ? most_ms : total_ms;
}

static void begin(struct errand *e)
{
    static const struct upstream_result none = {.end = UPSTREAM_REFUSED,
                                                .error = "the call could not be built"};
    struct errands *errands = e->account->errands;
    bool list = e->call == CALL_FILE_LIST || e->call == CALL_BATCH_LIST;
    struct attempt_result refused = {
        .upstream = &none, .outcome = OUTCOME_CANCELLED, .failure.retry_after_ms = -1};
    struct attempt_spec spec = {
        .deployment = e->account->deployment,
        .call = e->call,
        .id = e->id,
        .query = e->query,
        .total_ms =
            errand_total_ms(errands->rt.config, e->call == CALL_FILE_LIST ? FILES_MS : CALL_MS),
        .max_body = list ? 0 : MAX_JSON,
        .background = true,
        .agent = ERRAND_AGENT,
        .on_done = on_answer,
        .arg = e};

    errands->in_flight++;
    e->account->in_flight++;
    if (attempt_start(&errands->rt, &spec) != NULL)
        return;
    failure_from_result(&none, clock_unix_s(), &refused.failure);
    set_pace(e->account, OUTCOME_CANCELLED, -1);
    finish(e, &refused);
}

/* The first one whose account may be called. @param quiet_until_ms  when the next account may be,
 * UINT64_MAX: none is waited for */
static struct errand *take(struct errands *errands, uint64_t *quiet_until_ms)
{
    uint64_t now_ms = loop_now_ms(errands->rt.loop);

    *quiet_until_ms = UINT64_MAX;
    for (struct errand **at = &errands->waiting; *at != NULL; at = &(*at)->next) {
        struct errand *e = *at;

        if (now_ms < e->account->quiet_until_ms) {
            if (e->account->quiet_until_ms < *quiet_until_ms)
                *quiet_until_ms = e->account->quiet_until_ms;
            continue;
        }
        if (e->account->in_flight >= MAX_PER_ACCOUNT)
            continue;
        *at = e->next;
        if (*at == NULL)
            errands->waiting_end = at;
        return e;
    }
    return NULL;
}

static void pump(struct errands *errands)
{
    uint64_t now_ms = loop_now_ms(errands->rt.loop), quiet_until_ms = UINT64_MAX;
    struct errand *e;

    while (errands->in_flight < MAX_IN_FLIGHT && (e = take(errands, &quiet_until_ms)) != NULL)
        begin(e);
    if (quiet_until_ms != UINT64_MAX &&
        loop_timer_start(errands->rt.loop, &errands->wake, quiet_until_ms - now_ms) != 0)
        log_error("quota ledger maintenance stopped: %s", err_str(ERR_NOMEM));
}

static void on_wake(struct loop_timer *timer)
{
    pump(timer->arg);
}

int errand_start(struct errand_account *account, enum provider_call what, const char *id,
                 const char *query, attempt_done_cb on_done, void *arg)
{
    struct errands *errands = account->errands;
    struct errand *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return ERR_NOMEM;
    *e = (struct errand){.account = account, .call = what, .on_done = on_done, .arg = arg};
    e->id = id != NULL ? strdup(id) : NULL;
    e->query = query != NULL ? strdup(query) : NULL;
    if ((id != NULL && e->id == NULL) || (query != NULL && e->query == NULL)) {
        errand_free(e);
        return ERR_NOMEM;
    }
    if (loop_timer_start(errands->rt.loop, &errands->wake, 0) != 0) {
        errand_free(e);
        return ERR_NOMEM;
    }
    *errands->waiting_end = e;
    errands->waiting_end = &e->next;
    return 0;
}

/* --- who there is --- */

static void collect_accounts(struct errands *errands)
{
    const struct runtime *rt = &errands->rt;

    for (uint32_t i = 0; i < errands->num_accounts; i++)
        errands->accounts[i] = (struct errand_account){
            .errands = errands,
            .account = i,
            .deployment = rt->account_first[i],
            .fingerprint = rt->account_fingerprint[i],
            .same_resource = rt->account_same_resource[i],
            .balanced = rt->account_balanced[i] && rt->account_first[i] != MODEL_NO_INDEX};
}

static int index_columns(struct errands *errands)
{
    const struct inherited *inherited = errands->rt.inherited;
    uint32_t num = table_num_deployments(inherited->table);

    for (uint32_t i = 0; i < num; i++)
        if (inherited->columns[i] >= errands->num_columns)
            errands->num_columns = inherited->columns[i] + 1;
    errands->deployment_of =
        malloc((errands->num_columns + (size_t)1) * sizeof(*errands->deployment_of));
    if (errands->deployment_of == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < errands->num_columns; i++)
        errands->deployment_of[i] = MODEL_NO_INDEX;
    for (uint32_t i = 0; i < num; i++)
        errands->deployment_of[inherited->columns[i]] = i;
    return 0;
}

int errands_init(struct errands *errands)
{
    struct runtime *rt = &errands->rt;
    int ret;

    rt->config = rt->inherited->config;
    rt->table = rt->inherited->table;
    ret = runtime_prepare(rt);
    if (ret != 0)
        return ret;
    errands->num_accounts = rt->config->models.num_accounts;
    errands->accounts = calloc(errands->num_accounts + 1, sizeof(*errands->accounts));
    if (errands->accounts == NULL)
        return ERR_NOMEM;
    errands->waiting_end = &errands->waiting;
    errands->wake = (struct loop_timer){.cb = on_wake, .arg = errands};
    collect_accounts(errands);
    return index_columns(errands);
}
