/* A worker's life: make the loop, serve, drain, end. The loop, curl's handles and everything else
 * that holds descriptors of its own is made here, after the fork. */
#include "worker/worker.h"

#include <assert.h>
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
#include "common/log_out.h"
#include "upstream/provider.h"
#include "request/errors.h"
#include "request/admit.h"
#include "request/auth.h"
#include "create/create.h"
#include "request/coding.h"
#include "request/limits.h"
#include "request/collect.h"
#include "request/cors.h"
#include "read/download.h"
#include "read/fetch.h"
#include "front/front.h"
#include "admin/health.h"
#include "admin/management.h"
#include "admin/metrics.h"
#include "read/listing.h"
#include "read/long_poll.h"
#include "read/results.h"
#include "core/loop_h2o.h"
#include "admin/models.h"
#include "create/placement.h"
#include "create/retry.h"
#include "request/protect.h"
#include "request/relay.h"
#include "core/runtime.h"
#include "request/resolve.h"
#include "journal/journal.h"
#include "tenants/ask.h"
#include "tenants/tokens.h"
#include "ui/ui.h"
#include "upload/upload.h"

#define BEAT_MS       1000
#define LAST_WORDS_MS 2000        /* for what the journal shall know, at the end */
#define LARGE_BLOCK   (128 << 10) /* bytes; glibc's first choice */

/* A worker's own: its life, around what its handlers share. */
struct worker {
    struct runtime rt;    /* what handlers are given */
    struct front *front;  /* owned; of clients */
    struct front *health; /* owned; of health_port; NULL: none */
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
    if (!(relay->route.kind == ROUTE_BATCHES && post) && relay->route.kind != ROUTE_PLACEMENT &&
        relay->route.kind != ROUTE_BATCH_RETRY && relay->route.kind != ROUTE_UPLOADS &&
        relay->route.kind != ROUTE_UPLOAD_COMPLETE)
        collect_forget(relay); /* all that the others want of it is in the hints */
    switch (relay->route.kind) {
    case ROUTE_FILES:
    case ROUTE_BATCHES:
        if (post)
            create_start(relay); /* POST /files went to upload_start() */
        else
            listing_start(relay);
        break;
    case ROUTE_FILE:
    case ROUTE_BATCH:
    case ROUTE_BATCH_CANCEL:
        fetch_start(relay);
        break;
    case ROUTE_BATCH_RESULTS:
        results_start(relay);
        break;
    case ROUTE_BATCH_RETRY:
        retry_start(relay);
        break;
    case ROUTE_UPLOADS:
        uploads_create(relay);
        break;
    case ROUTE_UPLOAD_COMPLETE:
        uploads_complete(relay);
        break;
    case ROUTE_UPLOAD_CANCEL:
        uploads_cancel(relay);
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
    case ROUTE_UPLOAD_PARTS:
    case ROUTE_LIVENESS:
    case ROUTE_READINESS:
    case ROUTE_MANAGEMENT:
    case ROUTE_OWN_KEY:
    case ROUTE_JOURNAL:
    case ROUTE_WEBHOOKS:
    case ROUTE_UI:
    case ROUTE_UI_STATE:
    case ROUTE_UI_LOGIN:
    case ROUTE_UI_LOGOUT:
    case ROUTE_UI_COOL:
    case ROUTE_UI_RESTORE:
    case ROUTE_UI_DRAIN:
    case ROUTE_UI_CANCEL:
    case ROUTE_NONE:
        break; /* answered before */
    }
}

/* Without a keeper, who has the keys, there is nothing to manage; that there is no journal is told in
 * words of its own. */
static bool is_unknown(const struct relay *relay)
{
    enum route_kind kind = relay->route.kind;

    return kind == ROUTE_NONE || (front_is_health(relay->req) && !route_is_of_health(kind)) ||
           (route_is_of_page(kind) && !relay->rt->config->ui) ||
           (route_is_managed(kind) && kind != ROUTE_JOURNAL && relay->rt->ask == NULL);
}

/* LiteLLM's /spend/logs and /global/spend/...: a dashboard's own, which changes each month. */
static bool is_spend(const struct relay *relay, const char *path, size_t len)
{
    return relay->rt->config->journal && memmem(path, len, "/spend/", strlen("/spend/")) != NULL;
}

