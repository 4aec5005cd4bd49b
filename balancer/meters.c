/* See meters.h.
 *
 * Why no place changes hands under somebody's feet: the word of a place has the time of its last
 * use, in units of eight seconds, and whoever comes in a later unit sets it, by compare-and-swap,
 * before it counts anything there. Who wants the place for another scope read an old time, then
 * found nothing held and the buckets full, and swaps that old word: the swap fails when anybody
 * came meanwhile. A process that stands still for a minute between its look-up and its counting is
 * ended by the master long before.
 *
 * Two processes that bring a new scope at once take the same free place, so that one of them sees
 * the other's word. When a third one took it first they may end with two places for one scope. All
 * that come later use the lower one, what is held is summed over both, and the higher one falls
 * idle. */
#include "balancer/meters.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/shm_region.h"
#include "common/shm_words.h"

#define METERS_MAGIC  0x544d5154u /* "TQMT" */
#define METERS_LAYOUT 1u

#define WAYS        8u /* places of a bucket: words of a cache line */
#define MAX_SCOPES  (1u << 20)
#define MAX_HOLDERS 4096u
#define STAMP_BITS  12
#define STAMP_MASK  ((1u << STAMP_BITS) - 1)
#define UNIT_SHIFT  13                                   /* a unit is 8.192 s */
#define IDLE_UNITS  (1 + (METERS_IDLE_MS >> UNIT_SHIFT)) /* so many begun are 65 s at least */
#define AHEAD       (STAMP_MASK - IDLE_UNITS) /* another one's later reading of the clock */
#define MAX_TRIES   16
#define NS_OF_MS    UINT64_C(1000000)

/* When the bucket of each rate is full again: monotonic ns. */
struct rates {
    _Atomic uint64_t full_ns[METERS_RATES];
};

/* What one process holds at one place; it alone writes. */
struct held {
    _Atomic uint64_t counts; /* requests (32 bits) and uploads (32 bits) */
    _Atomic uint64_t bytes;
};

struct meters {
    struct shm_head region;
    uint64_t bucket_mask;
    uint64_t rates, rows; /* offsets */
    uint32_t places, holders;
    struct {
        _Atomic uint64_t unmeasured;
    } shared;
    /* Bits of the holders that ever held something */
    alignas(CACHE_LINE) _Atomic uint64_t used[MAX_HOLDERS / 64];
    alignas(CACHE_LINE) _Atomic uint64_t directory[]; /* [places]; 0: free */
};

static_assert(sizeof(struct rates) == 16 && sizeof(struct held) == 16,
              "layout of the meters region");
static_assert(WAYS * sizeof(uint64_t) == CACHE_LINE, "a bucket is a cache line");

#define HEAD_LEN offsetof(struct meters, shared)

/* What a region of these dimensions begins with. */
static int fill_head(struct meters *head, uint32_t scopes, uint32_t holders)
{
    uint64_t buckets = shm_buckets(scopes, WAYS);

    if (scopes == 0 || scopes > MAX_SCOPES || holders == 0 || holders > MAX_HOLDERS)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->region = (struct shm_head){.magic = METERS_MAGIC, .layout = METERS_LAYOUT};
    head->bucket_mask = buckets - 1;
    head->places = (uint32_t)(buckets * WAYS);
    head->holders = holders;
    head->rates = sizeof(*head) + head->places * sizeof(uint64_t);
    head->rows = shm_round_up(head->rates + head->places * sizeof(struct rates), CACHE_LINE);
    head->region.size = head->rows + (uint64_t)holders * head->places * sizeof(struct held);
    return 0;
}

