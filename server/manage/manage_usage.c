/* GET /usage: what batches used and cost, as JSON or CSV (journal statement B12). Administrators see
 * all rows, a tenant its owner's. Whoever asks again with `since_seq` of the last row gets what is
 * behind it, once. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/iso8601.h"
#include "manage_impl.h"
#include "price/price.h"
#include "store/store_usage.h"

#define DEFAULT_LIMIT 100
#define MAX_BYTES     (96 << 10) /* of an answer: a message to a worker has 128 KiB */
#define ROW_BYTES     900        /* of a row besides its texts */
#define DEPLOYMENT    280        /* of a deployment's name, with the NUL */

struct exporting {
    struct manage_job *job;
    struct json *rows; /* NULL: CSV */
    size_t bytes;      /* of what was written, about */
    bool full;         /* the rest would be too long for one answer */
    int64_t last;      /* `seq` of the last row that was written */
};

/* --- one row --- */

static size_t length(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

static size_t bytes_of(const struct store_usage_row *row)
{
    return ROW_BYTES + length(row->batch_id) + length(row->model) + length(row->key_id) +
           length(row->key_alias) + length(row->team_id) + length(row->user_id) +
           length(row->tags) + length(row->group) + length(row->price);
}

/* What a deployment is called, as long as it is configured, else by its fingerprint. */
static void name_deployment(const struct manage_job *job, uint32_t fingerprint,
                            char out[DEPLOYMENT])
{
    const struct manage *manage = job->manage;
    const char *name = manage->deployment_name != NULL && fingerprint != 0
                           ? manage->deployment_name(manage->names_arg, fingerprint)
                           : NULL;

    if (fingerprint == 0)
        out[0] = '\0';
    else if (name != NULL)
        snprintf(out, DEPLOYMENT, "%s", name);
    else
        snprintf(out, DEPLOYMENT, "%08" PRIx32, fingerprint);
}

/* What both forms have, in their order. */
enum shape { TEXT, NUMBER, TIME, DOLLARS, TAGS };

struct column {
    const char *name;
    enum shape shape;
    const char *text;
    int64_t number;
};

#define COLUMNS 24

/* Of a tenant's rows neither the deployment nor where its price stands is shown: they tell of the
 * operator's accounts. */
static void columns_of(const struct manage_job *job, const struct store_usage_row *row,
                       char deployment[DEPLOYMENT], struct column out[COLUMNS])
{
    bool all = manage_is_admin(job);
    const struct column columns[COLUMNS] = {{"seq", NUMBER, NULL, row->seq},
                                            {"batch_id", TEXT, row->batch_id, 0},
                                            {"part", NUMBER, NULL, row->part},
                                            {"model", TEXT, row->model, 0},
                                            {"model_group", TEXT, row->group, 0},
                                            {"deployment", TEXT, all ? deployment : NULL, 0},
                                            {"key_id", TEXT, row->key_id, 0},
                                            {"key_alias", TEXT, row->key_alias, 0},
                                            {"team_id", TEXT, row->team_id, 0},
                                            {"user_id", TEXT, row->user_id, 0},
                                            {"tags", TAGS, row->tags, 0},
                                            {"ok_requests", NUMBER, NULL, row->ok},
                                            {"failed_requests", NUMBER, NULL, row->bad},
                                            {"input_tokens", NUMBER, NULL, row->tok_in},
                                            {"cached_tokens", NUMBER, NULL, row->tok_cached},
                                            {"output_tokens", NUMBER, NULL, row->tok_out},
                                            {"reasoning_tokens", NUMBER, NULL, row->tok_reason},
                                            {"cost_nano", NUMBER, NULL, row->nano},
                                            {"cost_usd", DOLLARS, NULL, row->nano},
                                            {"unpriced_requests", NUMBER, NULL, row->unpriced},
                                            {"price", TEXT, all ? row->price : NULL, 0},
                                            {"source", TEXT, row->source, 0},
                                            {"created_at", TIME, NULL, row->created_ms},
                                            {"finished_at", TIME, NULL, row->finished_ms}};

    memcpy(out, columns, sizeof(columns));
}

static struct json *tags_of(struct json_doc *doc, const char *tags)
{
    struct json_error error;
    struct json *v = tags == NULL ? NULL : json_parse(doc, tags, strlen(tags), &error);

    return v != NULL ? v : json_new_array(doc);
}

/* Dollars are a text: a number would be read as a float. */
static struct json *json_of(struct json_doc *doc, const struct column *c)
{
    char dollars[PRICE_DOLLARS_BYTES];

    switch (c->shape) {
    case NUMBER:
        return json_new_int(doc, c->number);
    case TIME: /* Unix seconds, as in OpenAI's batch */
        return c->number == 0 ? json_new_null(doc) : json_new_int(doc, c->number / 1000);
    case DOLLARS:
        return json_new_cstring(doc, price_dollars(c->number, dollars));
    case TAGS:
        return tags_of(doc, c->text);
    case TEXT:
        break;
    }
    return json_new_cstring(doc, c->text);
}

/* RFC 4180. What a spreadsheet would take for a formula begins with an apostrophe: tags and aliases
 * are other people's. */
static void add_csv_text(struct strbuf *out, const char *text)
{
    bool formula = *text != '\0' && strchr("=+-@\t\r", *text) != NULL;

    if (!formula && strpbrk(text, ",\"\r\n") == NULL) {
        strbuf_adds(out, text);
        return;
    }
    strbuf_adds(out, formula ? "\"'" : "\"");
    for (; *text != '\0'; text++)
        strbuf_addf(out, *text == '"' ? "\"%c" : "%c", *text);
    strbuf_addc(out, '"');
}

static void add_csv(struct strbuf *out, const struct column *c)
{
    char text[ISO8601_SIZE > PRICE_DOLLARS_BYTES ? ISO8601_SIZE : PRICE_DOLLARS_BYTES];

    if (c->shape == NUMBER) {
        strbuf_addf(out, "%" PRId64, c->number);
    } else if (c->shape == DOLLARS) {
        strbuf_adds(out, price_dollars(c->number, text));
    } else if (c->shape == TIME) {
        if (c->number != 0) {
            iso8601_print(c->number, text);
            strbuf_adds(out, text);
        }
    } else if (c->text != NULL) {
        add_csv_text(out, c->text);
    }
}

static void write_row(struct exporting *e, const struct column columns[COLUMNS])
{
    struct json_doc *doc = e->job->doc;
    struct json *row = e->rows != NULL ? json_new_object(doc) : NULL;
    struct strbuf *csv = &e->job->out->body;

    for (size_t i = 0; i < COLUMNS; i++) {
        if (row != NULL) {
            json_set(doc, row, columns[i].name, json_of(doc, &columns[i]));
            continue;
        }
        strbuf_adds(csv, i > 0 ? "," : "");
        add_csv(csv, &columns[i]);
    }
    if (row != NULL)
        json_append(doc, e->rows, row);
    else
        strbuf_adds(csv, "\r\n");
}

static void write_csv_head(struct exporting *e)
{
    static const struct store_usage_row none;
    struct column columns[COLUMNS];
    char deployment[DEPLOYMENT] = "";

    columns_of(e->job, &none, deployment, columns);
    for (size_t i = 0; i < COLUMNS; i++)
        strbuf_addf(&e->job->out->body, "%s%s", i > 0 ? "," : "", columns[i].name);
    strbuf_adds(&e->job->out->body, "\r\n");
}

static int on_row(void *arg, const struct store_usage_row *row)
{
    struct exporting *e = arg;
    struct column columns[COLUMNS];
    char deployment[DEPLOYMENT];

    e->full = e->full || (e->bytes > 0 && e->bytes + bytes_of(row) > MAX_BYTES);
    if (e->full)
        return 0;
    name_deployment(e->job, row->deployment, deployment);
    columns_of(e->job, row, deployment, columns);
    write_row(e, columns);
    e->bytes += bytes_of(row);
    assert(row->seq > e->last); /* who follows the cursor never meets a row again */
    e->last = row->seq;
    return 0;
}

/* --- the answer --- */

/* @return false: a problem is noted, or it is nobody's */
static bool read_query(struct manage_job *job, struct store_usage_query *q, bool *csv)
{
    const char *format = manage_query(job, "format");
    int64_t limit = manage_query_int(job, "limit", DEFAULT_LIMIT);

    q->since_seq = manage_query_int(job, "since_seq", 0);
    q->of_owner = !manage_is_admin(job);
    q->limit = (size_t)limit;
    *csv = format != NULL && strcmp(format, "csv") == 0;
    if (format != NULL && !*csv && strcmp(format, "json") != 0)
        manage_problem(job, "format", "enum", "Input should be 'json' or 'csv'");
    if (limit == 0 || limit > STORE_USAGE_PAGE)
        manage_problem(job, "limit", "less_than_equal", "Input should be 1 to %d",
                       STORE_USAGE_PAGE);
    return !manage_is_refused(job) && (!q->of_owner || manage_owner(job, &q->owner));
}

static void answer_json(struct exporting *e, bool more)
{
    struct json_doc *doc = e->job->doc;
    struct json *body = json_new_object(doc);

    json_set_str(doc, body, "object", "list");
    json_set(doc, body, "data", e->rows);
    json_set(doc, body, "has_more", json_new_bool(doc, more));
    json_set_int(doc, body, "next_since_seq", e->last);
    manage_ok(e->job, body);
}

int manage_usage(struct manage_job *job)
{
    struct exporting e = {.job = job};
    struct store_usage_query query = {0};
    bool csv, more = false;
    int64_t last;
    int ret;

    if (!manage_has_journal(job))
        return 0;
    if (!read_query(job, &query, &csv)) {
        if (!job->answered)
            manage_fail(job, 403, "auth_error", NULL, "Only a key that owns batches has usage.");
        return 0;
    }
    e.rows = csv ? NULL : json_new_array(job->doc);
    e.last = query.since_seq;
    if (csv)
        write_csv_head(&e);
    ret = store_usage_read(job->manage->store, &query, &last, &more, on_row, &e);
    if (ret != 0) {
        strbuf_reset(&job->out->body);
        manage_fail_store(job, ret);
    } else if (csv) {
        job->answered = true;
        job->out->status = 200;
    } else {
        answer_json(&e, more || e.full);
    }
    return ret == ERR_NOMEM ? ERR_NOMEM : 0;
}
