/* Reservations: an entry in a table each, moved by compare-and-swap on its word; E of a column
 * follows. The order of steps is what keeps a kill harmless, see quota.h:
 *
 *   in:   claim an entry, write it, count it in E, say RESERVED
 *   out:  say RELEASING (one alone can), take it out of E, say FREE
 *
 * So what is RESERVED, SENT, LIVE or ORPHAN is in E for certain, what is FREE is not, and between
 * the two an entry names the holder that is about to decide it. */
#include "balancer/quota.h"

#include <string.h>

#include "balancer/memo.h"
#include "quota_learn_impl.h"
#include "quota_scopes.h"
#include "quota_table.h"

#define TOKEN_SEED 0x746f6b65u /* a marker that reads like an id is still no id */

#define MINUTE_MS 60000u

static_assert(QUOTA_ID_SIZE == QUOTA_ID_WORDS * 8, "an id is kept in words");

/* What anybody may end. A create in flight is ended by who holds its claim, or orphaned by the
 * master: so a claim, once given, is good. */
static bool is_holderless(uint64_t word)
{
    return state_of(word) == QUOTA_LIVE || state_of(word) == QUOTA_ORPHAN;
}

/* Mixed with the deployment: equal ids of two accounts are two batches. */
static uint64_t hash(const struct quota *quota, uint32_t column, uint32_t seed, const char *text,
                     size_t len)
{
    return memo_key(seed, load_relaxed(&quota_column_of(quota, column)->fingerprint), text, len);
}

static uint64_t key_of(const struct quota *quota, uint32_t column, const char *id, size_t len)
{
    return hash(quota, column, 0, id, len);
}

/* --- E --- */

/* @param limit  0: none */
static bool count_in(struct quota_column *col, uint64_t tokens, uint64_t others, uint64_t limit,
                     uint64_t *ahead)
{
    uint64_t old = load_acquire(&col->shared.enqueued);

    do {
        *ahead = enqueued_of(old) + others;
        if (enqueued_of(old) + tokens > ENQUEUED_MAX)
            return false;
        if (limit != 0 && (tokens > limit || *ahead > limit - tokens))
            return false;
    } while (
        !cas_acq_rel(&col->shared.enqueued, &old, enqueued_next(old, enqueued_of(old) + tokens)));
    return true;
}

static void count_out(struct quota_column *col, uint64_t tokens)
{
    uint64_t old = load_acquire(&col->shared.enqueued), left;

    do {
        left = enqueued_of(old) > tokens ? enqueued_of(old) - tokens : 0;
    } while (!cas_acq_rel(&col->shared.enqueued, &old, enqueued_next(old, left)));
}

/* --- scopes --- */

static uint64_t scopes_word(const uint32_t rows[QUOTA_SCOPES])
{
    return (uint64_t)rows[QUOTA_TEAM] << 32 | rows[QUOTA_KEY];
}

static void scopes_out(struct quota *quota, uint64_t scopes, uint64_t tokens)
{
    for (unsigned i = 0; i < QUOTA_SCOPES; i++)
        if (scope_row(scopes, i) != 0)
            quota_scope_out(quota, scope_row(scopes, i) - 1, tokens);
}

static bool is_limited(const struct quota_scope *scope)
{
    return scope->tokens != RIGHTS_UNLIMITED || scope->batches != RIGHTS_UNLIMITED;
}

static int refuse(struct quota_refusal *refusal, const struct quota_scope *scope, unsigned nth,
                  enum scope_fit fit, uint64_t used)
{
    refusal->by = fit == SCOPE_TOKENS_FULL    ? QUOTA_BY_TOKENS
                  : fit == SCOPE_BATCHES_FULL ? QUOTA_BY_BATCHES
                                              : QUOTA_BY_TABLE;
    refusal->scope = nth;
    refusal->used = used;
    refusal->limit = fit == SCOPE_TOKENS_FULL ? scope->tokens : scope->batches;
    return fit == SCOPE_NO_ROW ? ERR_FULL : ERR_LIMIT;
}