static int make(uint32_t scopes, uint32_t holders, int fd, struct meters **out)
{
    struct meters head;
    void *region;
    int ret = fill_head(&head, scopes, holders);

    if (ret == 0)
        ret = shm_region_open("tranche-meters", fd, &head, HEAD_LEN, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int meters_new(uint32_t scopes, uint32_t holders, struct meters **out)
{
    return make(scopes, holders, SHM_NEW, out);
}

int meters_adopt(int fd, uint32_t scopes, uint32_t holders, struct meters **out)
{
    return make(scopes, holders, fd, out);
}

void meters_free(struct meters *meters)
{
    shm_region_free(meters);
}

static _Atomic uint64_t *word_of(const struct meters *meters, uint32_t place)
{
    assert(place < meters->places);
    return (_Atomic uint64_t *)&meters->directory[place];
}

static _Atomic uint64_t *rate_of(const struct meters *meters, uint32_t place, enum meters_rate rate)
{
    assert(place < meters->places && (unsigned)rate < METERS_RATES);
    return &((struct rates *)((char *)meters + meters->rates) + place)->full_ns[rate];
}

static struct held *held_of(const struct meters *meters, uint32_t holder, uint32_t place)
{
    assert(place < meters->places && holder < meters->holders);
    return (struct held *)((char *)meters + meters->rows) + (size_t)holder * meters->places + place;
}

/* --- what is held --- */

static _Atomic uint64_t *gauge_word(struct held *held, enum meters_gauge gauge)
{
    return gauge == METERS_BYTES ? &held->bytes : &held->counts;
}

/* One of a gauge, in its word. */
static uint64_t unit_of(enum meters_gauge gauge)
{
    return gauge == METERS_UPLOADS ? UINT64_C(1) << 32 : 1;
}

static uint64_t value_of(uint64_t word, enum meters_gauge gauge)
{
    if (gauge == METERS_BYTES)
        return word;
    return gauge == METERS_UPLOADS ? word >> 32 : word & UINT32_MAX;
}

static uint64_t held_at(const struct meters *meters, uint32_t place, enum meters_gauge gauge)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i * 64 < meters->holders; i++)
        for (uint64_t bits = load_seq_cst(&meters->used[i]); bits != 0; bits &= bits - 1) {
            uint32_t holder = i * 64 + (uint32_t)__builtin_ctzll(bits);

            sum += value_of(load_seq_cst(gauge_word(held_of(meters, holder, place), gauge)), gauge);
        }
    return sum;
}

static void show_holder(struct meters *meters, uint32_t holder)
{
    _Atomic uint64_t *word = &meters->used[holder / 64];
    uint64_t bit = UINT64_C(1) << holder % 64, old = load_relaxed(word);

    while (!(old & bit) && !cas_seq_cst(word, &old, old | bit))
        ;
}

uint64_t meters_held(const struct meters *meters, uint32_t place, enum meters_gauge gauge)
{
    uint64_t tag = load_seq_cst(word_of(meters, place)) >> STAMP_BITS, sum = 0;
    uint32_t first = place - place % WAYS;

    for (uint32_t at = first; at < first + WAYS; at++)
        if (at == place || load_relaxed(word_of(meters, at)) >> STAMP_BITS == tag)
            sum += held_at(meters, at, gauge);
    return sum;
}

bool meters_hold(struct meters *meters, uint32_t holder, uint32_t place, enum meters_gauge gauge,
                 uint64_t more, uint64_t limit)
{
    _Atomic uint64_t *word = gauge_word(held_of(meters, holder, place), gauge);
    uint64_t before = load_relaxed(word);

    if (more > limit || more > UINT64_MAX / 2 - value_of(before, gauge) ||
        (gauge != METERS_BYTES && value_of(before, gauge) + more > UINT32_MAX))
        return false;
    show_holder(meters, holder);
    store_seq_cst(word, before + more * unit_of(gauge));
    if (limit == UINT64_MAX || meters_held(meters, place, gauge) <= limit)
        return true;
    store_seq_cst(word, before);
    return false;
}

void meters_release(struct meters *meters, uint32_t holder, uint32_t place, enum meters_gauge gauge,
                    uint64_t less)
{
    _Atomic uint64_t *word = gauge_word(held_of(meters, holder, place), gauge);
    uint64_t before = load_relaxed(word);

    assert(value_of(before, gauge) >= less);
    if (value_of(before, gauge) >= less)
        store_seq_cst(word, before - less * unit_of(gauge));
}

void meters_clear_holder(struct meters *meters, uint32_t holder)
{
    assert(holder < meters->holders);
    if (!(load_relaxed(&meters->used[holder / 64]) >> holder % 64 & 1))
        return;
    for (uint32_t place = 0; place < meters->places; place++) {
        struct held *held = held_of(meters, holder, place);

        if (load_relaxed(&held->counts) != 0)
            store_seq_cst(&held->counts, 0);
        if (load_relaxed(&held->bytes) != 0)
            store_seq_cst(&held->bytes, 0);
    }
}

/* --- places --- */

static uint64_t unit_at(uint64_t now_ms)
{
    return now_ms >> UNIT_SHIFT & STAMP_MASK;
}

/* Whether nobody came for so long, and nothing would be lost. */
static bool is_idle(const struct meters *meters, uint32_t place, uint64_t word, uint64_t now_ms)
{
    uint64_t age = (unit_at(now_ms) - word) & STAMP_MASK;

    if (age <= IDLE_UNITS || age > AHEAD)
        return false;
    for (int rate = 0; rate < METERS_RATES; rate++)
        if (load_acquire(rate_of(meters, place, rate)) > now_ms * NS_OF_MS)
            return false;
    return held_at(meters, place, METERS_REQUESTS) + held_at(meters, place, METERS_UPLOADS) +
               held_at(meters, place, METERS_BYTES) ==
           0;
}

