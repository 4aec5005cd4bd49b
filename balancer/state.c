/* What is known about deployments while we run: one shared mapping, older than any worker.
 *
 *   struct state                     header: magic, layout, size, dimensions
 *   uint32_t rows_used [workers]     1 once that worker has written; others' pages stay untouched
 *   struct column [columns]          fingerprint and health words
 *   struct row [workers][columns]    what one worker knows about one deployment
 *
 * Each word of a row has one writer, so an increment is a relaxed load and a relaxed store; each
 * fact that a reader takes as a whole is one word (minute and count; time, status and outcome). So
 * a writer killed between any two instructions leaves counters that lack at most its last event,
 * and a gauge (in flight) that the master clears. The order of stores between words does not matter
 * to anybody. */
#include "balancer/state.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/clock.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define STATE_MAGIC  0x54535254u /* "TRST" */
#define STATE_LAYOUT 3u

#define MINUTE_MS           60000u
#define LATENCY_SHARE       8u /* EWMA: a new sample weighs 1/8 */
#define LATENCY_MAX_SAMPLES 64u
/* What a time-out counts as: LiteLLM's 1000 s (lowest_latency.py) */
#define TIMEOUT_LATENCY_US  UINT64_C(1000000000)

struct state {
    struct shm_head region;
    uint32_t max_workers;
    uint32_t max_columns;
    uint64_t columns; /* offsets */
    uint64_t rows;
    _Atomic uint32_t num_columns; /* ever bound; the master's */
    uint32_t binding;             /* number of the last state_bind(); the master's */
    uint64_t reserved[2];
    _Atomic uint32_t rows_used[]; /* [max_workers] */
};

struct column {
    uint32_t fingerprint; /* 0: free */
    uint32_t binding;     /* the newest one that wanted it */
    struct {
        _Atomic uint64_t health[OP_CLASS_COUNT]; /* breaker.h; any process, compare-and-swap */
        struct skew skew;                        /* the same */
    } shared;
};

/* All words but in_flight only grow, or are replaced as a whole. */
struct row {
    alignas(CACHE_LINE) _Atomic uint64_t requests[OP_CLASS_COUNT];
    _Atomic uint64_t outcomes[OP_CLASS_COUNT][OUTCOME_COUNT];
    _Atomic uint64_t bytes_sent;
    _Atomic uint64_t bytes_received;
    _Atomic uint64_t requests_minute; /* minute (24 bits) and count (40 bits) */
    _Atomic uint64_t tokens_minute;   /* the same */
    /* Minute of the last sample (23 bits), samples (7), EWMA in us (34) */
    _Atomic uint64_t latency;
    /* Monotonic ms (48 bits), outcome (4), HTTP status (12); 0: never */
    _Atomic uint64_t last_error;
    _Atomic uint64_t rests;
    _Atomic uint32_t in_flight[OP_CLASS_COUNT];
};

static_assert(sizeof(struct state) == 64, "layout of the state region");
static_assert(sizeof(struct column) == 48, "layout of the state region");
static_assert(sizeof(struct row) == 320 && alignof(struct row) == CACHE_LINE,
              "layout of the state region");
static_assert(OUTCOME_COUNT <= 16, "an outcome has four bits in last_error");

#define COUNT_BITS  40
#define COUNT_MAX   ((UINT64_C(1) << COUNT_BITS) - 1)
#define SAMPLE_BITS 7
#define EWMA_BITS   34 /* 4.7 hours */
#define EWMA_MAX    ((UINT64_C(1) << EWMA_BITS) - 1)

/* Only the row's own process may. */
static void add(_Atomic uint64_t *word, uint64_t n)
{
    store_relaxed(word, load_relaxed(word) + n);
}

static struct column *column_of(const struct state *state, uint32_t column)
{
    assert(column < state->max_columns);
    return (struct column *)((char *)state + state->columns) + column;
}

