/* The keeper's part for creates, with calls and a loop of the test's own, on SQLite: what waits at one
 * turn is said, and the database goes away and comes back. */
#pragma once

#include "store_world.h"

#include "server/keeper/intents.c"
#include "server/store/store_impl.h"

#include "store/store_fleet.h"

/* --- calls --- */

struct asked_call {
    struct call call;
    bool answered;
    unsigned status;
    struct strbuf bytes, answer;
};

static struct asked_call asked_calls[200];
static size_t num_calls;
static calls_cb serves[KEEPER_KINDS];
static void *serves_arg[KEEPER_KINDS];

void calls_serve(struct calls *calls, enum keeper_kind kind, calls_cb cb, void *arg)
{
    (void)calls;
    serves[kind] = cb;
    serves_arg[kind] = arg;
}

void call_answer(struct call **call, unsigned status, const void *bytes, size_t len)
{
    struct asked_call *c = (struct asked_call *)*call;

    assert_false(c->answered);
    c->answered = true;
    c->status = status;
    strbuf_add(&c->answer, bytes != NULL ? bytes : "", len);
    *call = NULL;
}

bool call_is_wanted(const struct call *call, uint64_t now_ms)
{
    return now_ms < call->deadline_ms;
}

/* --- a loop --- */

static uint64_t now_ms = 1000000;
static struct loop_timer *armed;

