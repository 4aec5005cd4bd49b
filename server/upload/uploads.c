/* POST uploads and uploads/{id}/cancel, and what all calls of an upload share: uploads.h. Only files
 * of batches are taken: their lines get a deployment's name, so they have to be here as a whole. */
#include "uploads.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "core/spool.h"
#include "request/errors.h"
#include "request/limits.h"
#include "request/resolve.h"
#include "upload/upload.h"

#define PREFIX         "upload_"
#define ENDING         ".jsonl"
#define NAME_MAX_BYTES 1024
#define FULL_MS        5000 /* after which there may be a place again */

/* --- which one --- */

/* @return false: it cannot be this caller's */
static bool open_id(const struct relay *relay, struct parts_id *id, bool *elsewhere)
{
    const struct ids_seals *seals = relay->rt->inherited->seals;
    char text[IDS_MAX + 1] = "";
    struct id_tag tag = {0};
    bool tagged = false;
    size_t len = 0;

    *elsewhere = false;
    if (relay->route.bad_id || ids_open(seals, ID_UPLOAD, relay->owner, relay->route.id,
                                        relay->route.id_len, &len, &tagged, &tag) != 0)
        return false;
    memcpy(text, relay->route.id, len);
    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 || !parts_read_id(text + strlen(PREFIX), id) ||
        (!tagged && seals->num > 0) || (relay->owner != 0 && tag.owner != relay->owner))
        return false;
    id->owner = tag.owner;
    *elsewhere = tagged && tag.deployment != parts_node(relay->rt->config);
    return true;
}

enum answered uploads_find(struct relay *relay, struct parts *parts)
{
    struct parts_id id;
    bool elsewhere;
    int ret;

    if (!open_id(relay, &id, &elsewhere)) {
        relay_error(relay, NO_UPLOAD, "upload_id", relay->route.id);
        return ANSWERED;
    }
    if (elsewhere) {
        relay_error(relay, UPLOAD_ELSEWHERE, "upload_id");
        return ANSWERED;
    }
    if (parts_is_expired(&id, clock_unix_s())) {
        relay_error(relay, UPLOAD_EXPIRED, "upload_id");
        return ANSWERED;
    }
    ret = parts_open(relay->rt->inherited, &id, parts);
    if (ret == 0)
        return GO_ON;
    uploads_fail(relay, parts, ret);
    return ANSWERED;
}

struct json *uploads_read(const struct parts *parts, const char *name, struct json_doc *doc)
{
    struct strbuf text = STRBUF_INIT;
    struct json_error error;
    struct json *root = NULL;

    if (doc != NULL && parts_read(parts, name, &text) == 0)
        root = json_parse(doc, strbuf_str(&text), text.len, &error);
    strbuf_deinit(&text);
    return json_is(root, JSON_OBJECT) ? root : NULL;
}

static const char *status_of(const struct parts *parts, struct json_doc *doc)
{
    const char *status =
        json_get_str(json_get(uploads_read(parts, "done", doc), "upload"), "status");

    return status != NULL ? status : "completed";
}

void uploads_fail(struct relay *relay, const struct parts *parts, int err)
{
    struct json_doc *doc = err == 0 ? json_doc_new() : NULL;

    if (err == ERR_NOT_FOUND)
        relay_error(relay, NO_UPLOAD, "upload_id", relay->route.id);
    else if (err == ERR_NOMEM)
        relay_error(relay, OUT_OF_MEMORY, "");
    else if (err == ERR_FULL)
        relay_error(relay, SPOOL_FULL, "");
    else if (err == ERR_BAD_STATE)
        relay_error(relay, UPLOAD_NOT_PENDING, "upload_id", "being completed");
    else if (err != 0)
        relay_error(relay, SPOOL_BROKEN, "");
    else
        relay_error(relay, UPLOAD_NOT_PENDING, "upload_id", status_of(parts, doc));
    json_doc_free(doc);
}

struct json *uploads_done(const struct parts *parts, struct json_doc *doc, const char *of,
                          struct json *file, struct strbuf *done)
{
    struct json *upload = json_get(uploads_read(parts, "head", doc), "upload");
    struct json *root = doc != NULL ? json_new_object(doc) : NULL;

    if (upload == NULL || root == NULL)
        return NULL;
    json_set_str(doc, upload, "status", file != NULL ? "completed" : "cancelled");
    if (file != NULL)
        json_set(doc, upload, "file", file);
    json_set_str(doc, root, "of", of);
    json_set(doc, root, "upload", upload);
    json_write(root, done);
    return json_doc_failed(doc) || strbuf_failed(done) ? NULL : upload;
}

/* --- create --- */

/* What is asked for. All text borrowed from the request. */
struct wanted_upload {
    const char *filename, *purpose, *mime_type;
    int64_t bytes, expires_s; /* expires_s: 0: not given */
};

