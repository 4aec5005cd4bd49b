/* What is known about a deployment besides our own reservations: its limit, how fast it drains,
 * what others have enqueued there, what it just refused; and the tokens per unit of what a model's
 * files consist of. Every fact is one word, changed by compare-and-swap as a whole; all of them are
 * estimates that a lost update does not harm.
 *
 * The drain rate is the one that makes the expectation ((E + s) / r) come true: a job that ended
 * after `t` with `ahead` tokens before it says r = (ahead + s) / t, however the provider orders its
 * work. */
#include "balancer/quota_learn.h"

#include <math.h>
#include <string.h>

#include "quota_learn_impl.h"

#define FOREIGN_BITS 40
#define FOREIGN_MAX  ((UINT64_C(1) << FOREIGN_BITS) - 1)
#define FOREIGN_UNIT 4096u     /* ms */
#define TIME_MASK    0xffffffu /* 24 bits of that unit: two years */

#define LIMIT_REFUSED    (QUOTA_MAX_TOKENS + 1) /* the bit above the tokens */
#define LIMIT_TIME_SHIFT 44
#define LIMIT_TIME_MASK  0xfffffu /* 20 bits of that unit: two years */
#define LIMIT_UNIT       65536u   /* ms */

#define REFUSALS_BITS 8
#define REFUSALS_MAX  0xffu

#define SMALL_SHARE 256u /* a job below this part of a deployment is never kept away by a refusal */

#define HOUR_MS    (3600u * 1000)
#define COUNT_BITS 40
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

#define SAMPLE_WEIGHT   0.25   /* of a job that is expected to take SAMPLE_S or longer */
#define SAMPLE_S        1800.0 /* a shorter one says less: it mostly waits */
/* Validation and start-up: until then no progress means nothing */
#define PROGRESS_MIN_MS (10u * 60000)
#define SLOWEST_S       172800.0 /* no progress so slow that a job would take longer than that */

#define RATIO_WEIGHT 0.25
#define RATIO_PROBES 16u

