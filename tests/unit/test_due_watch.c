/* The prober's half of the due list: what the keeper gives out is looked at, measured, found, and
 * reported once. The keeper is the test's. */
#include "upkeep_world.h"

#include "journal/journal.h"
#include "tenants/ask.h"
#include "upkeep/due.h"
#include "upkeep/watch.h"

#define MAX_TOLD 512

/* --- a keeper --- */

struct told {
    struct wire_seen seen; /* its texts are below */
    char native[64], status[32], output[64], nonce[MARKER_NONCE + 1], model[64];
    bool dropped; /* a WIRE_DROP: `nonce` */
    /* of a WIRE_DELETION */
    struct wire_deletion deletion;
    char why[WIRE_MAX_WHY + 1];
};

static struct {
    struct wire_due_ask asked; /* the last question; held[].native below */
    char held[WIRE_MAX_DUE][64];
    unsigned questions;
    struct wire_due_list next; /* what the next answer has */
    bool away, full;           /* full: nothing can be told */
    struct told told[MAX_TOLD];
    size_t num_told;
    journal_due_cb cb;
    void *arg;
    struct loop_timer answer;
} keeper;

int ask_new(struct loop *loop, const struct keeper_door *door, uint32_t deadline_ms,
            struct ask **out)
{
    (void)loop;
    (void)door;
    (void)deadline_ms;
    *out = NULL;
    return 0;
}

int journal_new(struct loop *loop, struct ask *ask, struct journal **out)
{
    (void)loop;
    (void)ask;
    *out = NULL;
    return 0;
}

static void on_answer(struct loop_timer *timer)
{
    static struct wire_due_list list;

    (void)timer;
    list = keeper.next;
    keeper.next.num = 0;
    keeper.next.wait_ms = SECOND;
    keeper.cb(keeper.arg, keeper.away ? NULL : &list);
}

int journal_due(struct journal *journal, const struct wire_due_ask *question, journal_due_cb cb,
                void *arg, struct journal_call **call)
{
    (void)journal;
    (void)call;
    keeper.asked = *question;
    for (uint32_t i = 0; i < question->num_held; i++)
        snprintf(keeper.held[i], sizeof(keeper.held[i]), "%s", question->held[i].native);
    keeper.questions++;
    keeper.cb = cb;
    keeper.arg = arg;
    keeper.answer = (struct loop_timer){.cb = on_answer};
    return loop_timer_start(&w->loop.base, &keeper.answer, 1);
}

int journal_seen(struct journal *journal, const struct wire_seen *seen)
{
    struct told *t = &keeper.told[keeper.num_told];

    (void)journal;
    if (keeper.full)
        return ERR_FULL;
    keeper.num_told++;
    assert_true(keeper.num_told <= MAX_TOLD);
    *t = (struct told){.seen = *seen};
    snprintf(t->native, sizeof(t->native), "%s", seen->native);
    snprintf(t->status, sizeof(t->status), "%s", seen->status != NULL ? seen->status : "");
    snprintf(t->output, sizeof(t->output), "%s", seen->output != NULL ? seen->output : "");
    snprintf(t->nonce, sizeof(t->nonce), "%s", seen->nonce != NULL ? seen->nonce : "");
    if (seen->num_usage > 0)
        snprintf(t->model, sizeof(t->model), "%s", seen->usage[0].model);
    return 0;
}

int journal_drop(struct journal *journal, const struct wire_drop *drop)
{
    struct told *t = &keeper.told[keeper.num_told++];

    (void)journal;
    *t = (struct told){.dropped = true};
    snprintf(t->nonce, sizeof(t->nonce), "%s", drop->nonce);
    assert_int_equal(drop->why, WIRE_NOT_MADE);
    return 0;
}

/* What a move would be asked and told; nothing is moved here. */
int journal_moved(struct journal *journal, const struct wire_move *step)
{
    (void)journal;
    (void)step;
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
    return ERR_FULL;
}

int journal_intent(struct journal *journal, const struct wire_intent *intent, bool patient,
                   journal_intent_cb cb, void *arg, struct journal_call **call)
{
    (void)journal;
    (void)intent;
    (void)patient;
    (void)cb;
    (void)arg;
    (void)call;
    return ERR_FULL;
}

