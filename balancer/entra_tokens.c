/* See entra_tokens.h. */
#include "balancer/entra_tokens.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>

#include "checksum.h"
#include "common/secret.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define ENTRA_MAGIC  0x54455154u /* "TQET" */
#define ENTRA_LAYOUT 1u
#define PAGE         4096
/* A test takes less of both, so that all orders can be run */
#ifndef NUM_CELLS
#define NUM_CELLS ENTRA_TOKENS_CELLS
#endif
#ifndef TOKEN_ROOM
#define TOKEN_ROOM ENTRA_TOKENS_TEXT
#endif

/* A cell's key: 0, the word that stands while it is wiped, or the fingerprint without its last two
 * bits, which say what sides use it. */
#define SIDE_BITS 3u
#define WIPING    SIDE_BITS

/* What is known of a token; its text follows in the copy, zeroes behind its end. */
struct token {
    uint64_t sum;
    uint64_t obtained_ms, renew_ms, fresh_until_ms, ends_ms, len;
};

struct error {
    uint64_t sum;
    struct entra_tokens_error error;
};

#define LAST_TRIED_AGAIN (UINT64_C(1) << 32)

#define HEAD_WORDS  (sizeof(struct token) / sizeof(uint64_t))
#define TOKEN_WORDS (HEAD_WORDS + TOKEN_ROOM / sizeof(uint64_t))
#define ERROR_WORDS (sizeof(struct error) / sizeof(uint64_t))

struct entra_tokens_cell {
    alignas(PAGE) _Atomic uint64_t word; /* tokens published; odd: copy 1 is read. 0: none yet */
    _Atomic uint64_t refused;            /* numbers up to here count as gone */
    _Atomic uint64_t lease;              /* until when, and by whom; 0: nobody */
    _Atomic uint64_t wait_ms;            /* no call before */
    _Atomic uint64_t failures;           /* in a row */
    _Atomic uint64_t last;               /* outcome of the last call, and LAST_TRIED_AGAIN */
    _Atomic uint64_t errors;             /* written; odd: copy 1 is read */
    _Atomic uint64_t heard;
    _Atomic uint64_t calls[ENTRA_OUTCOMES];
    alignas(CACHE_LINE) _Atomic uint64_t rung;
    alignas(CACHE_LINE) _Atomic uint64_t error[2][ERROR_WORDS];
    alignas(CACHE_LINE) _Atomic uint64_t token[2][TOKEN_WORDS];
};

struct entra_tokens {
    alignas(PAGE) struct shm_head region;
    _Atomic uint64_t keys[NUM_CELLS];
    struct entra_tokens_cell cells[NUM_CELLS];
};

static_assert(sizeof(struct token) % sizeof(uint64_t) == 0, "a token is copied word by word");
static_assert(sizeof(struct error) % sizeof(uint64_t) == 0, "an error is copied word by word");
static_assert(TOKEN_ROOM % sizeof(uint64_t) == 0, "a whole number of words");

/* --- made and taken over --- */

static int make(int fd, struct entra_tokens **out)
{
    struct shm_head head = {
        .magic = ENTRA_MAGIC, .layout = ENTRA_LAYOUT, .size = sizeof(struct entra_tokens)};
    void *region;
    int ret = shm_region_open("tranche-entra", fd, &head, sizeof(head), &region);

    if (ret == 0)
        *out = region;
    return ret;
}

int entra_tokens_new(struct entra_tokens **out)
{
    return make(SHM_NEW, out);
}

int entra_tokens_adopt(int fd, struct entra_tokens **out)
{
    return make(fd, out);
}

void entra_tokens_free(struct entra_tokens *tokens)
{
    shm_region_free(tokens);
}

/* --- records: two copies, and a word that says which one is read --- */

static uint64_t sum_of(const uint64_t *words, size_t num)
{
    uint64_t sum = ENTRA_MAGIC;

    for (size_t i = 1; i < num; i++)
        sum = checksum_add(sum, words[i]);
    return sum;
}

static void write_words(_Atomic uint64_t *to, const uint64_t *words, size_t num)
{
    for (size_t i = 0; i < num; i++)
        store_release_part(&to[i], words[i]);
}

static void read_words(const _Atomic uint64_t *from, uint64_t *words, size_t num)
{
    for (size_t i = 0; i < num; i++)
        words[i] = load_acquire_part(&from[i]);
}

static void wipe_words(_Atomic uint64_t *words, size_t num)
{
    for (size_t i = 0; i < num; i++)
        store_release_part(&words[i], 0);
}

/* --- cells --- */

static uint64_t bit_of(uint32_t side)
{
    assert(side < 2);
    return UINT64_C(1) << side;
}

