/* See refusals.h. */
#include "objects/refusals.h"

#include <assert.h>
#include <string.h>

#define KIND_JOB   'j' /* refused anywhere */
#define KIND_PLACE 'J' /* refused by one deployment */
#define EVERYWHERE 1   /* in place of a deployment */

/* The words of a value at a place. */
enum { UNTIL_MS, TIMES, HOPELESS };

static uint64_t key_of(uint32_t kind, uint64_t place, uint64_t job)
{
    return memo_key(kind, place, (const char *)&job, sizeof(job));
}

uint64_t refusals_job(const uint64_t words[MEMO_WORDS], uint64_t owner)
{
    return memo_key('r', owner, (const char *)words, MEMO_WORDS * sizeof(words[0]));
}

static uint64_t rest_ms(uint64_t times)
{
    uint64_t ms = REFUSALS_FIRST_MS;

    assert(times > 0); /* --times below */
    while (--times > 0 && ms < REFUSALS_MAX_MS)
        ms *= 2;
    return ms < REFUSALS_MAX_MS ? ms : REFUSALS_MAX_MS;
}

/* So long after its last backoff a job's refusals start over. */
static bool is_over(const uint64_t value[MEMO_WORDS], uint64_t now_ms)
{
    return now_ms > value[UNTIL_MS] + 2 * rest_ms(value[TIMES]);
}

bool refusals_note(struct memo *memo, uint64_t job, uint64_t place, bool hopeless, uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS] = {0}, any[MEMO_WORDS] = {0};
    bool first = !refusals_any(memo, job, now_ms);

    if (!memo_get(memo, key_of(KIND_PLACE, place, job), 0, now_ms, value) || is_over(value, now_ms))
        memset(value, 0, sizeof(value));
    value[HOPELESS] |= hopeless;
    if (value[UNTIL_MS] <= now_ms) {
        value[TIMES]++;
        value[UNTIL_MS] = now_ms + rest_ms(value[TIMES]);
    }
    memo_put(memo, key_of(KIND_PLACE, place, job), value, now_ms);
    memo_put(memo, key_of(KIND_JOB, EVERYWHERE, job), any, now_ms);
    return first;
}

bool refusals_find(const struct memo *memo, uint64_t job, uint64_t place, uint64_t now_ms,
                   struct refusal *out)
{
    uint64_t value[MEMO_WORDS];

    *out = (struct refusal){0};
    if (!memo_get(memo, key_of(KIND_PLACE, place, job), 0, now_ms, value) || is_over(value, now_ms))
        return false;
    out->for_ms = value[UNTIL_MS] > now_ms ? value[UNTIL_MS] - now_ms : 0;
    out->hopeless = value[HOPELESS] != 0;
    return true;
}

bool refusals_any(const struct memo *memo, uint64_t job, uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS];

    return memo_get(memo, key_of(KIND_JOB, EVERYWHERE, job), 3 * (uint64_t)REFUSALS_MAX_MS, now_ms,
                    value);
}

void refusals_forget(struct memo *memo, uint64_t job, uint64_t place)
{
    memo_drop(memo, key_of(KIND_PLACE, place, job));
}
