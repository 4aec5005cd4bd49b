/* See due.h: the questions, and batches that are looked at. Lists are read in due_find.c. */
#include "due.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "copies.h"
#include "core/provider_clock.h"
#include "due_impl.h"
#include "file_count.h"
#include "mover.h"
#include "objects/moved.h"
#include "objects/owned.h"
#include "objects/polls.h"
#include "tenants/ask.h"
#include "usage/batch_usage.h"

#define AGAIN_MS 1000 /* until a keeper that did not answer is asked again */

/* --- decisions --- */

enum due_usage due_usage_of(const struct wire_seen *seen, bool in_batch, uint64_t now_s)
{
    if (in_batch)
        return DUE_IS_KNOWN;
    if (seen_used_nothing(seen))
        return DUE_NOTHING;
    if (seen->finished_s != 0 && now_s > seen->finished_s + DUE_OUTPUT_S)
        return seen->output[0] != '\0' && now_s < seen->finished_s + 2 * (uint64_t)DUE_OUTPUT_S
                   ? DUE_READ
                   : DUE_NOTHING;
    return seen->output[0] != '\0' ? DUE_READ : DUE_WAIT;
}

bool due_pass_yields(uint64_t still_ms, uint64_t finished_s, uint64_t now_s)
{
    uint64_t age_s = finished_s == 0 ? DUE_OUTPUT_S : now_s > finished_s ? now_s - finished_s : 0;

    return still_ms > DUE_STILL_MS && still_ms > age_s * 1000 / 4;
}

/* --- a task --- */

static uint64_t now_of(const struct due *due)
{
    return loop_now_ms(due->upkeep->rt.loop);
}

static const struct inherited *inherited_of(const struct due_task *task)
{
    return task->due->upkeep->rt.inherited;
}

void due_task_end(struct due_task *task)
{
    assert(task->due != NULL);
    json_doc_free(task->doc);
    free(task->seen);
    strbuf_deinit(&task->errors);
    free(task->pass);
    *task = (struct due_task){0};
}

static void report(struct due_task *task)
{
    int ret = journal_seen(task->due->journal, task->seen);

    if (ret != 0) /* its claim runs out, and it is looked at again */
        log_debug("batch %s: what was seen of it cannot be told: %s", task->native, err_str(ret));
    due_task_end(task);
}

/* Nothing was heard of it: somebody else may have it. */
static void give_back(struct due_task *task, bool gone)
{
    static struct wire_seen seen; /* one process, one call at a time */

    memset(&seen, 0, sizeof(seen));
    seen.by = WIRE_BY_WATCH;
    seen.gone = gone;
    seen.native = task->native;
    seen.account = task->wire.account;
    seen.deployment = task->wire.deployment;
    (void)journal_seen(task->due->journal, &seen);
    due_task_end(task);
}

/* --- its output --- */

static void start_passes(struct due *due);

static void end_pass(struct due_task *task, const struct attempt_result *result)
{
    struct due *due = task->due;

    assert(task->pass != NULL);
    task->reading = NULL;
    if (result->ok) {
        usage_pass_finish(task->pass, &task->counts);
        seen_use(&task->counts, task->seen);
    } else {
        log_debug("batch %s: its output cannot be read: %s", task->native, result->failure.message);
    }
    report(task);
    start_passes(due);
}

static void on_output(void *arg, const struct attempt_result *result)
{
    end_pass(arg, result);
}

static bool on_piece(void *arg, const char *bytes, size_t len)
{
    struct due_task *task = arg;

    usage_pass_feed(task->pass, bytes, len);
    task->moved += len;
    if (task->moved >= DUE_MOVE) {
        task->moved = 0;
        task->moved_ms = now_of(task->due);
    }
    return true;
}

static void start_pass(struct due_task *task)
{
    task->pass = malloc(sizeof(*task->pass));
    if (task->pass != NULL) {
        usage_pass_init(task->pass);
        task->moved = 0;
        task->moved_ms = now_of(task->due);
        if (upkeep_content_start(task->account, task->seen->output, on_piece, on_output, task,
                                 &task->reading) == 0)
            return;
    }
    report(task); /* measured the next time */
}

/* @param account  NULL: of all */
static unsigned num_passes(const struct due *due, const struct upkeep_account *account)
{
    unsigned num = 0;

    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        const struct due_task *task = &due->tasks[i];

        num += task->due != NULL && task->pass != NULL &&
               (account == NULL || task->account == account);
    }
    return num;
}

