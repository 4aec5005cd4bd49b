/* See usage.h. */
#include "usage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "columns.h"
#include "common/iso8601.h"
#include "price/price.h"
#include "shown.h"

#define PAGE          500
#define DEFAULT_LIMIT 100

/* clang-format off */
static const char usage_text[] =
    "usage: tranche usage [--since-seq N] [--limit N] [--csv|--json]\n"
    "\n"
    "  What batches used and cost, a row for each batch and model, the oldest first. An administrator's\n"
    "  key shows all, another one its own. The gateway needs a journal (tranche_settings.database).\n"
    "  An export that keeps the last SEQ, and asks for what is behind it, misses no row and has none\n"
    "  twice.\n"
    "\n"
    "      --since-seq N         rows behind this number (0)\n"
    "      --limit N             rows (100; with --csv or --json: all)\n"
    "      --csv                 comma-separated values, with a head\n"
    CLIENT_HELP
    "\n"
    "Example: tranche usage --csv --since-seq 1041 >> usage.csv\n";
/* clang-format on */

struct question {
    struct client_options client;
    bool csv;
    int64_t since, limit; /* limit 0: all */
};

/* What is being made of pages. */
struct output {
    struct strbuf text;   /* owned; JSON, CSV, or the table */
    struct columns table; /* owned */
    int64_t rows, last;   /* last: `seq` of the last row */
    int64_t nano;         /* what they cost together */
    bool more;
    bool begun; /* a page was printed */
};

/* --- a table --- */

static const char *owner_of(const struct json *row)
{
    const char *alias = shown_text(row, "key_alias"), *team = shown_text(row, "team_id");

    return *team != '\0' ? team : alias;
}

static void add_row(struct output *out, const struct json *row)
{
    struct columns *table = &out->table;
    int64_t unpriced = shown_number(row, "unpriced_requests"),
            end_s = shown_number(row, "finished_at");
    char end[ISO8601_SIZE];

    shown_time(end_s, end);
    columns_addf(table, COLOUR_DIM, "%" PRId64, shown_number(row, "seq"));
    columns_add(table, shown_text(row, "batch_id"), COLOUR_NONE);
    columns_add(table, owner_of(row), COLOUR_NONE);
    columns_add(table, shown_text(row, "model"), COLOUR_NONE);
    columns_addf(table, COLOUR_NONE, "%" PRId64, shown_number(row, "ok_requests"));
    columns_addf(table, shown_number(row, "failed_requests") > 0 ? COLOUR_BAD : COLOUR_DIM,
                 "%" PRId64, shown_number(row, "failed_requests"));
    columns_addf(table, COLOUR_NONE, "%" PRId64, shown_number(row, "input_tokens"));
    columns_addf(table, COLOUR_NONE, "%" PRId64, shown_number(row, "cached_tokens"));
    columns_addf(table, COLOUR_NONE, "%" PRId64, shown_number(row, "output_tokens"));
    columns_addf(table, unpriced > 0 ? COLOUR_BAD : COLOUR_NONE, "%s%s",
                 shown_text(row, "cost_usd"), unpriced > 0 ? " + ?" : "");
    columns_add(table, end, COLOUR_DIM);
    if (__builtin_add_overflow(out->nano, shown_number(row, "cost_nano"), &out->nano))
        out->nano = INT64_MAX;
}

static enum client_exit finish_table(struct output *out, enum client_exit code)
{
    char dollars[PRICE_DOLLARS_BYTES];

    if (code != CLIENT_OK && out->rows == 0)
        return code;
    if (columns_print(&out->table, columns_may_colour(), &out->text) != 0)
        out->text.failed = true;
    if (out->rows > 0)
        strbuf_addf(&out->text, "\n%" PRId64 " rows, %s dollars\n", out->rows,
                    price_dollars(out->nano, dollars));
    return code;
}

/* --- pages --- */

static void write_path(const struct question *q, const struct output *out, struct strbuf *path)
{
    int64_t limit = q->limit == 0 || q->limit - out->rows > PAGE ? PAGE : q->limit - out->rows;
    char number[24];

    strbuf_adds(path, "/usage");
    snprintf(number, sizeof(number), "%" PRId64, out->last);
    client_add_parameter(path, "since_seq", number);
    snprintf(number, sizeof(number), "%" PRId64, limit);
    client_add_parameter(path, "limit", number);
    client_add_parameter(path, "format", q->csv ? "csv" : NULL);
}

static void take_rows(const struct question *q, const struct json *root, const struct strbuf *body,
                      struct output *out)
{
    const struct json *data = json_get(root, "data");

    out->more = false;
    (void)json_bool(json_get(root, "has_more"), &out->more);
    for (size_t i = 0; i < json_size(data); i++) {
        if (!q->client.json)
            add_row(out, json_at(data, i));
        out->last = shown_number(json_at(data, i), "seq");
    }
    out->rows += (int64_t)json_size(data);
    out->more = out->more && json_size(data) > 0;
    if (q->client.json)
        strbuf_addf(&out->text, "%s\n", strbuf_str(body));
}

/* The page's rows behind its head, of which the first page's alone is printed. A quoted text may
 * have line ends: a row begins where a line begins outside of quotes. */
