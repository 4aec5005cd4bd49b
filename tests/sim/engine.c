/* See engine.h. Validation looks at a slice of the file per turn; everything else is arithmetic on
 * the clock. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "lines.h"

#define LINE_MAX_BYTES (64 * 1024 * 1024)

struct validation {
    int64_t pos;       /* next byte of the file */
    struct strbuf buf; /* bytes read and not yet used; a line may span slices */
    int64_t inputs;    /* to embed, of all lines */
    bool skipping;     /* inside a line that is longer than LINE_MAX_BYTES */
    int64_t line_no;   /* lines seen */
    uint64_t *seen;    /* owned; hashes of custom_ids, open addressing, 0 = free */
    size_t seen_cap;
    char model[128]; /* of the first good line */
    size_t cap_lines;
    bool too_many;
    bool done;
};

struct deployment *engine_deployment(const struct account *acc, const char *name)
{
    for (size_t i = 0; i < acc->n_deployments; i++) {
        if (strcmp(acc->deployments[i]->name, name) == 0)
            return acc->deployments[i];
    }
    return NULL;
}

bool engine_is_batch_sku(const struct deployment *d)
{
    return strstr(d->sku, "Batch") != NULL;
}

bool engine_same_endpoint(const struct account *acc, const char *a, const char *b)
{
    if (acc->kind == KIND_AZURE) {
        a += strncmp(a, "/v1/", 4) == 0 ? 3 : 0;
        b += strncmp(b, "/v1/", 4) == 0 ? 3 : 0;
    }
    return strcmp(a, b) == 0;
}

int64_t engine_enqueued(struct account *acc, const struct deployment *d, const struct batch *but)
{
    int64_t sum = 0;

    for (size_t i = acc->first_active; i < acc->n_batches; i++) {
        const struct batch *b = acc->batches[i];
        if (!b->terminal && b != but && (d == NULL || b->deployment == d))
            sum += b->tokens;
    }
    return sum;
}

bool engine_reads(const struct account *acc, const struct file *f)
{
    for (size_t i = 0; i < acc->n_batches; i++) {
        if (acc->batches[i]->input == f && acc->batches[i]->check != NULL)
            return true;
    }
    return false;
}

void engine_peek_model(const struct file *f, char *out, size_t size)
{
    static char line[1 << 20];
    struct line_scan scan;
    int64_t end = blob_find(&f->blob, 0, "\n", 1);

    out[0] = '\0';
    if (end == -1)
        end = f->blob.len;
    int64_t n =
        blob_read(&f->blob, 0, line, end < (int64_t)sizeof(line) ? (size_t)end : sizeof(line));
    if (n > 0 && lines_scan(line, (size_t)n, &scan))
        (void)span_text(scan.model, out, size);
}

int64_t engine_count_tokens(const struct account *acc, const struct file *f)
{
    static const char mark[] = "\"data:image";
    int64_t at = 0, images = 0, image_bytes = 0;

    while (acc->sw.tokens_per_image > 0 &&
           (at = blob_find(&f->blob, at, mark, sizeof(mark) - 1)) != -1) {
        int64_t end = blob_find(&f->blob, at + 1, "\"", 1);

        if (end == -1)
            break;
        images++;
        image_bytes += end - at;
        at = end;
    }
    return (f->bytes - image_bytes) / (acc->sw.bytes_per_token > 0 ? acc->sw.bytes_per_token : 1) +
           images * acc->sw.tokens_per_image;
}

/* Errors. */

__attribute__((format(printf, 6, 7))) static void add_error(struct account *acc, struct batch *b,
                                                            const char *code, const char *param,
                                                            int64_t line, const char *fmt, ...)
{
    struct strbuf text = STRBUF_INIT;
    va_list args;

    if ((int64_t)b->n_errors >= acc->sw.max_errors)
        return;
    va_start(args, fmt);
    strbuf_addv(&text, fmt, args);
    va_end(args);
    b->errors = sim_realloc(b->errors, (b->n_errors + 1) * sizeof(*b->errors));
    b->errors[b->n_errors++] = (struct batch_error){
        .code = code, .param = param, .line = line, .message = strbuf_take(&text)};
}

