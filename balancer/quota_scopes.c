/* See quota_scopes.h. Of the two words of a row the number of batches is changed first on the way
 * in and last on the way out: a row in which something is counted cannot be closed. */
#include "quota_scopes.h"

#include <assert.h>

#include "entry_word.h"

#define TRIES 8 /* rows may be taken over while we look; so often in a row they are not */

#define CLOSED        0xffffffu /* in place of a count */
#define CLOSER_SHIFT  24
#define VERSION_SHIFT 36
#define NO_ROW        UINT32_MAX
#define READING_MASK  0xfffffu

uint64_t quota_scopes_for(uint32_t entries)
{
    uint64_t most = entries < SCOPES_MOST / 2 ? (uint64_t)entries * 2 : SCOPES_MOST;

    return SCOPE_BUCKET * shm_buckets(most > SCOPES_LEAST ? most : SCOPES_LEAST, SCOPE_BUCKET);
}

/* --- words --- */

static uint64_t count_of(uint64_t word)
{
    return word & CLOSED;
}

static bool is_closed(uint64_t word)
{
    return count_of(word) == CLOSED;
}

/* The word with another count; its version tells everybody that it changed. */
static uint64_t next_word(uint64_t word, uint64_t count, uint32_t closer)
{
    return ((word >> VERSION_SHIFT) + 1) << VERSION_SHIFT | (uint64_t)closer << CLOSER_SHIFT |
           count;
}

static struct quota_scope_row *row_at(const struct quota *quota, uint32_t row)
{
    assert(row < quota->num_scopes);
    return (struct quota_scope_row *)((char *)quota + quota->scopes) + row;
}

static _Atomic uint64_t *name_at(const struct quota *quota, uint32_t row)
{
    return (_Atomic uint64_t *)((char *)quota + quota->names) + row;
}

/* The rows in which a name may be: those of two buckets, or of one that is both. */
struct window {
    uint32_t bucket[2];
    unsigned num; /* rows */
};

static struct window window_of(const struct quota *quota, uint64_t name)
{
    uint64_t hash = quota_mix(name), mask = quota->num_scopes / SCOPE_BUCKET - 1;
    struct window w = {{(uint32_t)(hash & mask), (uint32_t)(hash >> 32 & mask)}, 0};

    w.num = w.bucket[0] == w.bucket[1] ? SCOPE_BUCKET : 2 * SCOPE_BUCKET;
    return w;
}

static uint32_t row_in(const struct window *w, unsigned n)
{
    return w->bucket[n / SCOPE_BUCKET] * SCOPE_BUCKET + n % SCOPE_BUCKET;
}

/* --- other gateways --- */

/* Who sets it looks at the row's name afterwards; who gives the row another one empties it
 * afterwards: of two that meet the last one empties it. */
static void set_elsewhere(struct quota_scope_row *row, uint64_t tokens, uint64_t batches,
                          uint32_t reading)
{
    store_seq_cst(&row->batches_elsewhere, batches);
    store_seq_cst(&row->elsewhere, (uint64_t)(reading & READING_MASK) << ENQUEUED_BITS | tokens);
}

static uint64_t tokens_elsewhere(const struct quota_scope_row *row)
{
    return enqueued_of(load_relaxed(&row->elsewhere));
}

static uint64_t batches_elsewhere(const struct quota_scope_row *row)
{
    return load_relaxed(&row->batches_elsewhere);
}

/* --- rows of a name --- */

static bool is_idle(const struct quota_scope_row *row)
{
    return count_of(load_acquire(&row->batches)) == 0 &&
           enqueued_of(load_relaxed(&row->tokens)) == 0;
}

/* Give a row in which nothing is counted another name. @return false: it is no longer idle */
static bool take_over(struct quota *quota, uint32_t holder, uint32_t row, uint64_t name)
{
    _Atomic uint64_t *batches = &row_at(quota, row)->batches;
    uint64_t old = load_acquire(batches), closed = next_word(old, CLOSED, holder);

    assert(holder <= HOLDER_MASTER); /* who dies on the way must be somebody to undo */
    if (count_of(old) != 0 || !cas_acq_rel(batches, &old, closed))
        return false;
    store_seq_cst(name_at(quota, row), name);
    set_elsewhere(row_at(quota, row), 0, 0, 0);
    store_release(batches, next_word(closed, 0, 0));
    return true;
}

/* An unnamed row, for this name: all who look for it come by the same rows in the same order, so
 * that two of them cannot name two. @return what name it has now */
static uint64_t name_row(struct quota *quota, uint32_t row, uint64_t name)
{
    uint64_t found = 0;

    store_relaxed(&quota->shared.named, 1); /* first: who repairs looks at all rows from now on */
    return cas_seq_cst(name_at(quota, row), &found, name) ? name : found;
}

