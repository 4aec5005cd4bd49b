/* See upload_send.h. The spool makes another deployment possible: each try splices that
 * deployment's name while it reads. */
#include "server/upload_send.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "common/upstream/normal.h"
#include "server/choose.h"
#include "server/resolve.h"
#include "server/verdict.h"

#define MAX_UPLOAD_TRIES 8

static void try_next(struct upload *up);

struct upload *upload_new(struct relay *relay, const struct jsonl_rules *rules)
{
    struct upload *up = calloc(1, sizeof(*up));

    if (up == NULL)
        return NULL;
    up->lines = jsonl_new(rules);
    if (up->lines == NULL) {
        free(up);
        return NULL;
    }
    up->relay = relay;
    up->worker = relay->worker;
    up->deployment = MODEL_NO_INDEX;
    spool_init(&up->spool, relay->worker->inherit, relay->worker->slot, relay->worker->loop);
    return up;
}

static void drop_try(struct upload *up)
{
    if (up->attempt != NULL)
        attempt_cancel(up->attempt);
    up->attempt = NULL;
    jsonl_splice_free(up->splice);
    up->splice = NULL;
    strbuf_reset(&up->prologue);
    strbuf_reset(&up->epilogue);
}

void upload_free(struct upload *up)
{
    drop_try(up);
    loop_timer_stop(up->worker->loop, &up->retry);
    spool_deinit(&up->spool);
    jsonl_free(up->lines);
    strbuf_deinit(&up->purpose);
    strbuf_deinit(&up->filename);
    strbuf_deinit(&up->expires_anchor);
    strbuf_deinit(&up->expires_seconds);
    strbuf_deinit(&up->provider);
    strbuf_deinit(&up->prologue);
    strbuf_deinit(&up->epilogue);
    free(up->candidates);
    free(up->tried);
    free(up);
}

/* The client left: nobody would get the id, so the transfer is stopped. */
static void on_client_gone(void *op)
{
    struct upload *up = op;

    up->relay = NULL;
    upload_free(up);
}

/* Take the relay away from the operation: it will answer now. */
static struct relay *detach(struct upload *up)
{
    struct relay *relay = up->relay;

    up->relay = NULL;
    relay->op = NULL;
    relay->deployment = up->deployment;
    return relay;
}

static void fail(struct upload *up, int status, const char *code, const char *param,
                 const char *text)
{
    struct relay *relay = detach(up);

    upload_free(up);
    relay_problem(relay, status, status < 500 ? "invalid_request_error" : "server_error", code,
                  param, "%s", text);
}

/* --- the answer --- */

static void answer_file(struct upload *up, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file = doc != NULL ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    struct relay *relay;

    if (!json_is(file, JSON_OBJECT) || json_get_str(file, "id") == NULL) {
        json_doc_free(doc);
        fail(up, 502, "bad_upstream_answer", "",
             "The provider accepted the upload but its answer could not be read; the file may "
             "exist there.");
        return;
    }
    normal_file(doc, file, (int64_t)up->file_bytes);
    relay = detach(up);
    resolve_show_file(relay, up->deployment, resolve_mints(relay, up->deployment), doc, file);
    upload_free(up);
    relay_json(relay, 200, file);
    json_doc_free(doc);
}

static uint32_t untried(const struct upload *up)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < up->num_candidates; i++)
        n += !up->tried[i];
    return n;
}

static void on_retry_timer(struct loop_timer *timer)
{
    try_next(timer->arg);
}

static void on_sent(void *arg, const struct attempt_result *result)
{
    struct upload *up = arg;
    const struct upstream_result *res = result->upstream;
    struct retry_question question = attempt_question(OP_UPLOAD, result);
    struct retry_answer answer;
    struct relay *relay;

    up->attempt = NULL;
    if (result->ok) {
        answer_file(up, res);
        return;
    }
    drop_try(up);
    question.tries = up->tries;
    question.max_tries = MAX_UPLOAD_TRIES;
    question.untried = untried(up);
    answer = retry_decide(&question, worker_random(up->worker));
    if (answer.action == RETRY_NEXT || answer.action == RETRY_SAME) {
        if (answer.action == RETRY_SAME)
            for (uint32_t i = 0; i < up->num_candidates; i++)
                if (up->candidates[i] == up->deployment)
                    up->tried[i] = false;
        up->retry.cb = on_retry_timer;
        up->retry.arg = up;
        if (loop_timer_start(up->worker->loop, &up->retry, answer.delay_ms) == 0)
            return;
    }
    relay = detach(up);
    upload_free(up);
    relay_failure(relay, &result->failure);
}