/* The query is left out: people put keys there. */
static void unknown_route(struct relay *relay)
{
    const h2o_req_t *req = relay->req;
    size_t len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;

    if (len > 256)
        len = 256;
    if (is_spend(relay, req->path.base, len))
        relay_error(relay, SPEND_ELSEWHERE, "", (int)req->method.len, req->method.base, (int)len,
                    req->path.base);
    else
        relay_error(relay, UNKNOWN_URL, "", (int)req->method.len, req->method.base, (int)len,
                    req->path.base);
}

static void wrong_method(struct relay *relay)
{
    char allow[64];

    route_allow(relay->route.allowed, allow, sizeof(allow));
    relay_header(relay, "allow", allow);
    relay_error(relay, WRONG_METHOD, "", (int)relay->req->method.len, relay->req->method.base,
                allow);
}

/* Health is answered all the same, and whoever ends a connection makes room. */
static void no_place(struct relay *relay)
{
    relay->req->http1_is_persistent = 0;
    relay_error(relay, CONNECTIONS_FULL, "");
}

struct entry { /* libh2o's handler with our pointer behind it */
    h2o_handler_t super;
    struct runtime *rt;
};

/* Whether a request may make us ask providers. */
static bool may_call(const struct relay *relay)
{
    switch (relay->route.kind) {
    case ROUTE_FILES:
    case ROUTE_FILE:
    case ROUTE_FILE_CONTENT:
    case ROUTE_UPLOAD_COMPLETE:
    case ROUTE_BATCHES:
    case ROUTE_BATCH:
    case ROUTE_BATCH_CANCEL:
    case ROUTE_BATCH_RESULTS:
    case ROUTE_BATCH_RETRY:
    case ROUTE_PLACEMENT:
        return true;
    default:
        return false;
    }
}

static void begin(struct relay *relay)
{
    if (limits_admit(relay) == ANSWERED || coding_check(relay) == ANSWERED ||
        (may_call(relay) && admit_call(relay) == ANSWERED))
        return;
    if (relay->method == METHOD_POST &&
        (relay->route.kind == ROUTE_FILES || relay->route.kind == ROUTE_FILE_VALIDATE))
        upload_start(relay);
    else if (relay->route.kind == ROUTE_UPLOAD_PARTS)
        uploads_part(relay);
    else if (route_is_managed(relay->route.kind))
        management_start(relay);
    else
        collect_json(relay, dispatch);
}

static void on_turn(struct slice *slice)
{
    struct relay *relay = slice->arg;

    admit_end_turn(relay);
    begin(relay);
}

/* The client has shown a key, or needs none. */
static void serve(struct relay *relay)
{
    struct runtime *rt = relay->rt;

    relay->share = share_get(&rt->shares, relay->owner);
    if (!front_share(relay->req, relay->share)) {
        no_place(relay);
        return;
    }
    front_trust(relay->req);
    relay->turn = (struct slice){.cb = on_turn, .arg = relay, .flow = share_flow(relay->share)};
    if (share_begins(relay->share, loop_now_ms(rt->loop)))
        begin(relay);
    else
        admit_turn(relay);
}

/* It is known who asks. */
static void admit_caller(struct relay *relay)
{
    if (auth_check_route(relay) == GO_ON)
        serve(relay);
}

static void log_in(struct relay *relay)
{
    if (auth_check_route(relay) == ANSWERED)
        return;
    front_trust(relay->req);
    ui_login(relay);
}

/* The page for operators has sessions in place of keys. */
static void serve_page(struct relay *relay)
{
    if (relay->route.kind == ROUTE_UI) {
        ui_page(relay);
    } else if (relay->route.kind == ROUTE_UI_LOGIN) {
        if (ui_admit_login(relay) == GO_ON)
            auth_begin(relay, log_in);
    } else if (ui_check_session(relay) == ANSWERED) {
        return;
    } else if (relay->route.kind == ROUTE_UI_CANCEL) {
        ui_cancel(relay);
        admit_caller(relay);
    } else {
        front_trust(relay->req);
        ui_serve(relay);
    }
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    struct runtime *rt = ((struct entry *)handler)->rt;
    struct relay *relay = relay_new(rt, req);

    relay->client = front_address(req);
    if (rt->draining)
        req->http1_is_persistent = 0;
    if (auth_check_single(relay) == ANSWERED || protect_check(relay) == ANSWERED ||
        cors_preflight(relay) == ANSWERED)
        return 0;
    if (is_unknown(relay))
        unknown_route(relay);
    else if (!(relay->route.allowed & relay->method))
        wrong_method(relay);
    else if (relay->route.kind == ROUTE_LIVENESS)
        health_liveness(relay);
    else if (relay->route.kind == ROUTE_READINESS)
        health_readiness(relay);
    else if (relay->route.kind == ROUTE_METRICS && !rt->config->metrics_need_key)
        metrics_start(relay);
    else if (relay->route.kind != ROUTE_HEALTH && front_is_spare(req))
        no_place(relay);
    else if (route_is_of_page(relay->route.kind))
        serve_page(relay);
    else
        auth_begin(relay, admit_caller);
    return 0;
}

