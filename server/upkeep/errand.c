/* See errand.h. */
#include "errand.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>

#include "crypto/account_map.h"
#include "common/clock.h"
#include "common/log.h"
#include "calls/outcome.h"
#include "core/provider_clock.h"

#define MAX_IN_FLIGHT    8 /* beside the eight of the probes */
#define MAX_PER_ACCOUNT  2 /* one that follows batches, and one that counts files */
#define CALL_MS          20000
#define FILES_MS         60000       /* a list of ten thousand files in one answer */
#define MAX_LIST_ANSWER  (32u << 20) /* as attempt.c */
#define MAX_JSON_ANSWER  (1u << 20)
#define FIRST_REST_MS    1000u
#define MAX_REST_DOUBLED 6

struct errand {
    struct errand_account *account; /* borrowed */
    enum provider_call call;
    char *id, *query; /* owned; NULL: none */
    errand_done_cb on_done;
    void *arg;           /* borrowed */
    struct errand *next; /* in the queue */
};

static void pump(struct errands *errands);

const char *errand_account_name(const struct errand_account *a)
{
    return a->errands->inherited->config->models.accounts[a->account].name;
}

bool errand_account_is_quiet(const struct errand_account *a)
{
    return loop_now_ms(a->errands->loop) < a->quiet_until_ms;
}

