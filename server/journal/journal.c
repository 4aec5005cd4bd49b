/* See journal.h. A question is an ask_call of its own. What is told stands in one queue, of which
 * some are on their way at a time; what the keeper could not take, or never answered, is said again
 * after a pause that all of them share: a keeper that is away is away for all. */
#include "journal/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <openssl/rand.h>

#include "common/hex.h"
#include "common/log.h"
#include "tenants/ask.h"

#define ON_THEIR_WAY 8 /* told messages that the keeper has at a time */

enum question { ASKS_INTENT, ASKS_DUE, ASKS_STORY, ASKS_MOVE };

struct journal_call {
    LIST_ENTRY(journal_call) link;
    struct journal *journal; /* borrowed */
    struct ask_call *ask;    /* owned */
    enum question question;
    union {
        journal_intent_cb intent;
        journal_due_cb due;
        journal_story_cb story;
        journal_move_cb move;
    } cb;
    void *arg; /* borrowed; the caller's */
};

/* Something that is told. */
struct told {
    TAILQ_ENTRY(told) link;
    struct journal *journal; /* borrowed */
    struct ask_call *ask;    /* owned; NULL: it waits */
    enum keeper_kind kind;
    bool once; /* it is not said again */
    size_t len;
    char bytes[];
};

struct journal {
    struct loop *loop; /* borrowed */
    struct ask *ask;   /* borrowed */
    LIST_HEAD(, journal_call) calls;
    TAILQ_HEAD(, told) told; /* owned; in the order in which they were told */
    unsigned num_told, num_asked;
    size_t bytes;
    struct loop_timer again; /* runs: the keeper could not take one */
    uint64_t pause_ms;       /* 0: it took the last one */
    uint64_t lost;
};

static void say_all(struct journal *j);

/* --- questions --- */

static void call_free(struct journal_call *call)
{
    LIST_REMOVE(call, link);
    ask_cancel(&call->ask);
    free(call);
}

static bool is_taken(const struct ask_answer *answer)
{
    return answer->end == ASK_ANSWERED && answer->status == WIRE_TAKEN;
}

static void end_intent(const struct journal_call *call, const struct ask_answer *answer)
{
    struct wire_verdict verdict;

    if (!is_taken(answer) || wire_verdict_read(answer->bytes, answer->len, &verdict) != 0)
        verdict =
            (struct wire_verdict){.end = WIRE_DOWN, .answer = {.id = "", .nonce = "", .body = ""}};
    call->cb.intent(call->arg, &verdict, answer->end != ASK_DOWN);
}

static void end_due(const struct journal_call *call, const struct ask_answer *answer)
{
    struct wire_due_list list;
    bool good = is_taken(answer) && wire_due_list_read(answer->bytes, answer->len, &list) == 0;

    call->cb.due(call->arg, good ? &list : NULL);
}

static void end_story(const struct journal_call *call, const struct ask_answer *answer)
{
    bool good = is_taken(answer);
    enum wire_story_end end = WIRE_STORY_LATER;

    if (answer->end == ASK_ANSWERED && answer->status == WIRE_NO_STORY)
        end = WIRE_NO_STORY;
    else if (good)
        end = WIRE_STORY;
    call->cb.story(call->arg, end, good ? answer->bytes : "", good ? answer->len : 0);
}

static void end_move(const struct journal_call *call, const struct ask_answer *answer)
{
    bool answered = answer->end == ASK_ANSWERED && answer->status != WIRE_UNREADABLE;

    call->cb.move(call->arg, answered ? (enum wire_move_end)answer->status : WIRE_MOVE_LATER,
                  answer->end != ASK_DOWN);
}

/* Free first, call back last. */
static void on_answer(void *arg, const struct ask_answer *answer)
{
    struct journal_call *call = arg, ended = *call;

    call->ask = NULL; /* it is gone */
    call_free(call);
    switch (ended.question) {
    case ASKS_INTENT:
        end_intent(&ended, answer);
        break;
    case ASKS_DUE:
        end_due(&ended, answer);
        break;
    case ASKS_STORY:
        end_story(&ended, answer);
        break;
    case ASKS_MOVE:
        end_move(&ended, answer);
        break;
    }
}