/* Lines. */

static void seen_grow(struct validation *v)
{
    uint64_t *old = v->seen;
    size_t old_cap = v->seen_cap;

    v->seen_cap = old_cap == 0 ? 1024 : old_cap * 2;
    v->seen = sim_alloc(v->seen_cap * sizeof(*v->seen));
    for (size_t i = 0; i < old_cap; i++) {
        size_t k = old[i] & (v->seen_cap - 1);
        if (old[i] == 0)
            continue;
        while (v->seen[k] != 0)
            k = (k + 1) & (v->seen_cap - 1);
        v->seen[k] = old[i];
    }
    free(old);
}

/* Returns whether the id was there already. Two ids with one 64-bit hash are not expected in
 * 100,000 lines. */
static bool seen_before(struct validation *v, size_t n_lines, const char *id, size_t len)
{
    uint64_t hash = map_hash(id, len) | 1;

    if ((n_lines + 1) * 2 > v->seen_cap)
        seen_grow(v);
    size_t k = hash & (v->seen_cap - 1);
    while (v->seen[k] != 0 && v->seen[k] != hash)
        k = (k + 1) & (v->seen_cap - 1);
    bool hit = v->seen[k] == hash;
    v->seen[k] = hash;
    return hit;
}

static uint16_t scripted_status(const struct account *acc, struct span id, int64_t line_no)
{
    size_t n = strlen(acc->sw.fail_prefix);

    if (acc->sw.fail_every > 0 && line_no % acc->sw.fail_every == 0)
        return 400;
    if (n == 0 || id.len < n + 2 || memcmp(id.p + 1, acc->sw.fail_prefix, n) != 0)
        return 200;
    long status = strtol(id.p + 1 + n, NULL, 10);
    return status >= 400 && status <= 599 ? (uint16_t)status : 400;
}

static void keep_line(struct account *acc, struct batch *b, const struct line_scan *scan,
                      size_t len)
{
    struct validation *v = b->check;

    if (b->n_lines == v->cap_lines) {
        v->cap_lines = v->cap_lines == 0 ? 64 : v->cap_lines * 2;
        b->lines = sim_realloc(b->lines, v->cap_lines * sizeof(*b->lines));
    }
    b->lines[b->n_lines++] = (struct line){
        .id_off = (uint32_t)b->ids.len,
        .id_len = (uint32_t)scan->custom_id.len,
        .tokens = (uint32_t)((int64_t)len / acc->sw.bytes_per_token + 1),
        .status = scripted_status(acc, scan->custom_id, v->line_no),
    };
    strbuf_add(&b->ids, scan->custom_id.p, scan->custom_id.len);
}

static void check_url(struct account *acc, struct batch *b, struct span url)
{
    char text[256] = "";
    bool azure = acc->kind == KIND_AZURE;
    int64_t line = b->check->line_no;

    (void)span_text(url, text, sizeof(text));
    if (engine_same_endpoint(acc, text, b->endpoint))
        return;
    add_error(acc, b, azure ? "url_mismatch" : "invalid_url", "url", line,
              "The URL provided for this request does not match the batch endpoint.");
}

/* Whether a provider takes requests for this endpoint that name no model (providers 1.3). */
static bool model_is_optional(const struct account *acc, const struct batch *b)
{
    static const char optional[] =
        "/v1/responses,/v1/moderations,/v1/images/generations,/v1/images/edits,/v1/videos";

    return acc->kind == KIND_OPENAI && switches_has(optional, b->endpoint, strlen(b->endpoint));
}

