/* See admit.h. */
#include "request/admit.h"

#include <assert.h>

#include "common/log.h"
#include "front/front.h"
#include "request/errors.h"

#define CALL_WAIT_MS     1000 /* a poll takes less */
#define DOWNLOAD_WAIT_MS 2000 /* in the queue, and for those that ask again */
#define MAX_TURNS        1000 /* requests that wait for their begin, each with its head */
#define MAX_WAITING      256  /* requests; they hold next to nothing */
#define FEW_CALLS        8    /* requests in flight: an SDK's connection has no more */

static enum answered refuse(struct relay *relay, struct failure *why, int64_t wait_ms)
{
    why->retry_after_ms = wait_ms;
    relay_failure(relay, why);
    return ANSWERED;
}

/* 0: no limit. */
static bool is_full(size_t held, uint32_t limit)
{
    return limit != 0 && held >= limit;
}

/* The last quarter is for connections with few requests: one that has a hundred in flight, each of
 * which may ask several accounts, leaves room for others. */
static uint32_t most_calls(const struct front_load *load, uint32_t limit)
{
    return load->calls < FEW_CALLS ? limit : limit - limit / 4;
}

enum answered admit_call(struct relay *relay)
{
    const struct config_limits *limits = &relay->rt->config->limits;
    struct front_load *load = front_load(relay->req);
    const struct runtime *rt = relay->rt;
    size_t active = upstream_active(rt->upstream) + rt->calls_waiting + rt->calls_shared;
    struct failure why;

    assert(relay->load == NULL); /* one place each */
    if (is_full(load->calls, limits->max_calls_per_connection)) {
        error_fill(&why, CALLS_OF_CONNECTION, "");
        return refuse(relay, &why, CALL_WAIT_MS);
    }
    if (is_full(active, most_calls(load, limits->max_upstream_calls)) ||
        !share_may(relay->share, SHARE_CALLS, 1, active, limits->max_upstream_calls)) {
        error_fill(&why, CALLS_OF_WORKER, "");
        return refuse(relay, &why, CALL_WAIT_MS);
    }
    relay->load = load;
    load->calls++;
    share_add(relay->share, SHARE_CALLS, 1);
    return GO_ON;
}

/* --- turns --- */

void admit_turn(struct relay *relay)
{
    struct runtime *rt = relay->rt;
    struct failure why;

    assert(!relay->waits);
    if (rt->turns < MAX_TURNS && share_may(relay->share, SHARE_TURNS, 1, rt->turns, MAX_TURNS) &&
        slices_add(&rt->slices, rt->loop, &relay->turn) == 0) {
        relay->waits = true;
        rt->turns++;
        share_add(relay->share, SHARE_TURNS, 1);
        return;
    }
    error_fill(&why, TURNS_OF_WORKER, "");
    (void)refuse(relay, &why, CALL_WAIT_MS);
}

void admit_end_turn(struct relay *relay)
{
    if (!relay->waits)
        return;
    assert(relay->rt->turns > 0);
    relay->waits = false;
    slices_remove(&relay->rt->slices, &relay->turn);
    relay->rt->turns--;
    share_sub(relay->share, SHARE_TURNS, 1);
}

/* --- downloads --- */

static bool connection_is_full(const struct relay *relay)
{
    return is_full(relay->load->downloads, relay->rt->config->limits.max_downloads_per_connection);
}

static bool worker_is_full(const struct runtime *rt)
{
    return is_full(rt->downloads, rt->config->limits.max_downloads);
}

/* Whether its tenant holds so many that the others would find none. */
static bool tenant_is_full(const struct relay *relay)
{
    const struct runtime *rt = relay->rt;

    return !share_may(relay->share, SHARE_DOWNLOADS, 1, rt->downloads,
                      rt->config->limits.max_downloads);
}

static void take(struct relay *relay)
{
    assert(relay->load != NULL && !relay->downloads); /* a download is a call, and one */
    share_add(relay->share, SHARE_DOWNLOADS, 1);
    relay->downloads = true;
    relay->load->downloads++;
    relay->rt->downloads++;
}

static void leave_queue(struct admit_place *place)
{
    if (!place->queued)
        return;
    assert(place->relay->rt->num_waiting > 0);
    place->queued = false;
    TAILQ_REMOVE(&place->relay->rt->downloads_waiting, place, link);
    place->relay->rt->num_waiting--;
    share_sub(place->relay->share, SHARE_WAITING, 1);
}

static void on_timer(struct loop_timer *timer)
{
    struct admit_place *place = timer->arg;

    leave_queue(place);
    place->on_place(place->arg, place->granted);
}

bool admit_download(struct relay *relay, struct admit_place *place, admit_cb on_place, void *arg)
{
    struct runtime *rt = relay->rt;

    if (!connection_is_full(relay) && !worker_is_full(rt) && !tenant_is_full(relay)) {
        take(relay);
        return true;
    }
    *place = (struct admit_place){.relay = relay, .on_place = on_place, .arg = arg};
    place->timer.cb = on_timer;
    place->timer.arg = place;
    if (rt->num_waiting < MAX_WAITING &&
        share_may(relay->share, SHARE_WAITING, 1, rt->num_waiting, MAX_WAITING)) {
        place->queued = true;
        TAILQ_INSERT_TAIL(&rt->downloads_waiting, place, link);
        rt->num_waiting++;
        share_add(relay->share, SHARE_WAITING, 1);
    }
    if (loop_timer_start(rt->loop, &place->timer, place->queued ? DOWNLOAD_WAIT_MS : 0) != 0)
        log_error("a waiting download gets no time limit: %s", err_str(ERR_NOMEM));
    return false;
}

void admit_cancel(struct admit_place *place)
{
    if (place->relay == NULL)
        return;
    leave_queue(place);
    loop_timer_stop(place->relay->rt->loop, &place->timer);
}

void admit_refuse(struct relay *relay)
{
    struct failure why;

    if (connection_is_full(relay))
        error_fill(&why, DOWNLOADS_OF_CONNECTION, "");
    else
        error_fill(&why, DOWNLOADS_OF_WORKER, "");
    (void)refuse(relay, &why, DOWNLOAD_WAIT_MS);
}

/* A place became free: whoever has waited longest and may have it gets it, on the coming turn. */
static void grant_next(struct runtime *rt)
{
    struct admit_place *place;

    TAILQ_FOREACH(place, &rt->downloads_waiting, link)
    if (!connection_is_full(place->relay) && !tenant_is_full(place->relay))
        break;
    if (place == NULL || worker_is_full(rt) || loop_timer_start(rt->loop, &place->timer, 0) != 0)
        return;
    leave_queue(place);
    place->granted = true;
    take(place->relay);
}

void admit_release(struct relay *relay)
{
    bool downloads = relay->downloads;

    assert(!relay->waits);
    if (relay->load != NULL) {
        assert(relay->load->calls > 0);
        relay->load->calls--;
        share_sub(relay->share, SHARE_CALLS, 1);
    }
    if (downloads) {
        assert(relay->load != NULL && relay->load->downloads > 0 && relay->rt->downloads > 0);
        relay->load->downloads--;
        relay->rt->downloads--;
        share_sub(relay->share, SHARE_DOWNLOADS, 1);
    }
    relay->load = NULL;
    relay->downloads = false;
    if (downloads)
        grant_next(relay->rt);
}
