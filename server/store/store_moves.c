/* See store_moves.h. */
#include "store/store_moves.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "store_batches_impl.h"
#include "store_fleet_impl.h"
#include "store_followed_impl.h"
#include "store/store_hooks.h"

/* A batch as it is before the step, locked until it ends. */
struct moving {
    char id[STORE_BATCH_ID], native[STORE_BATCH_ID], nonce[64], code[64], claim_node[STORE_NODE_ID];
    bool there, cancelling;
    bool known; /* there is a reservation with its nonce, ... */
    int64_t reservation, epoch, moves, account, deployment, open; /* ... in this state */
    enum store_moving state;
};

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static int on_moving(void *arg, const struct row *row)
{
    struct moving *m = arg;

    m->there = true;
    set_text(m->id, sizeof(m->id), row->texts[0]);
    set_text(m->native, sizeof(m->native), row->texts[1]);
    set_text(m->nonce, sizeof(m->nonce), row->texts[2]);
    set_text(m->code, sizeof(m->code), row->texts[3]);
    set_text(m->claim_node, sizeof(m->claim_node), row->texts[4]);
    m->epoch = row_int(row, 5);
    m->moves = row_int(row, 6);
    m->account = row_int(row, 7);
    m->deployment = row_int(row, 8);
    m->state = (enum store_moving)row_int(row, 9);
    m->open = row_int(row, 10);
    m->cancelling = row->texts[11] != NULL;
    m->known = row->texts[12] != NULL;
    m->reservation = row_int(row, 12);
    return 0;
}

static int read_moving(struct store *store, const char *where, const struct value *values,
                       size_t num, struct moving *m)
{
    char sql[768];

    *m = (struct moving){.there = false};
    snprintf(sql, sizeof(sql),
             "select b.id, p.native, p.move_nonce, b.code, p.claim_node, p.epoch, b.moves,"
             " p.account, p.deployment, p.moving, p.open, b.cancelling, (select r.state"
             " from @reservation r where r.nonce = p.move_nonce order by r.created desc limit 1)"
             " from @batch_part p join @batch b on b.id = p.batch_id where %s%s",
             where, store->engine->ops->shared ? " for update" : "");
    return work_run(store, sql, values, num, on_moving, m);
}

static int read_at(struct store *store, const struct store_native *of, struct moving *m)
{
    struct value values[] = {value_int(of->account), value_text(of->native)};

    return read_moving(store, "p.account = $1 and p.native = $2", values, 2, m);
}

/* Something may come, or have come, of the create with its nonce. The reservation is there before the
 * nonce is, and is kept for long after it was freed. */
static bool is_in_doubt(const struct moving *m)
{
    return m->nonce[0] != '\0' && m->known && m->reservation != FLEET_FREED;
}

/* The same, where the asker knows that nothing came of one. */
static bool is_in_doubt_but(const struct moving *m, const char *settled)
{
    return is_in_doubt(m) && (settled == NULL || strcmp(m->nonce, settled) != 0);
}

static bool is_claimers(const struct moving *m, const struct store_claimer *by)
{
    return m->there && m->state == STORE_MOVE_WANTED && strcmp(m->claim_node, by->node) == 0 &&
           m->epoch == by->epoch;
}

/* ---- it is wanted ---- */

static int note_attempt(struct store *store, const char *id, int64_t now_ms, const char *code)
{
    struct value values[] = {value_text(id), value_int(now_ms), value_text(code)};

    return WORK_RUN(
        store,
        "insert into @batch_attempt(batch_id, number, account, native, deployment, code,"
        " ended) select b.id, b.moves + 1, p.account, p.native, p.deployment,"
        " cast($3 as text), cast($2 as bigint) from @batch b join @batch_part p"
        " on p.batch_id = b.id and p.part = 0 where b.id = $1 on conflict do nothing",
        values, NULL, NULL);
}