/* @return NULL: answered */
static const char *text_of(struct relay *relay, const char *name)
{
    const struct json *value = json_get(relay->request, name);
    size_t len = 0;
    const char *text = json_str(value, &len);

    if (value == NULL)
        relay_error(relay, MISSING_PARAMETER, name, name);
    else if (text == NULL)
        relay_error(relay, INVALID_TYPE, name, name);
    else if (len == 0 || len > NAME_MAX_BYTES || strcspn(text, "\r\n") != len)
        relay_error(relay, INVALID_VALUE, name, name);
    else
        return text;
    return NULL;
}

static uint64_t most_bytes(const struct config_limits *limits)
{
    uint64_t most = 0;

    for (int i = 0; i < PROVIDER_COUNT; i++)
        if (limits->max_file_bytes[i] > most)
            most = limits->max_file_bytes[i];
    return most < PARTS_BYTES ? most : PARTS_BYTES;
}

static bool ends_well(const char *name)
{
    size_t len = strlen(name), ending = strlen(ENDING);

    return len > ending && strcmp(name + len - ending, ENDING) == 0;
}

static enum answered check_names(struct relay *relay, struct wanted_upload *w)
{
    struct failure why;

    if ((w->purpose = text_of(relay, "purpose")) == NULL)
        return ANSWERED;
    if (strcmp(w->purpose, "batch") != 0) {
        relay_error(relay, UPLOAD_PURPOSE, "purpose", w->purpose);
        return ANSWERED;
    }
    if ((w->filename = text_of(relay, "filename")) == NULL ||
        (w->mime_type = text_of(relay, "mime_type")) == NULL)
        return ANSWERED;
    if (!ends_well(w->filename)) {
        relay_error(relay, UPLOAD_NAME, "filename");
        return ANSWERED;
    }
    if (limits_allow_name(relay, w->filename, &why))
        return GO_ON;
    relay_failure(relay, &why);
    return ANSWERED;
}

static enum answered check_bytes(struct relay *relay, struct wanted_upload *w)
{
    const struct json *bytes = json_get(relay->request, "bytes");
    uint64_t most = most_bytes(&relay->rt->config->limits);

    if (bytes == NULL)
        relay_error(relay, MISSING_PARAMETER, "bytes", "bytes");
    else if (!json_int64(bytes, &w->bytes) || w->bytes < 1 || (uint64_t)w->bytes > most)
        relay_error(relay, UPLOAD_BYTES, "bytes", (unsigned long long)most);
    else
        return GO_ON;
    return ANSWERED;
}

/* What a provider takes of it is looked at when it is known which one. */
static enum answered check_expiry(struct relay *relay, struct wanted_upload *w)
{
    const struct json *expiry = json_get(relay->request, "expires_after");
    const char *anchor = json_get_str(expiry, "anchor");
    const struct json *seconds = json_get(expiry, "seconds");

    if (expiry == NULL || json_type(expiry) == JSON_NULL)
        return GO_ON;
    if (json_get(expiry, "anchor") == NULL || seconds == NULL)
        relay_error(relay, EXPIRY_INCOMPLETE, "expires_after");
    else if (anchor == NULL || strcmp(anchor, "created_at") != 0)
        relay_error(relay, UPLOAD_EXPIRY_ANCHOR, "expires_after.anchor");
    else if (!json_int64(seconds, &w->expires_s) || w->expires_s < 1 ||
             w->expires_s > INT64_C(9999999999))
        relay_error(relay, UPLOAD_EXPIRY_SECONDS, "expires_after.seconds");
    else
        return GO_ON;
    return ANSWERED;
}

/* Whose limits count it besides its team's; 0: nobody's. */
static uint64_t key_of(const struct relay *relay)
{
    return relay->tenant != NULL ? relay->tenant->rights.key : 0;
}

/* Whether there is a place for it, and room. */
static enum answered check_room(struct relay *relay, uint64_t bytes)
{
    const struct config_limits *limits = &relay->rt->config->limits;
    const struct inherited *inherited = relay->rt->inherited;
    struct failure why = {0};
    struct parts_sum sum;
    uint64_t total;
    bool bound = relay->owner != 0;

    parts_look(inherited, relay->owner, key_of(relay), clock_unix_s(), &sum);
    total = spool_total(inherited);
    if (sum.open >= limits->max_open_uploads ||
        (bound && !share_rule(sum.own_open, 1, sum.open, limits->max_open_uploads))) {
        error_fill(&why, UPLOADS_FULL, "");
        why.retry_after_ms = FULL_MS;
    } else if (total + bytes > limits->spool_bytes ||
               (bound && !share_rule(sum.own_bytes, bytes, total, limits->spool_bytes))) {
        error_fill(&why, SPOOL_FULL, "bytes");
        why.retry_after_ms = FULL_MS;
    } else if (limits_reserve(relay, bytes, sum.own_bytes, sum.key_bytes, &why)) {
        return GO_ON;
    }
    relay_failure(relay, &why);
    return ANSWERED;
}

/* The client's form of the id. */
static void show_id(const struct relay *relay, const struct parts_id *id, char out[IDS_MAX + 1])
{
    struct id_tag tag = {.deployment = parts_node(relay->rt->config), .owner = id->owner};
    char native[sizeof(PREFIX) + PARTS_ID];

    snprintf(native, sizeof(native), PREFIX "%s", id->text);
    if (ids_mint_text(relay->rt->inherited->seals, ID_UPLOAD, native, strlen(native), &tag, out) ==
        0)
        snprintf(out, IDS_MAX + 1, "%s", native); /* a gateway that seals nothing */
}

