/* See intents.h. */
#include "intents.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/log.h"
#include "hook_rows.h"
#include "intents_wire.h"
#include "leases.h"
#include "outbox.h"
#include "shares.h"

#define CALLS_A_TURN    FLEET_AT_ONCE
#define OUT_A_TURN      128  /* messages of the outbox */
#define AGAIN_A_TURN    128  /* messages that are said again */
#define LOOK_MS         1000 /* for an outbox that another keeper has left */
/* A keeper of the generation before still holds the file: it is looked at again after a gap, and
 * waited for until so long before an asker's deadline */
#define LOCKED_GAP_MS   50
#define LOCKED_SPARE_MS 500

/* A call that waits for its turn. */
struct waiting {
    STAILQ_ENTRY(waiting) link;
    struct call *call; /* owned until it is answered */
    uint64_t since_us;
};

STAILQ_HEAD(queue, waiting);

/* A message that the database has, to be said again. */
struct said {
    TAILQ_ENTRY(said) link;
    uint64_t at_ms;
    enum keeper_kind kind;
    size_t len;
    char bytes[];
};

struct intents {
    struct intents_options of;
    struct queue drops, lives, asks; /* owned */
    size_t num_waiting;
    struct loop_timer turn;
    struct leases leases;  /* owned */
    struct outbox *outbox; /* owned */
    bool opened;
    uint64_t looked_ms;               /* for what other keepers left */
    TAILQ_HEAD(said_list, said) said; /* owned; the oldest first */
    struct said *again_from;          /* from here on it is to be said again, while `again` */
    size_t said_bytes;
    bool told;         /* the log says that the database is away */
    bool again;        /* the database may be another one: what it lacks is said again */
    uint64_t sessions; /* of the store, as they were seen last */
};

static struct database_words *words_of(const struct intents *t)
{
    return &t->of.inherited->shared->database;
}

/* --- what the database has --- */

/* @return what was said after it */
static struct said *forget_said(struct intents *t, struct said *said)
{
    struct said *next = TAILQ_NEXT(said, link);

    TAILQ_REMOVE(&t->said, said, link);
    assert(TAILQ_FIRST(&t->said) != said);
    if (t->again_from == said)
        t->again_from = next;
    t->said_bytes -= said->len;
    free(said);
    return next;
}

static void remember(struct intents *t, enum keeper_kind kind, const void *bytes, size_t len)
{
    uint64_t now_ms = loop_now_ms(t->of.loop);
    struct said *said = TAILQ_FIRST(&t->said);

    while (said != NULL &&
           (now_ms > said->at_ms + INTENTS_AGAIN_MS || t->said_bytes + len > INTENTS_AGAIN_BYTES))
        said = forget_said(t, said);
    said = malloc(sizeof(*said) + len);
    if (said == NULL)
        return; /* it counts in a failover alone */
    *said = (struct said){.at_ms = now_ms, .kind = kind, .len = len};
    memcpy(said->bytes, bytes, len);
    TAILQ_INSERT_TAIL(&t->said, said, link);
    t->said_bytes += len;
}

/* --- one message for the database --- */

/* What the database will never take is not said again. */
static bool is_hopeless(int rc)
{
    return rc == ERR_INVALID || rc == ERR_SYNTAX || rc == ERR_DUPLICATE;
}

static int put_intent(struct intents *t, const char *bytes, size_t len)
{
    struct wire_intent wire;
    struct fleet_intent intent;
    int rc = wire_intent_read(bytes, len, &wire);

    if (rc != 0)
        return rc;
    intents_from_wire(&wire, t->of.inherited->config, &intent);
    intent.of_lease = true;
    rc = store_fleet_put(t->of.store, fleet_me(t->of.fleet), &intent, 1);
    return rc == 0 ? hook_rows_expect(t->of.store, &wire) : rc;
}

/* A batch of which there is no reservation was sent without one, while the database was away: from
 * now on it counts. @return false: it was an upload, which reserves nothing */
