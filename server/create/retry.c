/* See retry.h. The request is one create: it is looked for among those that were made before, then the
 * batch's files are gathered, the lines picked in slices and stored as an input file beside the
 * original, and the machine of all creates makes the batch.
 *
 *   repeat ─► gather ─► pick ─► store the file ─► create_start_prepared()
 *
 * Until the file is stored nothing has happened at a provider. A client that leaves before the create
 * has begun ends it. Sent is only what was stored: no line that has an answer with status 200. */
#include "create/retry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls/send_file.h"
#include "common/seeded_fault.h"
#include "core/counters.h"
#include "core/spool.h"
#include "create_check.h"
#include "create_prepared.h"
#include "crypto/marker.h"
#include "objects/batch_view.h"
#include "objects/discard.h"
#include "objects/file_slots.h"
#include "objects/locate.h"
#include "objects/owned.h"
#include "read/gather.h"
#include "read/replay.h"
#include "request/errors.h"
#include "request/limits.h"
#include "upstream/normal.h"

#define PIECE 65536 /* bytes that are picked in a turn */

struct retry {
    struct gather gather;
    struct target homes; /* owned; where its batch may have been made before */
    struct repeat repeat;
    uint64_t request; /* fingerprint of what was asked */
    char nonce[MARKER_NONCE + 1];
    unsigned kinds;
    const struct json *ids;      /* of the request; NULL: all */
    uint64_t (*hashes)[2];       /* owned; of these */
    struct results_merge *merge; /* owned */
    struct slice slice;
    struct strbuf piece;
    struct spool lines;
    struct send_file *send; /* owned */
};

static struct retry *retry_of(struct operation *op)
{
    return (struct retry *)op;
}

static void retry_free(struct operation *op)
{
    struct retry *r = retry_of(op);

    if (r->send != NULL)
        send_file_cancel(r->send);
    slices_remove(&op->rt->slices, &r->slice);
    results_merge_free(r->merge);
    share_sub(op->share, SHARE_SPOOL, r->lines.size);
    spool_deinit(&r->lines);
    gather_deinit(&r->gather);
    repeat_end(&r->repeat);
    target_deinit(&r->homes);
    strbuf_deinit(&r->piece);
    free(r->hashes);
    free(r);
}

static const struct operation_ops retry_ops = {.free = retry_free};

static void fail_error(struct retry *r, const struct failure *why)
{
    operation_fail(&r->gather.op, why);
}

#define FAIL(r, name, param, ...)                                                                  \
    do {                                                                                           \
        struct failure why_;                                                                       \
        error_fill(&why_, name, (param)__VA_OPT__(, ) __VA_ARGS__);                                \
        fail_error(r, &why_);                                                                      \
    } while (0)

static void say_of_what(struct relay *relay)
{
    relay_header(relay, "x-tranche-retry-of", relay->route.id);
}

/* --- the create --- */

static void hand_over(struct retry *r, const char *native)
{
    struct runtime *rt = r->gather.op.rt;
    uint32_t deployment = r->gather.input_deployment;
    struct relay *relay = r->gather.op.relay;
    struct viewer viewer = relay_viewer(relay);
    struct strbuf id = STRBUF_INIT;
    struct create_prepared prepared = {&r->repeat, r->request, r->nonce};

    client_ids_text(&viewer, deployment, ID_FILE,
                    r->homes.tagged || client_ids_are_tagged(&viewer, deployment), native, &id);
    json_set_str(relay->doc, relay->request, "input_file_id", strbuf_str(&id));
    json_set_str(relay->doc, relay->request, "endpoint", r->gather.endpoint);
    strbuf_deinit(&id);
    say_of_what(relay);
    (void)operation_detach(&r->gather.op);
    if (!create_start_prepared(relay, &prepared))
        discard_file(rt, deployment, native);
    operation_free(&r->gather.op);
}

/* --- the file --- */

/* It is its owner's, and holds a place in its account, like any other one. */
static void note_file(struct retry *r, struct json_doc *doc, struct json *file, uint64_t bytes)
{
    struct operation *op = &r->gather.op;
    uint32_t deployment = r->gather.input_deployment;
    const char *native = json_get_str(file, "id");

    normal_file(doc, file, (int64_t)bytes);
    file_slots_add(op->rt, deployment, file_slots_kind(op->rt, deployment, false), 1);
    owned_keep_file(op->rt->inherited, runtime_fingerprint(op->rt, deployment), op->relay->owner,
                    file);
    locate_remember(op->rt, ID_FILE, native, deployment);
    counters_file(op->rt->inherited, deployment, op->relay->tenant, bytes);
}