/* Count a batch in all its scopes, or in none. @param scopes  written: the reservation's word */
static int scopes_in(struct quota *quota, uint32_t holder, uint32_t column,
                     const struct quota_job *job, uint64_t *scopes, struct quota_refusal *refusal)
{
    uint32_t rows[QUOTA_SCOPES] = {0};

    for (unsigned i = 0; i < QUOTA_SCOPES; i++) {
        const struct quota_scope *scope = &job->scopes[i];
        uint64_t used = 0;
        enum scope_fit fit;

        if (scope->name == 0)
            continue;
        fit = quota_scope_in(quota, holder, scope, job->tokens, column, &rows[i], &used);
        rows[i] = fit == SCOPE_COUNTED ? rows[i] + 1 : 0;
        if (fit == SCOPE_NO_ROW && !is_limited(scope)) {
            add_relaxed(&quota->shared.unscoped, 1);
        } else if (fit != SCOPE_COUNTED) {
            scopes_out(quota, scopes_word(rows), job->tokens);
            return refuse(refusal, scope, i, fit, used);
        }
    }
    *scopes = scopes_word(rows);
    return 0;
}

int quota_scopes_fit(const struct quota *quota, const struct quota_job *job,
                     struct quota_refusal *refusal)
{
    for (unsigned i = 0; i < QUOTA_SCOPES; i++) {
        const struct quota_scope *scope = &job->scopes[i];
        enum scope_fit fit;
        uint64_t used;

        if (scope->name == 0 || !is_limited(scope))
            continue;
        fit = quota_scope_look(quota, scope, job->tokens, &used);
        if (fit != SCOPE_COUNTED)
            return refuse(refusal, scope, i, fit, used);
    }
    return 0;
}

static void count_refused(struct quota *quota, const struct quota_refusal *refusal)
{
    if (refusal->by == QUOTA_BY_TOKENS || refusal->by == QUOTA_BY_BATCHES)
        add_relaxed(
            &quota->refused[refusal->scope + (refusal->by == QUOTA_BY_BATCHES ? QUOTA_SCOPES : 0)],
            1);
}

/* --- ends --- */

/* From `word`, which must still be there, out of the table. */
static bool end(struct quota *quota, uint32_t holder, uint64_t entry, uint64_t word,
                enum quota_end how, uint64_t now_ms)
{
    struct reservation *r = entry_at(quota, entry);
    uint64_t releasing = entry_word_in(word, QUOTA_RELEASING, holder);
    struct quota_column *col;

    assert(holder <= HOLDER_MASTER); /* who dies on the way must be somebody to undo */
    if (!is_counted(word) || !cas_acq_rel(&r->word, &word, releasing))
        return false;
    col = quota_column_of(quota, column_of(r));
    count_out(col, load_relaxed(&r->tokens));
    scopes_out(quota, load_relaxed(&r->scopes), load_relaxed(&r->tokens));
    if (how == QUOTA_FINISHED && now_ms > load_relaxed(&r->begun_ms))
        quota_note_finished(col, load_relaxed(&r->ahead), load_relaxed(&r->tokens),
                            now_ms - load_relaxed(&r->begun_ms));
    quota_table_vacate(quota, entry, releasing);
    return true;
}

/* --- the region --- */

void quota_ask_every(struct quota *quota, uint32_t ask_ms)
{
    store_relaxed(&quota->shared.ask_ms, ask_ms);
}

/* What a region of these dimensions begins with. */
static int fill_head(struct quota *head, uint32_t max_columns, uint32_t max_reservations)
{
    if (max_columns == 0 || max_reservations == 0 || max_reservations > QUOTA_TABLE_MAX)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->max_columns = max_columns;
    head->max_entries = max_reservations;
    head->bucket_mask = quota_table_buckets(max_reservations) - 1;
    head->columns = shm_round_up(sizeof(struct quota), CACHE_LINE);
    head->num_scopes = quota_scopes_for(max_reservations);
    head->names = head->columns + (uint64_t)max_columns * sizeof(struct quota_column);
    head->scopes = head->names + head->num_scopes * sizeof(uint64_t);
    head->index = head->scopes + head->num_scopes * sizeof(struct quota_scope_row);
    head->entries = head->index + quota_table_buckets(max_reservations) * BUCKET * sizeof(uint64_t);
    head->region = (struct shm_head){.magic = QUOTA_MAGIC,
                                     .layout = QUOTA_LAYOUT,
                                     .size = head->entries + (uint64_t)max_reservations *
                                                                 sizeof(struct reservation)};
    return 0;
}

#define HEAD_LEN offsetof(struct quota, shared)

