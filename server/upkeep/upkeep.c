/* See upkeep.h. */
#include "upkeep.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define MAX_IN_FLIGHT    8 /* probes may have eight more */
#define MAX_PER_ACCOUNT  2 /* one that watches batches, and one that counts files */
#define CALL_MS          20000
#define FILES_MS         60000      /* a list of ten thousand files in one answer */
#define MAX_JSON         (1u << 20) /* a server's list of models may be long; no client waits */
#define STAGGER_MS       25         /* between two accounts ... */
#define MAX_STAGGER_MS   5000       /* ... and between the first and the last of them */
#define FIRST_BACKOFF_MS 1000u
#define MAX_DOUBLED      6 /* times that it doubles */

struct upkeep_call {
    struct upkeep_account *account; /* borrowed */
    enum provider_call what;
    char *id, *query;         /* owned; NULL: none */
    upstream_data_cb on_data; /* of a file's content; else NULL */
    attempt_done_cb on_done;
    void *arg;                /* borrowed */
    struct attempt *attempt;  /* borrowed; while it is under way */
    size_t fed;               /* bytes of this turn */
    struct loop_timer resume; /* a pause until the next turn */
    struct upkeep_call *next; /* in the queue */
};

static void pump(struct upkeep *upkeep);

const char *upkeep_account_name(const struct upkeep_account *a)
{
    return a->upkeep->rt.inherited->config->models.accounts[a->account].name;
}

bool upkeep_account_is_quiet(const struct upkeep_account *a)
{
    return loop_now_ms(a->upkeep->rt.loop) < a->quiet_until_ms;
}

uint32_t upkeep_random_below(struct upkeep *upkeep, uint32_t bound)
{
    return (uint32_t)(runtime_random(&upkeep->rt) * bound);
}

uint64_t upkeep_stagger_ms(size_t i, size_t num)
{
    assert(i < num);
    return num * STAGGER_MS > MAX_STAGGER_MS ? i * MAX_STAGGER_MS / num : i * STAGGER_MS;
}

uint64_t upkeep_backoff_ms(enum outcome outcome, int64_t retry_after_ms, unsigned failures,
                           uint32_t random)
{
    unsigned doubled = failures > 0 ? failures - 1 : 0;
    uint64_t backoff_ms;

    if (outcome == OUTCOME_OK)
        return 0;
    if (retry_after_ms >= 0)
        return (uint64_t)retry_after_ms + (uint64_t)retry_after_ms * random / 10000;
    backoff_ms = (uint64_t)FIRST_BACKOFF_MS << (doubled < MAX_DOUBLED ? doubled : MAX_DOUBLED);
    return backoff_ms - backoff_ms / 4 + backoff_ms * random / 2000;
}

static void free_call(struct upkeep_call *call)
{
    loop_timer_stop(call->account->upkeep->rt.loop, &call->resume);
    free(call->id);
    free(call->query);
    free(call);
}

/* A file's content has places of its own: it may be under way for an hour, and small calls go on.
 * @return those of all accounts that calls of its kind have taken */
static unsigned *places_of(const struct upkeep_call *call, unsigned **at_account)
{
    struct upkeep_account *account = call->account;
    bool content = call->on_data != NULL;

    *at_account = content ? &account->contents : &account->in_flight;
    return content ? &account->upkeep->contents : &account->upkeep->in_flight;
}

static bool has_place(const struct upkeep_call *call)
{
    unsigned *at_account, *all = places_of(call, &at_account);

    if (call->on_data != NULL)
        return *all < UPKEEP_CONTENTS && *at_account < UPKEEP_CONTENTS_OF_ACCOUNT;
    return *all < MAX_IN_FLIGHT && *at_account < MAX_PER_ACCOUNT;
}

/* The call ends here alone: the account is free for the next one, then the caller is told. */
static void finish(struct upkeep_call *call, const struct attempt_result *result)
{
    struct upkeep *upkeep = call->account->upkeep;
    attempt_done_cb on_done = call->on_done;
    void *arg = call->arg;
    unsigned *at_account;

    --*places_of(call, &at_account);
    --*at_account;
    free_call(call);
    on_done(arg, result);
    pump(upkeep);
}

/* A failure, or a Retry-After, makes the account quiet for a while. */
static void set_pace(struct upkeep_account *a, enum outcome outcome, int64_t retry_after_ms)
{
    uint64_t backoff_ms;

    a->failures = outcome == OUTCOME_OK ? 0 : a->failures + 1;
    backoff_ms = upkeep_backoff_ms(outcome, retry_after_ms, a->failures,
                                   upkeep_random_below(a->upkeep, 1000));
    if (backoff_ms > 0)
        a->quiet_until_ms = loop_now_ms(a->upkeep->rt.loop) + backoff_ms;
}

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct upkeep_call *call = arg;

    set_pace(call->account, result->outcome, result->failure.retry_after_ms);
    finish(call, result);
}