static bool is_unreserved(const struct wire_live *wire, struct fleet_intent *intent)
{
    intents_of_live(wire, intent);
    return wire->kind == WIRE_CREATE && intent->id != NULL;
}

static int put_unreserved(struct intents *t, const struct fleet_intent *intent,
                          struct fleet_live *live)
{
    const struct fleet_me *me = fleet_me(t->of.fleet);
    int rc = store_fleet_put(t->of.store, me, intent, 1);

    live->of.id = intent->id;
    return rc == 0 ? store_fleet_live(t->of.store, me, live, 1, NULL) : rc;
}

/* @param alone  NULL: it is one transaction after the other. Else it is one of many in a transaction,
 *               and this is written: it has to lock scopes, so nothing is done, and it is to be said
 *               alone */
static int put_live(struct intents *t, const char *bytes, size_t len, bool *alone)
{
    const struct fleet_me *me = fleet_me(t->of.fleet);
    struct wire_live wire;
    struct fleet_live live;
    struct fleet_intent intent;
    bool missing = false;
    int rc = wire_live_read(bytes, len, &wire);

    if (rc != 0)
        return rc;
    intents_live_from_wire(&wire, &live);
    rc = alone != NULL ? store_fleet_live_among(t->of.store, me, &live, &missing, alone)
                       : store_fleet_live(t->of.store, me, &live, 1, &missing);
    missing = rc == 0 && missing && is_unreserved(&wire, &intent);
    if (alone != NULL)
        *alone = rc == 0 && (*alone || missing);
    if (alone != NULL && *alone)
        return 0;
    if (missing)
        rc = put_unreserved(t, &intent, &live);
    return rc == 0 && t->of.batches != NULL ? batches_live(t->of.batches, &wire, alone) : rc;
}

static int put_drop(struct intents *t, const char *bytes, size_t len)
{
    struct wire_drop wire;
    struct fleet_drop drop;
    int rc = wire_drop_read(bytes, len, &wire);

    if (rc != 0)
        return rc;
    intents_drop_from_wire(&wire, &drop);
    return store_fleet_drop(t->of.store, fleet_me(t->of.fleet), &drop, 1);
}

static int put_message(struct intents *t, enum keeper_kind kind, const char *bytes, size_t len)
{
    return kind == KEEPER_INTENT ? put_intent(t, bytes, len)
           : kind == KEEPER_LIVE ? put_live(t, bytes, len, NULL)
                                 : put_drop(t, bytes, len);
}

/* --- whether the database is there --- */

static int note(struct intents *t, int rc)
{
    bool failed = rc != 0 && !is_hopeless(rc);

    if (failed) {
        t->again = true;
        t->again_from = NULL;
    }
    if (rc == ERR_NOT_FOUND) { /* the database is there, and this node's epoch is over */
        fleet_is_over(t->of.fleet);
        return rc;
    }
    if (!failed && t->told)
        log_info("journal: the database is back");
    t->told = t->told && failed;
    return rc;
}

static void tell_failing(struct intents *t)
{
    const char *why = store_why(t->of.store);

    if (!t->told)
        log_warn("journal: the database is away (%s): creates of keys and teams with limits go on "
                 "within this node's share",
                 why[0] != '\0' ? why : "what waits for it goes first");
    t->told = true;
}

/* Messages of the outbox go in their order: a transaction each, for another one may stand in the way
 * of one alone. */
static int empty_outbox(struct intents *t)
{
    struct strbuf message = STRBUF_INIT;
    uint32_t kind;
    int rc = 0;

    for (int i = 0; i < OUT_A_TURN && rc == 0; i++) {
        rc = outbox_read(t->outbox, &kind, &message);
        if (rc == ERR_NOT_FOUND) {
            rc = 0;
            break;
        }
        if (rc == 0)
            rc = note(t, put_message(t, (enum keeper_kind)kind, strbuf_str(&message), message.len));
        if (rc == 0)
            remember(t, (enum keeper_kind)kind, strbuf_str(&message), message.len);
        if (is_hopeless(rc)) {
            log_error("journal: a message that waited for the database is not taken by it: %s",
                      store_why(t->of.store));
            rc = 0;
        }
        if (rc == 0)
            outbox_keep(t->outbox);
        else
            outbox_rewind(t->outbox);
    }
    strbuf_deinit(&message);
    store_relaxed(&words_of(t)->spool_bytes, outbox_bytes(t->outbox));
    return rc;
}

