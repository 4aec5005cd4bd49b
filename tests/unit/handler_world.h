/* What a handler's test stands on: a runtime of which a few fields are filled, a loop whose clock
 * stands and whose timers run when told, an upstream that only notes its calls (noted_calls.h), and
 * a client that is one request of libh2o's without a connection. Define ACCOUNTS before. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <h2o.h>

#include "balancer/memo.h"
#include "balancer/retry.h"
#include "balancer/state.h"
#include "balancer/table.h"
#include "core/runtime.h"
#include "request/relay.h"

#define NOTED_ANY_METHOD
#include "noted_calls.h"

/* --- the loop --- */

#define MAX_TIMERS 16

static struct loop_timer *timers[MAX_TIMERS];
static bool timers_are_refused; /* out of memory */

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return 1000000;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    for (size_t i = 0; i < MAX_TIMERS; i++)
        if (timers[i] == timer)
            timers[i] = NULL;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)delay_ms;
    do_timer_stop(loop, timer);
    for (size_t i = 0; i < MAX_TIMERS && !timers_are_refused; i++)
        if (timers[i] == NULL) {
            timers[i] = timer;
            return 0;
        }
    return ERR_NOMEM;
}

static unsigned num_timers(void)
{
    unsigned n = 0;

    for (size_t i = 0; i < MAX_TIMERS; i++)
        n += timers[i] != NULL;
    return n;
}

static inline void run_timers(void)
{
    for (size_t i = 0; i < MAX_TIMERS; i++) {
        struct loop_timer *timer = timers[i];

        timers[i] = NULL;
        if (timer != NULL)
            timer->cb(timer);
    }
}

static const struct loop_ops loop_ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

/* --- the runtime: each account has one row --- */

static struct loop loop = {.ops = &loop_ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static char bases[ACCOUNTS][32];
static struct config config;
static uint32_t columns[ACCOUNTS];
static struct ids_seals seals;
static struct shared shared;
static struct inherited inherited;
static struct runtime rt;

static void fill_models(void)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        snprintf(bases[i], sizeof(bases[i]), "https://a%u.example", i);
        accounts[i] = (struct model_account){
            .provider = PROVIDER_AZURE, .base = bases[i], .name = bases[i] + 8};
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = bases[i] + 8,
                                            .upstream_model = bases[i] + 8,
                                            .account = i,
                                            .max_retries = RETRY_NOT_GIVEN,
                                            .fingerprint = 100 + i};
        columns[i] = i;
    }
    config = (struct config){0};
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS};
    config.models.default_deployment[PROVIDER_OPENAI] = MODEL_NO_INDEX;
    config.models.default_deployment[PROVIDER_AZURE] = 0;
    config.balance_batches = true;
    config.timeouts.json_total_ms = 1000;
}

static void world_begin(void)
{
    struct table *table;

    fill_models();
    num_calls = 0;
    calls_are_refused = timers_are_refused = false;
    memset(timers, 0, sizeof(timers));
    memset(&seals, 0, sizeof(seals));
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    inherited = (struct inherited){
        .config = &config, .columns = columns, .seals = &seals, .shared = &shared};
    inherited.breaker = breaker_policy(3, 5);
    memset(&inherited.retry, 0xff, sizeof(inherited.retry)); /* RETRY_NOT_GIVEN */
    inherited.retry.least_delay_ms = 0;
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited.table = table;
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    assert_int_equal(memo_new(1024, &inherited.memo), 0);
    assert_int_equal(quota_new(64, 1024, &inherited.quota), 0);
    assert_int_equal(slots_new(64, &inherited.slots), 0);
    assert_int_equal(poll_cache_new(64, &inherited.poll_cache), 0);
    assert_int_equal(memo_new(64, &inherited.list_places), 0);
    assert_int_equal(registry_new(1000, 0, &inherited.registry), 0);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        struct quota_terms terms = {.fingerprint = 100 + i};

        quota_bind(inherited.quota, columns[i], &terms);
        slots_bind(inherited.slots, columns[i], 100 + i);
    }
    rt =
        (struct runtime){.inherited = &inherited, .config = &config, .table = table, .loop = &loop};
    assert_int_equal(runtime_prepare(&rt), 0);
    TAILQ_INIT(&rt.downloads_waiting);
}

/* Nothing is left of what a handler began. */
static void world_end(void)
{
    assert_int_equal(num_timers(), 0);
    assert_int_equal(in_flight(), 0);
    assert_int_equal(rt.operations, 0);
    assert_null(rt.slices.first);
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    account_map_deinit(&rt.account_map);
    free(rt.fallbacks);
    registry_free(inherited.registry);
    memo_free(inherited.list_places);
    poll_cache_free(inherited.poll_cache);
    slots_free(inherited.slots);
    quota_free(inherited.quota);
    memo_free(inherited.memo);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)rt.table);
    ids_seals_clear(&seals);
}

/* --- a client --- */

struct client {
    h2o_req_t req;
    h2o_conn_t conn;
    h2o_pathconf_t paths; /* no filters */
    h2o_ostream_t out;
    struct relay *relay; /* NULL: it has left */
    char body[4096];     /* received */
    size_t len;
    unsigned answers; /* ends of a response that it has seen */
};

static struct client client;

static void do_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *pieces, size_t num,
                    h2o_send_state_t state)
{
    (void)self;
    (void)req;
    for (size_t i = 0; i < num; i++) {
        assert_true(client.len + pieces[i].len < sizeof(client.body));
        memcpy(client.body + client.len, pieces[i].base, pieces[i].len);
        client.len += pieces[i].len;
    }
    client.answers += state != H2O_SEND_STATE_IN_PROGRESS;
}

static socklen_t no_name(h2o_conn_t *conn, struct sockaddr *sa)
{
    (void)conn;
    (void)sa;
    return 0;
}

/* The head of its request has come; `path` is borrowed. */
static inline struct relay *client_asks(const char *method, const char *path)
{
    static const h2o_conn_callbacks_t callbacks = {.get_peername = no_name,
                                                   .get_sockname = no_name};

    memset(&client, 0, sizeof(client));
    client.conn.callbacks = &callbacks;
    h2o_init_request(&client.req, &client.conn, NULL);
    client.req.pathconf = &client.paths;
    client.out.do_send = do_send;
    client.req._ostr_top = &client.out;
    client.req.method = h2o_iovec_init(method, strlen(method));
    client.req.path = h2o_iovec_init(path, strlen(path));
    client.req.query_at = strchr(path, '?') != NULL ? strcspn(path, "?") : SIZE_MAX;
    client.relay = relay_new(&rt, &client.req);
    return client.relay;
}

/* It closes its connection, or its request has ended. */
static inline void client_leaves(void)
{
    if (client.relay != NULL)
        h2o_dispose_request(&client.req);
    client.relay = NULL;
}

static inline void assert_answered(int status, const char *part)
{
    client.body[client.len] = '\0';
    assert_int_equal(client.answers, 1);
    assert_int_equal(client.req.res.status, status);
    if (strstr(client.body, part) == NULL)
        fail_msg("%s has no %s", client.body, part);
}

static inline void assert_not_answered(void)
{
    assert_int_equal(client.answers, 0);
}