static bool account_has_place(const struct due_task *task)
{
    return num_passes(task->due, task->account) < UPKEEP_CONTENTS_OF_ACCOUNT;
}

static bool has_place(const struct due_task *task)
{
    return num_passes(task->due, NULL) < UPKEEP_CONTENTS && account_has_place(task);
}

static unsigned num_waiting(const struct due *due)
{
    unsigned num = 0;

    for (size_t i = 0; i < WIRE_MAX_DUE; i++)
        num += due->tasks[i].due != NULL && due->tasks[i].wants_pass;
    return num;
}

/* One that could not begin if there was a place. */
static struct due_task *hopeless(struct due *due)
{
    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        struct due_task *task = &due->tasks[i];

        if (task->due != NULL && task->wants_pass && !account_has_place(task))
            return task;
    }
    return NULL;
}

/* Its end is told without what it used where that would take the place of others: it is measured the
 * next time. */
static void want_pass(struct due_task *task)
{
    bool quiet = upkeep_account_is_quiet(task->account);
    bool full = num_waiting(task->due) >= DUE_WAITING;
    struct due_task *other = full && account_has_place(task) ? hopeless(task->due) : NULL;

    if (!quiet && has_place(task)) {
        start_pass(task);
    } else if (!quiet && (!full || other != NULL)) {
        task->wants_pass = true;
        if (other != NULL)
            report(other);
    } else {
        report(task);
    }
}

static void start_passes(struct due *due)
{
    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        struct due_task *task = &due->tasks[i];

        if (task->due == NULL || !task->wants_pass)
            continue;
        task->wants_pass = false;
        want_pass(task);
    }
}

/* The one that any place would do for. */
static struct due_task *first_waiting(struct due *due)
{
    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        struct due_task *task = &due->tasks[i];

        if (task->due != NULL && task->wants_pass && account_has_place(task) &&
            !upkeep_account_is_quiet(task->account))
            return task;
    }
    return NULL;
}

/* To an output of its own account it does not, which would hardly come faster. */
static bool yields_to(const struct due_task *task, const struct due_task *other)
{
    uint64_t now_s = (uint64_t)provider_clock_now_s(inherited_of(task), task->account->deployment);

    return task->reading != NULL && task->account != other->account &&
           due_pass_yields(now_of(task->due) - task->moved_ms, task->seen->finished_s, now_s);
}

/* Its end is told without what it used: it is due again. */
static void yield_pass(struct due *due)
{
    struct due_task *slowest = NULL, *other = first_waiting(due);

    if (other == NULL || num_passes(due, NULL) < UPKEEP_CONTENTS)
        return;
    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        struct due_task *task = &due->tasks[i];

        if (task->due != NULL && yields_to(task, other) &&
            (slowest == NULL || task->moved_ms < slowest->moved_ms))
            slowest = task;
    }
    if (slowest == NULL)
        return;
    log_info("batch %s: its output comes too slowly, while others wait: it is read another time",
             slowest->native);
    upkeep_content_cancel(slowest->reading);
    slowest->reading = NULL;
    report(slowest);
    other->wants_pass = false;
    want_pass(other);
}

/* --- the batch --- */

static bool read_own_usage(struct due_task *task, const struct json *batch)
{
    const struct price_book *prices = &inherited_of(task)->config->prices;
    bool tiered = price_book_is_tiered(prices, task->wire.deployment, json_get_str(batch, "model"));

    return batch_usage_read(batch, tiered, &task->counts);
}

/* It has ended: what it used goes with the report, or is found out first. */
static void measure(struct due_task *task, const struct json *batch)
{
    uint64_t now_s = (uint64_t)provider_clock_now_s(inherited_of(task), task->account->deployment);

    switch (due_usage_of(task->seen, read_own_usage(task, batch), now_s)) {
    case DUE_IS_KNOWN:
        seen_use(&task->counts, task->seen);
        break;
    case DUE_NOTHING:
        task->seen->source = WIRE_USAGE_NONE;
        break;
    case DUE_READ:
        want_pass(task);
        return;
    case DUE_WAIT:
        break;
    }
    report(task);
}

static uint32_t column_of(const struct due_task *task, const struct observation *s)
{
    const struct inherited *inherited = inherited_of(task);
    uint32_t deployment = table_find_fingerprint(inherited->table, task->wire.deployment);

    if (deployment == MODEL_NO_INDEX && s->marked)
        deployment = ledger_deployment(inherited, &s->marker);
    return deployment != MODEL_NO_INDEX ? inherited->columns[deployment] : UINT32_MAX;
}

