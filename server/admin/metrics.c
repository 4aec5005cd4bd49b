/* See metrics.h. Rows are read first and written then, since the page has all rows of one metric
 * together; each turn of the loop does some of it. */
#include "admin/metrics.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "metrics_credentials.h"
#include "metrics_database.h"
#include "metrics_text.h"
#include "metrics_usage.h"
#include "request/long_answer.h"
#include "core/provider_clock.h"

#define CONTENT_TYPE  "text/plain; version=0.0.4; charset=utf-8"
#define PLACES_A_TURN 16384 /* of the ledger, counted */
#define BLOCKS_A_TURN 8     /* written, and given back */
#define BLOCK         64    /* deployments; read in one turn */
#define CREDENTIALS   32    /* written in one turn */

struct block {
    uint32_t num; /* rows that are shown */
    uint32_t columns[BLOCK];
    struct metrics_row rows[BLOCK];
};

struct scrape {
    struct runtime *rt;    /* borrowed */
    struct block **blocks; /* owned, each freed as soon as it is written */
    uint32_t num_blocks;
    struct quota_tally *tallies; /* owned; per column */
    uint32_t read;               /* blocks so far */
    uint32_t cursor;             /* of quota_count() */
    bool begun, counted;
    size_t metric;                     /* being written */
    uint32_t block;                    /* of it, the next */
    size_t of_credentials, credential; /* the same of credentials, which come behind */
    size_t of_usage;                   /* the same of usage, which comes last */
    uint32_t usage_row;
};

static void scrape_free(void *arg)
{
    struct scrape *s = arg;

    for (uint32_t i = 0; s->blocks != NULL && i < s->num_blocks; i++)
        free(s->blocks[i]);
    free(s->blocks);
    free(s->tallies);
    free(s);
}