/* The row of a name, made if there is none. NO_ROW: there is no room, or none for the moment. */
static uint32_t find_or_make(struct quota *quota, uint32_t holder, uint64_t name)
{
    const struct window w = window_of(quota, name);
    uint32_t idle = NO_ROW;

    for (unsigned i = 0; i < w.num; i++) {
        uint32_t row = row_in(&w, i);
        uint64_t found = load_acquire(name_at(quota, row));

        if (found == 0)
            found = name_row(quota, row, name);
        if (found == name && !is_closed(load_acquire(&row_at(quota, row)->batches)))
            return row;
        if (idle == NO_ROW && is_idle(row_at(quota, row)))
            idle = row;
    }
    return idle != NO_ROW && take_over(quota, holder, idle, name) ? idle : NO_ROW;
}

/* What is counted in all rows of a name but one. NO_ROW: in all.
 * @param all  also what is counted elsewhere */
static void sum_but(const struct quota *quota, uint64_t name, uint32_t but, bool all,
                    uint64_t *tokens, uint64_t *batches)
{
    const struct window w = window_of(quota, name);

    *tokens = *batches = 0;
    for (unsigned i = 0; i < w.num; i++) {
        uint32_t row = row_in(&w, i);
        uint64_t found = load_seq_cst_part(name_at(quota, row)), word;

        if (found == 0)
            return; /* no row behind it was ever named for this one */
        if (found != name || row == but)
            continue;
        word = load_seq_cst_part(&row_at(quota, row)->batches);
        *batches += is_closed(word) ? 0 : count_of(word);
        *tokens += enqueued_of(load_seq_cst_part(&row_at(quota, row)->tokens));
        *batches += all ? batches_elsewhere(row_at(quota, row)) : 0;
        *tokens += all ? tokens_elsewhere(row_at(quota, row)) : 0;
    }
}

/* --- counting --- */

static bool has_room(uint64_t used, uint64_t more, uint64_t limit)
{
    return more <= limit && used <= limit - more;
}

static void batches_out(struct quota_scope_row *row)
{
    uint64_t old = load_acquire(&row->batches), count;

    do {
        if (is_closed(old))
            return;
        count = count_of(old) > 0 ? count_of(old) - 1 : 0;
    } while (!cas_acq_rel(&row->batches, &old, next_word(old, count, 0)));
}

void quota_scope_out(struct quota *quota, uint32_t row, uint64_t tokens)
{
    struct quota_scope_row *r = row_at(quota, row);
    uint64_t old = load_acquire(&r->tokens), left;

    do {
        left = enqueued_of(old) > tokens ? enqueued_of(old) - tokens : 0;
    } while (!cas_acq_rel(&r->tokens, &old, enqueued_next(old, left)));
    batches_out(r);
}

static bool count_batch(struct quota_scope_row *row, uint64_t limit, uint64_t *used)
{
    uint64_t old = load_acquire(&row->batches), more = batches_elsewhere(row);

    do {
        *used = count_of(old) + more;
        if (is_closed(old) || count_of(old) + 1 >= CLOSED || !has_room(*used, 1, limit))
            return false;
    } while (!cas_seq_cst(&row->batches, &old, next_word(old, count_of(old) + 1, 0)));
    return true;
}

static bool count_tokens(struct quota_scope_row *row, uint64_t tokens, uint64_t limit,
                         uint64_t *used)
{
    uint64_t old = load_acquire(&row->tokens), more = tokens_elsewhere(row);

    do {
        *used = enqueued_of(old) + more;
        if (!has_room(*used, tokens, limit) || !has_room(enqueued_of(old), tokens, ENQUEUED_MAX))
            return false;
    } while (!cas_seq_cst(&row->tokens, &old, enqueued_next(old, enqueued_of(old) + tokens)));
    return true;
}

/* In one row, as far as that one tells; it may have got another name. */
static enum scope_fit count_at(struct quota_scope_row *row, const struct quota_scope *scope,
                               uint64_t tokens, uint64_t *used)
{
    if (!count_batch(row, scope->batches, used))
        return SCOPE_BATCHES_FULL;
    if (count_tokens(row, tokens, scope->tokens, used))
        return SCOPE_COUNTED;
    batches_out(row);
    return SCOPE_TOKENS_FULL;
}

static bool is_named(const struct quota *quota, uint32_t row, uint64_t name)
{
    return load_seq_cst(name_at(quota, row)) == name &&
           !is_closed(load_acquire(&row_at(quota, row)->batches));
}

/* What was counted in a row shows there: whether it fits together with what other rows of that name
 * have. */