static int has_intent(struct intents *t, const struct said *said, bool *there)
{
    struct wire_intent wire;

    *there = false;
    if (wire_intent_read(said->bytes, said->len, &wire) != 0 || *wire.id == '\0')
        return 0;
    return store_fleet_has(t->of.store, wire.id, there);
}

/* Whatever a replica has not heard is the end of what was written: from the newest create on that
 * the database has, it has all that came before. */
static int find_lost(struct intents *t)
{
    struct said *said;
    bool there = false;
    int rc = 0;

    t->again_from = NULL;
    TAILQ_FOREACH_REVERSE(said, &t->said, said_list, link)
    {
        if (said->kind == KEEPER_INTENT)
            rc = has_intent(t, said, &there);
        if (rc != 0 || there)
            break;
        t->again_from = said;
    }
    return rc;
}

/* @return 0: all of it is said, or some of it */
static int say_again(struct intents *t)
{
    int rc = t->again_from == NULL ? find_lost(t) : 0;

    for (int i = 0; rc == 0 && i < AGAIN_A_TURN && t->again_from != NULL; i++) {
        const struct said *said = t->again_from;

        rc = put_message(t, said->kind, said->bytes, said->len);
        if (is_hopeless(rc))
            rc = 0;
        if (rc == 0)
            t->again_from = TAILQ_NEXT(t->again_from, link);
    }
    t->again = t->again_from != NULL;
    return note(t, rc);
}

static int open_outbox(struct intents *t)
{
    if (t->opened &&
        (outbox_bytes(t->outbox) > 0 || loop_now_ms(t->of.loop) < t->looked_ms + LOOK_MS))
        return 0;
    t->looked_ms = loop_now_ms(t->of.loop);
    if (outbox_open(t->outbox) != 0) {
        log_error("journal: %s cannot be opened: what is granted while the database is away would "
                  "be lost",
                  t->of.outbox);
        return ERR_IO;
    }
    t->opened = true;
    return 0;
}

/* A server that took the place of another one may have lost the end of what that one had, also when
 * nothing was asked of either meanwhile, or others than this file were told. */
static void look_who_answers(struct intents *t)
{
    uint64_t sessions = store_sessions(t->of.store);

    if (sessions == t->sessions)
        return;
    t->sessions = sessions;
    t->again = true;
    t->again_from = NULL;
    leases_are_due(&t->leases, fleet_me(t->of.fleet));
}

/* @return 0: what is asked now goes to the database */
static int reach(struct intents *t)
{
    int rc = fleet_join(t->of.fleet);

    (void)open_outbox(t);
    if (rc != 0)
        return note(t, rc);
    look_who_answers(t);
    if (t->again)
        rc = say_again(t);
    if (rc == 0 && !t->again && outbox_bytes(t->outbox) > 0)
        rc = empty_outbox(t);
    return rc == 0 && (t->again || outbox_bytes(t->outbox) > 0) ? ERR_FULL : rc;
}

/* --- answers --- */

static void answer(struct intents *t, struct waiting *w, unsigned status, const struct strbuf *body)
{
    call_answer(&w->call, status, body != NULL ? body->data : NULL, body != NULL ? body->len : 0);
    t->num_waiting--;
    free(w);
}

static void answer_verdict(struct intents *t, struct waiting *w, const struct wire_verdict *verdict)
{
    struct strbuf body = STRBUF_INIT;
    uint64_t us = clock_now_us() - w->since_us;
    int rc = wire_verdict_write(verdict, &body);

    database_reserved(words_of(t), us);
    answer(t, w, rc == 0 ? WIRE_TAKEN : WIRE_LATER, rc == 0 ? &body : NULL);
    strbuf_deinit(&body);
}

/* --- told --- */