static void on_sent(void *arg, const struct attempt_result *result, uint64_t file_bytes)
{
    struct retry *r = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json_error error;
    struct json *file =
        doc != NULL && result->upstream->body_len > 0
            ? json_parse(doc, result->upstream->body, result->upstream->body_len, &error)
            : NULL;
    const char *id = json_get_str(file, "id");
    char native[IDS_MAX + 1] = "";
    bool stored = false;

    r->send = NULL;
    if (id != NULL && strlen(id) <= IDS_MAX)
        memcpy(native, id, strlen(id) + 1);
    if (!result->ok)
        fail_error(r, &result->failure);
    else if (id == NULL)
        FAIL(r, ANSWER_TO_UPLOAD, "");
    else if (!ids_is_usable(id) || (r->gather.op.relay->owner != 0 && !ids_can_be_tagged(id)))
        FAIL(r, UNUSABLE_FILE_ID, "", id);
    else {
        note_file(r, doc, file, file_bytes);
        stored = true;
    }
    json_doc_free(doc);
    if (stored)
        hand_over(r, native);
}

/* As for uploads: what the operator says of a tenant's files, else, at Azure, of all. */
static void set_expiry(const struct retry *r, struct provider_upload *form, char text[16])
{
    const struct runtime *rt = r->gather.op.rt;
    uint32_t seconds = limits_file_expiry(r->gather.op.relay);

    if (seconds == 0 && runtime_rules(rt, r->gather.input_deployment) == PROVIDER_AZURE)
        seconds = rt->config->azure_file_expiry_s;
    if (seconds == 0)
        return;
    snprintf(text, 16, "%lu", (unsigned long)seconds);
    form->expires_after_anchor = "created_at";
    form->expires_after_seconds = text;
}

static void send_lines(struct retry *r)
{
    struct operation *op = &r->gather.op;
    char seconds[16];
    struct send_file_spec spec = {.deployment = r->gather.input_deployment,
                                  .spool = &r->lines,
                                  .request_id = op->relay->request_id,
                                  .owner = share_owner(op->share),
                                  .form = {.purpose = "batch", .filename = "retry.jsonl"}};

    set_expiry(r, &spec.form, seconds);
    op->deployment = spec.deployment;
    r->send = send_file_start(op->rt, &spec, on_sent, r);
    if (r->send == NULL)
        operation_fail_memory(op);
}

/* --- its lines --- */

static int store_piece(struct retry *r)
{
    const struct operation *op = &r->gather.op;
    size_t len = r->piece.len;
    int err;

    if (strbuf_failed(&r->piece))
        return ERR_NOMEM;
    if (len == 0)
        return 0;
    if (!share_may(op->share, SHARE_SPOOL, len, spool_total(op->rt->inherited),
                   op->rt->config->limits.spool_bytes))
        return ERR_FULL;
    err = spool_write(&r->lines, r->piece.data, len);
    if (err == 0)
        share_add(op->share, SHARE_SPOOL, len);
    strbuf_reset(&r->piece);
    return err;
}

static void on_slice(struct slice *slice)
{
    struct retry *r = slice->arg;
    struct operation *op = &r->gather.op;
    enum results_step step = results_merge_next(r->merge, &r->piece, PIECE);
    int err = step == RESULTS_BROKEN ? ERR_IO : store_piece(r);

    if (err == 0 && step == RESULTS_MORE)
        err = slices_add(&op->rt->slices, op->rt->loop, slice);
    if (err == ERR_FULL)
        FAIL(r, BATCH_SPOOL_FULL, "");
    else if (err == ERR_NOMEM)
        operation_fail_memory(op);
    else if (err != 0)
        FAIL(r, BATCH_SPOOL_BROKEN, "");
    else if (step == RESULTS_UNREADABLE)
        FAIL(r, ANSWERS_UNREADABLE, "");
    else if (step == RESULTS_DONE && results_merge_given(r->merge) == 0)
        FAIL(r, NOTHING_TO_RETRY, "");
    else if (step == RESULTS_DONE)
        send_lines(r);
}

