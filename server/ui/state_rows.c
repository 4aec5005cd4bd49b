/* Deployments: which are shown, and what is known of each. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admin/health.h"
#include "json/json.h"
#include "state_parts.h"

#define LOOKS_A_TURN  1000  /* rows, four words each */
#define PLACES_A_TURN 16384 /* of the ledger, counted */
#define ROWS_A_TURN   8     /* written; some 10 us each, and more where there are many workers */

bool state_rows_begin(struct state_rows *rows, const struct runtime *rt)
{
    *rows = (struct state_rows){.rt = rt};
    rows->tallies = calloc(quota_max_columns(rt->inherited->quota), sizeof(*rows->tallies));
    return rows->tallies != NULL;
}

void state_rows_end(struct state_rows *rows)
{
    free(rows->tallies);
    rows->tallies = NULL;
}

uint32_t state_row_of_column(const struct runtime *rt, uint32_t column)
{
    for (uint32_t i = 0; i < table_num_deployments(rt->table); i++)
        if (rt->inherited->columns[i] == column)
            return i;
    return MODEL_NO_INDEX;
}

static uint64_t health_word(const struct runtime *rt, uint32_t i, enum op_class op)
{
    return load_relaxed(state_health(rt->inherited->state, rt->inherited->columns[i], op));
}

/* The row for calls that name no model says nothing new of an account that model_list names too. */
static bool is_listed(const struct runtime *rt, uint32_t i)
{
    const struct table_deployment *d = table_deployment(rt->table, i);

    return d->group != MODEL_NO_INDEX || (rt->account_same_resource[d->account] == d->account &&
                                          rt->account_first[d->account] == i);
}

static bool is_troubled(const struct runtime *rt, uint32_t i)
{
    uint64_t now_ms = loop_now_ms(rt->loop);

    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        if (!breaker_admits(health_word(rt, i, (enum op_class)op), now_ms))
            return true;
    return !health_is_good(rt, i);
}

bool state_rows_choose(struct state_rows *rows)
{
    const struct runtime *rt = rows->rt;
    uint32_t num = table_num_deployments(rt->table), end = rows->next + LOOKS_A_TURN;

    for (; rows->next < num && rows->next < end; rows->next++) {
        uint32_t i = rows->next;

        if (!is_listed(rt, i))
            continue;
        rows->listed++;
        if (is_troubled(rt, i)) {
            rows->troubled++;
            if (rows->num_troubled < STATE_DEPLOYMENTS)
                rows->troubled_rows[rows->num_troubled++] = i;
        } else if (rows->num_calm < STATE_DEPLOYMENTS) {
            rows->calm_rows[rows->num_calm++] = i;
        }
    }
    return rows->next < num;
}

bool state_rows_count(struct state_rows *rows)
{
    return quota_count(rows->rt->inherited->quota, &rows->cursor, PLACES_A_TURN, rows->tallies);
}

static void write_breakers(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    uint64_t now_ms = loop_now_ms(rt->loop);

    strbuf_adds(out, ",\"breakers\":[");
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++) {
        uint64_t word = health_word(rt, i, (enum op_class)op);
        struct breaker_view view;

        breaker_unpack(word, &view);
        strbuf_addf(out, "%s{\"operation\":\"%s\"", op == 0 ? "" : ",",
                    op_class_name((enum op_class)op));
        json_write_member_string(out, "state", breaker_state_name(view.state));
        json_write_member_string(out, "reason",
                                 view.reason == OUTCOME_OK ? NULL : outcome_name(view.reason));
        json_write_member_int(out, "failures", view.failures);
        json_write_member_int(
            out, "for_s",
            view.until_ms > now_ms ? (int64_t)(view.until_ms - now_ms + 999) / 1000 : 0);
        strbuf_addf(out, ",\"admits\":%s}", breaker_admits(word, now_ms) ? "true" : "false");
    }
    strbuf_addc(out, ']');
}

static void write_quota(const struct state_rows *rows, uint32_t i, struct strbuf *out)
{
    static const char *const from[] = {[QUOTA_LIMIT_UNKNOWN] = "unknown",
                                       [QUOTA_LIMIT_CONFIGURED] = "configuration",
                                       [QUOTA_LIMIT_HEADER] = "header",
                                       [QUOTA_LIMIT_REFUSAL] = "refusal"};
    const struct runtime *rt = rows->rt;
    uint32_t column = rt->inherited->columns[i];
    uint64_t now_ms = loop_now_ms(rt->loop);
    const struct quota_tally *tally = &rows->tallies[column];
    struct quota_sum sum;

    quota_read(rt->inherited->quota, column, now_ms, &sum);
    strbuf_addf(out, ",\"quota\":{\"enqueued\":%llu", (unsigned long long)sum.reserved);
    json_write_member_int(out, "elsewhere", (int64_t)sum.elsewhere);
    json_write_member_int(out, "foreign", (int64_t)sum.foreign);
    json_write_member_int(out, "expected", (int64_t)sum.expected);
    json_write_member_int(out, "limit", (int64_t)sum.limit);
    json_write_member_string(out, "limit_from",
                             from[quota_limit_from(rt->inherited->quota, column, now_ms)]);
    strbuf_addf(out, ",\"drain_rate\":%.9g", sum.drain_rate < 1e300 ? sum.drain_rate : 0);
    json_write_member_int(out, "full_tokens", (int64_t)sum.full_tokens);
    json_write_member_int(out, "full_for_s", (int64_t)(sum.full_for_ms + 999) / 1000);
    json_write_member_int(out, "batches", tally->reservations);
    json_write_member_int(out, "orphans", tally->orphans);
    json_write_member_int(out, "oldest_s",
                          tally->oldest_ms != 0 && now_ms > tally->oldest_ms
                              ? (int64_t)(now_ms - tally->oldest_ms) / 1000
                              : 0);
    strbuf_addc(out, '}');
}