static bool entry_stays_inside(const struct quota *quota, const struct reservation *r)
{
    uint64_t scopes = load_relaxed(&r->scopes);

    return column_of(r) < quota->max_columns && scope_row(scopes, QUOTA_KEY) <= quota->num_scopes &&
           scope_row(scopes, QUOTA_TEAM) <= quota->num_scopes;
}

/* Whether what is in it leads nowhere else: the numbers of columns, scopes and entries that it uses.
 */
static bool stays_inside(const struct quota *quota)
{
    if (load_relaxed(&quota->shared.high) > quota->max_entries)
        return false;
    for (uint64_t i = 0; i < num_entries(quota); i++)
        if (!entry_stays_inside(quota, entry_at(quota, i)))
            return false;
    for (uint32_t c = 0; c < quota->max_columns; c++)
        if (quota_canonical(quota, c) >= quota->max_columns)
            return false;
    return true;
}

static int make(uint32_t max_columns, uint32_t max_reservations, int fd, struct quota **out)
{
    struct quota head;
    void *region;
    int ret = fill_head(&head, max_columns, max_reservations);

    if (ret == 0)
        ret = shm_region_open("tranche-quota", fd, &head, HEAD_LEN, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int quota_new(uint32_t max_columns, uint32_t max_reservations, struct quota **out)
{
    int ret = make(max_columns, max_reservations, SHM_NEW, out);

    if (ret == 0)
        quota_ask_every(*out, QUOTA_ASK_MS);
    return ret;
}

int quota_adopt_region(int fd, uint32_t max_columns, uint32_t max_reservations, struct quota **out)
{
    struct quota *adopted;
    int ret = make(max_columns, max_reservations, fd, &adopted);

    if (ret != 0)
        return ret;
    if (!stays_inside(adopted)) {
        quota_free(adopted);
        return ERR_INVALID;
    }
    *out = adopted;
    return 0;
}

void quota_free(struct quota *quota)
{
    shm_region_free(quota);
}

static void empty_column(struct quota *quota, uint32_t column)
{
    for (uint64_t i = 0; i < num_entries(quota); i++) {
        uint64_t word = load_acquire(&entry_at(quota, i)->word);

        if (is_holderless(word) && column_of(entry_at(quota, i)) == column)
            end(quota, HOLDER_MASTER, i, word, QUOTA_DROPPED, 0);
    }
    store_relaxed(&quota_row_of(quota, column)->rebuilt, 0);
    store_relaxed(&quota_row_of(quota, column)->elsewhere, 0);
    quota_forget_learned(quota_row_of(quota, column));
}

static uint64_t clamp_limit(uint64_t limit)
{
    return limit < QUOTA_MAX_TOKENS ? limit : QUOTA_MAX_TOKENS;
}

void quota_bind(struct quota *quota, uint32_t column, const struct quota_terms *terms)
{
    struct quota_column *col = quota_row_of(quota, column);

    store_relaxed(&col->alias, 0);
    if (load_relaxed(&col->fingerprint) != terms->fingerprint)
        empty_column(quota, column);
    store_relaxed(&col->fingerprint, terms->fingerprint);
    store_relaxed(&col->limit, clamp_limit(terms->limit));
    store_relaxed(&col->lease_ms, terms->lease_ms != 0 ? terms->lease_ms : QUOTA_LEASE_MS);
    store_relaxed(&col->flags,
                  (terms->ask_first ? COLUMN_ASK_FIRST : 0) | (terms->many ? COLUMN_MANY : 0));
}

/* With the fingerprint goes the memory of what it was: should it be bound again, it begins anew. */
void quota_alias(struct quota *quota, uint32_t column, uint32_t of, uint64_t limit)
{
    struct quota_column *col = quota_row_of(quota, column), *real = quota_row_of(quota, of);
    uint64_t configured = load_relaxed(&real->limit);

    assert(of != column && load_relaxed(&real->alias) == 0);
    if (load_relaxed(&col->alias) != (uint64_t)of + 1) {
        store_relaxed(&col->alias, 0);
        empty_column(quota, column);
        store_relaxed(&col->fingerprint, 0);
        store_relaxed(&col->alias, (uint64_t)of + 1);
        count_out(col,
                  ENQUEUED_MAX); /* creates in flight: a repair counts them where they are now */
    }
    if (limit != 0 && (configured == 0 || limit < configured))
        store_relaxed(&real->limit, clamp_limit(limit));
}

/* --- other gateways --- */

void quota_set_total(struct quota *quota, uint32_t column, uint64_t tokens)
{
    struct quota_column *col = quota_column_of(quota, column);

    store_relaxed(&col->elsewhere,
                  quota_beyond(tokens, enqueued_of(load_acquire(&col->shared.enqueued))));
}

void quota_forget_totals(struct quota *quota)
{
    for (uint32_t c = 0; c < quota->max_columns; c++)
        store_relaxed(&quota_row_of(quota, c)->elsewhere, 0);
    quota_drop_scope_totals(quota, QUOTA_NO_READING);
}

/* --- a reservation's life --- */

/* Count what an entry says that is held in RESERVING: in its scopes, then in its column. */
static int count_all_in(struct quota *quota, uint32_t holder, struct reservation *r,
                        const struct quota_job *job, uint64_t limit, uint64_t others,
                        struct quota_refusal *refusal)
{
    struct quota_column *col = quota_column_of(quota, column_of(r));
    uint64_t scopes = 0, ahead;
    int ret = scopes_in(quota, holder, column_of(r), job, &scopes, refusal);

    if (ret != 0)
        return ret;
    if (!count_in(col, job->tokens, others, limit, &ahead)) {
        scopes_out(quota, scopes, job->tokens);
        return ERR_LIMIT;
    }
    store_relaxed(&r->ahead, ahead);
    store_release_part(&r->scopes, scopes);
    return 0;
}

/* As RESERVED; or as SENT, then whatever the limit of the column. */
static int reserve(struct quota *quota, uint32_t holder, uint32_t column,
                   const struct quota_job *job, enum quota_state state, uint64_t begun_ms,
                   uint64_t now_ms, struct quota_claim *out, struct quota_refusal *refusal)
{
    struct quota_column *col = quota_column_of(quota, column);
    uint64_t limit = state == QUOTA_SENT || job->anyway ? 0 : quota_limit_of(col, now_ms);
    uint64_t entry, word;
    struct reservation *r;
    int ret;

    if (!quota_table_claim(quota, holder, &entry, &word)) {
        refusal->by = QUOTA_BY_TABLE;
        return ERR_FULL;
    }
    r = entry_at(quota, entry);
    quota_table_write(r, col, quota_canonical(quota, column), job->tokens, begun_ms, now_ms);
    ret = count_all_in(quota, holder, r, job, limit, quota_others_of(col, now_ms), refusal);
    if (ret != 0) {
        quota_table_vacate(quota, entry, word);
        return ret;
    }
    store_release_part(&r->token, job->token);
    quota_table_index(quota, load_relaxed(&r->token), entry);
    out->word = entry_word_in(word, state, holder);
    out->entry = (uint32_t)entry + 1;
    out->column = column;
    out->tokens = job->tokens;
    store_release(&r->word, out->word);
    return 0;
}

/* Whether one look says already that it will not fit: most refusals end here and write nothing. */
static bool is_hopeless(const struct quota_column *col, uint64_t tokens, uint64_t now_ms)
{
    uint64_t limit = quota_limit_of(col, now_ms);
    uint64_t enqueued =
        enqueued_of(load_acquire(&col->shared.enqueued)) + quota_others_of(col, now_ms);

    if (quota_is_cooling_down(col, tokens, now_ms))
        return true;
    return limit != 0 && (tokens > limit || enqueued > limit - tokens);
}

uint64_t quota_token(const struct quota *quota, uint32_t column, const char *marker, size_t len)
{
    return hash(quota, column, TOKEN_SEED, marker, len);
}

int quota_reserve_job(struct quota *quota, uint32_t holder, uint32_t column,
                      const struct quota_job *job, uint64_t now_ms, struct quota_claim *claim,
                      struct quota_refusal *refusal)
{
    struct quota_column *col = quota_column_of(quota, column);
    struct quota_job cut = *job;
    int ret;

    assert(holder < QUOTA_MAX_HOLDERS);
    memset(claim, 0, sizeof(*claim));
    *refusal = (struct quota_refusal){.by = QUOTA_BY_DEPLOYMENT};
    if (cut.tokens > QUOTA_MAX_TOKENS)
        cut.tokens = QUOTA_MAX_TOKENS;
    ret = quota_scopes_fit(quota, &cut, refusal);
    if (ret == 0 && !cut.anyway && is_hopeless(col, cut.tokens, now_ms))
        return ERR_LIMIT;
    if (ret == 0)
        ret = reserve(quota, holder, column, &cut, QUOTA_RESERVED, now_ms, now_ms, claim, refusal);
    if (ret == 0)
        quota_note_placed(col, now_ms);
    else
        count_refused(quota, refusal);
    return ret;
}

int quota_reserve(struct quota *quota, uint32_t holder, uint32_t column, uint64_t tokens,
                  uint64_t token, uint64_t now_ms, struct quota_claim *claim)
{
    const struct quota_job job = {.tokens = tokens, .token = token};
    struct quota_refusal refusal;

    return quota_reserve_job(quota, holder, column, &job, now_ms, claim, &refusal);
}

/* Give what is held its id, and to itself. Found by its id first, then no longer by its token:
 * at no time by neither. */
static bool make_live(struct quota *quota, uint64_t entry, uint64_t word, const char *id,
                      size_t len)
{
    struct reservation *r = entry_at(quota, entry);

    if (load_acquire(&r->word) != word)
        return false;
    quota_table_write_id(r, id, len);
    store_release_part(&r->key, key_of(quota, column_of(r), id, len));
    quota_table_index(quota, load_relaxed(&r->key), entry);
    quota_table_unindex(quota, load_relaxed(&r->token), entry);
    return cas_acq_rel(&r->word, &word, entry_word_in(word, QUOTA_LIVE, HOLDER_NOBODY));
}

int quota_commit(struct quota *quota, const struct quota_claim *claim, const char *id, size_t len)
{
    if (claim->entry == 0 || !make_live(quota, claim->entry - 1, claim->word, id, len))
        return ERR_NOT_FOUND;
    quota_note_accepted(quota_column_of(quota, claim->column), claim->tokens);
    return 0;
}

void quota_cancel(struct quota *quota, uint32_t holder, const struct quota_claim *claim,
                  uint64_t now_ms)
{
    if (claim->entry != 0)
        end(quota, holder, claim->entry - 1, claim->word, QUOTA_DROPPED, now_ms);
}

/* @return false: it is not what the claim says any more */
static bool change(struct quota *quota, struct quota_claim *claim, enum quota_state state)
{
    uint64_t old = claim->word, new = entry_word_in(old, state, entry_holder(old));

    assert(state_of(old) == QUOTA_RESERVED || state_of(old) == QUOTA_SENT);
    if (!cas_acq_rel(&entry_at(quota, claim->entry - 1)->word, &old, new))
        return false;
    claim->word = new;
    return true;
}

bool quota_sent(struct quota *quota, struct quota_claim *claim)
{
    return claim->entry == 0 || change(quota, claim, QUOTA_SENT);
}

void quota_refused(struct quota *quota, struct quota_claim *claim)
{
    if (claim->entry != 0)
        (void)change(quota, claim, QUOTA_RESERVED);
}

/* By the one who holds it, or for a dead one. The time first: who sees an orphan may read it. */
static bool orphan(struct quota *quota, uint64_t entry, uint64_t word, uint64_t now_ms)
{
    struct reservation *r = entry_at(quota, entry);

    store_relaxed_32(&r->stamp, (uint32_t)(now_ms / 1000));
    return cas_acq_rel(&r->word, &word, entry_word_in(word, QUOTA_ORPHAN, HOLDER_NOBODY));
}

void quota_abandon(struct quota *quota, const struct quota_claim *claim, uint64_t now_ms)
{
    if (claim->entry != 0 && load_acquire(&entry_at(quota, claim->entry - 1)->word) == claim->word)
        (void)orphan(quota, claim->entry - 1, claim->word, now_ms);
}

static bool release_key(struct quota *quota, uint32_t holder, uint64_t key, enum quota_end how,
                        uint64_t now_ms)
{
    uint64_t entry, word;

    bool any = false;

    /* More than one only if two processes adopted the same batch at once. */
    while (quota_table_find(quota, key, &entry, &word) && is_holderless(word) &&
           end(quota, holder, entry, word, how, now_ms))
        any = true;
    return any;
}

void quota_expect(const struct quota *quota, uint32_t column, const char *id, size_t len,
                  const char *marker, size_t marker_len)
{
    quota_table_expect(quota, key_of(quota, column, id, len));
    if (marker_len > 0)
        quota_table_expect(quota, quota_token(quota, column, marker, marker_len));
}

bool quota_release(struct quota *quota, uint32_t holder, uint32_t column, const char *id,
                   size_t len, enum quota_end how, uint64_t now_ms)
{
    return release_key(quota, holder, key_of(quota, column, id, len), how, now_ms);
}

bool quota_release_token(struct quota *quota, uint32_t holder, uint64_t token, uint64_t now_ms)
{
    uint64_t entry, word;

    return token != 0 && quota_table_find(quota, token, &entry, &word) &&
           state_of(word) == QUOTA_ORPHAN && end(quota, holder, entry, word, QUOTA_DROPPED, now_ms);
}

/* An ORPHAN's batch was found: hold it like a create in flight, and commit. Should we die between,
 * it is an orphan again. */
static void adopt_orphan(struct quota *quota, uint32_t holder, uint64_t entry, uint64_t word,
                         const char *id, size_t len)
{
    uint64_t held = entry_word_in(word, QUOTA_SENT, holder);

    if (cas_acq_rel(&entry_at(quota, entry)->word, &word, held))
        make_live(quota, entry, held, id, len);
}

/* A commit by another process may fall between the first two looks; then the third one hits. */
static bool find_batch(const struct quota *quota, uint64_t key, uint64_t token, uint64_t *entry,
                       uint64_t *word)
{
    if (quota_table_find(quota, key, entry, word))
        return true;
    return token != 0 && (quota_table_find(quota, token, entry, word) ||
                          quota_table_find(quota, key, entry, word));
}

/* As something that goes in whatever the limits. */
static struct quota_job job_found(const struct quota_found *found)
{
    struct quota_job job = {.token = found->token, .tokens = found->tokens};

    if (job.tokens > QUOTA_MAX_TOKENS)
        job.tokens = QUOTA_MAX_TOKENS;
    for (unsigned i = 0; i < QUOTA_SCOPES; i++)
        job.scopes[i] = (struct quota_scope){found->scopes[i], RIGHTS_UNLIMITED, RIGHTS_UNLIMITED};
    return job;
}

int quota_adopt(struct quota *quota, uint32_t holder, uint32_t column,
                const struct quota_found *found, uint64_t now_ms)
{
    uint64_t entry, word, begun_ms = now_ms > found->age_ms ? now_ms - found->age_ms : 0;
    const struct quota_job job = job_found(found);
    struct quota_refusal refusal;
    struct quota_claim claim;

    assert(holder < QUOTA_MAX_HOLDERS);
    if (find_batch(quota, key_of(quota, column, found->id, found->len), found->token, &entry,
                   &word)) {
        if (state_of(word) == QUOTA_ORPHAN)
            adopt_orphan(quota, holder, entry, word, found->id, found->len);
        return 0;
    }
    if (reserve(quota, holder, column, &job, QUOTA_SENT, begun_ms, now_ms, &claim, &refusal) != 0)
        return ERR_FULL;
    store_relaxed(&entry_at(quota, claim.entry - 1)->ahead, AHEAD_UNKNOWN);
    quota_note_adopted(quota_column_of(quota, column), job.tokens, now_ms);
    return make_live(quota, claim.entry - 1, claim.word, found->id, found->len) ? 0 : ERR_BAD_STATE;
}

/* Held in REFUNDING, where it counts at its deployment for certain, by one alone. */
bool quota_refund(struct quota *quota, uint32_t holder, uint32_t column, const char *id, size_t len)
{
    uint64_t entry, word, held;
    struct reservation *r;

    assert(holder <= HOLDER_MASTER);
    if (!quota_table_find(quota, key_of(quota, column, id, len), &entry, &word) ||
        state_of(word) != QUOTA_LIVE)
        return false;
    r = entry_at(quota, entry);
    held = entry_word_in(word, QUOTA_REFUNDING, holder);
    if (load_acquire_part(&r->scopes) == 0 || !cas_acq_rel(&r->word, &word, held))
        return false;
    scopes_out(quota, load_relaxed(&r->scopes), load_relaxed(&r->tokens));
    store_release_part(&r->scopes, 0);
    store_release(&r->word, entry_word_in(held, QUOTA_LIVE, HOLDER_NOBODY));
    return true;
}

/* A client that polls every second tells no more than one a minute. */
static bool is_news(struct reservation *r, uint64_t now_ms)
{
    uint32_t old = load_relaxed_32(&r->stamp);
    uint32_t minute = (uint32_t)(now_ms / MINUTE_MS);

    return old != minute && cas_relaxed_32(&r->stamp, &old, minute);
}

bool quota_progress(struct quota *quota, uint32_t column, const char *id, size_t len, uint64_t done,
                    uint64_t total, uint64_t now_ms)
{
    struct quota_column *col = quota_column_of(quota, column);
    uint64_t entry, word, begun_ms;
    struct reservation *r;

    if (!quota_table_find(quota, key_of(quota, column, id, len), &entry, &word) ||
        !is_counted(word))
        return false;
    r = entry_at(quota, entry);
    begun_ms = load_relaxed(&r->begun_ms);
    store_relaxed(&r->asked_ms, now_ms);
    if (now_ms >= load_relaxed(&r->lease_ms) && (load_relaxed(&col->flags) & COLUMN_ASK_FIRST) != 0)
        store_relaxed(&r->lease_ms, now_ms + QUOTA_EXTEND_MS);
    if (total != 0 && now_ms > begun_ms && is_news(r, now_ms))
        quota_note_progress(col, load_relaxed(&r->ahead), load_relaxed(&r->tokens), done, total,
                            now_ms - begun_ms);
    return state_of(word) != QUOTA_ORPHAN;
}

static uint64_t orphan_since(const struct reservation *r)
{
    return load_relaxed_32(&r->stamp) * UINT64_C(1000);
}

static void view_of(const struct quota *quota, const struct reservation *r, uint64_t word,
                    uint64_t now_ms, struct quota_view *view)
{
    uint64_t words[QUOTA_ID_SIZE / 8];

    for (size_t i = 0; i < QUOTA_ID_SIZE / 8; i++)
        words[i] = load_acquire_part(&r->id[i]);
    memcpy(view->id, words, sizeof(words));
    view->id[QUOTA_ID_SIZE - 1] = '\0';
    view->column = quota_canonical(quota, column_of(r));
    view->orphan = state_of(word) == QUOTA_ORPHAN;
    view->token = load_acquire_part(&r->token);
    view->tokens = load_acquire_part(&r->tokens);
    view->begun_ms = load_acquire_part(&r->begun_ms);
    view->lease_ms = load_acquire_part(&r->lease_ms);
    view->last_call = now_ms >= view->lease_ms;
    view->orphan_ms = view->orphan ? orphan_since(r) : 0;
}

/* A create of unknown outcome is looked for at once, since most appear within a second or never;
 * the longer it is not seen, the more seldom. */
static bool is_due(const struct reservation *r, uint64_t word, uint64_t asked_ms, uint64_t ask_ms,
                   uint64_t now_ms)
{
    if (state_of(word) == QUOTA_ORPHAN) {
        uint64_t since_ms = orphan_since(r);
        uint64_t gap_ms = asked_ms >= since_ms ? QUOTA_ORPHAN_MS + asked_ms - since_ms : 0;

        ask_ms = gap_ms < ask_ms ? gap_ms : ask_ms;
    }
    return now_ms >= asked_ms + ask_ms;
}

bool quota_watch(struct quota *quota, uint32_t *cursor, uint64_t now_ms, struct quota_view *view)
{
    uint64_t high = num_entries(quota), ask_ms = load_relaxed(&quota->shared.ask_ms);

    for (uint64_t i = *cursor; i < high; i++) {
        struct reservation *r = entry_at(quota, i);
        uint64_t word = load_acquire(&r->word), asked_ms = load_relaxed(&r->asked_ms);

        if (!is_holderless(word) || !is_due(r, word, asked_ms, ask_ms, now_ms))
            continue;
        view_of(quota, r, word, now_ms, view);
        view->entry = (uint32_t)i;
        view->word = word;
        if (load_acquire(&r->word) != word || !cas_acq_rel(&r->asked_ms, &asked_ms, now_ms))
            continue; /* it ended, or another one asks */
        *cursor = (uint32_t)i + 1;
        return true;
    }
    *cursor = 0;
    return false;
}

bool quota_look(const struct quota *quota, uint32_t *cursor, uint32_t entries, uint64_t now_ms,
                struct quota_view *view)
{
    uint64_t high = num_entries(quota), end = *cursor + (uint64_t)entries;

    while (*cursor < high && *cursor < end) {
        uint32_t i = (*cursor)++;
        const struct reservation *r = entry_at(quota, i);
        uint64_t word = load_acquire(&r->word);

        if (!is_holderless(word))
            continue;
        view_of(quota, r, word, now_ms, view);
        view->entry = i;
        view->word = word;
        if (load_acquire(&r->word) == word)
            return true;
    }
    if (*cursor >= high)
        *cursor = 0;
    return false;
}

bool quota_release_view(struct quota *quota, uint32_t holder, const struct quota_view *view,
                        uint64_t now_ms)
{
    return is_holderless(view->word) &&
           end(quota, holder, view->entry, view->word, QUOTA_DROPPED, now_ms);
}

void quota_note_recovered(struct quota *quota, uint32_t column)
{
    store_relaxed(&quota_column_of(quota, column)->rebuilt, 1);
}

bool quota_is_recovered(const struct quota *quota, uint32_t column)
{
    return load_relaxed(&quota_column_of(quota, column)->rebuilt) != 0;
}

static bool is_unseen_orphan(const struct reservation *r, uint64_t word, uint64_t now_ms)
{
    return state_of(word) == QUOTA_ORPHAN && load_relaxed(&r->key) == 0 &&
           now_ms >= orphan_since(r) + QUOTA_ORPHAN_KEEP_MS;
}

static bool is_past_lease(const struct quota *quota, const struct reservation *r, uint64_t now_ms)
{
    uint64_t flags = load_relaxed(&quota_column_of(quota, column_of(r))->flags);

    return now_ms >=
           load_relaxed(&r->lease_ms) + ((flags & COLUMN_ASK_FIRST) != 0 ? QUOTA_GRACE_MS : 0);
}

struct quota_expired quota_expire(struct quota *quota, uint32_t holder, uint64_t now_ms)
{
    uint64_t high = num_entries(quota);
    struct quota_expired ended = {0};

    for (uint64_t i = 0; i < high; i++) {
        const struct reservation *r = entry_at(quota, i);
        uint64_t word = load_acquire(&r->word);

        if (!is_holderless(word))
            continue;
        if (is_unseen_orphan(r, word, now_ms))
            ended.orphans += end(quota, holder, i, word, QUOTA_DROPPED, now_ms);
        else if (is_past_lease(quota, r, now_ms))
            ended.leases += end(quota, holder, i, word, QUOTA_DROPPED, now_ms);
    }
    return ended;
}

/* --- repair --- */

struct quota_undone quota_undo_holder(struct quota *quota, uint32_t holder, uint64_t now_ms)
{
    return quota_undo_holders(quota, holder, 1, now_ms);
}

/* A refund that somebody died in: the sums are a repair's. */
static void finish_refund(struct quota *quota, uint64_t entry, uint64_t word)
{
    struct reservation *r = entry_at(quota, entry);

    store_release_part(&r->scopes, 0);
    store_release(&r->word, entry_word_in(word, QUOTA_LIVE, HOLDER_NOBODY));
}

/* By way of the first of them, which is as dead as the others. */
struct quota_undone quota_undo_holders(struct quota *quota, uint32_t first, uint32_t num,
                                       uint64_t now_ms)
{
    struct quota_undone undone = {0};

    quota_scopes_undo(quota, first, num);
    for (uint64_t i = 0; i < num_entries(quota); i++) {
        uint64_t word = load_acquire(&entry_at(quota, i)->word);
        enum quota_state state = state_of(word);

        if (state == QUOTA_FREE || entry_holder(word) - first >= num)
            continue;
        if (state == QUOTA_RESERVING || state == QUOTA_RELEASING) {
            quota_table_vacate(quota, i, word);
            undone.freed++;
        } else if (state == QUOTA_RESERVED) {
            undone.freed += end(quota, first, i, word, QUOTA_DROPPED, now_ms);
        } else if (state == QUOTA_REFUNDING) {
            finish_refund(quota, i, word);
        } else if (state == QUOTA_SENT) {
            undone.orphans += orphan(quota, i, word, now_ms);
        }
    }
    return undone;
}