static bool keep_on_disk(struct intents *t, const struct waiting *w)
{
    return t->opened && outbox_put(t->outbox, w->call->kind, w->call->bytes, w->call->len) == 0;
}

/* All that was put is on the disk before anybody hears of it. */
static void answer_kept(struct intents *t, struct queue *kept)
{
    bool there = t->opened && outbox_sync(t->outbox) == 0;
    struct waiting *w;

    while ((w = STAILQ_FIRST(kept)) != NULL) {
        STAILQ_REMOVE_HEAD(kept, link);
        answer(t, w, there ? WIRE_TAKEN : WIRE_LATER, NULL);
    }
    store_relaxed(&words_of(t)->spool_bytes, outbox_bytes(t->outbox));
}

/* A message that is none is dropped, whether the database is there or not. */
static bool is_readable(const struct call *call)
{
    struct wire_live live;
    struct wire_drop drop;

    return call->kind == KEEPER_LIVE ? wire_live_read(call->bytes, call->len, &live) == 0
                                     : wire_drop_read(call->bytes, call->len, &drop) == 0;
}

static void keep_told(struct intents *t, struct queue *queue)
{
    struct queue kept = STAILQ_HEAD_INITIALIZER(kept);
    struct waiting *w;

    if (!STAILQ_EMPTY(queue))
        tell_failing(t);
    while ((w = STAILQ_FIRST(queue)) != NULL) {
        STAILQ_REMOVE_HEAD(queue, link);
        if (!is_readable(w->call))
            answer(t, w, WIRE_UNREADABLE, NULL);
        else if (keep_on_disk(t, w))
            STAILQ_INSERT_TAIL(&kept, w, link);
        else
            answer(t, w, WIRE_LATER, NULL);
    }
    answer_kept(t, &kept);
}

/* The first of a queue is done with. */
static void answer_first(struct intents *t, struct queue *queue, unsigned status)
{
    struct waiting *w = STAILQ_FIRST(queue);

    STAILQ_REMOVE_HEAD(queue, link);
    if (status == WIRE_TAKEN)
        remember(t, w->call->kind, w->call->bytes, w->call->len);
    answer(t, w, status, NULL);
}

/* One that the database does not take does not keep the others from it.
 * @param rc  of the database; @return 0, or what every other one would meet, too */
static int status_of(const struct intents *t, int rc, unsigned *status)
{
    *status = rc == 0 ? WIRE_TAKEN : is_hopeless(rc) ? WIRE_UNREADABLE : WIRE_LATER;
    if (is_hopeless(rc))
        log_error("journal: what came of a create is not taken: %s",
                  rc == ERR_SYNTAX ? "it cannot be read" : store_why(t->of.store));
    return is_hopeless(rc) ? 0 : rc;
}

/* @param alone  as of put_live() */
static int say_live(struct intents *t, const struct call *call, bool *alone, unsigned *status)
{
    int rc = is_readable(call) ? put_live(t, call->bytes, call->len, alone) : ERR_SYNTAX;

    return status_of(t, rc, status);
}

/* What waits is one transaction, and answered when that is committed. What it says is idempotent:
 * when it fails all of it is kept.
 * @param alone  those that have to be said alone are put there */
static int tell_lives_together(struct intents *t, struct queue *alone)
{
    unsigned statuses[CALLS_A_TURN];
    bool apart[CALLS_A_TURN] = {false};
    size_t num = 0;
    struct waiting *w;
    int rc = STAILQ_EMPTY(&t->lives) ? 0 : store_batch_begin(t->of.store), end;

    if (rc != 0 || STAILQ_EMPTY(&t->lives))
        return rc;
    STAILQ_FOREACH(w, &t->lives, link)
    {
        if (num == CALLS_A_TURN || rc != 0)
            break;
        rc = say_live(t, w->call, &apart[num], &statuses[num]);
        num++;
    }
    end = store_batch_end(t->of.store);
    rc = rc != 0 ? rc : end;
    for (size_t i = 0; i < num && rc == 0; i++) {
        w = STAILQ_FIRST(&t->lives);
        if (!apart[i]) {
            answer_first(t, &t->lives, statuses[i]);
            continue;
        }
        STAILQ_REMOVE_HEAD(&t->lives, link);
        STAILQ_INSERT_TAIL(alone, w, link);
    }
    return rc;
}

