/* See due.h: what is found in the accounts' lists, a create's batch, or all of them. */
#include "due.h"

#include <assert.h>
#include <string.h>

#include "common/log.h"
#include "core/provider_clock.h"
#include "due_impl.h"
#include "pages.h"

#define LIST_QUERY "limit=100"

/* --- decisions --- */

/* By the database's clock: the provider's may be another one. */
static uint64_t age_ms_of(const struct wire_due *due)
{
    return due->now_s > due->created_s ? (due->now_s - due->created_s) * 1000 : 0;
}

bool due_was_not_made(const struct wire_due *due, bool whole, uint64_t page_age_ms)
{
    uint64_t age_ms = age_ms_of(due);

    return due->tries > 0 && age_ms > DUE_FIND_MS &&
           (whole || page_age_ms > age_ms + DUE_FIND_SLACK_MS);
}

/* --- what was found --- */

/* @return false: it cannot be told now */
static bool tell_found(struct upkeep *upkeep, const struct upkeep_account *account,
                       const struct observation *s, const struct json *batch)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct strbuf errors = STRBUF_INIT;
    bool told = true;

    if (upkeep->due == NULL || !s->marked)
        return true;
    if (seen_read(batch, &seen, &errors)) {
        seen.by = WIRE_BY_REBUILD;
        seen.account = account->fingerprint;
        seen.deployment = s->marker.deployment;
        seen_mark(&s->marker, &seen);
        told = journal_seen(upkeep->due->journal, &seen) == 0;
    }
    strbuf_deinit(&errors);
    return told;
}

void due_found(struct upkeep *upkeep, const struct upkeep_account *account,
               const struct observation *s, const struct json *batch)
{
    if (!tell_found(upkeep, account, s, batch)) /* a rebuild finds it */
        log_debug("account %s: batch %s, which a list has shown, cannot be told",
                  upkeep_account_name(account), s->id);
}

static int64_t now_s_of(const struct upkeep_account *account)
{
    return provider_clock_now_s(account->upkeep->rt.inherited, account->deployment);
}

/* --- one create --- */

static void on_listed(void *arg, struct json_doc *doc, struct json *object)
{
    struct due_task *task = arg;
    struct observation s;
    uint64_t age_ms;

    if (!observation_read(doc, object, task->due->upkeep->rt.inherited->seals, &s))
        return;
    age_ms = observation_age_ms(&s, now_s_of(task->account));
    if (age_ms > task->page_age_ms)
        task->page_age_ms = age_ms;
    if (task->found || !s.marked || strcmp(s.marker.nonce, task->nonce) != 0)
        return;
    task->found = true;
    due_found(task->due->upkeep, task->account, &s, object);
}

static bool on_more(void *arg)
{
    const struct due_task *task = arg;

    return !task->found && task->page_age_ms <= age_ms_of(&task->wire) + DUE_FIND_SLACK_MS;
}

static void on_read(void *arg, enum pages_end end, const char *why)
{
    struct due_task *task = arg;
    struct wire_drop drop = {
        .why = WIRE_NOT_MADE, .id = task->id, .claim = task->claim, .nonce = task->nonce};

    if (end == PAGES_FAILED)
        log_debug("account %s: a create of unknown outcome cannot be looked for: %s",
                  upkeep_account_name(task->account), why);
    else if (!task->found && due_was_not_made(&task->wire, end == PAGES_WHOLE, task->page_age_ms))
        (void)journal_drop(task->due->journal, &drop);
    due_task_end(task);
}

void due_find_start(struct due_task *task)
{
    struct pages_spec spec = {.account = task->account,
                              .call = CALL_BATCH_LIST,
                              .query = LIST_QUERY,
                              .paged = true,
                              .max_pages = DUE_FIND_PAGES,
                              .on_object = on_listed,
                              .on_more = on_more,
                              .on_done = on_read,
                              .arg = task};

    assert(task->wire.task == WIRE_FIND);
    if (task->nonce[0] == '\0' || upkeep_account_is_quiet(task->account) ||
        pages_start(&spec) != 0) /* its claim runs out; others need not wait behind it */
        due_task_end(task);
}

/* --- all of them --- */

static void next_account(struct due *due);

static struct upkeep_account *account_of(const struct due *due)
{
    assert(due->build.at < due->upkeep->num_accounts);
    return &due->upkeep->accounts[due->build.at];
}

static void on_build_object(void *arg, struct json_doc *doc, struct json *object)
{
    struct due *due = arg;
    struct observation s;

    if (observation_read(doc, object, due->upkeep->rt.inherited->seals, &s))
        due->build.cut |= !tell_found(due->upkeep, account_of(due), &s, object);
}

static bool on_build_more(void *arg)
{
    return !((const struct due *)arg)->build.cut;
}

static void on_build_end(void *arg, enum pages_end end, const char *why)
{
    struct due *due = arg;

    if (end == PAGES_FAILED)
        log_warn("account %s: its batches cannot be read for the journal: %s",
                 upkeep_account_name(account_of(due)), why);
    due->build.unread += end == PAGES_FAILED || due->build.cut;
    due->build.at++;
    next_account(due);
}

static bool start_account(struct due *due)
{
    struct pages_spec spec = {.account = account_of(due),
                              .call = CALL_BATCH_LIST,
                              .query = LIST_QUERY,
                              .paged = true,
                              .max_pages = DUE_BUILD_PAGES,
                              .on_object = on_build_object,
                              .on_more = on_build_more,
                              .on_done = on_build_end,
                              .arg = due};

    due->build.cut = false;
    return pages_start(&spec) == 0;
}

static void next_account(struct due *due)
{
    for (; due->build.at < due->upkeep->num_accounts; due->build.at++) {
        if (account_of(due)->deployment == MODEL_NO_INDEX ||
            account_of(due)->same_resource != due->build.at)
            continue; /* nothing of ours can be there, or it is another one's list */
        if (start_account(due))
            return;
        due->build.unread++;
    }
    due->build.done = true;
}

void due_build_start(struct due *due, uint32_t number)
{
    if (number == 0 || number == due->build.number)
        return;
    if (due->build.number != 0 && !due->build.done)
        return; /* the keeper was started again meanwhile: after this one */
    due->build = (struct due_build){.number = number};
    next_account(due);
}