uint32_t errand_random_below(uint32_t bound)
{
    uint32_t value = 0;

    if (bound == 0)
        return 0;
    if (RAND_bytes((unsigned char *)&value, sizeof(value)) != 1)
        return bound / 2;
    return value % bound;
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
static void finish(struct errand *e, const struct errand_result *result)
{
    struct errands *errands = e->account->errands;
    errand_done_cb on_done = e->on_done;
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
    rest_ms = errand_rest_ms(outcome, retry_after_ms, a->failures, errand_random_below(1000));
    if (rest_ms > 0)
        a->quiet_until_ms = loop_now_ms(a->errands->loop) + rest_ms;
}

static void on_answer(void *arg, const struct upstream_result *upstream)
{
    struct errand *e = arg;
    const struct errands *errands = e->account->errands;
    const struct inherited *inherited = errands->inherited;
    int status = upstream->head.status;
    struct errand_result result = {.upstream = upstream, .failure.retry_after_ms = -1};

    provider_clock_learn(inherited, e->account->deployment, upstream, loop_now_ms(errands->loop));
    result.ok = upstream->end == UPSTREAM_ANSWERED && status >= 200 && status < 300;
    result.gone = upstream->end == UPSTREAM_ANSWERED && (status == 404 || status == 410);
    if (!result.ok)
        failure_from_result(upstream, clock_unix_s(), &result.failure);
    result.outcome = outcome_of(upstream, &result.failure);
    state_end(inherited->state, errands->slot, inherited->columns[e->account->deployment], OP_READ,
              result.outcome, status, upstream->total_us, upstream->bytes_sent,
              upstream->bytes_received);
    set_pace(e->account, result.outcome, result.failure.retry_after_ms);
    finish(e, &result);
}

static void set_agent(struct provider_headers *headers)
{
    for (size_t i = 0; i < headers->num; i++)
        if (strcmp(headers->list[i].name, "User-Agent") == 0)
            headers->list[i].value = ERRAND_AGENT;
}

static struct upstream_call *call(struct errand *e)
{
    const struct errands *errands = e->account->errands;
    const struct config *config = errands->inherited->config;
    const struct model_account *account = &config->models.accounts[e->account->account];
    bool list = e->call == CALL_FILE_LIST || e->call == CALL_BATCH_LIST;
    uint32_t most_ms = e->call == CALL_FILE_LIST ? FILES_MS : CALL_MS;
    struct strbuf url = STRBUF_INIT;
    struct provider_headers headers = {0};
    struct upstream_call *started = NULL;
    struct upstream_request request = {.method = provider_method(e->call),
                                       .total_ms = config->timeouts.json_total_ms,
                                       .max_body = list ? MAX_LIST_ANSWER : MAX_JSON_ANSWER,
                                       .on_done = on_answer,
                                       .arg = e};

    if (request.total_ms == 0 || request.total_ms > most_ms)
        request.total_ms = most_ms;
    if (provider_url(account, e->call, e->id, e->query, &url) == 0 &&
        provider_headers(account, e->call, NULL, &headers) == 0) {
        set_agent(&headers);
        request.url = strbuf_str(&url);
        request.headers = headers.list;
        request.num_headers = headers.num;
        started = upstream_start(errands->upstream, &request);
    }
    provider_headers_wipe(&headers);
    strbuf_deinit(&url);
    return started;
}

static void begin(struct errand *e)
{
    static const struct upstream_result none = {.end = UPSTREAM_REFUSED,
                                                .error = "the call could not be built"};
    struct errands *errands = e->account->errands;
    const struct inherited *inherited = errands->inherited;
    struct errand_result refused = {
        .upstream = &none, .outcome = OUTCOME_CANCELLED, .failure.retry_after_ms = -1};

    errands->in_flight++;
    e->account->in_flight++;
    if (call(e) != NULL) {
        state_begin(inherited->state, errands->slot, inherited->columns[e->account->deployment],
                    OP_READ);
        return;
    }
    failure_from_result(&none, clock_unix_s(), &refused.failure);
    set_pace(e->account, OUTCOME_CANCELLED, -1);
    finish(e, &refused);
}

/* The first one whose account may be called. @param quiet_until_ms  when the next account may be,
 * UINT64_MAX: none is waited for */
static struct errand *take(struct errands *errands, uint64_t *quiet_until_ms)
{
    uint64_t now_ms = loop_now_ms(errands->loop);

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
    uint64_t now_ms = loop_now_ms(errands->loop), quiet_until_ms = UINT64_MAX;
    struct errand *e;

    while (errands->in_flight < MAX_IN_FLIGHT && (e = take(errands, &quiet_until_ms)) != NULL)
        begin(e);
    if (quiet_until_ms != UINT64_MAX &&
        loop_timer_start(errands->loop, &errands->wake, quiet_until_ms - now_ms) != 0)
        log_error("quota ledger maintenance stopped: %s", err_str(ERR_NOMEM));
}

static void on_wake(struct loop_timer *timer)
{
    pump(timer->arg);
}

int errand_start(struct errand_account *account, enum provider_call what, const char *id,
                 const char *query, errand_done_cb on_done, void *arg)
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
    if (loop_timer_start(errands->loop, &errands->wake, 0) != 0) {
        errand_free(e);
        return ERR_NOMEM;
    }
    *errands->waiting_end = e;
    errands->waiting_end = &e->next;
    return 0;
}

/* --- who there is --- */

static int collect_accounts(struct errands *errands)
{
    const struct config *config = errands->inherited->config;
    struct account_map map = {0};
    int ret = account_map_init(&map, &config->models, config->balance_batches);

    for (uint32_t i = 0; ret == 0 && i < errands->num_accounts; i++)
        errands->accounts[i] =
            (struct errand_account){.errands = errands,
                                    .account = i,
                                    .deployment = map.first[i],
                                    .fingerprint = map.fingerprint[i],
                                    .same_resource = map.same_resource[i],
                                    .balanced = map.balanced[i] && map.first[i] != MODEL_NO_INDEX};
    account_map_deinit(&map);
    return ret;
}

static int index_columns(struct errands *errands)
{
    const struct inherited *inherited = errands->inherited;
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
    int ret;

    errands->num_accounts = errands->inherited->config->models.num_accounts;
    errands->accounts = calloc(errands->num_accounts + 1, sizeof(*errands->accounts));
    if (errands->accounts == NULL)
        return ERR_NOMEM;
    errands->waiting_end = &errands->waiting;
    errands->wake = (struct loop_timer){.cb = on_wake, .arg = errands};
    ret = collect_accounts(errands);
    return ret == 0 ? index_columns(errands) : ret;
}
