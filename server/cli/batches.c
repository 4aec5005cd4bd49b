/* See batches.h. */
#include "batches.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "columns.h"
#include "common/clock.h"
#include "common/iso8601.h"
#include "crypto/ids.h"
#include "shown.h"

#define PAGE          100 /* rows of one answer */
#define PLACE_SIZE    256
#define DEFAULT_LIMIT 20
#define MAX_LIMIT     100000

/* clang-format off */
static const char usage_list[] =
    "usage: tranche batches [--open] [--status S] [--model M] [--team T] [--since TIME] [--limit N] [--after ID]\n"
    "\n"
    "  Batches that were made through the gateway, the newest first: id, owner, state, where, progress,\n"
    "  expected end. An administrator's key shows all, another one its own. The gateway needs a journal\n"
    "  (tranche_settings.database).\n"
    "\n"
    "      --open                those alone that have not ended\n"
    "      --status S            in_progress, completed, failed, ...\n"
    "      --model M             of this model_name\n"
    "      --team T              of this team\n"
    "      --since TIME          made since then: 2026-11-29 or 2026-11-29T08:00:00Z\n"
    "      --limit N             rows (20)\n"
    "      --after ID            those behind this one: the last of the page before\n"
    CLIENT_HELP
    "\n"
    "Example: tranche batches --open --model gpt-4o-batch --base-url https://gateway.example\n";

static const char usage_one[] =
    "usage: tranche batch ID\n"
    "\n"
    "  One batch of the gateway's journal, and its story: a line for each event.\n"
    "\n"
    CLIENT_HELP
    "\n"
    "Example: tranche batch batch_abc123 --json | jq '.events[].type'\n";
/* clang-format on */

/* --- what a row says --- */

/* When it ended, will end as it goes, or has to end at the latest. */
static void print_end(const struct json *row, int64_t now_s, char *out, size_t size)
{
    int64_t finished_s = shown_number(row, "finished_at"),
            expected_s = shown_number(row, "expected_at"),
            expires_s = shown_number(row, "expires_at");
    char span[32], text[ISO8601_SIZE];

    snprintf(out, size, "-");
    if (shown_has_ended(shown_text(row, "status"))) {
        shown_time(finished_s, text);
        snprintf(out, size, "ended %s", text);
    } else if (expected_s > 0) {
        shown_span(expected_s - now_s, span, sizeof(span));
        snprintf(out, size, "in %s", span);
    } else if (expires_s > 0) {
        shown_span(expires_s - now_s, span, sizeof(span));
        snprintf(out, size, "within %s", span);
    }
}

/* Where it runs, and where it was before; a tenant sees neither. */
static void print_place(const struct json *row, char *out, size_t size)
{
    const char *deployment = shown_text(row, "deployment"), *from = shown_text(row, "moved_from");
    bool moving = false;

    if (json_bool(json_get(row, "moving"), &moving) && moving)
        snprintf(out, size, "leaves %s", deployment[0] != '\0' ? deployment : "its deployment");
    else if (from[0] != '\0')
        snprintf(out, size, "%s (moved from %s)", deployment, from);
    else
        snprintf(out, size, "%s", deployment);
}

/* --- the list --- */

struct question {
    struct client_options client;
    const char *status, *model, *team, *after; /* borrowed; NULL: any */
    char since[24];                            /* Unix seconds; "": any time */
    bool open;
    int64_t limit;
};

static void add_row(struct columns *table, const struct json *row, int64_t now_s)
{
    const char *status = shown_text(row, "status");
    char progress[96], end[64], place[PLACE_SIZE];

    shown_progress(row, progress, sizeof(progress));
    print_end(row, now_s, end, sizeof(end));
    print_place(row, place, sizeof(place));
    columns_add(table, shown_text(row, "id"), COLOUR_NONE);
    columns_add(table, shown_text(row, "owner"), COLOUR_NONE);
    columns_add(table, status, shown_colour(status));
    columns_add(table, place[0] != '\0' ? place : shown_text(row, "model"), COLOUR_NONE);
    columns_add(table, progress, COLOUR_NONE);
    columns_add(table, end, COLOUR_NONE);
}

static void write_path(const struct question *q, int64_t limit, const char *after,
                       struct strbuf *path)
{
    char number[24];

    strbuf_reset(path);
    snprintf(number, sizeof(number), "%" PRId64, limit < PAGE ? limit : PAGE);
    strbuf_adds(path, "/journal/batches");
    client_add_parameter(path, "limit", number);
    client_add_parameter(path, "open", q->open ? "true" : NULL);
    client_add_parameter(path, "status", q->status);
    client_add_parameter(path, "model", q->model);
    client_add_parameter(path, "team_id", q->team);
    client_add_parameter(path, "created_after", q->since[0] != '\0' ? q->since : NULL);
    client_add_parameter(path, "after", after);
}

