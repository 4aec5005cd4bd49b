/* See attempt.h. Every call to a provider passes here, whoever makes it.
 *
 * Secrets: provider_headers() writes the account's key or token into `headers`, upstream_start()
 * copies it for libcurl, and attempt_send() wipes `headers` before it returns, also when something
 * failed. The address and the key are of one account, the deployment's, so no key goes to another
 * provider.
 *
 * Counters: state_begin() counts an attempt that was started, once, and account() ends that count,
 * once: in attempt_end(), attempt_end_without_token() or attempt_cancel(), which free the attempt.
 * One that could not be started is not counted. */
#include "attempt_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/account_token.h"
#include "core/provider_clock.h"

#define ID_CHARS     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:"
#define MAX_THEIR_ID 64 /* characters of a provider's request id that are logged */
/* Bytes of one object, or an error: a batch with all its errors has some 30,000. It is parsed and
 * masked in one turn: so many bytes of escapes alone cost 1.5 ms and 1 ms, ordinary ones a tenth of
 * that */
#define MAX_JSON     (256u << 10)

struct retry_question attempt_question(enum op_class op, const struct attempt_result *result)
{
    const struct upstream_result *res = result->upstream;

    return (struct retry_question){
        .op = op,
        .nothing_sent = res->nothing_sent,
        .answered = res->end == UPSTREAM_ANSWERED,
        .lost_behind = res->body != NULL && retry_is_lost_behind(res->body, res->body_len),
        .foreign = op == OP_CREATE && res->end == UPSTREAM_ANSWERED && res->head.status >= 400 &&
                   !failure_is_from_provider(res),
        .outcome = result->outcome,
        .status = res->head.status,
        .retry_after_ms = result->failure.retry_after_ms,
    };
}

void attempt_limits(const struct runtime *rt, uint32_t deployment, uint32_t default_tries,
                    struct retry_question *question)
{
    const struct table_deployment *d = table_deployment(rt->table, deployment);
    const struct inherited *inherited = rt->inherited;
    const struct retry_policy *policy = d->group == MODEL_NO_INDEX || inherited->group_retry == NULL
                                            ? &inherited->retry
                                            : &inherited->group_retry[d->group];

    question->max_tries = retry_max_tries(policy, d->max_retries, question->outcome, default_tries);
    question->least_delay_ms = policy->least_delay_ms;
}

struct retry_answer attempt_decide(struct runtime *rt, uint32_t deployment,
                                   const struct retry_question *question)
{
    struct retry_answer answer = retry_decide(question, runtime_random(rt));

    if (answer.action == RETRY_SAME)
        log_debug("deployment %s: %s is tried again in %u ms, %u of at most %u tries made",
                  table_str(rt->table, table_deployment(rt->table, deployment)->id),
                  op_class_name(question->op), answer.delay_ms, question->tries,
                  question->max_tries);
    return answer;
}

/* Logs that a breaker changed: "deployment eu-1 (eu.openai.azure.com): closed -> open for create,
 * server_error, status 503, 4 in a row, for 4720 ms" */
static void log_change(const struct attempt *at, const struct breaker_view *before,
                       const struct breaker_view *after, enum outcome outcome, int status)
{
    const struct table_deployment *d = table_deployment(at->rt->table, at->deployment);
    uint64_t now_ms = loop_now_ms(at->rt->loop);
    char cooldown[48] = "";

    if (after->state == BREAKER_OPEN && after->until_ms > now_ms)
        snprintf(cooldown, sizeof(cooldown), ", for %llu ms",
                 (unsigned long long)(after->until_ms - now_ms));
    log_info("deployment %s (%s): %s -> %s for %s, %s, status %d, %u in a row%s",
             table_str(at->rt->table, d->id), runtime_account(at->rt, at->deployment)->name,
             breaker_state_name(before->state), breaker_state_name(after->state),
             op_class_name(at->op), outcome_name(outcome), status, after->failures, cooldown);
}

/* Ends the attempt in the counters, and shows the breaker how it ended.
 * @param lesson  for the breaker: the outcome, or that nothing was learned
 * @param result  NULL: it was cancelled */