int work_want_move(struct store *store, const struct work_want *want)
{
    struct value values[] = {value_text(want->id), value_int(want->now_ms),
                             value_text(want->input)};
    struct value of[] = {value_text(want->id), value_int(STORE_MOVED)};
    char detail[128];
    int rc = note_attempt(store, want->id, want->now_ms, want->code);

    if (rc == 0)
        rc = WORK_RUN(
            store,
            "update @batch set mode = $2, id_account = coalesce(id_account, (select account"
            " from @batch_part p where p.batch_id = id and p.part = 0)),"
            " id_native = coalesce(id_native, (select native from @batch_part p"
            " where p.batch_id = id and p.part = 0)) where id = $1",
            of, NULL, NULL);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "update @batch_part set moving = 1, move_nonce = null, move_to = 0,"
                      " move_tries = 0, missing = 0, next_at = $2, claim_node = null,"
                      " claim_until = 0, input_file = coalesce($3, input_file) where batch_id = $1",
                      values, NULL, NULL);
    snprintf(detail, sizeof(detail), "it failed late (%s) and goes to another deployment",
             want->code != NULL ? want->code : "no code");
    if (rc == 0)
        rc = batches_note(store, want->id, "moving", want->node, detail);
    return rc == 0 ? work_follow(store, want->id) : rc;
}

/* ---- it is not moved ---- */

static int set_over(struct store *store, const char *id, const char *why, const char *node)
{
    struct value values[] = {value_text(id), value_int(0)};
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);

    values[1] = value_int(now_ms);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "update @batch_part set moving = 2, move_nonce = null, next_at = $2,"
                      " claim_node = null, claim_until = 0 where batch_id = $1",
                      values, NULL, NULL);
    if (rc == 0)
        rc = batches_note(store, id, "not moved", node, why);
    return rc == 0 ? work_follow(store, id) : rc;
}

/* How it is shown where no provider can say it. */
static int keep_shown(struct store *store, const char *id, const char *text)
{
    struct value values[] = {value_text(id), value_text(text), value_int(STORE_MOVED)};

    return WORK_RUN(store,
                    "update @batch set shown = $2, mode = $3, id_account = coalesce(id_account,"
                    " (select account from @batch_part p where p.batch_id = id and p.part = 0)),"
                    " id_native = coalesce(id_native, (select native from @batch_part p"
                    " where p.batch_id = id and p.part = 0)) where id = $1",
                    values, NULL, NULL);
}

/* Its client wants no more of it, and nothing is made: it has ended.
 * @param text  how it is shown from now on; NULL: as was said when it was cancelled */
static int end_as_cancelled(struct store *store, const struct store_claimer *by,
                            const struct store_native *of, const char *id, const char *text)
{
    static const struct store_usage none = {.model = "", .source = "none"};
    struct store_seen seen = {.account = of->account,
                              .native = of->native,
                              .status = "cancelled",
                              .measured = true,
                              .usage = &none,
                              .num_usage = 1,
                              .tell = true};
    enum store_seen_end ended;
    int rc = text != NULL ? keep_shown(store, id, text) : 0;

    if (rc == 0)
        rc = set_over(store, id, "its client has cancelled it", by->node);
    if (rc == 0)
        rc = batches_see(store, by, &seen, &ended);
    return rc == 0 ? work_follow(store, id) : rc;
}

/* ---- its create ---- */

static int on_reserved(void *arg, const struct row *row)
{
    (void)row;
    *(bool *)arg = true;
    return 0;
}

static int is_reserved(struct store *store, const char *nonce, bool *reserved)
{
    struct value values[] = {value_text(nonce), value_int(FLEET_RESERVED)};

    *reserved = false;
    return WORK_RUN(store, "select id from @reservation where nonce = $1 and state = $2", values,
                    on_reserved, reserved);
}

static int begin(struct store *store, const struct store_claimer *by, const struct store_native *of,
                 const char *nonce, uint32_t to, enum store_move_end *end)
{
    struct moving m;
    int64_t now_ms = 0;
    bool reserved;
    int rc = read_at(store, of, &m);

    *end = STORE_MOVE_STALE;
    if (rc != 0 || !is_claimers(&m, by) || is_in_doubt(&m))
        return rc;
    if (m.cancelling)
        return end_as_cancelled(store, by, of, m.id, NULL);
    rc = is_reserved(store, nonce, &reserved);
    if (rc != 0 || !reserved)
        return rc;
    rc = work_now(store, &now_ms);
    if (rc == 0) {
        struct value values[] = {value_text(m.id), value_text(nonce), value_int(to),
                                 value_int(now_ms + STORE_CLAIM_MS)};

        rc = WORK_RUN(store,
                      "update @batch_part set move_nonce = $2, move_to = $3, claim_until = $4"
                      " where batch_id = $1",
                      values, NULL, NULL);
    }
    if (rc == 0)
        *end = STORE_MOVE_TAKEN;
    return rc;
}

