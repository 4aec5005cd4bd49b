/* The registry of batches as the keeper serves it, on both engines: what it gives out, what it makes
 * of what comes back, and what waits while the database is away. Its callers are the test's. */
#include "batches_world.h"

#include <fcntl.h>
#include <unistd.h>

#include "balancer/quota.h"
#include "balancer/state.h"
#include "crypto/ids.h"
#include "journal/wire.h"
#include "server/keeper/batches.h"

static struct cluster cluster;

/* --- who asks --- */

static struct {
    calls_cb cb;
    void *arg;
} served[KEEPER_KINDS];

static struct {
    unsigned status;
    char bytes[KEEPER_MESSAGE];
    size_t len;
} answered;

void calls_serve(struct calls *calls, enum keeper_kind kind, calls_cb cb, void *arg)
{
    (void)calls;
    served[kind].cb = cb;
    served[kind].arg = arg;
}

void call_answer(struct call **call, unsigned status, const void *bytes, size_t len)
{
    assert_non_null(*call);
    *call = NULL;
    answered.status = status;
    answered.len = len;
    if (len > 0)
        memcpy(answered.bytes, bytes, len);
}

bool call_is_wanted(const struct call *call, uint64_t now_ms)
{
    return now_ms < call->deadline_ms;
}

static void ask(enum keeper_kind kind, struct strbuf *message)
{
    struct call call = {
        .kind = kind, .deadline_ms = UINT64_MAX, .bytes = strbuf_str(message), .len = message->len};

    assert_non_null(served[kind].cb);
    served[kind].cb(served[kind].arg, &call);
    strbuf_deinit(message);
}

/* --- a keeper --- */

struct host {
    struct world world;
    struct node node;
    struct config config;
    struct table *table;
    struct state *state;
    struct quota *quota;
    struct model_account account;
    struct model_deployment deployment;
    uint32_t columns[1];
    struct ids_seals seals;
    struct shared *shared;
    struct inherited inherited;
    struct price_book book;
    struct price_deployment price;
    struct pricing *pricing;
    struct manage manage;
    struct manage_rebuild rebuild;
    struct batches *batches;
};

static void set_models(struct host *h)
{
    h->account = (struct model_account){
        .provider = PROVIDER_OPENAI, .base = (char *)"https://a", .name = (char *)"a"};
    h->deployment = (struct model_deployment){.group = (char *)"g",
                                              .id = (char *)"d",
                                              .upstream_model = (char *)"m",
                                              .litellm_model = (char *)"openai/m",
                                              .mode = (char *)"batch",
                                              .fingerprint = BATCHES_DEPLOYMENT};
    h->config.models = (struct model_list){.accounts = &h->account,
                                           .num_accounts = 1,
                                           .deployments = &h->deployment,
                                           .num_deployments = 1};
    h->config.timeouts.watch_ms = 100;
    h->price.fingerprint = BATCHES_DEPLOYMENT;
    price_list_init(&h->price.own);
    h->price.own.of[PRICE_INPUT_BATCHES] = 1000000000; /* a dollar a million */
    h->price.own.of[PRICE_OUTPUT_BATCHES] = 2000000000;
    h->book = (struct price_book){.deployments = &h->price, .num_deployments = 1};
}

static void set_memory(struct host *h)
{
    struct quota_terms terms = {.fingerprint = BATCHES_DEPLOYMENT, .limit = 1000000};

    assert_int_equal(table_build(&h->config.models, 1, &h->table), 0);
    assert_int_equal(state_new(CHILD_ROWS, 64, &h->state), 0);
    assert_int_equal(state_bind(h->state, h->table, h->columns), 0);
    assert_int_equal(quota_new(64, 64, &h->quota), 0);
    quota_bind(h->quota, h->columns[0], &terms);
    assert_int_equal(ids_seals_add(&h->seals, "a seal key", 10, "test"), 0);
    h->shared = shm_new(sizeof(*h->shared));
    assert_non_null(h->shared);
    h->inherited = (struct inherited){.config = &h->config,
                                      .table = h->table,
                                      .state = h->state,
                                      .quota = h->quota,
                                      .columns = h->columns,
                                      .shared = h->shared,
                                      .seals = &h->seals};
}

