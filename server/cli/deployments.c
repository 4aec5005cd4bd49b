/* See deployments.h. */
#include "deployments.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "columns.h"
#include "shown.h"

/* clang-format off */
static const char usage[] =
    "usage: tranche deployments [--base-url URL] [--key KEY] [--json]\n"
    "\n"
    "  What each deployment of a running gateway has room for: tokens that are enqueued, expected and\n"
    "  free, and their limit; how fast it drains; whether it is well. \"-\" where nothing is known, or\n"
    "  where a row above has the same quota. For administrators.\n"
    "\n"
    CLIENT_HELP
    "\n"
    "Example: tranche deployments --json | jq '.data[] | select(.free_tokens < 1000000)'\n";
/* clang-format on */

/* --- reading the page --- */

#define NUMBER(name, member)                                                                       \
    {                                                                                              \
        name, offsetof(struct deployment_row, member)                                              \
    }

static const struct number {
    const char *metric;
    size_t at;
} numbers[] = {
    NUMBER("tranche_enqueued_tokens", enqueued), NUMBER("tranche_elsewhere_tokens", elsewhere),
    NUMBER("tranche_external_tokens", others),   NUMBER("tranche_expected_tokens", expected),
    NUMBER("tranche_free_tokens", free),         NUMBER("tranche_enqueued_token_limit", limit),
    NUMBER("tranche_reservations", batches),     NUMBER("tranche_deployment_healthy", healthy)};

/* A sample as it stands in its line. */
struct sample {
    char metric[64];
    char group[DEPLOYMENTS_NAME], id[DEPLOYMENTS_NAME], operation[16];
    char other[1]; /* of a label that nobody wants */
    double value;
};

/* What stands between the quotes of a label, unescaped. @return behind the closing one; NULL: there
 * is none */
static const char *read_value(const char *at, char *out, size_t size)
{
    size_t len = 0;

    for (; *at != '"' && *at != '\0' && *at != '\n'; at++) {
        if (*at == '\\' && at[1] != '\0' && at[1] != '\n')
            at++;
        if (len + 1 < size)
            out[len++] = *at;
    }
    out[len] = '\0';
    return *at == '"' ? at + 1 : NULL;
}

static bool is_name(const char *name, size_t len, const char *wanted)
{
    return strlen(wanted) == len && memcmp(name, wanted, len) == 0;
}

/* Where the value of a label goes. */
static char *room_for(struct sample *out, const char *name, size_t len, size_t *size)
{
    *size = sizeof(out->group);
    if (is_name(name, len, "model_group"))
        return out->group;
    if (is_name(name, len, "model_id"))
        return out->id;
    *size = is_name(name, len, "operation") ? sizeof(out->operation) : sizeof(out->other);
    return *size == sizeof(out->operation) ? out->operation : out->other;
}

/* `a="b",c="d"}` @return behind it; NULL: it is something else */
static const char *read_labels(const char *at, struct sample *out)
{
    while (*at != '}') {
        size_t len = strcspn(at, "=\"}\n"), size;
        char *into = room_for(out, at, len, &size);

        if (at[len] != '=' || at[len + 1] != '"')
            return NULL;
        at = read_value(at + len + 2, into, size);
        if (at == NULL)
            return NULL;
        at += *at == ',';
    }
    return at + 1;
}

/* @return whether the line is a sample of a deployment */
static bool read_sample(const char *line, struct sample *out)
{
    size_t len = strcspn(line, "{ \n");
    char *end;

    *out = (struct sample){.value = 0};
    if (line[0] == '#' || line[len] != '{' || len >= sizeof(out->metric))
        return false;
    memcpy(out->metric, line, len);
    line = read_labels(line + len + 1, out);
    if (line == NULL || *line != ' ' || out->id[0] == '\0')
        return false;
    out->value = strtod(line, &end);
    return end != line && isfinite(out->value);
}

static void set_number(struct deployment_row *row, const struct number *number, int64_t value)
{
    memcpy((char *)row + number->at, &value, sizeof(value));
}

