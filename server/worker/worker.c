/* A worker's life: make the loop, serve, drain, end. The loop, curl's handles and everything else
 * that holds descriptors of its own is made here, after the fork. */
#include "worker/worker.h"

#include <h2o.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "request/admit.h"
#include "request/auth.h"
#include "create/batches.h"
#include "request/cors.h"
#include "request/collect.h"
#include "read/download.h"
#include "read/fetch.h"
#include "front/front.h"
#include "admin/health.h"
#include "admin/metrics.h"
#include "read/listing.h"
#include "core/loop_h2o.h"
#include "admin/models.h"
#include "create/placement.h"
#include "request/protect.h"
#include "request/relay.h"
#include "core/runtime.h"
#include "request/resolve.h"
#include "upload/upload.h"

#define BEAT_MS     1000
#define LARGE_BLOCK (128 << 10) /* bytes; glibc's first choice */

/* A worker's own: its life, around what its handlers share. */
struct life {
    struct worker shared;
    struct front *front; /* owned */
    h2o_globalconf_t globalconf;
    h2o_context_t ctx;
    struct loop_timer beat, grace;
    int signal_fd;
};

/* --- requests --- */

/* Path, query, headers and body are known: say who serves it. */
static void dispatch(struct relay *relay)
{
    bool post = relay->method == METHOD_POST;

    resolve_hints(relay);
    if (!(relay->route.kind == ROUTE_BATCHES && post) && relay->route.kind != ROUTE_PLACEMENT)
        collect_forget(relay); /* all that the others want of it is in the hints */
    switch (relay->route.kind) {
    case ROUTE_FILES:
    case ROUTE_BATCHES:
        if (post)
            batches_create(relay); /* POST /files went to upload_start() */
        else
            listing_start(relay);
        break;
    case ROUTE_FILE:
    case ROUTE_BATCH:
    case ROUTE_BATCH_CANCEL:
        fetch_start(relay);
        break;
    case ROUTE_PLACEMENT:
        placement_start(relay);
        break;
    case ROUTE_FILE_CONTENT:
        download_start(relay);
        break;
    case ROUTE_MODELS:
        models_list(relay);
        break;
    case ROUTE_MODEL:
        models_one(relay);
        break;
    case ROUTE_MODEL_INFO:
        models_info(relay);
        break;
    case ROUTE_MODEL_GROUP_INFO:
        models_groups(relay);
        break;
    case ROUTE_HEALTH:
        health_full(relay);
        break;
    case ROUTE_METRICS:
        metrics_start(relay);
        break;
    case ROUTE_FILE_VALIDATE:
    case ROUTE_LIVENESS:
    case ROUTE_READINESS:
    case ROUTE_NONE:
        break; /* answered before */
    }
}

/* The query is left out: people put keys there. */
static void unknown_route(struct relay *relay)
{
    const h2o_req_t *req = relay->req;
    size_t len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;

    relay_problem(relay, 404, "invalid_request_error", "unknown_url", "", "Invalid URL (%.*s %.*s)",
                  (int)req->method.len, req->method.base, len > 256 ? 256 : (int)len,
                  req->path.base);
}

static void wrong_method(struct relay *relay)
{
    char allow[64];

    route_allow(relay->route.allowed, allow, sizeof(allow));
    relay_header(relay, "allow", allow);
    relay_problem(relay, 405, "invalid_request_error", "method_not_allowed", "",
                  "Not allowed to %.*s here. Allowed: %s.", (int)relay->req->method.len,
                  relay->req->method.base, allow);
}

/* Health is answered all the same, and whoever ends a connection makes room. */
static void no_place(struct relay *relay)
{
    relay->req->http1_is_persistent = 0;
    relay_problem(relay, 503, "server_error", "connections_full", "",
                  "The gateway has no place for another connection now. Try again, or raise "
                  "tranche_settings.limits.max_connections.");
}

struct entry { /* libh2o's handler with our pointer behind it */
    h2o_handler_t super;
    struct worker *worker;
};