static struct row *row_of(const struct state *state, uint32_t worker, uint32_t column)
{
    assert(worker < state->max_workers && column < state->max_columns);
    return (struct row *)((char *)state + state->rows) + (size_t)worker * state->max_columns +
           column;
}

static bool is_used(const struct state *state, uint32_t worker)
{
    return load_relaxed_32(&state->rows_used[worker]) != 0;
}

static struct row *own_row(struct state *state, uint32_t worker, uint32_t column)
{
    struct row *row = row_of(state, worker, column);

    if (!is_used(state, worker))
        store_relaxed_32(&state->rows_used[worker], 1);
    return row;
}

static uint64_t minute_of(uint64_t now_ms)
{
    return now_ms / MINUTE_MS & 0xffffff; /* 24 bits: 31 years */
}

/* Add to a word that counts within a minute. */
static void add_in_minute(_Atomic uint64_t *word, uint64_t n, uint64_t now_ms)
{
    uint64_t old = load_relaxed(word), minute = minute_of(now_ms);
    uint64_t count = old >> COUNT_BITS == minute ? old & COUNT_MAX : 0;

    count = n > COUNT_MAX - count ? COUNT_MAX : count + n;
    store_relaxed(word, minute << COUNT_BITS | count);
}

static uint64_t count_in_minute(const _Atomic uint64_t *word, uint64_t now_ms)
{
    uint64_t value = load_relaxed(word);

    return value >> COUNT_BITS == minute_of(now_ms) ? value & COUNT_MAX : 0;
}

static uint64_t latency_samples(uint64_t word)
{
    return word >> EWMA_BITS & ((1u << SAMPLE_BITS) - 1);
}

/* The first sample is the average; later ones move it by an eighth of the difference. At least 1
 * us: 0 means not measured. */
static void add_latency(_Atomic uint64_t *word, uint64_t us, uint64_t now_ms)
{
    uint64_t old = load_relaxed(word), ewma = old & EWMA_MAX, samples = latency_samples(old);

    if (us == 0)
        us = 1;
    if (us > EWMA_MAX)
        us = EWMA_MAX;
    if (samples == 0)
        ewma = us;
    else
        ewma = (ewma * (LATENCY_SHARE - 1) + us + LATENCY_SHARE / 2) / LATENCY_SHARE;
    if (samples < LATENCY_MAX_SAMPLES)
        samples++;
    store_relaxed(word, now_ms / MINUTE_MS << (EWMA_BITS + SAMPLE_BITS) | samples << EWMA_BITS |
                            (ewma > 0 ? ewma : 1));
}

static uint64_t last_error_word(enum outcome outcome, int status, uint64_t now_ms)
{
    uint64_t s = status > 0 && status < 4096 ? (uint64_t)status : 0;

    return now_ms << 16 | (uint64_t)outcome << 12 | s;
}

/* A failure of the deployment, or of the way to it: what an operator wants to see as its last
 * error. */
static bool is_failure(enum outcome outcome)
{
    return outcome != OUTCOME_OK && outcome != OUTCOME_CANCELLED;
}

const char *op_class_name(enum op_class op)
{
    static const char *const names[OP_CLASS_COUNT] = {"upload", "create", "read"};

    return (unsigned int)op < OP_CLASS_COUNT ? names[op] : "unknown";
}

const char *outcome_name(enum outcome outcome)
{
    static const char *const names[OUTCOME_COUNT] = {"ok",           "auth",       "rate_limit",
                                                     "timeout",      "connect",    "broken",
                                                     "server_error", "bad_answer", "cancelled"};

    return (unsigned int)outcome < OUTCOME_COUNT ? names[outcome] : "unknown";
}