static int64_t whole(double value)
{
    return value >= 9e18 ? INT64_MAX : value <= -9e18 ? INT64_MIN : (int64_t)value;
}

/* The row of a sample; a new one for a name that was not seen. NULL: no memory, or too many */
static struct deployment_row *row_of(struct deployment_rows *rows, const struct sample *sample)
{
    struct deployment_row *row;

    for (size_t i = rows->num; i > 0; i--)
        if (strcmp(rows->rows[i - 1].id, sample->id) == 0 &&
            strcmp(rows->rows[i - 1].group, sample->group) == 0)
            return &rows->rows[i - 1];
    if (rows->num == DEPLOYMENTS_MAX)
        return NULL;
    if (rows->num % 16 == 0) {
        row = realloc(rows->rows, (rows->num + 16) * sizeof(*row));
        if (row == NULL)
            return NULL;
        rows->rows = row;
    }
    row = &rows->rows[rows->num++];
    *row = (struct deployment_row){.drain = -1};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        set_number(row, &numbers[i], -1);
    memcpy(row->group, sample->group, sizeof(row->group));
    memcpy(row->id, sample->id, sizeof(row->id));
    return row;
}

static void note_resting(struct deployment_row *row, const struct sample *sample)
{
    size_t len = strlen(row->resting);

    if (sample->value > 0)
        snprintf(row->resting + len, sizeof(row->resting) - len, "%s%s", len > 0 ? "," : "",
                 sample->operation);
}

static const struct number *find_number(const char *metric)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(numbers[i].metric, metric) == 0)
            return &numbers[i];
    return NULL;
}

/* @return 0, ERR_NOMEM */
static int take_sample(struct deployment_rows *rows, const struct sample *sample)
{
    const struct number *number = find_number(sample->metric);
    bool drain = strcmp(sample->metric, "tranche_drain_tokens_per_second") == 0;
    bool resting = strcmp(sample->metric, "tranche_deployment_in_cooldown") == 0;
    struct deployment_row *row;

    if (number == NULL && !drain && !resting)
        return 0;
    row = row_of(rows, sample);
    if (row == NULL)
        return rows->num == DEPLOYMENTS_MAX ? 0 : ERR_NOMEM;
    if (number != NULL)
        set_number(row, number, whole(sample->value));
    else if (drain)
        row->drain = sample->value;
    else
        note_resting(row, sample);
    return 0;
}

