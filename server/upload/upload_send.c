/* See upload_send.h. The spool makes another deployment possible: each try splices that
 * deployment's name while it reads. */
#include "upload_send.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "upstream/normal.h"
#include "routing/choose.h"
#include "core/counters.h"
#include "objects/client_ids.h"
#include "objects/facts.h"
#include "objects/file_slots.h"
#include "objects/file_url.h"
#include "read/replay.h"
#include "assemble.h"
#include "upload_memory.h"
#include "objects/locate.h"
#include "objects/owned.h"
#include "objects/refusals.h"
#include "upload_fit.h"
#include "upload/verdict.h"
#include "objects/file_model.h"
#include "request/errors.h"
#include "request/may_use.h"

#define MAX_UPLOAD_TRIES 8

static void try_next(struct upload *up);

static struct upload *upload_of(struct operation *op)
{
    return (struct upload *)op;
}

int upload_hashes(struct upload *up)
{
    if (up->digest == NULL)
        up->digest = EVP_MD_CTX_new();
    return up->digest != NULL && EVP_DigestInit_ex(up->digest, EVP_sha256(), NULL) == 1 ? 0
                                                                                        : ERR_NOMEM;
}

struct upload *upload_new(struct relay *relay, const struct operation_ops *ops,
                          const struct jsonl_rules *rules)
{
    struct upload *up = operation_new(sizeof(*up), relay, ops);

    if (up == NULL)
        return NULL;
    up->owner = relay->owner;
    spool_init(&up->spool, relay->rt->inherited, relay->rt->slot, relay->rt->loop);
    up->lines = rules != NULL ? jsonl_new(rules) : NULL;
    if ((up->lines == NULL && rules != NULL) ||
        (repeat_is_keyed(relay) && upload_hashes(up) != 0)) {
        operation_fail_memory(&up->op);
        return NULL;
    }
    return up;
}

void upload_free(struct operation *op)
{
    struct upload *up = upload_of(op);

    if (up->send != NULL)
        send_file_cancel(up->send);
    repeat_end(&up->repeat);
    EVP_MD_CTX_free(up->digest);
    spool_deinit(&up->spool);
    limits_end_upload(&up->limits);
    assembly_free(up->assembly);
    jsonl_free(up->lines);
    upload_memory_forget(up);
    strbuf_deinit(&up->purpose);
    strbuf_deinit(&up->filename);
    strbuf_deinit(&up->expires_anchor);
    strbuf_deinit(&up->expires_seconds);
    strbuf_deinit(&up->provider);
    strbuf_deinit(&up->target_models);
    candidates_deinit(&up->candidates);
    free(up->tried);
    free(up->barred);
    free(up);
}

const char *upload_model(struct upload *up, const struct jsonl_report *report)
{
    up->renamed[0] = '\0';
    if (report->model == NULL ||
        !may_use_alias(up->op.relay, report->model, strlen(report->model), up->renamed))
        return report->model;
    return up->renamed;
}

bool upload_is_allowed(const struct upload *up, const char *model, struct failure *why)
{
    if (model != NULL || !may_use_is_limited(up->op.relay))
        return true;
    if (up->lines != NULL)
        error_fill(why, FILE_MODEL_UNKNOWN, "file");
    else
        error_fill(why, PURPOSE_NOT_OF_KEY, "purpose");
    return false;
}

/* When the client leaves, nobody would get the id: the transfer is stopped. But for an upload in
 * parts: its record keeps the answer for whoever sends its complete again. */
static bool goes_on(struct operation *op)
{
    return upload_of(op)->assembly != NULL;
}

static const struct operation_ops upload_ops = {.free = upload_free, .goes_on = goes_on};

/* The client may have left. */
static void fail(struct upload *up, const struct failure *why)
{
    if (up->op.relay != NULL)
        operation_fail(&up->op, why);
    else
        operation_free(&up->op);
}

static void fail_memory(struct upload *up)
{
    if (up->op.relay != NULL)
        operation_fail_memory(&up->op);
    else
        operation_free(&up->op);
}

/* No candidate takes the file. Who asked for all problems finds this one among them. */
static void fail_unfit(struct upload *up, const struct failure *why)
{
    struct json_doc *doc = up->all_problems && up->lines != NULL ? json_doc_new() : NULL;
    struct jsonl_report report;

    if (doc == NULL) {
        operation_fail(&up->op, why);
        return;
    }
    jsonl_report(up->lines, &report);
    assembly_give_up(up->assembly);
    relay_json(operation_detach(&up->op), why->status, verdict_refusal(doc, &report, why, why));
    json_doc_free(doc);
    operation_free(&up->op);
}

