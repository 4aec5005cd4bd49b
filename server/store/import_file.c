/* See import_read(): CSV and JSON as people export them from LiteLLM's tables. Each row becomes a
 * JSON object of its columns, which litellm_row.c reads. */
#include "store/import.h"

#include "store_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "json/json_text.h"

#define MAX_COLUMNS 256
#define MAX_VALUES  50000000 /* of a file in JSON: some 5 GB of tree, which a command may take */

/* ---- rows ---- */

static int take_key(const struct json *row, struct litellm_rows *out)
{
    struct store_key *keys = grow(out->keys, out->num_keys, sizeof(keys[0]));
    enum litellm_row kind;
    int rc;

    if (keys == NULL)
        return ERR_NOMEM;
    out->keys = keys;
    rc = litellm_key_of_row(row, &keys[out->num_keys], &kind, &out->num_unknown);
    if (rc != 0)
        return rc;
    if (kind == LITELLM_KEY) {
        const char *fields = keys[out->num_keys].fields;

        out->left_out.with_budget += fields != NULL && strstr(fields, "\"max_budget\":") != NULL;
        out->num_keys++;
    }
    out->left_out.of_pages += kind == LITELLM_PAGE;
    out->left_out.without_hash += kind == LITELLM_NO_HASH;
    return 0;
}

static int take_team(const struct json *row, struct litellm_rows *out)
{
    struct store_team *teams = grow(out->teams, out->num_teams, sizeof(teams[0]));
    int rc;

    if (teams == NULL)
        return ERR_NOMEM;
    out->teams = teams;
    rc = litellm_team_of_row(row, &teams[out->num_teams], &out->num_unknown);
    if (rc == 0)
        out->num_teams++;
    return rc == ERR_INVALID ? 0 : rc;
}

static int take_row(const struct json *row, struct litellm_rows *out)
{
    if (!json_is(row, JSON_OBJECT))
        return ERR_SYNTAX;
    if (json_get(row, "active_token_id") != NULL)
        return litellm_add_grace(row, out);
    if (json_get(row, "token") == NULL && json_get(row, "team_id") != NULL)
        return take_team(row, out);
    return take_key(row, out);
}

/* ---- JSON ---- */

static int take_rows(const struct json *list, struct litellm_rows *out, char why[STORE_WHY_BYTES])
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < json_size(list); i++) {
        rc = take_row(json_at(list, i), out);
        if (rc == ERR_SYNTAX)
            snprintf(why, STORE_WHY_BYTES, "row %zu: wanted an object", i + 1);
    }
    return rc;
}

static int take_document(const struct json *root, struct litellm_rows *out,
                         char why[STORE_WHY_BYTES])
{
    static const char *const members[] = {"teams", "keys", "deprecated"};
    bool any = false;
    int rc = 0;

    if (json_is(root, JSON_ARRAY))
        return take_rows(root, out, why);
    for (size_t i = 0; rc == 0 && i < sizeof(members) / sizeof(members[0]); i++) {
        const struct json *list = json_get(root, members[i]);

        any = any || json_is(list, JSON_ARRAY);
        if (json_is(list, JSON_ARRAY))
            rc = take_rows(list, out, why);
    }
    if (any || rc != 0)
        return rc;
    if (json_is(root, JSON_OBJECT))
        return take_row(root, out);
    snprintf(why, STORE_WHY_BYTES, "wanted an array of rows");
    return ERR_SYNTAX;
}

static int read_json(const char *text, size_t len, struct litellm_rows *out,
                     char why[STORE_WHY_BYTES])
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *root;
    int rc;

    if (doc == NULL)
        return ERR_NOMEM;
    root = json_parse_most(doc, text, len, MAX_VALUES, &error);
    if (root != NULL) {
        rc = take_document(root, out, why);
    } else {
        snprintf(why, STORE_WHY_BYTES, "line %zu, column %zu: %s", error.line, error.column,
                 error.message);
        rc = json_doc_failed(doc) ? ERR_NOMEM : ERR_SYNTAX;
    }
    json_doc_free(doc);
    return rc;
}

/* ---- CSV (RFC 4180) ---- */

struct csv {
    const char *at, *end;
    size_t line, row_line; /* where we are, and where the row began */
    struct strbuf field;
    bool last_of_row; /* the field that was read */
};

static bool is_doubled_quote(const struct csv *csv)
{
    return *csv->at == '"' && csv->at + 1 < csv->end && csv->at[1] == '"';
}

static bool is_end(char c, bool quoted)
{
    return quoted ? c == '"' : c == ',' || c == '\n' || c == '\r';
}