/* --- life --- */

static struct worker_slot *own_slot(const struct worker *w)
{
    return &w->rt.inherited->shared->slots[w->rt.slot];
}

/* Of clients, by either door. */
static size_t connections(const struct worker *w)
{
    return front_connections(w->front) + (w->health != NULL ? front_connections(w->health) : 0);
}

static void on_beat(struct loop_timer *timer)
{
    struct worker *w = timer->arg;

    atomic_store_explicit(&own_slot(w)->beat_ms, clock_now_ms(), memory_order_relaxed);
    atomic_store_explicit(&own_slot(w)->connections, (uint32_t)front_connections(w->front),
                          memory_order_relaxed);
    atomic_store_explicit(&own_slot(w)->long_polls, w->rt.num_long_polls, memory_order_relaxed);
    if (log_out_look() != 0)
        log_error("a log file cannot be opened again: %s; the one before goes on", strerror(errno));
    if (loop_timer_start(w->rt.loop, timer, BEAT_MS) != 0)
        log_error("out of memory: no more heartbeats");
}

static void on_grace_over(struct loop_timer *timer)
{
    struct worker *w = timer->arg;

    log_warn("drain: grace period is over: closing %zu connections, abandoning %llu provider calls",
             connections(w), (unsigned long long)w->rt.operations);
    relay_log_unfinished(&w->rt);
    _exit(0);
}

/* The master ends all at once; SIGKILL comes soon. */
static void end_now(struct worker *w)
{
    relay_log_unfinished(&w->rt);
    _exit(1);
}

static void begin_drain(struct worker *w)
{
    struct runtime *rt = &w->rt;

    assert(!rt->draining);
    rt->draining = true;
    atomic_store_explicit(&own_slot(w)->draining, 1, memory_order_relaxed);
    log_info("draining: %zu connections, %zu upstream calls", connections(w),
             upstream_active(rt->upstream) + rt->calls_waiting);
    long_poll_drain(rt);
    front_drain(w->front);
    if (w->health != NULL)
        front_drain(w->health);
    w->grace.cb = on_grace_over;
    w->grace.arg = w;
    if (loop_timer_start(rt->loop, &w->grace, rt->config->timeouts.shutdown_grace_ms) != 0)
        _exit(1);
}

static void on_signal(void *arg)
{
    struct worker *w = arg;
    struct signalfd_siginfo info;

    while (read(w->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGINT)
            continue; /* a terminal's Ctrl-C reaches the whole group; the master decides */
        if (atomic_load(&w->rt.inherited->shared->ends_now) != 0)
            end_now(w);
        if (!w->rt.draining)
            begin_drain(w);
        /* Another one says nothing by itself: timeout(1), Ctrl-\ and others send theirs to the whole
         * group, besides the master's. What has to end now is told so by the master. */
    }
}

/* The master is gone: whoever starts another one must find the port and the deployments free. */
static void on_master_gone(void *arg)
{
    struct worker *w = arg;

    log_error("the master is gone, this worker ends");
    relay_log_unfinished(&w->rt);
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

static int open_signals(struct worker *w)
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
    w->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (w->signal_fd == -1)
        return ERR_IO;
    return loop_watch(w->rt.loop, w->signal_fd, on_signal, w);
}

