/* See issuer_keys.h. */
#include "balancer/issuer_keys.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/shm_region.h"
#include "common/shm_words.h"

#define ISSUER_MAGIC  0x4b495154u /* "TQIK" */
#define ISSUER_LAYOUT 1u
#define SET_WORDS     (sizeof(struct jwks) / sizeof(uint64_t))

struct issuer_keys {
    alignas(CACHE_LINE) struct shm_head region;
    _Atomic uint64_t word;      /* sets published; odd: copy 1 is read. 0: none yet */
    _Atomic uint64_t confirmed; /* Unix seconds; 0: never */
    _Atomic uint64_t began_ms;  /* of the last question, monotonic; 0: none yet */
    _Atomic uint64_t heard;
    alignas(CACHE_LINE) _Atomic uint64_t rung; /* the only word that workers write */
    alignas(CACHE_LINE) _Atomic uint64_t copies[2][SET_WORDS];
};

static_assert(sizeof(struct jwks) % sizeof(uint64_t) == 0, "a set is copied word by word");

int issuer_keys_new(struct issuer_keys **out)
{
    struct shm_head head = {
        .magic = ISSUER_MAGIC, .layout = ISSUER_LAYOUT, .size = sizeof(struct issuer_keys)};
    void *region;
    int ret = shm_region_open("tranche-issuer", SHM_NEW, &head, sizeof(head), &region);

    if (ret == 0)
        *out = region;
    return ret;
}

void issuer_keys_free(struct issuer_keys *keys)
{
    shm_region_free(keys);
}

static void write_copy(struct issuer_keys *keys, uint64_t state, const struct jwks *set)
{
    for (size_t i = 0; i < SET_WORDS; i++) {
        uint64_t word;

        memcpy(&word, (const char *)set + i * sizeof(word), sizeof(word));
        store_release_part(&keys->copies[state & 1][i], word);
    }
}

static void read_copy(const struct issuer_keys *keys, uint64_t state, struct jwks *out)
{
    for (size_t i = 0; i < SET_WORDS; i++) {
        uint64_t word = load_acquire_part(&keys->copies[state & 1][i]);

        memcpy((char *)out + i * sizeof(word), &word, sizeof(word));
    }
}

/* Bytes behind a key's name and its DER are zeroes, as jwks_read() leaves them. */
static bool is_read_now(const struct issuer_keys *keys, uint64_t state, const struct jwks *set)
{
    for (size_t i = 0; state != 0 && i < SET_WORDS; i++) {
        uint64_t word;

        memcpy(&word, (const char *)set + i * sizeof(word), sizeof(word));
        if (load_relaxed(&keys->copies[state & 1][i]) != word)
            return false;
    }
    return state != 0;
}

void issuer_keys_publish(struct issuer_keys *keys, const struct jwks *set, int64_t now_unix_s)
{
    uint64_t state = load_acquire(&keys->word);

    assert(set->num > 0 && set->num <= JWKS_MAX_KEYS);
    if (!is_read_now(keys, state, set)) {
        write_copy(keys, state + 1, set);
        store_release(&keys->word, state + 1);
    }
    store_release(&keys->confirmed, (uint64_t)now_unix_s);
}

void issuer_keys_copy(struct issuer_keys *to, const struct issuer_keys *from)
{
    static struct jwks set; /* of the master, which has one thread */
    int64_t confirmed = issuer_keys_confirmed(from);

    if (issuer_keys_read(from, &set) != 0)
        issuer_keys_publish(to, &set, confirmed);
}

uint64_t issuer_keys_number(const struct issuer_keys *keys)
{
    return load_acquire(&keys->word);
}

uint64_t issuer_keys_read(const struct issuer_keys *keys, struct jwks *out)
{
    for (;;) {
        uint64_t state = load_acquire(&keys->word);

        if (state == 0)
            return 0;
        read_copy(keys, state, out);
        if (load_acquire(&keys->word) == state)
            return state;
    }
}

int64_t issuer_keys_confirmed(const struct issuer_keys *keys)
{
    return (int64_t)load_acquire(&keys->confirmed);
}

uint64_t issuer_keys_ring(struct issuer_keys *keys)
{
    add_acq_rel(&keys->rung, 1);
    return load_acquire(&keys->rung);
}

uint64_t issuer_keys_rung(const struct issuer_keys *keys)
{
    return load_acquire(&keys->rung);
}

uint64_t issuer_keys_heard(const struct issuer_keys *keys)
{
    return load_acquire(&keys->heard);
}

void issuer_keys_hear(struct issuer_keys *keys, uint64_t rung)
{
    store_release(&keys->heard, rung);
}

void issuer_keys_begin(struct issuer_keys *keys, uint64_t now_ms)
{
    store_release(&keys->began_ms, now_ms);
}

bool issuer_keys_may_ask(const struct issuer_keys *keys, uint64_t now_ms, uint64_t apart_ms)
{
    uint64_t began = load_acquire(&keys->began_ms);

    return began == 0 || now_ms >= began + apart_ms;
}
