/* What to do after a failed try. The one question that matters is answered first, by did_nothing():
 * is it known that upstream has done nothing? Only then, or for a request that may be repeated by
 * its nature, is anything sent again.
 *
 * Answers that are refusals, that is, prove that the request was not carried out:
 *
 *   400-451, not 408  RFC 9110, 15.5: the request is at fault. 401, 403, 429 and Azure's 400
 *                     token_limit_exceeded (providers 2.6) another deployment may not give.
 *   503               RFC 9110, 15.6.4: not able to handle the request now; unless a proxy says
 *                     it lost its own connection (Envoy's flags UC, UR): lost_behind.
 *   501 505           RFC 9110, 15.6.2 and 15.6.6: method or version not supported.
 *   521 523 525 526   Cloudflare, in front of OpenAI, got no connection to the origin.
 *
 * Answers that are not:
 *
 *   408               RFC 9110, 15.5.9 says that the request was incomplete, but Azure also answers
 *                     it when its own backend was slow.
 *   452-499           nobody's standard; 460 and 499 are proxies that lost their client.
 *   500               failed somewhere on the way, perhaps after the batch was made.
 *   502 504           a proxy has no usable answer of the server behind it.
 *   520 522 524       the same from Cloudflare (522 also when the origin stops acknowledging).
 *   2xx 3xx           that we cannot use: it was probably carried out.
 *
 * A refusal of a create in other words than the provider's (a page, plain text, a gateway's JSON,
 * no body at all) comes from something in front of it, which may have passed the create on and lost
 * patience: it proves nothing. But for 401, which is told before anything is passed on, and for
 * Cloudflare's, which say themselves that there was no connection. An upload is no matter of money.
 *
 * No idempotency key exists upstream (providers 1.8): only a refusal makes repeating
 * safe. */
#include "balancer/retry.h"

#include <stddef.h>
#include <string.h>

#include "common/seeded_fault.h"

#define DELAY_FIRST_MS 200u  /* before the second try; doubled for each further one */
#define DELAY_MAX_MS   2000u /* longer waits are the client's: SDKs honour Retry-After themselves */

static bool is_refusal(const struct retry_question *q)
{
    switch (q->status) {
    case 408:
        return false;
    case 501:
    case 505:
    case 521:
    case 523:
    case 525:
    case 526:
        return true;
    case 503:
        return !q->lost_behind;
    default:
        return q->status >= 400 && q->status <= 451;
    }
}

/* Statuses that say by themselves that the request got no further than what answers. */
static bool is_from_the_door(int status)
{
    return status == 401 || status == 521 || status == 523 || status == 525 || status == 526;
}

bool retry_is_doubtful(const struct retry_question *q)
{
    return q->op == OP_CREATE && q->answered && q->foreign && is_refusal(q) &&
           !is_from_the_door(q->status);
}

/* Whether it is known that upstream did nothing. When the facts contradict each other (an answer to
 * nothing), the answer counts. */
static bool did_nothing(const struct retry_question *q)
{
    if (q->op == OP_CREATE && seeded_fault(SEEDED_RETRIED_CREATE))
        return true;
    return q->answered ? is_refusal(q) && !retry_is_doubtful(q) : q->nothing_sent && q->status == 0;
}

/* Creates and uploads are never repeatable by nature, whatever the caller says. */
static bool is_repeatable(const struct retry_question *q)
{
    return (q->op == OP_READ && q->idempotent) || did_nothing(q);
}

/* A success, or a refusal for what the request is: the client's to know, whoever asks again. A 460
 * or 499 is neither, although its number makes it look like the client's mistake. */
static bool is_usable(const struct retry_question *q)
{
    return q->answered && q->outcome == OUTCOME_OK &&
           (q->status < 400 || (is_refusal(q) && !retry_is_doubtful(q)));
}

/* Whether the same deployment may answer otherwise a moment later. */
static bool may_pass(const struct retry_question *q)
{
    switch (q->outcome) {
    case OUTCOME_RATE_LIMIT:
    case OUTCOME_TIMEOUT:
    case OUTCOME_CONNECT:
    case OUTCOME_BROKEN:
        return true;
    case OUTCOME_SERVER_ERROR:
        return q->status != 501 && q->status != 505;
    case OUTCOME_BAD_ANSWER:
        return q->status < 300 || q->status >= 400; /* a redirect stays one */
    default:
        return false; /* OK and CANCELLED need no other try, AUTH needs an operator */
    }
}

/* Exponential back-off, between half and the whole of it. */
static uint32_t backoff_ms(uint32_t tries, double random)
{
    uint32_t ms = DELAY_FIRST_MS;

    for (uint32_t i = 1; i < tries && ms < DELAY_MAX_MS; i++)
        ms *= 2;
    if (ms > DELAY_MAX_MS)
        ms = DELAY_MAX_MS;
    return ms / 2 + (uint32_t)(random * (ms / 2));
}

/* Not before upstream and the operator said, not at all when upstream asks for more than a client
 * who waits, or the operator, has patience for. */
static struct retry_answer same_again(const struct retry_question *q, double random)
{
    struct retry_answer answer = {RETRY_SAME, backoff_ms(q->tries, random)};
    uint32_t max_ms = q->least_delay_ms > DELAY_MAX_MS ? q->least_delay_ms : DELAY_MAX_MS;

    if (q->retry_after_ms > (int64_t)max_ms)
        return (struct retry_answer){RETRY_GIVE_UP, 0};
    if (answer.delay_ms < q->least_delay_ms)
        answer.delay_ms = q->least_delay_ms;
    if (q->retry_after_ms > (int64_t)answer.delay_ms)
        answer.delay_ms = (uint32_t)q->retry_after_ms;
    return answer;
}

uint32_t retry_max_tries(const struct retry_policy *policy, uint32_t deployment_retries,
                         enum outcome outcome, uint32_t default_tries)
{
    const uint32_t words[] = {policy->retries_of[outcome], deployment_retries, policy->num_retries};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i] != RETRY_NOT_GIVEN)
            return words[i] + 1;
    }
    return default_tries;
}

bool retry_is_lost_behind(const char *body, size_t len)
{
    static const char *const texts[] = {"disconnect/reset before headers",
                                        "upstream request timeout"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (body != NULL && memmem(body, len, texts[i], strlen(texts[i])) != NULL)
            return true;
    }
    return false;
}

struct retry_answer retry_decide(const struct retry_question *q, double random)
{
    struct retry_answer give_up = {RETRY_GIVE_UP, 0};

    /* A usable answer ends it. An OK without a complete answer contradicts itself and is treated as
     * lost. */
    if (is_usable(q))
        return give_up;
    if (!is_repeatable(q))
        return (struct retry_answer){q->op == OP_CREATE ? RETRY_RECONCILE : RETRY_GIVE_UP, 0};
    if (q->outcome == OUTCOME_OK || q->outcome == OUTCOME_CANCELLED || q->tries >= q->max_tries)
        return give_up;
    if (!q->pinned && q->untried > 0)
        return (struct retry_answer){RETRY_NEXT, 0};
    if (q->op == OP_READ && may_pass(q))
        return same_again(q, random);
    return give_up;
}