static double as_double(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t as_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Move the double in `word` towards `sample`; where nothing is known yet, from `prior`. */
static void move(_Atomic uint64_t *word, double prior, double sample, double weight)
{
    uint64_t old = load_acquire(word);
    double from;

    do {
        from = old != 0 ? as_double(old) : prior;
    } while (!cas_acq_rel(word, &old, as_bits(from + (sample - from) * weight)));
}

/* Each refusal and each header there is another deployment's, and says nothing about the next. */
static bool is_many(const struct quota_column *column)
{
    return (load_relaxed(&column->flags) & COLUMN_MANY) != 0;
}

/* --- limits --- */

/* The configuration may keep some for others, but cannot make more than there is. */
static uint64_t lower_limit(uint64_t configured, uint64_t learned)
{
    return configured == 0 || (learned != 0 && learned < configured) ? learned : configured;
}

static bool is_outdated(uint64_t learned, uint64_t now_ms)
{
    uint64_t units = (now_ms / LIMIT_UNIT - (learned >> LIMIT_TIME_SHIFT)) & LIMIT_TIME_MASK;

    return (learned & LIMIT_REFUSED) != 0 && units * LIMIT_UNIT >= QUOTA_REFUSED_MS;
}

uint64_t quota_limit_of(const struct quota_column *column, uint64_t now_ms)
{
    uint64_t learned = load_relaxed(&column->shared.limit_learned);

    return lower_limit(load_relaxed(&column->limit),
                       is_outdated(learned, now_ms) ? 0 : learned & QUOTA_MAX_TOKENS);
}

enum quota_limit_from quota_limit_from(const struct quota *quota, uint32_t column, uint64_t now_ms)
{
    const struct quota_column *col = quota_column_of(quota, column);
    uint64_t learned = load_relaxed(&col->shared.limit_learned),
             limit = quota_limit_of(col, now_ms);

    if (limit == 0)
        return QUOTA_LIMIT_UNKNOWN;
    if (limit == load_relaxed(&col->limit))
        return QUOTA_LIMIT_CONFIGURED;
    return (learned & LIMIT_REFUSED) != 0 ? QUOTA_LIMIT_REFUSAL : QUOTA_LIMIT_HEADER;
}

/* Outdated or not, it tells how large the deployment is. */
static uint64_t last_limit_of(const struct quota_column *column)
{
    return lower_limit(load_relaxed(&column->limit),
                       load_relaxed(&column->shared.limit_learned) & QUOTA_MAX_TOKENS);
}

static void put_learned(struct quota *quota, uint32_t column, uint64_t limit, uint64_t flags)
{
    struct quota_column *col = quota_column_of(quota, column);

    if (limit != 0 && !is_many(col))
        store_relaxed(&col->shared.limit_learned,
                      (limit < QUOTA_MAX_TOKENS ? limit : QUOTA_MAX_TOKENS) | flags);
}

void quota_learn_limit(struct quota *quota, uint32_t column, uint64_t limit)
{
    put_learned(quota, column, limit, 0);
}

void quota_learn_refused(struct quota *quota, uint32_t column, uint64_t limit, uint64_t now_ms)
{
    put_learned(quota, column, limit,
                LIMIT_REFUSED | (now_ms / LIMIT_UNIT & LIMIT_TIME_MASK) << LIMIT_TIME_SHIFT);
}

/* --- the drain rate --- */

static double prior_rate_of(const struct quota_column *column)
{
    const struct pick_candidate nothing = {.limit = last_limit_of(column)};

    return pick_drain_rate(&nothing);
}

static double rate_of(const struct quota_column *column)
{
    uint64_t bits = load_relaxed(&column->shared.drain);

    return bits != 0 ? as_double(bits) : prior_rate_of(column);
}

/* A small job ends when it ends, however fast the deployment is: it weighs as much as the time that
 * its tokens should have taken. */
static double weight_of(const struct quota_column *column, double tokens)
{
    return SAMPLE_WEIGHT * fmin(1, tokens / rate_of(column) / SAMPLE_S);
}

void quota_note_finished(struct quota_column *column, uint64_t ahead, uint64_t tokens,
                         uint64_t elapsed_ms)
{
    double worked = (double)ahead + (double)tokens, s = (double)elapsed_ms / 1000;

    if (ahead == AHEAD_UNKNOWN || worked < 1 || elapsed_ms == 0)
        return;
    move(&column->shared.drain, prior_rate_of(column), worked / s, weight_of(column, worked));
}

void quota_note_progress(struct quota_column *column, uint64_t ahead, uint64_t tokens,
                         uint64_t done, uint64_t total, uint64_t elapsed_ms)
{
    double all = (double)ahead + (double)tokens, worked = all, s = (double)elapsed_ms / 1000, rate;

    if (ahead == AHEAD_UNKNOWN || elapsed_ms < PROGRESS_MIN_MS || total == 0 || all < 1)
        return;
    if (done > 0 && done < total) /* before its first line only its being late tells something */
        worked = (double)ahead + (double)tokens * ((double)done / (double)total);
    rate = fmax(worked / s, all / SLOWEST_S);
    if (rate < rate_of(column))
        move(&column->shared.drain, prior_rate_of(column), rate, weight_of(column, all) / 2);
}

/* --- what is not ours --- */

static uint64_t foreign_now(uint64_t word, const struct quota_column *column, uint64_t now_ms)
{
    uint64_t tokens = word & FOREIGN_MAX;
    uint64_t units = (now_ms / FOREIGN_UNIT - (word >> FOREIGN_BITS)) & TIME_MASK;
    double drained = rate_of(column) * (double)units * (FOREIGN_UNIT / 1000.0);

    return drained < (double)tokens ? tokens - (uint64_t)drained : 0;
}

static uint64_t foreign_word(uint64_t tokens, uint64_t now_ms)
{
    if (tokens == 0)
        return 0;
    return (now_ms / FOREIGN_UNIT & TIME_MASK) << FOREIGN_BITS |
           (tokens < FOREIGN_MAX ? tokens : FOREIGN_MAX);
}

uint64_t quota_foreign_of(const struct quota_column *column, uint64_t now_ms)
{
    uint64_t word = load_relaxed(&column->shared.foreign);

    return word != 0 ? foreign_now(word, column, now_ms) : 0;
}

uint64_t quota_others_of(const struct quota_column *column, uint64_t now_ms)
{
    return quota_foreign_of(column, now_ms) + load_relaxed(&column->elsewhere);
}

/* As its gateways have it: what is reserved here, and elsewhere. */
static uint64_t ours_of(const struct quota_column *column, uint64_t e)
{
    return enqueued_of(e) + load_relaxed(&column->elsewhere);
}

void quota_note_adopted(struct quota_column *column, uint64_t tokens, uint64_t now_ms)
{
    uint64_t old = load_acquire(&column->shared.foreign), foreign;

    do {
        foreign = foreign_now(old, column, now_ms);
        if (foreign == 0)
            return;
    } while (!cas_acq_rel(&column->shared.foreign, &old,
                          foreign_word(foreign > tokens ? foreign - tokens : 0, now_ms)));
}

uint64_t quota_learn_enqueued(struct quota *quota, uint32_t column, uint64_t enqueued,
                              uint64_t now_ms)
{
    struct quota_column *col = quota_column_of(quota, column);
    uint64_t e = load_acquire(&col->shared.enqueued), ours = ours_of(col, e),
             version = e >> ENQUEUED_BITS;
    uint64_t before = load_relaxed(&col->shared.header), versions;

    if (is_many(col))
        return 0;
    if (enqueued > QUOTA_MAX_TOKENS)
        enqueued = QUOTA_MAX_TOKENS;
    store_relaxed(&col->shared.foreign,
                  foreign_word(enqueued > ours ? enqueued - ours : 0, now_ms));
    store_relaxed(&col->shared.header, version << ENQUEUED_BITS | enqueued);
    versions = (version - (before >> ENQUEUED_BITS)) & (UINT64_MAX >> ENQUEUED_BITS);
    if (before == 0 || versions != 1 || enqueued <= enqueued_of(before))
        return 0;
    return enqueued - enqueued_of(before);
}

/* --- what is about to come --- */

static uint64_t expected_now(uint64_t word, uint64_t now_ms)
{
    uint64_t age_ms = ((now_ms / FOREIGN_UNIT - (word >> FOREIGN_BITS)) & TIME_MASK) * FOREIGN_UNIT;

    if (age_ms >= QUOTA_EXPECTED_END_MS)
        return 0;
    /* Bit by bit, not in halves: each addition begins the time anew, and what is expected every
     * minute would never fade. */
    return (uint64_t)((double)(word & FOREIGN_MAX) * exp2(-(double)age_ms / QUOTA_EXPECTED_MS));
}

void quota_add_expected(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    _Atomic uint64_t *word = &quota_column_of(quota, column)->expected;
    uint64_t old = load_acquire(word);

    while (!cas_acq_rel(word, &old, foreign_word(expected_now(old, now_ms) + tokens, now_ms)))
        ;
}

void quota_take_expected(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    _Atomic uint64_t *word = &quota_column_of(quota, column)->expected;
    uint64_t old = load_acquire(word), left;

    do {
        left = expected_now(old, now_ms);
        left = left > tokens ? left - tokens : 0;
    } while (!cas_acq_rel(word, &old, foreign_word(left, now_ms)));
}

/* --- refusals --- */

static uint64_t rest_ms(uint64_t refusals)
{
    uint64_t ms = QUOTA_FULL_MS;

    while (--refusals > 0 && ms < QUOTA_FULL_MAX_MS)
        ms *= 2;
    return ms < QUOTA_FULL_MAX_MS ? ms : QUOTA_FULL_MAX_MS;
}

static uint64_t full_for_ms(const struct quota_column *column, uint64_t now_ms)
{
    uint64_t until_ms = load_relaxed(&column->shared.full_until) >> REFUSALS_BITS;

    return now_ms < until_ms ? until_ms - now_ms : 0;
}

bool quota_is_cooling_down(const struct quota_column *column, uint64_t tokens, uint64_t now_ms)
{
    return full_for_ms(column, now_ms) > 0 && tokens >= load_relaxed(&column->shared.full_tokens);
}

/* A refusal during a backoff belongs to creates that were in flight together: it does not prolong
 * the backoff, but a smaller job that was refused lowers the size that is kept away. */
static void begin_rest(struct quota_column *column, uint64_t tokens, uint64_t now_ms)
{
    uint64_t old = load_acquire(&column->shared.full_until), refusals = old & REFUSALS_MAX;
    uint64_t until_ms = old >> REFUSALS_BITS;

    if (now_ms < until_ms) {
        if (tokens < load_relaxed(&column->shared.full_tokens))
            store_relaxed(&column->shared.full_tokens, tokens);
        return;
    }
    if (refusals != 0 && now_ms > until_ms + 2 * rest_ms(refusals))
        refusals = 0; /* the previous backoff ended long ago: start over */
    if (refusals < REFUSALS_MAX)
        refusals++;
    store_relaxed(&column->shared.full_tokens, tokens);
    cas_acq_rel(&column->shared.full_until, &old,
                (now_ms + rest_ms(refusals)) << REFUSALS_BITS | refusals);
}

/* Whether what we have enqueued there could be so much that the job found no room, if our estimates
 * are too low. Otherwise it is the refused job's own that is. What others enqueued there does not
 * count: most of that is what an earlier refusal made us think. */
static bool is_likely_full(uint64_t limit, uint64_t ours, uint64_t tokens)
{
    if (limit == 0)
        return ours > 0 && ours >= tokens; /* it held this much, and does not take as much again */
    return tokens <= limit && ours * QUOTA_OFF_BY > limit - tokens;
}

bool quota_full(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    struct quota_column *col = quota_column_of(quota, column);
    uint64_t limit = quota_limit_of(col, now_ms),
             ours = ours_of(col, load_acquire(&col->shared.enqueued));
    uint64_t old = load_acquire(&col->shared.foreign),
             small = (limit != 0 ? limit : ours) / SMALL_SHARE;
    uint64_t least;

    if (is_many(col) || !is_likely_full(limit, ours, tokens))
        return false;
    tokens = tokens > small ? tokens : small;
    begin_rest(col, tokens, now_ms);
    least = limit >= tokens ? limit - tokens + 1 : 0;
    while (limit != 0 && ours + foreign_now(old, col, now_ms) < least) {
        if (cas_acq_rel(&col->shared.foreign, &old, foreign_word(least - ours, now_ms)))
            break;
    }
    return true;
}

void quota_forget_foreign(struct quota *quota, uint32_t column)
{
    store_relaxed(&quota_column_of(quota, column)->shared.foreign, 0);
}

void quota_note_accepted(struct quota_column *column, uint64_t tokens)
{
    if (load_relaxed(&column->shared.full_until) != 0 &&
        tokens >= load_relaxed(&column->shared.full_tokens))
        store_relaxed(&column->shared.full_until, 0);
}

/* --- turns --- */

static uint64_t hour_of(uint64_t now_ms)
{
    return now_ms / HOUR_MS & TIME_MASK;
}

static uint64_t placed_in(uint64_t word, uint64_t now_ms)
{
    return word >> COUNT_BITS == hour_of(now_ms) ? word & COUNT_MASK : 0;
}

void quota_note_placed(struct quota_column *column, uint64_t now_ms)
{
    uint64_t old = load_acquire(&column->shared.placed), count;

    do {
        count = placed_in(old, now_ms);
    } while (
        !cas_acq_rel(&column->shared.placed, &old,
                     hour_of(now_ms) << COUNT_BITS | (count < COUNT_MASK ? count + 1 : count)));
}

void quota_forget_learned(struct quota_column *column)
{
    store_relaxed(&column->shared.limit_learned, 0);
    store_relaxed(&column->shared.drain, 0);
    store_relaxed(&column->shared.foreign, 0);
    store_relaxed(&column->shared.header, 0);
    store_relaxed(&column->shared.full_until, 0);
    store_relaxed(&column->shared.full_tokens, 0);
    store_relaxed(&column->shared.placed, 0);
    store_relaxed(&column->expected, 0);
}

/* --- tokens per unit --- */

/* The model's row; NULL: none, and `make` was not asked for or there is no room. */
static struct quota_ratio *ratio_of(const struct quota *quota, uint64_t model, bool make)
{
    uint64_t key = quota_mix(model);

    for (uint64_t i = 0; i < RATIO_PROBES; i++) {
        struct quota_ratio *row = (struct quota_ratio *)&quota->ratios[(key + i) % RATIOS];
        uint64_t found = load_acquire(&row->model);

        if (found == 0 && !make)
            return NULL;
        if (found == key || (found == 0 && (cas_acq_rel(&row->model, &found, key) || found == key)))
            return row;
    }
    return NULL;
}

/* A row for each feature that was learned. Not the key of version 0.1.0, whose one ratio a model's
 * files of all kinds had taught. */
static uint64_t rate_key(uint64_t model, int feature)
{
    return quota_mix(model + 1 + (uint64_t)feature);
}

static void read_rates(const struct quota *quota, uint64_t model, double rates[NUM_FEATURES])
{
    for (int f = 0; f < NUM_FEATURES; f++) {
        const struct feature_rate *rate = feature_rate((enum feature)f);
        const struct quota_ratio *row =
            rate->max > 0 ? ratio_of(quota, rate_key(model, f), false) : NULL;
        uint64_t bits = row != NULL ? load_relaxed(&row->value) : 0;

        rates[f] = bits != 0 ? as_double(bits) : rate->prior;
    }
}

void quota_learn_rate(struct quota *quota, uint64_t model, const struct features *features,
                      uint64_t tokens)
{
    double rates[NUM_FEATURES], rest, sample;
    const struct feature_rate *rate;
    struct quota_ratio *row;
    enum feature f;

    read_rates(quota, model, rates);
    f = features_dominant(features, rates, &rest);
    if (f == NUM_FEATURES)
        return;
    rate = feature_rate(f);
    sample = ((double)tokens - rest) / (double)features->units[f];
    if (rate->max <= 0 || sample < rate->min || sample > rate->max)
        return;
    row = ratio_of(quota, rate_key(model, f), true);
    if (row != NULL)
        move(&row->value, rate->prior, sample, RATIO_WEIGHT);
}

uint64_t quota_tokens(const struct quota *quota, uint64_t model, const struct features *features)
{
    double rates[NUM_FEATURES];
    uint64_t tokens;

    read_rates(quota, model, rates);
    tokens = features_tokens(features, rates);
    if (tokens < 1)
        return 1;
    return tokens < QUOTA_MAX_TOKENS ? tokens : QUOTA_MAX_TOKENS;
}

/* --- readers --- */

uint64_t quota_limit(const struct quota *quota, uint32_t column, uint64_t now_ms)
{
    return quota_limit_of(quota_column_of(quota, column), now_ms);
}

void quota_read(const struct quota *quota, uint32_t column, uint64_t now_ms, struct quota_sum *sum)
{
    const struct quota_column *col = quota_column_of(quota, column);

    sum->reserved = enqueued_of(load_acquire(&col->shared.enqueued));
    sum->expected = expected_now(load_relaxed(&quota_column_of(quota, column)->expected), now_ms);
    sum->foreign = quota_foreign_of(col, now_ms);
    sum->elsewhere = load_relaxed(&col->elsewhere);
    sum->limit = quota_limit_of(col, now_ms);
    sum->drain_rate = rate_of(col);
    sum->placed = placed_in(load_relaxed(&col->shared.placed), now_ms);
    sum->full_for_ms = full_for_ms(col, now_ms);
    sum->full_tokens = sum->full_for_ms > 0 ? load_relaxed(&col->shared.full_tokens) : 0;
}

void quota_describe(const struct quota *quota, uint32_t column, uint64_t now_ms,
                    struct pick_candidate *candidate)
{
    struct quota_sum sum;

    quota_read(quota, column, now_ms, &sum);
    candidate->enqueued = sum.reserved + sum.elsewhere + sum.foreign;
    candidate->limit = sum.limit;
    candidate->drain_rate = sum.drain_rate;
    candidate->placed = sum.placed;
    candidate->full_tokens = sum.full_tokens;
    candidate->full_for_ms = sum.full_for_ms;
}