/* What is being made of pages. */
struct output {
    struct strbuf text;     /* owned; JSON, or the table */
    struct columns table;   /* owned */
    char last[IDS_MAX + 1]; /* id of the last row */
    int64_t rows;
    bool more; /* there are others behind it */
};

static bool take_page(const struct question *q, const struct json *root, const struct strbuf *body,
                      struct output *out)
{
    const struct json *data = json_get(root, "data");
    int64_t now_s = clock_unix_s();
    bool more = false;

    (void)json_bool(json_get(root, "has_more"), &more);
    out->more = more;
    for (size_t i = 0; i < json_size(data); i++) {
        if (!q->client.json)
            add_row(&out->table, json_at(data, i), now_s);
        snprintf(out->last, sizeof(out->last), "%s", shown_text(json_at(data, i), "id"));
    }
    out->rows += (int64_t)json_size(data);
    if (q->client.json) {
        strbuf_add(&out->text, body->data, body->len);
        strbuf_addc(&out->text, '\n');
    }
    return more && json_size(data) > 0 && out->last[0] != '\0';
}

/* @return whether to go on */
static bool read_page(struct client *client, const struct question *q, struct output *out,
                      enum client_exit *code)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;
    bool on = false;

    write_path(q, q->limit - out->rows, out->rows > 0 ? out->last : q->after, &path);
    *code =
        doc == NULL ? CLIENT_USAGE : client_get_json(client, strbuf_str(&path), doc, &root, &body);
    if (*code == CLIENT_OK)
        on = take_page(q, root, &body, out);
    json_doc_free(doc);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    return on && out->rows < q->limit;
}

static enum client_exit list(const struct question *q)
{
    static const char *const heads[] = {"ID",    "OWNER",    "STATE",
                                        "WHERE", "PROGRESS", "EXPECTED END"};
    struct output out = {.text = STRBUF_INIT};
    struct client *client;
    enum client_exit code = client_open(&q->client, &client);

    if (code != CLIENT_OK)
        return code;
    columns_init(&out.table, heads, sizeof(heads) / sizeof(heads[0]));
    while (read_page(client, q, &out, &code))
        ;
    if (!q->client.json && (code == CLIENT_OK || out.rows > 0) &&
        columns_print(&out.table, columns_may_colour(), &out.text) != 0)
        out.text.failed = true;
    code = client_print(&out.text, code);
    if (code == CLIENT_OK && out.more && !q->client.json)
        fprintf(stderr, "More: tranche batches --after %s\n", out.last);
    columns_deinit(&out.table);
    strbuf_deinit(&out.text);
    client_close(client);
    return code;
}

/* --- one --- */

static void add_fact(struct strbuf *out, const char *name, const char *value, bool colours)
{
    if (value == NULL || value[0] == '\0' || strcmp(value, "-") == 0)
        return;
    strbuf_addf(out, "  %-10s", name);
    columns_add_text(out, value, COLOUR_NONE, colours);
    strbuf_addc(out, '\n');
}

static void add_head(struct strbuf *out, const struct json *batch, bool colours)
{
    const char *status = shown_text(batch, "status");
    char text[ISO8601_SIZE], progress[96], end[64], place[PLACE_SIZE];

    columns_add_text(out, shown_text(batch, "id"), COLOUR_NONE, colours);
    strbuf_addc(out, ' ');
    columns_add_text(out, status, shown_colour(status), colours);
    strbuf_addc(out, '\n');
    shown_progress(batch, progress, sizeof(progress));
    print_end(batch, clock_unix_s(), end, sizeof(end));
    print_place(batch, place, sizeof(place));
    shown_time(shown_number(batch, "created_at"), text);
    add_fact(out, "owner", shown_text(batch, "owner"), colours);
    add_fact(out, "key", shown_text(batch, "key_alias"), colours);
    add_fact(out, "model", shown_text(batch, "model"), colours);
    add_fact(out, "where", place, colours);
    add_fact(out, "endpoint", shown_text(batch, "endpoint"), colours);
    add_fact(out, "input", shown_text(batch, "input_file_id"), colours);
    add_fact(out, "progress", progress, colours);
    add_fact(out, "created", text, colours);
    add_fact(out, shown_has_ended(status) ? "end" : "expected", end, colours);
    add_fact(out, "error", shown_text(batch, "error_code"), colours);
    strbuf_addc(out, '\n');
}