/* --- one try --- */

static ssize_t copy_from(const struct strbuf *text, uint64_t at, char *buf, size_t len)
{
    if (len > text->len - at)
        len = (size_t)(text->len - at);
    memcpy(buf, text->data + at, len);
    return (ssize_t)len;
}

/* prologue, file, epilogue: exactly the announced bytes. */
static ssize_t on_source(void *arg, char *buf, size_t len)
{
    struct upload *up = arg;
    uint64_t file_end = up->prologue.len + up->file_bytes;
    ssize_t n;

    if (up->sent < up->prologue.len)
        n = copy_from(&up->prologue, up->sent, buf, len);
    else if (up->sent >= file_end)
        n = copy_from(&up->epilogue, up->sent - file_end, buf, len);
    else if (up->splice != NULL)
        n = jsonl_splice_read(up->splice, buf, len);
    else
        n = spool_read(&up->spool, buf, len, up->sent - up->prologue.len);
    if (n <= 0)
        return ERR_IO; /* shorter than announced: the spool failed */
    up->sent += (uint64_t)n;
    return n;
}

static int make_boundary(char out[33])
{
    unsigned char r[16];

    if (RAND_bytes(r, sizeof(r)) != 1)
        return ERR_NOMEM;
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", r[i]);
    return 0;
}

/* What `*` of the group's name stands for in `model`, put in place of `*` in the row's own name:
 * "openai/gpt-4o" by the row `openai/` `*` of upstream name `*` is "gpt-4o". @return false: the
 * pattern does not fit, the name stays */
static bool fill_wildcard(const char *group, const char *upstream, const char *model, char *out,
                          size_t size)
{
    const char *star = strchr(group, '*'), *at = strchr(upstream, '*');
    size_t head = star != NULL ? (size_t)(star - group) : 0,
           tail = star != NULL ? strlen(star + 1) : 0, len = strlen(model);

    if (star == NULL || at == NULL || len < head + tail || strncmp(model, group, head) != 0 ||
        strcmp(model + len - tail, star + 1) != 0)
        return false;
    return snprintf(out, size, "%.*s%.*s%s", (int)(at - upstream), upstream,
                    (int)(len - head - tail), model + head, at + 1) < (int)size;
}

/* The name that body.model becomes at this deployment; NULL: it stays. */
static const char *name_at(const struct upload *up, const struct table_deployment *d, char *buf,
                           size_t size)
{
    const struct table *table = up->worker->table;
    const char *upstream = table_str(table, d->upstream_model);
    struct jsonl_report report;

    if (!up->rewrite || up->lines == NULL || upstream[0] == '\0')
        return NULL;
    if (strchr(upstream, '*') == NULL)
        return upstream;
    jsonl_report(up->lines, &report);
    return report.model != NULL && fill_wildcard(table_group_name(table, d->group), upstream,
                                                 report.model, buf, size)
               ? buf
               : NULL;
}

static int start_try(struct upload *up)
{
    const struct table_deployment *d = table_deployment(up->worker->table, up->deployment);
    char filled[512];
    const char *name = name_at(up, d, filled, sizeof(filled));
    struct provider_upload form = {
        .purpose = strbuf_str(&up->purpose),
        .filename = strbuf_str(&up->filename),
        .expires_after_anchor = up->expires_anchor.len > 0 ? strbuf_str(&up->expires_anchor) : NULL,
        .expires_after_seconds =
            up->expires_seconds.len > 0 ? strbuf_str(&up->expires_seconds) : NULL,
    };
    struct attempt_spec spec = {.deployment = up->deployment,
                                .call = CALL_FILE_CREATE,
                                .source = on_source,
                                .on_done = on_sent,
                                .arg = up};
    char boundary[33], type[96];

    if (make_boundary(boundary) != 0 ||
        provider_multipart(&form, boundary, &up->prologue, &up->epilogue) != 0)
        return ERR_NOMEM;
    up->file_bytes = up->spool.size;
    if (name != NULL) {
        up->file_bytes = jsonl_spliced_size(up->lines, name);
        up->splice = jsonl_splice_new(up->lines, name, spool_read, &up->spool);
        if (up->splice == NULL)
            return ERR_NOMEM;
    }
    up->sent = 0;
    snprintf(type, sizeof(type), "multipart/form-data; boundary=%s", boundary);
    spec.content_type = type;
    spec.source_length = up->prologue.len + up->file_bytes + up->epilogue.len;
    up->attempt = attempt_start(up->worker, &spec);
    return up->attempt != NULL ? 0 : ERR_NOMEM;
}

