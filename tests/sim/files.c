/* /files of both providers (providers 1.1 and 2.4). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "engine.h"
#include "journal.h"
#include "parts.h"

struct file *files_find(struct account *acc, const char *id)
{
    return map_get(&acc->file_ix, id, strlen(id));
}

bool files_is_gone(const struct file *f, int64_t now_ms)
{
    return f->deleted || (f->expires_at != 0 && now_ms >= f->expires_at * 1000);
}

const char *files_sha256(struct file *f)
{
    if (f->sha256[0] == '\0')
        blob_sha256(&f->blob, f->sha256);
    return f->sha256;
}

void files_free(struct file *f)
{
    free(f->filename);
    blob_free(&f->blob);
    free(f);
}

static void new_file_id(struct account *acc, bool output, char *out)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    if (acc->kind == KIND_AZURE) {
        sim_new_id(acc, out, "file-", output);
        return;
    }
    strcpy(out, "file-");
    for (int i = 5; i < 27; i++)
        out[i] = digits[sim_random(acc) % 62];
    out[27] = '\0';
}

struct file *files_add(struct account *acc, const char *purpose, const char *filename, bool output,
                       struct blob *blob)
{
    struct file *f = sim_alloc(sizeof(*f));

    new_file_id(acc, output, f->id);
    f->filename = sim_strdup(filename);
    snprintf(f->purpose, sizeof(f->purpose), "%s", purpose);
    f->blob = *blob;
    f->bytes = blob->len;
    *blob = (struct blob)BLOB_INIT;
    f->output = output;
    f->created_ms = acc->sim->now_ms;
    f->ready_ms = f->created_ms;
    f->skew_s = acc->sw.clock_skew_s;
    if (acc->n_files == acc->cap_files) {
        acc->cap_files = acc->cap_files == 0 ? 64 : acc->cap_files * 2;
        acc->files = sim_realloc(acc->files, acc->cap_files * sizeof(struct file *));
    }
    acc->files[acc->n_files++] = f;
    map_put(&acc->file_ix, f->id, strlen(f->id), f);
    return f;
}

static const char *file_status(const struct call *call, const struct file *f)
{
    if (f->deleted)
        return "deleted";
    if (call->sim->now_ms < f->ready_ms)
        return "pending";
    return f->bad ? "error" : "processed";
}

static void write_file(const struct call *call, const struct file *f, struct strbuf *out)
{
    const char *status = file_status(call, f);
    bool pending = strcmp(status, "pending") == 0;

    strbuf_addc(out, '{');
    put_str(out, "id", f->id);
    put_raw(out, "object", "\"file\"");
    if (!pending || strcmp(call->acc->sw.pending_bytes, "present") == 0)
        put_int(out, "bytes", f->bytes);
    else if (strcmp(call->acc->sw.pending_bytes, "null") == 0)
        put_raw(out, "bytes", "null");
    put_int(out, "created_at", f->created_ms / 1000 + f->skew_s);
    if (f->expires_at != 0)
        put_int(out, "expires_at", f->expires_at + f->skew_s);
    else
        put_raw(out, "expires_at", "null");
    put_str(out, "filename", f->filename);
    put_str(out, "purpose", f->purpose);
    put_str(out, "status", status);
    put_str(out, "status_details",
            strcmp(status, "error") == 0 ? "The file could not be processed." : NULL);
    strbuf_addc(out, '}');
}

/* Upload. */

struct upload {
    struct parts parts;
    char *purpose;
    char *anchor;
    char *seconds;
    const struct part *file;
    int64_t expires_s; /* 0: not asked */
};

static const char *bad_payload(const struct call *call)
{
    return call->azure ? "invalidPayload" : NULL;
}

static void upload_error(struct call *call, const char *param, const char *text)
{
    call_error(call, 400, bad_payload(call), param, "%s", text);
    if (!call->acc->sw.upload_detail)
        return;
    struct strbuf *out = &call->rep->body; /* one more top-level key (litellm#37527) */
    out->len--;
    put_raw(out, "detail", "{\"reason\":\"upload\"}");
    strbuf_addc(out, '}');
}