/* This node's ledger, its lists of tenants' files, and the copy that a moved batch ran on: as in
 * watch.c. */
static void note_here(struct due_task *task, struct observation *s, const struct json *batch)
{
    struct upkeep *upkeep = task->due->upkeep;
    const struct inherited *inherited = upkeep->rt.inherited;
    uint32_t column = column_of(task, s);
    uint64_t tokens = task->wire.tokens != 0 ? task->wire.tokens : s->marked ? s->marker.tokens : 0;
    uint64_t now_ms = now_of(task->due);
    int64_t now_s = provider_clock_now_s(inherited, task->account->deployment);

    if (s->marked)
        owned_note_batch(inherited, task->account->fingerprint, s->marker.owner, &s->marker, batch);
    observation_refund(inherited->config, s);
    if (column != UINT32_MAX &&
        observation_record(inherited->quota, upkeep->rt.slot, column, s, tokens,
                           observation_age_ms(s, now_s), now_ms) == OBSERVATION_RELEASED)
        observation_note_ended(inherited, column, task->account->fingerprint, s, tokens, now_ms);
    if (s->phase != LEDGER_RUNNING && !moved_needs_copy(inherited, task->account->fingerprint, s) &&
        copies_delete(task->account, s))
        file_count_forget(task->account, s->copy);
}

/* @return whether the answer is the batch that was asked for */
static bool read_batch(struct due_task *task, const struct attempt_result *result,
                       struct json **out)
{
    struct observation s;
    struct json_error error;
    struct json *batch;

    task->doc = json_doc_new();
    task->seen = calloc(1, sizeof(*task->seen));
    if (task->doc == NULL || task->seen == NULL)
        return false;
    batch = json_parse(task->doc, result->upstream->body, result->upstream->body_len, &error);
    if (batch == NULL)
        return false;
    batch = polls_believe(inherited_of(task), task->account->fingerprint, task->doc, batch,
                          now_of(task->due), task->moment);
    if (!observation_read(task->doc, batch, inherited_of(task)->seals, &s) ||
        strcmp(s.id, task->native) != 0 || !seen_read(batch, task->seen, &task->errors))
        return false;
    note_here(task, &s, batch);
    task->marker = s.marker;
    if (s.marked)
        seen_mark(&task->marker, task->seen);
    *out = batch;
    return true;
}

static void ask_for_batch(struct due_task *task);

static void on_batch(void *arg, const struct attempt_result *result)
{
    struct due_task *task = arg;
    struct json *batch = NULL;

    int status = result->upstream->head.status;

    if (task->wire.cancels != 0 && !result->ok && (status == 400 || status == 409)) {
        task->wire.cancels = 0; /* it has ended */
        ask_for_batch(task);
    } else if (outcome_is_gone(result->upstream)) {
        give_back(task, true);
    } else if (!result->ok || !read_batch(task, result, &batch)) {
        give_back(task, false);
    } else {
        task->seen->by = WIRE_BY_WATCH;
        task->seen->account = task->wire.account;
        task->seen->deployment = task->wire.deployment;
        if (seen_is_ended(task->seen))
            measure(task, batch);
        else
            report(task);
    }
}

/* One that was moved while its client cancelled it is cancelled where it is. */
static void ask_for_batch(struct due_task *task)
{
    enum provider_call call = task->wire.cancels != 0 ? CALL_BATCH_CANCEL : CALL_BATCH_GET;

    if (upkeep_account_is_quiet(task->account) || /* others need not wait behind it */
        upkeep_call_start(task->account, call, task->native, NULL, on_batch, task) != 0)
        give_back(task, false);
}

/* --- the questions --- */

static struct due_task *free_task(struct due *due)
{
    for (size_t i = 0; i < WIRE_MAX_DUE; i++)
        if (due->tasks[i].due == NULL)
            return &due->tasks[i];
    return NULL;
}

static bool copy(char *out, size_t size, const char *text, const char **kept)
{
    *kept = out;
    return (size_t)snprintf(out, size, "%s", text) < size;
}