static struct json *make_upload(const struct relay *relay, struct json_doc *doc,
                                const struct parts_id *id, const struct wanted_upload *w)
{
    struct json *upload = json_new_object(doc);
    char shown[IDS_MAX + 1];

    show_id(relay, id, shown);
    json_set_str(doc, upload, "id", shown);
    json_set_str(doc, upload, "object", "upload");
    json_set_int(doc, upload, "bytes", w->bytes);
    json_set_int(doc, upload, "created_at", id->created_s);
    json_set_str(doc, upload, "filename", w->filename);
    json_set_str(doc, upload, "purpose", w->purpose);
    json_set_str(doc, upload, "status", "pending");
    json_set_int(doc, upload, "expires_at", id->created_s + PARTS_LIFE_S);
    json_set(doc, upload, "file", json_new_null(doc));
    return upload;
}

/* Who shall serve it, as far as the create says so. The path of the complete is the same. */
static void add_hints(const struct relay *relay, struct json_doc *doc, struct json *head)
{
    const struct route_hints *hints = &relay->hints;
    const char *targets = json_get_str(relay->request, "target_model_names");

    if (hints->unknown_provider)
        json_set_str(doc, head, "provider", hints->provider_text);
    else if (hints->has_provider && !hints->openai_path)
        json_set_str(doc, head, "provider", provider_name(hints->provider));
    json_set_str(doc, head, "model", hints->model);
    if (targets != NULL)
        json_set_str(doc, head, "target_model_names", targets);
}

static int keep(const struct relay *relay, struct json_doc *doc, struct parts_id *id,
                const struct wanted_upload *w, struct json **upload)
{
    struct json *head = json_new_object(doc);
    struct strbuf text = STRBUF_INIT;
    int ret = parts_new_id(id);

    if (ret != 0)
        return ret;
    *upload = make_upload(relay, doc, id, w);
    json_set(doc, head, "upload", *upload);
    json_set_str(doc, head, "mime_type", w->mime_type);
    json_set_int(doc, head, "expires_s", w->expires_s);
    add_hints(relay, doc, head);
    json_write(head, &text);
    ret = json_doc_failed(doc) || strbuf_failed(&text)
              ? ERR_NOMEM
              : parts_create(relay->rt->inherited, id, &text, relay->rt->loop);
    strbuf_deinit(&text);
    return ret;
}

void uploads_create(struct relay *relay)
{
    struct wanted_upload w = {0};
    struct parts_id id;
    struct json_doc *doc;
    struct json *upload = NULL;
    int ret;

    if (check_names(relay, &w) == ANSWERED || check_bytes(relay, &w) == ANSWERED ||
        check_expiry(relay, &w) == ANSWERED || resolve_check_model(relay) == ANSWERED ||
        check_room(relay, (uint64_t)w.bytes) == ANSWERED)
        return;
    id = (struct parts_id){.created_s = clock_unix_s(),
                           .bytes = (uint64_t)w.bytes,
                           .owner = relay->owner,
                           .key = key_of(relay)};
    doc = json_doc_new();
    ret = doc != NULL ? keep(relay, doc, &id, &w, &upload) : ERR_NOMEM;
    if (ret == 0)
        relay_json(relay, 200, upload);
    else
        uploads_fail(relay, NULL, ret);
    json_doc_free(doc);
}

/* --- cancel --- */

/* Again, or too late. */
static void answer_ended(struct relay *relay, const struct parts *parts, struct json_doc *doc)
{
    struct json *upload = json_get(uploads_read(parts, "done", doc), "upload");
    const char *status = json_get_str(upload, "status");

    if (status != NULL && strcmp(status, "cancelled") == 0)
        relay_json(relay, 200, upload);
    else
        uploads_fail(relay, parts, 0);
}

static void cancel(struct relay *relay, struct parts *parts, struct json_doc *doc)
{
    struct strbuf done = STRBUF_INIT;
    struct json *upload = uploads_done(parts, doc, "", NULL, &done);
    int ret = upload != NULL ? parts_end(parts, &done, relay->rt->loop, clock_unix_s()) : ERR_IO;

    strbuf_deinit(&done);
    if (ret == 0)
        relay_json(relay, 200, upload);
    else
        uploads_fail(relay, parts, ret);
}

void uploads_cancel(struct relay *relay)
{
    struct parts parts;
    struct json_doc *doc;
    int ret;

    if (uploads_find(relay, &parts) == ANSWERED)
        return;
    doc = json_doc_new();
    ret = parts_lock(&parts);
    if (doc == NULL)
        relay_error(relay, OUT_OF_MEMORY, "");
    else if (parts.ended)
        answer_ended(relay, &parts, doc);
    else if (ret != 0)
        uploads_fail(relay, &parts, ret);
    else
        cancel(relay, &parts, doc);
    json_doc_free(doc);
    parts_close(&parts);
}
