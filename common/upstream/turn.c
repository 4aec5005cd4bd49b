/* What one turn of the loop does of all that waits: sockets that are ready, calls that have ended,
 * paused ones that go on. A bounded part, and owners take turns: whoever has hundreds of calls that
 * are answered at once makes nobody else's wait for more than one or two of them, and the loop's
 * other work waits for no more than what a turn may take. What is left is there in the next turn:
 * sockets stay ready, calls wait in `ended` and `work`.
 *
 * A piece is what leads to one callback of an owner: a socket's event and the end that came of it,
 * or one of the ends of a connection that calls share. */
#include "lean.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"

/* Microseconds after which no further piece is begun. Most take 20 to 60, one of a file up to 200 */
#define TURN_US      60
/* Paused calls that go on in a turn; each may bring 128 KiB, in curl's own time */
#define TURN_RESUMES 4

/* --- ends --- */

void turn_end(struct upstream_call *call, CURLcode code)
{
    assert(!call->ended);
    loop_timer_stop(call->up->loop, &call->timer);
    call->ended = true;
    call->code = code;
    call->ended_us = clock_now_us();
    TAILQ_INSERT_TAIL(&call->up->ended, call, ended_link);
}

/* @return whether the call has ended, rather than found its connection */
static bool take_over(struct upstream_call *call, CURLcode code)
{
    if (call->dropped)
        call_free(call);
    else if (call->exchange != NULL && code == CURLE_OK)
        return lean_connected(call);
    else
        turn_end(call, code);
    return true;
}

/* Take over what curl has ended. @return whether there was a call's end */
static bool collect(struct lane *lane)
{
    bool any = false;
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(lane->multi, &left)) != NULL)
        if (msg->msg == CURLMSG_DONE)
            any |= take_over(lane_call_of(msg->easy_handle), msg->data.result);
    return any;
}

static struct upstream_call *next_of(struct upstream *up, struct upstream_call *first, bool ended)
{
    struct upstream_call *best = first;

    for (struct upstream_call *call = first; call != NULL;
         call = ended ? TAILQ_NEXT(call, ended_link) : TAILQ_NEXT(call, link))
        if (rounds_last(&up->rounds, call->owner) < rounds_last(&up->rounds, best->owner))
            best = call;
    return best;
}

static void end_call(struct upstream_call *call)
{
    rounds_serve(&call->up->rounds, call->owner);
    if (call->dropped)
        call_free(call);
    else
        call_finish(call, call_classify(call, call->code));
}

/* --- sockets --- */

void ready_look(struct ready *ready, const struct lane *lane)
{
    struct epoll_event events[READY_MOST];
    int n = epoll_wait(lane->epoll_fd, events, READY_MOST, 0);

    ready->num = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < ready->num; i++) {
        int fd = events[i].data.fd;

        ready->fds[i] = fd;
        ready->events[i] = events[i].events;
        ready->owners[i] = lane_owner_of(lane, fd);
    }
}

static void take(struct ready *ready, size_t at)
{
    ready->num--;
    for (size_t i = at; i < ready->num; i++) {
        ready->fds[i] = ready->fds[i + 1];
        ready->events[i] = ready->events[i + 1];
        ready->owners[i] = ready->owners[i + 1];
    }
}

/* An error or a hang-up reads as "readable": what the peer said before it closed (an early 413)
 * must be seen first. Between the look and this an owner may have ended the socket's call, and
 * another one may have the number: curl finds nothing to read there, and waits. */
static void run_socket(struct lane *lane, struct ready *ready, size_t at)
{
    uint64_t owner = ready->owners[at];
    uint32_t events = ready->events[at];
    int fd = ready->fds[at], mask = 0;
    bool ended;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        mask |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    take(ready, at);
    if (lane->multi != NULL) {
        lane_run_curl(lane, fd, mask);
        ended = collect(lane);
    } else {
        ended = lean_run(lane->up, fd, events);
    }
    if (!ended)
        rounds_serve(&lane->up->rounds, owner); /* else with the end */
}

