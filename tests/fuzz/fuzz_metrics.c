/* The metrics page of rows with any names and numbers: every line is a comment or one sample as
 * Prometheus' text format has it, and the labels read back as the names that were put in. The
 * first 256 bytes of the input are numbers, the rest are names, apart by line feeds. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "admin/metrics_text.h"

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

static const char *skip_name(const char *at)
{
    MUST(is_name(*at) && !(*at >= '0' && *at <= '9'));
    while (is_name(*at))
        at++;
    return at;
}

/* A label's value, from behind its opening quote. @return behind the closing one */
static const char *read_value(const char *at, struct strbuf *out)
{
    for (; *at != '"'; at++) {
        char c = *at;

        MUST(c != '\n' && c != '\0');
        if (c == '\\') {
            c = *++at;
            MUST(c == 'n' || c == '\\' || c == '"');
            c = c == 'n' ? '\n' : c;
        }
        strbuf_addc(out, c);
    }
    return at + 1;
}

/* What a label of that name has to say. NULL: any text */
static const char *wanted(const struct metrics_row *row, const char *name, size_t len)
{
    const struct {
        const char *name, *value;
    } known[] = {{"model_group", row->group},        {"model_id", row->id},
                 {"litellm_model_name", row->model}, {"api_base", row->base},
                 {"api_provider", row->provider},    {"requested_model", row->group}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (len == strlen(known[i].name) && memcmp(name, known[i].name, len) == 0)
            return known[i].value;
    return NULL;
}

static const char *check_labels(const char *at, const struct metrics_row *row)
{
    do {
        const char *name = at + 1, *end = skip_name(name), *want;
        struct strbuf value = STRBUF_INIT;

        MUST(end[0] == '=' && end[1] == '"');
        at = read_value(end + 2, &value);
        want = row != NULL ? wanted(row, name, (size_t)(end - name)) : NULL;
        MUST(want == NULL || strcmp(want, strbuf_str(&value)) == 0);
        strbuf_deinit(&value);
    } while (*at == ',');
    MUST(*at == '}');
    return at + 1;
}

static const char *check_number(const char *at)
{
    char *end;

    (void)strtod(at, &end);
    MUST(end != at && *end == '\n');
    return end;
}

static void check_page(const struct strbuf *page, const struct metrics_row *row)
{
    const char *at = strbuf_str(page);

    MUST(strlen(at) == page->len);
    while (*at != '\0') {
        if (*at == '#') {
            MUST(strncmp(at, "# HELP ", 7) == 0 || strncmp(at, "# TYPE ", 7) == 0);
            at = strchr(at, '\n');
            MUST(at != NULL);
        } else {
            at = skip_name(at);
            if (*at == '{')
                at = check_labels(at, row);
            MUST(*at == ' ');
            at = check_number(at + 1);
        }
        at++;
    }
}

/* The next number. */
static uint64_t number(const uint8_t *data, size_t *at)
{
    uint64_t n;

    memcpy(&n, data + *at % 248, sizeof(n));
    *at += 3;
    return n >> (n % 64);
}

static void fill(struct metrics_row *row, const uint8_t *data)
{
    uint64_t *sum = (uint64_t *)row->sum.requests;
    size_t at = 0;

    row->healthy = data[0] % 2 != 0;
    row->own_ledger = data[1] % 2 != 0;
    row->own_files = data[2] % 2 != 0;
    for (unsigned i = 0; i < OP_CLASS_COUNT; i++)
        row->cooling_down[i] = data[3 + i] % 2 != 0;
    row->checked_unix_s = (int64_t)number(data, &at);
    for (unsigned i = 0; i < OP_CLASS_COUNT; i++) {
        sum[i] = number(data, &at);
        row->sum.in_flight[i] = number(data, &at);
        for (unsigned o = 0; o < OUTCOME_COUNT; o++)
            row->sum.outcomes[i][o] = number(data, &at);
    }
    row->sum.latency_us = number(data, &at);
    row->sum.bytes_sent = number(data, &at);
    row->quota.limit = number(data, &at);
    row->quota.reserved = number(data, &at);
    row->quota.foreign = number(data, &at);
    row->quota.expected = number(data, &at);
    memcpy(&row->quota.drain_rate, data + 100, sizeof(double));
    row->tally.reservations = (uint32_t)number(data, &at);
    row->oldest_age_s = number(data, &at);
    for (unsigned i = 0; i < SLOTS_KINDS; i++)
        row->files[i] = data[200 + i] % 4 == 0 ? UINT64_MAX : number(data, &at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t numbers[256] = {0};
    size_t head = size < sizeof(numbers) ? size : sizeof(numbers);
    char *names = malloc(size - head + 1), *rest = names;
    const char *text[5];
    struct metrics_row row = {0};
    struct metrics_node node = {0};
    struct strbuf page = STRBUF_INIT;

    MUST(names != NULL);
    memcpy(numbers, data, head);
    memcpy(names, data + head, size - head);
    names[size - head] = '\0';
    for (size_t i = 0; i < 5; i++) {
        text[i] = rest;
        rest += strcspn(rest, "\x01");
        if (*rest != '\0')
            *rest++ = '\0';
    }
    row = (struct metrics_row){
        .group = text[0], .model = text[1], .id = text[2], .base = text[3], .provider = text[4]};
    fill(&row, numbers);
    node.started_unix_s = row.checked_unix_s;
    node.requests = row.quota.limit;
    node.workers = row.tally.reservations;
    metrics_write_node(&node, &page);
    check_page(&page, NULL);
    strbuf_reset(&page);
    for (size_t i = 0; i < metrics_count(); i++) {
        metrics_write_head(i, &page);
        metrics_write_row(i, &row, &page);
    }
    check_page(&page, &row);
    strbuf_deinit(&page);
    free(names);
    return 0;
}
