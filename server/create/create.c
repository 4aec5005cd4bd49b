/* See create.h. */
#include "create.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "core/provider_clock.h"
#include "once/reconcile.h"

/* Between two looks at a file that its provider still processes; doubled each time */
#define PENDING_FIRST_MS 250
#define PENDING_MAX_MS   4000
#define YOUNG_S          60  /* age of a file that may just have been processed */
#define CLOCK_SLACK_S    300 /* what our idea of the provider's clock may lack */

struct create {
    struct runtime *rt; /* borrowed; `operations` counts us */
    uint32_t deployment;
    char file[IDS_MAX + 1];
    struct wanted wanted;
    char request_id[37];
    struct strbuf body;
    struct attempt *attempt;       /* owned */
    struct reconcile *reconcile;   /* owned; the outcome is not known, and we look for the batch */
    struct failure cause;          /* what came; while the file is pending: the refusal */
    struct retry_question refused; /* ... and what it says */
    bool doubtful;                 /* it is a refusal, but perhaps not the provider's */
    uint64_t begun_ms;             /* monotonic */
    bool abandoned;
    bool pending;        /* the file was seen pending */
    bool looked;         /* ... and its state is known: no further refusal is because of it */
    uint32_t pending_ms; /* until the next look */
    uint64_t give_up_ms; /* monotonic; when waiting for the file ends */
    struct loop_timer retry;
    const struct create_ops *ops;
    void *arg; /* borrowed */
};

static int send_create(struct create *c);
static void look_at_file(struct create *c);

static void create_free(struct create *c)
{
    if (c->attempt != NULL)
        attempt_cancel(c->attempt);
    if (c->reconcile != NULL)
        reconcile_cancel(c->reconcile);
    loop_timer_stop(c->rt->loop, &c->retry);
    c->rt->operations--;
    strbuf_deinit(&c->body);
    free(c);
}

void create_cancel(struct create *c)
{
    create_free(c);
}

static void finish(struct create *c, const struct create_result *result)
{
    const struct create_ops *ops = c->ops;
    void *arg = c->arg;
    struct create_result copy = *result;

    create_free(c);
    ops->on_done(arg, &copy);
}

static void refuse(struct create *c, const struct failure *failure,
                   const struct retry_question *question)
{
    struct create_result result = {
        .end = CREATE_REFUSED, .failure = *failure, .question = *question};

    finish(c, &result);
}

/* It was refused, and could not be sent again for want of memory: a refusal all the same. */
static void give_up(struct create *c)
{
    refuse(c, &c->cause, &c->refused);
}

/* --- an outcome that is not known --- */

static void tell_reconciled(const struct create *c, bool found)
{
    log_warn("request %s: %s; the batch was %s", c->request_id,
             c->doubtful ? "a create was refused in words that are not the provider's"
                         : "the answer to a create was lost",
             found ? "found" : "not found");
}

/* Something in front of the provider may refuse what it has passed on. When the batch is not there,
 * it is a refusal as any other. So is one of the request itself (400, 404, 422 ...) where the list
 * cannot be read: servers that only resemble OpenAI's have no list, and errors of their own shape,
 * and nobody asks again because of such an answer. It stays foreign, and nothing is made elsewhere.
 */
static bool is_refused_all_the_same(struct create *c, enum reconcile_end end)
{
    if (!c->doubtful)
        return false;
    c->refused.foreign = end != RECONCILE_NOTHING;
    return end == RECONCILE_NOTHING ||
           (end == RECONCILE_UNREAD && c->refused.outcome == OUTCOME_OK &&
            c->refused.status != 409);
}