static struct host *host_new(struct cluster *c)
{
    struct host *h = calloc(1, sizeof(*h));
    struct batches_options options;

    assert_non_null(h);
    world_init(&h->world, c);
    h->node = node_of(h->world.store, "a", 1);
    set_models(h);
    set_memory(h);
    assert_int_equal(pricing_new(&h->book, NULL, &h->pricing), 0);
    options = (struct batches_options){.inherited = &h->inherited,
                                       .slot = 1,
                                       .store = h->world.store,
                                       .me = &h->node.me,
                                       .pricing = h->pricing,
                                       .manage = &h->manage,
                                       .rebuild = &h->rebuild};
    assert_int_equal(batches_new(&options, &h->batches), 0);
    batches_serve(h->batches, NULL);
    return h;
}

static int set_up_sqlite(void **state)
{
    *state = host_new(NULL);
    return 0;
}

static int set_up_postgres(void **state)
{
    *state = cluster.there ? host_new(&cluster) : NULL;
    return 0;
}

static int tear_down(void **state)
{
    struct host *h = *state;

    if (h == NULL)
        return 0;
    batches_free(h->batches);
    pricing_free(h->pricing);
    shm_free(h->shared, sizeof(*h->shared));
    quota_free(h->quota);
    state_free(h->state);
    table_free(h->table);
    world_deinit(&h->world);
    free(h);
    return 0;
}

#define HOST(h)                                                                                    \
    struct host *h = *state;                                                                       \
    if ((h) == NULL)                                                                               \
    skip()

/* --- messages --- */

static void make(struct host *h, unsigned i)
{
    char hash[STORE_HASH_DIGITS + 1];
    struct wire_live live = {.kind = WIRE_CREATE,
                             .id = text_of("reservation-%u", i),
                             .native = text_of("batch_%u", i),
                             .status = "validating",
                             .account = BATCHES_ACCOUNT,
                             .deployment = BATCHES_DEPLOYMENT,
                             .created_s = 1800000000,
                             .tokens = BATCHES_TOKENS,
                             .answer = {.id = text_of("batch_%u-t", i)},
                             .who = {.group = "gpt-4o", .key_hash = hash, .tags = ""}};
    struct fleet_live fleet = {.of = {.id = live.id},
                               .batch = live.answer.id,
                               .native = live.native,
                               .deployment = BATCHES_DEPLOYMENT};

    hash_of(1, hash);
    reserve(&h->node, i);
    OK(&h->node, store_batch_begin(h->node.store));
    OK(&h->node, store_fleet_live(h->node.store, &h->node.me, &fleet, 1, NULL));
    OK(&h->node, batches_live(h->batches, &live, NULL));
    OK(&h->node, store_batch_end(h->node.store));
    world_do(&h->world,
             "update @batch_part set next_at = 5 where claim_node is null and open <> 0");
}

static struct wire_due_list *due_of(struct wire_due_ask question)
{
    static struct wire_due_list list;
    struct strbuf message = STRBUF_INIT;

    assert_int_equal(wire_due_ask_write(&question, &message), 0);
    ask(KEEPER_DUE, &message);
    memset(&list, 0, sizeof(list));
    if (answered.status == WIRE_TAKEN)
        assert_int_equal(wire_due_list_read(answered.bytes, answered.len, &list), 0);
    return &list;
}

static struct wire_seen looked(unsigned i, const char *status)
{
    return (struct wire_seen){.by = WIRE_BY_WATCH,
                              .native = text_of("batch_%u", i),
                              .account = BATCHES_ACCOUNT,
                              .deployment = BATCHES_DEPLOYMENT,
                              .status = status,
                              .total = 3};
}

static struct wire_seen done(unsigned i)
{
    struct wire_seen seen = looked(i, "completed");

    seen.completed = 3;
    seen.finished_s = (uint64_t)time(NULL);
    seen.output = "file-out";
    seen.source = WIRE_USAGE_BATCH;
    seen.num_usage = 1;
    seen.usage[0] = (struct wire_usage){.model = "gpt-4o", .ok = 3, .in = 1000, .out = 500};
    return seen;
}