static int check_parts(struct call *call, const struct upload *up)
{
    for (size_t i = 0; i < up->parts.n; i++) {
        const struct part *part = &up->parts.part[i];
        if (part->has_length && call->acc->sw.part_length_refused) {
            upload_error(call, NULL, "purpose contains an invalid purpose.");
            return -1;
        }
        if (part->filename != NULL && !part->has_type && call->acc->sw.part_type_required) {
            upload_error(call, NULL, "The file has no or an empty content type specified.");
            return -1;
        }
    }
    return 0;
}

static int check_purpose(struct call *call, const struct upload *up)
{
    static const char openai[] = "assistants,batch,fine-tune,vision,user_data,evals";
    static const char azure[] =
        "assistants,batch,fine-tune,evals,fine-tune-results,assistants_output";
    const char *purpose = up->purpose;

    if (purpose == NULL) {
        upload_error(call, "purpose", "Missing required parameter: 'purpose'.");
        return -1;
    }
    if (up->file == NULL) {
        upload_error(call, "file", "Missing required parameter: 'file'.");
        return -1;
    }
    if (call->old_version && strcmp(purpose, "batch") == 0) {
        upload_error(call, "purpose", "Invalid value for purpose.");
        return -1;
    }
    if (switches_has(call->azure ? azure : openai, purpose, strlen(purpose)))
        return 0;
    if (call->azure)
        upload_error(call, "purpose", "purpose contains an invalid purpose.");
    else
        call_error(call, 400, "invalid_value", "purpose",
                   "'%s' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', "
                   "'evals'] - 'purpose'",
                   purpose);
    return -1;
}

static int check_expiry(struct call *call, struct upload *up)
{
    const struct switches *sw = &call->acc->sw;
    char *end = NULL;

    if (up->anchor == NULL && up->seconds == NULL)
        return 0;
    if (up->anchor == NULL || strcmp(up->anchor, "created_at") != 0) {
        upload_error(
            call, "expires_after[anchor]",
            "Invalid value for 'expires_after[anchor]'. Supported values are: 'created_at'.");
        return -1;
    }
    up->expires_s = up->seconds == NULL ? 0 : strtoll(up->seconds, &end, 10);
    bool number = up->seconds != NULL && end != up->seconds && *end == '\0' && up->expires_s > 0;
    bool ranged = up->expires_s >= call_expires_min(call) && up->expires_s <= sw->expires_max_s;
    if (!number || (sw->enforce_expires && !ranged)) {
        upload_error(call, "expires_after[seconds]",
                     "Invalid 'expires_after[seconds]': integer out of range.");
        return -1;
    }
    return 0;
}

/* How many uploads an account may keep (providers statement 54) and take per time. */
static int check_quota(struct call *call, const struct upload *up)
{
    const struct switches *sw = &call->acc->sw;
    int64_t plain = 0, expiring = 0, stored = 0, minute = 0, second = 0;
    bool expires = up->expires_s != 0;

    if (sw->max_files == 0 && sw->max_files_expiring == 0 && sw->storage_quota_bytes == 0 &&
        sw->uploads_per_minute == 0 && sw->uploads_per_second == 0)
        return 0;
    for (size_t i = 0; i < call->acc->n_files; i++) {
        const struct file *f = call->acc->files[i];
        int64_t age_ms = call->sim->now_ms - f->created_ms;
        if (f->output)
            continue;
        minute += age_ms < 60000;
        second += age_ms < 1000;
        if (files_is_gone(f, call->sim->now_ms))
            continue;
        *(f->expires_at == 0 ? &plain : &expiring) += 1;
        stored += f->blob.len;
    }
    if ((sw->uploads_per_minute > 0 && minute >= sw->uploads_per_minute) ||
        (sw->uploads_per_second > 0 && second >= sw->uploads_per_second)) {
        call_throttled(call);
        return -1;
    }
    if (sw->storage_quota_bytes > 0 && stored + up->file->len > sw->storage_quota_bytes) {
        upload_error(call, NULL, "You have exceeded your file storage quota.");
        return -1;
    }
    int64_t limit = expires ? sw->max_files_expiring : sw->max_files;
    if (limit > 0 && (expires ? expiring : plain) >= limit) {
        call_error(call, 400, call->azure ? "quotaExceeded" : NULL, NULL,
                   "The quota for files %s expiry is reached. The maximum is %lld.",
                   expires ? "with" : "without", (long long)limit);
        return -1;
    }
    return 0;
}