int deployments_read(const char *page, struct deployment_rows *out)
{
    struct sample sample;

    *out = (struct deployment_rows){.rows = NULL};
    for (const char *line = page; *line != '\0';) {
        if (read_sample(line, &sample) && take_sample(out, &sample) != 0) {
            free(out->rows);
            *out = (struct deployment_rows){.rows = NULL};
            return ERR_NOMEM;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    assert(out->num <= DEPLOYMENTS_MAX);
    return 0;
}

/* --- what is printed --- */

static void add_number(struct columns *table, int64_t value)
{
    if (value < 0)
        columns_add(table, NULL, COLOUR_NONE);
    else
        columns_addf(table, COLOUR_NONE, "%" PRId64, value);
}

static void add_share(struct columns *table, const struct deployment_row *row)
{
    double share =
        row->limit > 0 && row->free >= 0 ? 100 - (double)row->free * 100 / (double)row->limit : -1;

    if (share < 0)
        columns_add(table, NULL, COLOUR_NONE);
    else
        columns_addf(table, share >= 95 ? COLOUR_BAD : COLOUR_NONE, "%.0f%%", share);
}

static void add_state(struct columns *table, const struct deployment_row *row)
{
    if (row->healthy == 0)
        columns_add(table, "no answer", COLOUR_BAD);
    else if (row->resting[0] != '\0')
        columns_addf(table, COLOUR_BAD, "rests: %s", row->resting);
    else
        columns_add(table, "well", COLOUR_GOOD);
}

static void add_row(struct columns *table, const struct deployment_row *row)
{
    columns_add(table, row->group, COLOUR_NONE);
    columns_add(table, row->id, COLOUR_NONE);
    add_state(table, row);
    add_number(table, row->batches);
    add_number(table, row->enqueued);
    add_number(table, row->elsewhere);
    add_number(table, row->others);
    add_number(table, row->expected);
    add_number(table, row->free);
    add_number(table, row->limit);
    add_share(table, row);
    if (row->drain < 0)
        columns_add(table, NULL, COLOUR_NONE);
    else
        columns_addf(table, COLOUR_NONE, "%.0f", row->drain);
}

static int print_table(const struct deployment_rows *rows, struct strbuf *out)
{
    static const char *const heads[] = {"GROUP",    "DEPLOYMENT", "STATE",   "BATCHES",
                                        "ENQUEUED", "ELSEWHERE",  "OTHERS'", "EXPECTED",
                                        "FREE",     "LIMIT",      "USED",    "DRAINS/S"};
    struct columns table;
    int err;

    columns_init(&table, heads, sizeof(heads) / sizeof(heads[0]));
    for (size_t i = 0; i < rows->num; i++)
        add_row(&table, &rows->rows[i]);
    err = columns_print(&table, columns_may_colour(), out);
    columns_deinit(&table);
    return err;
}

static void write_member(struct strbuf *out, const char *name, int64_t value)
{
    if (value < 0)
        strbuf_addf(out, ",\"%s\":null", name);
    else
        json_write_member_int(out, name, value);
}

static void write_row(const struct deployment_row *row, struct strbuf *out)
{
    strbuf_addc(out, '{');
    json_write_member_string(out, "model_group", row->group);
    json_write_member_string(out, "model_id", row->id);
    strbuf_addf(out, ",\"healthy\":%s", row->healthy != 0 ? "true" : "false");
    json_write_member_string(out, "in_cooldown", row->resting);
    write_member(out, "reservations", row->batches);
    write_member(out, "enqueued_tokens", row->enqueued);
    write_member(out, "elsewhere_tokens", row->elsewhere);
    write_member(out, "external_tokens", row->others);
    write_member(out, "expected_tokens", row->expected);
    write_member(out, "free_tokens", row->free);
    write_member(out, "enqueued_token_limit", row->limit);
    if (row->drain < 0)
        strbuf_adds(out, ",\"drain_tokens_per_second\":null}");
    else
        strbuf_addf(out, ",\"drain_tokens_per_second\":%.9g}", row->drain);
}

static void print_json(const struct deployment_rows *rows, struct strbuf *out)
{
    strbuf_adds(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < rows->num; i++) {
        strbuf_adds(out, i > 0 ? "," : "");
        write_row(&rows->rows[i], out);
    }
    strbuf_adds(out, "]}\n");
}

static int write_page(const char *page, bool as_json, struct strbuf *out)
{
    struct deployment_rows rows;
    int err = deployments_read(page, &rows);

    if (err == 0 && as_json)
        print_json(&rows, out);
    else if (err == 0)
        err = print_table(&rows, out);
    free(rows.rows);
    return err;
}

static enum client_exit show(const struct client_options *options)
{
    struct strbuf page = STRBUF_INIT, out = STRBUF_INIT;
    struct client *client = NULL;
    enum client_exit code = client_open(options, &client);

    if (code == CLIENT_OK)
        code = client_get(client, "/metrics", &page);
    if (code == CLIENT_OK)
        out.failed |= write_page(strbuf_str(&page), options->json, &out) != 0;
    if (code == CLIENT_OK)
        code = client_print(&out, code);
    strbuf_deinit(&page);
    strbuf_deinit(&out);
    client_close(client);
    return code;
}

int deployments_main(int argc, char **argv)
{
    static const struct option own[] = {CLIENT_FLAGS, {NULL, 0, NULL, 0}};
    struct client_options options = {0};
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage);
        else if (flag == FLAGS_OPERAND)
            code = client_fail_operand(optarg, usage);
        else if (flag == FLAGS_WRONG || !client_take(&options, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)show(&options);
    client_options_deinit(&options);
    return code;
}