/* Whoever locks scopes does so before anything else: an end of a batch, which has locked its scopes,
 * would wait for the row of a live in the same transaction, and that for the scopes. */
static int tell_lives(struct intents *t)
{
    struct queue alone = STAILQ_HEAD_INITIALIZER(alone);
    int rc = tell_lives_together(t, &alone);
    unsigned status;

    while (rc == 0 && !STAILQ_EMPTY(&alone)) {
        rc = say_live(t, STAILQ_FIRST(&alone)->call, NULL, &status);
        if (rc == 0)
            answer_first(t, &alone, status);
    }
    STAILQ_CONCAT(&alone, &t->lives); /* what is left goes before the others */
    STAILQ_CONCAT(&t->lives, &alone);
    return rc;
}

/* Drops lock scopes, in an order of each: several are one call. */
static int say_drops(struct intents *t, const struct fleet_drop *drops, size_t num)
{
    int rc = store_fleet_drop(t->of.store, fleet_me(t->of.fleet), drops, num);
    unsigned status;

    if (num > 1 && is_hopeless(rc))
        return rc; /* by one of them */
    rc = status_of(t, rc, &status);
    for (size_t i = 0; i < num && rc == 0; i++)
        answer_first(t, &t->drops, status);
    return rc;
}

static int tell_drops(struct intents *t)
{
    static struct wire_drop wires[CALLS_A_TURN]; /* too much for a stack; one process */
    struct fleet_drop drops[CALLS_A_TURN];
    struct waiting *w, *next;
    size_t num = 0;
    int rc;

    for (w = STAILQ_FIRST(&t->drops); w != NULL && num < CALLS_A_TURN; w = next) {
        next = STAILQ_NEXT(w, link);
        if (wire_drop_read(w->call->bytes, w->call->len, &wires[num]) == 0) {
            intents_drop_from_wire(&wires[num], &drops[num]);
            num++;
            continue;
        }
        STAILQ_REMOVE(&t->drops, w, waiting, link);
        answer(t, w, WIRE_UNREADABLE, NULL);
    }
    rc = num > 0 ? say_drops(t, drops, num) : 0;
    if (!is_hopeless(rc))
        return rc;
    rc = 0; /* one that will never be taken must not keep others: then each one is alone */
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = say_drops(t, &drops[i], 1);
    return rc;
}

/* --- asked --- */

/* What waits for an answer, read. Nobody waits for one whose deadline is over, and a grant that
 * nobody hears of would stay. */
struct asked {
    struct waiting *w;
    struct wire_intent wire;
    char *sealed; /* owned; the secret of its batch's own endpoint; NULL: it has none */
};

static bool has_hook(const struct wire_intent *wire)
{
    return wire->hook_url[0] != '\0';
}

/* Before anything keeps it. */
static bool seal_secret(const struct intents *t, struct asked *asked)
{
    asked->sealed = NULL;
    return !has_hook(&asked->wire) ||
           (t->of.vault != NULL && hook_rows_seal(t->of.vault, &asked->wire, &asked->sealed) == 0);
}

/* During a reload the keeper before ends in a moment: whoever can wait need not hear that the database
 * is away. */
static bool can_wait(const struct intents *t, const struct waiting *w)
{
    return store_state(t->of.store) == STORE_LOCKED &&
           loop_now_ms(t->of.loop) + LOCKED_SPARE_MS < w->call->deadline_ms;
}

static bool all_can_wait(const struct intents *t)
{
    const struct queue *queues[] = {&t->drops, &t->lives, &t->asks};
    const struct waiting *w;

    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
        STAILQ_FOREACH(w, queues[i], link)
    if (!can_wait(t, w))
        return false;
    return true;
}