int journal_new_id(char out[WIRE_ID + 1])
{
    memset(out, 'a', WIRE_ID);
    out[WIRE_ID] = '\0';
    return 0;
}

int journal_deletion(struct journal *journal, const struct wire_deletion *deletion)
{
    struct told *t = &keeper.told[keeper.num_told++];

    (void)journal;
    *t = (struct told){.deletion = *deletion};
    snprintf(t->native, sizeof(t->native), "%s", deletion->native);
    snprintf(t->output, sizeof(t->output), "%s", deletion->output != NULL ? deletion->output : "");
    snprintf(t->why, sizeof(t->why), "%s", deletion->why);
    return 0;
}

/* --- a prober with a journal --- */

static int begin(void **state)
{
    static const struct keeper_door door;
    int ret = world_begin(state);

    memset(&keeper, 0, sizeof(keeper));
    keeper.next.wait_ms = SECOND;
    w->config.journal = true;
    w->inherited.door = &door;
    assert_int_equal(due_start(&w->upkeep), 0);
    return ret;
}

static struct wire_due *give(enum wire_task task, unsigned account, uint32_t deployment,
                             const char *id)
{
    struct wire_due *due = &keeper.next.due[keeper.next.num++];

    *due = (struct wire_due){.task = task,
                             .account = w->upkeep.accounts[account].fingerprint,
                             .deployment = 1000 + deployment,
                             .native = id,
                             .id = "",
                             .claim = "",
                             .nonce = "",
                             .status = "",
                             .output = "",
                             .error = ""};
    return due;
}

static const struct told *last(void)
{
    assert_true(keeper.num_told > 0);
    return &keeper.told[keeper.num_told - 1];
}

/* --- looks --- */

static void what_is_due_is_looked_at_and_reported(void **state)
{
    (void)state;
    our_batch(0, 1, "batch-1", "in_progress", 3600, 50)->completed = 3;
    give(WIRE_POLL, 0, 1, "batch-1");
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->native, "batch-1");
    assert_string_equal(last()->status, "in_progress");
    assert_int_equal(last()->seen.by, WIRE_BY_WATCH);
    assert_int_equal(last()->seen.completed, 3);
    assert_int_equal(last()->seen.account, w->upkeep.accounts[0].fingerprint);
    assert_int_equal(last()->seen.placed, 1001);
    assert_int_equal(strlen(last()->nonce), MARKER_NONCE);
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.num_told, 1); /* once for each task */
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE);
}

static void the_ledger_learns_of_an_end(void **state)
{
    (void)state;
    reserve(0, "batch-1", 50, false);
    our_batch(0, 0, "batch-1", "failed", 60, 50);
    give(WIRE_POLL, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_int_equal(enqueued(0), 0);
    assert_string_equal(last()->status, "failed");
    assert_int_equal(last()->seen.source, WIRE_USAGE_NONE);
}

static void what_does_not_answer_is_given_back(void **state)
{
    (void)state;
    our_batch(0, 0, "batch-1", "in_progress", 60, 50);
    w->fail_times = 1;
    w->fail_status = 500;
    give(WIRE_POLL, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_string_equal(last()->native, "batch-1");
    assert_string_equal(last()->status, "");
    assert_int_equal(last()->seen.gone, 0);
}

static void what_is_not_there_is_said_to_be_gone(void **state)
{
    (void)state;
    give(WIRE_POLL, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_string_equal(last()->native, "batch-1");
    assert_int_equal(last()->seen.gone, 1);
}

static void an_account_that_is_not_here_is_anothers(void **state)
{
    (void)state;
    give(WIRE_POLL, 0, 0, "batch-1")->account = 0xdead;
    give(WIRE_FIND, 0, 0, "")->account = 0xdead;
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->status, "");
    assert_int_equal(w->num_calls, 0);
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE); /* nothing is held */
}

static void a_claim_that_waits_is_kept(void **state)
{
    static const char *const ids[] = {"batch-1", "batch-2", "batch-3"};

    (void)state;
    w->fail_times = 1;
    w->fail_status = 429;
    w->retry_after = "60";
    for (unsigned i = 0; i < 3; i++) {
        our_batch(0, 0, ids[i], "in_progress", 60, 50);
        give(WIRE_POLL, 0, 0, ids[i]);
    }
    pass(&w->loop, DUE_RENEW_MS / 2); /* two were asked for; the account is quiet for a minute */
    assert_int_equal(keeper.num_told, 2);
    assert_int_equal(keeper.asked.num_held, 0);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE - 1);
    for (int i = 0; i < 20 && keeper.asked.num_held == 0; i++)
        pass(&w->loop, SECOND);
    assert_int_equal(keeper.asked.num_held, 1);
    assert_string_equal(keeper.held[0], "batch-3");
    pass(&w->loop, 2 * MINUTE);
    assert_string_equal(last()->native, "batch-3");
    assert_string_equal(last()->status, "in_progress");
}