static bool is_batch_file(const struct upload *up)
{
    return up->lines != NULL && up->candidates.grouped;
}

/* A file's tokens at a deployment; 0: they do not matter there. */
struct size {
    uint64_t tokens, least; /* facts_tokens(), facts_least() */
    uint64_t job;           /* facts_job() */
};

static struct size size_of(const struct upload *up, uint32_t deployment)
{
    enum provider provider =
        (enum provider)table_deployment(up->op.rt->table, deployment)->provider;
    struct jsonl_report report;
    struct facts facts;

    if (!is_batch_file(up))
        return (struct size){0};
    jsonl_report(up->lines, &report);
    facts_fill(&facts, up->op.rt, deployment, &report);
    return (struct size){facts_tokens(up->op.rt, &facts, provider),
                         facts_least(up->op.rt, &facts, provider), facts_job(&facts, up->owner)};
}

static uint64_t tokens_of(const struct upload *up, uint32_t deployment)
{
    return size_of(up, deployment).tokens;
}

/* What a batch file counts as at that account. */
static enum slots_kind slot_at(const struct upload *up, uint32_t deployment)
{
    return file_slots_kind(up->op.rt, deployment, up->expires_seconds.len > 0);
}

/* --- the answer --- */

/* The facts of the file: a create will need them. */
static void remember(const struct upload *up, const char *native)
{
    struct jsonl_report report;
    struct facts facts;

    if (!is_batch_file(up))
        return;
    jsonl_report(up->lines, &report);
    facts_fill(&facts, up->op.rt, up->op.deployment, &report);
    facts.counted = true;
    facts.slot = slot_at(up, up->op.deployment);
    facts.expected = true;
    facts_remember(up->op.rt, up->op.deployment, native, &facts);
    quota_add_expected(up->op.rt->inherited->quota,
                       up->op.rt->inherited->columns[up->op.deployment],
                       tokens_of(up, up->op.deployment), loop_now_ms(up->op.rt->loop));
}

/* The lines' url: a create holds its `endpoint` against it. */
static void remember_url(const struct upload *up, const char *native)
{
    struct jsonl_report report;

    jsonl_report(up->lines, &report);
    file_url_remember(up->op.rt, up->op.deployment, native, report.url);
}

/* The name that decided where the file went, as far as it means the group that it went to. */
static const char *model_of_group(const struct upload *up, const char *lines_model, uint32_t group)
{
    const struct table *table = up->op.rt->table;
    const char *hint = up->hinted, *names[] = {hint, lines_model};
    struct table_name name;

    for (size_t i = 0; i < 2; i++)
        if (names[i] != NULL && names[i][0] != '\0' &&
            table_find_name(table, names[i], strlen(names[i]), &name) &&
            name.row == MODEL_NO_INDEX && name.group == group)
            return names[i];
    return table_group_name(table, group);
}

/* For its creates: they are held against the rights of whoever asks then. */
static void remember_model(const struct upload *up, const char *native)
{
    uint32_t group = table_deployment(up->op.rt->table, up->op.deployment)->group;
    struct jsonl_report report;
    const char *model;

    if (!tenant_is_bound(&up->tenant) || up->lines == NULL)
        return;
    jsonl_report(up->lines, &report);
    model = up->renamed[0] != '\0' ? up->renamed : report.model;
    if (is_batch_file(up) && group != MODEL_NO_INDEX)
        model = model_of_group(up, model, group);
    if (model != NULL)
        file_model_remember(up->op.rt, up->op.deployment, native, model);
}

/* Such an id is not taken in a path: decoded on its way it could name something else than a file,
 * with our key. The file is there, and whoever sends it again makes another one. */
static void fail_unusable(struct upload *up, const char *id)
{
    struct failure failure;

    error_fill(&failure, UNUSABLE_FILE_ID, "", id);
    failure.should_not_retry = true;
    fail(up, &failure);
}

static void fail_unreadable(struct upload *up)
{
    struct failure failure;

    error_fill(&failure, ANSWER_TO_UPLOAD, "");
    fail(up, &failure);
}

