/* Batches of a registry for tests: made, claimed, seen; and the numbers that the tables then have. */
#pragma once

#include "store_world.h"

#include "server/store/store_impl.h"
#include "store/store_batches.h"
#include "store/store_fleet.h"

#define BATCHES_ACCOUNT    7
#define BATCHES_DEPLOYMENT 0xd1
#define BATCHES_KEY        0x4b
#define BATCHES_TEAM       0x7e
#define BATCHES_TOKENS     1000

/* A node of the fleet. */
struct node {
    struct store *store;
    struct fleet_me me;
    struct store_claimer by;
};

static inline struct node node_of(struct store *store, const char *name, uint64_t run)
{
    struct node node = {.store = store, .me = {.node = name}};
    int rc = store_fleet_join(store, run, "127.0.0.1:4000", "0", &node.me);

    if (rc != 0)
        fail_msg("%s does not join: %s", name, store_why(store));
    node.by = (struct store_claimer){.node = name, .epoch = node.me.epoch};
    return node;
}

struct numbers {
    int64_t of[4];
};

static inline int on_numbers(void *arg, const struct row *row)
{
    for (size_t i = 0; i < row->num && i < 4; i++)
        ((struct numbers *)arg)->of[i] = row_int(row, i);
    return 0;
}

/* Columns of the first row of a query, past the store under test. */
static inline struct numbers numbers_of(const struct world *w, const char *sql)
{
    struct numbers numbers = {0};
    struct engine *engine;

    if (w->cluster != NULL) {
        cluster_do(w->cluster, sql, on_numbers, &numbers);
        return numbers;
    }
    assert_int_equal(sqlite_engine_new(w->url + strlen("sqlite://"), false, &engine), 0);
    assert_int_equal(engine->ops->connect(engine, clock_now_ms() + PATIENCE_MS), 0);
    if (engine_run(engine, sql, NULL, 0, clock_now_ms() + PATIENCE_MS, on_numbers, &numbers) != 0)
        fail_msg("%s: %s", sql, engine->why);
    engine->ops->free(engine);
    return numbers;
}

static inline int64_t number_of(const struct world *w, const char *sql)
{
    return numbers_of(w, sql).of[0];
}

/* ---- a batch ---- */

/* Texts that live until many others are made. */
__attribute__((format(printf, 1, 2))) static inline const char *text_of(const char *fmt, ...)
{
    static char texts[64][64];
    static unsigned at;
    va_list args;

    at = (at + 1) % 64;
    va_start(args, fmt);
    vsnprintf(texts[at], sizeof(texts[at]), fmt, args);
    va_end(args);
    return texts[at];
}

static inline struct store_batch batch_of(unsigned i)
{
    return (struct store_batch){.id = text_of("batch_%u-t", i),
                                .owner = UINT64_C(0xfedcba9876543210),
                                .key_id = "key-1",
                                .key_alias = "nightly",
                                .team_id = "team-a",
                                .user_id = "u1",
                                .tags = "[\"a\",\"b\"]",
                                .model_group = "gpt-4o",
                                .endpoint = "/v1/chat/completions",
                                .input_file = "file-1",
                                .reservation = text_of("reservation-%u", i),
                                .account = BATCHES_ACCOUNT,
                                .native = text_of("batch_%u", i),
                                .deployment = BATCHES_DEPLOYMENT,
                                .tokens = BATCHES_TOKENS,
                                .status = "validating",
                                .created_ms = 1800000000000 + i,
                                .expires_ms = 1800086400000};
}

static inline void reserve(const struct node *n, unsigned i)
{
    struct fleet_answer answer;
    struct fleet_intent intent = {.id = text_of("reservation-%u", i),
                                  .account = BATCHES_ACCOUNT,
                                  .deployment = BATCHES_DEPLOYMENT,
                                  .tokens = BATCHES_TOKENS,
                                  .busy_ms = 60000};
    uint64_t names[FLEET_SCOPES] = {BATCHES_DEPLOYMENT, BATCHES_KEY, BATCHES_TEAM};

    for (size_t s = 0; s < FLEET_SCOPES; s++)
        intent.scopes[s] = (struct fleet_scope){
            .name = names[s], .tokens = 1000000, .batches = 1000000, .nano = INT64_MAX};
    OK(n, store_fleet_intents(n->store, &n->me, &intent, 1, &answer));
    assert_int_equal(answer.verdict, FLEET_GRANTED);
    fleet_answer_deinit(&answer);
}

