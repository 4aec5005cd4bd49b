/* See slots.h. */
#include "balancer/slots.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "common/shm.h"

#define SLOTS_MAGIC  0x4c535154u /* "TQSL" */
#define SLOTS_LAYOUT 1u
#define CACHE_LINE   64

struct column {
    /* The master's; + 2^32, so that 0 is nobody */
    alignas(CACHE_LINE) _Atomic uint64_t fingerprint;
    uint64_t reserved[3];
    struct {
        _Atomic uint64_t held[SLOTS_KINDS];       /* files + 1; 0: not known */
        _Atomic uint64_t refused_ms[SLOTS_KINDS]; /* monotonic ms + 1; 0: not */
    } shared;
};

struct slots {
    uint32_t magic;
    uint32_t layout; /* raise it with any change of the region */
    uint64_t size;   /* bytes, the whole region */
    uint32_t max_columns;
    alignas(CACHE_LINE) struct column columns[];
};

static_assert(sizeof(struct column) == CACHE_LINE, "layout of the slots region");
static_assert(sizeof(struct slots) == CACHE_LINE, "layout of the slots region");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no lock that a killed process could keep");

static uint64_t look(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static struct column *column_of(const struct slots *slots, uint32_t column)
{
    assert(column < slots->max_columns);
    return (struct column *)slots->columns + column;
}

/* What a region of that many columns begins with. */
static int fill_head(struct slots *head, uint32_t max_columns)
{
    if (max_columns == 0)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->magic = SLOTS_MAGIC;
    head->layout = SLOTS_LAYOUT;
    head->size = sizeof(*head) + (uint64_t)max_columns * sizeof(struct column);
    head->max_columns = max_columns;
    return 0;
}

int slots_new(uint32_t max_columns, struct slots **out)
{
    struct slots head, *slots;

    if (fill_head(&head, max_columns) != 0)
        return ERR_INVALID;
    slots = shm_new_lasting("tranche-slots", head.size);
    if (slots == NULL)
        return ERR_NOMEM;
    memcpy(slots, &head, sizeof(head));
    *out = slots;
    return 0;
}

int slots_adopt(int fd, uint32_t max_columns, struct slots **out)
{
    struct slots head = {0};
    void *region;
    int ret = fill_head(&head, max_columns);

    if (ret == 0)
        ret = shm_adopt(fd, &head, sizeof(head), head.size, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

void slots_free(struct slots *slots)
{
    if (slots != NULL)
        shm_free(slots, slots->size);
}

void slots_bind(struct slots *slots, uint32_t column, uint32_t fingerprint)
{
    struct column *col = column_of(slots, column);
    uint64_t bound = (UINT64_C(1) << 32) + fingerprint;

    if (look(&col->fingerprint) == bound)
        return;
    put(&col->fingerprint, bound);
    for (int kind = 0; kind < SLOTS_KINDS; kind++) {
        put(&col->shared.held[kind], 0);
        put(&col->shared.refused_ms[kind], 0);
    }
}

void slots_set(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t num)
{
    put(&column_of(slots, column)->shared.held[kind], num < UINT64_MAX ? num + 1 : 0);
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
    struct column *col = column_of(slots, column);
    uint64_t held = look(&col->shared.held[kind]);

    while (held != 0 && !atomic_compare_exchange_weak_explicit(
                            &col->shared.held[kind], &held, held_after(held, change),
                            memory_order_relaxed, memory_order_relaxed))
        ;
    if (change < 0)
        put(&col->shared.refused_ms[kind], 0);
}

void slots_refused(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t now_ms)
{
    put(&column_of(slots, column)->shared.refused_ms[kind], now_ms + 1);
}

uint64_t slots_held(const struct slots *slots, uint32_t column, enum slots_kind kind)
{
    return look(&column_of(slots, column)->shared.held[kind]) - 1; /* 0 becomes UINT64_MAX */
}

static bool is_refused(const struct column *col, enum slots_kind kind, uint64_t now_ms)
{
    uint64_t refused_ms = look(&col->shared.refused_ms[kind]);

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