static void account(struct attempt *at, enum outcome outcome, enum outcome lesson,
                    const struct upstream_result *result, int64_t retry_after_ms)
{
    const struct inherited *inherited = at->rt->inherited;
    uint32_t column = inherited->columns[at->deployment];
    const struct table_deployment *d = table_deployment(at->rt->table, at->deployment);
    struct breaker_policy policy = inherited->breaker;
    struct breaker_view before, after;

    if (d->cooldown_ms != UINT32_MAX) {
        policy.cooldown_ms = d->cooldown_ms;
        policy.own_time = true;
    }
    state_end(inherited->state, at->rt->slot, column, at->op, outcome,
              result != NULL ? result->head.status : 0, result != NULL ? result->total_us : 0,
              at->sent + (result != NULL ? result->bytes_sent : 0),
              at->received + (result != NULL ? result->bytes_received : 0));
    if (at->background ||
        !breaker_record(state_health(inherited->state, column, at->op), &policy, lesson,
                        retry_after_ms, d->fingerprint, loop_now_ms(at->rt->loop), &before, &after))
        return;
    if (after.state == BREAKER_OPEN && before.state != BREAKER_OPEN)
        state_add_rest(inherited->state, at->rt->slot, column);
    log_change(at, &before, &after, lesson, result != NULL ? result->head.status : 0);
}

/* The id that the provider gave this call: its support asks for it. "": none that a log may hold. */
static const char *their_id(const struct upstream_head *head)
{
    const char *id = "";

    for (size_t i = 0; i < head->num_headers; i++) {
        const struct upstream_header *h = &head->headers[i];

        if (strcmp(h->name, "apim-request-id") == 0 ||
            (strcmp(h->name, "x-request-id") == 0 && id[0] == '\0'))
            id = h->value;
    }
    return strspn(id, ID_CHARS) == strlen(id) && strlen(id) <= MAX_THEIR_ID ? id : "";
}

/* Logs that a call failed: "deployment eu-1 (eu.openai.azure.com): read failed: server_error,
 * status 503, request 2f..., the provider's 7c..." */
static void log_failure(const struct attempt *at, enum outcome outcome,
                        const struct upstream_result *upstream)
{
    const struct table *table = at->rt->table;
    const char *theirs = their_id(&upstream->head);

    log_warn("deployment %s (%s): %s failed: %s, status %d%s%s%s%s%s%s",
             table_str(table, table_deployment(table, at->deployment)->id),
             runtime_account(at->rt, at->deployment)->name, op_class_name(at->op),
             outcome_name(outcome), upstream->head.status, upstream->error[0] != '\0' ? ", " : "",
             outcome_detail(outcome, upstream->error),
             at->request_id[0] != '\0' ? ", request " : "", at->request_id,
             theirs[0] != '\0' ? ", the provider's " : "", theirs);
}

/* Says how the call ended, for the counters and for the caller. */
static void judge(const struct attempt *at, const struct upstream_result *upstream,
                  struct attempt_result *result)
{
    int status = upstream->head.status;
    const char *fault = NULL;

    *result = (struct attempt_result){.upstream = upstream, .failure.retry_after_ms = -1};
    result->ok = upstream->end == UPSTREAM_ANSWERED && status >= 200 && status < 300;
    if (!result->ok)
        failure_from_result(upstream, clock_unix_s(), &result->failure);
    else if (at->judge != NULL)
        fault = at->judge(upstream);
    result->outcome = outcome_of(upstream, &result->failure);
    /* An upload names no object: with 404 the address or the api-version is wrong. */
    if (fault != NULL || (at->op == OP_UPLOAD && result->outcome == OUTCOME_OK && status == 404))
        result->outcome = OUTCOME_BAD_ANSWER;
    if (fault == NULL)
        return;
    result->ok = false;
    snprintf(result->failure.message, sizeof(result->failure.message), "%s", fault);
}

/* What an operator has to do is all in the provider's words: whose role is missing, and for what
 * (entra statement 18). */
static void log_denied(const struct attempt *at, const struct failure *said)
{
    const struct table *table = at->rt->table;

    log_warn("deployment %s (%s): %s failed: a role is missing at the resource, status %d; the "
             "provider says: %s%s%s",
             table_str(table, table_deployment(table, at->deployment)->id),
             runtime_account(at->rt, at->deployment)->name, op_class_name(at->op), said->status,
             said->message, at->request_id[0] != '\0' ? "; request " : "", at->request_id);
}

/* Azure may say the same of a key that is wrong, and then no role is missing. */
static bool is_denied(const struct attempt *at, const struct attempt_result *result,
                      struct failure *said)
{
    return runtime_account(at->rt, at->deployment)->auth != ACCOUNT_AUTH_API_KEY &&
           failure_is_permission_denied(result->upstream, said);
}