/* No fingerprint has the key of a free cell, or of one that is wiped. */
static uint64_t key_of(uint64_t fingerprint)
{
    uint64_t key = fingerprint & ~(uint64_t)SIDE_BITS;

    return key != 0 ? key : SIDE_BITS + 1;
}

static bool is_of(uint64_t key, uint64_t fingerprint)
{
    return (key & ~(uint64_t)SIDE_BITS) == key_of(fingerprint);
}

static void wipe_cell(struct entra_tokens_cell *cell)
{
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)cell;

    wipe_words(words, sizeof(*cell) / sizeof(uint64_t));
    (void)munlock(cell, sizeof(*cell));
}

/* It is nobody's: whoever binds it first has it with its token, else it is wiped. */
static void wipe_unused(struct entra_tokens *tokens, size_t i)
{
    uint64_t key = load_seq_cst(&tokens->keys[i]);

    if (key <= SIDE_BITS || (key & SIDE_BITS) != 0 || !cas_seq_cst(&tokens->keys[i], &key, WIPING))
        return;
    wipe_cell(&tokens->cells[i]);
    store_seq_cst(&tokens->keys[i], 0);
}

static void unbind(struct entra_tokens *tokens, size_t i, uint64_t bit)
{
    uint64_t key = load_seq_cst(&tokens->keys[i]);

    while (key > SIDE_BITS && (key & bit) != 0 && !cas_seq_cst(&tokens->keys[i], &key, key & ~bit))
        ;
    wipe_unused(tokens, i);
}

/* @return whether the i-th cell is the credential's, or was free, and is the side's now */
static bool take(struct entra_tokens *tokens, size_t i, uint64_t fingerprint, uint64_t bit,
                 bool free_too)
{
    uint64_t key = load_seq_cst(&tokens->keys[i]);

    while (is_of(key, fingerprint) || (free_too && key == 0))
        if (cas_seq_cst(&tokens->keys[i], &key, (key == 0 ? key_of(fingerprint) : key) | bit))
            return true;
    return false;
}

int entra_tokens_bind(struct entra_tokens *tokens, uint64_t fingerprint, uint32_t side)
{
    for (int free_too = 0; free_too < 2; free_too++)
        for (size_t i = 0; i < NUM_CELLS; i++)
            if (take(tokens, i, fingerprint, bit_of(side), free_too != 0)) {
                (void)mlock(&tokens->cells[i], sizeof(tokens->cells[i])); /* as in secret.c */
                return 0;
            }
    return ERR_FULL;
}

static bool is_among(uint64_t key, const uint64_t *fingerprints, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (is_of(key, fingerprints[i]))
            return true;
    return false;
}

void entra_tokens_keep(struct entra_tokens *tokens, const uint64_t *fingerprints, size_t num,
                       uint32_t side)
{
    for (size_t i = 0; i < NUM_CELLS; i++)
        if (!is_among(load_seq_cst(&tokens->keys[i]), fingerprints, num))
            unbind(tokens, i, bit_of(side));
}

/* Whoever wiped a cell, and is gone, left it as it stands; nobody else touches it. The caller is
 * the last master, and has one thread. */
void entra_tokens_clear_side(struct entra_tokens *tokens, uint32_t side)
{
    for (size_t i = 0; tokens != NULL && i < NUM_CELLS; i++) {
        if (load_seq_cst(&tokens->keys[i]) == WIPING) {
            wipe_cell(&tokens->cells[i]);
            store_seq_cst(&tokens->keys[i], 0);
        }
        unbind(tokens, i, bit_of(side));
    }
}

struct entra_tokens_cell *entra_tokens_find(struct entra_tokens *tokens, uint64_t fingerprint)
{
    for (size_t i = 0; tokens != NULL && i < NUM_CELLS; i++)
        if (is_of(load_acquire_part(&tokens->keys[i]), fingerprint))
            return &tokens->cells[i];
    return NULL;
}

/* --- the lease --- */

#define HOLDER_BITS 16u

static uint32_t holder_of(uint64_t lease)
{
    return (uint32_t)(lease & ((1u << HOLDER_BITS) - 1));
}

bool entra_tokens_lease(struct entra_tokens_cell *cell, uint32_t holder, uint64_t now_ms,
                        uint32_t for_ms)
{
    uint64_t lease = load_acquire(&cell->lease);

    assert(holder < (1u << HOLDER_BITS));
    if (lease != 0 && holder_of(lease) != holder && now_ms < lease >> HOLDER_BITS)
        return false;
    return cas_acq_rel(&cell->lease, &lease, (now_ms + for_ms) << HOLDER_BITS | holder);
}