static inline uint64_t the_time(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static inline int arm(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    armed = timer;
    timer->slot = 1;
    timer->due_ms = now_ms + delay_ms;
    return 0;
}

static inline void disarm(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    timer->slot = 0;
    armed = NULL;
}

static const struct loop_ops loop_ops = {
    .now_ms = the_time, .timer_start = arm, .timer_stop = disarm};
static struct loop loop = {&loop_ops};

static inline void run_turn_of_loop(void)
{
    for (int i = 0; armed != NULL; i++) {
        struct loop_timer *timer = armed;

        assert_true(i < 200);
        if (timer->due_ms > now_ms)
            world_pause();
        armed = NULL;
        timer->slot = 0;
        timer->cb(timer);
    }
}

/* --- the keeper --- */

static struct world w;
static struct config config;
static struct shared shared;
static struct inherited inherited;
static struct intents *intents;
static char outbox_path[128];

static inline void start_keeper(void)
{
    struct intents_options options = {
        .inherited = &inherited, .loop = &loop, .store = w.store, .outbox = outbox_path};
    struct fleet *fleet;

    assert_int_equal(fleet_new(&inherited, w.store, 1, "here:4000", &fleet), 0);
    options.fleet = fleet;
    assert_int_equal(intents_new(&options, &intents), 0);
    intents_serve(intents, NULL);
}

static inline void stop_keeper(void)
{
    struct fleet *fleet = intents->of.fleet;

    intents_free(intents);
    fleet_free(fleet);
}

static inline int setup(void **state)
{
    static struct table *table;
    static uint32_t columns[1];
    static struct model_account account;
    static char group[] = "g";
    static struct model_deployment row = {.group = group, .fingerprint = 10};
    struct model_list models = {
        .accounts = &account, .num_accounts = 1, .deployments = &row, .num_deployments = 1};

    (void)state;
    world_init(&w, NULL);
    snprintf(outbox_path, sizeof(outbox_path), "%s/outbox", w.dir);
    config = (struct config){.host = "127.0.0.1", .port = 4000};
    config.timeouts.json_total_ms = 60000;
    config.outage_window_ms = 600000;
    memset(&shared, 0, sizeof(shared));
    if (table == NULL)
        assert_int_equal(table_build(&models, 1, &table), 0);
    inherited = (struct inherited){
        .config = &config, .shared = &shared, .table = table, .columns = columns};
    assert_int_equal(registry_new(16, 1, &inherited.registry), 0);
    assert_int_equal(quota_new(4, 16, &inherited.quota), 0);
    num_calls = 0;
    start_keeper();
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    stop_keeper();
    registry_free(inherited.registry);
    quota_free(inherited.quota);
    for (size_t i = 0; i < num_calls; i++) {
        strbuf_deinit(&asked_calls[i].bytes);
        strbuf_deinit(&asked_calls[i].answer);
    }
    world_deinit(&w);
    return 0;
}

/* --- what is asked --- */

static inline struct wire_intent create_of(const char *id, uint64_t tokens)
{
    struct wire_intent intent = {.kind = WIRE_CREATE,
                                 .id = id,
                                 .claim = "",
                                 .name = "",
                                 .nonce = id,
                                 .deployment = 6,
                                 .account = 5,
                                 .tokens = tokens};

    for (unsigned i = 0; i < WIRE_SCOPES; i++)
        intent.scopes[i] =
            (struct wire_scope){10 + i, WIRE_UNLIMITED, WIRE_UNLIMITED, WIRE_UNLIMITED, 0};
    return intent;
}

static inline struct wire_intent limited(const char *id, uint64_t tokens)
{
    struct wire_intent intent = create_of(id, tokens);

    intent.scopes[WIRE_KEY].tokens = 100;
    return intent;
}

static inline struct asked_call *say(enum keeper_kind kind, const struct strbuf *bytes)
{
    struct asked_call *c = &asked_calls[num_calls++];

    *c = (struct asked_call){.call = {.kind = kind, .deadline_ms = now_ms + 2000}};
    strbuf_add(&c->bytes, bytes->data, bytes->len);
    c->call.bytes = c->bytes.data;
    c->call.len = c->bytes.len;
    serves[kind](serves_arg[kind], &c->call);
    assert_false(c->answered); /* never from inside */
    return c;
}

static inline struct asked_call *ask(const struct wire_intent *intent)
{
    struct strbuf bytes = STRBUF_INIT;
    struct asked_call *c;

    assert_int_equal(wire_intent_write(intent, &bytes), 0);
    c = say(KEEPER_INTENT, &bytes);
    strbuf_deinit(&bytes);
    return c;
}

static inline struct asked_call *tell_drop(const char *id, enum wire_why why)
{
    const struct wire_drop drop = {.why = why, .id = id, .claim = "", .nonce = ""};
    struct strbuf bytes = STRBUF_INIT;
    struct asked_call *c;

    assert_int_equal(wire_drop_write(&drop, &bytes), 0);
    c = say(KEEPER_DROP, &bytes);
    strbuf_deinit(&bytes);
    return c;
}

static inline struct asked_call *tell_live(const char *id, const char *native)
{
    struct wire_live live = {.kind = WIRE_CREATE,
                             .id = id,
                             .native = native,
                             .nonce = id,
                             .account = 5,
                             .deployment = 6,
                             .tokens = 30,
                             .answer = {.status = 200, .id = native}};
    struct strbuf bytes = STRBUF_INIT;
    struct asked_call *c;

    live.scopes[WIRE_DEPLOYMENT] =
        (struct wire_scope){10, WIRE_UNLIMITED, WIRE_UNLIMITED, WIRE_UNLIMITED, 0};
    assert_int_equal(wire_live_write(&live, &bytes), 0);
    c = say(KEEPER_LIVE, &bytes);
    strbuf_deinit(&bytes);
    return c;
}

static inline struct wire_verdict verdict_of(const struct asked_call *c)
{
    struct wire_verdict verdict;

    assert_true(c->answered);
    assert_int_equal(c->status, WIRE_TAKEN);
    assert_int_equal(wire_verdict_read(c->answer.data, c->answer.len, &verdict), 0);
    return verdict;
}

static inline uint32_t end_of(const struct wire_intent *intent)
{
    const struct asked_call *c = ask(intent);

    run_turn_of_loop();
    return verdict_of(c).end;
}

static inline void on_sum(void *arg, const struct fleet_sum *sum)
{
    struct fleet_sum *out = arg;

    if (sum->kind == out->kind && sum->name == out->name)
        *out = *sum;
}

/* Of the deployment. */
static inline struct fleet_sum held(void)
{
    struct fleet_sum sum = {.kind = FLEET_DEPLOYMENT, .name = 10};
    struct store *store = world_open(w.url);
    int64_t since = 0;

    assert_int_equal(store_fleet_sums(store, &since, on_sum, &sum), 0);
    store_free(store);
    return sum;
}

/* --- while the database is away --- */

static struct store *away; /* one whose place is not there */

static inline void take_database_away(void)
{
    away = world_open("sqlite:///nonexistent/folder/tranche.db");
    intents->of.store = away;
}

static inline void bring_database_back(void)
{
    intents->of.store = w.store;
    store_free(away);
    away = NULL;
}
