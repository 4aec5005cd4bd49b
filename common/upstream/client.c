/* libcurl's multi interface on the worker's loop. Each lane (one multi handle) keeps curl's sockets
 * in an epoll of its own, and the loop watches only that: curl may close and reopen descriptors as
 * it likes. Measured in providers 7. The rules that hold here: client_impl.h. */
#include "lean.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/secret.h"
#include "common/strbuf.h"

#define DEFAULT_CONNECT_MS   10000
#define DEFAULT_HEADER_BYTES (64 * 1024)
/* Creates and uploads leave a connection behind that only downloads use again: few are worth their
 * 34 KiB here and their place at the provider. */
#define MAX_IDLE_JSON        256
#define MAX_IDLE_H1          32
#define CURL_8_1_1           0x080101

/* --- curl and the loop --- */

struct upstream_call *lane_call_of(CURL *easy)
{
    char *private = NULL;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct upstream_call *)(void *)private;
}

static void forget_parked(struct upstream_call *call)
{
    TAILQ_REMOVE(&call->lane->parked, call, parked_link);
    call->parked_fd = -1;
}

void lane_unpark(struct upstream_call *call)
{
    if (call->parked_fd == -1)
        return;
    epoll_ctl(call->lane->epoll_fd, EPOLL_CTL_DEL, call->parked_fd, NULL);
    forget_parked(call);
}

/* A transfer that is paused goes on in the same turn when its owner keeps up, and then nothing
 * has to be changed. Over HTTP/2 a descriptor is not a call's alone. */
static bool park(struct upstream_call *call, curl_socket_t fd)
{
    if (call == NULL || !call->pausing || call->lane != &call->up->lanes[LANE_H1] ||
        call->watched_fd != fd || call->watched_for != CURL_POLL_IN)
        return false;
    call->parked_fd = fd;
    TAILQ_INSERT_TAIL(&call->lane->parked, call, parked_link);
    return true;
}

/* @return true when `fd` is watched already for what is wanted */
static bool take_parked(struct lane *lane, struct upstream_call *call, curl_socket_t fd, int what)
{
    struct upstream_call *parked;

    TAILQ_FOREACH(parked, &lane->parked, parked_link)
    if (parked->parked_fd == fd)
        break;
    if (parked == NULL)
        return false;
    forget_parked(parked);
    return parked == call && what == CURL_POLL_IN;
}

uint64_t lane_owner_of(const struct lane *lane, int fd)
{
    return (size_t)fd < lane->num_owners ? lane->owners[fd] : 0;
}

void lane_set_owner(struct lane *lane, int fd, uint64_t owner)
{
    size_t num = lane->num_owners, more = num * 2 > (size_t)fd ? num * 2 : (size_t)fd + 64;

    if ((size_t)fd >= num) {
        uint64_t *grown = reallocarray(lane->owners, more, sizeof(*grown));

        if (grown == NULL)
            return;
        memset(grown + num, 0, (more - num) * sizeof(*grown));
        lane->owners = grown;
        lane->num_owners = more;
    }
    lane->owners[fd] = owner;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct upstream_call *call = lane_call_of(easy);
    struct lane *lane = arg;
    struct epoll_event event = {.data.fd = fd};

    (void)known;
    if (what == CURL_POLL_REMOVE) {
        if (!park(call, fd))
            epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* fails when it is closed */
        return 0;
    }
    if (call != NULL) {
        call->watched_fd = fd;
        call->watched_for = what;
        lane_set_owner(lane, fd, call->owner);
    }
    if (take_parked(lane, call, fd, what))
        return 0;
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    /* Curl may have closed and reopened the number behind our back, so try both. */
    if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_MOD, fd, &event) == -1 &&
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &event) == -1)
        log_error("upstream: a connection cannot be watched: %m"); /* the call's limit ends it */
    return 0;
}

/* Curl says 0 for each call that is added, also where it has said so before and we are about to
 * come: that must not put us off, or the calls of somebody who adds one in each turn would keep
 * everybody's from being sent. */
static int on_curl_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct lane *lane = arg;
    int rc = 0;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_stop(lane->up->loop, &lane->timer);
    else if (timeout_ms == 0)
        rc = loop_timer_soon(lane->up->loop, &lane->timer);
    else
        rc = loop_timer_start(lane->up->loop, &lane->timer, (uint64_t)timeout_ms);
    if (rc != 0)
        log_error("upstream: out of memory for a timer"); /* -1 would end all calls for ever */
    return 0;
}