/* @param there  false: of those who ask, the ones who cannot wait until it is */
static size_t take_asked(struct intents *t, struct asked *asked, bool there)
{
    struct waiting *w = STAILQ_FIRST(&t->asks), *next;
    size_t num = 0;

    for (; num < CALLS_A_TURN && w != NULL; w = next) {
        next = STAILQ_NEXT(w, link);
        if (!there && can_wait(t, w))
            continue;
        STAILQ_REMOVE(&t->asks, w, waiting, link);
        if (!call_is_wanted(w->call, loop_now_ms(t->of.loop))) {
            answer(t, w, WIRE_LATER, NULL);
        } else if (wire_intent_read(w->call->bytes, w->call->len, &asked[num].wire) != 0 ||
                   !seal_secret(t, &asked[num])) {
            answer(t, w, WIRE_UNREADABLE, NULL);
        } else {
            asked[num++].w = w;
        }
    }
    return num;
}

static void price_all(struct intents *t, struct asked *asked, size_t num)
{
    uint64_t now_ms = loop_now_ms(t->of.loop);

    for (size_t i = 0; i < num; i++) {
        if (t->of.pricing != NULL)
            asked[i].wire.nano = pricing_intent(t->of.pricing, &asked[i].wire, now_ms);
        shares_note(t->leases.shares, &asked[i].wire, now_ms);
    }
}

static void tell_away(struct intents *t, struct waiting *w)
{
    const struct wire_verdict verdict = {.end = WIRE_DOWN,
                                         .wait_ms = INTENTS_AWAY_MS,
                                         .answer = {.id = "", .nonce = "", .body = ""}};

    answer_verdict(t, w, &verdict);
}

/* Whether it may not go before it stands on the disk. */
static bool has_to_be_kept(const struct asked *asked)
{
    return shares_are_needed(&asked->wire) || has_hook(&asked->wire);
}

/* By this node alone: it stands on the disk first. One without limits needs no share; should the
 * disk be full it is counted nowhere but in the ledger. */
static bool grant_alone(struct intents *t, const struct asked *asked)
{
    struct strbuf bytes = STRBUF_INIT;
    bool bound = shares_are_needed(&asked->wire), kept = false;

    if (bound && !shares_take(t->leases.shares, &asked->wire, loop_now_ms(t->of.loop)))
        return false;
    if (wire_intent_write(&asked->wire, &bytes) == 0 && t->opened)
        kept = outbox_put(t->outbox, KEEPER_INTENT, bytes.data, bytes.len) == 0;
    strbuf_deinit(&bytes);
    return kept || !has_to_be_kept(asked);
}

static void show_leases(const struct intents *t)
{
    leases_show(&t->leases, fleet_me(t->of.fleet), words_of(t), loop_now_ms(t->of.loop));
}

/* @param put  the database was asked for them before, and may have granted them: then it has taken
 *             them out of what this node may grant alone, which must not have more than that */
static void grant_all_alone(struct intents *t, struct asked *asked, size_t num, bool put)
{
    const struct wire_verdict granted = {
        .end = WIRE_GRANTED, .local = 1, .answer = {.id = "", .nonce = "", .body = ""}};
    bool there, may[CALLS_A_TURN];

    tell_failing(t);
    for (size_t i = 0; i < num; i++) {
        may[i] = grant_alone(t, &asked[i]);
        if (!may[i] && put && fleet_me(t->of.fleet)->holder != NULL)
            shares_spend(t->leases.shares, &asked[i].wire);
    }
    there = t->opened && outbox_sync(t->outbox) == 0;
    store_relaxed(&words_of(t)->spool_bytes, outbox_bytes(t->outbox));
    show_leases(t);
    for (size_t i = 0; i < num; i++) {
        if (!may[i] || (!there && has_to_be_kept(&asked[i]))) {
            tell_away(t, asked[i].w);
            continue;
        }
        add_relaxed(&words_of(t)->outage_grants, 1);
        answer_verdict(t, asked[i].w, &granted);
    }
}