/* What a region of these dimensions begins with. */
static int fill_head(struct state *head, uint32_t max_workers, uint32_t max_deployments)
{
    uint64_t cells, bytes;

    memset(head, 0, sizeof(*head));
    head->region = (struct shm_head){.magic = STATE_MAGIC, .layout = STATE_LAYOUT};
    head->max_workers = max_workers;
    head->max_columns = max_deployments;
    head->columns = shm_round_up(sizeof(*head) + (uint64_t)max_workers * sizeof(head->rows_used[0]),
                                 CACHE_LINE);
    head->rows =
        head->columns + shm_round_up((uint64_t)max_deployments * sizeof(struct column), CACHE_LINE);
    if (__builtin_mul_overflow((uint64_t)max_workers, (uint64_t)max_deployments, &cells) ||
        __builtin_mul_overflow(cells, sizeof(struct row), &bytes) ||
        __builtin_add_overflow(head->rows, bytes, &head->region.size))
        return ERR_NOMEM;
    return 0;
}

#define HEAD_LEN offsetof(struct state, num_columns)

static int make(uint32_t max_workers, uint32_t max_deployments, int fd, struct state **out)
{
    struct state head, *state;
    void *region;
    int ret = fill_head(&head, max_workers, max_deployments);

    if (ret == 0)
        ret = shm_region_open("tranche-state", fd, &head, HEAD_LEN, &region);
    if (ret != 0)
        return ret;
    state = region;
    if (load_relaxed_32(&state->num_columns) > max_deployments) {
        state_free(state);
        return ERR_INVALID;
    }
    *out = state;
    return 0;
}

int state_new(uint32_t max_workers, uint32_t max_deployments, struct state **out)
{
    return make(max_workers, max_deployments, SHM_NEW, out);
}

int state_adopt(int fd, uint32_t max_workers, uint32_t max_deployments, struct state **out)
{
    return make(max_workers, max_deployments, fd, out);
}

void state_free(struct state *state)
{
    shm_region_free(state);
}

static uint32_t num_columns(const struct state *state)
{
    return load_relaxed_32(&state->num_columns);
}

static bool has_in_flight(const struct state *state, uint32_t column)
{
    for (uint32_t w = 0; w < state->max_workers; w++) {
        if (!is_used(state, w))
            continue;
        for (int op = 0; op < OP_CLASS_COUNT; op++) {
            if (load_relaxed_32(&row_of(state, w, column)->in_flight[op]) != 0)
                return true;
        }
    }
    return false;
}

/* Whether a bound column may go to another deployment: neither this table nor the two before it
 * name it (workers of those may still be draining), and nobody is on the way there. */
static bool is_abandoned(const struct state *state, const struct table *table, uint32_t column)
{
    const struct column *c = column_of(state, column);

    return c->binding + 1 < state->binding &&
           table_find_fingerprint(table, c->fingerprint) == MODEL_NO_INDEX &&
           !has_in_flight(state, column);
}

static void forget(struct state *state, uint32_t column)
{
    struct column *c = column_of(state, column);

    for (int op = 0; op < OP_CLASS_COUNT; op++)
        store_relaxed(&c->shared.health[op], 0);
    skew_forget(&c->shared.skew);
    for (uint32_t w = 0; w < state->max_workers; w++) {
        _Atomic uint64_t *words = is_used(state, w) ? row_of(state, w, column)->requests : NULL;

        for (size_t i = 0; words != NULL && i < offsetof(struct row, in_flight) / sizeof(*words);
             i++)
            store_relaxed(&words[i], 0);
    }
}

/* Each known fingerprint to its old column. Returns how many deployments are new. */
static uint32_t match_columns(const struct state *state, const struct table *table,
                              uint32_t *columns)
{
    uint32_t n = table_num_deployments(table), missing = n;

    for (uint32_t i = 0; i < n; i++)
        columns[i] = MODEL_NO_INDEX;
    for (uint32_t c = 0; c < num_columns(state); c++) {
        uint32_t i = table_find_fingerprint(table, column_of(state, c)->fingerprint);

        if (i != MODEL_NO_INDEX) {
            columns[i] = c;
            missing--;
        }
    }
    return missing;
}

