/* See settle.h. */
#include "settle.h"

#include <assert.h>
#include <stddef.h>

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

struct settle_look settle_look_of(const struct stat *st)
{
    if (st == NULL)
        return (struct settle_look){0};
    return (struct settle_look){.device = st->st_dev,
                                .inode = st->st_ino,
                                .size = (uint64_t)st->st_size,
                                .modified_ns = ns_of(&st->st_mtim),
                                .changed_ns = ns_of(&st->st_ctim)};
}

static bool is_same(const struct settle_look *a, const struct settle_look *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

void settle_read(struct settle *settle, const struct settle_look *look)
{
    settle->read = settle->seen = *look;
}

bool settle_is_due(struct settle *settle, const struct settle_look *look, uint64_t now_ms)
{
    if (!is_same(look, &settle->seen)) {
        settle->seen = *look;
        settle->since_ms = now_ms;
        return false;
    }
    assert(now_ms >= settle->since_ms);
    return settle_is_restless(settle) && now_ms - settle->since_ms >= SETTLE_MS;
}

bool settle_is_restless(const struct settle *settle)
{
    return !is_same(&settle->seen, &settle->read);
}