static void tell_verdict(struct intents *t, struct asked *asked, const struct fleet_answer *answer)
{
    struct strbuf bytes = STRBUF_INIT;
    struct wire_verdict verdict;

    if (answer->verdict == FLEET_OVER) { /* it was dropped meanwhile: nobody waits */
        tell_away(t, asked->w);
        return;
    }
    intents_verdict_of(answer, fleet_me(t->of.fleet)->epoch, &verdict);
    if (answer->verdict == FLEET_GRANTED) {
        shares_spend(t->leases.shares, &asked->wire);
        if (wire_intent_write(&asked->wire, &bytes) == 0) /* with what it holds of budgets */
            remember(t, KEEPER_INTENT, bytes.data, bytes.len);
        strbuf_deinit(&bytes);
    }
    answer_verdict(t, asked->w, &verdict);
}

static int decide_all(struct intents *t, struct asked *asked, size_t num)
{
    static struct fleet_intent intents[CALLS_A_TURN]; /* too much for a stack; one process */
    static struct fleet_answer answers[CALLS_A_TURN];
    int rc = 0;

    for (size_t i = 0; i < num && rc == 0; i++) {
        intents_from_wire(&asked[i].wire, t->of.inherited->config, &intents[i]);
        rc = hook_rows_expect(t->of.store, &asked[i].wire);
    }
    if (rc != 0)
        return rc;
    rc = store_fleet_intents(t->of.store, fleet_me(t->of.fleet), intents, num, answers);
    for (size_t i = 0; i < num && rc == 0; i++) {
        tell_verdict(t, &asked[i], &answers[i]);
        fleet_answer_deinit(&answers[i]);
    }
    return rc;
}

/* One that the database will never take must not keep others from it: then each one is alone. */
static int decide_apart(struct intents *t, struct asked *asked, size_t num)
{
    int rc = 0;

    for (size_t i = 0; i < num; i++) {
        rc = rc == 0 ? decide_all(t, &asked[i], 1) : rc;
        if (is_hopeless(rc)) {
            log_error("journal: a create is not taken by the database: %s", store_why(t->of.store));
            answer(t, asked[i].w, WIRE_UNREADABLE, NULL);
            rc = 0;
        } else if (rc != 0) {
            grant_all_alone(t, &asked[i], 1, true);
        }
    }
    return rc;
}

/* The file was there, and is another keeper's now: who can wait for it asks again at a coming turn.
 * @return how many cannot, at the front of `asked` */
static size_t ask_again_later(struct intents *t, struct asked *asked, size_t num)
{
    size_t now = 0;

    for (size_t i = num; i-- > 0;)
        if (can_wait(t, asked[i].w)) {
            STAILQ_INSERT_HEAD(&t->asks, asked[i].w, link);
            free(asked[i].sealed); /* it is sealed again */
            asked[i].w = NULL;
        }
    for (size_t i = 0; i < num; i++)
        if (asked[i].w != NULL)
            asked[now++] = asked[i];
    return now;
}

static void ask_all(struct intents *t, bool there)
{
    static struct asked asked[CALLS_A_TURN]; /* too much for a stack; one process */
    size_t num = take_asked(t, asked, there);
    int rc;

    if (num == 0)
        return;
    price_all(t, asked, num);
    rc = there ? note(t, decide_all(t, asked, num)) : ERR_IO;
    if (rc == ERR_NOT_FOUND && reach(t) == 0) /* its epoch was over: now it has another one */
        rc = note(t, decide_all(t, asked, num));
    if (is_hopeless(rc))
        (void)note(t, decide_apart(t, asked, num));
    else if (rc != 0 && (num = ask_again_later(t, asked, num)) > 0)
        grant_all_alone(t, asked, num, there);
    for (size_t i = 0; i < num; i++)
        free(asked[i].sealed);
}

/* --- turns --- */

