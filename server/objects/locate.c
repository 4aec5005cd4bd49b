/* See locate.h. */
#include "objects/locate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/memo.h"
#include "balancer/retry.h"
#include "common/clock.h"
#include "json/json.h"
#include "calls/attempt.h"

#define MEMO_ID_PLACE 'i' /* kind of key; the value's first word is the account's key */
#define MAX_TRIES     3   /* at one account, unless the operator says otherwise */

/* One account being asked. */
struct probe {
    struct locate *locate;
    uint32_t at; /* candidate */
    uint32_t tries;
    struct attempt *attempt; /* owned; NULL while waiting to try again */
    struct loop_timer retry;
    bool busy;
};

struct locate {
    struct runtime *rt;
    enum id_kind kind;
    char native[IDS_MAX + 1];
    uint32_t *deployments; /* owned; candidates, as the caller ordered them */
    uint32_t num;
    uint32_t next;       /* candidate to be asked next */
    uint32_t remembered; /* candidate that the memo named; MODEL_NO_INDEX: none */
    uint32_t alone;      /* candidate to be asked before all others; MODEL_NO_INDEX: none */
    unsigned busy;       /* probes */
    struct probe probes[LOCATE_PARALLEL];
    struct failure worst; /* the most telling one so far */
    int worst_rank;       /* -1: none */
    uint32_t worst_at;    /* whose */
    locate_done_cb on_done;
    void *arg;
};

static const struct failure no_memory = {.status = 500,
                                         .type = "server_error",
                                         .code = "out_of_memory",
                                         .message = "The gateway is out of memory.",
                                         .retry_after_ms = -1};

static uint64_t key_of(enum id_kind kind, const char *native)
{
    return memo_key(MEMO_ID_PLACE, (uint64_t)kind, native, strlen(native));
}

static void locate_free(struct locate *l)
{
    for (unsigned i = 0; i < LOCATE_PARALLEL; i++) {
        struct probe *probe = &l->probes[i];

        if (probe->attempt != NULL)
            attempt_cancel(probe->attempt);
        loop_timer_stop(l->rt->loop, &probe->retry);
    }
    free(l->deployments);
    free(l);
}

static void finish(struct locate *l, const struct locate_result *result)
{
    locate_done_cb on_done = l->on_done;
    void *arg = l->arg;

    assert(!result->found || result->deployment != MODEL_NO_INDEX);
    locate_free(l);
    on_done(arg, result);
}

static void finish_found(struct locate *l, const struct probe *probe,
                         const struct upstream_result *answer)
{
    struct locate_result result = {
        .found = true, .deployment = l->deployments[probe->at], .answer = answer};

    locate_remember(l->rt, l->kind, l->native, result.deployment);
    finish(l, &result);
}

static void finish_not_found(struct locate *l)
{
    struct locate_result result = {.failure = l->worst,
                                   .deployment = l->worst_rank == 0 ? MODEL_NO_INDEX
                                                                    : l->deployments[l->worst_at]};

    if (l->worst_rank == 0 && l->remembered != MODEL_NO_INDEX)
        memo_drop(l->rt->inherited->memo, key_of(l->kind, l->native));
    finish(l, &result);
}

static void note_failure(struct locate *l, uint32_t at, const struct failure *failure)
{
    int rank = locate_rank(failure);

    if (rank < l->worst_rank || (rank == l->worst_rank && at > l->worst_at))
        return;
    l->worst = *failure;
    l->worst_rank = rank;
    l->worst_at = at;
}

/* A 2xx of something that is not the provider must not claim the object. */
static bool shows_an_object(const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *object =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    bool shows = json_get_str(object, "id") != NULL;

    json_doc_free(doc);
    return shows;
}

static void on_looked(void *arg, const struct attempt_result *result);

static int ask(struct probe *probe)
{
    struct locate *l = probe->locate;
    struct attempt_spec spec = {.deployment = l->deployments[probe->at],
                                .call = l->kind == ID_FILE ? CALL_FILE_GET : CALL_BATCH_GET,
                                .id = l->native,
                                .on_done = on_looked,
                                .arg = probe};

    assert(probe->attempt == NULL && probe->at < l->num);
    probe->tries++;
    probe->attempt = attempt_start(l->rt, &spec);
    return probe->attempt != NULL ? 0 : ERR_NOMEM;
}

static struct probe *free_look(struct locate *l)
{
    for (unsigned i = 0; i < LOCATE_PARALLEL; i++)
        if (!l->probes[i].busy)
            return &l->probes[i];
    return NULL;
}

static void start_look(struct locate *l, uint32_t at)
{
    struct probe *probe = free_look(l);

    assert(probe != NULL); /* fill() counts them */
    *probe = (struct probe){.locate = l, .at = at};
    if (ask(probe) != 0) {
        note_failure(l, at, &no_memory);
        return;
    }
    probe->busy = true;
    l->busy++;
}