/* Whether so many new columns can be found. Asked before anything is changed: a refused table
 * leaves no trace. */
static bool has_room(const struct state *state, const struct table *table, uint32_t missing)
{
    uint32_t room = state->max_columns - num_columns(state);

    for (uint32_t c = 0; c < num_columns(state) && room < missing; c++)
        room += is_abandoned(state, table, c);
    return room >= missing;
}

/* A column for a new fingerprint: a fresh one while there are some, so that a deployment that comes
 * back finds its own. Else the first abandoned one from `*next` on: has_room() has seen that there
 * is one. */
static uint32_t take_column(struct state *state, const struct table *table, uint32_t *next)
{
    uint32_t used = num_columns(state);

    if (used < state->max_columns) {
        store_relaxed_32(&state->num_columns, used + 1);
        return used;
    }
    while (!is_abandoned(state, table, *next))
        ++*next;
    forget(state, *next);
    return (*next)++;
}

int state_bind(struct state *state, const struct table *table, uint32_t *columns)
{
    uint32_t missing = match_columns(state, table, columns), next = 0;

    if (!has_room(state, table, missing))
        return ERR_FULL;
    for (uint32_t i = 0; i < table_num_deployments(table); i++) {
        if (columns[i] == MODEL_NO_INDEX) {
            columns[i] = take_column(state, table, &next);
            column_of(state, columns[i])->fingerprint = table_deployment(table, i)->fingerprint;
        }
        column_of(state, columns[i])->binding = state->binding + 1;
    }
    state->binding++;
    return 0;
}

void state_begin_at(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
                    uint64_t now_ms)
{
    struct row *row = own_row(state, worker, column);
    uint32_t in_flight = load_relaxed_32(&row->in_flight[op]);

    store_relaxed_32(&row->in_flight[op], in_flight + 1);
    add(&row->requests[op], 1);
    if (op != OP_READ) /* rpm bounds what is placed: polls, lists and our own upkeep are not */
        add_in_minute(&row->requests_minute, 1, now_ms);
}

void state_end_at(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
                  enum outcome outcome, int status, uint64_t latency_us, uint64_t bytes_sent,
                  uint64_t bytes_received, uint64_t now_ms)
{
    struct row *row = own_row(state, worker, column);
    uint32_t in_flight = load_relaxed_32(&row->in_flight[op]);

    assert((unsigned)op < OP_CLASS_COUNT && (unsigned)outcome < OUTCOME_COUNT);
    /* Each end has its begin; a gauge that went below 0 would repel all traffic, so it is kept from
     * that in any case. */
    assert(in_flight > 0);
    store_relaxed_32(&row->in_flight[op], in_flight > 0 ? in_flight - 1 : 0);
    add(&row->outcomes[op][outcome], 1);
    add(&row->bytes_sent, bytes_sent);
    add(&row->bytes_received, bytes_received);
    if (outcome == OUTCOME_OK && op != OP_READ) /* looks, polls and probes tell nothing about it */
        add_latency(&row->latency, latency_us, now_ms);
    else if (outcome == OUTCOME_TIMEOUT && op != OP_READ)
        add_latency(&row->latency, TIMEOUT_LATENCY_US, now_ms);
    if (is_failure(outcome))
        store_relaxed(&row->last_error, last_error_word(outcome, status, now_ms));
}

void state_begin(struct state *state, uint32_t worker, uint32_t column, enum op_class op)
{
    state_begin_at(state, worker, column, op, clock_now_ms());
}

void state_end(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
               enum outcome outcome, int status, uint64_t latency_us, uint64_t bytes_sent,
               uint64_t bytes_received)
{
    state_end_at(state, worker, column, op, outcome, status, latency_us, bytes_sent, bytes_received,
                 clock_now_ms());
}