void lane_run_curl(struct lane *lane, curl_socket_t fd, int mask)
{
    int running;

    lane->up->in_curl = true;
    lane->up->run++;
    curl_multi_socket_action(lane->multi, fd, mask, &running);
    lane->up->in_curl = false;
}

static void on_work(struct loop_timer *timer)
{
    struct upstream *up = timer->arg;

    turn_work(up);
    turn_run(up, NULL, NULL);
}

static void on_lane_timer(struct loop_timer *timer)
{
    struct lane *lane = timer->arg;

    lane_run_curl(lane, CURL_SOCKET_TIMEOUT, 0);
    turn_work(lane->up);
    turn_run(lane->up, NULL, NULL);
}

static void on_lane_readable(void *arg)
{
    struct upstream_call *call;
    struct lane *lane = arg;
    struct ready ready;

    turn_work(lane->up); /* paused ones that go on: what is parked after this is not wanted */
    while ((call = TAILQ_FIRST(&lane->parked)) != NULL)
        lane_unpark(call);
    ready_look(&ready, lane);
    turn_run(lane->up, lane, &ready);
    turn_work(lane->up); /* those that paused just now: curl goes on at the end of this turn */
}

/* --- calls --- */

/* Curl tells of the first byte from the loop; the lean transport would from in here. */
static bool may_begin_now(const struct upstream_call *call)
{
    return !call->up->in_curl && (call->exchange == NULL || call->on_begin == NULL);
}

/* @return false: `*why` says why it cannot be, or the call has ended */
static bool begin_now(struct upstream_call *call, const char **why)
{
    if (call->exchange != NULL) {
        lean_begin(call);
        return !call->ended;
    }
    call->added = curl_multi_add_handle(call->lane->multi, call->easy) == CURLM_OK;
    if (!call->added)
        *why = OUT_OF_MEMORY;
    return call->added;
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = call_new(up, request);
    const char *why;

    if (call == NULL)
        return NULL;
    if (!lean_prepare(call, request, &why))
        why = handle_prepare(call, request);
    if (why == NULL && call_arm_limit(call) != 0)
        why = OUT_OF_MEMORY;
    if (why == NULL && may_begin_now(call) && begin_now(call, &why))
        return call;
    if (why != NULL) {
        loop_timer_stop(up->loop, &call->timer);
        call_fail(call, UPSTREAM_REFUSED, why);
    }
    if (loop_timer_soon(up->loop, &up->work_timer) != 0) {
        call_free(call);
        return NULL;
    }
    if (!call->ended)
        call_work_add(call, why != NULL ? TODO_REFUSE : TODO_ADD);
    return call;
}

void upstream_cancel(struct upstream_call *call)
{
    if (call == NULL)
        return;
    if (!call->up->in_curl) {
        call_free(call);
        return;
    }
    call->dropped = true;
    call_work_add(call, TODO_DROP);
}

void upstream_resume(struct upstream_call *call)
{
    if (call == NULL)
        return;
    call->resumed = true;
    if (!call->paused)
        return;
    call->paused = false;
    call->moved_ms = loop_now_ms(call->up->loop);
    call_rearm_limit(call);
    if (call->curl_paused)
        call_work_add(call, TODO_RESUME);
}

/* --- the client as a whole --- */

/* The lean lane has none. */
static int make_multi(struct lane *lane, long max_idle)
{
    lane->timer.cb = on_lane_timer;
    lane->timer.arg = lane;
    lane->multi = curl_multi_init();
    if (lane->multi == NULL)
        return ERR_NOMEM;
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, on_curl_timeout);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, max_idle);
    return 0;
}

static int lane_init(struct upstream *up, struct lane *lane)
{
    lane->up = up;
    TAILQ_INIT(&lane->parked);
    if (lane != &up->lanes[LANE_LEAN] &&
        make_multi(lane, lane == &up->lanes[LANE_JSON] ? MAX_IDLE_JSON : MAX_IDLE_H1) != 0)
        return ERR_NOMEM;
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->epoll_fd == -1)
        return ERR_NOMEM;
    if (loop_watch(up->loop, lane->epoll_fd, on_lane_readable, lane) != 0) {
        close(lane->epoll_fd);
        return ERR_NOMEM;
    }
    return 0;
}