/* Ask as many as may be asked at one time. */
static void fill(struct locate *l)
{
    while (l->next < l->num && l->busy < LOCATE_PARALLEL) {
        uint32_t at = l->next++;

        if (at != l->alone)
            start_look(l, at);
    }
}

/* Nothing came of this account. */
static void end_look(struct probe *probe, const struct failure *failure)
{
    struct locate *l = probe->locate;

    assert(probe->busy && probe->attempt == NULL && l->busy > 0);
    note_failure(l, probe->at, failure);
    probe->busy = false;
    l->busy--;
    fill(l); /* also when it was asked alone: then the others come in */
    if (l->busy == 0)
        finish_not_found(l);
}

static void on_retry_timer(struct loop_timer *timer)
{
    struct probe *probe = timer->arg;

    if (ask(probe) != 0)
        end_look(probe, &no_memory);
}

static bool try_again(struct probe *probe, const struct attempt_result *result)
{
    struct runtime *rt = probe->locate->rt;
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer decision;

    question.pinned = question.idempotent = true;
    question.tries = probe->tries;
    attempt_limits(rt, probe->locate->deployments[probe->at], MAX_TRIES, &question);
    decision = attempt_decide(rt, probe->locate->deployments[probe->at], &question);
    probe->retry.cb = on_retry_timer;
    probe->retry.arg = probe;
    return decision.action == RETRY_SAME &&
           loop_timer_start(rt->loop, &probe->retry, decision.delay_ms) == 0;
}

static void on_looked(void *arg, const struct attempt_result *result)
{
    struct probe *probe = arg;
    struct failure unreadable;

    probe->attempt = NULL;
    if (result->ok && shows_an_object(result->upstream)) {
        finish_found(probe->locate, probe, result->upstream);
    } else if (result->ok) {
        failure_from_result(result->upstream, clock_unix_s(), &unreadable);
        end_look(probe, &unreadable);
    } else if (!try_again(probe, result)) {
        end_look(probe, &result->failure);
    }
}

/* The candidate that the memo names. */
static uint32_t recall(const struct locate *l)
{
    const struct runtime *rt = l->rt;
    uint64_t value[MEMO_WORDS];

    if (memo_get(rt->inherited->memo, key_of(l->kind, l->native), 0, loop_now_ms(rt->loop), value))
        for (uint32_t i = 0; i < l->num; i++)
            if (runtime_account_key(rt, l->deployments[i]) == value[0])
                return i;
    return MODEL_NO_INDEX;
}

static void begin(struct locate *l)
{
    l->remembered = l->alone = recall(l);
    /* Without balancing, try the default account first. */
    if (l->alone == MODEL_NO_INDEX && !l->rt->config->balance_batches)
        l->alone = 0;
    if (l->alone != MODEL_NO_INDEX)
        start_look(l, l->alone);
    if (l->busy == 0)
        fill(l);
}

struct locate *locate_start(struct runtime *rt, enum id_kind kind, const char *native,
                            const uint32_t *deployments, uint32_t num, locate_done_cb on_done,
                            void *arg)
{
    struct locate *l = calloc(1, sizeof(*l));
    size_t len = strnlen(native, IDS_MAX);

    if (l == NULL)
        return NULL;
    l->rt = rt;
    l->deployments = calloc(num, sizeof(*l->deployments));
    if (l->deployments != NULL) {
        memcpy(l->deployments, deployments, num * sizeof(*deployments));
        memcpy(l->native, native, len);
        l->kind = kind;
        l->num = num;
        l->worst_rank = -1;
        l->on_done = on_done;
        l->arg = arg;
        begin(l);
    }
    if (l->busy > 0)
        return l;
    locate_free(l);
    return NULL;
}

void locate_cancel(struct locate *locate)
{
    if (locate != NULL)
        locate_free(locate);
}

void locate_remember(const struct runtime *rt, enum id_kind kind, const char *native,
                     uint32_t deployment)
{
    const uint64_t value[MEMO_WORDS] = {runtime_account_key(rt, deployment)};

    memo_put(rt->inherited->memo, key_of(kind, native), value, loop_now_ms(rt->loop));
}

void locate_remember_new(const struct runtime *rt, enum id_kind kind, const char *native,
                         uint32_t deployment)
{
    if (account_map_pinned(&rt->account_map, runtime_fingerprint(rt, deployment)) == MODEL_NO_INDEX)
        locate_remember(rt, kind, native, deployment);
}

int locate_rank(const struct failure *failure)
{
    if (failure->status == 404)
        return 0;
    if (strcmp(failure->code, "upstream_auth") == 0)
        return 2;
    if (failure->status == 429)
        return 3;
    return failure->status >= 500 || failure->status == 408 ? 4 : 1;
}