static int check_content(struct call *call, const struct upload *up)
{
    const struct switches *sw = &call->acc->sw;
    const char *name = up->file->filename != NULL ? up->file->filename : "upload";
    size_t len = strlen(name);

    if (strcmp(up->purpose, "batch") != 0)
        return 0;
    if (sw->require_jsonl && (len < 6 || strcmp(name + len - 6, ".jsonl") != 0)) {
        upload_error(call, NULL, "Invalid file format for Batch API. Must be .jsonl");
        return -1;
    }
    if (up->file->len > sw->max_file_bytes) {
        if (strcmp(sw->too_large, "413") == 0)
            dispatch_error(call->acc, call->req, 413, call->rep);
        else
            upload_error(call, NULL, "File is too large.");
        return -1;
    }
    return 0;
}

static void store_upload(struct call *call, const struct upload *up)
{
    const struct switches *sw = &call->acc->sw;
    struct blob blob = call->req->body;

    call->req->body = (struct blob)BLOB_INIT; /* the file takes the body over, no copy */
    blob_slice(&blob, up->file->off, up->file->len);
    struct file *f =
        files_add(call->acc, up->purpose,
                  up->file->filename != NULL ? up->file->filename : "upload", false, &blob);
    int64_t expires_s = up->expires_s;
    if (expires_s == 0 && strcmp(up->purpose, "batch") == 0)
        expires_s = sw->default_expiry_s;
    f->expiry_asked = up->expires_s != 0;
    f->expires_at = expires_s == 0 ? 0 : f->created_ms / 1000 + expires_s;
    f->ready_ms += call->acc->pace.pending_ms;
    f->bad = sw->file_error;
    call->acc->uploads++;
    write_file(call, f, &call->rep->body);
    if (call->azure && !call->v1) {
        call->rep->status = 201;
        const struct header *host = request_header(call->req, "host");
        strbuf_addf(&call->rep->headers, "location: %s://%.*s/openai/files/%s?api-version=%s\r\n",
                    call->acc->tls != NULL ? "https" : "http",
                    host == NULL ? 0 : (int)host->value_len, host == NULL ? "" : host->value, f->id,
                    call->version);
    }
}

static char *expiry_field(const struct call *call, const struct parts *parts, const char *brackets,
                          const char *dots)
{
    char *text = parts_text(call->req, parts, brackets);

    return text != NULL || !call->azure ? text : parts_text(call->req, parts, dots);
}

static void upload(struct call *call)
{
    struct upload up = {0};
    struct strbuf json = STRBUF_INIT;
    const char *why = NULL;
    int rc = parts_read(call->req, &up.parts, &why);

    parts_write(&up.parts, &json);
    journal_parts(call->acc->journal, call->req, strbuf_str(&json));
    strbuf_deinit(&json);
    up.purpose = parts_text(call->req, &up.parts, "purpose");
    up.anchor = expiry_field(call, &up.parts, "expires_after[anchor]", "expires_after.anchor");
    up.seconds = expiry_field(call, &up.parts, "expires_after[seconds]", "expires_after.seconds");
    up.file = parts_get(&up.parts, "file");
    if (rc != 0)
        upload_error(call, NULL, why);
    else if (check_parts(call, &up) == 0 && check_purpose(call, &up) == 0 &&
             check_expiry(call, &up) == 0 && check_content(call, &up) == 0 &&
             check_quota(call, &up) == 0)
        store_upload(call, &up);
    parts_free(&up.parts);
    free(up.purpose);
    free(up.anchor);
    free(up.seconds);
}

/* List. */

