/* See accept_share.h. */
#include "accept_share.h"

bool accept_share_leaves(uint32_t mine, uint32_t least)
{
    return mine > (uint64_t)least + 1 + least / 16;
}

/* One that drains or serves another generation does not accept what this one does. */
static bool serves_as(const struct worker_slot *slot, const struct worker_slot *own,
                      uint64_t now_ms)
{
    return slot != own && atomic_load_explicit(&slot->pid, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&slot->is_worker, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&slot->draining, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&slot->generation, memory_order_relaxed) ==
               atomic_load_explicit(&own->generation, memory_order_relaxed) &&
           atomic_load_explicit(&slot->beat_ms, memory_order_relaxed) + ACCEPT_SILENT_MS > now_ms;
}

static void look(struct accept_share *share, uint64_t now_ms)
{
    share->num_others = 0;
    for (size_t i = 0; i < share->num_slots; i++)
        if (serves_as(&share->slots[i], share->own, now_ms))
            share->others[share->num_others++] = &share->slots[i];
    share->looked_ms = now_ms;
}

bool accept_share_is_others(struct accept_share *share, uint32_t mine, uint64_t now_ms)
{
    uint32_t least = UINT32_MAX;

    if (share->slots == NULL)
        return false;
    if (share->looked_ms == 0 || now_ms >= share->looked_ms + ACCEPT_LOOK_MS)
        look(share, now_ms);
    for (size_t i = 0; i < share->num_others; i++) {
        uint32_t has = atomic_load_explicit(&share->others[i]->connections, memory_order_relaxed);

        least = has < least ? has : least;
    }
    return share->num_others > 0 && accept_share_leaves(mine, least);
}