static void what_an_account_that_is_quiet_has_is_given_back(void **state)
{
    (void)state;
    our_batch(0, 0, "batch-1", "in_progress", 60, 50);
    w->upkeep.accounts[0].quiet_until_ms = w->loop.now_ms + MINUTE;
    give(WIRE_POLL, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->status, "");
    assert_int_equal(w->num_calls, 0);
}

static void a_full_list_is_asked_for_no_more(void **state)
{
    char id[16];

    (void)state;
    w->fail_times = 1;
    w->fail_status = 429;
    w->retry_after = "60";
    for (unsigned i = 0; i < WIRE_MAX_DUE; i++) {
        snprintf(id, sizeof(id), "batch-%u", i);
        give(WIRE_POLL, 0, 0, our_batch(0, 0, id, "in_progress", 60, 50)->id);
    }
    pass(&w->loop, 5 * SECOND);
    /* One was refused and is given back, one was under way with it; the account is quiet */
    assert_int_equal(keeper.asked.max, 2);
    pass(&w->loop, 3 * MINUTE);
    assert_int_equal(keeper.num_told, WIRE_MAX_DUE);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE);
}

static void the_first_question_says_that_nothing_is_worked_on(void **state)
{
    (void)state;
    keeper.away = true;
    pass(&w->loop, 10 * SECOND);
    assert_int_equal(keeper.asked.fresh, 1);
    keeper.away = false;
    pass(&w->loop, 10 * SECOND);
    assert_int_equal(keeper.asked.fresh, 0);
}

/* --- usage --- */

static const char output[] =
    "{\"custom_id\":\"1\",\"response\":{\"status_code\":200,\"body\":{\"model\":\"gpt-4o\","
    "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}}}\n"
    "{\"custom_id\":\"2\",\"response\":{\"status_code\":200,\"body\":{\"model\":\"gpt-4o\","
    "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":7}}}}\n"
    "{\"custom_id\":\"3\",\"response\":{\"status_code\":500,\"body\":{}}}\n";

static void an_output_is_added_up_before_the_end_is_reported(void **state)
{
    struct thing *t;

    (void)state;
    t = our_batch(0, 0, "batch-1", "completed", 60, 50);
    t->completed = 2;
    t->output = "file-out";
    w->content = output;
    give(WIRE_POLL, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->output, "file-out");
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
    assert_int_equal(last()->seen.num_usage, 1);
    assert_string_equal(last()->model, "gpt-4o");
    assert_int_equal(last()->seen.usage[0].ok, 2);
    assert_int_equal(last()->seen.usage[0].in, 30);
    assert_int_equal(last()->seen.usage[0].out, 12);
}

static void an_output_that_is_missing_leaves_the_usage_open(void **state)
{
    struct thing *t;

    (void)state;
    t = our_batch(0, 0, "batch-1", "completed", 60, 50);
    t->completed = 2;
    give(WIRE_MEASURE, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_string_equal(last()->status, "completed");
    assert_int_equal(last()->seen.source, WIRE_USAGE_UNKNOWN);
    t->output = "file-out"; /* its file cannot be had */
    give(WIRE_MEASURE, 0, 0, "batch-1");
    pass(&w->loop, 30);
    w->fail_times = 1;
    w->fail_status = 404;
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 2);
    assert_int_equal(last()->seen.source, WIRE_USAGE_UNKNOWN);
}

