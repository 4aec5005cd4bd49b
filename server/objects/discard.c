/* See discard.h. */
#include "objects/discard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "calls/attempt.h"
#include "objects/file_slots.h"

#define MAX_TRIES 4

struct discard {
    struct runtime *rt; /* borrowed; `operations` counts us */
    uint32_t deployment;
    char native[IDS_MAX + 1];
    uint32_t tries;
    struct loop_timer retry;
};

static int send_delete(struct discard *d);

static void end(struct discard *d, const char *why)
{
    if (why != NULL)
        log_warn("account %s: cannot delete the copy %.128s: %s",
                 runtime_account(d->rt, d->deployment)->name, d->native, why);
    assert(d->rt->operations > 0);
    d->rt->operations--;
    free(d);
}

static void on_retry(struct loop_timer *timer)
{
    struct discard *d = timer->arg;

    if (send_delete(d) != 0)
        end(d, "out of memory");
}

static void on_deleted(void *arg, const struct attempt_result *result)
{
    struct discard *d = arg;
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer answer;

    if (result->ok || result->upstream->head.status == 404) {
        file_slots_deleted(d->rt, d->deployment, d->native);
        log_debug("account %s: the copy %.128s is deleted",
                  runtime_account(d->rt, d->deployment)->name, d->native);
        end(d, NULL);
        return;
    }
    question.pinned = question.idempotent = true;
    question.tries = d->tries;
    question.max_tries = MAX_TRIES;
    answer = attempt_decide(d->rt, d->deployment, &question);
    if (answer.action != RETRY_SAME ||
        loop_timer_start(d->rt->loop, &d->retry, answer.delay_ms) != 0)
        end(d, result->failure.message);
}

static int send_delete(struct discard *d)
{
    struct attempt_spec spec = {.deployment = d->deployment,
                                .call = CALL_FILE_DELETE,
                                .id = d->native,
                                .on_done = on_deleted,
                                .arg = d};

    d->tries++;
    return attempt_start(d->rt, &spec) != NULL ? 0 : ERR_NOMEM;
}

void discard_file(struct runtime *rt, uint32_t deployment, const char *native)
{
    struct discard *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return;
    d->rt = rt;
    rt->operations++;
    d->deployment = deployment;
    snprintf(d->native, sizeof(d->native), "%s", native);
    d->retry.cb = on_retry;
    d->retry.arg = d;
    if (send_delete(d) != 0)
        end(d, "out of memory");
}