static void tell(const struct wire_seen *seen)
{
    struct strbuf message = STRBUF_INIT;

    assert_int_equal(wire_seen_write(seen, &message), 0);
    ask(KEEPER_SEEN, &message);
    assert_int_equal(answered.status, WIRE_TAKEN);
}

static int64_t count(const struct host *h, const char *what)
{
    return number_of(&h->world, what);
}

/* --- the watch --- */

static void a_batch_goes_from_its_create_to_its_end(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "in_progress");
    const struct wire_due_list *list;

    make(h, 1);
    list = due_of((struct wire_due_ask){.max = 8});
    assert_int_equal(list->num, 1);
    assert_int_equal(list->wait_ms, 0);
    assert_string_equal(list->due[0].native, "batch_1");
    assert_int_equal(list->due[0].task, WIRE_POLL);
    assert_int_equal(list->due[0].tokens, BATCHES_TOKENS);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 0);
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @batch where status = 'in_progress'"), 1);
    world_do(&h->world, "update @batch_part set next_at = 5");
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    seen = done(1);
    tell(&seen);
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @batch_part where open = 0"), 1);
    assert_int_equal(count(h, "select nano from @usage where source = 'batch'"), 2000000);
    assert_int_equal(count(h, "select sum(used) from @allowance"), 0);
    assert_int_equal(count(h, "select count(*) from @hook_event"), 1);
}

static void without_a_word_of_usage_it_is_asked_again(void **state)
{
    HOST(h);
    struct wire_seen seen = done(1);
    const struct wire_due_list *list;

    make(h, 1);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    seen.source = WIRE_USAGE_UNKNOWN;
    seen.num_usage = 0;
    seen.output = "";
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @batch where status = 'completed'"), 1);
    assert_int_equal(count(h, "select count(*) from @hook_event"), 0);
    world_do(&h->world, "update @batch_part set next_at = 5");
    list = due_of((struct wire_due_ask){.max = 8});
    assert_int_equal(list->num, 1);
    assert_int_equal(list->due[0].task, WIRE_MEASURE);
    assert_int_equal(list->due[0].finished_s, seen.finished_s);
    seen.source = WIRE_USAGE_NONE; /* a day later */
    seen.finished_s -= 2 * 86400;
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @usage where source = 'none'"), 1);
    assert_int_equal(count(h, "select count(*) from @hook_event"), 1);
    assert_int_equal(count(h, "select count(*) from @batch_part where open = 0"), 1);
}

static void why_it_failed_is_kept(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "failed");

    make(h, 1);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    seen.errors = "{\"object\":\"list\",\"data\":[{\"code\":\"token_limit_exceeded\"}]}";
    seen.source = WIRE_USAGE_NONE;
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @batch where code = 'token_limit_exceeded'"),
                     1);
}

static void what_is_worked_on_stays_its_own(void **state)
{
    HOST(h);
    struct wire_due_ask held = {.max = 8, .num_held = 1, .held = {{BATCHES_ACCOUNT, "batch_1"}}};

    make(h, 1);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    world_do(&h->world, "update @batch_part set claim_until = 2");
    assert_int_equal(due_of(held)->num, 0);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8, .fresh = 1})->num, 1);
}

/* --- who pays --- */

static void a_key_is_known_by_its_lasting_id(void **state)
{
    HOST(h);
    struct store_key key = key_of(1);

    key.id = "key-lasting";
    key.user_id = "u1";
    key.metadata = "{\"tags\":[\"x\",\"y\"],\"other\":1}";
    OK(&h->node, store_key_add(h->node.store, &key, &tester, NULL));
    make(h, 1);
    assert_int_equal(count(h, "select count(*) from @batch where key_id = 'key-lasting'"
                              " and user_id = 'u1' and tags = '[\"x\",\"y\"]'"),
                     1);
}

