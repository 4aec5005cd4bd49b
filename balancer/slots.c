/* See slots.h. */
#include "balancer/slots.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/shm_region.h"
#include "common/shm_words.h"

#define SLOTS_MAGIC  0x4c535154u /* "TQSL" */
#define SLOTS_LAYOUT 2u

#define COUNTED (UINT64_C(1) << 32) /* in news: above the change, which is an int32_t */

struct column {
    /* The master's; + 2^32, so that 0 is nobody */
    alignas(CACHE_LINE) _Atomic uint64_t fingerprint;
    uint64_t reserved;
    struct {
        _Atomic uint64_t news[SLOTS_KINDS];       /* change, and COUNTED */
        _Atomic uint64_t held[SLOTS_KINDS];       /* files + 1; 0: not known */
        _Atomic uint64_t refused_ms[SLOTS_KINDS]; /* monotonic ms + 1; 0: not */
    } shared;
};

struct slots {
    struct shm_head region;
    uint32_t max_columns;
    alignas(CACHE_LINE) struct column columns[];
};

static_assert(sizeof(struct column) == CACHE_LINE, "layout of the slots region");
static_assert(sizeof(struct slots) == CACHE_LINE, "layout of the slots region");

static struct column *column_of(const struct slots *slots, uint32_t column)
{
    assert(column < slots->max_columns);
    return (struct column *)slots->columns + column;
}

static _Atomic uint64_t *held_of(const struct slots *slots, uint32_t column, enum slots_kind kind)
{
    assert((unsigned)kind < SLOTS_KINDS);
    return &column_of(slots, column)->shared.held[kind];
}

/* What a region of that many columns begins with. */
static int fill_head(struct slots *head, uint32_t max_columns)
{
    if (max_columns == 0)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->region =
        (struct shm_head){.magic = SLOTS_MAGIC,
                          .layout = SLOTS_LAYOUT,
                          .size = sizeof(*head) + (uint64_t)max_columns * sizeof(struct column)};
    head->max_columns = max_columns;
    return 0;
}

static int make(uint32_t max_columns, int fd, struct slots **out)
{
    struct slots head;
    void *region;
    int ret = fill_head(&head, max_columns);

    if (ret == 0)
        ret = shm_region_open("tranche-slots", fd, &head, sizeof(head), &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int slots_new(uint32_t max_columns, struct slots **out)
{
    return make(max_columns, SHM_NEW, out);
}

int slots_adopt(int fd, uint32_t max_columns, struct slots **out)
{
    return make(max_columns, fd, out);
}

void slots_free(struct slots *slots)
{
    shm_region_free(slots);
}

void slots_bind(struct slots *slots, uint32_t column, uint32_t fingerprint)
{
    struct column *col = column_of(slots, column);
    uint64_t bound = (UINT64_C(1) << 32) + fingerprint;

    if (load_relaxed(&col->fingerprint) == bound)
        return;
    store_relaxed(&col->fingerprint, bound);
    for (int kind = 0; kind < SLOTS_KINDS; kind++) {
        store_relaxed(&col->shared.news[kind], 0);
        store_relaxed(&col->shared.held[kind], 0);
        store_relaxed(&col->shared.refused_ms[kind], 0);
    }
}

static _Atomic uint64_t *news_of(const struct slots *slots, uint32_t column, enum slots_kind kind)
{
    assert((unsigned)kind < SLOTS_KINDS);
    return &column_of(slots, column)->shared.news[kind];
}

/* The change goes on being news, should the count never be told. */
void slots_set(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t num)
{
    _Atomic uint64_t *word = news_of(slots, column, kind);
    uint64_t news = load_relaxed(word);

    store_relaxed(held_of(slots, column, kind), num < UINT64_MAX ? num + 1 : 0);
    while (num < UINT64_MAX && !cas_weak_relaxed(word, &news, news | COUNTED))
        ;
}

/* The change stays within its bounds: nobody has so many files. */
static uint64_t news_after(uint64_t news, int64_t change)
{
    int64_t sum = (int32_t)(uint32_t)news + change;

    sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
    return (news & COUNTED) | (uint32_t)(int32_t)sum;
}

static void add_news(struct slots *slots, uint32_t column, enum slots_kind kind, int64_t change)
{
    _Atomic uint64_t *word = news_of(slots, column, kind);
    uint64_t news = load_relaxed(word);

    while (!cas_weak_relaxed(word, &news, news_after(news, change)))
        ;
}

static uint64_t held_after(uint64_t held, int change)
{
    uint64_t num = held - 1, less = change < 0 ? -(uint64_t)change : 0;

    if (less > 0)
        return 1 + (num > less ? num - less : 0);
    return num < UINT64_MAX / 2 ? held + (uint64_t)change : held;
}

void slots_add(struct slots *slots, uint32_t column, enum slots_kind kind, int change)
{
    _Atomic uint64_t *word = held_of(slots, column, kind);
    uint64_t held = load_relaxed(word);

    while (held != 0 && !cas_weak_relaxed(word, &held, held_after(held, change)))
        ;
    add_news(slots, column, kind, change);
    if (change < 0)
        store_relaxed(&column_of(slots, column)->shared.refused_ms[kind], 0);
}

void slots_refused(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t now_ms)
{
    assert((unsigned)kind < SLOTS_KINDS);
    store_relaxed(&column_of(slots, column)->shared.refused_ms[kind], now_ms + 1);
}

uint64_t slots_held(const struct slots *slots, uint32_t column, enum slots_kind kind)
{
    return load_relaxed(held_of(slots, column, kind)) - 1; /* 0 becomes UINT64_MAX */
}

bool slots_take_news(struct slots *slots, uint32_t column, enum slots_kind kind,
                     struct slots_news *news)
{
    _Atomic uint64_t *word = news_of(slots, column, kind);
    uint64_t taken = load_relaxed(word);

    while (taken != 0 && !cas_weak_relaxed(word, &taken, 0))
        ;
    *news = (struct slots_news){.counted = (taken & COUNTED) != 0,
                                .change = (int32_t)(uint32_t)taken,
                                .held = slots_held(slots, column, kind)};
    return taken != 0;
}

void slots_return_news(struct slots *slots, uint32_t column, enum slots_kind kind,
                       const struct slots_news *news)
{
    add_news(slots, column, kind, news->change);
}

/* What has changed here meanwhile is news, and is not in `num`. */
void slots_share(struct slots *slots, uint32_t column, enum slots_kind kind,
                 const struct slots_news *news, uint64_t num)
{
    _Atomic uint64_t *word = held_of(slots, column, kind);
    uint64_t held = load_relaxed(word), next = 0;

    if (num >= UINT64_MAX / 2)
        return;
    do {
        uint64_t since = held != 0 && news->held != UINT64_MAX ? held - 1 - news->held : 0;

        next = num + since < UINT64_MAX / 2 ? num + since + 1 : 1; /* less than none is none */
    } while (!cas_weak_relaxed(word, &held, next));
}

static bool is_refused(const struct column *col, enum slots_kind kind, uint64_t now_ms)
{
    uint64_t refused_ms = load_relaxed(&col->shared.refused_ms[kind]);

    return refused_ms != 0 && now_ms + 1 < refused_ms + SLOTS_REFUSED_MS;
}

bool slots_open(const struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t limit,
                uint64_t now_ms)
{
    uint64_t held = slots_held(slots, column, kind);

    if (is_refused(column_of(slots, column), kind, now_ms))
        return false;
    return limit == 0 || held == UINT64_MAX || held < limit;
}