static const struct file *file_at(const struct account *acc, size_t i, bool ascending)
{
    return acc->files[ascending ? i : acc->n_files - 1 - i];
}

static bool listed(const struct call *call, const struct file *f, const char *purpose)
{
    if (files_is_gone(f, call->sim->now_ms) && !(f->deleted && call->acc->sw.deleted_lingers))
        return false;
    return purpose == NULL || strcmp(purpose, f->purpose) == 0;
}

/* Where the page begins; -1 when an error is answered. */
static int64_t page_start(struct call *call, struct page *page)
{
    const struct account *acc = call->acc;

    if (page->after == NULL)
        return 0;
    for (size_t i = 0; i < acc->n_files; i++) {
        if (strcmp(file_at(acc, i, page->ascending)->id, page->after) == 0)
            return (int64_t)i + 1;
    }
    if (strcmp(acc->sw.unknown_after, "ignore") == 0)
        return 0;
    if (strcmp(acc->sw.unknown_after, "empty") == 0)
        return (int64_t)acc->n_files;
    call_error(call, 404, acc->sw.file_not_found_code, "after", "No such File object: %s",
               page->after);
    return -1;
}

static void list(struct call *call)
{
    struct strbuf *out = &call->rep->body;
    bool paged = !call->azure || call->v1;
    struct page page = {.limit = INT64_MAX};
    const char *first = NULL, *last = NULL;
    bool more = false;

    if (paged && call_page(call, &page, 10000, 10000) != 0)
        return;
    engine_advance_all(call->acc);
    int64_t start = page_start(call, &page);
    if (start == -1) {
        free(page.after);
        return;
    }
    char *purpose = request_query(call->req, "purpose");
    strbuf_adds(out, call->acc->sw.list_without_object ? "{" : "{\"object\":\"list\"");
    put_raw(out, "data", "[");
    int64_t n = 0;
    for (size_t i = (size_t)start; i < call->acc->n_files; i++) {
        const struct file *f = file_at(call->acc, i, page.ascending);
        if (!listed(call, f, purpose))
            continue;
        if (n == page.limit) {
            more = true;
            break;
        }
        if (n++ > 0)
            strbuf_addc(out, ',');
        write_file(call, f, out);
        first = first == NULL ? f->id : first;
        last = f->id;
    }
    strbuf_addc(out, ']');
    if (paged) {
        put_str(out, "first_id", first);
        put_str(out, "last_id", last);
        put_raw(out, "has_more", more ? "true" : "false");
    }
    strbuf_addc(out, '}');
    free(purpose);
    free(page.after);
}

static void not_found(struct call *call)
{
    call_error(call, 404, call->acc->sw.file_not_found_code, "id", "No such File object: %s",
               call->id);
}

static void remove_file(struct call *call, struct file *f)
{
    (void)files_sha256(f); /* the ledger still tells what it was */
    f->deleted = true;
    f->deleted_ms = call->sim->now_ms;
    if (!engine_reads(call->acc, f))
        blob_free(&f->blob);
    if (call->azure && strcmp(call->version, "2024-07-01-preview") == 0) {
        call->rep->status = 204;
        return;
    }
    struct strbuf *out = &call->rep->body;
    strbuf_addc(out, '{');
    put_str(out, "id", f->id);
    put_raw(out, "object", "\"file\"");
    put_raw(out, "deleted", "true");
    strbuf_addc(out, '}');
}

/* One range of the form bytes=a-b, a- or -n. Returns false when it is to be ignored. */
static bool parse_range(const struct request *req, int64_t size, int64_t *from, int64_t *to)
{
    const struct header *h = request_header(req, "range");
    char text[64];
    char *end = NULL;

    if (h == NULL || h->value_len < 8 || h->value_len >= sizeof(text) ||
        memcmp(h->value, "bytes=", 6) != 0)
        return false;
    memcpy(text, h->value + 6, h->value_len - 6);
    text[h->value_len - 6] = '\0';
    if (strchr(text, ',') != NULL)
        return false;
    if (text[0] == '-') {
        int64_t n = strtoll(text + 1, &end, 10);
        *from = n < size ? size - n : 0;
        *to = size - 1;
        return *end == '\0' && end != text + 1;
    }
    *from = strtoll(text, &end, 10);
    if (end == text || *end != '-')
        return false;
    *to = end[1] == '\0' ? size - 1 : strtoll(end + 1, NULL, 10);
    if (*to >= size)
        *to = size - 1;
    return true;
}