/* At account 0, 1 or 2. */
static void give_output(unsigned account, unsigned i)
{
    static char ids[WIRE_MAX_DUE][16];
    uint32_t deployment = account == 0 ? 0 : account + 1;
    struct thing *t;

    snprintf(ids[i], sizeof(ids[i]), "batch-%u", i);
    t = our_batch(account, deployment, ids[i], "completed", 60, 50);
    t->completed = 2;
    t->output = "file-out";
    give(WIRE_POLL, account, deployment, ids[i]);
}

static size_t contents_of(unsigned account)
{
    size_t n = 0;

    for (size_t i = 0; i < w->num_calls; i++)
        n += w->calls[i].content && w->calls[i].account == account;
    return n;
}

static void outputs_of_all_accounts_are_read(void **state)
{
    (void)state;
    w->content = output;
    for (unsigned i = 0; i < 6; i++)
        give_output(i % 3, i);
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(keeper.num_told, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(keeper.told[i].seen.source, WIRE_USAGE_OUTPUT);
}

static void a_long_output_has_the_limits_of_files(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    give_output(0, 0);
    pass(&w->loop, 30 * MINUTE);
    assert_int_equal(contents_of(0), 1);
    assert_true(w->calls[w->num_calls - 1].content && w->calls[w->num_calls - 1].file);
    assert_int_equal(w->calls[w->num_calls - 1].total_ms, 0); /* none: as long as bytes move */
    assert_int_equal(keeper.num_told, 0);
    w->stalls = false;
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
}

/* The account's small calls, and the outputs of another one, go on. */
static void long_outputs_hold_up_nothing_else(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    for (unsigned i = 0; i < 3; i++)
        give_output(0, i);
    pass(&w->loop, SECOND);
    assert_int_equal(contents_of(0), 2);
    our_batch(0, 0, "runs", "in_progress", 60, 50);
    give(WIRE_POLL, 0, 0, "runs");
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->native, "runs");
    give_output(2, 3);
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(contents_of(0), 2);
    assert_int_equal(contents_of(2), 1);
    w->stalls = false;
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(keeper.num_told, 5);
    assert_int_equal(contents_of(0), 3);
}

/* Their places in the list are others'; what is left alone is measured another time. */
static void few_batches_wait_for_their_outputs(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    for (unsigned i = 0; i < 20; i++)
        give_output(0, i);
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(contents_of(0), UPKEEP_CONTENTS_OF_ACCOUNT);
    assert_int_equal(keeper.num_told, 20 - UPKEEP_CONTENTS_OF_ACCOUNT - DUE_WAITING);
    assert_string_equal(last()->status, "completed");
    assert_int_equal(last()->seen.source, WIRE_USAGE_UNKNOWN);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE - UPKEEP_CONTENTS_OF_ACCOUNT - DUE_WAITING);
    w->stalls = false;
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(keeper.num_told, 20);
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
}

static void outputs_of_an_account_that_is_quiet_are_another_times(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    for (unsigned i = 0; i < 5; i++)
        give_output(0, i);
    pass(&w->loop, SECOND);
    w->upkeep.accounts[0].quiet_until_ms = w->loop.now_ms + HOUR;
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(keeper.num_told, 5 - UPKEEP_CONTENTS_OF_ACCOUNT);
    assert_int_equal(last()->seen.source, WIRE_USAGE_UNKNOWN);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE - UPKEEP_CONTENTS_OF_ACCOUNT);
    w->stalls = false; /* those that are being read are read to their end */
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(keeper.num_told, 5);
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
}

static void
a_provider_that_trickles_its_outputs_does_not_keep_others_from_being_measured(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    w->flows = 1u << 2;
    for (unsigned i = 0; i < 4; i++)
        give_output(i % 2, i);
    pass(&w->loop, HOUR); /* nobody waits for their places */
    assert_int_equal(contents_of(0) + contents_of(1), UPKEEP_CONTENTS);
    assert_int_equal(w->cancelled, 0);
    give_output(2, 4);
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(w->cancelled, 1);
    assert_int_equal(keeper.num_told, 2);
    assert_string_equal(keeper.told[0].status,
                        "completed"); /* and due again: what it used is open */
    assert_int_equal(keeper.told[0].seen.source, WIRE_USAGE_UNKNOWN);
    assert_string_equal(last()->native, "batch-4");
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
    give_output(0, 5); /* the next time */
    w->stalls = false;
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(keeper.num_told, 6);
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(keeper.told[i].seen.source, WIRE_USAGE_OUTPUT);
    assert_int_equal(w->upkeep.contents, 0);
    assert_int_equal(w->upkeep.accounts[0].contents, 0);
}