/* One piece. Where sockets were not looked at, others' answers may wait there: an owner has one end
 * in such a turn, however many calls curl has ended in one run (it does where timers of its are due).
 * @param before  what `rounds` had served before this turn
 * @return false: there is none */
static bool do_piece(struct upstream *up, struct lane *lane, struct ready *ready, uint64_t before)
{
    struct upstream_call *ended = next_of(up, TAILQ_FIRST(&up->ended), true);
    size_t at;

    if (ended != NULL && ready == NULL && rounds_last(&up->rounds, ended->owner) > before)
        return false;
    if (ready == NULL || ready->num == 0) {
        if (ended != NULL)
            end_call(ended);
        return ended != NULL;
    }
    at = rounds_next(&up->rounds, ready->owners, ready->num);
    if (ended != NULL &&
        rounds_last(&up->rounds, ended->owner) <= rounds_last(&up->rounds, ready->owners[at]))
        end_call(ended);
    else
        run_socket(lane, ready, at);
    return true;
}

/* --- what waited for curl to return --- */

static void do_add(struct upstream_call *call)
{
    if (call->exchange != NULL) {
        lean_begin(call);
        return;
    }
    call->added = curl_multi_add_handle(call->lane->multi, call->easy) == CURLM_OK;
    if (call->added)
        return;
    call_fail(call, UPSTREAM_REFUSED, OUT_OF_MEMORY);
    call_finish(call, UPSTREAM_REFUSED);
}

static void do_resume(struct upstream_call *call)
{
    struct upstream *up = call->up;
    CURLcode code;

    if (call->paused || !call->curl_paused || call->ended)
        return; /* paused again meanwhile, or broken */
    call->curl_paused = false;
    if (call->exchange != NULL) {
        lean_resume(call);
        return;
    }
    up->in_curl = true;
    code = curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may call on_write() */
    up->in_curl = false;
    if (code != CURLE_OK && !call->dropped)
        call_finish(call, call_classify(call, code));
}

static void do_work(struct upstream_call *call)
{
    unsigned todo = call->todo;

    call_work_remove(call);
    rounds_serve(&call->up->rounds, call->owner);
    if (todo & TODO_DROP)
        call_free(call);
    else if (todo & TODO_REFUSE)
        call_finish(call, UPSTREAM_REFUSED);
    else if (todo & TODO_ADD)
        do_add(call);
    else if (todo & TODO_RESUME)
        do_resume(call);
}

/* Only what waits already: an owner that resumes from inside on_data gets its next bytes on a
 * coming turn. */
void turn_work(struct upstream *up)
{
    struct upstream_call *call;
    size_t n, resumes = 0;

    for (n = up->num_work; n > 0; n--) {
        call = next_of(up, TAILQ_FIRST(&up->work), false);
        if (call == NULL || (call->todo == TODO_RESUME && resumes++ == TURN_RESUMES))
            break;
        do_work(call);
    }
    /* a call may end in here where nobody looks at the others any more in this turn */
    if (!TAILQ_EMPTY(&up->ended) && loop_timer_soon(up->loop, &up->work_timer) != 0)
        log_error("upstream: out of memory for a timer");
}

/* --- a turn --- */

void turn_run(struct upstream *up, struct lane *lane, struct ready *ready)
{
    uint64_t began_us = clock_now_us(), before = up->rounds.num;

    for (size_t i = 0; i < LANE_CURLS; i++)
        (void)collect(&up->lanes[i]);
    while (do_piece(up, lane, ready, before) && clock_now_us() - began_us < TURN_US)
        continue;
    if (up->num_work == 0 && TAILQ_EMPTY(&up->ended))
        loop_timer_stop(up->loop, &up->work_timer);
    else if (loop_timer_soon(up->loop, &up->work_timer) != 0)
        log_error("upstream: out of memory for a timer");
}