/* Another status has an error in its body, which is collected. */
static bool on_head(void *arg, const struct upstream_head *head)
{
    (void)arg;
    return head->status == 200;
}

static void on_resume(struct loop_timer *timer)
{
    struct upkeep_call *call = timer->arg;

    call->fed = 0;
    attempt_resume(call->attempt);
}

/* A turn of the loop is for others too. */
static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct upkeep_call *call = arg;
    struct loop *loop = call->account->upkeep->rt.loop;

    (void)call->on_data(call->arg, bytes, len);
    call->fed += len;
    if (call->fed < UPKEEP_SLICE || call->attempt == NULL)
        return true;
    return loop_timer_start(loop, &call->resume, 0) != 0;
}

uint32_t upkeep_total_ms(const struct config *config, uint32_t most_ms)
{
    uint32_t total_ms = config->timeouts.json_total_ms;

    return total_ms == 0 || total_ms > most_ms ? most_ms : total_ms;
}

/* A file's content has no limit as a whole: it ends when nothing has moved for as long as the class
 * of files allows (timeouts.low_speed_ms). */
static uint32_t total_ms_of(const struct upkeep_call *call)
{
    if (call->on_data != NULL)
        return 0;
    return upkeep_total_ms(call->account->upkeep->rt.config,
                           call->what == CALL_FILE_LIST ? FILES_MS : CALL_MS);
}

static void begin(struct upkeep_call *call)
{
    static const struct upstream_result none = {.end = UPSTREAM_REFUSED,
                                                .error = "the call could not be built"};
    struct upkeep *upkeep = call->account->upkeep;
    bool list = call->what == CALL_FILE_LIST || call->what == CALL_BATCH_LIST;
    unsigned *at_account, *all = places_of(call, &at_account);
    struct attempt_result refused = {
        .upstream = &none, .outcome = OUTCOME_CANCELLED, .failure.retry_after_ms = -1};
    struct attempt_spec spec = {.deployment = call->account->deployment,
                                .call = call->what,
                                .id = call->id,
                                .query = call->query,
                                .total_ms = total_ms_of(call),
                                .max_body = list ? 0 : MAX_JSON,
                                .background = true,
                                .agent = UPKEEP_AGENT,
                                .on_head = call->on_data != NULL ? on_head : NULL,
                                .on_data = call->on_data != NULL ? on_data : NULL,
                                .on_done = on_answer,
                                .arg = call};

    assert(has_place(call));
    ++*all;
    ++*at_account;
    call->attempt = attempt_start(&upkeep->rt, &spec);
    if (call->attempt != NULL)
        return;
    failure_from_result(&none, clock_unix_s(), &refused.failure);
    set_pace(call->account, OUTCOME_CANCELLED, -1);
    finish(call, &refused);
}

/* @param at  the place in the queue that names it */
static void unqueue(struct upkeep *upkeep, struct upkeep_call **at)
{
    *at = (*at)->next;
    if (*at == NULL)
        upkeep->waiting_end = at;
}

/* Take the first call whose account may be called out of the queue.
 * @param quiet_until_ms  when the first account that is quiet may be called; UINT64_MAX: none is
 * quiet
 * @return NULL: every call has to wait */
static struct upkeep_call *take(struct upkeep *upkeep, uint64_t *quiet_until_ms)
{
    uint64_t now_ms = loop_now_ms(upkeep->rt.loop);

    *quiet_until_ms = UINT64_MAX;
    for (struct upkeep_call **at = &upkeep->waiting; *at != NULL; at = &(*at)->next) {
        struct upkeep_call *call = *at;

        if (now_ms < call->account->quiet_until_ms) {
            if (call->account->quiet_until_ms < *quiet_until_ms)
                *quiet_until_ms = call->account->quiet_until_ms;
            continue;
        }
        if (!has_place(call))
            continue;
        unqueue(upkeep, at);
        return call;
    }
    return NULL;
}

static void pump(struct upkeep *upkeep)
{
    uint64_t now_ms = loop_now_ms(upkeep->rt.loop), quiet_until_ms = UINT64_MAX;
    struct upkeep_call *call;

    while ((call = take(upkeep, &quiet_until_ms)) != NULL)
        begin(call);
    if (quiet_until_ms != UINT64_MAX &&
        loop_timer_start(upkeep->rt.loop, &upkeep->wake, quiet_until_ms - now_ms) != 0)
        log_error("quota ledger maintenance stopped: %s", err_str(ERR_NOMEM));
}