static void write_calls(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    uint64_t now_ms = loop_now_ms(rt->loop), requests = 0, in_flight = 0;
    struct state_sum sum;
    bool first = true;

    state_read(rt->inherited->state, rt->inherited->columns[i], now_ms, &sum);
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++) {
        requests += sum.requests[op];
        in_flight += sum.in_flight[op];
    }
    json_write_member_int(out, "requests", (int64_t)requests);
    json_write_member_int(out, "in_flight", (int64_t)in_flight);
    json_write_member_int(out, "latency_ms", (int64_t)sum.latency_us / 1000);
    strbuf_adds(out, ",\"failures\":{");
    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        uint64_t count = 0;

        for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
            count += sum.outcomes[op][o];
        if (count == 0 || o == OUTCOME_OK || o == OUTCOME_CANCELLED)
            continue;
        strbuf_addf(out, "%s\"%s\":%llu", first ? "" : ",", outcome_name((enum outcome)o),
                    (unsigned long long)count);
        first = false;
    }
    strbuf_addc(out, '}');
    if (sum.last_outcome == OUTCOME_OK || sum.last_error_ms == 0)
        return;
    strbuf_addf(out, ",\"last_error\":{\"outcome\":\"%s\"", outcome_name(sum.last_outcome));
    json_write_member_int(out, "status", sum.last_status);
    json_write_member_int(out, "age_s",
                          now_ms > sum.last_error_ms ? (int64_t)(now_ms - sum.last_error_ms) / 1000
                                                     : 0);
    strbuf_addc(out, '}');
}

static void write_files(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    static const char *const names[SLOTS_KINDS] = {
        [SLOTS_LASTING] = "files", [SLOTS_EXPIRING] = "expiring_files"};

    for (unsigned kind = 0; kind < SLOTS_KINDS; kind++) {
        uint64_t held =
            slots_held(rt->inherited->slots, rt->inherited->columns[i], (enum slots_kind)kind);

        if (held != UINT64_MAX)
            json_write_member_int(out, names[kind], (int64_t)held);
    }
}

static void write_row(const struct state_rows *rows, uint32_t i, struct strbuf *out)
{
    const struct runtime *rt = rows->rt;
    const struct table_deployment *d = table_deployment(rt->table, i);
    const struct model_account *account = runtime_account(rt, i);
    char text[640];

    strbuf_adds(out, "{\"id\":");
    json_write_string(out, table_str(rt->table, d->id), strlen(table_str(rt->table, d->id)));
    json_write_member_string(
        out, "group", d->group != MODEL_NO_INDEX ? table_group_name(rt->table, d->group) : NULL);
    json_write_member_string(out, "model", table_str(rt->table, d->litellm_model));
    json_write_member_string(out, "account", account->name != NULL ? account->name : account->base);
    json_write_member_string(out, "base", account->base);
    json_write_member_string(out, "problem",
                             health_problem(rt, i, text, sizeof(text)) ? text : NULL);
    write_breakers(rt, i, out);
    if (d->real == d->fingerprint)
        write_quota(rows, i, out);
    write_calls(rt, i, out);
    write_files(rt, i, out);
    strbuf_addc(out, '}');
}

bool state_rows_write(struct state_rows *rows, struct strbuf *out)
{
    uint32_t shown = rows->num_troubled + rows->num_calm, end;

    if (shown > STATE_DEPLOYMENTS)
        shown = STATE_DEPLOYMENTS;
    if (rows->written == 0) {
        strbuf_addf(out, ",\"deployments\":{\"total\":%u,\"troubled\":%u,\"rows\":[", rows->listed,
                    rows->troubled);
    }
    end = rows->written + ROWS_A_TURN < shown ? rows->written + ROWS_A_TURN : shown;
    for (; rows->written < end; rows->written++) {
        uint32_t at = rows->written;

        strbuf_adds(out, at == 0 ? "" : ",");
        write_row(rows,
                  at < rows->num_troubled ? rows->troubled_rows[at]
                                          : rows->calm_rows[at - rows->num_troubled],
                  out);
    }
    assert(rows->written <= STATE_DEPLOYMENTS);
    if (rows->written < shown)
        return true;
    strbuf_adds(out, "]}");
    return false;
}
