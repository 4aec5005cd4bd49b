/* See due.h: files of batches that are to be deleted (store/store_deletions.h), one call for each.
 * Which files a batch has its provider is asked first, for they may have come after its end was
 * seen. A DELETE is repeated as often as nobody can write that it was done: a provider that has no
 * such file any more says so, and that is as good. */
#include "due.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "core/reading.h"
#include "due_impl.h"
#include "file_count.h"
#include "objects/owned.h"
#include "objects/polls.h"

#define ANSWER_JSON "its provider's answer is no batch that has ended"

/* --- decisions --- */

enum wire_deletion_end due_deleted(bool ok, bool gone)
{
    if (ok)
        return WIRE_DELETED;
    return gone ? WIRE_GONE : WIRE_NOT_NOW;
}

bool due_is_foreign(uint64_t of_file, uint64_t of_batch)
{
    return of_file != 0 && of_file != of_batch;
}

/* --- what is told --- */

static const struct inherited *inherited_of(const struct due_task *task)
{
    return task->due->upkeep->rt.inherited;
}

static void tell(struct due_task *task, enum wire_deletion_end end, const struct wire_seen *seen,
                 const char *why)
{
    struct wire_deletion deletion = {
        .end = end, .account = task->wire.account, .native = task->native, .why = why};
    int ret;

    if (seen != NULL) {
        deletion.input = seen->input;
        deletion.output = seen->output;
        deletion.error = seen->error;
    }
    ret = journal_deletion(task->due->journal, &deletion);
    if (ret != 0) /* its claim runs out, and it is done again */
        log_debug("file %s: what became of it cannot be told: %s", task->native, err_str(ret));
    due_task_end(task);
}

static void tell_failure(struct due_task *task, const struct attempt_result *result)
{
    char why[WIRE_MAX_WHY + 1];
    int status = result->upstream->head.status;

    if (status != 0)
        snprintf(why, sizeof(why), "its provider answered %d", status);
    else
        snprintf(why, sizeof(why), "its provider did not answer");
    tell(task, WIRE_NOT_NOW, NULL, why);
}

/* --- a file --- */

/* Lists, slots and what is kept of polls know it no more. */
static void forget(const struct due_task *task)
{
    const struct inherited *inherited = inherited_of(task);

    owned_forget(inherited, task->account->fingerprint, ID_FILE, task->native);
    file_count_forget(task->account, task->native);
    polls_changed(inherited, task->account->fingerprint, task->native);
}

static void on_deleted(void *arg, const struct attempt_result *result)
{
    struct due_task *task = arg;
    enum wire_deletion_end end = due_deleted(result->ok, outcome_is_gone(result->upstream));

    if (end == WIRE_NOT_NOW) {
        tell_failure(task, result);
        return;
    }
    forget(task);
    tell(task, end, NULL, "");
}

static void start_delete(struct due_task *task)
{
    const struct inherited *inherited = inherited_of(task);

    if (due_is_foreign(owned_by(inherited, task->account->fingerprint, ID_FILE, task->native),
                       task->wire.owner)) {
        tell(task, WIRE_FOREIGN, NULL, "");
    } else if (inherited->shared != NULL &&
               reading_is_read(inherited->shared->reading, WORKER_ROWS, task->native)) {
        tell(task, WIRE_NOT_NOW, NULL, "a client is reading it");
    } else if (upkeep_call_start(task->account, CALL_FILE_DELETE, task->native, NULL, on_deleted,
                                 task) != 0) {
        due_task_end(task);
    }
}

/* --- a batch --- */

/* One that runs after all keeps its files, whatever the registry has of it. */
static bool read_files(struct due_task *task, const struct attempt_result *result,
                       struct wire_seen *seen)
{
    struct observation s;
    struct json_error error;
    struct json *batch;

    task->doc = json_doc_new();
    if (task->doc == NULL)
        return false;
    batch = json_parse(task->doc, result->upstream->body, result->upstream->body_len, &error);
    return batch != NULL && observation_read(task->doc, batch, inherited_of(task)->seals, &s) &&
           strcmp(s.id, task->native) == 0 && seen_read(batch, seen, &task->errors) &&
           seen_is_ended(seen);
}

static void on_batch(void *arg, const struct attempt_result *result)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct due_task *task = arg;

    if (outcome_is_gone(result->upstream))
        tell(task, WIRE_GONE, NULL, "");
    else if (!result->ok)
        tell_failure(task, result);
    else if (!read_files(task, result, &seen))
        tell(task, WIRE_NOT_NOW, NULL, ANSWER_JSON);
    else
        tell(task, WIRE_LISTED, &seen, "");
}

void due_delete_start(struct due_task *task)
{
    assert(task->wire.task == WIRE_FILES || task->wire.task == WIRE_DELETE);
    if (task->account == NULL || task->account->deployment == MODEL_NO_INDEX)
        tell(task, WIRE_NOT_NOW, NULL, "its account is not configured any more");
    else if (upkeep_account_is_quiet(task->account)) /* others need not wait behind it */
        tell(task, WIRE_NOT_NOW, NULL, "its provider failed a moment ago");
    else if (task->wire.task == WIRE_DELETE)
        start_delete(task);
    else if (upkeep_call_start(task->account, CALL_BATCH_GET, task->native, NULL, on_batch, task) !=
             0)
        due_task_end(task);
}