/* Its create, as a keeper writes it: reservation and registry in one transaction. */
static inline void make_batch(const struct node *n, unsigned i)
{
    struct store_batch batch = batch_of(i);
    struct fleet_live live = {.of = {.id = batch.reservation},
                              .batch = batch.id,
                              .native = batch.native,
                              .deployment = BATCHES_DEPLOYMENT};
    bool added = false;

    reserve(n, i);
    OK(n, store_batch_begin(n->store));
    OK(n, store_fleet_live(n->store, &n->me, &live, 1, NULL));
    batch = batch_of(i);
    OK(n, store_batches_add(n->store, &batch, n->me.node, 0, &added));
    OK(n, store_batch_end(n->store));
    assert_true(added);
}

/* ---- what is due ---- */

struct due_list {
    char natives[STORE_CLAIMS][64];
    struct store_due due[STORE_CLAIMS]; /* without its texts */
    size_t num;
};

static inline int on_due_list(void *arg, const struct store_due *due)
{
    struct due_list *list = arg;

    snprintf(list->natives[list->num], sizeof(list->natives[0]), "%s", due->native);
    list->due[list->num++] = *due;
    return 0;
}

static inline struct due_list claim(const struct node *n)
{
    struct due_list list = {.num = 0};

    OK(n, store_batches_claim(n->store, &n->by, STORE_CLAIMS, on_due_list, &list));
    return list;
}

/* ---- what was seen ---- */

static const struct store_usage usage_of_two[] = {
    {"gpt-4o", 8, 1, 1000, 800, 200, 150, 42000, "deployment", 0, "batch"},
    {"gpt-4o-mini", 1, 0, 10, 0, 20, 0, 1000, NULL, 1, "batch"}};

static inline struct store_seen seen_of(unsigned i, const char *status)
{
    return (struct store_seen){.account = BATCHES_ACCOUNT,
                               .native = text_of("batch_%u", i),
                               .watched = true,
                               .status = status,
                               .total = 10,
                               .next_ms = 60000};
}

static inline struct store_seen end_of(unsigned i)
{
    struct store_seen seen = seen_of(i, "completed");

    seen.completed = 9;
    seen.failed = 1;
    seen.finished_ms = 1800003600000;
    seen.output_file = "file-out";
    seen.measured = seen.tell = true;
    seen.usage = usage_of_two;
    seen.num_usage = 2;
    return seen;
}

static inline enum store_seen_end see(const struct node *n, const struct store_seen *seen)
{
    enum store_seen_end end = STORE_SEEN_UNKNOWN;

    OK(n, store_batches_seen(n->store, &n->by, seen, &end));
    return end;
}

/* ---- who is cut off ---- */

/* An engine whose connection breaks at one of its statements, or that refuses it for good. */
static struct {
    struct engine_ops ops;
    const struct engine_ops *of;
    int left; /* statements until it breaks; negative: it does not */
    bool refuses;
} broken;

static inline int run_or_break(struct engine *engine, const char *sql, const struct value *values,
                               size_t num, uint64_t until_ms, row_cb on_row, void *arg)
{
    if (broken.left-- != 0)
        return broken.of->run(engine, sql, values, num, until_ms, on_row, arg);
    if (broken.refuses)
        return engine_fail(engine, ERR_INVALID, engine->state, "it is refused");
    broken.of->disconnect(engine);
    return engine_fail(engine, ERR_IO, STORE_DOWN, "killed");
}

static inline void break_at(struct store *store, int left)
{
    if (store->engine->ops != &broken.ops) {
        broken.of = store->engine->ops;
        broken.ops = *broken.of;
        broken.ops.run = run_or_break;
        store->engine->ops = &broken.ops;
    }
    broken.left = left;
    broken.refuses = false;
}

/* One statement is never taken, the next ones are. */
static inline void refuse_at(struct store *store, int left)
{
    break_at(store, left);
    broken.refuses = true;
}