/* @return false: out of memory */
static bool set_ids(struct retry *r, struct results_spec *spec)
{
    size_t num = json_size(r->ids);

    if (r->ids == NULL)
        return true;
    r->hashes = calloc(num + 1, sizeof(*r->hashes));
    if (r->hashes == NULL)
        return false;
    for (size_t i = 0; i < num; i++) {
        size_t len;
        const char *id = json_str(json_at(r->ids, i), &len);

        result_lines_hash(results_index_key(spec->index), id, len, r->hashes[i]);
    }
    results_ids_sort(r->hashes, num);
    spec->ids = (struct results_ids){(const uint64_t(*)[2])r->hashes, num};
    return true;
}

/* A line whose answer cannot be read looks as if it had none, and may have been run and paid for. */
static bool is_ambiguous(const struct retry *r)
{
    return (r->kinds & RESULTS_MISSING) != 0 && results_index_counts(r->gather.index).bad > 0;
}

static void on_ready(struct gather *gather)
{
    struct retry *r = retry_of(&gather->op);
    struct results_spec spec = gather_spec(gather);

    if (is_ambiguous(r)) {
        FAIL(r, ANSWERS_UNREADABLE, "");
        return;
    }
    spec.form = RESULTS_INPUT;
    spec.kinds = seeded_fault(SEEDED_RETRIED_ANSWER) ? RESULTS_ALL : r->kinds;
    if (!set_ids(r, &spec) || (r->merge = results_merge_new(&spec)) == NULL ||
        slices_add(&gather->op.rt->slices, gather->op.rt->loop, &r->slice) != 0)
        operation_fail_memory(&gather->op);
}

/* --- whether it was made before --- */

static void on_new(void *arg)
{
    struct retry *r = arg;

    gather_start(&r->gather, false, on_ready);
}

static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    struct retry *r = arg;
    struct relay *relay = r->gather.op.relay;
    struct viewer viewer = relay_viewer(relay);
    int status = resolve_status(relay, deployment, 0);
    struct strbuf text = STRBUF_INIT;

    relay_header(relay, "idempotent-replayed", "true");
    say_of_what(relay);
    batch = batch_view(&viewer, deployment,
                       r->homes.tagged || client_ids_are_tagged(&viewer, deployment), doc, batch);
    json_write(batch, &text);
    repeat_answered(&r->repeat, table_deployment(relay->rt->table, deployment)->fingerprint,
                    json_get_str(batch, "id"), status, strbuf_str(&text),
                    strbuf_failed(&text) ? 0 : text.len);
    r->gather.op.deployment = deployment;
    relay = operation_end(&r->gather.op);
    if (strbuf_failed(&text))
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_bytes(relay, status, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct retry *r = arg;
    struct relay *relay = operation_end(&r->gather.op);

    relay->deployment = table_find_fingerprint(relay->rt->table, answer->deployment);
    say_of_what(relay);
    replay_answer(relay, ROUTE_BATCH, answer);
}

static void on_failed(void *arg, const struct failure *why)
{
    fail_error(arg, why);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_failed};

/* --- what is asked --- */

static enum answered parse_include(struct relay *relay, unsigned *kinds)
{
    static const struct {
        const char *name;
        unsigned kinds;
    } words[] = {{"retryable", RESULTS_RETRYABLE},
                 {"failed", RESULTS_REFUSED | RESULTS_FAILED},
                 {"expired", RESULTS_UNDONE},
                 {"missing", RESULTS_MISSING}};
    const struct json *include = json_get(relay->request, "include");
    size_t known = 0;

    *kinds = 0;
    for (size_t i = 0; i < json_size(include); i++)
        for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
            const char *text = json_str(json_at(include, i), NULL);

            if (text == NULL || strcmp(text, words[w].name) != 0)
                continue;
            *kinds |= words[w].kinds;
            known++;
        }
    if (include == NULL || json_is(include, JSON_NULL)) {
        *kinds = RESULTS_RETRYABLE;
        return GO_ON;
    }
    if (json_is(include, JSON_ARRAY) && known > 0 && known == json_size(include))
        return GO_ON;
    relay_error(relay, RETRY_INCLUDE, "include");
    return ANSWERED;
}