static void answer_file(struct upload *up, const struct upstream_result *res, uint64_t file_bytes)
{
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file = doc != NULL ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    struct viewer viewer = {
        .rt = up->op.rt, .owner = up->owner, .is_tenant = tenant_is_bound(&up->tenant)};
    struct relay *relay;

    assert(up->op.deployment != MODEL_NO_INDEX);
    if (!json_is(file, JSON_OBJECT) || json_get_str(file, "id") == NULL) {
        json_doc_free(doc);
        fail_unreadable(up);
        return;
    }
    if (up->lines != NULL)
        file_slots_add(up->op.rt, up->op.deployment, slot_at(up, up->op.deployment), 1);
    if (!ids_is_usable(json_get_str(file, "id")) ||
        (up->owner != 0 && !ids_can_be_tagged(json_get_str(file, "id")))) {
        fail_unusable(up, json_get_str(file, "id"));
        json_doc_free(doc);
        return;
    }
    remember(up, json_get_str(file, "id"));
    if (up->lines != NULL)
        remember_url(up, json_get_str(file, "id"));
    remember_model(up, json_get_str(file, "id"));
    locate_remember_new(up->op.rt, ID_FILE, json_get_str(file, "id"), up->op.deployment);
    normal_file(doc, file, (int64_t)file_bytes);
    owned_keep_file(up->op.rt->inherited, runtime_fingerprint(up->op.rt, up->op.deployment),
                    up->owner, file);
    counters_file(up->op.rt->inherited, up->op.deployment, &up->tenant, file_bytes);
    client_ids_show_file(&viewer, up->op.deployment,
                         client_ids_are_tagged(&viewer, up->op.deployment), doc, file);
    if (up->assembly != NULL)
        file = assembly_stored(up, doc, file);
    else
        json_write(file, &text);
    if (text.len > 0 && !strbuf_failed(&text))
        repeat_answered(&up->repeat,
                        table_deployment(up->op.rt->table, up->op.deployment)->fingerprint,
                        json_get_str(file, "id"), 200, strbuf_str(&text), text.len);
    relay = up->op.relay != NULL ? operation_detach(&up->op) : NULL;
    operation_free(&up->op);
    if (relay != NULL && file != NULL)
        relay_json(relay, 200, file);
    else if (relay != NULL)
        relay_error(relay, OUT_OF_MEMORY, "");
    strbuf_deinit(&text);
    json_doc_free(doc);
}

static uint32_t untried(const struct upload *up)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < up->candidates.num; i++)
        n += !up->tried[i];
    return n;
}

static void set_tried(struct upload *up, uint32_t deployment, bool tried)
{
    for (uint32_t i = 0; i < up->candidates.num; i++)
        if (up->candidates.deployments[i] == deployment)
            up->tried[i] = tried;
}

static void try_again(struct operation *op)
{
    try_next(upload_of(op));
}

/* As for creates: the operator's number of tries counts for each tier of candidates alone. */
static void limit_tries(struct upload *up, struct retry_question *question)
{
    if (up->op.tries >= MAX_UPLOAD_TRIES)
        return;
    attempt_limits(up->op.rt, up->op.deployment, MAX_UPLOAD_TRIES, question);
    question->tries = up->tries_here;
    if (up->tries_here >= question->max_tries &&
        choose_leave_tier(&up->candidates, up->tried, up->op.deployment) > 0)
        question->tries = up->tries_here = 0;
}

static void on_sent(void *arg, const struct attempt_result *result, uint64_t file_bytes)
{
    struct upload *up = arg;
    struct retry_question question = attempt_question(OP_UPLOAD, result);
    struct retry_answer answer;

    up->send = NULL;
    if (outcome_is_file_quota(&result->failure) && up->lines != NULL)
        file_slots_refused(up->op.rt, up->op.deployment, slot_at(up, up->op.deployment));
    if (result->ok) {
        answer_file(up, result->upstream, file_bytes);
        return;
    }
    question.tries = up->op.tries;
    question.max_tries = MAX_UPLOAD_TRIES;
    if (!outcome_is_file_quota(&result->failure)) /* that is no fault, but a question of room */
        limit_tries(up, &question);
    question.untried = untried(up);
    answer = retry_decide(&question, runtime_random(up->op.rt));
    if (answer.action == RETRY_NEXT || answer.action == RETRY_SAME) {
        if (answer.action == RETRY_SAME)
            set_tried(up, up->op.deployment, false);
        if (operation_wait(&up->op, answer.delay_ms, try_again))
            return;
    }
    fail(up, &result->failure);
}

/* --- one try --- */

/* Without an expiry Azure keeps files for ever, and 500 of them fill the resource. */
static void default_expiry(const struct upload *up, struct provider_upload *form, char seconds[16])
{
    uint32_t expiry_s = up->op.rt->config->azure_file_expiry_s;

    if (expiry_s == 0 || up->lines == NULL || form->expires_after_anchor != NULL ||
        runtime_rules(up->op.rt, up->op.deployment) != PROVIDER_AZURE)
        return;
    snprintf(seconds, 16, "%lu", (unsigned long)expiry_s);
    form->expires_after_anchor = "created_at";
    form->expires_after_seconds = seconds;
}

