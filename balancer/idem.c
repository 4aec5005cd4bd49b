/* See idem.h. The order of steps, which keeps a kill harmless and a key single:
 *
 *   begin:   take an entry (WRITING), write the head, show it (CLAIMED), look at all other entries
 *            of the key, say RUNNING
 *   answer:  write the body, say DONE
 *
 * All that is read is read between two looks at the entry's word: if that did not change, nothing
 * that was read did, because nothing is written before the word was taken, and what is written for
 * DONE is read by nobody before DONE. */
#include "balancer/idem.h"

#include <string.h>

#include "idem_impl.h"
#include "common/clock.h"
#include "crypto/sha256.h"

#define MAX_ENTRIES (1u << 20)
#define KEY_ENTRIES (2 * IDEM_WAYS)

/* --- words --- */

static enum idem_state state_of(uint64_t word)
{
    return (enum idem_state)entry_state(word);
}

static bool is_shown(uint64_t word)
{
    return state_of(word) != IDEM_STATE_FREE && state_of(word) != IDEM_STATE_WRITING;
}

/* What has no holder ends with its time. */
static bool is_over(uint64_t word, uint64_t until_ms, uint64_t now_ms)
{
    return (state_of(word) == IDEM_STATE_DONE || state_of(word) == IDEM_STATE_LOST) &&
           now_ms >= until_ms;
}

/* --- entries --- */

static struct idem_head *head_at(const struct idem *idem, uint32_t entry)
{
    assert(entry < idem->num_entries);
    return (struct idem_head *)((char *)idem + idem->heads) + entry;
}

static struct idem_body *body_at(const struct idem *idem, uint32_t entry)
{
    assert(entry < idem->num_entries);
    return (struct idem_body *)((char *)idem + idem->bodies) + entry;
}

/* The entries where a key may be: two buckets, or one if they fall together. */
struct entries {
    uint32_t first[2];
    unsigned num;
};

static struct entries entries_of(const struct idem *idem, const struct idem_key *key)
{
    uint32_t a = (uint32_t)(key->hash[0] & idem->bucket_mask) * IDEM_WAYS;
    uint32_t b = (uint32_t)(key->hash[1] & idem->bucket_mask) * IDEM_WAYS;

    return (struct entries){.first = {a, b}, .num = a == b ? IDEM_WAYS : KEY_ENTRIES};
}

static uint32_t nth_entry(const struct entries *entries, unsigned n)
{
    return entries->first[n / IDEM_WAYS] + n % IDEM_WAYS;
}

static bool is_key(const struct idem_key *key)
{
    return key->hash[0] != 0 || key->hash[1] != 0;
}

/* An entry as it was at one moment. */
struct sight {
    uint64_t word, request, until_ms;
};

/* Whether this entry shows the key. `sight->word` is the entry's word in any case. */
static bool see(const struct idem *idem, uint32_t entry, const struct idem_key *key,
                struct sight *sight)
{
    const struct idem_head *h = head_at(idem, entry);

    for (;;) {
        sight->word = load_seq_cst(&h->word);
        if (!is_shown(sight->word) || load_acquire_part(&h->key[0]) != key->hash[0] ||
            load_acquire_part(&h->key[1]) != key->hash[1])
            return false;
        sight->request = load_acquire_part(&h->request);
        sight->until_ms = load_acquire_part(&h->until_ms);
        if (load_seq_cst(&h->word) == sight->word)
            return true;
    }
}

/* --- what an entry carries --- */

static void write_words(_Atomic uint64_t *words, const void *bytes, size_t len)
{
    SHM_STEP();
    for (size_t i = 0; i * 8 < len; i++) {
        uint64_t word = 0;

        memcpy(&word, (const char *)bytes + i * 8, len - i * 8 < 8 ? len - i * 8 : 8);
        store_release_part(&words[i], word);
    }
}