/* Whether a request may make us ask providers. */
static bool may_call(const struct relay *relay)
{
    switch (relay->route.kind) {
    case ROUTE_FILES:
    case ROUTE_FILE:
    case ROUTE_FILE_CONTENT:
    case ROUTE_BATCHES:
    case ROUTE_BATCH:
    case ROUTE_BATCH_CANCEL:
    case ROUTE_PLACEMENT:
        return true;
    default:
        return false;
    }
}

/* The client has shown the key. */
static void serve(struct relay *relay)
{
    front_trust(relay->req);
    if (may_call(relay) && !admit_call(relay))
        return;
    if (relay->method == METHOD_POST &&
        (relay->route.kind == ROUTE_FILES || relay->route.kind == ROUTE_FILE_VALIDATE))
        upload_start(relay);
    else
        collect_json(relay, dispatch);
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    struct worker *w = ((struct entry *)handler)->worker;
    struct relay *relay = relay_new(w, req);

    if (w->draining)
        req->http1_is_persistent = 0;
    if (!auth_is_single(relay) || !protect_request(relay))
        return 0;
    if (cors_preflight(relay))
        return 0;
    if (relay->route.kind == ROUTE_NONE)
        unknown_route(relay);
    else if (!(relay->route.allowed & relay->method))
        wrong_method(relay);
    else if (relay->route.kind == ROUTE_LIVENESS)
        health_liveness(relay);
    else if (relay->route.kind == ROUTE_READINESS)
        health_readiness(relay);
    else if (relay->route.kind == ROUTE_METRICS && !w->config->metrics_need_key)
        metrics_start(relay);
    else if (relay->route.kind != ROUTE_HEALTH && front_is_spare(req))
        no_place(relay);
    else if (auth_check(relay))
        serve(relay);
    return 0;
}

/* --- life --- */

static struct worker_slot *own_slot(const struct life *l)
{
    return &l->shared.inherit->shared->slots[l->shared.slot];
}

static void on_beat(struct loop_timer *timer)
{
    struct life *l = timer->arg;

    atomic_store_explicit(&own_slot(l)->beat_ms, clock_now_ms(), memory_order_relaxed);
    atomic_store_explicit(&own_slot(l)->connections, (uint32_t)front_connections(l->front),
                          memory_order_relaxed);
    if (loop_timer_start(l->shared.loop, timer, BEAT_MS) != 0)
        log_error("out of memory: no more heartbeats");
}

static void on_grace_over(struct loop_timer *timer)
{
    struct life *l = timer->arg;

    log_warn(
        "drain: grace is over, %zu connections and %llu changes under way at providers are cut",
        front_connections(l->front), (unsigned long long)l->shared.operations);
    _exit(0);
}

static void begin_drain(struct life *l)
{
    struct worker *w = &l->shared;

    w->draining = true;
    atomic_store_explicit(&own_slot(l)->draining, 1, memory_order_relaxed);
    log_info("draining: %zu connections, %zu upstream calls", front_connections(l->front),
             upstream_active(w->upstream));
    front_drain(l->front);
    l->grace.cb = on_grace_over;
    l->grace.arg = l;
    if (loop_timer_start(w->loop, &l->grace, w->config->timeouts.shutdown_grace_ms) != 0)
        _exit(1);
}

static void on_signal(void *arg)
{
    struct life *l = arg;
    struct signalfd_siginfo info;

    while (read(l->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGINT)
            continue; /* a terminal's Ctrl-C reaches the whole group; the master decides */
        if (!l->shared.draining)
            begin_drain(l);
        /* Another one says nothing: timeout(1), Ctrl-\ and others send theirs to the whole group,
         * besides the master's. What has to end now gets SIGKILL from the master. */
    }
}

/* The master is gone: whoever starts another one must find the port and the deployments free. */
static void on_master_gone(void *arg)
{
    (void)arg;
    log_error("the master is gone, this worker ends");
    _exit(1);
}

/* Large blocks are mappings of their own for good: they grow without a copy and go back to the
 * system when they are freed. By itself glibc raises the bound with each such block that is freed,
 * and the table of a long file's ids, which grows forty times, is then copied each time. */