/* OpenAI takes no batch file that is called otherwise (providers 1.1), and says so only when all of
 * it has arrived. The lines are good, so the name is mended. */
static void mend_name(const struct upload *up, struct provider_upload *form, struct strbuf *name)
{
    static const char ending[] = ".jsonl";
    size_t len = strlen(ending);

    strbuf_adds(name, form->filename);
    if (up->lines == NULL || runtime_rules(up->op.rt, up->op.deployment) != PROVIDER_OPENAI ||
        (name->len >= len && memcmp(name->data + name->len - len, ending, len) == 0))
        return;
    strbuf_adds(name, ending);
    if (!strbuf_failed(name))
        form->filename = strbuf_str(name);
}

static void on_begin(void *arg)
{
    struct upload *up = arg;

    repeat_begins_to_be_sent(&up->repeat);
}

static int start_try(struct upload *up)
{
    const struct table_deployment *d = table_deployment(up->op.rt->table, up->op.deployment);
    struct jsonl_report report = {0};
    struct strbuf name = STRBUF_INIT;
    char filled[512], seconds[16];
    struct send_file_spec spec = {
        .deployment = up->op.deployment,
        .spool = &up->spool,
        .lines = up->lines,
        .request_id = up->request_id,
        .owner = share_owner(up->op.share),
        .on_begin = on_begin,
        .form = {.purpose = strbuf_str(&up->purpose),
                 .filename = strbuf_str(&up->filename),
                 .expires_after_anchor =
                     up->expires_anchor.len > 0 ? strbuf_str(&up->expires_anchor) : NULL,
                 .expires_after_seconds =
                     up->expires_seconds.len > 0 ? strbuf_str(&up->expires_seconds) : NULL},
    };

    if (is_batch_file(up)) {
        jsonl_report(up->lines, &report);
        spec.model = send_file_name(
            up->op.rt, up->op.deployment, table_group_name(up->op.rt->table, d->group),
            up->renamed[0] != '\0' ? up->renamed : report.model, filled, sizeof(filled));
    }
    if (spec.model == NULL && up->renamed[0] != '\0')
        spec.model = up->renamed; /* one that stays, but for the caller's alias */
    assert(up->send == NULL && up->op.deployment != MODEL_NO_INDEX);
    default_expiry(up, &spec.form, seconds);
    mend_name(up, &spec.form, &name);
    up->send = send_file_start(up->op.rt, &spec, on_sent, up);
    strbuf_deinit(&name);
    return up->send != NULL ? 0 : ERR_NOMEM;
}

/* Whether a batch of this very file, under another name, was just refused there as too large. */
static bool was_refused(const struct upload *up, uint64_t job, uint32_t deployment)
{
    struct refusal refusal;

    return refusals_find(up->op.rt->inherited->memo, job,
                         table_deployment(up->op.rt->table, deployment)->real,
                         loop_now_ms(up->op.rt->loop), &refusal) &&
           refusal.for_ms > 0;
}

static void bar(struct upload *up, uint64_t job)
{
    bool refused =
        job != 0 && refusals_any(up->op.rt->inherited->memo, job, loop_now_ms(up->op.rt->loop));

    for (uint32_t i = 0; i < up->candidates.num; i++) {
        uint32_t deployment = up->candidates.deployments[i];

        up->barred[i] = up->tried[i] ||
                        !file_slots_open(up->op.rt, deployment, slot_at(up, deployment)) ||
                        (refused && was_refused(up, job, deployment));
    }
}

/* First among those that have a slot for the file, and did not refuse its batch. When none has,
 * among all: the count may be old, and a provider that refuses tells more than we know. */
static uint32_t choose(struct upload *up)
{
    struct size size = size_of(up, up->candidates.deployments[0]);
    uint64_t unsure_from = choose_unsure_from(up->op.rt, up->candidates.deployments,
                                              up->candidates.num, size.tokens, size.least);
    uint32_t tier = up->tier, chosen;

    assert(up->candidates.num > 0);
    bar(up, size.job);
    chosen = choose_in_tiers(up->op.rt, OP_UPLOAD, &up->candidates, up->barred, &tier, size.tokens,
                             unsure_from);
    if (chosen == MODEL_NO_INDEX)
        chosen = choose_in_tiers(up->op.rt, OP_UPLOAD, &up->candidates, up->tried, &up->tier,
                                 size.tokens, unsure_from);
    return chosen;
}