static void check_model(struct account *acc, struct batch *b, struct span model)
{
    struct validation *v = b->check;
    bool azure = acc->kind == KIND_AZURE;
    char name[128] = "";

    if (model.p == NULL && model_is_optional(acc, b))
        return;
    if (!span_text(model, name, sizeof(name))) {
        add_error(acc, b, azure ? "invalid_request" : "missing_required_parameter", "body.model",
                  v->line_no, "Missing required parameter: 'body.model'.");
        return;
    }
    if (v->model[0] == '\0') {
        memcpy(v->model, name, sizeof(v->model));
        return;
    }
    if (acc->sw.single_model && strcmp(v->model, name) != 0)
        add_error(acc, b, azure ? "model_mismatch" : "mismatched_model", "body.model", v->line_no,
                  "The provided model '%s' does not match the model '%s' of the batch.", name,
                  v->model);
}

static bool missing_key(struct account *acc, struct batch *b, struct span value, const char *key)
{
    if (value.p != NULL)
        return false;
    add_error(acc, b, acc->kind == KIND_AZURE ? "invalid_request" : "missing_required_parameter",
              key, b->check->line_no, "Missing required parameter: '%s'.", key);
    return true;
}

static bool check_id(struct account *acc, struct batch *b, struct span id)
{
    const char *code = acc->kind == KIND_AZURE ? "invalid_request" : "invalid_type";

    if (id.p[0] != '"' || id.len > 65536) {
        add_error(acc, b, code, "custom_id", b->check->line_no,
                  "Invalid type for 'custom_id': expected a string.");
        return false;
    }
    if (acc->sw.custom_id_max > 0 && (int64_t)id.len - 2 > acc->sw.custom_id_max) {
        add_error(acc, b, "string_above_max_length", "custom_id", b->check->line_no,
                  "Invalid 'custom_id': string too long.");
        return false;
    }
    if (seen_before(b->check, b->n_lines, id.p, id.len)) {
        add_error(acc, b, "duplicate_custom_id", "custom_id", b->check->line_no,
                  "The custom_id %.*s is used more than once.", (int)(id.len < 128 ? id.len : 128),
                  id.p);
        return false;
    }
    return true;
}

static void check_line(struct account *acc, struct batch *b, const char *p, size_t len)
{
    struct line_scan scan;
    int64_t line = b->check->line_no;
    bool azure = acc->kind == KIND_AZURE;

    if (!lines_scan(p, len, &scan)) {
        add_error(acc, b, "invalid_json_line", NULL, line,
                  "This line is not parseable as valid JSON.");
        return;
    }
    if (missing_key(acc, b, scan.custom_id, "custom_id") ||
        missing_key(acc, b, scan.method, "method") || missing_key(acc, b, scan.url, "url") ||
        missing_key(acc, b, scan.body, "body") || !check_id(acc, b, scan.custom_id))
        return;
    if (!span_is(scan.method, "POST"))
        add_error(acc, b, azure ? "invalid_request" : "invalid_method", "method", line,
                  "Only POST is supported.");
    check_url(acc, b, scan.url);
    if (scan.body.p[0] != '{')
        add_error(acc, b, azure ? "invalid_request" : "invalid_type", "body", line,
                  "Invalid type for 'body': expected an object.");
    else
        check_model(acc, b, scan.model);
    if (strstr(b->endpoint, "/embeddings") != NULL)
        b->check->inputs += lines_inputs(scan.input);
    keep_line(acc, b, &scan, len);
}

static bool is_blank(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] != ' ' && p[i] != '\r' && p[i] != '\t')
            return false;
    }
    return true;
}

static void take_line(struct account *acc, struct batch *b, const char *p, size_t len)
{
    struct validation *v = b->check;

    v->line_no++;
    if (v->skipping) {
        v->skipping = false;
        add_error(acc, b, "invalid_json_line", NULL, v->line_no, "This line is too long.");
        return;
    }
    if (is_blank(p, len))
        return;
    if ((int64_t)b->n_lines >= acc->sw.max_lines) {
        v->too_many = true;
        return;
    }
    check_line(acc, b, p, len);
}