static void honour_range(struct call *call)
{
    struct reply *rep = call->rep;
    int64_t size = rep->file.len, from = 0, to = 0;

    if (strcmp(call->acc->sw.range, "honour") != 0)
        return;
    reply_header(rep, "accept-ranges", "bytes");
    if (!parse_range(call->req, size, &from, &to))
        return;
    if (from > to || from >= size) {
        blob_free(&rep->file);
        rep->has_file = false;
        strbuf_addf(&rep->headers, "content-range: bytes */%lld\r\n", (long long)size);
        dispatch_error(call->acc, call->req, 416, rep);
        return;
    }
    rep->status = 206;
    strbuf_addf(&rep->headers, "content-range: bytes %lld-%lld/%lld\r\n", (long long)from,
                (long long)to, (long long)size);
    blob_slice(&rep->file, from, to - from + 1);
}

static void content(struct call *call, struct file *f)
{
    struct reply *rep = call->rep;

    if (call->acc->sw.redirect_content[0] != '\0') {
        rep->status = 302;
        rep->type = NULL;
        reply_header(rep, "location", call->acc->sw.redirect_content);
        return;
    }
    if (strcmp(f->purpose, "assistants") == 0 ||
        (strcmp(f->purpose, "batch") == 0 && !call->acc->sw.content_of_inputs)) {
        call_error(call, 400, bad_payload(call), NULL,
                   "Not allowed to download files of purpose: %s", f->purpose);
        return;
    }
    if (blob_dup(&f->blob, &rep->file) != 0) {
        dispatch_error(call->acc, call->req, 500, rep);
        return;
    }
    rep->has_file = true;
    rep->no_compress = true;
    rep->type = "application/octet-stream";
    strbuf_adds(&rep->headers, "content-disposition: attachment; filename=\"");
    for (const char *p = f->filename; *p != '\0'; p++)
        strbuf_addc(&rep->headers,
                    iscntrl((unsigned char)*p) || *p == '"' || *p == '\\' ? '_' : *p);
    strbuf_adds(&rep->headers, "\"\r\n");
    honour_range(call);
}

static void one_file(struct call *call)
{
    struct file *f = files_find(call->acc, call->id);
    bool get = request_is(call->req, "GET") || request_is(call->req, "HEAD");

    if (f == NULL) /* an output of a batch that nobody looked at since */
        engine_advance_all(call->acc);
    bool lingers =
        f != NULL && f->deleted && call->acc->sw.deleted_lingers && get && call->sub[0] == '\0';
    if (f == NULL || (files_is_gone(f, call->sim->now_ms) && !lingers)) {
        not_found(call);
    } else if (get && call->sub[0] == '\0') {
        write_file(call, f, &call->rep->body);
    } else if (get && strcmp(call->sub, "content") == 0) {
        content(call, f);
    } else if (request_is(call->req, "DELETE") && call->sub[0] == '\0') {
        remove_file(call, f);
    } else if (call->sub[0] != '\0' && strcmp(call->sub, "content") != 0) {
        call_error(call, 404, call->azure ? "404" : NULL, NULL, "Invalid URL (%.*s %.*s)",
                   (int)call->req->method_len, call->req->method, (int)call->req->path_len,
                   call->req->target);
    } else {
        dispatch_error(call->acc, call->req, 405, call->rep);
    }
}

void files_call(struct call *call)
{
    if (call->id[0] != '\0')
        one_file(call);
    else if (request_is(call->req, "POST"))
        upload(call);
    else if (request_is(call->req, "GET") || request_is(call->req, "HEAD"))
        list(call);
    else
        dispatch_error(call->acc, call->req, 405, call->rep);
}