static void on_reconciled(void *arg, const struct reconcile_result *found)
{
    struct create *c = arg;
    struct create_result result = {.end = CREATE_UNKNOWN,
                                   .doc = found->doc,
                                   .batch = found->batch,
                                   .enqueued_tokens = -1,
                                   .max_enqueued_tokens = -1,
                                   .failure = c->cause};

    c->reconcile = NULL;
    tell_reconciled(c, found->end == RECONCILE_FOUND);
    if (is_refused_all_the_same(c, found->end)) {
        refuse(c, &c->cause, &c->refused);
        return;
    }
    /* Without a marker it may be an older one that looks the same. */
    if (found->end == RECONCILE_FOUND && !c->wanted.unmarked)
        result.end = CREATE_MADE;
    finish(c, &result);
}

/* A lost create that carries no marker is not looked for: what looks like it proves nothing, and
 * neither does nothing. */
static void reconcile(struct create *c, const struct failure *cause)
{
    struct reconcile_spec spec = {
        .deployments = &c->deployment,
        .num = 1,
        .wanted = &c->wanted,
        .age_s = (uint32_t)((loop_now_ms(c->rt->loop) - c->begun_ms) / 1000) + CLOCK_SLACK_S,
        .patient = true};
    struct create_result unknown = {.end = CREATE_UNKNOWN, .failure = *cause};

    c->cause = *cause;
    if (c->doubtful || !c->wanted.unmarked)
        c->reconcile = reconcile_start(c->rt, &spec, on_reconciled, c);
    if (c->reconcile == NULL)
        finish(c, &unknown);
}

static int64_t number_in(const struct upstream_head *head, const char *name)
{
    const char *text = upstream_header_find(head, name);

    return text != NULL && *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : -1;
}

static void read_answer(struct create *c, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct create_result result = {.end = CREATE_MADE, .status = res->head.status, .doc = doc};
    struct failure unreadable = {.message = "it was no JSON object", .retry_after_ms = -1};

    result.batch = doc != NULL ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    result.enqueued_tokens = number_in(&res->head, "deployment-enqueued-tokens");
    result.max_enqueued_tokens = number_in(&res->head, "deployment-maximum-enqueued-tokens");
    if (json_is(result.batch, JSON_OBJECT) && json_get_str(result.batch, "id") != NULL)
        finish(c, &result);
    else
        reconcile(c, &unreadable);
    json_doc_free(doc);
}

/* --- a file that its provider still processes (providers statement 104) --- */

/* Azure refuses a create whose file is pending, in words that nobody documents (providers statement
 * 52): so the file is asked. */
static bool may_be_pending(const struct create *c, const struct attempt_result *result)
{
    return !c->looked && !c->abandoned && result->upstream->end == UPSTREAM_ANSWERED &&
           result->upstream->head.status == 400 && !failure_is_token_limit(&result->failure) &&
           !failure_is_refused_key(&result->failure) && c->file[0] != '\0' &&
           runtime_rules(c->rt, c->deployment) == PROVIDER_AZURE;
}

/* What the look at the file says of the refusal. */
enum file_state {
    FILE_PENDING,
    FILE_YOUNG, /* processed by now, but so new that it may have been pending a moment ago */
    FILE_READY  /* no reason to refuse */
};

static enum file_state state_of(const struct create *c, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *status = json_get_str(file, "status");
    enum file_state state = FILE_READY;
    int64_t created_s;

    if (status != NULL &&
        (strcasecmp(status, "pending") == 0 || strcasecmp(status, "running") == 0))
        state = FILE_PENDING;
    else if (json_int64(json_get(file, "created_at"), &created_s) &&
             llabs((long long)(provider_clock_now_s(c->rt->inherited, c->deployment) -
                               created_s)) <= YOUNG_S)
        state = FILE_YOUNG;
    json_doc_free(doc);
    return state;
}

static void look_again(struct loop_timer *timer)
{
    look_at_file(timer->arg);
}