/* For the line of the client's request. */
static void note_end(const struct attempt *at, const struct upstream_result *upstream)
{
    struct live_calls calls = {.status = upstream->head.status,
                               .connect_us = upstream->connect_us,
                               .first_byte_us = upstream->first_byte_us};

    snprintf(calls.id, sizeof(calls.id), "%s", their_id(&upstream->head));
    live_note_end(&at->rt->live, at->request_id, &calls);
}

static void free_attempt(struct attempt *at)
{
    attempt_token_deinit(at);
    free(at);
}

static void tell(struct attempt *at, const struct attempt_result *result)
{
    attempt_done_cb on_done = at->on_done;
    void *owner = at->arg;
    struct failure said;

    if (result->outcome == OUTCOME_OK || at->background)
        ;
    else if (is_denied(at, result, &said))
        log_denied(at, &said);
    else
        log_failure(at, result->outcome, result->upstream);
    free_attempt(at);
    on_done(owner, result);
}

void attempt_end(struct attempt *at, const struct upstream_result *upstream)
{
    struct attempt_result result;

    judge(at, upstream, &result);
    if (!at->background)
        note_end(at, upstream);
    account(at, result.outcome, result.outcome, upstream, result.failure.retry_after_ms);
    tell(at, &result);
}

/* The deployment was not asked, so its breaker learns nothing; the row rests as long as its
 * credential is without a token (core/account_token.h). When its token was refused, that is the
 * last word of the deployment. */
void attempt_end_without_token(struct attempt *at, int64_t retry_after_ms)
{
    static const struct upstream_result none = {
        .end = UPSTREAM_REFUSED, .nothing_sent = true, .error = "start: there is no token"};
    struct attempt_result result = {.upstream = &none, .outcome = OUTCOME_AUTH};

    failure_no_token(retry_after_ms, &result.failure);
    account(at, OUTCOME_AUTH, at->refused != 0 ? OUTCOME_AUTH : OUTCOME_CANCELLED, &none, -1);
    tell(at, &result);
}

static void on_call_done(void *arg, const struct upstream_result *upstream)
{
    struct attempt *at = arg;

    at->call = NULL;
    provider_clock_learn(at->rt->inherited, at->deployment, upstream, loop_now_ms(at->rt->loop));
    if (!attempt_token_goes_on(at, upstream))
        attempt_end(at, upstream);
}

static bool on_call_begin(void *arg)
{
    struct attempt *at = arg;

    at->has_begun = at->on_begin(at->arg);
    return at->has_begun;
}

/* A 401 is collected: whether its client hears of it is decided when all of it is there. */
static bool on_call_head(void *arg, const struct upstream_head *head)
{
    struct attempt *at = arg;

    return (at->kept == NULL || head->status != 401) && at->on_head(at->arg, head);
}

static bool on_call_data(void *arg, const char *bytes, size_t len)
{
    struct attempt *at = arg;

    return at->on_data(at->arg, bytes, len);
}

static ssize_t on_call_source(void *arg, char *buf, size_t len)
{
    struct attempt *at = arg;

    return at->source(at->arg, buf, len);
}

static bool is_file(enum provider_call call)
{
    return call == CALL_FILE_CREATE || call == CALL_FILE_CONTENT;
}

static size_t most_bytes(const struct attempt_spec *spec)
{
    if (spec->max_body != 0)
        return spec->max_body;
    return spec->call == CALL_FILE_LIST || spec->call == CALL_BATCH_LIST ? ATTEMPT_MAX_LIST
                                                                         : MAX_JSON;
}

static uint32_t total_limit(const struct attempt *at, const struct attempt_spec *spec)
{
    uint32_t own = table_deployment(at->rt->table, spec->deployment)->timeout_ms;

    if (is_file(spec->call))
        return 0; /* a low-speed limit bounds file transfers instead */
    if (spec->total_ms != 0)
        return spec->total_ms;
    return own != 0 ? own : at->rt->config->timeouts.json_total_ms;
}

static void add_header(struct provider_headers *headers, const char *name, const char *value)
{
    if (value != NULL && headers->num < PROVIDER_MAX_HEADERS)
        headers->list[headers->num++] = (struct upstream_header){name, value};
}

/* The account's headers, and those that this call adds. */
static int make_headers(const struct model_account *account, const struct attempt_spec *spec,
                        const char *token, struct provider_headers *headers)
{
    int rc = provider_headers(account, token, spec->call, spec->content_type, headers);

    if (rc != 0)
        return rc;
    add_header(headers, "Range", spec->range);
    add_header(headers, "If-Range", spec->if_range);
    for (size_t i = 0; spec->agent != NULL && i < headers->num; i++)
        if (strcmp(headers->list[i].name, "User-Agent") == 0)
            headers->list[i].value = spec->agent;
    return 0;
}