int store_move_begin(struct store *store, const struct store_claimer *by,
                     const struct store_native *of, const char *nonce, uint32_t to,
                     enum store_move_end *end)
{
    int rc = work_begin(store, WORK_WRITE);

    *end = STORE_MOVE_STALE;
    return rc == 0 ? work_end(store, begin(store, by, of, nonce, to, end)) : rc;
}

static int wait_for(struct store *store, const struct store_claimer *by,
                    const struct store_native *of, const char *nonce, uint32_t wait_ms, bool failed,
                    enum store_move_end *end)
{
    struct moving m;
    int64_t now_ms = 0;
    int rc = read_at(store, of, &m);
    bool clears = nonce != NULL && strcmp(m.nonce, nonce) == 0;

    *end = STORE_MOVE_STALE;
    if (rc != 0 || !is_claimers(&m, by))
        return rc;
    if (m.cancelling && !is_in_doubt_but(&m, nonce)) {
        *end = STORE_MOVE_TAKEN;
        return end_as_cancelled(store, by, of, m.id, NULL);
    }
    rc = work_now(store, &now_ms);
    if (rc == 0) {
        struct value values[] = {value_text(m.id), value_int(now_ms + wait_ms), value_int(clears),
                                 value_int(failed)};

        rc = WORK_RUN(store,
                      "update @batch_part set next_at = $2, claim_node = null, claim_until = 0,"
                      " move_nonce = case when $3 = 1 then null else move_nonce end,"
                      " move_tries = move_tries + cast($4 as bigint) where batch_id = $1",
                      values, NULL, NULL);
    }
    if (rc == 0)
        *end = STORE_MOVE_TAKEN;
    return rc;
}

int store_move_wait(struct store *store, const struct store_claimer *by,
                    const struct store_native *of, const char *nonce, uint32_t wait_ms, bool failed,
                    enum store_move_end *end)
{
    int rc = work_begin(store, WORK_WRITE);

    *end = STORE_MOVE_STALE;
    return rc == 0 ? work_end(store, wait_for(store, by, of, nonce, wait_ms, failed, end)) : rc;
}

/* ---- nor is it any more ---- */

static int over(struct store *store, const struct store_claimer *by, const struct store_native *of,
                const char *nonce, const char *why, enum store_move_end *end)
{
    struct moving m;
    int rc = read_at(store, of, &m);

    *end = STORE_MOVE_STALE;
    if (rc != 0 || !is_claimers(&m, by) || is_in_doubt_but(&m, nonce))
        return rc;
    rc = m.cancelling ? end_as_cancelled(store, by, of, m.id, NULL)
                      : set_over(store, m.id, why, by->node);
    if (rc == 0)
        *end = STORE_MOVE_TAKEN;
    return rc;
}

int store_move_over(struct store *store, const struct store_claimer *by,
                    const struct store_native *of, const char *nonce, const char *why,
                    enum store_move_end *end)
{
    int rc = work_begin(store, WORK_WRITE);

    *end = STORE_MOVE_STALE;
    return rc == 0 ? work_end(store, over(store, by, of, nonce, why, end)) : rc;
}

/* ---- it is made ---- */

/* An endpoint of its own is named by the first reservation. */
static int keep_hook(struct store *store, const char *id)
{
    struct value values[] = {value_text(id)};

    return WORK_RUN(store,
                    "update @hook set batch_id = $1 where batch_id in"
                    " (select '" STORE_HOOK_INTENT
                    "' || b.reservation from @batch b where b.id = $1"
                    " union all select '" STORE_HOOK_INTENT "' || r.id from @reservation r"
                    " where r.batch_id = $1)",
                    values, NULL, NULL);
}