/* What frees comes before what asks. */
static void on_turn(struct loop_timer *timer)
{
    struct intents *t = timer->arg;
    bool there = reach(t) == 0;

    if (there)
        there = note(t, tell_drops(t)) == 0;
    if (there)
        there = note(t, tell_lives(t)) == 0;
    if (!there && !all_can_wait(t)) {
        keep_told(t, &t->drops);
        keep_told(t, &t->lives);
    }
    ask_all(t, there);
    if (t->num_waiting > 0) /* cannot fail: its slot was just freed */
        (void)loop_timer_start(t->of.loop, &t->turn, all_can_wait(t) ? LOCKED_GAP_MS : 0);
}

static void on_call(void *arg, struct call *call)
{
    struct intents *t = arg;
    struct waiting *w = malloc(sizeof(*w));

    if (w == NULL || loop_timer_soon(t->of.loop, &t->turn) != 0) {
        free(w);
        call_answer(&call, WIRE_LATER, NULL, 0);
        return;
    }
    *w = (struct waiting){.call = call, .since_us = clock_now_us()};
    STAILQ_INSERT_TAIL(call->kind == KEEPER_INTENT ? &t->asks
                       : call->kind == KEEPER_LIVE ? &t->lives
                                                   : &t->drops,
                       w, link);
    t->num_waiting++;
}

void intents_serve(struct intents *t, struct calls *calls)
{
    calls_serve(calls, KEEPER_INTENT, on_call, t);
    calls_serve(calls, KEEPER_LIVE, on_call, t);
    calls_serve(calls, KEEPER_DROP, on_call, t);
}

void intents_step(struct intents *t, uint64_t now_ms)
{
    if (reach(t) == 0)
        (void)note(t, leases_step(&t->leases, t->of.store, fleet_me(t->of.fleet), now_ms));
    show_leases(t);
}

void intents_end(struct intents *t)
{
    leases_end(&t->leases, fleet_me(t->of.fleet));
}

/* What the database will never take is said once. */
int intents_were_not_sent(struct intents *t, enum unsent_kind kind, const char *id)
{
    const struct wire_drop drop = {.why = WIRE_NOT_MADE,
                                   .id = kind == UNSENT_CREATE ? id : "",
                                   .claim = kind == UNSENT_KEY ? id : "",
                                   .nonce = ""};
    struct strbuf bytes = STRBUF_INIT;
    int rc = reach(t);

    if (rc == 0)
        rc = wire_drop_write(&drop, &bytes);
    if (rc == 0)
        rc = note(t, put_drop(t, bytes.data, bytes.len));
    if (rc == 0)
        remember(t, KEEPER_DROP, bytes.data, bytes.len);
    strbuf_deinit(&bytes);
    return is_hopeless(rc) ? 0 : rc;
}

bool intents_are_idle(const struct intents *t)
{
    return t->num_waiting == 0;
}

int intents_new(const struct intents_options *options, struct intents **out)
{
    struct intents *t = calloc(1, sizeof(*t));
    int rc;

    if (t == NULL)
        return ERR_NOMEM;
    t->of = *options;
    STAILQ_INIT(&t->drops);
    STAILQ_INIT(&t->lives);
    STAILQ_INIT(&t->asks);
    TAILQ_INIT(&t->said);
    t->turn = (struct loop_timer){.cb = on_turn, .arg = t};
    rc = outbox_new(options->outbox, &t->outbox);
    if (rc == 0)
        rc = leases_init(&t->leases, options->inherited->config->outage_window_ms);
    if (rc != 0) {
        intents_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void forget_waiting(struct intents *t, struct queue *queue)
{
    struct waiting *w;

    while ((w = STAILQ_FIRST(queue)) != NULL) {
        STAILQ_REMOVE_HEAD(queue, link);
        answer(t, w, WIRE_LATER, NULL);
    }
}

void intents_free(struct intents *t)
{
    if (t == NULL)
        return;
    loop_timer_stop(t->of.loop, &t->turn);
    forget_waiting(t, &t->drops);
    forget_waiting(t, &t->lives);
    forget_waiting(t, &t->asks);
    for (struct said *said = TAILQ_FIRST(&t->said); said != NULL;)
        said = forget_said(t, said);
    outbox_free(t->outbox);
    leases_deinit(&t->leases);
    free(t);
}