/* The epoll descriptor stays with the loop: it is empty from now on and never becomes readable. */
static void lane_deinit(struct lane *lane)
{
    free(lane->owners);
    if (lane->multi == NULL)
        return;
    loop_timer_stop(lane->up->loop, &lane->timer);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(lane->multi);
}

/* This machine and the cloud's metadata address are never reached through a proxy: it would get
 * what is for them alone. */
#define NEVER_PROXIED "localhost,127.0.0.0/8,0.0.0.0,::1,169.254.0.0/16"

static int set_proxy(struct upstream *up, const struct upstream_options *options)
{
    struct strbuf hosts = STRBUF_INIT;

    if (options->proxy == NULL)
        return 0;
    strbuf_adds(&hosts, NEVER_PROXIED);
    if (options->no_proxy != NULL)
        strbuf_addf(&hosts, ",%s", options->no_proxy);
    /* A star among others is no pattern to libcurl. */
    if (options->no_proxy != NULL && strcmp(options->no_proxy, "*") == 0) {
        strbuf_reset(&hosts);
        strbuf_adds(&hosts, "*");
    }
    up->proxy = strdup(options->proxy);
    up->no_proxy = strbuf_failed(&hosts) ? NULL : strdup(strbuf_str(&hosts));
    strbuf_deinit(&hosts);
    return up->proxy != NULL && up->no_proxy != NULL ? 0 : ERR_NOMEM;
}

int upstream_new(struct loop *loop, const struct upstream_options *options, struct upstream **out)
{
    struct upstream *up;
    size_t i;

    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ERR_NOMEM;
    up = calloc(1, sizeof(*up));
    if (up == NULL) {
        curl_global_cleanup();
        return ERR_NOMEM;
    }
    up->loop = loop;
    up->allow_insecure = options->allow_insecure;
    up->allow_metadata = options->allow_metadata;
    up->connect_ms = options->connect_ms != 0 ? options->connect_ms : DEFAULT_CONNECT_MS;
    up->low_speed_ms = options->low_speed_ms;
    up->may_connect = options->may_connect;
    up->may_connect_arg = options->may_connect_arg;
    up->certificates = options->certificates;
    assert(up->may_connect == NULL || options->proxy == NULL);
    up->max_header_bytes =
        options->max_header_bytes != 0 ? options->max_header_bytes : DEFAULT_HEADER_BYTES;
    up->mends_folds = curl_version_info(CURLVERSION_NOW)->version_num < CURL_8_1_1;
    up->work_timer.cb = on_work;
    up->work_timer.arg = up;
    TAILQ_INIT(&up->work);
    TAILQ_INIT(&up->ended);
    up->share = curl_share_init();
    if (up->share == NULL)
        goto fail;
    curl_share_setopt(up->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    if (set_proxy(up, options) != 0)
        goto fail;
    up->ca_file = upstream_find_ca_bundle(options->ca_file);
    if (options->ca_file != NULL && up->ca_file == NULL)
        goto fail;
    trust_init(&up->trust, loop, up->ca_file);
    for (i = 0; i < LANE_CURLS; i++)
        if (lane_init(up, &up->lanes[i]) != 0)
            goto fail;
    /* What it has no answer for is all that such a client does. */
    if (options->lean && up->proxy == NULL && up->may_connect == NULL && !up->certificates &&
        (lane_init(up, &up->lanes[LANE_LEAN]) != 0 || lean_new(up) != 0))
        goto fail;
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
        log_warn("upstream: this libcurl resolves names synchronously; a slow DNS server stops the "
                 "worker");
    *out = up;
    return 0;
fail:
    upstream_free(up);
    return ERR_NOMEM;
}

void upstream_free(struct upstream *up)
{
    size_t i;

    if (up == NULL)
        return;
    assert(up->active == 0);
    loop_timer_stop(up->loop, &up->work_timer);
    for (i = 0; i < LANE_CURLS; i++)
        lane_deinit(&up->lanes[i]);
    lean_free(up->lean);
    lane_deinit(&up->lanes[LANE_LEAN]);
    if (up->share != NULL)
        curl_share_cleanup(up->share);
    trust_deinit(&up->trust);
    free(up->ca_file);
    if (up->proxy != NULL)
        secret_wipe(up->proxy, strlen(up->proxy));
    free(up->proxy);
    free(up->no_proxy);
    free(up);
    curl_global_cleanup();
}

void upstream_warm(struct upstream *up)
{
    trust_warm(&up->trust);
}

size_t upstream_active(const struct upstream *up)
{
    return up->active;
}
