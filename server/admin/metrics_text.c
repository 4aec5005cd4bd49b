/* See metrics_text.h. */
#include "metrics_text.h"

#include <math.h>
#include <string.h>

/* --- samples --- */

/* A label's value: backslash, quote and line feed are escaped. */
static void add_value(struct strbuf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            strbuf_adds(out, "\\n");
        else if (*text == '\\' || *text == '"')
            strbuf_addf(out, "\\%c", *text);
        else
            strbuf_addc(out, *text);
    }
}

void metrics_add_label(struct strbuf *out, char before, const char *name, const char *value)
{
    strbuf_addf(out, "%c%s=\"", before, name);
    add_value(out, value);
    strbuf_addc(out, '"');
}

/* Which labels a metric's rows have. */
enum labels { LITELLM, LITELLM_MODEL, OURS };

static void begin(struct strbuf *out, const char *name, enum labels labels,
                  const struct metrics_row *row)
{
    strbuf_adds(out, name);
    if (labels == OURS) {
        metrics_add_label(out, '{', "model_group", row->group);
        metrics_add_label(out, ',', "model_id", row->id);
        return;
    }
    metrics_add_label(out, '{', "litellm_model_name", row->model);
    metrics_add_label(out, ',', "model_id", row->id);
    metrics_add_label(out, ',', "api_base", row->base);
    metrics_add_label(out, ',', "api_provider", row->provider);
    if (labels == LITELLM_MODEL)
        metrics_add_label(out, ',', "requested_model", row->group);
}

static void end(struct strbuf *out, uint64_t value)
{
    strbuf_addf(out, "} %llu\n", (unsigned long long)value);
}

static void end_real(struct strbuf *out, double value)
{
    if (isfinite(value))
        strbuf_addf(out, "} %.9g\n", value);
    else
        strbuf_adds(out, "} NaN\n");
}

/* --- metrics of rows --- */

struct metric {
    const char *name, *type, *help;
    enum labels labels;
    void (*write)(const struct metric *m, const struct metrics_row *row, struct strbuf *out);
    size_t field; /* of number() and of_ledger(): a uint64_t of the row */
};

static void write_number(const struct metric *m, const struct metrics_row *row, uint64_t value,
                         struct strbuf *out)
{
    begin(out, m->name, m->labels, row);
    end(out, value);
}

static void number(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    write_number(m, row, *(const uint64_t *)((const char *)row + m->field), out);
}

static void of_ledger(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->own_ledger)
        number(m, row, out);
}

static void write_of_op(const struct metric *m, const struct metrics_row *row, enum op_class op,
                        uint64_t value, struct strbuf *out)
{
    begin(out, m->name, m->labels, row);
    metrics_add_label(out, ',', "operation", op_class_name(op));
    end(out, value);
}

static unsigned num_cooling_down(const struct metrics_row *row)
{
    unsigned n = 0;

    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        n += row->cooling_down[op];
    return n;
}

static void state(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    unsigned cooling_down = num_cooling_down(row);
    bool down = !row->healthy || cooling_down == OP_CLASS_COUNT;

    write_number(m, row, down ? 2 : cooling_down > 0, out);
}

static uint64_t sum_of(const struct metrics_row *row, bool good, bool bad)
{
    uint64_t sum = 0;

    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        for (unsigned o = 0; o < OUTCOME_COUNT; o++)
            if (o != OUTCOME_CANCELLED && (o == OUTCOME_OK ? good : bad))
                sum += row->sum.outcomes[op][o];
    return sum;
}

static void requests(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    write_number(m, row, sum_of(row, true, true), out);
}

static void successes(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    write_number(m, row, sum_of(row, true, false), out);
}

/* A series for each kind of failure that was met. */
static void failures(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        uint64_t sum = 0;

        for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
            sum += row->sum.outcomes[op][o];
        if (sum == 0 || o == OUTCOME_OK || o == OUTCOME_CANCELLED)
            continue;
        begin(out, m->name, m->labels, row);
        metrics_add_label(out, ',', "exception_class", outcome_name((enum outcome)o));
        end(out, sum);
    }
}

/* A series for each outcome that was met. */
static void calls(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++) {
        for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
            if (row->sum.outcomes[op][o] == 0)
                continue;
            begin(out, m->name, m->labels, row);
            metrics_add_label(out, ',', "operation", op_class_name((enum op_class)op));
            metrics_add_label(out, ',', "outcome", outcome_name((enum outcome)o));
            end(out, row->sum.outcomes[op][o]);
        }
    }
}

static void in_flight(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        write_of_op(m, row, (enum op_class)op, row->sum.in_flight[op], out);
}

static void in_cooldown(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        write_of_op(m, row, (enum op_class)op, row->cooling_down[op], out);
}

static void healthy(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    write_number(m, row, row->healthy, out);
}

static void checked(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->checked_unix_s > 0)
        write_number(m, row, (uint64_t)row->checked_unix_s, out);
}

static void latency(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->sum.latency_us == 0)
        return;
    begin(out, m->name, m->labels, row);
    end_real(out, (double)row->sum.latency_us / 1e6);
}