/* Read one field. @return false: a quote that does not end, or text behind one that did */
static bool read_field(struct csv *csv)
{
    bool quoted = csv->at < csv->end && *csv->at == '"';

    strbuf_reset(&csv->field);
    csv->at += quoted;
    for (; csv->at < csv->end; csv->at++) {
        csv->line += *csv->at == '\n';
        if (quoted && is_doubled_quote(csv))
            csv->at++;
        else if (is_end(*csv->at, quoted))
            break;
        strbuf_addc(&csv->field, *csv->at);
    }
    if (quoted && csv->at++ == csv->end)
        return false;
    if (csv->at < csv->end && *csv->at == '\r' && csv->at + 1 < csv->end && csv->at[1] == '\n')
        csv->at++;
    csv->last_of_row = csv->at >= csv->end || *csv->at == '\n';
    if (csv->at < csv->end && *csv->at != '\n' && *csv->at != ',')
        return false;
    if (quoted && csv->at < csv->end && *csv->at == '\n')
        csv->line++;
    csv->at += csv->at < csv->end;
    return true;
}

static int fail_csv(const struct csv *csv, const char *what, char why[STORE_WHY_BYTES])
{
    snprintf(why, STORE_WHY_BYTES, "line %zu: %s", csv->row_line, what);
    return ERR_SYNTAX;
}

struct head {
    char *names[MAX_COLUMNS]; /* owned */
    size_t num;
};

static int read_head(struct csv *csv, struct head *head, char why[STORE_WHY_BYTES])
{
    bool known = false;

    do {
        if (!read_field(csv))
            return fail_csv(csv, "a quoted value does not end as it should", why);
        if (head->num == MAX_COLUMNS)
            return fail_csv(csv, "more than 256 columns", why);
        head->names[head->num] = strdup(strbuf_str(&csv->field));
        if (head->names[head->num] == NULL)
            return ERR_NOMEM;
        known = known || strcmp(head->names[head->num], "token") == 0 ||
                strcmp(head->names[head->num], "team_id") == 0;
        head->num++;
    } while (!csv->last_of_row);
    return known ? 0
                 : fail_csv(csv, "wanted a head line of columns, one of which is token or team_id",
                            why);
}

/* An empty value stays NULL, as PostgreSQL's COPY writes it. */
static int read_csv_row(struct csv *csv, const struct head *head, struct litellm_rows *out,
                        char why[STORE_WHY_BYTES])
{
    struct json_doc *doc = json_doc_new();
    struct json *row = doc != NULL ? json_new_object(doc) : NULL;
    size_t num = 0;
    int rc = row != NULL ? 0 : ERR_NOMEM;

    do {
        if (rc == 0 && !read_field(csv))
            rc = fail_csv(csv, "a quoted value does not end as it should", why);
        if (rc == 0 && num == head->num)
            rc = fail_csv(csv, "more values than the head line has columns", why);
        if (rc == 0 && !utf8_is_valid(strbuf_str(&csv->field), csv->field.len))
            rc = fail_csv(csv, "not UTF-8", why);
        if (rc == 0)
            json_set(doc, row, head->names[num++],
                     csv->field.len != 0
                         ? json_new_string(doc, strbuf_str(&csv->field), csv->field.len)
                         : json_new_null(doc));
    } while (rc == 0 && !csv->last_of_row);
    if (rc == 0 && num < head->num && !(num == 1 && csv->field.len == 0))
        rc = fail_csv(csv, "fewer values than the head line has columns", why);
    if (rc == 0 && json_doc_failed(doc))
        rc = ERR_NOMEM;
    if (rc == 0 && num == head->num)
        rc = take_row(row, out);
    json_doc_free(doc);
    return rc;
}

static int read_csv(const char *text, size_t len, struct litellm_rows *out,
                    char why[STORE_WHY_BYTES])
{
    struct csv csv = {.at = text, .end = text + len, .line = 1, .row_line = 1};
    struct head head = {.num = 0};
    int rc = read_head(&csv, &head, why);

    while (rc == 0 && csv.at < csv.end) {
        csv.row_line = csv.line;
        rc = read_csv_row(&csv, &head, out, why);
    }
    for (size_t i = 0; i < head.num; i++)
        free(head.names[i]);
    strbuf_deinit(&csv.field);
    return rc;
}

int import_read(const char *text, size_t len, struct litellm_rows *out, char why[STORE_WHY_BYTES])
{
    size_t at = json_skip_blanks(text, len, 0);
    bool json = at < len && (text[at] == '[' || text[at] == '{');
    int rc;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    rc = json ? read_json(text, len, out, why) : read_csv(text, len, out, why);
    if (rc != 0)
        litellm_rows_deinit(out);
    return rc;
}
