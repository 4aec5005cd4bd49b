/* The node itself: its processes, the last hour, the last lines of the log. */
#include <string.h>

#include "admin/health_database.h"
#include "common/clock.h"
#include "common/log_out.h"
#include "common/log_recent.h"
#include "config/entrance.h"
#include "json/json.h"
#include "state_parts.h"

static void add_bool(struct strbuf *out, const char *name, bool value)
{
    strbuf_addf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void write_worker(const struct worker_slot *slot, uint32_t row, uint64_t now_ms,
                         struct strbuf *out)
{
    uint64_t beat_ms = load_relaxed(&slot->beat_ms);
    int64_t started_s = atomic_load_explicit(&slot->started_unix_s, memory_order_relaxed);
    int64_t now_s = clock_unix_s();
    uint64_t word = load_relaxed(&slot->role);
    char role[sizeof(word) + 1] = "";

    memcpy(role, &word, sizeof(word));
    strbuf_addf(out, "{\"row\":%u", row);
    json_write_member_string(out, "role", role);
    json_write_member_int(out, "pid", atomic_load_explicit(&slot->pid, memory_order_relaxed));
    json_write_member_int(out, "generation", load_relaxed_32(&slot->generation));
    json_write_member_int(out, "connections", load_relaxed_32(&slot->connections));
    json_write_member_int(out, "requests", (int64_t)load_relaxed(&slot->requests));
    json_write_member_int(out, "spool_bytes", (int64_t)load_relaxed(&slot->spool_bytes));
    json_write_member_int(out, "uptime_s", now_s > started_s ? now_s - started_s : 0);
    json_write_member_int(out, "beat_age_ms",
                          now_ms > beat_ms && beat_ms > 0 ? (int64_t)(now_ms - beat_ms) : 0);
    add_bool(out, "draining", load_relaxed_32(&slot->draining) != 0);
    strbuf_addc(out, '}');
}

/* Totals are of all processes that had the slots. */
static void write_workers(const struct runtime *rt, struct strbuf *out)
{
    const struct shared *shared = rt->inherited->shared;
    uint64_t now_ms = clock_now_ms(), spool = 0, requests = 0;
    uint32_t connections = 0;
    bool first = true;

    strbuf_adds(out, ",\"workers\":[");
    for (uint32_t i = 0; i < WORKER_ROWS; i++) {
        const struct worker_slot *slot = &shared->slots[i];

        requests += load_relaxed(&slot->requests);
        if (atomic_load_explicit(&slot->pid, memory_order_relaxed) == 0)
            continue;
        spool += load_relaxed(&slot->spool_bytes);
        connections += load_relaxed_32(&slot->connections);
        strbuf_adds(out, first ? "" : ",");
        write_worker(slot, i, now_ms, out);
        first = false;
    }
    strbuf_addc(out, ']');
    json_write_member_int(out, "restarts", (int64_t)load_relaxed(&shared->restarts));
    json_write_member_int(out, "connections", connections);
    json_write_member_int(out, "requests", (int64_t)requests);
    json_write_member_int(out, "spool_bytes", (int64_t)spool);
    json_write_member_int(out, "spool_limit", (int64_t)rt->config->limits.spool_bytes);
}

static void write_faults(const struct runtime *rt, struct strbuf *out)
{
    struct shared *shared = rt->inherited->shared;
    const char *warning = entrance_warning(rt->config);
    char problem[PROBLEM_BYTES];

    add_bool(out, "reload_failed", load_relaxed_32(&shared->reload_failed) != 0);
    json_write_member_string(out, "reload_error",
                             problem_get(&shared->reload.text, problem) ? problem : NULL);
    json_write_member_string(out, "reload_file",
                             problem_get(&shared->reload.file, problem) ? problem : NULL);
    json_write_member_int(out, "reload_line", load_relaxed_32(&shared->reload.line));
    json_write_member_string(out, "keys_problem",
                             problem_get(&shared->keys_problem, problem) ? problem : NULL);
    json_write_member_string(out, "entrance_warning", warning[0] != '\0' ? warning : NULL);
    json_write_member_int(
        out, "log_lines_lost",
        (int64_t)(log_out_lost(LOG_STREAM_ACCESS) + log_out_lost(LOG_STREAM_ERROR)));
    if (secret_is_set(&rt->config->database))
        health_database_write(&shared->database, loop_now_ms(rt->loop), out);
}

void state_node_write(const struct runtime *rt, struct strbuf *out)
{
    const struct inherited *inherited = rt->inherited;

    strbuf_adds(out, "{\"version\":\"" TRANCHE_VERSION "\"");
    json_write_member_int(out, "now", clock_unix_s());
    json_write_member_int(out, "uptime_s",
                          (int64_t)((clock_now_ms() - inherited->started_ms) / 1000));
    json_write_member_int(out, "generation", inherited->generation);
    add_bool(out, "journal", rt->config->journal);
    add_bool(out, "draining", rt->draining);
    write_workers(rt, out);
    write_faults(rt, out);
}

/* [minutes ago, requests, failed, p50 ms, p99 ms]; those without requests are left out. */
void state_minutes_write(const struct runtime *rt, struct strbuf *out)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};
    uint64_t now_ms = clock_now_ms();
    bool first = true;

    for (uint32_t i = 0; rt->inherited->minutes != NULL && i < WORKER_ROWS; i++)
        if (atomic_load_explicit(&rt->inherited->shared->slots[i].started_unix_s,
                                 memory_order_relaxed) != 0)
            minutes_add(&rt->inherited->minutes[i], now_ms, sums);
    json_write_member_int(out, "second_of_minute", (int64_t)(now_ms / 1000 % 60));
    strbuf_adds(out, ",\"minutes\":[");
    for (unsigned i = 0; i < MINUTES_SHOWN; i++) {
        if (sums[i].requests == 0)
            continue;
        strbuf_addf(out, "%s[%u,%llu,%llu,%.3f,%.3f]", first ? "" : ",", i,
                    (unsigned long long)sums[i].requests, (unsigned long long)sums[i].failed,
                    (double)minutes_quantile_us(&sums[i], 500) / 1e3,
                    (double)minutes_quantile_us(&sums[i], 990) / 1e3);
        first = false;
    }
    strbuf_addc(out, ']');
}

void state_events_write(struct strbuf *out)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    uint64_t count = log_recent_count(), shown = 0;
    struct log_recent line;

    strbuf_adds(out, ",\"events\":[");
    for (uint64_t i = 0; i < LOG_RECENT_LINES && i < count && shown < STATE_EVENTS; i++) {
        if (!log_recent_get(count - 1 - i, &line) || (unsigned)line.level > LOG_LEVEL_DEBUG)
            continue;
        strbuf_addf(out, "%s{\"at_ms\":%lld", shown++ == 0 ? "" : ",", (long long)line.at_unix_ms);
        json_write_member_string(out, "level", levels[line.level]);
        json_write_member_string(out, "who", line.who);
        json_write_member_string(out, "text", line.text);
        strbuf_addc(out, '}');
    }
    strbuf_addc(out, ']');
}