static void take_lines(struct account *acc, struct batch *b, bool at_end)
{
    struct validation *v = b->check;
    char *p = v->buf.data;
    char *end = p + v->buf.len;

    while (p < end && !v->too_many) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        if (nl == NULL && !at_end)
            break;
        take_line(acc, b, p, (size_t)((nl == NULL ? end : nl) - p));
        p = nl == NULL ? end : nl + 1;
    }
    size_t left = (size_t)(end - p);
    if (left > LINE_MAX_BYTES) {
        v->skipping = true;
        left = 0;
    }
    if (v->buf.data != NULL)
        memmove(v->buf.data, p, left);
    v->buf.len = left;
}

static void look_at_slice(struct account *acc, struct batch *b)
{
    struct validation *v = b->check;
    int64_t left = b->input->blob.len - v->pos;
    int64_t slice = acc->sw.validation_slice_bytes > 4096 ? acc->sw.validation_slice_bytes : 4096;
    size_t want = (size_t)(left < slice ? left : slice);

    sim_reserve(&v->buf, want + 1);
    int64_t n = want == 0 ? 0 : blob_read(&b->input->blob, v->pos, v->buf.data + v->buf.len, want);
    if (n > 0) {
        v->buf.len += (size_t)n;
        v->pos += n;
    }
    bool at_end = n <= 0 || v->pos >= b->input->blob.len;
    take_lines(acc, b, at_end);
    v->done = at_end || v->too_many;
    acc->n_unread -= v->done;
}

static void check_free(struct account *acc, struct batch *b)
{
    if (b->check == NULL)
        return;
    acc->n_unread -= !b->check->done;
    strbuf_deinit(&b->check->buf);
    free(b->check->seen);
    free(b->check);
    b->check = NULL;
}

/* What the whole file says, once all lines were seen. */
static void judge_file(struct account *acc, struct batch *b)
{
    bool azure = acc->kind == KIND_AZURE;
    char bom[3] = "";

    if (b->unready)
        add_error(acc, b, "invalid_request", NULL, 0, "The input file is not processed yet.");
    else if (b->input->bad)
        add_error(acc, b, "invalid_request", NULL, 0, "The input file could not be processed.");
    if (b->check->too_many)
        add_error(acc, b, "too_many_tasks", NULL, 0, "The input file has more than %lld requests.",
                  (long long)acc->sw.max_lines);
    if (acc->sw.max_inputs > 0 && b->check->inputs > acc->sw.max_inputs)
        add_error(acc, b, "too_many_embedding_inputs", NULL, 0,
                  "The input file has more than %lld inputs to embed.",
                  (long long)acc->sw.max_inputs);
    if (b->n_lines == 0 && b->n_errors == 0)
        add_error(acc, b, "empty_file", NULL, 0, "The input file has no requests.");
    if (azure && blob_read(&b->input->blob, 0, bom, 3) == 3 &&
        memcmp(bom, "\xef\xbb\xbf", 3) == 0) {
        for (size_t i = 0; i < b->n_errors; i++)
            free(b->errors[i].message);
        b->n_errors = 0;
        add_error(acc, b, "invalid_request", NULL, 0,
                  "A valid model deployment name couldn't be extracted from the input file.");
    }
    if (b->n_errors > 0)
        return;
    memcpy(b->model, b->check->model, sizeof(b->model));
    if (b->model[0] == '\0')
        return; /* no line names one, and none has to */
    b->deployment = engine_deployment(acc, b->model);
    if (b->deployment == NULL && acc->sw.check_models && acc->n_deployments > 0)
        add_error(acc, b, "model_not_found", azure ? NULL : "body.model", azure ? 0 : 1,
                  "The provided model '%s' is not supported by the Batch API.", b->model);
    else if (azure && b->deployment != NULL && !engine_is_batch_sku(b->deployment))
        add_error(acc, b, "invalid_request", NULL, 0, "The deployment '%s' is not of a batch type.",
                  b->model);
}