static void a_key_of_a_file_has_the_id_that_stands_there(void **state)
{
    HOST(h);
    char hash[STORE_HASH_DIGITS + 1];
    struct rights_key key = {.id = (char *)"of-a-file"};
    struct rights_list list = {.keys = &key, .num_keys = 1};

    hash_of(1, hash);
    hash_bytes(hash, key.hash);
    h->manage.files[1] = &list;
    make(h, 1);
    assert_int_equal(count(h, "select count(*) from @batch where key_id = 'of-a-file'"), 1);
}

/* --- the database is away --- */

static void what_was_seen_meanwhile_is_written_later(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "in_progress"), end = done(1);

    make(h, 1);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    break_at(h->node.store, 0);
    seen.by = WIRE_BY_POLL;
    tell(&seen);
    tell(&end);
    assert_false(batches_are_written(h->batches));
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 0);
    assert_int_equal(answered.status, WIRE_LATER);
    assert_int_equal(count(h, "select count(*) from @batch where status = 'validating'"), 1);
    break_at(h->node.store, -1);
    h->node.store->retry_ms = 0;
    OK(&h->node, store_generation(h->node.store, &(uint64_t){0})); /* it is back */
    batches_step(h->batches, clock_now_ms());
    assert_true(batches_are_written(h->batches));
    assert_int_equal(count(h, "select count(*) from @batch where status = 'completed'"), 1);
    assert_int_equal(count(h, "select count(*) from @usage"), 1);
    assert_int_equal(count(h, "select count(*) from @batch_story where what = 'status'"), 1);
}

/* The database is there again. */
static void mend(struct host *h)
{
    break_at(h->node.store, -1);
    h->node.store->retry_ms = 0;
    OK(&h->node, store_generation(h->node.store, &(uint64_t){0}));
}

/* Wherever the connection breaks between the first word of it and the last. */
static void a_refund_at_cancelling_is_not_lost(void **state)
{
    HOST(h);
    bool broke = true;

    h->config.refund_at_cancelling = true;
    for (unsigned i = 1; broke; i++) {
        struct wire_seen seen = looked(i, "cancelling");

        assert_true(i < 40);
        make(h, i);
        seen.by = WIRE_BY_POLL;
        break_at(h->node.store, (int)i - 1);
        tell(&seen);
        broke = !batches_are_written(h->batches);
        mend(h);
        batches_step(h->batches, clock_now_ms());
        assert_true(batches_are_written(h->batches));
        assert_int_equal(count(h, "select used from @allowance where scope like 'k:%'"), 0);
        assert_int_equal(count(h, "select used from @allowance where scope like 'd:%'"),
                         i * BATCHES_TOKENS);
        assert_int_equal(count(h, "select count(*) from @batch where status = 'cancelling'"), i);
    }
}

static void what_waits_is_bounded(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "in_progress");

    make(h, 1);
    break_at(h->node.store, 0);
    seen.by = WIRE_BY_POLL;
    for (int i = 0; i < 3 * BATCHES_KEPT; i++)
        tell(&seen);
    break_at(h->node.store, -1);
    h->node.store->retry_ms = 0;
    OK(&h->node, store_generation(h->node.store, &(uint64_t){0}));
    batches_step(h->batches, clock_now_ms());
    assert_true(batches_are_written(h->batches));
}

/* What is written to the error log while something is done. */
static int log_file = -1, old_stderr = -1;

static void hear(void)
{
    log_file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    old_stderr = dup(2);
    assert_true(log_file != -1 && old_stderr != -1);
    dup2(log_file, 2);
}

static unsigned heard(const char *text)
{
    static char log[1 << 16];
    ssize_t len = pread(log_file, log, sizeof(log) - 1, 0);
    unsigned n = 0;

    dup2(old_stderr, 2);
    close(old_stderr);
    close(log_file);
    assert_true(len >= 0);
    log[len] = '\0';
    for (const char *at = strstr(log, text); at != NULL; at = strstr(at + 1, text))
        n++;
    return n;
}

static void what_is_dropped_is_told_once(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "in_progress");

    make(h, 1);
    break_at(h->node.store, 0);
    seen.by = WIRE_BY_POLL;
    hear();
    for (int i = 0; i < BATCHES_KEPT + 5; i++)
        tell(&seen);
    assert_int_equal(heard("the oldest are dropped"), 1);
    mend(h);
    hear();
    batches_step(h->batches, clock_now_ms());
    batches_step(h->batches, clock_now_ms());
    assert_int_equal(heard(" 5 reports of batches had been dropped"), 1);
}