static void who_waits_for_a_slow_account_gives_its_turn_to_others(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    w->flows = 1u << 2;
    for (unsigned i = 0; i < 4 + DUE_WAITING; i++)
        give_output(i % 2, i);
    pass(&w->loop, HOUR);
    assert_int_equal(keeper.num_told, 0);
    give_output(2, 4 + DUE_WAITING);
    pass(&w->loop, 5 * SECOND);
    assert_int_equal(keeper.num_told, 3); /* one that waited, one that was read, and it */
    assert_int_equal(keeper.told[0].seen.source, WIRE_USAGE_UNKNOWN);
    assert_int_equal(keeper.told[1].seen.source, WIRE_USAGE_UNKNOWN);
    assert_string_equal(last()->native, "batch-12");
    assert_int_equal(last()->seen.source, WIRE_USAGE_OUTPUT);
}

static void outputs_that_have_just_begun_keep_their_places(void **state)
{
    (void)state;
    w->content = output;
    w->stalls = true;
    w->flows = 1u << 2;
    for (unsigned i = 0; i < 4; i++)
        give_output(i % 2, i);
    give_output(2, 4);
    pass(&w->loop, DUE_STILL_MS - MINUTE);
    assert_int_equal(w->cancelled, 0);
    assert_int_equal(keeper.num_told, 0);
    pass(&w->loop, 2 * MINUTE);
    assert_int_equal(w->cancelled, 1);
    assert_string_equal(last()->native, "batch-4");
}

/* --- lists --- */

static struct wire_due *find(const char *id, uint32_t tries)
{
    static char nonce[MARKER_NONCE + 1];
    struct wire_due *due = give(WIRE_FIND, 0, 0, "");

    nonce_of(id, nonce);
    due->nonce = nonce;
    due->tries = tries;
    due->created_s = 1800000000;
    due->now_s = due->created_s + 600;
    return due;
}

static void a_create_that_was_carried_out_is_found(void **state)
{
    (void)state;
    our_batch(0, 0, "another", "in_progress", 100, 50);
    our_batch(0, 0, "batch-1", "in_progress", 590, 50);
    find("batch-1", 0);
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_string_equal(last()->native, "batch-1");
    assert_int_equal(last()->seen.by, WIRE_BY_REBUILD);
}

static void a_create_that_no_list_shows_was_not_made(void **state)
{
    char nonce[MARKER_NONCE + 1];

    (void)state;
    nonce_of("batch-1", nonce);
    our_batch(0, 0, "another", "in_progress", 100, 50);
    find("batch-1", 0);
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 0); /* it is looked for once more */
    find("batch-1", 1);
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_true(last()->dropped);
    assert_string_equal(last()->nonce, nonce);
}

static void a_list_that_cannot_be_had_says_nothing(void **state)
{
    (void)state;
    w->fail_times = 1;
    w->fail_status = 503;
    find("batch-1", 5);
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 0);
}

static void a_create_is_not_looked_for_at_an_account_that_is_quiet(void **state)
{
    (void)state;
    w->upkeep.accounts[0].quiet_until_ms = w->loop.now_ms + MINUTE;
    find("batch-1", 5);
    pass(&w->loop, 3 * SECOND);
    assert_int_equal(w->num_calls, 0);
    assert_int_equal(keeper.num_told, 0); /* nor is anything said of it */
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE);
}

/* Each reader of lists tells what it finds; only what a rebuild cannot tell is missing from it. */
static void what_others_cannot_tell_cuts_no_rebuild(void **state)
{
    struct observation s = {.marked = true};
    struct json_doc *doc = json_doc_new();
    static const char text[] = "{\"id\":\"other\",\"status\":\"in_progress\"}";
    struct json_error error;

    (void)state;
    our_batch(0, 0, "ours", "in_progress", 60, 5);
    keeper.next.rebuild = 1;
    pass(&w->loop, 5); /* its first list is on its way */
    keeper.full = true;
    due_found(&w->upkeep, &w->upkeep.accounts[0], &s, json_parse(doc, text, strlen(text), &error));
    keeper.full = false;
    json_doc_free(doc);
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.asked.rebuilt, 1);
    assert_int_equal(keeper.asked.unread, 0);
    assert_int_equal(keeper.num_told, 1);
}