static enum answered parse_ids(struct relay *relay, const struct json **ids)
{
    const struct json *list = json_get(relay->request, "custom_ids");

    *ids = NULL;
    if (list == NULL || json_is(list, JSON_NULL))
        return GO_ON;
    for (size_t i = 0; i < json_size(list); i++)
        if (!json_is(json_at(list, i), JSON_STRING))
            list = NULL;
    if (json_is(list, JSON_ARRAY)) {
        *ids = list;
        return GO_ON;
    }
    relay_error(relay, RETRY_IDS, "custom_ids");
    return ANSWERED;
}

/* Of all that decides what becomes of it, but for a secret: as of creates it goes to the provider in
 * the batch's marker, without a key (create_hook.h). */
static uint64_t fingerprint_of(const struct relay *relay)
{
    struct json *hook = json_get(relay->request, "webhook");
    struct json *secret = json_get(hook, "secret");
    struct strbuf text = STRBUF_INIT;
    uint64_t fingerprint;

    if (secret != NULL)
        json_remove(hook, "secret");
    strbuf_addf(&text, "retry %s ", relay->route.id);
    json_write(relay->request, &text);
    if (secret != NULL)
        json_set(relay->doc, hook, "secret", secret);
    fingerprint = marker_fingerprint(strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return fingerprint;
}

/* The body of a create: what of it depends on the batch follows later. */
static enum answered make_request(struct relay *relay)
{
    static const char *const taken[] = {"metadata", "webhook", "output_expires_after"};
    struct json *made = json_new_object(relay->doc), *metadata;

    json_set_str(relay->doc, made, "input_file_id", relay->route.id);
    json_set_str(relay->doc, made, "endpoint", "/");
    json_set_str(relay->doc, made, "completion_window", "24h");
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        if (json_get(relay->request, taken[i]) != NULL)
            json_set(relay->doc, made, taken[i], json_get(relay->request, taken[i]));
    metadata = json_get(made, "metadata");
    if (metadata == NULL || json_is(metadata, JSON_NULL))
        json_set(relay->doc, made, "metadata", metadata = json_new_object(relay->doc));
    if (json_is(metadata, JSON_OBJECT))
        json_set_str(relay->doc, metadata, "retry_of", relay->route.id);
    relay->request = made;
    if (json_doc_failed(relay->doc)) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return ANSWERED;
    }
    if (json_size(metadata) < MARKER_PAIRS)
        return create_check(relay);
    relay_error(relay, METADATA_PAIRS, "metadata", MARKER_PAIRS - 2,
                json_size(metadata) - 1); /* retry_of and our marker are two more */
    return ANSWERED;
}

static enum answered parse(struct relay *relay, struct retry *r)
{
    if (relay->doc == NULL)
        relay->doc = json_doc_new();
    if (relay->doc != NULL && relay->request == NULL)
        relay->request = json_new_object(relay->doc);
    if (relay->request == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return ANSWERED;
    }
    if (parse_include(relay, &r->kinds) == ANSWERED || parse_ids(relay, &r->ids) == ANSWERED)
        return ANSWERED;
    r->request = fingerprint_of(relay);
    return make_request(relay);
}

static void begin(struct retry *r)
{
    struct relay *relay = r->gather.op.relay;
    struct wanted wanted = {.owner = relay->owner, .request = r->request};

    snprintf(wanted.nonce, sizeof(wanted.nonce), "%s", r->nonce);
    repeat_begin(&r->repeat, REPEAT_CREATE, relay, &wanted, r->homes.deployments, r->homes.num,
                 &repeat_ops, r);
}

void retry_start(struct relay *relay)
{
    struct retry *r = operation_new(sizeof(*r), relay, &retry_ops);

    if (r == NULL)
        return; /* answered */
    r->slice.cb = on_slice;
    r->slice.arg = r;
    r->slice.flow = share_flow(r->gather.op.share);
    spool_init(&r->lines, relay->rt->inherited, relay->rt->slot, relay->rt->loop);
    if (parse(relay, r) == ANSWERED ||
        resolve_id(relay, ID_BATCH, relay->route.id, relay->route.id_len, &r->homes) == ANSWERED)
        operation_answered(&r->gather.op);
    else if (repeat_nonce(relay, r->nonce) != 0)
        operation_fail_memory(&r->gather.op);
    else
        begin(r);
}
