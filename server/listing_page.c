/* See listing_page.h. */
#include "server/listing_page.h"

#include <stdlib.h>
#include <string.h>

int listing_source_add(struct listing_source *s, int64_t created_at, void *object)
{
    if (s->num == s->cap) {
        size_t cap = s->cap == 0 ? 32 : s->cap * 2;
        struct listing_item *items = realloc(s->items, cap * sizeof(*items));

        if (items == NULL)
            return ERR_NOMEM;
        s->items = items;
        s->cap = cap;
    }
    s->items[s->num++] = (struct listing_item){created_at, object};
    return 0;
}

void listing_source_deinit(struct listing_source *s)
{
    free(s->items);
    memset(s, 0, sizeof(*s));
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

/* Merge sort: stable, and no comparison callback that would need the direction from a global. */
static void merge(struct listing_item *items, struct listing_item *spare, size_t num,
                  bool ascending)
{
    size_t half = num / 2, a = 0, b = half;

    if (num < 2)
        return;
    merge(items, spare, half, ascending);
    merge(items + half, spare, num - half, ascending);
    memcpy(spare, items, num * sizeof(*items));
    for (size_t i = 0; i < num; i++) {
        if (b >= num ||
            (a < half && !comes_first(spare[b].created_at, spare[a].created_at, ascending)))
            items[i] = spare[a++];
        else
            items[i] = spare[b++];
    }
}

void listing_sort(struct listing_item *items, size_t num, bool ascending)
{
    struct listing_item *spare = num > 1 ? malloc(num * sizeof(*spare)) : NULL;

    if (spare != NULL) /* without memory the provider's own order stays: newest first at both */
        merge(items, spare, num, ascending);
    free(spare);
}

size_t listing_take(struct listing_source *sources, size_t num, bool ascending,
                    struct listing_item *out)
{
    size_t best = num;

    for (size_t i = 0; i < num; i++) {
        const struct listing_source *s = &sources[i];

        if (s->next == s->num)
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