static void limit(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->own_ledger && row->quota.limit > 0)
        write_number(m, row, row->quota.limit, out);
}

static void free_tokens(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    uint64_t used = row->quota.reserved + row->quota.elsewhere + row->quota.foreign;

    if (row->own_ledger && row->quota.limit > 0)
        write_number(m, row, row->quota.limit > used ? row->quota.limit - used : 0, out);
}

static void refusing(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (!row->own_ledger)
        return;
    begin(out, m->name, m->labels, row);
    end_real(out, (double)row->quota.full_for_ms / 1e3);
}

static void drain(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (!row->own_ledger)
        return;
    begin(out, m->name, m->labels, row);
    end_real(out, row->quota.drain_rate);
}

static void reservations(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->own_ledger)
        write_number(m, row, row->tally.reservations, out);
}

static void orphans(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->own_ledger)
        write_number(m, row, row->tally.orphans, out);
}

static void oldest(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (row->own_ledger && row->tally.reservations > 0)
        write_number(m, row, row->oldest_age_s, out);
}

static void files(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    static const char *const kinds[SLOTS_KINDS] = {
        [SLOTS_LASTING] = "false", [SLOTS_EXPIRING] = "true"};

    for (unsigned kind = 0; kind < SLOTS_KINDS; kind++) {
        if (!row->own_files || row->files[kind] == UINT64_MAX)
            continue;
        begin(out, m->name, m->labels, row);
        metrics_add_label(out, ',', "expires", kinds[kind]);
        end(out, row->files[kind]);
    }
}

static void clock_skew(const struct metric *m, const struct metrics_row *row, struct strbuf *out)
{
    if (!row->own_clock)
        return;
    begin(out, m->name, m->labels, row);
    strbuf_addf(out, "} %lld\n", (long long)row->skew_s);
}

static const struct metric metrics[] = {
    {"litellm_deployment_state", "gauge",
     "0: healthy, 1: in cooldown for some kinds of calls, 2: unhealthy, or in cooldown for all",
     LITELLM, state},
    {"litellm_deployment_total_requests_total", "counter", "Upstream calls that ended",
     LITELLM_MODEL, requests},
    {"litellm_deployment_success_responses_total", "counter",
     "Upstream calls for which the deployment is not to blame", LITELLM_MODEL, successes},
    {"litellm_deployment_failure_responses_total", "counter", "Upstream calls that failed",
     LITELLM_MODEL, failures},
    {"litellm_deployment_cooled_down_total", "counter", "Cooldowns started", LITELLM, number,
     offsetof(struct metrics_row, sum.rests)},
    {"tranche_upstream_requests_total", "counter", "Upstream calls that ended, and how", OURS,
     calls},
    {"tranche_upstream_in_flight", "gauge", "Upstream calls under way", OURS, in_flight},
    {"tranche_upstream_latency_seconds", "gauge",
     "Moving average of the time of uploads and creates", OURS, latency},
    {"tranche_upstream_sent_bytes_total", "counter", "Bytes sent upstream", OURS, number,
     offsetof(struct metrics_row, sum.bytes_sent)},
    {"tranche_upstream_received_bytes_total", "counter", "Bytes received from upstream", OURS,
     number, offsetof(struct metrics_row, sum.bytes_received)},
    {"tranche_deployment_in_cooldown", "gauge", "1: no new calls of this kind are sent there", OURS,
     in_cooldown},
    {"tranche_deployment_healthy", "gauge",
     "1: the last health check succeeded, or there was none yet", OURS, healthy},
    {"tranche_deployment_probe_timestamp_seconds", "gauge", "Unix time of the last health check",
     OURS, checked},
    {"tranche_enqueued_tokens", "gauge", "Tokens of unfinished batches in the quota ledger", OURS,
     of_ledger, offsetof(struct metrics_row, quota.reserved)},
    {"tranche_external_tokens", "gauge",
     "Tokens enqueued by other clients of the deployment, estimated", OURS, of_ledger,
     offsetof(struct metrics_row, quota.foreign)},
    {"tranche_elsewhere_tokens", "gauge",
     "Tokens of unfinished batches of other gateways over the same database, a second ago", OURS,
     of_ledger, offsetof(struct metrics_row, quota.elsewhere)},
    {"tranche_expected_tokens", "gauge", "Tokens of stored files whose batches are expected", OURS,
     of_ledger, offsetof(struct metrics_row, quota.expected)},
    {"tranche_enqueued_token_limit", "gauge", "Enqueued tokens that the deployment takes", OURS,
     limit},
    {"tranche_free_tokens", "gauge", "Tokens that fit into the limit now", OURS, free_tokens},
    {"tranche_drain_tokens_per_second", "gauge",
     "Tokens of batches that the deployment works off in a second", OURS, drain},
    {"tranche_refused_size_retry_seconds", "gauge",
     "Seconds until batches of the refused size are tried again", OURS, refusing},
    {"tranche_reservations", "gauge", "Unfinished batches in the quota ledger", OURS, reservations},
    {"tranche_orphaned_reservations", "gauge", "Reservations of creates whose outcome is unknown",
     OURS, orphans},
    {"tranche_oldest_reservation_seconds", "gauge", "Age of the oldest reservation", OURS, oldest},
    {"tranche_account_files", "gauge", "Input files in the account of the deployment", OURS, files},
    {"tranche_account_clock_skew_seconds", "gauge",
     "Seconds by which the clock of the account is ahead of this host; negative: behind", OURS,
     clock_skew},
};

