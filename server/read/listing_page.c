/* See listing_page.h. */
#include "listing_page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int make_room(struct listing_source *s)
{
    size_t cap = s->cap == 0 ? 32 : s->cap * 2;
    struct listing_item *items;

    if (s->num < s->cap)
        return 0;
    items = realloc(s->items, cap * sizeof(*items));
    if (items == NULL)
        return ERR_NOMEM;
    s->items = items;
    s->cap = cap;
    return 0;
}

int listing_source_add(struct listing_source *s, int64_t created_at, const char *id,
                       const char *text, size_t len)
{
    size_t at = s->ids.len;

    assert(s->num <= s->cap && s->next == 0); /* nothing was taken yet */
    if (at > UINT32_MAX || len > UINT32_MAX)
        return ERR_LIMIT;
    strbuf_add(&s->ids, id, strlen(id) + 1);
    if (strbuf_failed(&s->ids) || make_room(s) != 0)
        return ERR_NOMEM;
    s->items[s->num++] = (struct listing_item){
        .created_at = created_at, .text = text, .len = (uint32_t)len, .id = (uint32_t)at};
    return 0;
}

void listing_source_deinit(struct listing_source *s)
{
    free(s->items);
    strbuf_deinit(&s->ids);
    memset(s, 0, sizeof(*s));
}

const char *listing_source_id(const struct listing_source *s, size_t i)
{
    assert(i < s->num && s->items[i].id < s->ids.len);
    return strbuf_str(&s->ids) + s->items[i].id;
}

static bool comes_first(int64_t a, int64_t b, bool ascending)
{
    return ascending ? a < b : a > b;
}

bool listing_is_behind(const struct listing_cursor *cursor, size_t source, int64_t created_at,
                       bool ascending)
{
    if (!cursor->set || source == cursor->source)
        return true;
    if (created_at == cursor->created_at)
        return source > cursor->source;
    return comes_first(cursor->created_at, created_at, ascending);
}

bool listing_may_be_behind(const struct listing_cursor *cursor, int64_t created_at, bool ascending)
{
    return !comes_first(created_at, cursor->created_at, ascending);
}

/* Of two objects of a list that came whole. */
static bool stands_first(int64_t time, const char *id, int64_t other_time, const char *other_id,
                         bool ascending)
{
    int order;

    if (time != other_time)
        return comes_first(time, other_time, ascending);
    order = strcmp(id, other_id);
    return ascending ? order < 0 : order > 0;
}

struct sorting {
    struct listing_item *spare;
    const char *ids;
    bool ascending;
};

/* Merge sort: no comparison callback that would need the direction from a global. */
static void merge(const struct sorting *sorting, struct listing_item *items, size_t num)
{
    struct listing_item *spare = sorting->spare;
    size_t half = num / 2, a = 0, b = half;

    if (num < 2)
        return;
    merge(sorting, items, half);
    merge(sorting, items + half, num - half);
    memcpy(spare, items, num * sizeof(*items));
    for (size_t i = 0; i < num; i++) {
        if (b >= num || (a < half && !stands_first(spare[b].created_at, sorting->ids + spare[b].id,
                                                   spare[a].created_at, sorting->ids + spare[a].id,
                                                   sorting->ascending)))
            items[i] = spare[a++];
        else
            items[i] = spare[b++];
    }
}

void listing_sort(struct listing_source *s, bool ascending)
{
    struct sorting sorting = {.ids = strbuf_str(&s->ids), .ascending = ascending};

    sorting.spare = malloc(s->num * sizeof(*sorting.spare));
    if (sorting.spare == NULL) /* the provider's own order stays: newest first as far as is known */
        return;
    merge(&sorting, s->items, s->num);
    free(sorting.spare);
}

void listing_trim(struct listing_source *s, int64_t created_at, const char *id, bool ascending)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->num; i++)
        if (stands_first(created_at, id, s->items[i].created_at, listing_source_id(s, i),
                         ascending))
            s->items[kept++] = s->items[i];
    s->num = kept;
}

static bool is_empty(const struct listing_source *s)
{
    assert(s->next <= s->num);
    return s->next == s->num;
}

static bool broke_off(const struct listing_source *s)
{
    return s->broken && s->num > 0 && is_empty(s);
}

size_t listing_take(struct listing_source *sources, size_t num, bool ascending,
                    struct listing_item *out)
{
    size_t best = num;

    for (size_t i = 0; i < num; i++) {
        const struct listing_source *s = &sources[i];

        if (broke_off(s))
            return num;
        if (is_empty(s))
            continue;
        if (best == num ||
            comes_first(s->items[s->next].created_at,
                        sources[best].items[sources[best].next].created_at, ascending))
            best = i;
    }
    if (best < num)
        *out = sources[best].items[sources[best].next++];
    return best;
}

bool listing_has_more(const struct listing_source *sources, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (!is_empty(&sources[i]) || broke_off(&sources[i]))
            return true;
    return false;
}