static void a_rebuild_that_cannot_tell_says_so(void **state)
{
    (void)state;
    our_batch(0, 0, "ours", "in_progress", 60, 5);
    keeper.next.rebuild = 1;
    keeper.full = true;
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.asked.rebuilt, 1);
    assert_int_equal(keeper.asked.unread, 1);
}

static void a_rebuild_reads_all_lists_once(void **state)
{
    char id[32];

    (void)state;
    for (unsigned i = 0; i < 130; i++) {
        snprintf(id, sizeof(id), "ours-%u", i);
        our_batch(0, 0, id, i % 2 == 0 ? "completed" : "in_progress", 60 * i, 5);
    }
    batch(0, "foreign", "in_progress", 5);
    our_batch(1, 2, "of-a1", "completed", 5, 5);
    our_batch(2, 3, "of-a2", "in_progress", 5, 5);
    keeper.next.rebuild = 7;
    pass(&w->loop, 30 * SECOND);
    assert_int_equal(keeper.num_told, 132); /* a3 has the list of a1 */
    for (size_t i = 0; i < keeper.num_told; i++)
        assert_int_equal(keeper.told[i].seen.by, WIRE_BY_REBUILD);
    assert_int_equal(keeper.asked.rebuilt, 7);
    assert_int_equal(keeper.asked.unread, 0);
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.num_told, 132);
}

static void a_rebuild_says_which_lists_it_could_not_read(void **state)
{
    (void)state;
    our_batch(2, 3, "of-a2", "in_progress", 5, 5);
    w->fail_times = 1;
    w->fail_status = 500;
    keeper.next.rebuild = 1;
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.asked.rebuilt, 1);
    assert_int_equal(keeper.asked.unread, 1);
    assert_int_equal(keeper.num_told, 1);
}

/* --- the watch of the ledger --- */

static void while_the_keeper_serves_the_ledger_asks_seldom(void **state)
{
    size_t with, without;

    (void)state;
    our_batch(0, 0, "batch-1", "in_progress", 60, 50);
    reserve(0, "batch-1", 50, false);
    assert_int_equal(watch_start(&w->upkeep), 0);
    pass(&w->loop, HOUR);
    with = calls_to(0);
    keeper.away = true;
    pass(&w->loop, HOUR);
    without = calls_to(0) - with;
    assert_in_range(with, 3, 9);
    assert_in_range(without, 40, 60);
}

/* --- files that go --- */

static void assert_told_deletion(enum wire_deletion_end end, const char *native, const char *why)
{
    assert_int_equal(keeper.num_told, 1);
    assert_int_equal(last()->deletion.end, end);
    assert_string_equal(last()->native, native);
    assert_string_equal(last()->why, why);
    assert_int_equal(last()->deletion.account, w->upkeep.accounts[0].fingerprint);
    keeper.num_told = 0;
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(keeper.asked.max, WIRE_MAX_DUE); /* nothing is held */
}

static void a_file_is_deleted_by_one_call(void **state)
{
    (void)state;
    give(WIRE_DELETE, 0, 0, "file-1");
    pass(&w->loop, SECOND);
    assert_told_deletion(WIRE_DELETED, "file-1", "");
    assert_int_equal(w->deletes, 1);
}