static enum scope_fit settle(const struct quota *quota, const struct quota_scope *scope,
                             uint32_t row, uint64_t tokens, uint64_t *used)
{
    uint64_t others, other_batches, mine, batches;

    sum_but(quota, scope->name, row, true, &others, &other_batches);
    if (other_batches == 0)
        return SCOPE_COUNTED;
    mine = enqueued_of(load_seq_cst(&row_at(quota, row)->tokens));
    batches = count_of(load_seq_cst(&row_at(quota, row)->batches));
    others += tokens_elsewhere(row_at(quota, row));
    other_batches += batches_elsewhere(row_at(quota, row));
    *used = mine + others - (mine >= tokens ? tokens : 0);
    if (mine + others > scope->tokens)
        return SCOPE_TOKENS_FULL;
    *used = batches + other_batches - 1;
    return batches + other_batches > scope->batches ? SCOPE_BATCHES_FULL : SCOPE_COUNTED;
}

static void remember(struct quota_scope_row *row, uint32_t column)
{
    store_relaxed_32(&row->columns[column % SCOPE_PER_LOT], column + 1);
}

enum scope_fit quota_scope_in(struct quota *quota, uint32_t holder, const struct quota_scope *scope,
                              uint64_t tokens, uint32_t column, uint32_t *row, uint64_t *used)
{
    enum scope_fit fit = SCOPE_NO_ROW;

    for (int i = 0; i < TRIES && fit == SCOPE_NO_ROW; i++) {
        bool counted;

        *row = find_or_make(quota, holder, scope->name);
        if (*row == NO_ROW)
            continue;
        fit = count_at(row_at(quota, *row), scope, tokens, used);
        counted = fit == SCOPE_COUNTED;
        if (!is_named(quota, *row, scope->name))
            fit = SCOPE_NO_ROW; /* whatever it said was about another scope */
        else if (counted)
            fit = settle(quota, scope, *row, tokens, used);
        if (counted && fit != SCOPE_COUNTED)
            quota_scope_out(quota, *row, tokens);
    }
    if (fit == SCOPE_COUNTED)
        remember(row_at(quota, *row), column);
    return fit;
}

enum scope_fit quota_scope_look(const struct quota *quota, const struct quota_scope *scope,
                                uint64_t tokens, uint64_t *used)
{
    uint64_t enqueued, batches;

    sum_but(quota, scope->name, NO_ROW, true, &enqueued, &batches);
    *used = enqueued;
    if (!has_room(enqueued, tokens, scope->tokens))
        return SCOPE_TOKENS_FULL;
    *used = batches;
    return has_room(batches, 1, scope->batches) ? SCOPE_COUNTED : SCOPE_BATCHES_FULL;
}

bool quota_read_scope(const struct quota *quota, uint64_t name, uint64_t now_ms,
                      struct quota_scope_sum *sum)
{
    const struct window w = window_of(quota, name);

    *sum = (struct quota_scope_sum){0};
    sum_but(quota, name, NO_ROW, false, &sum->tokens, &sum->batches);
    for (unsigned i = 0; i < w.num && sum->batches > 0; i++) {
        uint32_t row = row_in(&w, i);

        if (load_acquire(name_at(quota, row)) != name)
            continue;
        for (unsigned c = 0; c < SCOPE_PER_LOT; c++) {
            uint32_t column = load_relaxed_32(&row_at(quota, row)->columns[c]);
            struct quota_sum at;

            if (column == 0 || column > quota->max_columns)
                continue;
            quota_read(quota, column - 1, now_ms, &at);
            sum->drain_rate += at.drain_rate;
            sum->around += at.reserved + at.foreign;
        }
        break; /* a second row is rare, and this an estimate */
    }
    return sum->batches > 0;
}

static size_t mark_at(uint64_t name, uint64_t *bit)
{
    uint64_t hash = quota_mix(name);

    *bit = UINT64_C(1) << (hash & 63);
    return (hash >> 6) % QUOTA_MARKS;
}

bool quota_mark_scopes(const struct quota *quota, uint32_t *cursor, uint32_t rows,
                       struct quota_marks *marks)
{
    uint64_t end = *cursor + (uint64_t)rows, bit;
    size_t word;

    if (load_relaxed(&quota->shared.named) == 0)
        return false;
    for (; *cursor < quota->num_scopes && *cursor < end; ++*cursor) {
        const struct quota_scope_row *row = row_at(quota, *cursor);
        uint64_t name = load_acquire(name_at(quota, *cursor));

        if (name == 0 || (is_idle(row) && batches_elsewhere(row) == 0))
            continue;
        word = mark_at(name, &bit);
        marks->words[word] |= bit;
    }
    return *cursor < quota->num_scopes;
}

bool quota_is_marked(const struct quota_marks *marks, uint64_t name)
{
    uint64_t bit;
    size_t word = mark_at(name, &bit);

    return (marks->words[word] & bit) != 0;
}

