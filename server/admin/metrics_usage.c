/* See metrics_usage.h. */
#include "metrics_usage.h"

#include <inttypes.h>
#include <stdio.h>

#include "metrics_text.h"
#include "price/price.h"

#define ROWS_A_PIECE 2048  /* looked at ... */
#define TEXT_A_PIECE 32768 /* ... and bytes written */

static const uint64_t file_bounds[] = SERIES_FILE_BOUNDS;
static const uint64_t duration_bounds[] = SERIES_DURATION_BOUNDS;

enum form { COUNTER, GAUGE, DOLLARS, HISTOGRAM };

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static const struct metric {
    const char *name, *type, *help;
    enum series_family family;
    unsigned number; /* of the row's */
    enum form form;
    unsigned num_bounds;               /* of a HISTOGRAM */
    const char *labels[SERIES_LABELS]; /* in the order of the series; NULL: none any more */
    const uint64_t *bounds;
} metrics[] = {
    {"litellm_managed_batch_created_total",
     "counter",
     "Batches that were made",
     SERIES_BATCHES,
     0,
     COUNTER,
     0,
     {"model", "api_provider", "api_key_alias", "team"},
     NULL},
    {"litellm_managed_file_created_total",
     "counter",
     "Files that were stored",
     SERIES_FILES,
     0,
     COUNTER,
     0,
     {"api_provider", "api_key_alias", "team"},
     NULL},
    {"litellm_managed_file_deleted_total",
     "counter",
     "Deletions of files, by what came of them",
     SERIES_FILES_DELETED,
     0,
     COUNTER,
     0,
     {"result"},
     NULL},
    {"litellm_managed_file_size_bytes",
     "histogram",
     "Size of the files that were stored",
     SERIES_FILE_BYTES,
     0,
     HISTOGRAM,
     NUM(file_bounds),
     {"api_provider"},
     file_bounds},
    {"litellm_managed_batch_duration_seconds",
     "histogram",
     "Time from a batch's beginning to its end",
     SERIES_DURATION,
     0,
     HISTOGRAM,
     NUM(duration_bounds),
     {"model", "api_provider", "status"},
     duration_bounds},
    {"litellm_spend_metric_total",
     "counter",
     "What batches cost, in dollars",
     SERIES_SPEND,
     0,
     DOLLARS,
     0,
     {"api_key_alias", "model", "team"},
     NULL},
    {"litellm_remaining_team_budget_metric",
     "gauge",
     "What a team may still spend, in dollars; what is held for its batches is not in it",
     SERIES_BUDGET,
     0,
     DOLLARS,
     0,
     {"team"},
     NULL},
    {"litellm_check_batch_cost_jobs_polled_total",
     "counter",
     "Batches whose state was asked for",
     SERIES_POLLS,
     0,
     COUNTER,
     0,
     {NULL},
     NULL},
    {"litellm_check_batch_cost_jobs_processed_total",
     "counter",
     "Batches that have ended, whose usage is written",
     SERIES_POLLS,
     1,
     COUNTER,
     0,
     {NULL},
     NULL},
    {"litellm_check_batch_cost_errors_total",
     "counter",
     "Requests whose cost is not known: without a usage or a price",
     SERIES_POLLS,
     2,
     COUNTER,
     0,
     {NULL},
     NULL},
    {"litellm_check_batch_cost_last_run_timestamp",
     "gauge",
     "Unix time at which batches were asked for last",
     SERIES_POLLS,
     3,
     GAUGE,
     0,
     {NULL},
     NULL},
    {"tranche_batch_moves_total",
     "counter",
     "Batches that failed late and go to another deployment, by the error of the one before",
     SERIES_MOVES,
     0,
     COUNTER,
     0,
     {"model", "api_provider", "reason"},
     NULL},
};

size_t metrics_usage_count(void)
{
    return sizeof(metrics) / sizeof(metrics[0]);
}

/* @return what stands before the next label */
static char add_labels(const struct metric *m, const struct series_sample *s, struct strbuf *out)
{
    char before = '{';

    for (unsigned i = 0; i < SERIES_LABELS && m->labels[i] != NULL; i++, before = ',')
        metrics_add_label(out, before, m->labels[i], s->labels[i]);
    return before;
}

static void write_one(const struct metric *m, const struct series_sample *s, struct strbuf *out)
{
    char dollars[PRICE_DOLLARS_BYTES];
    uint64_t number = s->numbers[m->number];

    strbuf_adds(out, m->name);
    strbuf_adds(out, add_labels(m, s, out) == ',' ? "} " : " ");
    if (m->form == DOLLARS)
        strbuf_addf(out, "%s\n", price_dollars((int64_t)number, dollars));
    else
        strbuf_addf(out, "%" PRIu64 "\n", number);
}

static void write_bucket(const struct metric *m, const struct series_sample *s, const char *le,
                         uint64_t number, struct strbuf *out)
{
    strbuf_addf(out, "%s_bucket", m->name);
    metrics_add_label(out, add_labels(m, s, out), "le", le);
    strbuf_addf(out, "} %" PRIu64 "\n", number);
}

/* Each number was read at another moment: what is in a bucket is in all later ones, and in the
 * count. */
static void write_histogram(const struct metric *m, const struct series_sample *s,
                            struct strbuf *out)
{
    uint64_t sum = 0;
    char le[24];

    for (unsigned i = 0; i < m->num_bounds; i++) {
        sum += s->numbers[2 + i];
        snprintf(le, sizeof(le), "%" PRIu64, m->bounds[i]);
        write_bucket(m, s, le, sum, out);
    }
    if (s->numbers[0] > sum)
        sum = s->numbers[0];
    write_bucket(m, s, "+Inf", sum, out);
    strbuf_addf(out, "%s_sum", m->name);
    (void)add_labels(m, s, out);
    strbuf_addf(out, "} %" PRIu64 "\n%s_count", s->numbers[1], m->name);
    (void)add_labels(m, s, out);
    strbuf_addf(out, "} %" PRIu64 "\n", sum);
}

bool metrics_usage_write(size_t n, const struct series *series, uint32_t *row, struct strbuf *out)
{
    const struct metric *m = &metrics[n];
    uint32_t room = series_room(series),
             end = room - *row > ROWS_A_PIECE ? *row + ROWS_A_PIECE : room;
    size_t before = out->len;
    struct series_sample sample;

    if (*row == 0)
        metrics_add_head(m->name, m->type, m->help, out);
    for (; *row < end && out->len - before < TEXT_A_PIECE; ++*row) {
        if (!series_read(series, *row, &sample) || sample.family != m->family)
            continue;
        if (m->form == HISTOGRAM)
            write_histogram(m, &sample, out);
        else
            write_one(m, &sample, out);
    }
    return *row < room;
}