static void take_csv(struct output *out, const struct strbuf *body)
{
    const char *at = strbuf_str(body), *rows = strstr(at, "\r\n");
    bool quoted = false, begins = true;

    out->more = false;
    if (rows == NULL)
        return;
    rows += strlen("\r\n");
    strbuf_adds(&out->text, out->begun ? rows : at);
    for (at = rows; *at != '\0'; at++) {
        if (begins && !quoted) {
            out->last = strtoll(at, NULL, 10);
            out->rows++;
            out->more = true;
        }
        quoted ^= *at == '"';
        begins = *at == '\n' && !quoted;
    }
}

static enum client_exit read_csv(struct client *client, const char *path, struct output *out)
{
    struct strbuf body = STRBUF_INIT;
    enum client_exit code = client_get(client, path, &body);

    if (code == CLIENT_OK)
        take_csv(out, &body);
    strbuf_deinit(&body);
    return code;
}

static enum client_exit read_json(struct client *client, const struct question *q, const char *path,
                                  struct output *out)
{
    struct strbuf body = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;
    enum client_exit code =
        doc == NULL ? CLIENT_USAGE : client_get_json(client, path, doc, &root, &body);

    if (code == CLIENT_OK)
        take_rows(q, root, &body, out);
    json_doc_free(doc);
    strbuf_deinit(&body);
    return code;
}

/* An export has no bound but the end of the rows: those that come again would have none. */
static enum client_exit fail_order(int64_t seq)
{
    fprintf(stderr, "tranche: what comes behind row %" PRId64 " is not behind it: stopped\n", seq);
    return CLIENT_AWAY;
}

/* @return whether to go on */
static bool read_page(struct client *client, const struct question *q, struct output *out,
                      enum client_exit *code)
{
    struct strbuf path = STRBUF_INIT;
    int64_t before = out->last;

    write_path(q, out, &path);
    *code = q->csv ? read_csv(client, strbuf_str(&path), out)
                   : read_json(client, q, strbuf_str(&path), out);
    strbuf_deinit(&path);
    if (*code == CLIENT_OK && out->more && out->last <= before)
        *code = fail_order(before);
    return *code == CLIENT_OK && out->more && (q->limit == 0 || out->rows < q->limit);
}

/* What is printed is let go of, so that an export is as long as it likes to be. */
static bool print_page(const struct question *q, struct output *out, enum client_exit *code)
{
    if (!q->csv && !q->client.json)
        return true;
    *code = client_print(&out->text, *code);
    strbuf_reset(&out->text);
    out->begun = true;
    return *code == CLIENT_OK;
}

static enum client_exit list(const struct question *q)
{
    static const char *const heads[] = {"SEQ",   "BATCH",  "OWNER",  "MODEL",  "OK", "FAILED",
                                        "INPUT", "CACHED", "OUTPUT", "COST $", "END"};
    struct output out = {.text = STRBUF_INIT, .last = q->since};
    struct client *client;
    enum client_exit code = client_open(&q->client, &client);
    bool table = !q->csv && !q->client.json;

    if (code != CLIENT_OK)
        return code;
    columns_init(&out.table, heads, sizeof(heads) / sizeof(heads[0]));
    while (read_page(client, q, &out, &code) && print_page(q, &out, &code))
        ;
    if (table)
        code = finish_table(&out, code);
    code = client_print(&out.text, code);
    if (code == CLIENT_OK && out.more && table)
        fprintf(stderr, "More: tranche usage --since-seq %" PRId64 "\n", out.last);
    columns_deinit(&out.table);
    strbuf_deinit(&out.text);
    client_close(client);
    return code;
}

/* --- the command line --- */

enum flag { FLAG_SINCE = FLAGS_LONG, FLAG_LIMIT, FLAG_CSV };

/* @return false: told */
static bool take(struct question *q, int flag)
{
    switch (flag) {
    case FLAG_CSV:
        q->csv = true;
        return true;
    case FLAG_SINCE:
        return client_take_number("since-seq", optarg, 0, INT64_MAX, &q->since);
    case FLAG_LIMIT:
        return client_take_number("limit", optarg, 1, INT64_MAX, &q->limit);
    case FLAGS_OPERAND:
        return client_fail_operand(optarg, usage_text) == CLIENT_OK;
    default:
        return client_take(&q->client, flag);
    }
}

int usage_main(int argc, char **argv)
{
    static const struct option own[] = {{"since_seq", required_argument, NULL, FLAG_SINCE},
                                        {"limit", required_argument, NULL, FLAG_LIMIT},
                                        {"csv", no_argument, NULL, FLAG_CSV},
                                        CLIENT_FLAGS,
                                        {NULL, 0, NULL, 0}};
    struct question q = {.limit = 0};
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage_text);
        else if (flag == FLAGS_WRONG || !take(&q, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && q.csv && q.client.json) {
        fprintf(stderr, "tranche: give --csv or --json, not both\n");
        code = CLIENT_USAGE;
    }
    if (q.limit == 0 && !q.csv && !q.client.json)
        q.limit = DEFAULT_LIMIT;
    if (code == -1)
        code = (int)list(&q);
    client_options_deinit(&q.client);
    return code;
}