/* @param text  what is asked; emptied */
static int ask(struct journal *j, enum keeper_kind kind, struct strbuf *text, int written,
               uint32_t wait_ms, const struct journal_call *what, struct journal_call **out)
{
    struct journal_call *call = written == 0 ? calloc(1, sizeof(*call)) : NULL;
    int ret = written != 0 ? written : call == NULL ? ERR_NOMEM : 0;

    if (ret == 0) {
        *call = *what;
        call->journal = j;
        ret = ask_start(j->ask, kind, strbuf_str(text), text->len, wait_ms, on_answer, call,
                        &call->ask);
    }
    strbuf_deinit(text);
    if (ret != 0) {
        free(call);
        return ret;
    }
    LIST_INSERT_HEAD(&j->calls, call, link);
    *out = call;
    return 0;
}

int journal_intent(struct journal *j, const struct wire_intent *intent, bool patient,
                   journal_intent_cb cb, void *arg, struct journal_call **call)
{
    struct journal_call what = {.question = ASKS_INTENT, .cb.intent = cb, .arg = arg};
    struct strbuf text = STRBUF_INIT;
    int written = wire_intent_write(intent, &text);

    return ask(j, KEEPER_INTENT, &text, written,
               patient ? ask_patient_ms(j->ask) : ask_deadline_ms(j->ask), &what, call);
}

int journal_due(struct journal *j, const struct wire_due_ask *question, journal_due_cb cb,
                void *arg, struct journal_call **call)
{
    struct journal_call what = {.question = ASKS_DUE, .cb.due = cb, .arg = arg};
    struct strbuf text = STRBUF_INIT;
    int written = wire_due_ask_write(question, &text);

    return ask(j, KEEPER_DUE, &text, written, ask_deadline_ms(j->ask), &what, call);
}

int journal_story(struct journal *j, const struct wire_story *question, journal_story_cb cb,
                  void *arg, struct journal_call **call)
{
    struct journal_call what = {.question = ASKS_STORY, .cb.story = cb, .arg = arg};
    struct strbuf text = STRBUF_INIT;
    int written = wire_story_write(question, &text);

    return ask(j, KEEPER_STORY, &text, written, ask_deadline_ms(j->ask), &what, call);
}

int journal_move(struct journal *j, const struct wire_move *step, journal_move_cb cb, void *arg,
                 struct journal_call **call)
{
    struct journal_call what = {.question = ASKS_MOVE, .cb.move = cb, .arg = arg};
    struct strbuf text = STRBUF_INIT;
    int written = wire_move_write(step, &text);

    return ask(j, KEEPER_MOVE, &text, written, ask_patient_ms(j->ask), &what, call);
}

void journal_cancel(struct journal_call **call)
{
    if (*call != NULL)
        call_free(*call);
    *call = NULL;
}

/* --- told --- */

static void forget(struct told *t)
{
    struct journal *j = t->journal;

    assert(j->num_told > 0 && j->bytes >= t->len);
    assert(t->ask == NULL || j->num_asked > 0);
    j->num_asked -= t->ask != NULL;
    ask_cancel(&t->ask);
    TAILQ_REMOVE(&j->told, t, link);
    j->num_told--;
    j->bytes -= t->len;
    free(t);
}

static void pause_all(struct journal *j)
{
    uint64_t twice = j->pause_ms * 2;

    if (j->again.slot != 0)
        return; /* one of those that were on their way with it */
    j->pause_ms = j->pause_ms == 0          ? JOURNAL_FIRST_MS
                  : twice < JOURNAL_LAST_MS ? twice
                                            : JOURNAL_LAST_MS;
    (void)loop_timer_start(j->loop, &j->again, j->pause_ms); /* else what is told next begins it */
}

static void on_told(void *arg, const struct ask_answer *answer)
{
    struct told *t = arg;
    struct journal *j = t->journal;

    t->ask = NULL; /* it is gone */
    assert(j->num_asked > 0);
    j->num_asked--;
    if (is_taken(answer)) {
        j->pause_ms = 0;
        forget(t);
    } else if (t->once || (answer->end == ASK_ANSWERED && answer->status == WIRE_UNREADABLE)) {
        forget(t);
    } else {
        pause_all(j);
    }
    say_all(j);
}

/* @return false: it cannot be said now */
static bool say(struct journal *j, struct told *t)
{
    if (ask_start(j->ask, t->kind, t->bytes, t->len, ask_deadline_ms(j->ask), on_told, t,
                  &t->ask) != 0) {
        t->ask = NULL;
        return false;
    }
    j->num_asked++;
    return true;
}