static void what_is_never_taken_is_told_once_and_keeps_nobody(void **state)
{
    HOST(h);
    struct wire_seen seen = looked(1, "in_progress");

    make(h, 1);
    seen.by = WIRE_BY_POLL;
    hear();
    for (int i = 0; i < 3; i++) {
        refuse_at(h->node.store, 1);
        tell(&seen);
        assert_true(batches_are_written(h->batches));
    }
    assert_int_equal(heard("is not taken by the database"), 1);
    break_at(h->node.store, -1);
    tell(&seen);
    assert_int_equal(count(h, "select count(*) from @batch where status = 'in_progress'"), 1);
}

static void a_node_that_has_not_joined_has_no_claims(void **state)
{
    HOST(h);
    int64_t epoch = h->node.me.epoch;

    make(h, 1);
    h->node.me.epoch = 0;
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 0);
    assert_int_equal(answered.status, WIRE_LATER);
    h->node.me.epoch = epoch;
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
}

static void what_is_no_message_is_not_said_again(void **state)
{
    HOST(h);
    struct strbuf message = STRBUF_INIT;

    (void)h;
    strbuf_adds(&message, "nonsense");
    ask(KEEPER_DUE, &message);
    assert_int_equal(answered.status, WIRE_UNREADABLE);
    strbuf_adds(&message, "nonsense");
    ask(KEEPER_SEEN, &message);
    assert_int_equal(answered.status, WIRE_UNREADABLE);
}

/* --- the fleet --- */

/* Another node's watch saw the end: this node's ledger lets go of it. */
static void an_end_that_others_saw_frees_this_nodes_ledger(void **state)
{
    HOST(h);
    struct node other = node_of(h->world.store, "b", 2);
    struct store_seen end = end_of(1);
    struct quota_claim claim;
    struct quota_sum sum;
    uint64_t now_ms = clock_now_ms();

    assert_int_equal(quota_reserve(h->quota, 2, h->columns[0], BATCHES_TOKENS, 77, now_ms, &claim),
                     0);
    assert_true(quota_sent(h->quota, &claim));
    assert_int_equal(quota_commit(h->quota, &claim, "batch_1", 7), 0);
    batches_step(h->batches, now_ms);
    make(h, 1);
    end.watched = false;
    assert_int_equal(see(&other, &end), STORE_SEEN_ENDED);
    batches_step(h->batches, now_ms);
    quota_read(h->quota, h->columns[0], clock_now_ms(), &sum);
    assert_int_equal(sum.reserved, 0);
}

/* --- a rebuild --- */

static struct wire_seen found(unsigned i, const char *status)
{
    struct wire_seen seen = looked(i, status);

    seen.by = WIRE_BY_REBUILD;
    seen.nonce = text_of("%032x", i);
    seen.owner = BATCHES_TEAM;
    seen.key = BATCHES_KEY;
    seen.tokens = BATCHES_TOKENS;
    seen.placed = BATCHES_DEPLOYMENT;
    seen.created_s = 1800000000;
    return seen;
}