static void wait_for_file(struct create *c)
{
    struct failure late = {
        .status = 503,
        .type = "server_error",
        .code = "file_not_processed",
        .param = "input_file_id",
        .message =
            "The provider still processes the input file. Nothing was created; try again later.",
        .retry_after_ms = 10000};
    uint64_t now_ms = loop_now_ms(c->rt->loop);

    if (!c->pending) {
        c->pending = true;
        c->pending_ms = PENDING_FIRST_MS;
        c->give_up_ms = now_ms + c->rt->config->timeouts.json_total_ms;
    }
    c->retry.cb = look_again;
    if (c->abandoned || now_ms >= c->give_up_ms ||
        loop_timer_start(c->rt->loop, &c->retry, c->pending_ms) != 0) {
        refuse(c, &late, &c->refused);
        return;
    }
    c->pending_ms = c->pending_ms * 2 < PENDING_MAX_MS ? c->pending_ms * 2 : PENDING_MAX_MS;
}

static void on_looked(void *arg, const struct attempt_result *result)
{
    struct create *c = arg;
    enum file_state state = result->ok ? state_of(c, result->upstream) : FILE_READY;

    c->attempt = NULL;
    if (state == FILE_PENDING) {
        wait_for_file(c);
        return;
    }
    c->looked = true;
    /* Once more: a 400 proves that the one before did nothing. */
    if (!(c->pending || state == FILE_YOUNG) || !result->ok || c->abandoned || send_create(c) != 0)
        give_up(c);
}

static void look_at_file(struct create *c)
{
    struct attempt_spec spec = {.deployment = c->deployment,
                                .call = CALL_FILE_GET,
                                .id = c->file,
                                .request_id = c->request_id,
                                .on_done = on_looked,
                                .arg = c};

    c->attempt = attempt_start(c->rt, &spec);
    if (c->attempt == NULL)
        give_up(c);
}

/* --- the create itself --- */

static void on_created(void *arg, const struct attempt_result *result)
{
    struct create *c = arg;
    struct retry_question question = attempt_question(OP_CREATE, result);

    c->attempt = NULL;
    if (result->ok) {
        read_answer(c, result->upstream);
        return;
    }
    question.pinned = true; /* whether there is a next one is not ours to know */
    question.tries = question.max_tries = 1;
    c->doubtful = retry_is_doubtful(&question);
    if (retry_decide(&question, 0).action == RETRY_RECONCILE) {
        c->refused = question;
        reconcile(c, &result->failure);
    } else if (may_be_pending(c, result)) {
        c->cause = result->failure;
        c->refused = question;
        c->ops->on_refused(c->arg);
        look_at_file(c);
    } else {
        refuse(c, &result->failure, &question);
    }
}

static bool on_begin(void *arg)
{
    struct create *c = arg;

    return c->ops->on_begin(c->arg);
}

static int send_create(struct create *c)
{
    struct attempt_spec spec = {.deployment = c->deployment,
                                .call = CALL_BATCH_CREATE,
                                .request_id = c->request_id,
                                .content_type = "application/json",
                                .body = strbuf_str(&c->body),
                                .body_len = c->body.len,
                                .on_begin = on_begin,
                                .on_done = on_created,
                                .arg = c};

    c->attempt = attempt_start(c->rt, &spec);
    return c->attempt != NULL ? 0 : ERR_NOMEM;
}

bool create_abandon(struct create *c)
{
    c->abandoned = true;
    if (c->attempt != NULL || c->reconcile != NULL)
        return false;
    create_free(c); /* it waited for its file */
    return true;
}

struct create *create_start(struct runtime *rt, const struct create_spec *spec,
                            const struct create_ops *ops, void *arg)
{
    struct create *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->rt = rt;
    rt->operations++;
    c->deployment = spec->deployment;
    c->begun_ms = loop_now_ms(rt->loop);
    snprintf(c->file, sizeof(c->file), "%s", spec->file);
    c->wanted = *spec->wanted;
    snprintf(c->request_id, sizeof(c->request_id), "%s", spec->request_id);
    strbuf_add(&c->body, spec->body, spec->body_len);
    c->retry.arg = c;
    c->ops = ops;
    c->arg = arg;
    if (!strbuf_failed(&c->body) && send_create(c) == 0)
        return c;
    create_free(c);
    return NULL;
}