static int add_events(struct strbuf *out, const struct json *events, bool colours)
{
    static const char *const heads[] = {"TIME", "EVENT", "WHAT", "NODE"};
    struct columns table;
    int ret;

    columns_init(&table, heads, sizeof(heads) / sizeof(heads[0]));
    for (size_t i = 0; i < json_size(events); i++) {
        const struct json *event = json_at(events, i);
        char text[ISO8601_SIZE];

        shown_time(shown_number(event, "created_at"), text);
        columns_add(&table, text, COLOUR_DIM);
        columns_add(&table, shown_text(event, "type"), COLOUR_NONE);
        columns_add(&table, shown_text(event, "message"), COLOUR_NONE);
        columns_add(&table, shown_text(event, "node"), COLOUR_DIM);
    }
    ret = columns_print(&table, colours, out);
    columns_deinit(&table);
    return ret;
}

static enum client_exit show(const struct client_options *options, const char *id)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT, out = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;
    struct client *client = NULL;
    enum client_exit code = doc == NULL ? CLIENT_USAGE : client_open(options, &client);
    bool colours = columns_may_colour();

    strbuf_adds(&path, "/journal/batches/");
    client_add_segment(&path, id);
    if (code == CLIENT_OK)
        code = client_get_json(client, strbuf_str(&path), doc, &root, &body);
    if (code == CLIENT_OK && options->json) {
        strbuf_addf(&out, "%s\n", strbuf_str(&body));
    } else if (code == CLIENT_OK) {
        add_head(&out, root, colours);
        out.failed |= add_events(&out, json_get(root, "events"), colours) != 0;
    }
    if (code == CLIENT_OK)
        code = client_print(&out, code);
    client_close(client);
    json_doc_free(doc);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    strbuf_deinit(&out);
    return code;
}

/* --- command lines --- */

enum flag {
    FLAG_OPEN = FLAGS_LONG,
    FLAG_STATUS,
    FLAG_MODEL,
    FLAG_TEAM,
    FLAG_SINCE,
    FLAG_LIMIT,
    FLAG_AFTER
};

static bool take_since(const char *text, char *out, size_t size)
{
    int64_t unix_ms;

    if (!iso8601_read(text, &unix_ms)) {
        (void)flags_fail_value("since", text, "a time as 2026-11-29 or 2026-11-29T08:00:00Z");
        return false;
    }
    snprintf(out, size, "%" PRId64, unix_ms / 1000);
    return true;
}

/* @return false: told */
static bool take(struct question *q, int flag)
{
    switch (flag) {
    case FLAG_OPEN:
        q->open = true;
        return true;
    case FLAG_STATUS:
        q->status = optarg;
        return true;
    case FLAG_MODEL:
        q->model = optarg;
        return true;
    case FLAG_TEAM:
        q->team = optarg;
        return true;
    case FLAG_AFTER:
        q->after = optarg;
        return true;
    case FLAG_SINCE:
        return take_since(optarg, q->since, sizeof(q->since));
    case FLAG_LIMIT:
        return client_take_number("limit", optarg, 1, MAX_LIMIT, &q->limit);
    case FLAGS_OPERAND:
        return client_fail_operand(optarg, usage_list) == CLIENT_OK;
    default:
        return client_take(&q->client, flag);
    }
}

int batches_main(int argc, char **argv)
{
    static const struct option own[] = {{"open", no_argument, NULL, FLAG_OPEN},
                                        {"status", required_argument, NULL, FLAG_STATUS},
                                        {"model", required_argument, NULL, FLAG_MODEL},
                                        {"team", required_argument, NULL, FLAG_TEAM},
                                        {"since", required_argument, NULL, FLAG_SINCE},
                                        {"limit", required_argument, NULL, FLAG_LIMIT},
                                        {"after", required_argument, NULL, FLAG_AFTER},
                                        CLIENT_FLAGS,
                                        {NULL, 0, NULL, 0}};
    struct question q = {.limit = DEFAULT_LIMIT};
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage_list);
        else if (flag == FLAGS_WRONG || !take(&q, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)list(&q);
    client_options_deinit(&q.client);
    return code;
}

int batch_main(int argc, char **argv)
{
    static const struct option own[] = {CLIENT_FLAGS, {NULL, 0, NULL, 0}};
    struct client_options options = {0};
    const char *id = NULL;
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage_one);
        else if (flag == FLAGS_OPERAND && id == NULL)
            id = optarg;
        else if (flag == FLAGS_OPERAND)
            code = (int)client_fail_operand(optarg, usage_one);
        else if (flag == FLAGS_WRONG || !client_take(&options, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && id == NULL) {
        fprintf(stderr, "tranche: batch wants an id\n%s", usage_one);
        code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)show(&options, id);
    client_options_deinit(&options);
    return code;
}