/* The bucket as it was seen: the place that has the tag, else one that may be taken. */
struct look {
    uint32_t found, open; /* METERS_NO_PLACE: none */
    uint64_t word;        /* what was there */
};

static struct look look_at(const struct meters *meters, uint32_t first, uint64_t tag,
                           uint64_t now_ms)
{
    struct look look = {METERS_NO_PLACE, METERS_NO_PLACE, 0};
    uint64_t words[WAYS];

    for (uint32_t i = 0; i < WAYS; i++) {
        words[i] = load_seq_cst(word_of(meters, first + i));
        if (words[i] >> STAMP_BITS == tag)
            return (struct look){.found = first + i, .open = METERS_NO_PLACE, .word = words[i]};
    }
    for (uint32_t i = 0; i < WAYS; i++)
        if (words[i] == 0 || is_idle(meters, first + i, words[i], now_ms)) {
            look.open = first + i;
            look.word = words[i];
            break;
        }
    return look;
}

static bool is_current(uint64_t word, uint64_t now_ms)
{
    uint64_t age = (unit_at(now_ms) - word) & STAMP_MASK;

    return age == 0 || age > AHEAD;
}

uint32_t meters_find(struct meters *meters, uint64_t scope, uint64_t now_ms)
{
    uint32_t first = (uint32_t)(scope & meters->bucket_mask) * WAYS;
    uint64_t tag = scope >> STAMP_BITS != 0 ? scope >> STAMP_BITS : 1; /* 0 is a free place */

    for (int i = 0; i < MAX_TRIES; i++) {
        struct look look = look_at(meters, first, tag, now_ms);
        uint32_t place = look.found != METERS_NO_PLACE ? look.found : look.open;

        if (place == METERS_NO_PLACE)
            break;
        if (place == look.found && is_current(look.word, now_ms))
            return place;
        if (cas_seq_cst(word_of(meters, place), &look.word, tag << STAMP_BITS | unit_at(now_ms)))
            return place;
    }
    add_relaxed(&meters->shared.unmeasured, 1);
    return METERS_NO_PLACE;
}

uint64_t meters_unmeasured(const struct meters *meters)
{
    return load_relaxed(&meters->shared.unmeasured);
}

/* --- rates --- */

static uint64_t interval_ns(enum meters_rate rate, uint64_t limit)
{
    return (rate == METERS_PER_MINUTE ? 60000 : 1000) * NS_OF_MS / limit;
}

/* How far ahead the time may be at which the bucket is full again. */
static uint64_t depth_ns(uint64_t interval, uint64_t burst)
{
    uint64_t depth, most = UINT64_C(1) << 62; /* 146 years */

    if (burst == 0)
        burst = 1;
    return __builtin_mul_overflow(interval, burst, &depth) || depth > most ? most : depth;
}

bool meters_pass(struct meters *meters, uint32_t place, enum meters_rate rate, uint64_t limit,
                 uint64_t burst, uint64_t now_ms, uint64_t *wait_ms)
{
    _Atomic uint64_t *word = rate_of(meters, place, rate);
    uint64_t now_ns = now_ms * NS_OF_MS, old, interval, depth, ahead;

    if (limit == UINT64_MAX)
        return true;
    *wait_ms = 60000;
    if (limit == 0)
        return false;
    interval = interval_ns(rate, limit);
    depth = depth_ns(interval, burst == UINT64_MAX ? limit : burst);
    old = load_acquire(word);
    while (old > now_ns + depth) /* the limit was another one when that was written */
        if (cas_acq_rel(word, &old, now_ns + depth))
            old = now_ns + depth;
    do {
        ahead = old > now_ns ? old - now_ns : 0;
        if (ahead + interval > depth) {
            *wait_ms = (ahead + interval - depth + NS_OF_MS - 1) / NS_OF_MS;
            return false;
        }
    } while (!cas_acq_rel(word, &old, now_ns + ahead + interval));
    return true;
}

void meters_unpass(struct meters *meters, uint32_t place, enum meters_rate rate, uint64_t limit)
{
    _Atomic uint64_t *word = rate_of(meters, place, rate);
    uint64_t old, less;

    if (limit == 0 || limit == UINT64_MAX)
        return;
    less = interval_ns(rate, limit);
    old = load_acquire(word);
    while (!cas_acq_rel(word, &old, old > less ? old - less : 0))
        ;
}
