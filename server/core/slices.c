/* See slices.h. The timer runs as long as anybody waits. */
#include "core/slices.h"

#include <assert.h>
#include <stddef.h>

#include "common/clock.h"

static struct loop *loop_of(const struct slices *s)
{
    return s->turn.arg;
}

static void unlink_slice(struct slices *s, struct slice *slice)
{
    assert(*slice->link == slice);
    *slice->link = slice->next;
    if (slice->next != NULL)
        slice->next->link = slice->link;
    else
        s->end = slice->link;
    slice->next = NULL;
    slice->link = NULL;
}

static void on_turn(struct loop_timer *timer)
{
    struct slices *s = (struct slices *)((char *)timer - offsetof(struct slices, turn));
    struct slice *slice = s->first;

    uint64_t began_us = clock_now_us(), took_ms;

    assert(slice != NULL); /* the timer runs only while somebody waits */
    unlink_slice(s, slice);
    if (s->first != NULL)
        (void)loop_timer_start(loop_of(s), timer, 0); /* cannot fail: its slot was just freed */
    slice->cb(slice);
    took_ms = (clock_now_us() - began_us) / 1000;
    if (took_ms < SLICES_LONG_MS || s->first == NULL)
        return;
    loop_timer_stop(loop_of(s), timer);
    (void)loop_timer_start(loop_of(s), timer, took_ms < SLICES_REST_MS ? took_ms : SLICES_REST_MS);
}

int slices_add(struct slices *s, struct loop *loop, struct slice *slice)
{
    assert(slice->cb != NULL);
    assert(s->first == NULL || loop_of(s) == loop);
    if (slice->link != NULL)
        return 0;
    if (s->first == NULL) {
        s->turn.cb = on_turn;
        s->turn.arg = loop;
        if (loop_timer_start(loop, &s->turn, 0) != 0)
            return ERR_NOMEM;
        s->end = &s->first;
    }
    slice->next = NULL;
    slice->link = s->end;
    *s->end = slice;
    s->end = &slice->next;
    return 0;
}

void slices_remove(struct slices *s, struct slice *slice)
{
    if (slice->link == NULL)
        return;
    unlink_slice(s, slice);
    if (s->first == NULL)
        loop_timer_stop(loop_of(s), &s->turn);
}
