/* See entra_when.h. */
#include "entra/entra_when.h"

#include <assert.h>

#define SECOND_MS  1000u
#define MIN_GAP_MS (60 * SECOND_MS) /* a `refresh_in` that is shorter would make us a nuisance */

/* A part of `most` by random bits: 0 to `most`. */
static uint64_t jitter(uint64_t most, uint64_t random)
{
    return random % (most + 1);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* --- a token --- */

/* How long after it came it is renewed. A short life is used to its half at least, whatever else is
 * said, so that a service that hands out minutes is not asked all the time. */
static uint64_t renew_after(uint64_t life_ms, uint64_t refresh_ms)
{
    uint64_t half = life_ms / 2, tenth = life_ms - life_ms / 10, after = tenth;

    if (refresh_ms > 0)
        after = least(tenth, most_of(refresh_ms, least(MIN_GAP_MS, half)));
    else if (life_ms > (uint64_t)ENTRA_HALF_S * SECOND_MS)
        after = half;
    if (life_ms > (uint64_t)ENTRA_FRESH_S * SECOND_MS)
        after = least(after, most_of(life_ms - (uint64_t)ENTRA_FRESH_S * SECOND_MS, half));
    else
        after = least(after, half);
    return after;
}

void entra_when_obtained(struct entra_state *state, uint32_t lives_s, uint32_t refresh_s,
                         uint64_t now_ms, uint64_t random)
{
    uint64_t life_ms = (uint64_t)lives_s * SECOND_MS, fresh_ms = life_ms / 2, after;

    assert(lives_s > 0);
    after = renew_after(life_ms, (uint64_t)refresh_s * SECOND_MS);
    after -= jitter(after / 10, random);
    if (life_ms > (uint64_t)ENTRA_FRESH_S * SECOND_MS)
        fresh_ms = most_of(fresh_ms, life_ms - (uint64_t)ENTRA_FRESH_S * SECOND_MS);
    *state = (struct entra_state){.obtained_ms = now_ms,
                                  .renew_ms = now_ms + most_of(after, SECOND_MS),
                                  .fresh_until_ms = now_ms + fresh_ms,
                                  .ends_ms = now_ms + life_ms,
                                  .last = ENTRA_OK};
}

void entra_when_dropped(struct entra_state *state)
{
    state->obtained_ms = state->renew_ms = state->fresh_until_ms = state->ends_ms = 0;
}

enum entra_use entra_when_use(const struct entra_state *state, uint64_t now_ms)
{
    if (state->obtained_ms == 0 || now_ms >= state->ends_ms)
        return ENTRA_USE_NONE;
    return now_ms < state->fresh_until_ms ? ENTRA_USE_FRESH : ENTRA_USE_OLD;
}

/* --- waits --- */

/* 1, 2, 4 ... 48 s and up to a quarter more, so that the longest are 48 to 60. */
static uint64_t back_off(uint32_t failures, uint64_t random)
{
    const uint64_t longest = (uint64_t)ENTRA_BACKOFF_S * SECOND_MS * 4 / 5;
    uint64_t wait = failures < 7 ? ((uint64_t)SECOND_MS << failures) / 2 : longest;

    wait = least(wait, longest);
    return wait + jitter(wait / 4, random);
}

/* Never shorter than what was asked for. */
static uint64_t throttled(uint32_t failures, int64_t retry_after_s, uint64_t random)
{
    uint64_t asked = (uint64_t)retry_after_s * SECOND_MS;

    if (retry_after_s < 0)
        return most_of((uint64_t)ENTRA_THROTTLED_S * SECOND_MS, back_off(failures, random));
    asked = least(most_of(asked, SECOND_MS), (uint64_t)ENTRA_MAX_RETRY_S * SECOND_MS);
    return asked + jitter(least(asked / 10, 5 * SECOND_MS), random);
}

static uint64_t wait_of(const struct entra_state *state, enum entra_outcome outcome,
                        int64_t retry_after_s, uint64_t random)
{
    switch (outcome) {
    case ENTRA_THROTTLED:
        return throttled(state->failures, retry_after_s, random);
    case ENTRA_PASSING:
        return retry_after_s < 0 ? back_off(state->failures, random)
                                 : most_of(back_off(state->failures, random),
                                           throttled(state->failures, retry_after_s, random));
    case ENTRA_OUT_OF_TIME:
        return state->tried_again ? (uint64_t)ENTRA_FINAL_S * SECOND_MS : 0;
    default:
        return (uint64_t)ENTRA_FINAL_S * SECOND_MS;
    }
}

void entra_when_failed(struct entra_state *state, enum entra_outcome outcome, int64_t retry_after_s,
                       uint64_t now_ms, uint64_t random)
{
    assert(outcome != ENTRA_OK && outcome != ENTRA_CHALLENGE);
    if (state->failures < UINT32_MAX)
        state->failures++;
    /* Once at once, then once a minute, until something else comes. */
    state->tried_again = outcome == ENTRA_OUT_OF_TIME && state->last == ENTRA_OUT_OF_TIME;
    state->last = (uint32_t)outcome;
    state->wait_ms = now_ms + wait_of(state, outcome, retry_after_s, random);
}

uint64_t entra_when_next(const struct entra_state *state, uint64_t now_ms)
{
    uint64_t due = state->obtained_ms == 0 ? now_ms : state->renew_ms;

    return most_of(due, state->wait_ms);
}

uint32_t entra_when_retry_after_s(const struct entra_state *state, uint64_t now_ms)
{
    uint64_t next = state->wait_ms > now_ms ? state->wait_ms - now_ms : 0;
    uint64_t seconds = (next + SECOND_MS - 1) / SECOND_MS;

    return (uint32_t)least(most_of(seconds, 1), ENTRA_MAX_RETRY_S);
}
