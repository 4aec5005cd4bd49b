/* The receiving half of an upload: fields, lines, limits. upload_send.c has the other half. */
#include "upload/upload.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "core/model_end.h"
#include "core/endpoints.h"
#include "front/front.h"
#include "parts/parts.h"
#include "request/errors.h"
#include "request/may_use.h"
#include "request/resolve.h"
#include "upload_fit.h"
#include "upload_memory.h"
#include "upload_send.h"
#include "assemble.h"
#include "part.h"
#include "receiver.h"
#include "upload/verdict.h"

/* Bytes of a text field that we read; longer ones are an error where we need them */
#define MAX_FIELD 4096
/* Uploads that are read as their bytes come, a slice in one turn of the loop, 0.2 ms; more of them
 * take turns, so that a turn stays about as short */
#define AT_ONCE   1
/* Bytes of one slice where they take turns: a quarter of the time */
#define SMALL     32768

static void receiver_free(struct receiver *rc)
{
    assert(rc->up->receiver == rc);
    rc->rt->receiving -= rc->reads;
    body_abandon(rc->body);
    slices_remove(&rc->rt->slices, &rc->slice);
    multipart_free(rc->form);
    strbuf_deinit(&rc->field);
    incoming_free(rc->incoming);
    rc->up->receiver = NULL;
    free(rc);
}

static void receiving_free(struct operation *op)
{
    struct upload *up = (struct upload *)op;

    if (up->receiver != NULL)
        receiver_free(up->receiver);
    upload_free(op);
}

static const struct operation_ops receiving_ops = {.free = receiving_free};

bool receiver_is_answered(const struct receiver *rc)
{
    return rc->up->op.relay == NULL;
}

/* Answer. The upload itself ends on the way out of the callback that found the error: end(). Who
 * reads the answer finds the spool's room given back, at another worker too. */
void receiver_reject(struct receiver *rc, const struct failure *why)
{
    assert(!receiver_is_answered(rc));
    spool_deinit(&rc->up->spool);
    limits_end_upload(&rc->up->limits);
    assembly_give_up(rc->up->assembly);
    relay_failure(operation_detach(&rc->up->op), why);
}

void receiver_end(struct receiver *rc)
{
    assert(receiver_is_answered(rc));
    operation_free(&rc->up->op);
}

/* --- the form --- */

static enum part_kind kind_of(const struct receiver *rc, const struct multipart_part *part)
{
    static const struct {
        const char *name;
        enum part_kind kind;
    } known[] = {{"purpose", PART_PURPOSE},
                 {"expires_after[anchor]", PART_EXPIRES_ANCHOR},
                 {"expires_after.anchor", PART_EXPIRES_ANCHOR},
                 {"expires_after[seconds]", PART_EXPIRES_SECONDS},
                 {"expires_after.seconds", PART_EXPIRES_SECONDS},
                 {"custom_llm_provider", PART_PROVIDER},
                 {"model", PART_MODEL},
                 {"target_model_names", PART_TARGET_MODELS},
                 {"target_model_names[]", PART_TARGET_MODELS}};

    if (rc->incoming != NULL)
        return strcmp(part->name, "data") == 0 ? PART_FILE : PART_IGNORED;
    if (strcmp(part->name, "file") == 0)
        return PART_FILE;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(part->name, known[i].name) == 0)
            return known[i].kind;
    return PART_IGNORED;
}

static int begin_file(struct receiver *rc, const struct multipart_part *part)
{
    const char *name =
        part->filename != NULL && part->filename[0] != '\0' ? part->filename : "upload";
    struct failure why;

    if (rc->have_file) {
        REJECT(rc, SECOND_FILE, part->name, part->name);
        return ERR_INVALID;
    }
    if (rc->incoming == NULL && !limits_allow_name(rc->up->op.relay, name, &why)) {
        receiver_reject(rc, &why);
        return ERR_INVALID;
    }
    rc->have_file = true;
    strbuf_adds(&rc->up->filename, name);
    return 0;
}

static int on_part(void *arg, const struct multipart_part *part)
{
    struct receiver *rc = arg;

    rc->part = kind_of(rc, part);
    strbuf_reset(&rc->field);
    return rc->part == PART_FILE ? begin_file(rc, part) : 0;
}