void entra_tokens_release(struct entra_tokens_cell *cell, uint32_t holder)
{
    uint64_t lease = load_acquire(&cell->lease);

    if (lease != 0 && holder_of(lease) == holder)
        (void)cas_acq_rel(&cell->lease, &lease, 0);
}

void entra_tokens_clear_holder(struct entra_tokens *tokens, uint32_t holder)
{
    for (size_t i = 0; tokens != NULL && i < NUM_CELLS; i++)
        if (load_acquire_part(&tokens->keys[i]) > SIDE_BITS)
            entra_tokens_release(&tokens->cells[i], holder);
}

/* --- a token ---
 *
 * Its text goes through a register word by word, and nowhere but to who wants it: a copy on the
 * stack, or in the wide registers of a memcpy() of all of it, would stay there for a core. */

static uint64_t add_text(const _Atomic uint64_t *from, uint64_t len, uint64_t sum, char *text)
{
    for (size_t at = 0; at < len; at += sizeof(uint64_t), from++) {
        uint64_t word = load_acquire_part(from);

        sum = checksum_add(sum, word);
        if (text != NULL)
            memcpy(text + at, &word, len - at < sizeof(word) ? len - at : sizeof(word));
    }
    return sum;
}

static uint64_t put_text(_Atomic uint64_t *to, const char *text, size_t len, uint64_t sum)
{
    for (size_t at = 0; at < len; at += sizeof(uint64_t), to++) {
        uint64_t word = 0;

        memcpy(&word, text + at, len - at < sizeof(word) ? len - at : sizeof(word));
        store_release_part(to, word);
        sum = checksum_add(sum, word);
    }
    return sum;
}

/* The copy that `state` says, if it is a whole token. @param text  or NULL */
static bool read_token(const struct entra_tokens_cell *cell, uint64_t state, struct token *out,
                       char *text)
{
    const _Atomic uint64_t *copy = cell->token[state & 1];
    uint64_t head[HEAD_WORDS];

    read_words(copy, head, HEAD_WORDS);
    memcpy(out, head, sizeof(*out));
    return out->len > 0 && out->len <= TOKEN_ROOM &&
           out->sum == add_text(copy + HEAD_WORDS, out->len, sum_of(head, HEAD_WORDS), text);
}

/* @return the number; 0: there is none that is whole */
static uint64_t read_current(const struct entra_tokens_cell *cell, struct token *out, char *text)
{
    for (;;) {
        uint64_t state = load_acquire(&cell->word);
        bool whole = state != 0 && read_token(cell, state, out, text);

        if (state == 0 || load_acquire(&cell->word) == state)
            return whole ? state : 0;
    }
}

static void fill(const struct entra_tokens_cell *cell, uint64_t number, const struct token *token,
                 struct entra_tokens_view *out)
{
    *out = (struct entra_tokens_view){.number = number,
                                      .refused = number <= load_acquire(&cell->refused),
                                      .obtained_ms = token->obtained_ms,
                                      .renew_ms = token->renew_ms,
                                      .ends_ms = token->ends_ms,
                                      .len = token->len};
}

bool entra_tokens_read(const struct entra_tokens_cell *cell, uint64_t now_ms, char *text,
                       struct entra_tokens_view *out)
{
    struct token token = {0};
    uint64_t number = read_current(cell, &token, text);
    bool good = number != 0 && now_ms < token.ends_ms;

    memset(out, 0, sizeof(*out));
    if (good)
        fill(cell, number, &token, out);
    if (text != NULL)
        secret_wipe(text + out->len, TOKEN_ROOM + 1 - out->len);
    return good;
}

uint64_t entra_tokens_refuse(struct entra_tokens_cell *cell, uint64_t number)
{
    uint64_t refused = load_acquire(&cell->refused);

    assert(number <= load_acquire_part(&cell->word));
    while (refused < number && !cas_acq_rel(&cell->refused, &refused, number))
        ;
    return entra_tokens_ring(cell);
}

void entra_tokens_state(const struct entra_tokens_cell *cell, struct entra_state *out)
{
    struct token token = {0};
    uint64_t number = read_current(cell, &token, NULL), last = load_acquire(&cell->last);

    *out = (struct entra_state){.wait_ms = load_acquire(&cell->wait_ms),
                                .failures = entra_tokens_failures(cell),
                                .last = (uint32_t)(last & ~LAST_TRIED_AGAIN),
                                .tried_again = (last & LAST_TRIED_AGAIN) != 0};
    if (number > load_acquire(&cell->refused)) {
        out->obtained_ms = token.obtained_ms;
        out->renew_ms = token.renew_ms;
        out->fresh_until_ms = token.fresh_until_ms;
        out->ends_ms = token.ends_ms;
    }
}

