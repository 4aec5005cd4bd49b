/* Reservations: an entry in a table each, moved by compare-and-swap on its word; E of a column
 * follows. The order of steps is what keeps a kill harmless, see quota.h:
 *
 *   in:   claim an entry, write it, count it in E, say RESERVED
 *   out:  say RELEASING (one alone can), take it out of E, say FREE
 *
 * So what is RESERVED, SENT, LIVE or ORPHAN is in E for certain, what is FREE is not, and between
 * the two an entry names the holder that is about to decide it. */
#include "balancer/quota.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/memo.h"
#include "quota_learn_impl.h"
#include "quota_table.h"

#define TOKEN_SEED 0x746f6b65u /* a marker that reads like an id is still no id */

#define REPAIR_ROUNDS 4
#define MINUTE_MS     60000u

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
static bool count_in(struct quota_column *col, uint64_t tokens, uint64_t foreign, uint64_t limit,
                     uint64_t *ahead)
{
    uint64_t old = load_acquire(&col->shared.enqueued);

    do {
        *ahead = enqueued_of(old) + foreign;
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
    head->index = head->columns + (uint64_t)max_columns * sizeof(struct quota_column);
    head->entries = head->index + quota_table_buckets(max_reservations) * BUCKET * sizeof(uint64_t);
    head->region = (struct shm_head){.magic = QUOTA_MAGIC,
                                     .layout = QUOTA_LAYOUT,
                                     .size = head->entries + (uint64_t)max_reservations *
                                                                 sizeof(struct reservation)};
    return 0;
}

#define HEAD_LEN offsetof(struct quota, shared)

/* Whether what is in it leads nowhere else: the numbers of columns and entries that it uses. */
static bool stays_inside(const struct quota *quota)
{
    if (load_relaxed(&quota->shared.high) > quota->max_entries)
        return false;
    for (uint64_t i = 0; i < num_entries(quota); i++)
        if (column_of(entry_at(quota, i)) >= quota->max_columns)
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
    store_relaxed(&col->ask_first, terms->ask_first);
    store_relaxed(&col->many, terms->many);
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

/* --- a reservation's life --- */

/* As RESERVED; or as SENT, then whatever the limit. */
static int reserve(struct quota *quota, uint32_t holder, uint32_t column, uint64_t tokens,
                   uint64_t token, enum quota_state state, uint64_t begun_ms, uint64_t now_ms,
                   struct quota_claim *out)
{
    struct quota_column *col = quota_column_of(quota, column);
    uint64_t limit = state == QUOTA_SENT ? 0 : quota_limit_of(col, now_ms);
    uint64_t foreign = quota_foreign_of(col, now_ms);
    uint64_t entry, word, ahead;
    struct reservation *r;

    if (!quota_table_claim(quota, holder, &entry, &word))
        return ERR_FULL;
    r = entry_at(quota, entry);
    quota_table_write(r, col, quota_canonical(quota, column), tokens, begun_ms, now_ms);
    if (!count_in(col, tokens, foreign, limit, &ahead)) {
        quota_table_vacate(quota, entry, word);
        return ERR_LIMIT;
    }
    store_relaxed(&r->ahead, ahead);
    store_release_part(&r->token, token);
    quota_table_index(quota, load_relaxed(&r->token), entry);
    out->word = entry_word_in(word, state, holder);
    out->entry = (uint32_t)entry + 1;
    out->column = column;
    out->tokens = tokens;
    store_release(&r->word, out->word);
    return 0;
}

/* Whether one look says already that it will not fit: most refusals end here and write nothing. */
static bool is_hopeless(const struct quota_column *col, uint64_t tokens, uint64_t now_ms)
{
    uint64_t limit = quota_limit_of(col, now_ms);
    uint64_t enqueued =
        enqueued_of(load_acquire(&col->shared.enqueued)) + quota_foreign_of(col, now_ms);

    if (quota_is_cooling_down(col, tokens, now_ms))
        return true;
    return limit != 0 && (tokens > limit || enqueued > limit - tokens);
}

uint64_t quota_token(const struct quota *quota, uint32_t column, const char *marker, size_t len)
{
    return hash(quota, column, TOKEN_SEED, marker, len);
}

int quota_reserve(struct quota *quota, uint32_t holder, uint32_t column, uint64_t tokens,
                  uint64_t token, uint64_t now_ms, struct quota_claim *claim)
{
    struct quota_column *col = quota_column_of(quota, column);
    int ret;

    assert(holder < QUOTA_MAX_HOLDERS);
    memset(claim, 0, sizeof(*claim));
    if (tokens > QUOTA_MAX_TOKENS)
        tokens = QUOTA_MAX_TOKENS;
    if (is_hopeless(col, tokens, now_ms))
        return ERR_LIMIT;
    ret = reserve(quota, holder, column, tokens, token, QUOTA_RESERVED, now_ms, now_ms, claim);
    if (ret == 0)
        quota_note_placed(col, now_ms);
    return ret;
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

int quota_adopt(struct quota *quota, uint32_t holder, uint32_t column, uint64_t token,
                const char *id, size_t len, uint64_t tokens, uint64_t age_ms, uint64_t now_ms)
{
    uint64_t entry, word, begun_ms = now_ms > age_ms ? now_ms - age_ms : 0;
    struct quota_claim claim;
    int ret;

    assert(holder < QUOTA_MAX_HOLDERS);
    if (find_batch(quota, key_of(quota, column, id, len), token, &entry, &word)) {
        if (state_of(word) == QUOTA_ORPHAN)
            adopt_orphan(quota, holder, entry, word, id, len);
        return 0;
    }
    if (tokens > QUOTA_MAX_TOKENS)
        tokens = QUOTA_MAX_TOKENS;
    ret = reserve(quota, holder, column, tokens, token, QUOTA_SENT, begun_ms, now_ms, &claim);
    if (ret != 0)
        return ERR_FULL;
    store_relaxed(&entry_at(quota, claim.entry - 1)->ahead, AHEAD_UNKNOWN);
    quota_note_adopted(quota_column_of(quota, column), tokens, now_ms);
    return make_live(quota, claim.entry - 1, claim.word, id, len) ? 0 : ERR_BAD_STATE;
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
    if (now_ms >= load_relaxed(&r->lease_ms) && load_relaxed(&col->ask_first) != 0)
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

bool quota_release_view(struct quota *quota, uint32_t holder, const struct quota_view *view,
                        uint64_t now_ms)
{
    return is_holderless(view->word) &&
           end(quota, holder, view->entry, view->word, QUOTA_DROPPED, now_ms);
}

void quota_note_rebuilt(struct quota *quota, uint32_t column)
{
    store_relaxed(&quota_column_of(quota, column)->rebuilt, 1);
}

bool quota_is_rebuilt(const struct quota *quota, uint32_t column)
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
    bool ask_first = load_relaxed(&quota_column_of(quota, column_of(r))->ask_first) != 0;

    return now_ms >= load_relaxed(&r->lease_ms) + (ask_first ? QUOTA_GRACE_MS : 0);
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

/* By way of the first of them, which is as dead as the others. */
struct quota_undone quota_undo_holders(struct quota *quota, uint32_t first, uint32_t num,
                                       uint64_t now_ms)
{
    struct quota_undone undone = {0};

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
        } else if (state == QUOTA_SENT) {
            undone.orphans += orphan(quota, i, word, now_ms);
        }
    }
    return undone;
}

/* Add up the table. Returns false when something in it is neither in nor out. */
static bool add_up(const struct quota *quota, uint64_t *sums)
{
    for (uint64_t i = 0; i < num_entries(quota); i++) {
        const struct reservation *r = entry_at(quota, i);
        uint64_t word = load_acquire(&r->word), tokens = load_acquire_part(&r->tokens);
        uint32_t column = quota_canonical(quota, column_of(r));

        if (state_of(word) == QUOTA_FREE)
            continue;
        if (!is_counted(word) || entry_claim(load_acquire(&r->word)) != entry_claim(word))
            return false;
        sums[column] += tokens;
    }
    return true;
}

/* Each E is read before the table and changed only if nobody did meanwhile: who comes in or goes
 * out changes E while his entry is in RESERVING or RELEASING, so that either we saw that state, or
 * E's version tells. */
static bool repair_round(struct quota *quota, uint64_t *before, uint32_t *repaired)
{
    uint64_t *sums = before + quota->max_columns;
    bool all = true;

    for (uint32_t c = 0; c < quota->max_columns; c++) {
        before[c] = load_acquire(&quota_column_of(quota, c)->shared.enqueued);
        sums[c] = 0;
    }
    if (!add_up(quota, sums))
        return false;
    for (uint32_t c = 0; c < quota->max_columns; c++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): written above for every column */
        if (quota_canonical(quota, c) != c || sums[c] == enqueued_of(before[c]))
            continue;
        if (cas_acq_rel(&quota_column_of(quota, c)->shared.enqueued, &before[c],
                        enqueued_next(before[c], sums[c] < ENQUEUED_MAX ? sums[c] : ENQUEUED_MAX)))
            ++*repaired;
        else
            all = false;
    }
    return all;
}

/* Two words for each column, the process's own: during an upgrade two masters repair. Kept for the
 * next time; NULL: out of memory. */
static uint64_t *scratch_for(const struct quota *quota)
{
    static uint64_t *scratch;
    static uint32_t columns;

    if (columns < quota->max_columns) {
        uint64_t *more = realloc(scratch, (size_t)quota->max_columns * 2 * sizeof(*more));

        if (more == NULL)
            return NULL;
        scratch = more;
        columns = quota->max_columns;
    }
    return scratch;
}

bool quota_repair(struct quota *quota, uint32_t *repaired)
{
    uint64_t *scratch = scratch_for(quota);
    uint32_t n = 0;
    bool all = false;

    quota_table_mend_index(quota);
    for (int i = 0; i < REPAIR_ROUNDS && !all && scratch != NULL; i++)
        all = repair_round(quota, scratch, &n);
    if (repaired != NULL)
        *repaired = n;
    return all;
}

static void tally(const struct quota *quota, const struct reservation *r,
                  struct quota_tally *tallies)
{
    uint64_t word = load_acquire(&r->word), begun_ms = load_acquire_part(&r->begun_ms);
    struct quota_tally *t = &tallies[quota_canonical(quota, column_of(r))];

    if (!is_counted(word) || entry_claim(load_acquire(&r->word)) != entry_claim(word))
        return; /* another one has the entry by now */
    t->reservations++;
    t->orphans += state_of(word) == QUOTA_ORPHAN;
    if (t->oldest_ms == 0 || begun_ms < t->oldest_ms)
        t->oldest_ms = begun_ms;
}

bool quota_count(const struct quota *quota, uint32_t *cursor, uint32_t entries,
                 struct quota_tally *tallies)
{
    uint64_t high = num_entries(quota), end = *cursor + (uint64_t)entries;

    for (; *cursor < high && *cursor < end; ++*cursor)
        tally(quota, entry_at(quota, *cursor), tallies);
    return *cursor < high;
}

uint32_t quota_max_columns(const struct quota *quota)
{
    return quota->max_columns;
}