/* @return false: it cannot be one of ours */
static bool take(struct due_task *task, struct due *due, const struct wire_due *wire)
{
    *task = (struct due_task){.due = due, .wire = *wire, .since_ms = now_of(due)};
    task->wire.status = task->wire.output = task->wire.error = "";
    return copy(task->native, sizeof(task->native), wire->native, &task->wire.native) &&
           copy(task->id, sizeof(task->id), wire->id, &task->wire.id) &&
           copy(task->claim, sizeof(task->claim), wire->claim, &task->wire.claim) &&
           copy(task->nonce, sizeof(task->nonce), wire->nonce, &task->wire.nonce);
}

static void start_task(struct due_task *task)
{
    struct upkeep *upkeep = task->due->upkeep;
    uint32_t account = runtime_find_account(&upkeep->rt, task->wire.account);

    task->moment = polls_moment(inherited_of(task));
    if (account != MODEL_NO_INDEX)
        task->account = &upkeep->accounts[account];
    if (task->wire.task == WIRE_MOVE) {
        mover_start(task);
    } else if (task->wire.task == WIRE_FILES || task->wire.task == WIRE_DELETE) {
        due_delete_start(task);
    } else if (task->account == NULL || task->account->deployment == MODEL_NO_INDEX) {
        if (task->wire.task == WIRE_FIND)
            due_task_end(task);
        else
            give_back(task, false);
    } else if (task->wire.task == WIRE_FIND) {
        due_find_start(task);
    } else {
        ask_for_batch(task);
    }
}

static void on_list(void *arg, const struct wire_due_list *list)
{
    struct due *due = arg;
    uint32_t wait_ms = list != NULL ? list->wait_ms : AGAIN_MS;

    due->call = NULL;
    if (list != NULL)
        due->heard_ms = now_of(due);
    for (uint32_t i = 0; list != NULL && i < list->num; i++) {
        struct due_task *task = free_task(due);

        if (task == NULL)
            break; /* more than was asked for: due again when their claims are over */
        if (take(task, due, &list->due[i]))
            start_task(task);
        else
            *task = (struct due_task){0};
    }
    if (list != NULL)
        due_build_start(due, list->rebuild);
    if (wait_ms == 0 && free_task(due) == NULL)
        wait_ms = AGAIN_MS;
    if (loop_timer_start(due->upkeep->rt.loop, &due->tick, wait_ms) != 0)
        log_error("the watch of batches stopped: %s", err_str(ERR_NOMEM));
}

static void fill_question(struct due *due, struct wire_due_ask *question)
{
    uint64_t now_ms = now_of(due);

    for (size_t i = 0; i < WIRE_MAX_DUE; i++) {
        struct due_task *task = &due->tasks[i];

        if (task->due == NULL) {
            question->max++;
        } else if (task->wire.task <= WIRE_MEASURE && now_ms >= task->since_ms + DUE_RENEW_MS) {
            task->since_ms = now_ms;
            question->held[question->num_held++] =
                (struct wire_held){.account = task->wire.account, .native = task->native};
        }
    }
    question->fresh = due->heard_ms == 0;
    if (due->build.done)
        question->rebuilt = due->build.number;
    question->unread = due->build.unread;
}

static void on_tick(struct loop_timer *timer)
{
    static struct wire_due_ask question; /* one process, one call at a time */
    struct due *due = timer->arg;

    assert(due->call == NULL);
    yield_pass(due);
    start_passes(due); /* an account may have become quiet meanwhile */
    memset(&question, 0, sizeof(question));
    fill_question(due, &question);
    if (journal_due(due->journal, &question, on_list, due, &due->call) != 0)
        (void)loop_timer_start(due->upkeep->rt.loop, timer, AGAIN_MS); /* its slot was just freed */
}

bool due_is_served(const struct upkeep *upkeep)
{
    const struct due *due = upkeep->due;

    return due != NULL && due->heard_ms != 0 && now_of(due) < due->heard_ms + DUE_FRESH_MS;
}

int due_start(struct upkeep *upkeep)
{
    struct runtime *rt = &upkeep->rt;
    struct due *due;
    int ret;

    if (!rt->config->journal || rt->inherited->door == NULL)
        return 0;
    due = calloc(1, sizeof(*due));
    if (due == NULL)
        return ERR_NOMEM;
    upkeep->due = due;
    due->upkeep = upkeep;
    due->tick = (struct loop_timer){.cb = on_tick, .arg = due};
    ret = ask_new(rt->loop, rt->inherited->door, rt->config->timeouts.database_ms, &due->ask);
    if (ret == 0)
        ret = journal_new(rt->loop, due->ask, &due->journal);
    return ret == 0 ? loop_timer_start(rt->loop, &due->tick, 0) : ret;
}