static void what_a_list_shows_is_put_back_once(void **state)
{
    HOST(h);
    struct wire_seen runs = found(1, "in_progress"), ended = found(2, "completed");
    struct wire_seen foreign = found(3, "in_progress");

    h->rebuild = (struct manage_rebuild){.number = 4, .runs = true};
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->rebuild, 4);
    foreign.nonce = "";
    for (int i = 0; i < 2; i++) {
        tell(&runs);
        tell(&ended);
        tell(&foreign);
    }
    assert_int_equal(h->rebuild.found, 4);
    assert_int_equal(h->rebuild.added, 2);
    assert_int_equal(count(h, "select count(*) from @batch where rebuilt = 1 and id like '%-t%'"),
                     2);
    /* What runs holds its tokens again; what has ended does not */
    assert_int_equal(count(h, "select used from @allowance where scope = 'd:000000d1'"),
                     BATCHES_TOKENS);
    assert_int_equal(count(h, "select used from @allowance where scope = 't:000000000000007e'"),
                     BATCHES_TOKENS);
    (void)due_of((struct wire_due_ask){.max = 0, .rebuilt = 3});
    assert_true(h->rebuild.runs); /* that was another one */
    (void)due_of((struct wire_due_ask){.max = 0, .rebuilt = 4, .unread = 1});
    assert_false(h->rebuild.runs);
    assert_int_equal(h->rebuild.unread, 1);
    /* And the watch does the rest */
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 2);
    for (unsigned i = 1; i <= 2; i++) {
        struct wire_seen end = done(i);

        tell(&end);
    }
    assert_int_equal(count(h, "select count(*) from @usage"), 2);
    assert_int_equal(count(h, "select sum(used) from @allowance"), 0);
}

static int on_id(void *arg, const struct store_batch_row *row)
{
    snprintf(arg, 256, "%s", row->batch.id);
    return 0;
}

/* A list has shown it, its end was seen, and now its create is told of, among others. */
static void what_frees_tokens_is_not_told_among_others(void **state)
{
    HOST(h);
    struct wire_seen runs = found(1, "in_progress"), end = done(1);
    struct wire_live live = {.kind = WIRE_CREATE,
                             .id = "reservation-1",
                             .native = "batch_1",
                             .status = "validating",
                             .account = BATCHES_ACCOUNT,
                             .deployment = BATCHES_DEPLOYMENT,
                             .tokens = BATCHES_TOKENS,
                             .who = {.group = "gpt-4o", .key_hash = "", .tags = ""}};
    struct store_native of = {.account = BATCHES_ACCOUNT, .native = "batch_1"};
    char id[256] = "";
    bool alone = false;

    tell(&runs);
    assert_int_equal(due_of((struct wire_due_ask){.max = 8})->num, 1);
    tell(&end);
    reserve(&h->node, 1);
    OK(&h->node, store_batches_get(h->node.store, NULL, &of, on_id, id));
    live.answer.id = id;
    OK(&h->node, store_batch_begin(h->node.store));
    OK(&h->node, batches_live(h->batches, &live, &alone));
    OK(&h->node, store_batch_end(h->node.store));
    assert_true(alone);
    assert_int_equal(count(h, "select count(*) from @batch where rebuilt = 1"), 1);
    assert_int_equal(count(h, "select used from @allowance where scope like 'k:%4b'"),
                     BATCHES_TOKENS);
    OK(&h->node, batches_live(h->batches, &live, NULL));
    assert_int_equal(count(h, "select count(*) from @batch where rebuilt = 0"), 1);
    assert_int_equal(count(h, "select used from @allowance where scope like 'k:%4b'"), 0);
}

static void tell_of(struct host *h, const char *id, const char *reservation)
{
    struct wire_live live = {.kind = WIRE_CREATE,
                             .id = reservation,
                             .native = "batch_1",
                             .status = "validating",
                             .account = BATCHES_ACCOUNT,
                             .deployment = BATCHES_DEPLOYMENT,
                             .answer = {.id = id},
                             .who = {.group = "gpt-4o", .key_hash = "", .tags = ""}};

    OK(&h->node, batches_live(h->batches, &live, NULL));
}

/* As of another node, which has looked it up for a client that asked again: it knows of no reservation. */
static void end_one_of_anothers(struct host *h)
{
    struct wire_seen end = done(1);

    tell_of(h, "batch_1", "");
    world_do(&h->world, "update @batch_part set next_at = 0");
    assert_true(due_of((struct wire_due_ask){.max = 8})->num > 0);
    tell(&end);
    assert_int_equal(count(h, "select count(*) from @batch where status = 'completed'"), 1);
    assert_int_equal(count(h, "select used from @allowance where scope = 'd:000000d1'"),
                     BATCHES_TOKENS);
}

/* A worker died with its answer; a repeat at another node showed the batch, which ended; then the search
 * for what the dead worker had left found its create. */