static void read_words(const _Atomic uint64_t *words, void *bytes, size_t len)
{
    SHM_STEP();
    for (size_t i = 0; i * 8 < len; i++) {
        uint64_t word = load_acquire_part(&words[i]);

        memcpy((char *)bytes + i * 8, &word, len - i * 8 < 8 ? len - i * 8 : 8);
    }
}

static void write_head(struct idem *idem, uint32_t entry, const struct idem_key *key,
                       uint64_t request, const char *nonce, uint64_t until_ms)
{
    struct idem_head *h = head_at(idem, entry);
    char text[IDEM_NONCE_MAX + 8] = "";

    memcpy(text, nonce, strnlen(nonce, IDEM_NONCE_MAX));
    store_release_part(&h->key[0], key->hash[0]);
    store_release_part(&h->key[1], key->hash[1]);
    store_release_part(&h->request, request);
    store_release_part(&h->until_ms, until_ms);
    store_release_part(&h->deployment, 0);
    write_words(body_at(idem, entry)->nonce, text, sizeof(text));
}

/* Returns false when it is another one by now. */
static bool read_answer(const struct idem *idem, uint32_t entry, uint64_t word,
                        struct idem_answer *answer)
{
    const struct idem_head *h = head_at(idem, entry);
    const struct idem_body *b = body_at(idem, entry);
    bool done = state_of(word) == IDEM_STATE_DONE;

    answer->deployment = (uint32_t)load_acquire_part(&h->deployment);
    answer->status = done ? (int)load_acquire_part(&h->status) : 0;
    answer->len = done ? (size_t)load_acquire_part(&h->len) : 0;
    if (answer->len > IDEM_ANSWER_MAX)
        answer->len = 0; /* torn; the word will tell */
    read_words(b->nonce, answer->nonce, sizeof(answer->nonce));
    answer->nonce[IDEM_NONCE_MAX] = '\0';
    answer->id[0] = '\0';
    if (done) {
        read_words(b->id, answer->id, sizeof(answer->id));
        answer->id[IDEM_ID_MAX] = '\0';
        read_words(b->body, answer->body, answer->len);
    }
    return load_seq_cst(&h->word) == word;
}

/* --- the region --- */

/* What a region of that many entries begins with. */
static int fill_head(struct idem *head, uint32_t entries)
{
    uint64_t buckets = shm_buckets(entries, IDEM_WAYS);

    if (entries == 0 || entries > MAX_ENTRIES)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->bucket_mask = buckets - 1;
    head->num_entries = buckets * IDEM_WAYS;
    head->heads = shm_round_up(sizeof(struct idem), IDEM_PAGE);
    head->bodies =
        head->heads + shm_round_up(head->num_entries * sizeof(struct idem_head), IDEM_PAGE);
    head->region =
        (struct shm_head){.magic = IDEM_MAGIC,
                          .layout = IDEM_LAYOUT,
                          .size = head->bodies + head->num_entries * sizeof(struct idem_body)};
    return 0;
}

#define HEAD_LEN offsetof(struct idem, since_ms)

