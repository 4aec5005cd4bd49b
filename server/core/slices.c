/* See slices.h. The timer runs as long as anybody waits. */
#include "core/slices.h"

#include <assert.h>
#include <stddef.h>

#include "common/clock.h"

static struct loop *loop_of(const struct slices *s)
{
    return s->turn.arg;
}

static struct slice_flow *flow_of(struct slices *s, const struct slice *slice)
{
    return slice->flow != NULL ? slice->flow : &s->nobodys;
}

static void link_flow(struct slices *s, struct slice_flow *flow)
{
    if (s->first == NULL)
        s->end = &s->first;
    flow->next = NULL;
    flow->link = s->end;
    *s->end = flow;
    s->end = &flow->next;
}

static void unlink_flow(struct slices *s, struct slice_flow *flow)
{
    assert(*flow->link == flow);
    *flow->link = flow->next;
    if (flow->next != NULL)
        flow->next->link = flow->link;
    else
        s->end = flow->link;
    flow->next = NULL;
    flow->link = NULL;
}

static void unlink_slice(struct slices *s, struct slice *slice)
{
    struct slice_flow *flow = flow_of(s, slice);

    assert(*slice->link == slice);
    *slice->link = slice->next;
    if (slice->next != NULL)
        slice->next->link = slice->link;
    else
        flow->end = slice->link;
    slice->next = NULL;
    slice->link = NULL;
    if (flow->first == NULL)
        unlink_flow(s, flow);
}

/* The flow's turn is over: the others come first. */
static void to_the_end(struct slices *s, struct slice_flow *flow)
{
    if (flow->link == NULL || flow->next == NULL)
        return;
    unlink_flow(s, flow);
    link_flow(s, flow);
}

static void on_turn(struct loop_timer *timer)
{
    struct slices *s = (struct slices *)((char *)timer - offsetof(struct slices, turn));
    struct slice_flow *flow = s->first;
    struct slice *slice;
    uint64_t began_us = clock_now_us(), took_ms;

    assert(flow != NULL); /* the timer runs only while somebody waits */
    slice = flow->first;
    unlink_slice(s, slice);
    to_the_end(s, flow);
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
    struct slice_flow *flow = flow_of(s, slice);

    assert(slice->cb != NULL);
    assert(s->first == NULL || loop_of(s) == loop);
    if (slice->link != NULL)
        return 0;
    if (s->first == NULL) {
        s->turn.cb = on_turn;
        s->turn.arg = loop;
        if (loop_timer_start(loop, &s->turn, 0) != 0)
            return ERR_NOMEM;
    }
    if (flow->first == NULL) {
        flow->end = &flow->first;
        link_flow(s, flow);
    }
    slice->next = NULL;
    slice->link = flow->end;
    *flow->end = slice;
    flow->end = &slice->next;
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

bool slices_wait(const struct slices *s, const struct slice_flow *flow)
{
    return (flow != NULL ? flow : &s->nobodys)->first != NULL;
}