static void a_create_that_is_found_after_the_end_of_its_batch_holds_no_room(void **state)
{
    HOST(h);
    struct wire_seen create = found(1, "completed");

    reserve(&h->node, 1);
    world_do(&h->world,
             "update @reservation set state = 3, nonce = '00000000000000000000000000000001'");
    end_one_of_anothers(h);
    for (int i = 0; i < 2; i++) {
        tell(&create);
        assert_int_equal(count(h, "select count(*) from @reservation where state = 2"), 1);
        assert_int_equal(count(h, "select sum(used) from @allowance"), 0);
    }
}

static void a_create_that_is_found_while_its_batch_runs_holds_its_room(void **state)
{
    HOST(h);
    struct wire_seen create = found(1, "in_progress");

    reserve(&h->node, 1);
    world_do(&h->world,
             "update @reservation set state = 3, nonce = '00000000000000000000000000000001'");
    tell_of(h, "batch_1", "");
    for (int i = 0; i < 2; i++) {
        tell(&create);
        assert_int_equal(count(h, "select count(*) from @reservation where state = 1"), 1);
        assert_int_equal(count(h, "select used from @allowance where scope = 'd:000000d1'"),
                         BATCHES_TOKENS);
    }
}

/* It ended likewise, and the worker's word of its create comes late, since the database was away. */
static void a_create_that_is_told_of_after_the_end_of_its_batch_holds_no_room(void **state)
{
    HOST(h);
    struct fleet_live fleet = {
        .of = {.id = "reservation-1"}, .batch = "batch_1", .native = "batch_1"};

    reserve(&h->node, 1);
    end_one_of_anothers(h);
    OK(&h->node, store_fleet_live(h->node.store, &h->node.me, &fleet, 1, NULL));
    assert_int_equal(count(h, "select used from @allowance where scope = 'd:000000d1'"),
                     BATCHES_TOKENS);
    tell_of(h, "batch_1", "reservation-1");
    assert_int_equal(count(h, "select sum(used) from @allowance"), 0);
}

/* The node has lost its row, or its name, and does not know it yet. */
static void what_was_found_under_an_old_epoch_waits_for_the_next(void **state)
{
    HOST(h);
    struct wire_seen runs = found(1, "in_progress");

    world_do(&h->world, "update @node set epoch = epoch + 1");
    tell(&runs);
    assert_false(batches_are_written(h->batches));
    h->node = node_of(h->world.store, "a", 2);
    batches_step(h->batches, clock_now_ms());
    assert_true(batches_are_written(h->batches));
    assert_int_equal(count(h, "select used from @allowance where scope = 'd:000000d1'"),
                     BATCHES_TOKENS);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down),                               \
        cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_batch_goes_from_its_create_to_its_end),
        BOTH(without_a_word_of_usage_it_is_asked_again),
        BOTH(why_it_failed_is_kept),
        BOTH(what_is_worked_on_stays_its_own),
        BOTH(a_key_is_known_by_its_lasting_id),
        BOTH(a_key_of_a_file_has_the_id_that_stands_there),
        BOTH(what_was_seen_meanwhile_is_written_later),
        BOTH(a_refund_at_cancelling_is_not_lost),
        BOTH(what_waits_is_bounded),
        BOTH(what_is_dropped_is_told_once),
        BOTH(what_is_never_taken_is_told_once_and_keeps_nobody),
        BOTH(a_node_that_has_not_joined_has_no_claims),
        BOTH(what_is_no_message_is_not_said_again),
        BOTH(an_end_that_others_saw_frees_this_nodes_ledger),
        BOTH(what_a_list_shows_is_put_back_once),
        BOTH(what_frees_tokens_is_not_told_among_others),
        BOTH(a_create_that_is_found_after_the_end_of_its_batch_holds_no_room),
        BOTH(a_create_that_is_found_while_its_batch_runs_holds_its_room),
        BOTH(a_create_that_is_told_of_after_the_end_of_its_batch_holds_no_room),
        BOTH(what_was_found_under_an_old_epoch_waits_for_the_next),
    };
    int ret;

    cluster_init(&cluster);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_deinit(&cluster);
    return ret;
}