uint64_t attempt_left_ms(const struct attempt *at)
{
    uint64_t used_ms = loop_now_ms(at->rt->loop) - at->begun_ms;

    if (at->total_ms == 0)
        return UINT64_MAX;
    return used_ms < at->total_ms ? at->total_ms - used_ms : 0;
}

/* For libcurl, to which 0 is no limit. */
static uint32_t total_ms_of(const struct attempt *at)
{
    uint64_t left_ms = attempt_left_ms(at);

    if (left_ms == UINT64_MAX)
        return 0;
    return left_ms > 0 ? (uint32_t)left_ms : 1;
}

static struct upstream_call *send_call(struct attempt *at, const struct attempt_spec *spec,
                                       const char *url, const struct provider_headers *headers)
{
    bool file = is_file(spec->call);
    struct upstream_request request = {
        .method = provider_method(spec->call),
        .url = url,
        .headers = headers->list,
        .num_headers = headers->num,
        .body = spec->body,
        .body_len = spec->body_len,
        .source = spec->source != NULL ? on_call_source : NULL,
        .source_length = spec->source_length,
        .file = file,
        .once = at->op != OP_READ,
        .owner = spec->owner,
        .total_ms = total_ms_of(at),
        .first_byte_ms = file ? at->rt->config->timeouts.first_byte_ms : 0,
        .max_body = most_bytes(spec),
        .on_begin = spec->on_begin != NULL && !at->has_begun ? on_call_begin : NULL,
        .on_head = spec->on_head != NULL ? on_call_head : NULL,
        .on_data = spec->on_data != NULL ? on_call_data : NULL,
        .on_done = on_call_done,
        .arg = at,
    };

    return upstream_start(at->rt->upstream, &request);
}

int attempt_send(struct attempt *at, const struct attempt_spec *spec, const char *token)
{
    const struct model_account *account = runtime_account(at->rt, spec->deployment);
    struct provider_headers headers = {0};
    struct strbuf url = STRBUF_INIT;
    int rc;

    assert(at->call == NULL);
    rc = provider_url(account, spec->call, spec->id, spec->query, &url);

    if (rc == 0)
        rc = make_headers(account, spec, token, &headers);
    if (rc == 0) {
        at->call = send_call(at, spec, strbuf_str(&url), &headers);
        rc = at->call != NULL ? 0 : ERR_NOMEM;
    }
    provider_headers_wipe(&headers);
    strbuf_deinit(&url);
    return rc;
}

static void take_spec(struct attempt *at, const struct attempt_spec *spec)
{
    at->deployment = spec->deployment;
    at->op = outcome_class_of(spec->call);
    at->background = spec->background;
    at->judge = spec->judge;
    at->on_done = spec->on_done;
    at->on_begin = spec->on_begin;
    at->on_head = spec->on_head;
    at->on_data = spec->on_data;
    at->source = spec->source;
    at->rewind = spec->rewind;
    at->arg = spec->arg;
    at->total_ms = total_limit(at, spec);
    at->begun_ms = loop_now_ms(at->rt->loop);
    if (spec->request_id != NULL)
        snprintf(at->request_id, sizeof(at->request_id), "%s", spec->request_id);
}

struct attempt *attempt_start(struct runtime *rt, const struct attempt_spec *spec)
{
    struct attempt *at = calloc(1, sizeof(*at));
    bool entra;

    assert(spec->on_done != NULL && spec->deployment < table_num_deployments(rt->table));
    if (at == NULL)
        return NULL;
    at->rt = rt;
    take_spec(at, spec);
    entra = account_token_is_needed(rt, spec->deployment);
    if ((entra ? attempt_token_start(at, spec) : attempt_send(at, spec, NULL)) != 0) {
        free_attempt(at);
        return NULL;
    }
    state_begin(rt->inherited->state, rt->slot, rt->inherited->columns[spec->deployment], at->op);
    live_note_begin(&rt->live, at->request_id, clock_now_us());
    return at;
}

void attempt_cancel(struct attempt *at)
{
    assert(at->call != NULL || at->kept != NULL); /* sent, or it waits for a token */
    if (at->call != NULL)
        upstream_cancel(at->call);
    account(at, OUTCOME_CANCELLED, OUTCOME_CANCELLED, NULL, -1);
    free_attempt(at);
}

void attempt_resume(struct attempt *at)
{
    upstream_resume(at->call);
}
