/* See metrics.h. Rows are read first and written then, since the page has all rows of one metric
 * together; each turn of the loop does some of it. */
#include "server/metrics.h"

#include <stdlib.h>

#include "common/clock.h"
#include "server/metrics_text.h"

#define CONTENT_TYPE  "text/plain; version=0.0.4; charset=utf-8"
#define ROWS_A_TURN   128   /* read */
#define PLACES_A_TURN 16384 /* of the ledger, counted */
#define BYTES_A_TURN  65536 /* written */

struct scrape_row {
    struct metrics_row shown;
    uint32_t column;
};

struct scrape {
    struct relay *relay;
    struct worker *worker;
    struct loop_timer timer;
    struct scrape_row *rows; /* owned; those that are shown, table_num_deployments() at most */
    uint32_t num;
    struct quota_tally *tallies; /* owned; per column */
    uint32_t read;               /* deployments so far */
    uint32_t cursor;             /* of quota_count() */
    bool counted;
    size_t metric; /* being written */
    uint32_t row;  /* of it, the next */
    struct strbuf text;
};

static void scrape_free(struct scrape *s)
{
    loop_timer_stop(s->worker->loop, &s->timer);
    free(s->rows);
    free(s->tallies);
    strbuf_deinit(&s->text);
    free(s);
}

static void on_client_gone(void *op)
{
    scrape_free(op);
}

static uint64_t read_word(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void write_node(struct scrape *s)
{
    const struct inherit *inherit = s->worker->inherit;
    struct shared *shared = inherit->shared;
    struct metrics_node node = {
        .generation = inherit->generation,
        .reload_failed = atomic_load_explicit(&shared->reload_failed, memory_order_relaxed) != 0,
        .restarts = read_word(&shared->restarts),
        .evicted = idem_evicted(inherit->idem),
        .started_unix_s = clock_unix_s() - (int64_t)((clock_now_ms() - inherit->started_ms) / 1000),
    };

    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        const struct worker_slot *slot = &shared->slots[i];

        node.workers += atomic_load_explicit(&slot->pid, memory_order_relaxed) != 0 &&
                        atomic_load_explicit(&slot->is_worker, memory_order_relaxed) != 0;
        node.connections += atomic_load_explicit(&slot->connections, memory_order_relaxed);
        node.requests += read_word(&slot->requests);
        node.spool_bytes += read_word(&slot->spool_bytes);
        node.files += read_word(&slot->files);
        node.file_bytes += read_word(&slot->file_bytes);
        node.lines += read_word(&slot->lines);
    }
    metrics_write_node(&node, &s->text);
}

/* The first row of an account shows the account's files. */
static bool is_first_of_account(const struct worker *w, uint32_t deployment)
{
    uint32_t account = table_deployment(w->table, deployment)->account;

    return w->account_twin[account] == account && w->account_first[account] == deployment;
}

/* The row for calls that name no model says nothing new of an account that model_list names too,
 * unless it was used. */
static bool is_shown(const struct worker *w, uint32_t i, const struct state_sum *sum)
{
    uint64_t requests = 0;

    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        requests += sum->requests[op];
    return requests > 0 || is_first_of_account(w, i) ||
           table_deployment(w->table, i)->group != MODEL_NO_INDEX;
}