/* The slow form of the quota (providers 2.6): the batch is looked at, then refused. */
static void judge_quota(struct account *acc, struct batch *b)
{
    const struct deployment *d = b->deployment;

    if (b->n_errors > 0 || d == NULL || d->enqueued_limit == 0 ||
        (acc->kind == KIND_AZURE && d->fast_refusal))
        return;
    int64_t before = 0; /* earlier batches were admitted, later ones wait for their own check */
    for (size_t i = acc->first_active; i < acc->n_batches && acc->batches[i] != b; i++) {
        if (!acc->batches[i]->terminal && acc->batches[i]->deployment == d)
            before += acc->batches[i]->tokens;
    }
    if (before + b->tokens <= d->enqueued_limit)
        return;
    if (acc->kind == KIND_AZURE)
        add_error(
            acc, b, "token_limit_exceeded", NULL, 0,
            "The number of enqueued tokens has surpassed the configured limit of %lldK for the "
            "deployment '%s'. Please either increase the limit or try again once the current "
            "jobs have finished.",
            (long long)d->enqueued_limit / 1000, d->name);
    else
        add_error(acc, b, "token_limit_exceeded", NULL, 0,
                  "Enqueued token limit reached for %s in organization %s. Limit: %lld enqueued "
                  "tokens. Please try again once some in_progress batches have been completed.",
                  d->name, acc->organization != NULL ? acc->organization : "org-sim",
                  (long long)d->enqueued_limit);
}

/* States. */

static void enter(struct account *acc, struct batch *b, enum status status, int64_t at_ms)
{
    b->status = status;
    b->at_ms[status] = at_ms;
    if (status != STATUS_FAILED && status != STATUS_COMPLETED && status != STATUS_EXPIRED &&
        status != STATUS_CANCELLED)
        return;
    b->terminal = true;
    acc->n_active--;
    check_free(acc, b);
}

static void make_order(struct account *acc, struct batch *b)
{
    b->order = sim_alloc((b->n_lines + 1) * sizeof(*b->order));
    for (size_t i = 0; i < b->n_lines; i++)
        b->order[i] = (uint32_t)i;
    for (size_t i = b->n_lines; acc->sw.shuffle && i > 1; i--) {
        size_t k = (size_t)(sim_random(acc) % i);
        uint32_t tmp = b->order[i - 1];
        b->order[i - 1] = b->order[k];
        b->order[k] = tmp;
    }
}

static void end_validation(struct account *acc, struct batch *b, int64_t at_ms)
{
    if (b->input != NULL) {
        judge_file(acc, b);
        judge_quota(acc, b);
    }
    if (b->n_errors > 0) {
        enter(acc, b, STATUS_FAILED, at_ms);
        b->n_lines = 0;
        return;
    }
    check_free(acc, b);
    make_order(acc, b);
    enter(acc, b, STATUS_IN_PROGRESS, at_ms);
}

static void run_lines(struct batch *b, size_t until)
{
    for (; b->done < until; b->done++) {
        const struct line *l = &b->lines[b->order[b->done]];
        if (l->status == 200) {
            b->ok++;
            b->in_tokens += l->tokens;
        } else {
            b->failed++;
        }
    }
}

static size_t lines_done(const struct account *acc, const struct batch *b, int64_t now_ms)
{
    int64_t spent = now_ms - b->at_ms[STATUS_IN_PROGRESS];

    if (spent >= acc->pace.run_ms)
        return b->n_lines;
    return (size_t)((double)b->n_lines * (double)spent / (double)acc->pace.run_ms);
}

static bool step_in_progress(struct account *acc, struct batch *b, int64_t now_ms)
{
    int64_t end = b->at_ms[STATUS_IN_PROGRESS] + acc->pace.run_ms;
    int64_t window = b->at_ms[STATUS_VALIDATING] + acc->sw.window_s * 1000;

    if (acc->sw.expire_jobs && window < end && now_ms >= window) {
        run_lines(b, lines_done(acc, b, window));
        output_write(acc, b, window, acc->sw.expired_code);
        enter(acc, b, STATUS_EXPIRED, window);
        return false;
    }
    if (now_ms < end) {
        run_lines(b, lines_done(acc, b, now_ms));
        return false;
    }
    run_lines(b, b->n_lines);
    enter(acc, b, STATUS_FINALIZING, end);
    return true;
}