/* The waits of a call that has ended, and how it ended. */
static void note_end(struct entra_tokens_cell *cell, const struct entra_state *state)
{
    assert(state->last < ENTRA_OUTCOMES);
    store_release(&cell->wait_ms, state->wait_ms);
    store_release(&cell->last, state->last | (state->tried_again ? LAST_TRIED_AGAIN : 0));
    store_release(&cell->failures, state->failures);
    add_relaxed(&cell->calls[state->last], 1);
}

uint64_t entra_tokens_publish(struct entra_tokens_cell *cell, const char *text, size_t len,
                              const struct entra_state *state)
{
    uint64_t before = load_acquire(&cell->word), found = before, head[HEAD_WORDS];
    const struct token token = {.obtained_ms = state->obtained_ms,
                                .renew_ms = state->renew_ms,
                                .fresh_until_ms = state->fresh_until_ms,
                                .ends_ms = state->ends_ms,
                                .len = len};
    _Atomic uint64_t *copy = cell->token[(before + 1) & 1];

    assert(len > 0 && len <= TOKEN_ROOM && state->last == ENTRA_OK);
    memcpy(head, &token, sizeof(head));
    head[0] = put_text(copy + HEAD_WORDS, text, len, sum_of(head, HEAD_WORDS));
    write_words(copy, head, HEAD_WORDS);
    if (!cas_acq_rel(&cell->word, &found, before + 1))
        return 0;
    note_end(cell, state);
    if (load_acquire(&cell->word) == before + 1)
        wipe_words(cell->token[before & 1], TOKEN_WORDS);
    return before + 1;
}

/* --- failures --- */

void entra_tokens_fail(struct entra_tokens_cell *cell, const struct entra_state *state,
                       const struct entra_tokens_error *error)
{
    uint64_t before = load_acquire(&cell->errors), words[ERROR_WORDS];
    struct error record = {.error = *error};

    assert(state->last != ENTRA_OK && error->outcome == state->last);
    memcpy(words, &record, sizeof(words));
    words[0] = sum_of(words, ERROR_WORDS);
    write_words(cell->error[(before + 1) & 1], words, ERROR_WORDS);
    store_release(&cell->errors, before + 1);
    note_end(cell, state);
}

uint32_t entra_tokens_failures(const struct entra_tokens_cell *cell)
{
    return (uint32_t)load_acquire(&cell->failures);
}

uint64_t entra_tokens_wait_ms(const struct entra_tokens_cell *cell, uint64_t now_ms)
{
    uint64_t until_ms = load_acquire(&cell->wait_ms);

    return until_ms > now_ms ? until_ms - now_ms : 0;
}

/* --- the bell --- */

uint64_t entra_tokens_ring(struct entra_tokens_cell *cell)
{
    add_acq_rel(&cell->rung, 1);
    return load_acquire(&cell->rung);
}

uint64_t entra_tokens_rung(const struct entra_tokens_cell *cell)
{
    return load_acquire(&cell->rung);
}

uint64_t entra_tokens_heard(const struct entra_tokens_cell *cell)
{
    return load_acquire(&cell->heard);
}

bool entra_tokens_is_heard(const struct entra_tokens_cell *cell, uint64_t rung)
{
    return load_acquire(&cell->heard) >= rung;
}

/* Two probers may hear: it never goes back. */
void entra_tokens_hear(struct entra_tokens_cell *cell, uint64_t rung)
{
    uint64_t heard = load_acquire(&cell->heard);

    assert(rung <= load_acquire_part(&cell->rung));
    while (heard < rung && !cas_acq_rel(&cell->heard, &heard, rung))
        ;
}

/* --- for people --- */

static bool read_error(const struct entra_tokens_cell *cell, uint64_t state,
                       struct entra_tokens_error *out)
{
    struct error record;
    uint64_t words[ERROR_WORDS];

    read_words(cell->error[state & 1], words, ERROR_WORDS);
    memcpy(&record, words, sizeof(record));
    *out = record.error;
    return record.sum == sum_of(words, ERROR_WORDS);
}

void entra_tokens_report(const struct entra_tokens_cell *cell, struct entra_tokens_report *out)
{
    uint64_t state;
    bool whole;

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < ENTRA_OUTCOMES; i++)
        out->calls[i] = load_relaxed(&cell->calls[i]);
    out->failures = entra_tokens_failures(cell);
    do {
        state = load_acquire(&cell->errors);
        whole = state != 0 && read_error(cell, state, &out->error);
    } while (load_acquire(&cell->errors) != state);
    if (!whole)
        memset(&out->error, 0, sizeof(out->error));
}
