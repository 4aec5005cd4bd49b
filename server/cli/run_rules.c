/* See run_rules.h. */
#include "run_rules.h"

#include <assert.h>
#include <stddef.h>

#define FIRST_MS     1000
#define PAUSE_MAX_MS 60000
#define ASKED_MAX_S  300
#define LEFT_MAX_S   315576000 /* ten years: who says more knows nothing */

enum run_next run_after_send(enum client_exit code, const struct client_answer *answer, bool fresh)
{
    int status = answer->status;

    if (code == CLIENT_USAGE)
        return RUN_STOP;
    if (status == 0)
        return answer->nothing_sent ? RUN_SEND : RUN_LOOK;
    if (status == 404 && fresh)
        return RUN_SEND;
    if (status == 429)
        return answer->no_retry ? RUN_STOP : RUN_LOOK;
    if (status == 408 || status >= 500 || (status >= 200 && status <= 299))
        return RUN_LOOK;
    return RUN_STOP;
}

enum run_next run_after_look(const struct run_send *send, bool gateway, int64_t now_s,
                             int64_t settle_s, int64_t *wait_s)
{
    int64_t since_first_s = now_s - send->first_s, since_last_s = now_s - send->last_s;

    assert(settle_s >= 0);
    *wait_s = 0;
    if (send->first_s == 0)
        return RUN_SEND;
    if (gateway && since_first_s >= 0 && since_first_s < RUN_KEY_S)
        return RUN_SEND;
    if (since_last_s >= settle_s)
        return RUN_SEND;
    /* A clock that was set back says nothing: the whole time from now on. */
    *wait_s = since_last_s < 0 ? settle_s : settle_s - since_last_s;
    return RUN_LOOK;
}

enum run_retry run_may_retry(const struct run_state *state)
{
    if (run_state_unread(state) > 0)
        return RUN_RETRY_UNREADABLE;
    if (state->counted)
        return RUN_RETRY;
    return state->round == 0 ? RUN_RETRY_COUNT : RUN_RETRY_UNCOUNTED;
}

int64_t run_pause_ms(unsigned tries, int64_t asked_s)
{
    int64_t ms = FIRST_MS;

    if (asked_s >= 0)
        return (asked_s > ASKED_MAX_S ? ASKED_MAX_S : asked_s) * 1000;
    for (unsigned i = 1; i < tries && ms < PAUSE_MAX_MS; i++)
        ms *= 2;
    return ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
}

int64_t run_poll_ms(unsigned looks, int64_t most_s)
{
    int64_t ms = FIRST_MS, most_ms = most_s * 1000;

    for (unsigned i = 0; i < looks && ms < most_ms; i++)
        ms += ms / 2;
    return ms > most_ms ? most_ms : ms;
}

void run_pace_init(struct run_pace *pace)
{
    *pace = (struct run_pace){.from_ms = -1, .left_s = -1};
}

void run_pace_look(struct run_pace *pace, int64_t done, int64_t total, int64_t now_ms)
{
    double left_s;

    assert(done >= 0 && done <= total);
    if (pace->from_ms == -1 || done < pace->from_done) {
        pace->from_ms = now_ms;
        pace->from_done = done;
    }
    pace->per_minute = 0;
    pace->left_s = -1;
    if (done > pace->from_done && now_ms > pace->from_ms) {
        pace->per_minute =
            (double)(done - pace->from_done) * 60000 / (double)(now_ms - pace->from_ms);
        left_s = total > done ? (double)(total - done) * 60 / pace->per_minute : 0;
        pace->left_s = left_s <= LEFT_MAX_S ? (int64_t)left_s : -1;
    }
}

int run_worst(int a, int b)
{
    static const int order[] = {CLIENT_STOPPED, CLIENT_USAGE, CLIENT_REFUSED, CLIENT_AWAY,
                                CLIENT_LINES_FAILED};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return CLIENT_OK;
}