static void configure_h2o(struct worker *w)
{
    const struct config_limits *limits = &w->rt.config->limits;
    h2o_hostconf_t *host;
    h2o_pathconf_t *path;
    struct entry *entry;
    uint64_t largest = limits->max_other_file_bytes;

    for (int i = 0; i < PROVIDER_COUNT; i++)
        if (limits->max_file_bytes[i] > largest)
            largest = limits->max_file_bytes[i];
    h2o_config_init(&w->globalconf);
    w->globalconf.server_name = h2o_iovec_init(H2O_STRLIT("tranche"));
    w->globalconf.max_request_entity_size = largest + (2u << 20);
    host = h2o_config_register_host(&w->globalconf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    path = h2o_config_register_path(host, "/", 0);
    entry = (struct entry *)h2o_create_handler(path, sizeof(*entry));
    entry->super.on_req = on_request;
    entry->rt = &w->rt;
}

static int make(struct worker *w)
{
    struct runtime *rt = &w->rt;
    struct upstream_options options = {.allow_insecure = rt->config->allow_insecure_upstream,
                                       .ca_file = rt->config->upstream_ca_file,
                                       .proxy = secret_is_set(&rt->config->upstream_proxy)
                                                    ? rt->config->upstream_proxy.data
                                                    : NULL,
                                       .no_proxy = rt->config->no_proxy,
                                       .connect_ms = rt->config->timeouts.connect_ms,
                                       .low_speed_ms = rt->config->timeouts.low_speed_ms,
                                       .lean = true};
    h2o_evloop_t *evloop = h2o_evloop_create();
    int rc = runtime_prepare(rt);

    if (rc != 0)
        return rc;
    rt->loop = loop_h2o_new(evloop);
    if (rt->loop == NULL)
        return ERR_NOMEM;
    rt->shares.slices = &rt->slices;
    configure_h2o(w);
    h2o_context_init(&w->ctx, evloop, &w->globalconf);
    if ((rc = upstream_new(rt->loop, &options, &rt->upstream)) != 0 ||
        (rc = tokens_new(&rt->config->jwt, rt->inherited->rights, rt->inherited->issuer_keys,
                         &rt->tokens)) != 0 ||
        (rc = front_new(rt->loop, &w->ctx, rt->inherited, rt->slot, FRONT_CLIENTS, &w->front)) !=
            0 ||
        (rt->inherited->health_fd != -1 &&
         (rc = front_new(rt->loop, &w->ctx, rt->inherited, rt->slot, FRONT_HEALTH, &w->health)) !=
             0) ||
        (rc = open_signals(w)) != 0)
        return rc;
    if (rt->inherited->door != NULL &&
        (rc = ask_new(rt->loop, rt->inherited->door, rt->config->timeouts.database_ms, &rt->ask)) !=
            0)
        return rc;
    if (rt->config->journal && rt->ask != NULL &&
        (rc = journal_new(rt->loop, rt->ask, &rt->journal)) != 0)
        return rc;
    if (config_asks_over_tls(rt->config))
        upstream_warm(rt->upstream);
    return loop_watch(rt->loop, rt->inherited->master_fd, on_master_gone, w);
}

static bool is_drained(const struct worker *w)
{
    return w->rt.draining && connections(w) == 0 && w->rt.operations == 0;
}

/* What the journal shall know is told before this process ends, if somebody is there to be told. */
static void tell_the_rest(struct worker *w)
{
    uint64_t until_ms = loop_now_ms(w->rt.loop) + LAST_WORDS_MS;

    while (!journal_is_idle(w->rt.journal) && loop_now_ms(w->rt.loop) < until_ms)
        (void)h2o_evloop_run(w->ctx.loop, LAST_WORDS_MS / 10);
}

int worker_run(const struct inherited *inherited, uint32_t slot)
{
    static struct worker worker; /* one per process */
    struct worker *w = &worker;
    struct runtime *rt = &w->rt;
    int rc;

    rt->inherited = inherited;
    rt->config = inherited->config;
    rt->table = inherited->table;
    rt->slot = slot;
    if (rt->config->routing_strategy != NULL) {
        rt->configured_policy = *pick_policy_find(rt->config->routing_strategy);
        rt->configured_policy.latency_buffer = rt->config->latency_buffer;
        rt->policy = &rt->configured_policy;
    }
    keep_large_blocks_apart();
    rc = make(w);
    if (rc != 0) {
        log_error("worker cannot start: %s", err_str(rc));
        return 1;
    }
    w->beat.cb = on_beat;
    w->beat.arg = w;
    on_beat(&w->beat);
    front_start(w->front);
    if (w->health != NULL)
        front_start(w->health);
    while (!is_drained(w)) {
        if (h2o_evloop_run(w->ctx.loop, BEAT_MS) == -1 && errno != EINTR)
            log_warn("event loop: %s", strerror(errno));
        log_out_flush();
    }
    tell_the_rest(w);
    log_out_flush();
    log_info("drained");
    return 0;
}