static int write_place(struct store *store, const char *id, const struct store_moved *moved,
                       uint32_t first_ms, int64_t now_ms)
{
    struct value values[] = {value_text(id),
                             value_int(moved->at.account),
                             value_text(moved->at.native),
                             value_int(moved->deployment),
                             value_int((int64_t)moved->tokens),
                             value_int(first_ms),
                             value_int(now_ms + first_ms)};
    struct value of[] = {value_text(id), value_text(moved->reservation),
                         value_time(moved->expires_ms)};
    int rc =
        WORK_RUN(store,
                 "update @batch_part set account = $2, native = $3, deployment = $4,"
                 " tokens = case when $5 > 0 then $5 else tokens end, poll_ms = $6,"
                 " next_at = $7, moving = 0, move_nonce = null, move_tries = 0, move_to = case when"
                 " (select b.cancelling from @batch b where b.id = batch_id) is null then 0"
                 " else 1 end,"
                 " missing = 0, claim_node = null, claim_until = 0, output_file = null,"
                 " error_file = null, input_file = null, status = case when (select b.cancelling "
                 "from @batch b"
                 " where b.id = batch_id) is null then 'validating' else 'cancelling' end"
                 " where batch_id = $1",
                 values, NULL, NULL);

    return rc == 0 ? WORK_RUN(store,
                              "update @batch set moves = moves + 1, reservation = $2,"
                              " expires = coalesce($3, expires), code = null where id = $1",
                              of, NULL, NULL)
                   : rc;
}

static int made(struct store *store, const char *node, const struct store_moved *moved,
                uint32_t first_ms, bool *taken)
{
    struct value values[] = {value_text(moved->nonce)};
    char detail[96];
    struct moving m;
    int64_t now_ms = 0;
    int rc = read_moving(store, "p.move_nonce = $1", values, 1, &m);

    *taken = rc == 0 && m.there;
    if (rc != 0 || !m.there)
        return rc;
    rc = work_now(store, &now_ms);
    if (rc == 0)
        rc = keep_hook(store, m.id);
    if (rc == 0)
        rc = deletions_leave(store, m.id, now_ms);
    if (rc == 0)
        rc = write_place(store, m.id, moved, first_ms, now_ms);
    snprintf(detail, sizeof(detail), "to another deployment, for the %s time",
             m.moves == 0   ? "first"
             : m.moves == 1 ? "second"
                            : "third");
    if (rc == 0)
        rc = batches_note(store, m.id, "moved", node, detail);
    return rc == 0 ? work_follow(store, m.id) : rc;
}

int store_move_made(struct store *store, const char *node, const struct store_moved *moved,
                    uint32_t first_ms, bool *taken)
{
    int rc = work_begin(store, WORK_WRITE);

    assert(moved->nonce != NULL && moved->at.native != NULL);
    *taken = false;
    return rc == 0 ? work_end(store, made(store, node, moved, first_ms, taken)) : rc;
}

/* ---- its client cancels it ---- */

/* Where it comes to be, if it does; else by whoever knows that nothing was made. */
static int cancel_later(struct store *store, const struct store_claimer *by, const char *id,
                        const char *text)
{
    struct value values[] = {value_text(id), value_int(0)};
    int64_t now_ms = 0;
    int rc = work_now(store, &now_ms);

    values[1] = value_int(now_ms);
    if (rc == 0)
        rc = keep_shown(store, id, text);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "update @batch set status = 'cancelling', cancelling ="
                      " coalesce(cancelling, $2) where id = $1",
                      values, NULL, NULL);
    if (rc == 0)
        rc = batches_note(store, id, "status", by->node, "cancelling");
    return rc == 0 ? work_follow(store, id) : rc;
}

static int cancel(struct store *store, const struct store_claimer *by,
                  const struct store_native *of, const char *text, enum store_move_end *end)
{
    struct moving m;
    int rc = read_at(store, of, &m);

    *end = STORE_MOVE_STALE;
    if (rc != 0 || !m.there || m.open != STORE_RUNS || m.state == STORE_MOVE_OVER)
        return rc;
    *end = is_in_doubt(&m) ? STORE_MOVE_SENT : STORE_MOVE_TAKEN;
    return *end == STORE_MOVE_SENT ? cancel_later(store, by, m.id, text)
                                   : end_as_cancelled(store, by, of, m.id, text);
}

int store_move_cancel(struct store *store, const struct store_claimer *by,
                      const struct store_native *of, const char *text, enum store_move_end *end)
{
    int rc = work_begin(store, WORK_WRITE);

    *end = STORE_MOVE_STALE;
    return rc == 0 ? work_end(store, cancel(store, by, of, text, end)) : rc;
}