static void nowhere(struct upload *up)
{
    struct size size = size_of(up, up->candidates.deployments[0]);
    struct choose_question q = {
        .op = OP_UPLOAD,
        .candidates = up->candidates.deployments,
        .num = up->candidates.num,
        .tokens = size.tokens,
        .discreet = up->owner != 0,
        .unsure_from = choose_unsure_from(up->op.rt, up->candidates.deployments, up->candidates.num,
                                          size.tokens, size.least)};
    struct failure why;

    choose_nowhere(up->op.rt, &q, &why);
    fail(up, &why);
}

static void try_next(struct upload *up)
{
    uint32_t chosen = choose(up);

    if (chosen == MODEL_NO_INDEX) {
        nowhere(up);
        return;
    }
    up->op.deployment = chosen;
    up->op.tries++;
    up->tries_here++;
    set_tried(up, chosen, true);
    if (repeat_sent(&up->repeat, table_deployment(up->op.rt->table, chosen)->fingerprint) &&
        start_try(up) == 0) {
        state_add_tokens(up->op.rt->inherited->state, up->op.rt->slot,
                         up->op.rt->inherited->columns[chosen], tokens_of(up, chosen),
                         loop_now_ms(up->op.rt->loop));
        return;
    }
    choose_give_back(up->op.rt, OP_UPLOAD, chosen);
    fail_memory(up);
}

/* --- a repeat of an earlier one --- */

/* Of all that the client asked for: what the form says, and the file byte by byte. */
static uint64_t fingerprint_of(struct upload *up)
{
    const struct strbuf *fields[] = {&up->purpose,         &up->filename, &up->expires_anchor,
                                     &up->expires_seconds, &up->provider, &up->target_models};
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint64_t fingerprint = 0;

    if (up->digest == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (EVP_DigestUpdate(up->digest, strbuf_str(fields[i]), fields[i]->len + 1) != 1)
            return 0;
    if (EVP_DigestUpdate(up->digest, up->op.relay->hints.model,
                         sizeof(up->op.relay->hints.model)) != 1 ||
        EVP_DigestFinal_ex(up->digest, digest, NULL) != 1)
        return 0;
    memcpy(&fingerprint, digest, sizeof(fingerprint));
    return fingerprint;
}

static void on_new(void *arg)
{
    try_next(arg);
}

/* Files carry no marker: they are not looked for upstream. */
static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    (void)deployment;
    (void)doc;
    (void)batch;
    on_new(arg);
}

static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct relay *relay = operation_end(arg);

    relay->deployment = table_find_fingerprint(relay->rt->table, answer->deployment);
    replay_answer(relay, ROUTE_FILE, answer);
}

static void on_repeat_failed(void *arg, const struct failure *failure)
{
    operation_fail(arg, failure);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_repeat_failed};

static void begin(struct upload *up)
{
    struct wanted wanted = {.owner = up->op.relay->owner, .request = fingerprint_of(up)};

    repeat_begin(&up->repeat, REPEAT_UPLOAD, up->op.relay, &wanted, up->candidates.deployments,
                 up->candidates.num, &repeat_ops, up);
}

/* What is asked of the request when it may be gone. */
static void keep_request(struct upload *up)
{
    const struct relay *relay = up->op.relay;

    assert(relay->tenant != NULL);
    up->tenant = *relay->tenant;
    memcpy(up->hinted, relay->hints.model, sizeof(up->hinted));
    memcpy(up->request_id, relay->request_id, sizeof(up->request_id));
}

void upload_send(struct upload *up)
{
    struct jsonl_report report = {0};
    struct failure why = {0};
    const char *model;

    upload_memory_count(up); /* the ids and the last line are gone */
    if (up->lines != NULL)
        jsonl_report(up->lines, &report);
    up->op.ops = &upload_ops;
    resolve_hints(up->op.relay);
    keep_request(up);
    model = upload_model(up, &report);
    if (!upload_is_allowed(up, model, &why) ||
        !resolve_upload(up->op.relay, model, strbuf_str(&up->target_models), &up->candidates,
                        &why)) {
        operation_fail(&up->op, &why);
        return;
    }
    up->tried = calloc(up->candidates.num, sizeof(bool));
    up->barred = calloc(up->candidates.num, sizeof(bool));
    why.status = 0;
    if (up->tried == NULL || up->barred == NULL)
        operation_fail_memory(&up->op);
    else if (!upload_fit(up, &up->candidates, up->tried, &why))
        fail_unfit(up, &why);
    else if (up->assembly == NULL)
        begin(up);
    else {
        operation_hold(&up->op); /* who repeats it finds it in the upload's record */
        try_next(up);
    }
}