static uint32_t row_named(const struct quota *quota, uint64_t name)
{
    const struct window w = window_of(quota, name);

    for (unsigned i = 0; i < w.num; i++)
        if (load_acquire(name_at(quota, row_in(&w, i))) == name)
            return row_in(&w, i);
    return NO_ROW;
}

/* A row that another scope gets meanwhile has nothing elsewhere until the next reading. */
void quota_set_scope_total(struct quota *quota, uint32_t holder, uint64_t name, uint64_t tokens,
                           uint64_t batches, uint32_t reading)
{
    uint64_t ours, our_batches;
    uint32_t row = row_named(quota, name);

    assert(name != 0);
    if (row == NO_ROW && (tokens != 0 || batches != 0))
        row = find_or_make(quota, holder, name);
    if (row == NO_ROW)
        return; /* the database has the last word */
    sum_but(quota, name, NO_ROW, false, &ours, &our_batches);
    set_elsewhere(row_at(quota, row), quota_beyond(tokens, ours),
                  quota_beyond(batches, our_batches), reading);
    if (load_seq_cst(name_at(quota, row)) != name)
        set_elsewhere(row_at(quota, row), 0, 0, 0);
}

void quota_drop_scope_totals(struct quota *quota, uint32_t reading)
{
    for (uint32_t row = 0; load_relaxed(&quota->shared.named) != 0 && row < quota->num_scopes;
         row++) {
        struct quota_scope_row *r = row_at(quota, row);

        if (load_relaxed(name_at(quota, row)) != 0 &&
            (load_relaxed(&r->elsewhere) | load_relaxed(&r->batches_elsewhere)) != 0 &&
            (reading == QUOTA_NO_READING ||
             load_relaxed(&r->elsewhere) >> ENQUEUED_BITS != (reading & READING_MASK)))
            set_elsewhere(r, 0, 0, 0);
    }
}

void quota_scope_totals(const struct quota *quota, struct quota_scope_totals *totals)
{
    *totals = (struct quota_scope_totals){.unscoped = load_relaxed(&quota->shared.unscoped)};
    for (unsigned i = 0; i < QUOTA_SCOPES; i++) {
        totals->refused_tokens[i] = load_relaxed(&quota->refused[i]);
        totals->refused_batches[i] = load_relaxed(&quota->refused[QUOTA_SCOPES + i]);
    }
    for (uint32_t row = 0; load_relaxed(&quota->shared.named) != 0 && row < quota->num_scopes;
         row++) {
        uint64_t word;

        if (load_relaxed(name_at(quota, row)) == 0)
            continue;
        word = load_relaxed(&row_at(quota, row)->batches);
        totals->scopes += count_of(word) != 0 && !is_closed(word);
    }
}

/* --- repair --- */

void quota_scopes_undo(struct quota *quota, uint32_t first, uint32_t num)
{
    if (load_acquire(&quota->shared.named) == 0)
        return;
    for (uint32_t row = 0; row < quota->num_scopes; row++) {
        _Atomic uint64_t *batches = &row_at(quota, row)->batches;
        uint64_t word;

        if (load_acquire_part(name_at(quota, row)) == 0)
            continue;
        word = load_acquire_part(batches);
        if (is_closed(word) && (word >> CLOSER_SHIFT & ENTRY_HOLDER_MASK) - first < num)
            cas_acq_rel(batches, &word, next_word(word, 0, 0));
    }
}

bool quota_scopes_before(const struct quota *quota, struct scope_sums *sums)
{
    if (load_acquire(&quota->shared.named) == 0)
        return false;
    for (uint32_t row = 0; row < quota->num_scopes; row++) {
        sums[row] = (struct scope_sums){0};
        if (load_acquire_part(name_at(quota, row)) == 0)
            continue;
        sums[row].tokens_before = load_acquire(&row_at(quota, row)->tokens);
        sums[row].batches_before = load_acquire(&row_at(quota, row)->batches);
    }
    return true;
}

/* Tokens first: as long as batches are counted nobody else gets the row. */
static bool correct_row(struct quota_scope_row *row, const struct scope_sums *sums)
{
    uint64_t tokens = sums->tokens_before, batches = sums->batches_before;

    if (is_closed(batches))
        return true; /* nothing is counted in it, and its version has changed by now */
    if (enqueued_of(tokens) != sums->tokens &&
        !cas_acq_rel(&row->tokens, &tokens, enqueued_next(tokens, sums->tokens)))
        return false;
    return count_of(batches) == sums->batches ||
           cas_acq_rel(&row->batches, &batches, next_word(batches, sums->batches, 0));
}

bool quota_scopes_correct(struct quota *quota, const struct scope_sums *sums)
{
    bool all = true;

    for (uint32_t row = 0; row < quota->num_scopes; row++)
        if (load_acquire_part(name_at(quota, row)) != 0)
            all &= correct_row(row_at(quota, row), &sums[row]);
    return all;
}