void state_add_tokens(struct state *state, uint32_t worker, uint32_t column, uint64_t tokens,
                      uint64_t now_ms)
{
    add_in_minute(&own_row(state, worker, column)->tokens_minute, tokens, now_ms);
}

void state_add_rest(struct state *state, uint32_t worker, uint32_t column)
{
    add(&own_row(state, worker, column)->rests, 1);
}

uint64_t state_clear_worker(struct state *state, uint32_t worker)
{
    uint64_t cleared = 0;

    if (!is_used(state, worker))
        return 0;
    for (uint32_t c = 0; c < num_columns(state); c++) {
        struct row *row = row_of(state, worker, c);

        for (int op = 0; op < OP_CLASS_COUNT; op++)
            cleared += swap_relaxed_32(&row->in_flight[op], 0);
    }
    return cleared;
}

/* The mean of the rows' latencies so far; what is in it belongs to `minute`. */
struct latency_mean {
    uint64_t minute, sum, weights;
};

static uint64_t faded(uint64_t weight, uint64_t minutes)
{
    return minutes < 16 ? weight >> minutes : 0;
}

/* Take one row in: it weighs as much as it has samples, half of that for each minute that it is
 * older than the newest row. */
static void add_to_mean(struct latency_mean *mean, uint64_t word)
{
    uint64_t minute = word >> (EWMA_BITS + SAMPLE_BITS), weight = latency_samples(word) << 8;

    if (weight == 0)
        return;
    if (minute > mean->minute) {
        mean->sum = faded(mean->sum, minute - mean->minute);
        mean->weights = faded(mean->weights, minute - mean->minute);
        mean->minute = minute;
    }
    weight = faded(weight, mean->minute - minute);
    mean->sum += weight * (word & EWMA_MAX);
    mean->weights += weight;
}

static void add_row(const struct row *row, uint64_t now_ms, struct state_sum *sum,
                    struct latency_mean *mean, uint64_t *newest_error)
{
    uint64_t last_error = load_relaxed(&row->last_error);

    for (int op = 0; op < OP_CLASS_COUNT; op++) {
        sum->requests[op] += load_relaxed(&row->requests[op]);
        sum->in_flight[op] += load_relaxed_32(&row->in_flight[op]);
        for (int o = 0; o < OUTCOME_COUNT; o++)
            sum->outcomes[op][o] += load_relaxed(&row->outcomes[op][o]);
    }
    sum->bytes_sent += load_relaxed(&row->bytes_sent);
    sum->bytes_received += load_relaxed(&row->bytes_received);
    sum->rests += load_relaxed(&row->rests);
    sum->requests_minute += count_in_minute(&row->requests_minute, now_ms);
    sum->tokens_minute += count_in_minute(&row->tokens_minute, now_ms);
    add_to_mean(mean, load_relaxed(&row->latency));
    if (last_error > *newest_error)
        *newest_error = last_error;
}

void state_read(const struct state *state, uint32_t column, uint64_t now_ms, struct state_sum *sum)
{
    struct latency_mean mean = {0};
    uint64_t newest_error = 0; /* its time is in the high bits: the greatest word is the newest */

    memset(sum, 0, sizeof(*sum));
    for (uint32_t w = 0; w < state->max_workers; w++) {
        if (is_used(state, w))
            add_row(row_of(state, w, column), now_ms, sum, &mean, &newest_error);
    }
    sum->latency_us = mean.weights > 0 ? mean.sum / mean.weights : 0;
    sum->last_error_ms = newest_error >> 16;
    sum->last_outcome = (enum outcome)(newest_error >> 12 & 0xf);
    sum->last_status = (int)(newest_error & 0xfff);
}

_Atomic uint64_t *state_health(struct state *state, uint32_t column, enum op_class op)
{
    assert((unsigned)op < OP_CLASS_COUNT);
    return &column_of(state, column)->shared.health[op];
}

struct skew *state_skew(struct state *state, uint32_t column)
{
    return &column_of(state, column)->shared.skew;
}
