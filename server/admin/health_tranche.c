/* See health_tranche.h. */
#include "health_tranche.h"

#include "common/clock.h"
#include "common/log_out.h"
#include "common/shm_words.h"
#include "json/json.h"

bool health_is_healthy(const struct runtime *rt, uint32_t deployment)
{
    const struct probe_word *p = &rt->inherited->probes[deployment];

    return load_acquire(&p->checked_unix_s) == 0 || load_relaxed_32(&p->healthy) != 0;
}

static uint64_t breaker_word(const struct runtime *rt, uint32_t deployment, enum op_class op)
{
    return load_relaxed(state_health(rt->inherited->state, rt->inherited->columns[deployment], op));
}

/* What rests by hand is tried all the same where nothing else is left: a balancer in front shall not
 * take the gateway out for it. */
static bool is_kept_out(const struct runtime *rt, uint32_t deployment, enum op_class op)
{
    uint64_t word = breaker_word(rt, deployment, op);
    struct breaker_view view;

    breaker_unpack(word, &view);
    return !breaker_admits(word, loop_now_ms(rt->loop)) && !breaker_rests_by_hand(&view);
}

static bool all_admitted(const struct runtime *rt, uint32_t deployment)
{
    for (int op = 0; op < OP_CLASS_COUNT; op++)
        if (is_kept_out(rt, deployment, (enum op_class)op))
            return false;
    return true;
}

bool health_is_ready(const struct runtime *rt)
{
    bool ready = false;

    for (uint32_t i = 0; !rt->draining && !ready && i < table_num_deployments(rt->table); i++)
        ready = health_is_healthy(rt, i) && all_admitted(rt, i);
    return ready;
}

/* --- members --- */