static int make(uint32_t entries, int fd, struct idem **out)
{
    struct idem head;
    void *region;
    int ret = fill_head(&head, entries);

    if (ret == 0)
        ret = shm_region_open("tranche-idem", fd, &head, HEAD_LEN, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int idem_new(uint32_t entries, struct idem **out)
{
    int ret = make(entries, SHM_NEW, out);

    if (ret == 0)
        (*out)->since_ms = clock_now_ms();
    return ret;
}

int idem_adopt(int fd, uint32_t entries, struct idem **out)
{
    return make(entries, fd, out);
}

void idem_free(struct idem *idem)
{
    shm_region_free(idem);
}

struct idem_key idem_key(char kind, uint64_t owner, const char *text, size_t len)
{
    const struct sha256_piece pieces[] = {
        {&kind, sizeof(kind)}, {&owner, sizeof(owner)}, {text, len}};
    unsigned char hash[SHA256_BYTES];
    struct idem_key key;

    sha256_of(pieces, sizeof(pieces) / sizeof(pieces[0]), hash);
    memcpy(key.hash, hash, sizeof(key.hash));
    return key;
}

/* --- looking up --- */

/* What to say about an entry that shows the key. Returns false when it has changed meanwhile. */
static bool tell(const struct idem *idem, uint32_t entry, const struct sight *sight,
                 uint64_t request, struct idem_answer *answer, enum idem_found *found)
{
    enum idem_state state = state_of(sight->word);

    *found = IDEM_RUNNING;
    if (sight->request != request) {
        *found = IDEM_MISMATCH;
        return true;
    }
    if (state != IDEM_STATE_DONE && state != IDEM_STATE_LOST)
        return true;
    *found = state == IDEM_STATE_DONE ? IDEM_DONE : IDEM_LOST;
    return read_answer(idem, entry, sight->word, answer);
}

/* The key's entry, if there is one whose time is not over; then what to say about it. */
static bool find(const struct idem *idem, const struct idem_key *key, uint64_t request,
                 uint64_t now_ms, struct idem_answer *answer, enum idem_found *found)
{
    struct entries entries = entries_of(idem, key);

    for (unsigned i = 0; i < entries.num; i++) {
        uint32_t entry = nth_entry(&entries, i);
        struct sight sight;

        while (see(idem, entry, key, &sight) && !is_over(sight.word, sight.until_ms, now_ms)) {
            if (tell(idem, entry, &sight, request, answer, found))
                return true;
        }
    }
    return false;
}

enum idem_found idem_look(const struct idem *idem, const struct idem_key *key, uint64_t request,
                          uint64_t now_ms, struct idem_answer *answer)
{
    enum idem_found found;

    return is_key(key) && find(idem, key, request, now_ms, answer, &found) ? found : IDEM_NEW;
}

/* --- beginning --- */

/* Eviction score of a slot; 0: it must not be evicted. */
static uint64_t worth_of(const struct idem *idem, uint32_t entry, uint64_t now_ms, uint64_t *word)
{
    const struct idem_head *h = head_at(idem, entry);
    uint64_t until_ms;

    *word = load_seq_cst(&h->word);
    until_ms = load_acquire_part(&h->until_ms);
    if (state_of(*word) == IDEM_STATE_FREE || is_over(*word, until_ms, now_ms))
        return UINT64_MAX;
    if (state_of(*word) != IDEM_STATE_DONE)
        return 0;
    return until_ms < UINT64_MAX - 1 ? UINT64_MAX - 1 - until_ms : 1;
}

/* The best entry of one bucket. Returns how many of it are to be had for nothing. */
static unsigned best_of(const struct idem *idem, uint32_t first, uint64_t now_ms, uint32_t *entry,
                        uint64_t *word, uint64_t *worth)
{
    unsigned free_entries = 0;

    *worth = 0;
    for (uint32_t p = first; p < first + IDEM_WAYS; p++) {
        uint64_t w, value = worth_of(idem, p, now_ms, &w);

        free_entries += value == UINT64_MAX;
        if (value > *worth) {
            *entry = p;
            *word = w;
            *worth = value;
        }
    }
    return free_entries;
}

static void grow(_Atomic uint64_t *word, uint64_t to)
{
    uint64_t old = load_acquire(word);

    while (old < to && !cas_seq_cst(word, &old, to))
        ;
}

/* Something that is to be known until then will not be. */
static void forget_early(struct idem *idem, uint64_t until_ms)
{
    add_relaxed(&idem->shared.evicted, 1);
    grow(&idem->shared.blind_until_ms, until_ms);
}

/* Take an entry: in the emptier of the two buckets, else the one that is given up with the least
 * regret. Each failure means that somebody else got on, so that it is not tried for ever only
 * because somebody might. */
static bool take_entry(struct idem *idem, uint32_t holder, const struct entries *entries,
                       uint64_t now_ms, uint32_t *entry, uint64_t *word)
{
    for (unsigned round = 0; round < 2 * KEY_ENTRIES; round++) {
        uint64_t old = 0, worth, other_old = 0, other_worth = 0, until_ms;
        uint32_t other = 0;
        unsigned room = best_of(idem, entries->first[0], now_ms, entry, &old, &worth);

        if (entries->num > IDEM_WAYS) {
            unsigned other_room =
                best_of(idem, entries->first[1], now_ms, &other, &other_old, &other_worth);

            if (other_room > room || (other_room == room && other_worth > worth)) {
                *entry = other;
                old = other_old;
                worth = other_worth;
            }
        }
        if (worth == 0)
            return false;
        until_ms = load_acquire_part(&head_at(idem, *entry)->until_ms);
        *word = entry_word_next(old, IDEM_STATE_WRITING, holder);
        if (!cas_seq_cst(&head_at(idem, *entry)->word, &old, *word))
            continue; /* and what was read of it means nothing */
        if (worth != UINT64_MAX)
            forget_early(idem, until_ms);
        return true;
    }
    return false;
}

/* Whether another entry does not stand in the way of what is CLAIMED at `own`; it is put out of it
 * where that may be. */
static bool make_way(struct idem *idem, uint32_t entry, uint32_t own, const struct idem_key *key,
                     uint64_t now_ms)
{
    struct sight sight;

    while (see(idem, entry, key, &sight)) {
        bool beaten = state_of(sight.word) == IDEM_STATE_CLAIMED && entry > own;

        if (!beaten && !is_over(sight.word, sight.until_ms, now_ms))
            return false;
        if (cas_seq_cst(&head_at(idem, entry)->word, &sight.word,
                        entry_word_in(sight.word, IDEM_STATE_FREE, 0)))
            return true;
    }
    return true;
}

/* From CLAIMED to RUNNING, if the key is nobody else's. Of two that do this at once at least one
 * sees the other, because each shows itself before it looks; only these words are in one order for
 * all (sequentially consistent), nothing else needs that. */
static bool prevail(struct idem *idem, const struct entries *entries, uint32_t own,
                    const struct idem_key *key, uint64_t now_ms, uint64_t *word)
{
    uint64_t claimed = *word;

    *word = entry_word_in(claimed, IDEM_STATE_RUNNING, entry_holder(claimed));
    for (unsigned i = 0; i < entries->num; i++) {
        uint32_t entry = nth_entry(entries, i);

        if (entry != own && !make_way(idem, entry, own, key, now_ms)) {
            cas_seq_cst(&head_at(idem, own)->word, &claimed,
                        entry_word_in(claimed, IDEM_STATE_FREE, 0));
            return false;
        }
    }
    return cas_seq_cst(&head_at(idem, own)->word, &claimed, *word);
}

enum idem_found idem_begin(struct idem *idem, uint32_t holder, const struct idem_key *key,
                           uint64_t request, const char *nonce, uint64_t keep_ms, uint64_t now_ms,
                           struct idem_claim *claim, struct idem_answer *answer)
{
    struct entries entries = entries_of(idem, key);

    assert(holder < IDEM_MAX_HOLDERS);
    memset(claim, 0, sizeof(*claim));
    if (!is_key(key))
        return IDEM_FULL;
    for (int round = 0; round < IDEM_ROUNDS; round++) {
        enum idem_found found;
        uint32_t entry;
        uint64_t word;

        if (find(idem, key, request, now_ms, answer, &found))
            return found;
        if (!take_entry(idem, holder, &entries, now_ms, &entry, &word)) {
            forget_early(idem, now_ms + keep_ms);
            return IDEM_FULL; /* what goes on without an entry is not known here either */
        }
        write_head(idem, entry, key, request, nonce, now_ms + keep_ms);
        word = entry_word_in(word, IDEM_STATE_CLAIMED, holder);
        store_seq_cst(&head_at(idem, entry)->word, word);
        if (prevail(idem, &entries, entry, key, now_ms, &word)) {
            *claim = (struct idem_claim){.entry = entry + 1, .word = word};
            return IDEM_NEW;
        }
    }
    return IDEM_RUNNING;
}

/* What is kept of an earlier one that was answered is put out of the way. */
static void drop_done(struct idem *idem, const struct idem_key *key)
{
    struct entries entries = entries_of(idem, key);

    for (unsigned i = 0; i < entries.num; i++) {
        uint32_t entry = nth_entry(&entries, i);
        struct sight sight;

        if (see(idem, entry, key, &sight) && state_of(sight.word) == IDEM_STATE_DONE)
            cas_seq_cst(&head_at(idem, entry)->word, &sight.word,
                        entry_word_in(sight.word, IDEM_STATE_FREE, 0));
    }
}

enum idem_found idem_begin_anew(struct idem *idem, uint32_t holder, const struct idem_key *key,
                                uint64_t request, const char *nonce, uint64_t keep_ms,
                                uint64_t now_ms, struct idem_claim *claim)
{
    struct idem_answer answer;
    enum idem_found found;

    if (is_key(key))
        drop_done(idem, key);
    found = idem_begin(idem, holder, key, request, nonce, keep_ms, now_ms, claim, &answer);
    return found == IDEM_DONE || found == IDEM_MISMATCH ? IDEM_RUNNING : found;
}

bool idem_take_lost(struct idem *idem, uint32_t holder, const struct idem_key *key,
                    struct idem_claim *claim)
{
    struct entries entries = entries_of(idem, key);

    assert(holder < IDEM_MAX_HOLDERS);
    memset(claim, 0, sizeof(*claim));
    for (unsigned i = 0; i < entries.num && is_key(key); i++) {
        uint32_t entry = nth_entry(&entries, i);
        struct sight sight;
        uint64_t held;

        if (!see(idem, entry, key, &sight) || state_of(sight.word) != IDEM_STATE_LOST)
            continue;
        held = entry_word_in(sight.word, IDEM_STATE_SENT, holder);
        if (!cas_seq_cst(&head_at(idem, entry)->word, &sight.word, held))
            return false;
        *claim = (struct idem_claim){.entry = entry + 1, .word = held};
        return true;
    }
    return false;
}

/* --- from there on: the holder's --- */

/* What a caller holds between idem_begin() and the end of its claim. */
static inline bool is_claim(uint64_t word)
{
    return state_of(word) == IDEM_STATE_RUNNING || state_of(word) == IDEM_STATE_SENT;
}

/* End what is held, one way or the other; nobody but its holder does, and the master once that is
 * dead. */
static void end(struct idem *idem, struct idem_claim *claim, enum idem_state state)
{
    uint64_t word = claim->word;

    assert(claim->entry == 0 || is_claim(word));
    if (claim->entry != 0)
        cas_seq_cst(&head_at(idem, claim->entry - 1)->word, &word,
                    entry_word_in(word, state, state == IDEM_STATE_FREE ? 0 : HOLDER_NOBODY));
    memset(claim, 0, sizeof(*claim));
}

static bool is_held(const struct idem *idem, const struct idem_claim *claim)
{
    return claim->entry != 0 && load_seq_cst(&head_at(idem, claim->entry - 1)->word) == claim->word;
}

/* @return false: it is not held any more */
static bool change(struct idem *idem, struct idem_claim *claim, enum idem_state state)
{
    uint64_t word = claim->word, changed = entry_word_in(word, state, entry_holder(word));

    if (word != changed && !cas_seq_cst(&head_at(idem, claim->entry - 1)->word, &word, changed))
        return false;
    claim->word = changed;
    return true;
}

bool idem_sent(struct idem *idem, struct idem_claim *claim, uint32_t deployment)
{
    if (!is_held(idem, claim))
        return false;
    store_release_part(&head_at(idem, claim->entry - 1)->deployment, deployment);
    return change(idem, claim, IDEM_STATE_SENT);
}

void idem_refused(struct idem *idem, struct idem_claim *claim)
{
    if (is_held(idem, claim))
        (void)change(idem, claim, IDEM_STATE_RUNNING);
}

void idem_answer(struct idem *idem, struct idem_claim *claim, const struct idem_answer *answer)
{
    char id[IDEM_ID_MAX + 1] = "";
    struct idem_head *h;
    struct idem_body *b;

    assert(answer->len <= IDEM_ANSWER_MAX);
    if (is_held(idem, claim)) {
        h = head_at(idem, claim->entry - 1);
        b = body_at(idem, claim->entry - 1);
        store_release_part(&h->deployment, answer->deployment);
        store_release_part(&h->status, (uint32_t)answer->status);
        store_release_part(&h->len, answer->len);
        memcpy(id, answer->id, strnlen(answer->id, IDEM_ID_MAX));
        write_words(b->id, id, sizeof(id));
        write_words(b->body, answer->body, answer->len);
        end(idem, claim, IDEM_STATE_DONE);
    }
    memset(claim, 0, sizeof(*claim));
}

void idem_forget(struct idem *idem, struct idem_claim *claim)
{
    end(idem, claim, IDEM_STATE_FREE);
}

void idem_lose(struct idem *idem, struct idem_claim *claim)
{
    bool sent = state_of(claim->word) == IDEM_STATE_SENT;

    if (sent)
        grow(&idem->shared.lost_ms, clock_now_ms());
    end(idem, claim, sent ? IDEM_STATE_LOST : IDEM_STATE_FREE);
}

/* --- the master's --- */

uint32_t idem_undo_holder(struct idem *idem, uint32_t holder)
{
    return idem_undo_holders(idem, holder, 1);
}

uint32_t idem_undo_holders(struct idem *idem, uint32_t first, uint32_t num)
{
    uint32_t lost = 0;

    for (uint32_t entry = 0; entry < idem->num_entries; entry++) {
        uint64_t word = load_seq_cst(&head_at(idem, entry)->word);
        bool sent = state_of(word) == IDEM_STATE_SENT;

        if (state_of(word) == IDEM_STATE_FREE || entry_holder(word) - first >= num)
            continue;
        if (cas_seq_cst(&head_at(idem, entry)->word, &word,
                        sent ? entry_word_in(word, IDEM_STATE_LOST, HOLDER_NOBODY)
                             : entry_word_in(word, IDEM_STATE_FREE, 0)))
            lost += sent;
    }
    if (lost > 0)
        grow(&idem->shared.lost_ms, clock_now_ms());
    return lost;
}

uint64_t idem_evicted(const struct idem *idem)
{
    return load_relaxed(&idem->shared.evicted);
}

uint64_t idem_blind_until_ms(const struct idem *idem)
{
    return load_acquire(&idem->shared.blind_until_ms);
}

uint64_t idem_since_ms(const struct idem *idem)
{
    return idem->since_ms;
}

uint64_t idem_lost_ms(const struct idem *idem)
{
    return load_acquire(&idem->shared.lost_ms);
}

void idem_note_before(struct idem *idem, uint64_t until_ms, bool certain)
{
    grow(certain ? &idem->shared.unsure_until_ms : &idem->shared.suspect_until_ms, until_ms);
}

void idem_note_evidence(struct idem *idem)
{
    grow(&idem->shared.unsure_until_ms, load_acquire(&idem->shared.suspect_until_ms));
}

uint64_t idem_unsure_until_ms(const struct idem *idem)
{
    return load_acquire(&idem->shared.unsure_until_ms);
}

uint64_t idem_suspect_until_ms(const struct idem *idem)
{
    return load_acquire(&idem->shared.suspect_until_ms);
}