static uint64_t read_word(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void write_node(const struct scrape *s, struct strbuf *out)
{
    const struct inherited *inherited = s->rt->inherited;
    struct shared *shared = inherited->shared;
    struct metrics_node node = {
        .generation = inherited->generation,
        .reload_failed = atomic_load_explicit(&shared->reload_failed, memory_order_relaxed) != 0,
        .restarts = read_word(&shared->restarts),
        .evicted = idem_evicted(inherited->idem),
        .unmeasured = inherited->meters != NULL ? meters_unmeasured(inherited->meters) : 0,
        .log_lost = {log_out_lost(LOG_STREAM_ACCESS), log_out_lost(LOG_STREAM_ERROR)},
        .started_unix_s =
            clock_unix_s() - (int64_t)((clock_now_ms() - inherited->started_ms) / 1000),
    };

    quota_scope_totals(inherited->quota, &node.scopes);
    for (uint32_t i = 0; i < WORKER_ROWS; i++) {
        const struct worker_slot *slot = &shared->slots[i];

        bool alive = atomic_load_explicit(&slot->pid, memory_order_relaxed) != 0;

        node.workers += alive && atomic_load_explicit(&slot->is_worker, memory_order_relaxed) != 0;
        node.connections += atomic_load_explicit(&slot->connections, memory_order_relaxed);
        node.requests += read_word(&slot->requests);
        if (alive)
            node.long_polls += atomic_load_explicit(&slot->long_polls, memory_order_relaxed);
        node.spool_bytes += read_word(&slot->spool_bytes);
        node.files += read_word(&slot->files);
        node.file_bytes += read_word(&slot->file_bytes);
        node.lines += read_word(&slot->lines);
        node.result_duplicates += read_word(&slot->result_duplicates);
    }
    metrics_write_node(&node, out);
    if (secret_is_set(&s->rt->config->database))
        metrics_database_write(&shared->database, loop_now_ms(s->rt->loop), out);
}

/* The first row of an account shows the account's files. */
static bool is_first_of_account(const struct runtime *rt, uint32_t deployment)
{
    uint32_t account = table_deployment(rt->table, deployment)->account;

    return rt->account_same_resource[account] == account &&
           rt->account_first[account] == deployment;
}

/* The row for calls that name no model says nothing new of an account that model_list names too,
 * unless it was used. */
static bool is_shown(const struct runtime *rt, uint32_t i, const struct state_sum *sum)
{
    uint64_t requests = 0;

    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        requests += sum->requests[op];
    return requests > 0 || is_first_of_account(rt, i) ||
           table_deployment(rt->table, i)->group != MODEL_NO_INDEX;
}

static void read_row(const struct runtime *rt, uint32_t i, struct block *block)
{
    const struct inherited *inherited = rt->inherited;
    const struct table_deployment *d = table_deployment(rt->table, i);
    const struct probe_word *probe = &inherited->probes[i];
    uint64_t now_ms = loop_now_ms(rt->loop);
    uint32_t column = inherited->columns[i];
    struct metrics_row *row = &block->rows[block->num];

    assert(block->num < BLOCK);
    state_read(inherited->state, column, now_ms, &row->sum);
    if (!is_shown(rt, i, &row->sum))
        return;
    block->columns[block->num++] = column;
    row->group = d->group != MODEL_NO_INDEX ? table_group_name(rt->table, d->group) : "";
    row->model = table_str(rt->table, d->litellm_model);
    row->id = table_str(rt->table, d->id);
    row->base = rt->config->models.accounts[d->account].base;
    row->provider = provider_name((enum provider)d->provider);
    row->checked_unix_s = (int64_t)read_word(&probe->checked_unix_s);
    row->healthy = row->checked_unix_s == 0 ||
                   atomic_load_explicit(&probe->healthy, memory_order_relaxed) != 0;
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        row->cooling_down[op] = !breaker_admits(
            read_word(state_health(inherited->state, column, (enum op_class)op)), now_ms);
    row->own_ledger = d->real == d->fingerprint;
    quota_read(inherited->quota, column, now_ms, &row->quota);
    row->own_clock = d->first == i;
    row->skew_s = provider_clock_skew_s(inherited, i);
    row->own_files = is_first_of_account(rt, i);
    for (unsigned kind = 0; kind < SLOTS_KINDS; kind++)
        row->files[kind] = slots_held(inherited->slots, column, (enum slots_kind)kind);
}

/* Want of memory ends the answer. */
static void read_block(struct scrape *s, struct strbuf *out)
{
    const struct runtime *rt = s->rt;
    uint32_t num = table_num_deployments(rt->table), i = s->read * BLOCK, end = i + BLOCK;
    struct block *block = calloc(1, sizeof(*block));

    out->failed |= block == NULL;
    for (; block != NULL && i < num && i < end; i++)
        read_row(rt, i, block);
    s->blocks[s->read++] = block;
}

static void place_tallies(const struct scrape *s, struct block *block)
{
    uint64_t now_ms = loop_now_ms(s->rt->loop);

    for (uint32_t i = 0; i < block->num; i++) {
        const struct quota_tally *tally = &s->tallies[block->columns[i]];

        block->rows[i].tally = *tally;
        if (tally->oldest_ms != 0 && now_ms > tally->oldest_ms)
            block->rows[i].oldest_age_s = (now_ms - tally->oldest_ms) / 1000;
    }
}

/* @return whether there are more */
static bool count_some(struct scrape *s)
{
    if (quota_count(s->rt->inherited->quota, &s->cursor, PLACES_A_TURN, s->tallies))
        return true;
    for (uint32_t i = 0; i < s->num_blocks; i++)
        place_tallies(s, s->blocks[i]);
    s->counted = true;
    return false;
}

static void write_block(struct scrape *s, struct strbuf *out)
{
    struct block *block = s->blocks[s->block];

    assert(s->counted && s->metric < metrics_count());
    if (s->block == 0)
        metrics_write_head(s->metric, out);
    for (uint32_t i = 0; i < block->num; i++)
        metrics_write_row(s->metric, &block->rows[i], out);
    if (s->metric + 1 == metrics_count()) {
        s->blocks[s->block] = NULL;
        free(block);
    }
    if (++s->block == s->num_blocks) {
        s->block = 0;
        s->metric++;
    }
}

/* Of one metric. @return whether there are more, of this one or of others */
static bool write_credentials(struct scrape *s, struct strbuf *out)
{
    size_t num = s->rt->config->models.num_credentials, end = s->credential + CREDENTIALS;
    struct credential_report report;

    if (num == 0 || s->of_credentials == metrics_credentials_count())
        return false;
    if (s->credential == 0)
        metrics_credentials_head(s->of_credentials, out);
    for (; s->credential < num && s->credential < end; s->credential++) {
        credentials_read(s->rt, s->credential, &report);
        metrics_credentials_write(s->of_credentials, &report, out);
    }
    if (s->credential == num) {
        s->credential = 0;
        s->of_credentials++;
    }
    return s->of_credentials < metrics_credentials_count();
}

/* @return whether there are more */
static bool write_usage(struct scrape *s, struct strbuf *out)
{
    const struct series *series = s->rt->inherited->series;

    if (series == NULL || s->of_usage == metrics_usage_count())
        return false;
    if (!metrics_usage_write(s->of_usage, series, &s->usage_row, out)) {
        s->usage_row = 0;
        s->of_usage++;
    }
    return true;
}

static enum long_answer_step write_behind(struct scrape *s, struct strbuf *out)
{
    if (write_credentials(s, out))
        return s->credential == 0 ? LONG_ANSWER_MORE : LONG_ANSWER_PAUSE;
    return write_usage(s, out) ? LONG_ANSWER_PAUSE : LONG_ANSWER_DONE;
}

static enum long_answer_step write_next(void *arg, struct strbuf *out)
{
    struct scrape *s = arg;

    if (!s->begun)
        write_node(s, out);
    s->begun = true;
    if (s->read < s->num_blocks) {
        read_block(s, out);
        return s->num_blocks > 1 ? LONG_ANSWER_PAUSE : LONG_ANSWER_MORE;
    }
    if (!s->counted)
        return count_some(s) ? LONG_ANSWER_PAUSE : LONG_ANSWER_MORE;
    if (s->metric == metrics_count())
        return write_behind(s, out);
    write_block(s, out);
    return s->block % BLOCKS_A_TURN == BLOCKS_A_TURN - 1 ? LONG_ANSWER_PAUSE : LONG_ANSWER_MORE;
}

void metrics_start(struct relay *relay)
{
    struct runtime *rt = relay->rt;
    struct scrape *s = calloc(1, sizeof(*s));

    if (s != NULL) {
        s->rt = rt;
        s->num_blocks = table_num_deployments(rt->table) / BLOCK + 1;
        s->blocks = calloc(s->num_blocks, sizeof(struct block *));
        s->tallies = calloc(quota_max_columns(rt->inherited->quota), sizeof(*s->tallies));
    }
    if (s != NULL && (s->blocks == NULL || s->tallies == NULL)) {
        scrape_free(s);
        s = NULL;
    }
    long_answer_write_as(relay, CONTENT_TYPE, "", write_next, s, scrape_free);
}