size_t metrics_count(void)
{
    return sizeof(metrics) / sizeof(metrics[0]);
}

void metrics_add_head(const char *name, const char *type, const char *help, struct strbuf *out)
{
    strbuf_addf(out, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_write_head(size_t n, struct strbuf *out)
{
    metrics_add_head(metrics[n].name, metrics[n].type, metrics[n].help, out);
}

void metrics_write_row(size_t n, const struct metrics_row *row, struct strbuf *out)
{
    metrics[n].write(&metrics[n], row, out);
}

/* --- metrics of the node --- */

static void write_alone(const char *name, const char *type, const char *help, uint64_t value,
                        struct strbuf *out)
{
    metrics_add_head(name, type, help, out);
    strbuf_addf(out, "%s %llu\n", name, (unsigned long long)value);
}

static const char *const log_names[LOG_STREAMS] = {
    [LOG_STREAM_ACCESS] = "access", [LOG_STREAM_ERROR] = "error"};

/* Of keys and teams together: which of them, only a bounded list could tell. */
static void write_scopes(const struct quota_scope_totals *totals, struct strbuf *out)
{
    static const char *const names[QUOTA_SCOPES] = {[QUOTA_KEY] = "key", [QUOTA_TEAM] = "team"};

    write_alone("tranche_quota_scopes", "gauge", "Keys and teams that have unfinished batches",
                totals->scopes, out);
    write_alone("tranche_quota_unscoped_batches_total", "counter",
                "Batches not counted for a key or team because the ledger had no place for it",
                totals->unscoped, out);
    metrics_add_head("tranche_quota_scope_refusals_total", "counter",
                     "Creates refused for a limit of a key or team", out);
    for (int i = 0; i < QUOTA_SCOPES; i++) {
        strbuf_addf(out, "tranche_quota_scope_refusals_total{scope=\"%s\",limit=\"tokens\"} %llu\n",
                    names[i], (unsigned long long)totals->refused_tokens[i]);
        strbuf_addf(out,
                    "tranche_quota_scope_refusals_total{scope=\"%s\",limit=\"batches\"} %llu\n",
                    names[i], (unsigned long long)totals->refused_batches[i]);
    }
}

void metrics_write_node(const struct metrics_node *node, struct strbuf *out)
{
    metrics_add_head("tranche_build_info", "gauge", "The version that runs", out);
    strbuf_adds(out, "tranche_build_info{version=\"" TRANCHE_VERSION "\"} 1\n");
    write_alone("tranche_start_timestamp_seconds", "gauge", "When the master started",
                (uint64_t)node->started_unix_s, out);
    write_alone("tranche_config_generation", "gauge", "Number of the configuration in force",
                node->generation, out);
    write_alone("tranche_config_reload_failed", "gauge", "1: the last reload was refused",
                node->reload_failed, out);
    write_alone("tranche_workers", "gauge", "Worker processes, draining ones included",
                node->workers, out);
    write_alone("tranche_child_restarts_total", "counter",
                "Child processes restarted after an unplanned end", node->restarts, out);
    write_alone("tranche_client_connections", "gauge", "Client connections open", node->connections,
                out);
    write_alone("tranche_client_requests_total", "counter", "Client requests answered",
                node->requests, out);
    write_alone("tranche_long_polls", "gauge", "Polls that are held until their batch changes",
                node->long_polls, out);
    write_alone("tranche_spool_bytes", "gauge", "Bytes of uploads spooled on disk",
                node->spool_bytes, out);
    write_alone("tranche_uploaded_files_total", "counter", "Uploads that passed all checks",
                node->files, out);
    write_alone("tranche_uploaded_bytes_total", "counter",
                "Bytes of uploads that passed all checks", node->file_bytes, out);
    write_alone("tranche_uploaded_lines_total", "counter",
                "Lines of batch files that passed all checks", node->lines, out);
    write_alone("tranche_result_duplicates_total", "counter",
                "Answers in batches' output and error files to requests that had one already, "
                "counted again by each read of the batch's results",
                node->result_duplicates, out);
    write_alone("tranche_limits_unmeasured_total", "counter",
                "Requests whose key or team was not held to its limits, since too many are in use",
                node->unmeasured, out);
    write_alone("tranche_idempotency_evictions_total", "counter",
                "Idempotency entries evicted before they expired", node->evicted, out);
    write_scopes(&node->scopes, out);
    metrics_add_head("tranche_log_lines_dropped_total", "counter",
                     "Log lines dropped because their reader was too slow or memory was short",
                     out);
    for (int i = 0; i < LOG_STREAMS; i++)
        strbuf_addf(out, "tranche_log_lines_dropped_total{stream=\"%s\"} %llu\n", log_names[i],
                    (unsigned long long)node->log_lost[i]);
}