static bool is_batch(const struct upload *up)
{
    return strcmp(strbuf_str(&up->purpose), "batch") == 0;
}

static bool may_be_batch(const struct upload *up)
{
    return up->purpose.len == 0 || up->op.relay->route.kind == ROUTE_FILE_VALIDATE || is_batch(up);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The largest file that could still be right: the exact limit depends on purpose and provider,
 * which may come after the file. */
static uint64_t max_file_bytes(const struct upload *up)
{
    const struct config_limits *limits = &up->op.relay->rt->config->limits;
    uint64_t batch =
        max_u64(limits->max_file_bytes[PROVIDER_OPENAI], limits->max_file_bytes[PROVIDER_AZURE]);

    if (up->purpose.len == 0)
        return max_u64(batch, limits->max_other_file_bytes);
    return may_be_batch(up) ? batch : limits->max_other_file_bytes;
}

int receiver_reject_spool(struct receiver *rc, int err)
{
    if (err == ERR_FULL)
        REJECT(rc, SPOOL_FULL, receiver_field(rc));
    else
        REJECT(rc, SPOOL_BROKEN, receiver_field(rc));
    return err;
}

/* The first problem. jsonl.h has the table of codes. */
static void describe_lines(const struct jsonl_report *report, struct failure *why)
{
    const struct jsonl_problem *p = &report->problems[0];

    relay_fill(why, 400, ERROR_REQUEST, p->code, "file", "Line %llu, column %llu: %s",
               (unsigned long long)p->line, (unsigned long long)p->column, p->message);
}

static int reject_lines(struct receiver *rc)
{
    struct jsonl_report report;
    struct failure why;

    jsonl_report(rc->up->lines, &report);
    if (report.num_problems > 0)
        describe_lines(&report, &why);
    else
        error_fill(&why, OUT_OF_MEMORY, "file");
    receiver_reject(rc, &why);
    return ERR_SYNTAX;
}

/* ?validate=all: the envelope with the first problem, and all of them in `errors`. */
static void reject_all(struct receiver *rc)
{
    struct json_doc *doc = json_doc_new();
    struct failure first;
    struct jsonl_report report;

    jsonl_report(rc->up->lines, &report);
    if (doc == NULL || report.num_problems == 0) {
        json_doc_free(doc);
        reject_lines(rc);
        return;
    }
    describe_lines(&report, &first);
    assembly_give_up(rc->up->assembly);
    relay_json(operation_detach(&rc->up->op), 400, verdict_refusal(doc, &report, &first, NULL));
    json_doc_free(doc);
}

/* @param err  what the checker of lines said. @return whether the upload goes on */
bool receiver_lines_are_fine(struct receiver *rc, int err)
{
    if (err == 0 || rc->up->lines_bad)
        return true;
    rc->up->lines_bad = true; /* what follows is fed all the same: it is counted */
    if (rc->up->purpose.len == 0 || rc->all_problems)
        return true;
    reject_lines(rc);
    return false;
}

/* A file of a model that the caller may not use is refused as soon as its first line tells. */
bool receiver_model_is_fine(struct receiver *rc)
{
    struct jsonl_report report;
    struct failure why;
    const char *model;

    if (rc->model_checked || rc->all_problems || rc->up->lines_bad || !is_batch(rc->up))
        return true;
    jsonl_report(rc->up->lines, &report);
    if (report.model == NULL)
        return true;
    rc->model_checked = true;
    model = upload_model(rc->up, &report);
    if (resolve_lines_are_allowed(rc->up->op.relay, model, &why))
        return true;
    receiver_reject(rc, &why);
    return false;
}

static int file_data(struct receiver *rc, const char *bytes, size_t len)
{
    struct upload *up = rc->up;
    struct failure why;
    int err;

    up->received += len;
    if (up->digest != NULL)
        (void)EVP_DigestUpdate(up->digest, bytes, len);
    if (up->received > max_file_bytes(up)) {
        REJECT(rc, FILE_ABOVE, "file", (unsigned long long)max_file_bytes(up));
        return ERR_LIMIT;
    }
    if (!limits_upload_grows(up->op.relay, &up->limits, up->received, &why)) {
        receiver_reject(rc, &why);
        return ERR_LIMIT;
    }
    /* Checked even while the purpose is not known: it may follow the file. Told only once it is. */
    if (may_be_batch(up) && !receiver_lines_are_fine(rc, jsonl_feed(up->lines, bytes, len)))
        return ERR_SYNTAX;
    if (!receiver_model_is_fine(rc))
        return ERR_INVALID;
    if (rc->validate)
        return 0; /* nothing will be sent, so nothing is kept */
    err = limits_upload_is_fair(up->op.relay, &up->limits, len, 0)
              ? spool_write(&up->spool, bytes, len)
              : ERR_FULL;
    return err == 0 ? 0 : receiver_reject_spool(rc, err);
}

static int on_form_data(void *arg, const char *bytes, size_t len)
{
    struct receiver *rc = arg;

    if (rc->part == PART_FILE)
        return rc->incoming != NULL ? incoming_data(rc, bytes, len) : file_data(rc, bytes, len);
    if (rc->part == PART_IGNORED)
        return 0;
    if (rc->field.len + len > MAX_FIELD) {
        REJECT(rc, LONG_FIELD, "", MAX_FIELD);
        return ERR_LIMIT;
    }
    strbuf_add(&rc->field, bytes, len);
    return 0;
}

/* A field of one line. What stands behind a NUL or a line end would be seen by one reader and not
 * by another. */
static bool is_one_line(const struct strbuf *field)
{
    return strcspn(strbuf_str(field), "\r\n") == field->len;
}

/* What a field says; the last one of its name counts. */
static void keep(struct strbuf *out, const char *text)
{
    strbuf_reset(out);
    strbuf_adds(out, text);
}

/* @return 0; not 0: answered */
static int take_purpose(struct receiver *rc)
{
    struct upload *up = rc->up;

    keep(&up->purpose, strbuf_str(&rc->field));
    if (up->lines_bad && !rc->all_problems && is_batch(up))
        return reject_lines(rc);
    if (!rc->validate && !is_batch(up) && may_use_is_limited(up->op.relay)) {
        REJECT(rc, PURPOSE_NOT_OF_KEY, "purpose");
        return ERR_INVALID;
    }
    return 0;
}

/* The form's model goes before the query's and the header's. */
static void take_model(struct receiver *rc)
{
    struct route_hints *hints = &rc->up->op.relay->hints;

    hints->model[0] = '\0';
    route_hint_model(hints, strbuf_str(&rc->field), rc->field.len);
}

/* Names may come one in each field, or several with commas. */
static void add_targets(struct strbuf *targets, const char *text)
{
    if (targets->len > 0)
        strbuf_addc(targets, ',');
    strbuf_adds(targets, text);
}

/* @return 0; not 0: answered */
static int take_field(struct receiver *rc)
{
    struct upload *up = rc->up;
    const char *text = strbuf_str(&rc->field);

    switch (rc->part) {
    case PART_PURPOSE:
        return take_purpose(rc);
    case PART_EXPIRES_ANCHOR:
        keep(&up->expires_anchor, text);
        break;
    case PART_EXPIRES_SECONDS:
        keep(&up->expires_seconds, text);
        break;
    case PART_PROVIDER:
        keep(&up->provider, text);
        break;
    case PART_MODEL:
        take_model(rc);
        break;
    case PART_TARGET_MODELS:
        add_targets(&up->target_models, text);
        break;
    case PART_FILE:
    case PART_IGNORED:
        break;
    }
    return 0;
}

static int on_part_end(void *arg)
{
    struct receiver *rc = arg;

    if (rc->part == PART_FILE || rc->part == PART_IGNORED)
        return 0;
    if (!is_one_line(&rc->field)) {
        REJECT(rc, ODD_FIELD, "");
        return ERR_SYNTAX;
    }
    return take_field(rc);
}

static const struct multipart_ops form_ops = {on_part, on_form_data, on_part_end};

/* --- the end of the form --- */

static enum answered check_fields(struct receiver *rc)
{
    struct upload *up = rc->up;
    const char *seconds = strbuf_str(&up->expires_seconds);

    if (!rc->have_file)
        REJECT(rc, MISSING_PARAMETER, "file", "file");
    else if (up->purpose.len == 0 && !rc->validate)
        REJECT(rc, MISSING_PARAMETER, "purpose", "purpose");
    else if ((up->expires_seconds.len > 0) != (up->expires_anchor.len > 0))
        REJECT(rc, EXPIRY_INCOMPLETE,
               up->expires_seconds.len > 0 ? "expires_after[anchor]" : "expires_after[seconds]");
    else if (up->expires_anchor.len > 0 &&
             strcmp(strbuf_str(&up->expires_anchor), "created_at") != 0)
        REJECT(rc, EXPIRY_ANCHOR, "expires_after[anchor]");
    else if (strspn(seconds, "0123456789") != up->expires_seconds.len ||
             up->expires_seconds.len > 10)
        REJECT(rc, EXPIRY_TYPE, "expires_after[seconds]");
    else
        return GO_ON;
    return ANSWERED;
}

static enum answered finish_lines(struct receiver *rc)
{
    struct upload *up = rc->up;

    if (!may_be_batch(up)) {
        jsonl_free(up->lines);
        up->lines = NULL;
        return GO_ON;
    }
    if (jsonl_finish(up->lines) == 0)
        return GO_ON;
    if (rc->all_problems)
        reject_all(rc);
    else
        reject_lines(rc);
    return ANSWERED;
}

static void add(_Atomic uint64_t *own, uint64_t n)
{
    atomic_fetch_add_explicit(own, n, memory_order_relaxed);
}

/* For the metrics. */
static void note_good(const struct upload *up)
{
    struct worker_slot *slot = &up->op.rt->inherited->shared->slots[up->op.rt->slot];
    struct jsonl_report report = {0};

    if (up->lines != NULL)
        jsonl_report(up->lines, &report);
    add(&slot->files, 1);
    add(&slot->file_bytes, up->received);
    add(&slot->lines, report.lines);
}

/* A model that may take the file ends soon: of the first such candidate. */
static void warn_of_end(const struct upload *up, const struct candidates *candidates,
                        const bool *unfit, char *warning, size_t size)
{
    const struct runtime *rt = up->op.rt;
    int64_t now_s = clock_unix_s();

    for (uint32_t i = 0; i < candidates->num; i++) {
        uint32_t row = candidates->deployments[i];
        uint64_t ends_s = atomic_load(&rt->inherited->probes[row].ends_unix_s);

        if (unfit[i] || !model_end_is_near(ends_s, now_s))
            continue;
        model_end_text(table_str(rt->table, table_deployment(rt->table, row)->upstream_model),
                       ends_s, now_s, warning, size);
        return;
    }
}

/* The checks of the file as a whole: is there a candidate for it, and does it fit there? */
static bool whole_file_is_fine(struct upload *up, const struct jsonl_report *report,
                               struct failure *why, char *warning, size_t size)
{
    struct candidates candidates;
    bool *unfit, fits;
    const char *model = upload_model(up, report);

    if (!upload_is_allowed(up, model, why) ||
        !resolve_upload(up->op.relay, model, strbuf_str(&up->target_models), &candidates, why))
        return false;
    unfit = calloc(candidates.num, sizeof(*unfit));
    why->status = 0;
    fits = unfit != NULL && upload_fit(up, &candidates, unfit, why);
    if (unfit == NULL)
        error_fill(why, OUT_OF_MEMORY, "");
    else if (fits)
        warn_of_end(up, &candidates, unfit, warning, size);
    free(unfit);
    candidates_deinit(&candidates);
    return fits;
}

static void answer_verdict(struct receiver *rc)
{
    struct relay *relay = rc->up->op.relay;
    struct json_doc *doc = json_doc_new();
    struct jsonl_report report;
    struct failure why;
    char warning[512] = "";
    bool fine,
        complete = jsonl_finish(rc->up->lines) != ERR_NOMEM; /* its problems are in the report */

    jsonl_report(rc->up->lines, &report);
    resolve_hints(relay);
    fine = whole_file_is_fine(rc->up, &report, &why, warning, sizeof(warning));
    operation_detach(&rc->up->op);
    if (doc == NULL || !complete)
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_json(relay, 200, verdict_report(doc, &report, fine ? NULL : &why, warning));
    json_doc_free(doc);
}

/* What the operator says of a tenant's files goes before what the client says (tenants statement
 * A43). */
static void enforce_expiry(struct upload *up)
{
    uint32_t seconds = limits_file_expiry(up->op.relay);

    if (seconds == 0)
        return;
    strbuf_reset(&up->expires_anchor);
    strbuf_adds(&up->expires_anchor, "created_at");
    strbuf_reset(&up->expires_seconds);
    strbuf_addf(&up->expires_seconds, "%lu", (unsigned long)seconds);
}

void receiver_finish_file(struct receiver *rc)
{
    struct upload *up = rc->up;

    enforce_expiry(up);
    if (finish_lines(rc) == ANSWERED) {
        receiver_end(rc);
        return;
    }
    note_good(up);
    route_hint_provider(&up->op.relay->hints, strbuf_str(&up->provider), up->provider.len);
    up->all_problems = rc->all_problems;
    receiver_free(rc);
    upload_send(up);
}

static void reject_form(struct receiver *rc)
{
    uint64_t offset;
    const char *why = multipart_error(rc->form, &offset);

    REJECT(rc, FORM_MALFORMED, "", (unsigned long long)offset, why);
}

static void finish(struct receiver *rc)
{
    struct upload *up = rc->up;

    if (multipart_finish(rc->form) != 0) {
        reject_form(rc);
    } else if (rc->incoming != NULL) {
        incoming_end(rc);
    } else if (check_fields(rc) == GO_ON) {
        if (!rc->validate) {
            receiver_finish_file(rc);
            return;
        }
        enforce_expiry(up);
        route_hint_provider(&up->op.relay->hints, strbuf_str(&up->provider), up->provider.len);
        answer_verdict(rc);
    }
    receiver_end(rc);
}

/* ANSWERED: `rc` is gone */
static enum answered feed(struct receiver *rc, const char *bytes, size_t len)
{
    int err = multipart_feed(rc->form, bytes, len);

    if (err == 0) {
        upload_memory_count(rc->up);
        return GO_ON;
    }
    if (!receiver_is_answered(rc))
        reject_form(rc);
    receiver_end(rc);
    return ANSWERED;
}

static void no_memory(struct receiver *rc)
{
    REJECT(rc, OUT_OF_MEMORY, "");
    receiver_end(rc);
}

static bool line_is_read(const struct receiver *rc)
{
    return rc->up->lines != NULL && jsonl_pending(rc->up->lines);
}

/* Go on with a long line on a later turn. */
static void wait_for_turn(struct receiver *rc)
{
    if (slices_add(&rc->rt->slices, rc->rt->loop, &rc->slice) != 0)
        no_memory(rc);
}

/* All that came was checked, but for a long line. */
static void go_on(struct receiver *rc)
{
    if (rc->body == NULL && rc->up->lines != NULL)
        jsonl_end_of_file(rc->up->lines);
    if (line_is_read(rc)) {
        wait_for_turn(rc);
    } else if (rc->body != NULL) {
        body_slice(rc->body, rc->rt->receiving > AT_ONCE ? SMALL : BODY_SLICE);
        body_resume(rc->body);
    } else {
        finish(rc);
    }
}

static void on_slice(struct slice *slice)
{
    struct receiver *rc = slice->arg;

    if (line_is_read(rc)) {
        if (!receiver_lines_are_fine(rc, jsonl_continue(rc->up->lines))) {
            receiver_end(rc);
            return;
        }
        upload_memory_count(rc->up);
    }
    go_on(rc);
}

static void refuse_for_room(struct receiver *rc)
{
    REJECT(rc, UPLOAD_MEMORY_FULL, receiver_field(rc));
}

static void on_body_data(void *arg, const char *bytes, size_t len)
{
    struct receiver *rc = arg;

    if (rc->up->op.relay != NULL)
        rc->up->op.relay->bytes_in += len;
    if (!upload_memory_has_room(rc->up, len)) {
        refuse_for_room(rc);
        receiver_end(rc);
    } else if (feed(rc, bytes, len) == GO_ON && (line_is_read(rc) || rc->rt->receiving > AT_ONCE)) {
        body_pause(rc->body);
        wait_for_turn(rc);
    }
}

static void on_body_end(void *arg)
{
    struct receiver *rc = arg;

    rc->body = NULL;
    go_on(rc);
}

static void on_body_failure(void *arg, enum body_failure why)
{
    struct receiver *rc = arg;

    rc->body = NULL;
    if (why == BODY_CLIENT_GONE)
        return; /* the relay tells us next */
    if (why == BODY_TOO_LARGE)
        REJECT(rc, FILE_TOO_LARGE, receiver_field(rc));
    else if (why == BODY_TOO_SLOW)
        REJECT(rc, UPLOAD_TOO_SLOW, "");
    else
        REJECT(rc, BODY_MALFORMED, "");
    receiver_end(rc);
}

static const struct body_ops upload_body_ops = {on_body_data, on_body_end, on_body_failure};

/* --- the start --- */

struct receiver *receiver_new(struct relay *relay, bool has_lines)
{
    const struct config_limits *limits = &relay->rt->config->limits;
    struct jsonl_rules rules = {.max_line_bytes = limits->max_line_bytes,
                                .max_lines = max_u64(limits->max_lines[0], limits->max_lines[1]),
                                .max_depth = (unsigned)limits->max_depth,
                                .endpoints = endpoints_all(),
                                .in_slices = true};
    struct receiver *rc = calloc(1, sizeof(*rc));
    char text[8];

    if (rc == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return NULL;
    }
    rc->rt = relay->rt;
    rc->slice.cb = on_slice;
    rc->slice.arg = rc;
    rc->validate = relay->route.kind == ROUTE_FILE_VALIDATE;
    rc->all_problems = rc->validate || (route_query(relay->query, relay->query_len, "validate",
                                                    text, sizeof(text)) > 0 &&
                                        strcmp(text, "all") == 0);
    rules.max_errors = rc->all_problems ? VERDICT_MAX_PROBLEMS : 1;
    rc->up = upload_new(relay, &receiving_ops, has_lines ? &rules : NULL);
    if (rc->up == NULL) {
        free(rc);
        return NULL;
    }
    rc->up->receiver = rc;
    rc->slice.flow = share_flow(rc->up->op.share);
    return rc;
}

void receiver_reads(struct receiver *rc)
{
    assert(!rc->reads);
    rc->reads = true;
    rc->rt->receiving++;
}

/* A form adds boundaries and small fields to its file. */
static uint64_t max_body_bytes(const struct receiver *rc)
{
    const struct config_limits *limits = &rc->rt->config->limits;
    uint64_t batch =
        max_u64(limits->max_file_bytes[PROVIDER_OPENAI], limits->max_file_bytes[PROVIDER_AZURE]);

    return (rc->incoming != NULL ? PARTS_PART_BYTES
                                 : max_u64(limits->max_other_file_bytes, batch)) +
           (1u << 20);
}

/* @return whether the body may be received; else that was answered */
static bool may_receive(struct receiver *rc, const struct body *body)
{
    struct relay *relay = rc->up->op.relay;
    struct failure refusal;
    const char *type = "", *why = NULL;
    size_t type_len = 0;
    int err;

    (void)relay_request_header(relay, "content-type", &type, &type_len);
    err = multipart_new(type, type_len, NULL, &form_ops, rc, &rc->form, &why);
    if (err == ERR_INVALID)
        REJECT(rc, FORM_EXPECTED, "", why);
    else if (err != 0)
        REJECT(rc, OUT_OF_MEMORY, "");
    else if (body_length(body) > (int64_t)max_body_bytes(rc))
        REJECT(rc, FILE_TOO_LARGE, receiver_field(rc));
    else if (!upload_memory_has_room(rc->up, UPLOAD_MEMORY_BASE))
        refuse_for_room(rc);
    else if (!limits_begin_upload(relay, body_length(body), &rc->up->limits, &refusal))
        receiver_reject(rc, &refusal);
    return !receiver_is_answered(rc);
}

void receiver_receive(struct receiver *rc, struct body *body)
{
    if (!may_receive(rc, body)) {
        receiver_end(rc);
        return;
    }
    rc->body = body;
    receiver_reads(rc);
    upload_memory_count(rc->up);
    body_start(body, &upload_body_ops, rc, max_body_bytes(rc));
    if (rc->rt->receiving > AT_ONCE) {
        body_pause(body);
        wait_for_turn(rc);
    }
}

void upload_start(struct relay *relay)
{
    struct body *body = front_body(relay->req);
    struct receiver *rc;

    if (body == NULL) {
        relay_error(relay, NO_FORM, "file", "file");
        return;
    }
    if (resolve_check_head(relay) == ANSWERED)
        return;
    rc = receiver_new(relay, true);
    if (rc != NULL)
        receiver_receive(rc, body);
}