static void a_delete_that_fails_is_another_times(void **state)
{
    static const struct {
        int status;
        enum wire_deletion_end end;
        const char *why;
    } cases[] = {{404, WIRE_GONE, ""},
                 {500, WIRE_NOT_NOW, "its provider answered 500"},
                 {0, WIRE_NOT_NOW, "its provider did not answer"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        w->upkeep.accounts[0].quiet_until_ms = 0;
        w->fail_times = 1;
        w->fail_status = cases[i].status;
        give(WIRE_DELETE, 0, 0, "file-1");
        pass(&w->loop, SECOND);
        assert_told_deletion(cases[i].end, "file-1", cases[i].why);
    }
    give(WIRE_DELETE, 0, 0, "file-1");
    w->upkeep.accounts[0].quiet_until_ms = w->loop.now_ms + MINUTE;
    pass(&w->loop, SECOND);
    assert_told_deletion(WIRE_NOT_NOW, "file-1", "its provider failed a moment ago");
    assert_int_equal(w->deletes, 3);
}

static void a_batch_tells_which_files_it_has(void **state)
{
    struct thing *t;

    (void)state;
    t = our_batch(0, 0, "batch-1", "completed", 60, 50);
    t->output = "file-out";
    give(WIRE_FILES, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_string_equal(last()->output, "file-out");
    assert_told_deletion(WIRE_LISTED, "batch-1", "");
    t->status = NULL;
    give(WIRE_FILES, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_told_deletion(WIRE_GONE, "batch-1", "");
    assert_int_equal(w->deletes, 0);
}

/* Whatever the registry has of it. */
static void a_batch_that_runs_after_all_keeps_its_files(void **state)
{
    (void)state;
    our_batch(0, 0, "batch-1", "in_progress", 60, 50)->output = "file-out";
    give(WIRE_FILES, 0, 0, "batch-1");
    pass(&w->loop, SECOND);
    assert_string_equal(last()->output, "");
    assert_told_deletion(WIRE_NOT_NOW, "batch-1",
                         "its provider's answer is no batch that has ended");
}

static void files_of_an_account_that_is_not_here_stay(void **state)
{
    (void)state;
    give(WIRE_DELETE, 0, 0, "file-1")->account = 0xdead;
    pass(&w->loop, SECOND);
    assert_int_equal(keeper.num_told, 1);
    assert_int_equal(last()->deletion.end, WIRE_NOT_NOW);
    assert_string_equal(last()->why, "its account is not configured any more");
    assert_int_equal(w->num_calls, 0);
}

static void without_a_journal_nothing_is_asked(void **state)
{
    (void)state;
    keeper.questions = 0;
    w->upkeep.due = NULL;
    w->config.journal = false;
    fake_stop(&w->loop.base, w->loop.timers[0]);
    assert_int_equal(due_start(&w->upkeep), 0);
    pass(&w->loop, MINUTE);
    assert_int_equal(keeper.questions, 0);
    assert_false(due_is_served(&w->upkeep));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_due_is_looked_at_and_reported),
        TEST(the_ledger_learns_of_an_end),
        TEST(what_does_not_answer_is_given_back),
        TEST(what_is_not_there_is_said_to_be_gone),
        TEST(an_account_that_is_not_here_is_anothers),
        TEST(a_claim_that_waits_is_kept),
        TEST(what_an_account_that_is_quiet_has_is_given_back),
        TEST(a_full_list_is_asked_for_no_more),
        TEST(the_first_question_says_that_nothing_is_worked_on),
        TEST(an_output_is_added_up_before_the_end_is_reported),
        TEST(an_output_that_is_missing_leaves_the_usage_open),
        TEST(outputs_of_all_accounts_are_read),
        TEST(a_long_output_has_the_limits_of_files),
        TEST(long_outputs_hold_up_nothing_else),
        TEST(a_provider_that_trickles_its_outputs_does_not_keep_others_from_being_measured),
        TEST(who_waits_for_a_slow_account_gives_its_turn_to_others),
        TEST(outputs_that_have_just_begun_keep_their_places),
        TEST(few_batches_wait_for_their_outputs),
        TEST(outputs_of_an_account_that_is_quiet_are_another_times),
        TEST(a_create_that_was_carried_out_is_found),
        TEST(a_create_that_no_list_shows_was_not_made),
        TEST(a_list_that_cannot_be_had_says_nothing),
        TEST(a_create_is_not_looked_for_at_an_account_that_is_quiet),
        TEST(what_others_cannot_tell_cuts_no_rebuild),
        TEST(a_rebuild_that_cannot_tell_says_so),
        TEST(a_rebuild_reads_all_lists_once),
        TEST(a_rebuild_says_which_lists_it_could_not_read),
        TEST(while_the_keeper_serves_the_ledger_asks_seldom),
        TEST(a_file_is_deleted_by_one_call),
        TEST(a_delete_that_fails_is_another_times),
        TEST(a_batch_tells_which_files_it_has),
        TEST(a_batch_that_runs_after_all_keeps_its_files),
        TEST(files_of_an_account_that_is_not_here_stay),
        TEST(without_a_journal_nothing_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
