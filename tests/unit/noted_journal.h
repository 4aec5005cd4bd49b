/* A keeper for tests of those who ask the journal: it answers each intent on the loop as the test has
 * said, and notes what it is told. It stands in for all of journal.c; tests that include it have
 * create_world.h's loop. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "journal/journal.h"

#define MAX_VERDICTS 64

struct journal_call {
    struct loop_timer timer;
    journal_intent_cb cb;
    void *arg;
    bool open;
};

/* One intent, and what became of it. */
struct noted_intent {
    struct wire_intent intent; /* its texts are those below */
    char id[WIRE_ID + 1], claim[WIRE_ID + 1], name[65], nonce[WIRE_ID + 1];
    bool patient;   /* it is asked for longer than others */
    bool may_stand; /* the keeper may have counted it: somebody has to tell its end */
};

/* What the keeper says, and was told. */
static struct {
    struct wire_verdict verdicts[MAX_VERDICTS]; /* to the intents in turn; all zero: granted */
    bool nobody[MAX_VERDICTS];                  /* ... or no keeper has seen it */
    struct noted_intent intents[MAX_VERDICTS];
    unsigned num; /* intents */
    unsigned lives, drops,
        full_at;           /* full_at: intents from this one (counted from 1) have no call */
    struct wire_live live; /* the last one */
    char live_id[WIRE_ID + 1], live_claim[WIRE_ID + 1], live_name[65], live_native[64];
    char live_answer[WIRE_MAX_ANSWER + 1], live_client_id[256], live_status[32], live_group[32];
    enum wire_why why; /* of the last drop */
    char drop_id[WIRE_ID + 1], drop_claim[WIRE_ID + 1];
} keeper;

static struct journal_call keeper_calls[MAX_VERDICTS];

static inline void keeper_forgets(void)
{
    memset(&keeper, 0, sizeof(keeper));
    memset(keeper_calls, 0, sizeof(keeper_calls));
}

/* The last intent. */
static inline const struct noted_intent *last_intent(void)
{
    assert_true(keeper.num > 0);
    return &keeper.intents[keeper.num - 1];
}

static inline void end_in_notes(const char *id)
{
    for (unsigned i = 0; i < keeper.num; i++)
        if (id[0] != '\0' && strcmp(keeper.intents[i].id, id) == 0) {
            assert_true(keeper.intents[i].may_stand); /* one end for each */
            keeper.intents[i].may_stand = false;
        }
}

/* Everything that the keeper may count was ended by somebody. */
static inline void keeper_counts_nothing(void)
{
    for (unsigned i = 0; i < keeper.num; i++)
        assert_false(keeper.intents[i].may_stand);
}

static void on_keeper(struct loop_timer *timer)
{
    struct journal_call *call = timer->arg;
    size_t i = (size_t)(call - keeper_calls);
    struct wire_verdict verdict = keeper.verdicts[i];

    if (verdict.end == 0)
        verdict.end = WIRE_GRANTED;
    if (verdict.answer.id == NULL)
        verdict.answer.id = "";
    if (verdict.answer.nonce == NULL)
        verdict.answer.nonce = "";
    if (verdict.answer.body == NULL)
        verdict.answer.body = "";
    keeper.intents[i].may_stand = keeper.intents[i].id[0] != '\0' && !keeper.nobody[i] &&
                                  (verdict.end == WIRE_GRANTED || verdict.end == WIRE_DOWN);
    call->open = false;
    call->cb(call->arg, &verdict, !keeper.nobody[i]);
}