static void keep_large_blocks_apart(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
#endif
}

static int open_signals(struct life *l)
{
    sigset_t set;

    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL); /* nothing of the master's mask */
    signal(SIGPIPE, SIG_IGN);
    signal(
        SIGXFSZ,
        SIG_IGN); /* a spool over the system's file size limit is an error of that upload (507) */
    signal(SIGHUP, SIG_IGN); /* terminals; reloads are the master's */
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    l->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (l->signal_fd == -1)
        return ERR_IO;
    return loop_watch(l->shared.loop, l->signal_fd, on_signal, l);
}

static void configure_h2o(struct life *l)
{
    const struct config_limits *limits = &l->shared.config->limits;
    h2o_hostconf_t *host;
    h2o_pathconf_t *path;
    struct entry *entry;
    uint64_t largest = limits->max_other_file_bytes;

    for (int i = 0; i < PROVIDER_COUNT; i++)
        if (limits->max_file_bytes[i] > largest)
            largest = limits->max_file_bytes[i];
    h2o_config_init(&l->globalconf);
    l->globalconf.server_name = h2o_iovec_init(H2O_STRLIT("tranche"));
    l->globalconf.max_request_entity_size = largest + (2u << 20);
    host = h2o_config_register_host(&l->globalconf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    path = h2o_config_register_path(host, "/", 0);
    entry = (struct entry *)h2o_create_handler(path, sizeof(*entry));
    entry->super.on_req = on_request;
    entry->worker = &l->shared;
}

static int make(struct life *l)
{
    struct worker *w = &l->shared;
    struct upstream_options options = {
        .allow_insecure = w->config->allow_insecure_upstream,
        .ca_file = w->config->upstream_ca_file,
        .proxy = secret_is_set(&w->config->upstream_proxy) ? w->config->upstream_proxy.data : NULL,
        .no_proxy = w->config->no_proxy,
        .connect_ms = w->config->timeouts.connect_ms,
        .low_speed_ms = w->config->timeouts.low_speed_ms};
    h2o_evloop_t *evloop = h2o_evloop_create();
    int rc = worker_prepare(w);

    if (rc != 0)
        return rc;
    w->loop = loop_h2o_new(evloop);
    if (w->loop == NULL)
        return ERR_NOMEM;
    configure_h2o(l);
    h2o_context_init(&l->ctx, evloop, &l->globalconf);
    if ((rc = upstream_new(w->loop, &options, &w->upstream)) != 0 ||
        (rc = front_new(w->loop, &l->ctx, w->inherit, w->slot, &l->front)) != 0 ||
        (rc = open_signals(l)) != 0)
        return rc;
    return loop_watch(w->loop, w->inherit->master_fd, on_master_gone, NULL);
}

static bool is_drained(const struct life *l)
{
    return l->shared.draining && front_connections(l->front) == 0 && l->shared.operations == 0;
}

int worker_run(const struct inherit *inherit, uint32_t slot)
{
    static struct life life; /* one per process */
    struct life *l = &life;
    struct worker *w = &l->shared;
    int rc;

    w->inherit = inherit;
    w->config = inherit->config;
    w->table = inherit->table;
    w->slot = slot;
    if (w->config->routing_strategy != NULL) {
        w->configured_policy = *pick_policy_find(w->config->routing_strategy);
        w->configured_policy.latency_buffer = w->config->latency_buffer;
        w->policy = &w->configured_policy;
    }
    keep_large_blocks_apart();
    rc = make(l);
    if (rc != 0) {
        log_error("worker cannot start: %s", err_str(rc));
        return 1;
    }
    l->beat.cb = on_beat;
    l->beat.arg = l;
    on_beat(&l->beat);
    front_start(l->front);
    while (!is_drained(l)) {
        if (h2o_evloop_run(l->ctx.loop, BEAT_MS) == -1 && errno != EINTR)
            log_warn("event loop: %s", strerror(errno));
    }
    log_info("drained");
    return 0;
}