/* Statement 103: what one provider accepts the other refuses. */
static bool expiry_is_in_range(const struct upload *up, enum provider provider, struct failure *why)
{
    int64_t min_s, max_s, value;

    if (up->expires_seconds.len == 0)
        return true;
    provider_expiry_range(provider, &min_s, &max_s);
    value = strtoll(strbuf_str(&up->expires_seconds), NULL, 10);
    if (value >= min_s && value <= max_s)
        return true;
    relay_fill(
        why, 400, "invalid_request_error", "invalid_value", "expires_after[seconds]",
        "Invalid 'expires_after[seconds]': expected %lld to %lld for %s, but got %lld instead.",
        (long long)min_s, (long long)max_s, provider_name(provider), (long long)value);
    return false;
}

static bool is_over_limit(const struct upload *up, enum provider provider, struct failure *why)
{
    const struct config_limits *limits = &up->worker->config->limits;
    struct jsonl_report report;

    if (up->lines == NULL)
        return false;
    jsonl_report(up->lines, &report);
    return verdict_over_limit(&report, provider_name(provider), limits->max_file_bytes[provider],
                              limits->max_lines[provider], why);
}

/* Limits belong to providers, and a group may have rows of both: those that cannot take this file
 * are out from the start. @return whether any is left; else `why` says what the first one would not
 * take */
static bool drop_unfit(struct upload *up, struct failure *why)
{
    struct failure reason = {0};
    bool any = false;

    for (uint32_t i = 0; i < up->num_candidates; i++) {
        enum provider provider =
            (enum provider)table_deployment(up->worker->table, up->candidates[i])->provider;

        up->tried[i] =
            is_over_limit(up, provider, &reason) || !expiry_is_in_range(up, provider, &reason);
        if (up->tried[i] && why->status == 0)
            *why = reason;
        any |= !up->tried[i];
    }
    return any;
}

static void try_next(struct upload *up)
{
    struct relay *relay;
    struct failure why;
    uint32_t chosen =
        choose_deployment(up->worker, OP_UPLOAD, up->candidates, up->num_candidates, up->tried, 0);

    if (chosen == MODEL_NO_INDEX) {
        relay = detach(up);
        choose_nowhere(up->worker, OP_UPLOAD, up->candidates, up->num_candidates, &why);
        upload_free(up);
        relay_failure(relay, &why);
        return;
    }
    up->deployment = chosen;
    up->tries++;
    for (uint32_t i = 0; i < up->num_candidates; i++)
        if (up->candidates[i] == chosen)
            up->tried[i] = true;
    if (start_try(up) == 0)
        return;
    choose_give_back(up->worker, OP_UPLOAD, chosen);
    fail(up, 500, "out_of_memory", "", "The gateway is out of memory.");
}

void upload_send(struct upload *up)
{
    struct jsonl_report report = {0};
    struct failure why = {0};

    if (up->lines != NULL)
        jsonl_report(up->lines, &report);
    relay_attach(up->relay, up, on_client_gone);
    resolve_hints(up->relay);
    if (!resolve_upload(up->relay, report.model, &up->candidates, &up->num_candidates, &up->rewrite,
                        &why)) {
        struct relay *relay = detach(up);

        upload_free(up);
        relay_failure(relay, &why);
        return;
    }
    up->tried = calloc(up->num_candidates, sizeof(bool));
    if (up->tried == NULL) {
        fail(up, 500, "out_of_memory", "", "The gateway is out of memory.");
        return;
    }
    why.status = 0;
    if (!drop_unfit(up, &why)) {
        struct relay *relay = detach(up);

        upload_free(up);
        relay_failure(relay, &why);
        return;
    }
    try_next(up);
}