static void add_bool(struct strbuf *out, const char *key, bool value)
{
    strbuf_addf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

/* What is not known is null. */
static void add_known(struct strbuf *out, const char *key, uint64_t value, bool known)
{
    if (known)
        json_write_member_int(out, key, (int64_t)value);
    else
        json_write_member_string(out, key, NULL);
}

/* --- the node --- */

static void add_reload(const struct shared *shared, struct strbuf *out)
{
    const struct reload_fault *reload = &shared->reload;
    bool failed = load_relaxed_32(&shared->reload_failed) != 0;
    int64_t at_s = atomic_load_explicit(&reload->at_unix_s, memory_order_relaxed);
    uint32_t line = load_relaxed_32(&reload->line);
    char file[PROBLEM_BYTES], text[PROBLEM_BYTES];

    strbuf_addf(out, ",\"reload\":{\"failed\":%s", failed ? "true" : "false");
    add_known(out, "at", (uint64_t)at_s, at_s != 0);
    if (failed) {
        json_write_member_string(out, "error", problem_get(&reload->text, text) ? text : NULL);
        json_write_member_string(out, "file", problem_get(&reload->file, file) ? file : NULL);
        add_known(out, "line", line, line != 0);
    }
    strbuf_addc(out, '}');
}

static void add_worker(const struct worker_slot *slot, int32_t pid, struct strbuf *out)
{
    uint64_t beat_ms = load_relaxed(&slot->beat_ms), now_ms = clock_now_ms();

    strbuf_addf(out, "{\"pid\":%d", (int)pid);
    json_write_member_int(out, "generation", load_relaxed_32(&slot->generation));
    json_write_member_int(out, "started_at",
                          atomic_load_explicit(&slot->started_unix_s, memory_order_relaxed));
    json_write_member_int(out, "connections", load_relaxed_32(&slot->connections));
    json_write_member_int(out, "requests", (int64_t)load_relaxed(&slot->requests));
    json_write_member_int(out, "spool_bytes", (int64_t)load_relaxed(&slot->spool_bytes));
    add_bool(out, "draining", load_relaxed_32(&slot->draining) != 0);
    add_known(out, "heartbeat_age_ms", now_ms > beat_ms ? now_ms - beat_ms : 0, beat_ms != 0);
    strbuf_addc(out, '}');
}

static void add_workers(const struct shared *shared, struct strbuf *out)
{
    bool first = true;

    strbuf_adds(out, ",\"workers\":[");
    for (uint32_t i = 0; i < WORKER_ROWS; i++) {
        const struct worker_slot *slot = &shared->slots[i];
        int32_t pid = atomic_load_explicit(&slot->pid, memory_order_relaxed);

        if (pid == 0 || load_relaxed_32(&slot->is_worker) == 0)
            continue;
        if (!first)
            strbuf_addc(out, ',');
        first = false;
        add_worker(slot, pid, out);
    }
    strbuf_addc(out, ']');
}

void health_tranche_node(const struct runtime *rt, struct strbuf *out)
{
    const struct inherited *inherited = rt->inherited;
    int64_t age_s = (int64_t)((clock_now_ms() - inherited->started_ms) / 1000);

    strbuf_addf(out, "\"version\":\"%s\"", TRANCHE_VERSION);
    json_write_member_int(out, "started_at", clock_unix_s() - age_s);
    json_write_member_int(out, "now", clock_unix_s());
    json_write_member_int(out, "generation", inherited->generation);
    add_bool(out, "ready", health_is_ready(rt));
    add_bool(out, "draining", rt->draining);
    add_reload(inherited->shared, out);
    json_write_member_int(out, "child_restarts",
                          (int64_t)load_relaxed(&inherited->shared->restarts));
    strbuf_addf(out, ",\"log_lines_dropped\":{\"access\":%llu,\"error\":%llu}",
                (unsigned long long)log_out_lost(LOG_STREAM_ACCESS),
                (unsigned long long)log_out_lost(LOG_STREAM_ERROR));
    add_workers(inherited->shared, out);
}

/* --- a deployment --- */

static void add_breaker(const struct runtime *rt, uint32_t i, enum op_class op, struct strbuf *out)
{
    uint64_t now_ms = loop_now_ms(rt->loop);
    struct breaker_view view;

    breaker_unpack(breaker_word(rt, i, op), &view);
    strbuf_addf(out, "%s\"%s\":{\"state\":\"%s\"", op == 0 ? "" : ",", op_class_name(op),
                breaker_state_name(view.state));
    json_write_member_string(out, "reason",
                             view.reason != OUTCOME_OK ? outcome_name(view.reason) : NULL);
    json_write_member_int(out, "failures", view.failures);
    json_write_member_int(out, "rounds", view.rounds);
    json_write_member_int(out, "for_ms",
                          view.until_ms > now_ms ? (int64_t)(view.until_ms - now_ms) : 0);
    strbuf_addc(out, '}');
}

/* Where the lower of both limits comes from. */
static const char *limit_source(const struct runtime *rt, uint32_t i, uint64_t limit)
{
    uint64_t configured = rt->config->models.deployments[i].enqueued_token_limit;

    if (limit == 0)
        return NULL;
    return limit == configured ? "configured" : "learned";
}

static void add_quota(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    const struct table_deployment *d = table_deployment(rt->table, i);
    struct quota_sum q;
    uint64_t used;

    quota_read(rt->inherited->quota, rt->inherited->columns[i], loop_now_ms(rt->loop), &q);
    used = q.reserved + q.elsewhere + q.foreign;
    strbuf_addf(out, ",\"quota\":{\"enqueued\":%llu", (unsigned long long)q.reserved);
    json_write_member_int(out, "elsewhere", (int64_t)q.elsewhere);
    json_write_member_int(out, "foreign", (int64_t)q.foreign);
    json_write_member_int(out, "expected", (int64_t)q.expected);
    add_known(out, "limit", q.limit, q.limit != 0);
    json_write_member_string(out, "limit_source", limit_source(rt, i, q.limit));
    add_known(out, "free", q.limit > used ? q.limit - used : 0, q.limit != 0);
    json_write_member_int(out, "drain_per_s", (int64_t)q.drain_rate);
    json_write_member_int(out, "refusing_for_ms", (int64_t)q.full_for_ms);
    add_bool(out, "shared", d->real != d->fingerprint);
    strbuf_addc(out, '}');
}

static void add_files(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    const struct config_limits *limits = &rt->config->limits;
    enum provider provider = runtime_account(rt, i)->provider;
    const struct slots *slots = rt->inherited->slots;
    uint32_t column = rt->inherited->columns[i];
    uint64_t lasting = slots_held(slots, column, SLOTS_LASTING);
    uint64_t expiring = slots_held(slots, column, SLOTS_EXPIRING);
    uint64_t max_lasting = limits->max_files[provider];
    uint64_t max_expiring = limits->max_expiring_files[provider];

    strbuf_adds(out, ",\"file_slots\":{\"lasting\":{\"held\":");
    strbuf_addf(out, lasting != UINT64_MAX ? "%llu" : "null", (unsigned long long)lasting);
    add_known(out, "limit", max_lasting, max_lasting != 0);
    strbuf_adds(out, "},\"expiring\":{\"held\":");
    strbuf_addf(out, expiring != UINT64_MAX ? "%llu" : "null", (unsigned long long)expiring);
    add_known(out, "limit", max_expiring, max_expiring != 0);
    strbuf_adds(out, "}}");
}

static void add_calls(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    uint64_t now_ms = loop_now_ms(rt->loop);
    struct state_sum sum;

    state_read(rt->inherited->state, rt->inherited->columns[i], now_ms, &sum);
    strbuf_adds(out, ",\"in_flight\":{");
    for (int op = 0; op < OP_CLASS_COUNT; op++)
        strbuf_addf(out, "%s\"%s\":%llu", op == 0 ? "" : ",", op_class_name((enum op_class)op),
                    (unsigned long long)sum.in_flight[op]);
    strbuf_addc(out, '}');
    add_known(out, "latency_ms", sum.latency_us / 1000, sum.latency_us != 0);
    if (sum.last_error_ms == 0) {
        json_write_member_string(out, "last_error", NULL);
        return;
    }
    strbuf_addf(out, ",\"last_error\":{\"outcome\":\"%s\",\"status\":%d",
                outcome_name(sum.last_outcome), sum.last_status);
    json_write_member_int(
        out, "age_s",
        now_ms > sum.last_error_ms ? (int64_t)((now_ms - sum.last_error_ms) / 1000) : 0);
    strbuf_addc(out, '}');
}

void health_tranche_deployment(const struct runtime *rt, uint32_t i, struct strbuf *out)
{
    const struct table_deployment *d = table_deployment(rt->table, i);
    uint64_t checked_s = load_acquire(&rt->inherited->probes[i].checked_unix_s);

    strbuf_addc(out, '{');
    json_write_member_string(out, "model_id", table_str(rt->table, d->id));
    json_write_member_string(out, "model_group",
                             d->group != MODEL_NO_INDEX ? table_group_name(rt->table, d->group)
                                                        : NULL);
    json_write_member_string(out, "model", table_str(rt->table, d->litellm_model));
    json_write_member_string(out, "account", runtime_account(rt, i)->name);
    add_bool(out, "healthy", health_is_healthy(rt, i));
    add_known(out, "checked_at", checked_s, checked_s != 0);
    strbuf_adds(out, ",\"breaker\":{");
    for (int op = 0; op < OP_CLASS_COUNT; op++)
        add_breaker(rt, i, (enum op_class)op, out);
    strbuf_addc(out, '}');
    add_quota(rt, i, out);
    add_files(rt, i, out);
    add_calls(rt, i, out);
    strbuf_addc(out, '}');
}
