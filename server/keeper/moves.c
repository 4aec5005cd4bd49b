/* See moves.h. */
#include "moves.h"

#include <assert.h>
#include <stdlib.h>

#include "balancer/quota.h"
#include "batches.h"
#include "common/clock.h"
#include "common/log.h"
#include "store/store_moves.h"

struct moves {
    const struct inherited *inherited; /* borrowed, as all */
    struct store *store;
    const struct fleet_me *me;
    struct followed_rows *followed;
};

static struct store_claimer claimer(const struct moves *m)
{
    return (struct store_claimer){.node = m->me->node, .epoch = m->me->epoch};
}

/* --- it is made --- */

/* The part and its reservation in one commit: what counts has a batch. */
static int write_made(struct store *store, const struct fleet_me *me,
                      const struct store_moved *moved, uint32_t first_ms, bool *taken)
{
    struct fleet_live live = {.of = {.id = moved->reservation, .nonce = moved->nonce},
                              .native = moved->at.native,
                              .deployment = moved->deployment};
    int rc = store_batch_begin(store), ended;

    if (rc != 0)
        return rc;
    rc = store_move_made(store, me->node, moved, first_ms, taken);
    if (rc == 0 && *taken)
        rc = store_fleet_live(store, me, &live, 1, NULL);
    ended = store_batch_end(store);
    return rc == 0 ? ended : rc;
}

int moves_found(struct store *store, const struct fleet_me *me, const struct wire_seen *found,
                uint32_t first_ms, bool *taken)
{
    const struct store_moved moved = {.nonce = found->nonce,
                                      .at = {.account = found->account, .native = found->native},
                                      .deployment =
                                          found->placed != 0 ? found->placed : found->deployment,
                                      .tokens = found->tokens,
                                      .expires_ms = (int64_t)found->expires_s * 1000};

    return write_made(store, me, &moved, first_ms, taken);
}

static int on_made(struct moves *m, const struct wire_move *w, enum store_move_end *end)
{
    const struct store_moved moved = {.nonce = w->nonce,
                                      .at = {.account = w->to_account, .native = w->to_native},
                                      .deployment = w->to,
                                      .reservation = wire_known(w->id),
                                      .tokens = w->tokens,
                                      .expires_ms = (int64_t)w->expires_s * 1000};
    uint32_t watch_ms = m->inherited->config->timeouts.watch_ms;
    bool taken = false;
    int rc = write_made(m->store, m->me, &moved,
                        batches_first_ms(watch_ms != 0 ? watch_ms : QUOTA_ASK_MS), &taken);

    *end = taken ? STORE_MOVE_TAKEN : STORE_MOVE_STALE; /* somebody has said it before */
    if (rc == 0 && taken)
        log_info("batch %s failed late: it runs as %s at another deployment", w->native,
                 w->to_native);
    return rc;
}

/* --- the steps --- */

static int step(struct moves *m, const struct wire_move *w, enum store_move_end *end)
{
    struct store_claimer by = claimer(m);
    struct store_native of = {.account = w->account, .native = w->native};

    switch ((enum wire_move_step)w->step) {
    case WIRE_MOVE_BEGIN:
        return store_move_begin(m->store, &by, &of, w->nonce, w->to, end);
    case WIRE_MOVE_WAIT:
        return store_move_wait(m->store, &by, &of, wire_known(w->nonce), w->wait_ms, true, end);
    case WIRE_MOVE_DOUBT:
        return store_move_wait(m->store, &by, &of, NULL, w->wait_ms, false, end);
    case WIRE_MOVE_OVER:
        log_info("batch %s failed late, and is not moved: %s", w->native, w->why);
        return store_move_over(m->store, &by, &of, wire_known(w->nonce), w->why, end);
    case WIRE_MOVE_MADE:
        return on_made(m, w, end);
    case WIRE_MOVE_CANCEL:
        return store_move_cancel(m->store, &by, &of, w->text, end);
    }
    *end = STORE_MOVE_STALE;
    return 0;
}

static enum wire_move_end carry_out(struct moves *m, const struct wire_move *w)
{
    static const enum wire_move_end ends[] = {[STORE_MOVE_TAKEN] = WIRE_MOVE_DONE,
                                              [STORE_MOVE_STALE] = WIRE_MOVE_STALE,
                                              [STORE_MOVE_SENT] = WIRE_MOVE_SENT};
    enum store_move_end end = STORE_MOVE_STALE;
    int rc = m->me->epoch != 0 ? step(m, w, &end) : ERR_IO;

    if (rc != 0) {
        log_debug("batch %s: its move cannot be written: %s", w->native, store_why(m->store));
        return WIRE_MOVE_LATER;
    }
    followed_rows_step(m->followed, false, clock_now_ms());
    return ends[end];
}

/* What is told until it is taken: nothing is left to be said of what is another one's by now. */
static bool is_told(const struct wire_move *w)
{
    return w->step != WIRE_MOVE_BEGIN && w->step != WIRE_MOVE_CANCEL;
}

static void on_move(void *arg, struct call *call)
{
    struct moves *m = arg;
    struct wire_move w;
    unsigned end = WIRE_UNREADABLE;

    if (wire_move_read(call->bytes, call->len, &w) == 0)
        end = call_is_wanted(call, clock_now_ms()) ? carry_out(m, &w) : WIRE_MOVE_LATER;
    if (end == WIRE_MOVE_STALE && is_told(&w))
        end = WIRE_MOVE_DONE;
    call_answer(&call, end, NULL, 0);
}

void moves_serve(struct moves *m, struct calls *calls)
{
    calls_serve(calls, KEEPER_MOVE, on_move, m);
}

int moves_new(const struct inherited *inherited, struct store *store, const struct fleet_me *me,
              struct followed_rows *followed, struct moves **out)
{
    struct moves *m = calloc(1, sizeof(*m));

    assert(me != NULL && followed != NULL);
    if (m == NULL)
        return ERR_NOMEM;
    *m = (struct moves){.inherited = inherited, .store = store, .me = me, .followed = followed};
    *out = m;
    return 0;
}

void moves_free(struct moves *m)
{
    free(m);
}