static void say_all(struct journal *j)
{
    struct told *t = TAILQ_FIRST(&j->told);

    for (struct told *next; t != NULL && j->num_asked < ON_THEIR_WAY && j->again.slot == 0;
         t = next) {
        next = TAILQ_NEXT(t, link);
        if (t->ask != NULL || say(j, t))
            continue;
        if (t->once)
            forget(t);
        else
            pause_all(j);
    }
}

static void on_again(struct loop_timer *timer)
{
    say_all(timer->arg);
}

static int lose(struct journal *j)
{
    if (j->lost++ == 0)
        log_warn("the journal's keeper is away for long: what becomes of creates is not kept for "
                 "it any more; it is found by their markers later");
    return ERR_FULL;
}

/* @param text  what is told; emptied */
static int tell(struct journal *j, enum keeper_kind kind, bool once, struct strbuf *text,
                int written)
{
    struct told *t;

    if (written != 0) {
        strbuf_deinit(text);
        return written;
    }
    if (j->num_told >= JOURNAL_KEPT || text->len > JOURNAL_KEPT_BYTES - j->bytes) {
        strbuf_deinit(text);
        return lose(j);
    }
    t = calloc(1, sizeof(*t) + text->len);
    if (t != NULL) {
        *t = (struct told){.journal = j, .kind = kind, .once = once, .len = text->len};
        memcpy(t->bytes, strbuf_str(text), text->len);
        TAILQ_INSERT_TAIL(&j->told, t, link);
        j->num_told++;
        j->bytes += t->len;
    }
    strbuf_deinit(text);
    if (t == NULL)
        return ERR_NOMEM;
    say_all(j);
    return 0;
}

int journal_live(struct journal *j, const struct wire_live *live)
{
    struct strbuf text = STRBUF_INIT;
    int written = wire_live_write(live, &text);

    return tell(j, KEEPER_LIVE, false, &text, written);
}

int journal_drop(struct journal *j, const struct wire_drop *drop)
{
    struct strbuf text = STRBUF_INIT;
    int written = wire_drop_write(drop, &text);

    return tell(j, KEEPER_DROP, false, &text, written);
}

int journal_deletion(struct journal *j, const struct wire_deletion *deletion)
{
    struct strbuf text = STRBUF_INIT;
    int written = wire_deletion_write(deletion, &text);

    return tell(j, KEEPER_DELETION, false, &text, written);
}

int journal_seen(struct journal *j, const struct wire_seen *seen)
{
    struct strbuf text = STRBUF_INIT;
    int written = wire_seen_write(seen, &text);

    return tell(j, KEEPER_SEEN, true, &text, written);
}

int journal_moved(struct journal *j, const struct wire_move *step)
{
    struct strbuf text = STRBUF_INIT;
    int written = wire_move_write(step, &text);

    return tell(j, KEEPER_MOVE, false, &text, written);
}

/* --- life --- */

int journal_new_id(char out[WIRE_ID + 1])
{
    unsigned char random[WIRE_ID / 2];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return ERR_IO;
    hex_write(random, sizeof(random), out);
    return 0;
}

bool journal_is_idle(const struct journal *j)
{
    return j == NULL || j->num_told == 0;
}

uint64_t journal_lost(const struct journal *j)
{
    return j->lost;
}

int journal_new(struct loop *loop, struct ask *ask, struct journal **out)
{
    struct journal *j = calloc(1, sizeof(*j));

    if (j == NULL)
        return ERR_NOMEM;
    j->loop = loop;
    j->ask = ask;
    j->again = (struct loop_timer){.cb = on_again, .arg = j};
    LIST_INIT(&j->calls);
    TAILQ_INIT(&j->told);
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    struct told *t;

    if (j == NULL)
        return;
    while (!LIST_EMPTY(&j->calls))
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): call_free() took the one before out */
        call_free(LIST_FIRST(&j->calls));
    while ((t = TAILQ_FIRST(&j->told)) != NULL)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as above, forget() */
        forget(t);
    assert(j->num_told == 0 && j->num_asked == 0 && j->bytes == 0);
    loop_timer_stop(j->loop, &j->again);
    free(j);
}