static bool step_validating(struct account *acc, struct batch *b, int64_t now_ms)
{
    int64_t due = b->at_ms[STATUS_VALIDATING] + acc->pace.validate_ms;

    if (b->check != NULL && !b->check->done)
        look_at_slice(acc, b);
    if (now_ms < due || (b->check != NULL && !b->check->done))
        return false;
    end_validation(acc, b, due);
    return !b->terminal;
}

/* One move; returns whether another may follow. */
static bool step(struct account *acc, struct batch *b, int64_t now_ms)
{
    int64_t due = 0;

    switch (b->status) {
    case STATUS_VALIDATING:
        return step_validating(acc, b, now_ms);
    case STATUS_IN_PROGRESS:
        return step_in_progress(acc, b, now_ms);
    case STATUS_FINALIZING:
        due = b->at_ms[STATUS_FINALIZING] + acc->pace.finalize_ms;
        if (now_ms < due)
            return false;
        output_write(acc, b, due, NULL);
        enter(acc, b, STATUS_COMPLETED, due);
        return false;
    case STATUS_CANCELLING:
        due = b->at_ms[STATUS_CANCELLING] + acc->pace.cancel_ms;
        if (now_ms < due)
            return false;
        if (b->order != NULL)
            output_write(acc, b, due, acc->sw.cancelled_code);
        enter(acc, b, STATUS_CANCELLED, due);
        return false;
    default:
        return false;
    }
}

void engine_advance(struct account *acc, struct batch *b)
{
    while (step(acc, b, acc->sim->now_ms))
        ;
}

void engine_advance_all(struct account *acc)
{
    for (size_t i = acc->first_active; acc->n_active > 0 && i < acc->n_batches; i++) {
        if (!acc->batches[i]->terminal)
            engine_advance(acc, acc->batches[i]);
    }
    while (acc->first_active < acc->n_batches && acc->batches[acc->first_active]->terminal)
        acc->first_active++;
}

void engine_start(struct account *acc, struct batch *b)
{
    acc->n_active++;
    b->at_ms[STATUS_VALIDATING] = acc->sim->now_ms;
    b->skew_s = acc->sw.clock_skew_s;
    if (b->input != NULL)
        b->check = sim_alloc(sizeof(*b->check));
    acc->n_unread += b->check != NULL;
}

void engine_cancel(struct account *acc, struct batch *b)
{
    enter(acc, b, STATUS_CANCELLING, acc->sim->now_ms);
    check_free(acc, b);
}

static bool is_unread(const struct batch *b)
{
    return b->check != NULL && !b->check->done;
}

void engine_settle(struct sim *sim)
{
    for (size_t a = 0; a < sim->n_accounts; a++) {
        struct account *acc = sim->accounts[a];
        for (size_t i = 0; i < acc->n_batches; i++) {
            while (is_unread(acc->batches[i]))
                look_at_slice(acc, acc->batches[i]);
        }
        engine_advance_all(acc);
    }
}

bool engine_idle(struct sim *sim)
{
    for (size_t a = 0; a < sim->n_accounts; a++) {
        struct account *acc = sim->accounts[a];
        for (size_t i = acc->first_active; acc->n_unread > 0 && i < acc->n_batches; i++) {
            if (is_unread(acc->batches[i])) {
                look_at_slice(acc, acc->batches[i]);
                return true;
            }
        }
    }
    return false;
}

void engine_free(struct account *acc, struct batch *b)
{
    check_free(acc, b);
    for (size_t i = 0; i < b->n_errors; i++)
        free(b->errors[i].message);
    free(b->errors);
    free(b->lines);
    free(b->order);
    strbuf_deinit(&b->ids);
}