static inline void note(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

int journal_intent(struct journal *journal, const struct wire_intent *intent, bool patient,
                   journal_intent_cb cb, void *arg, struct journal_call **call)
{
    struct noted_intent *noted = &keeper.intents[keeper.num];
    struct journal_call *c = &keeper_calls[keeper.num];

    assert_non_null(journal);
    assert_true(keeper.num < MAX_VERDICTS);
    if (keeper.full_at != 0 && keeper.num + 1 >= keeper.full_at)
        return ERR_FULL;
    keeper.num++;
    noted->patient = patient;
    noted->intent = *intent;
    note(noted->id, sizeof(noted->id), intent->id);
    note(noted->claim, sizeof(noted->claim), intent->claim);
    note(noted->name, sizeof(noted->name), intent->name);
    note(noted->nonce, sizeof(noted->nonce), intent->nonce);
    *c = (struct journal_call){
        .timer = {.cb = on_keeper, .arg = c}, .cb = cb, .arg = arg, .open = true};
    assert_int_equal(loop_timer_start(&loop, &c->timer, 1), 0);
    *call = c;
    return 0;
}

/* What was asked may be carried out all the same. */
void journal_cancel(struct journal_call **call)
{
    if (*call != NULL) {
        assert_true((*call)->open);
        (*call)->open = false;
        loop_timer_stop(&loop, &(*call)->timer);
        keeper.intents[*call - keeper_calls].may_stand =
            keeper.intents[*call - keeper_calls].id[0] != '\0';
    }
    *call = NULL;
}

int journal_live(struct journal *journal, const struct wire_live *live)
{
    assert_non_null(journal);
    keeper.lives++;
    keeper.live = *live;
    note(keeper.live_id, sizeof(keeper.live_id), live->id);
    note(keeper.live_claim, sizeof(keeper.live_claim), live->claim);
    note(keeper.live_name, sizeof(keeper.live_name), live->name);
    note(keeper.live_native, sizeof(keeper.live_native), live->native);
    note(keeper.live_answer, sizeof(keeper.live_answer), live->answer.body);
    note(keeper.live_client_id, sizeof(keeper.live_client_id), live->answer.id);
    note(keeper.live_status, sizeof(keeper.live_status), live->status);
    note(keeper.live_group, sizeof(keeper.live_group), live->who.group);
    end_in_notes(keeper.live_id);
    return 0;
}

int journal_drop(struct journal *journal, const struct wire_drop *drop)
{
    assert_non_null(journal);
    keeper.drops++;
    keeper.why = drop->why;
    note(keeper.drop_id, sizeof(keeper.drop_id), drop->id);
    note(keeper.drop_claim, sizeof(keeper.drop_claim), drop->claim);
    end_in_notes(keeper.drop_id);
    return 0;
}

int journal_new_id(char out[WIRE_ID + 1])
{
    static unsigned last;

    snprintf(out, WIRE_ID + 1, "%032x", ++last);
    return 0;
}

/* What those who create do not call, but what the library would bring along with the others. */

int journal_new(struct loop *l, struct ask *ask, struct journal **out)
{
    (void)l;
    (void)ask;
    *out = NULL;
    return ERR_NOMEM;
}

void journal_free(struct journal *journal)
{
    (void)journal;
}

bool journal_is_idle(const struct journal *journal)
{
    (void)journal;
    return true;
}

int journal_due(struct journal *journal, const struct wire_due_ask *question, journal_due_cb cb,
                void *arg, struct journal_call **call)
{
    (void)journal;
    (void)question;
    (void)cb;
    (void)arg;
    (void)call;
    return ERR_NOMEM;
}

int journal_story(struct journal *journal, const struct wire_story *question, journal_story_cb cb,
                  void *arg, struct journal_call **call)
{
    (void)journal;
    (void)question;
    (void)cb;
    (void)arg;
    (void)call;
    return ERR_NOMEM;
}

int journal_seen(struct journal *journal, const struct wire_seen *seen)
{
    (void)journal;
    (void)seen;
    return 0;
}

int journal_move(struct journal *journal, const struct wire_move *step, journal_move_cb cb,
                 void *arg, struct journal_call **call)
{
    (void)journal;
    (void)step;
    (void)cb;
    (void)arg;
    (void)call;
    return ERR_NOMEM;
}

int journal_moved(struct journal *journal, const struct wire_move *step)
{
    (void)journal;
    (void)step;
    return 0;
}

uint64_t journal_lost(const struct journal *journal)
{
    (void)journal;
    return 0;
}