static void read_row(struct scrape *s, uint32_t i)
{
    const struct worker *w = s->worker;
    const struct inherit *inherit = w->inherit;
    const struct table_deployment *d = table_deployment(w->table, i);
    const struct probe_word *probe = &inherit->probes[i];
    uint64_t now_ms = loop_now_ms(w->loop);
    uint32_t column = inherit->columns[i];
    struct metrics_row *row = &s->rows[s->num].shown;

    state_read(inherit->state, column, now_ms, &row->sum);
    if (!is_shown(w, i, &row->sum))
        return;
    s->rows[s->num++].column = column;
    row->group = d->group != MODEL_NO_INDEX ? table_group_name(w->table, d->group) : "";
    row->model = table_str(w->table, d->litellm_model);
    row->id = table_str(w->table, d->id);
    row->base = w->config->models.accounts[d->account].base;
    row->provider = provider_name((enum provider)d->provider);
    row->checked_unix_s = (int64_t)read_word(&probe->checked_unix_s);
    row->healthy = row->checked_unix_s == 0 ||
                   atomic_load_explicit(&probe->healthy, memory_order_relaxed) != 0;
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        row->resting[op] = !breaker_admits(
            read_word(state_health(inherit->state, column, (enum op_class)op)), now_ms);
    row->own_ledger = d->real == d->fingerprint;
    quota_read(inherit->quota, column, now_ms, &row->quota);
    row->own_files = is_first_of_account(w, i);
    for (unsigned kind = 0; kind < SLOTS_KINDS; kind++)
        row->files[kind] = slots_held(inherit->slots, column, (enum slots_kind)kind);
}

static bool read_some(struct scrape *s)
{
    uint32_t num = table_num_deployments(s->worker->table), end = s->read + ROWS_A_TURN;

    for (; s->read < num && s->read < end; s->read++)
        read_row(s, s->read);
    return s->read < num;
}

static void place_tally(struct scrape *s, uint32_t i)
{
    uint64_t now_ms = loop_now_ms(s->worker->loop);
    struct metrics_row *row = &s->rows[i].shown;

    row->tally = s->tallies[s->rows[i].column];
    if (row->tally.oldest_ms != 0 && now_ms > row->tally.oldest_ms)
        row->oldest_age_s = (now_ms - row->tally.oldest_ms) / 1000;
}

static bool count_some(struct scrape *s)
{
    if (!s->counted &&
        quota_count(s->worker->inherit->quota, &s->cursor, PLACES_A_TURN, s->tallies))
        return true;
    if (!s->counted)
        for (uint32_t i = 0; i < s->num; i++)
            place_tally(s, i);
    s->counted = true;
    return false;
}

static bool write_some(struct scrape *s)
{
    size_t end = s->text.len + BYTES_A_TURN;

    while (s->metric < metrics_count() && s->text.len < end) {
        if (s->row == 0)
            metrics_write_head(s->metric, &s->text);
        for (; s->row < s->num && s->text.len < end; s->row++)
            metrics_write_row(s->metric, &s->rows[s->row].shown, &s->text);
        if (s->row < s->num)
            break;
        s->row = 0;
        s->metric++;
    }
    return s->metric < metrics_count();
}

static void no_memory(struct relay *relay)
{
    relay_problem(relay, 500, "server_error", "out_of_memory", "", "The gateway is out of memory.");
}

static void on_turn(struct loop_timer *timer)
{
    struct scrape *s = timer->arg;
    bool more = read_some(s) || count_some(s) || write_some(s);
    bool failed = strbuf_failed(&s->text);

    if (more && !failed) {
        if (loop_timer_start(s->worker->loop, timer, 0) == 0)
            return;
        failed = true;
    }
    if (failed)
        no_memory(s->relay);
    else
        relay_bytes(s->relay, 200, CONTENT_TYPE, s->text.data, s->text.len);
    scrape_free(s);
}

void metrics_start(struct relay *relay)
{
    struct worker *w = relay->worker;
    struct scrape *s = calloc(1, sizeof(*s));

    if (s != NULL) {
        s->relay = relay;
        s->worker = w;
        s->rows = calloc(table_num_deployments(w->table) + 1u, sizeof(*s->rows));
        s->tallies = calloc(quota_max_columns(w->inherit->quota), sizeof(*s->tallies));
        s->timer.cb = on_turn;
        s->timer.arg = s;
    }
    if (s == NULL || s->rows == NULL || s->tallies == NULL ||
        loop_timer_start(w->loop, &s->timer, 0) != 0) {
        if (s != NULL)
            scrape_free(s);
        no_memory(relay);
        return;
    }
    relay_attach(relay, s, on_client_gone);
    write_node(s);
}