static void on_wake(struct loop_timer *timer)
{
    pump(timer->arg);
}

/* @return NULL: out of memory */
static struct upkeep_call *queue_call(struct upkeep_account *account, enum provider_call what,
                                      const char *id, const char *query, upstream_data_cb on_piece,
                                      attempt_done_cb on_done, void *arg)
{
    struct upkeep *upkeep = account->upkeep;
    struct upkeep_call *call = calloc(1, sizeof(*call));

    assert(account->deployment != MODEL_NO_INDEX);
    if (call == NULL)
        return NULL;
    *call = (struct upkeep_call){
        .account = account, .what = what, .on_data = on_piece, .on_done = on_done, .arg = arg};
    call->resume = (struct loop_timer){.cb = on_resume, .arg = call};
    call->id = id != NULL ? strdup(id) : NULL;
    call->query = query != NULL ? strdup(query) : NULL;
    if ((id != NULL && call->id == NULL) || (query != NULL && call->query == NULL) ||
        loop_timer_start(upkeep->rt.loop, &upkeep->wake, 0) != 0) {
        free_call(call);
        return NULL;
    }
    *upkeep->waiting_end = call;
    upkeep->waiting_end = &call->next;
    return call;
}

int upkeep_call_start(struct upkeep_account *account, enum provider_call what, const char *id,
                      const char *query, attempt_done_cb on_done, void *arg)
{
    return queue_call(account, what, id, query, NULL, on_done, arg) != NULL ? 0 : ERR_NOMEM;
}

int upkeep_content_start(struct upkeep_account *account, const char *id, upstream_data_cb on_piece,
                         attempt_done_cb on_done, void *arg, struct upkeep_call **call)
{
    *call = queue_call(account, CALL_FILE_CONTENT, id, NULL, on_piece, on_done, arg);
    return *call != NULL ? 0 : ERR_NOMEM;
}

void upkeep_content_cancel(struct upkeep_call *call)
{
    struct upkeep *upkeep = call->account->upkeep;
    unsigned *at_account, *all = places_of(call, &at_account);
    struct upkeep_call **at = &upkeep->waiting;

    assert(call->on_data != NULL);
    if (call->attempt != NULL) {
        attempt_cancel(call->attempt);
        --*all;
        --*at_account;
    } else {
        while (*at != call)
            at = &(*at)->next;
        unqueue(upkeep, at);
    }
    free_call(call);
    if (loop_timer_start(upkeep->rt.loop, &upkeep->wake, 0) != 0)
        log_error("quota ledger maintenance stopped: %s", err_str(ERR_NOMEM));
}

/* --- the accounts --- */

static void collect_accounts(struct upkeep *upkeep)
{
    const struct runtime *rt = &upkeep->rt;

    for (uint32_t i = 0; i < upkeep->num_accounts; i++)
        upkeep->accounts[i] = (struct upkeep_account){
            .upkeep = upkeep,
            .account = i,
            .deployment = rt->account_first[i],
            .fingerprint = rt->account_fingerprint[i],
            .same_resource = rt->account_same_resource[i],
            .balanced = rt->account_balanced[i] && rt->account_first[i] != MODEL_NO_INDEX};
}

static int index_columns(struct upkeep *upkeep)
{
    const struct inherited *inherited = upkeep->rt.inherited;
    uint32_t num = table_num_deployments(inherited->table);

    for (uint32_t i = 0; i < num; i++)
        if (inherited->columns[i] >= upkeep->num_columns)
            upkeep->num_columns = inherited->columns[i] + 1;
    upkeep->deployment_of =
        malloc((upkeep->num_columns + (size_t)1) * sizeof(*upkeep->deployment_of));
    if (upkeep->deployment_of == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < upkeep->num_columns; i++)
        upkeep->deployment_of[i] = MODEL_NO_INDEX;
    for (uint32_t i = 0; i < num; i++)
        upkeep->deployment_of[inherited->columns[i]] = i;
    return 0;
}

int upkeep_init(struct upkeep *upkeep)
{
    struct runtime *rt = &upkeep->rt;
    int ret;

    rt->config = rt->inherited->config;
    rt->table = rt->inherited->table;
    ret = runtime_prepare(rt);
    if (ret != 0)
        return ret;
    upkeep->num_accounts = rt->config->models.num_accounts;
    upkeep->accounts = calloc(upkeep->num_accounts + 1, sizeof(*upkeep->accounts));
    if (upkeep->accounts == NULL)
        return ERR_NOMEM;
    upkeep->waiting_end = &upkeep->waiting;
    upkeep->wake = (struct loop_timer){.cb = on_wake, .arg = upkeep};
    collect_accounts(upkeep);
    return index_columns(upkeep);
}
