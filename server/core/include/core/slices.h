/* Work that is too long for one turn of the loop, in slices: all who have some wait in a queue, and
 * each turn runs one slice, so that ten lists being read at once hold nobody up for longer than one
 * does. A slice should cost less than half a millisecond. One that took longer is followed by as
 * much time without any: an answer to somebody else takes several turns.
 *
 * Each tenant has a queue of its own (a flow), and the flows take turns: who has a thousand slices
 * that wait makes nobody else wait for more than one of them. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "common/loop.h"

#define SLICES_LONG_MS 2   /* a slice that took so long is followed by a pause, */
#define SLICES_REST_MS 100 /* of at most so long */

struct slice;
struct slice_flow;
typedef void (*slice_cb)(struct slice *slice);

/* Embedded in the owner's struct; all zero but `cb` and `arg` before it first waits. */
struct slice {
    slice_cb cb;             /* runs once each time it was added, never from inside slices_add() */
    void *arg;               /* borrowed; the owner's */
    struct slice_flow *flow; /* borrowed, while it waits; NULL: of nobody in particular */
    struct slice *next;      /* the queue's */
    struct slice **link;     /* what points to it; NULL: it does not wait. The queue's */
};

/* The slices of one tenant; all zero is an empty one. */
struct slice_flow {
    struct slice *first, **end; /* borrowed; queue */
    struct slice_flow *next;    /* of those that are not empty */
    struct slice_flow **link;   /* what points to it; NULL: it is empty */
};

/* One for each loop; all zero is an empty one. */
struct slices {
    struct slice_flow *first, **end; /* borrowed; flows whose turn comes, in this order */
    struct slice_flow nobodys;       /* of slices without a flow */
    struct loop_timer turn;
};

/** Have the slice run on a coming turn, behind those of its flow that wait already; one that waits
 * stays where it is. The callback may add its slice again, and free what it is part of.
 *  @return 0, ERR_NOMEM: it does not wait */
MUST_USE int slices_add(struct slices *slices, struct loop *loop, struct slice *slice);

/** Forget it; safe when it does not wait. The owner calls it before its struct goes. */
void slices_remove(struct slices *slices, struct slice *slice);

/** Whether any slice of the flow waits. NULL: of those without a flow. */
bool slices_wait(const struct slices *slices, const struct slice_flow *flow);
