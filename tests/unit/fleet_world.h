/* Two nodes of a fleet over one database, for the tests of what they share there. */
#pragma once

#include "store_world.h"

#include "common/rights.h"
#include "server/store/store_fleet_impl.h"
#include "store/store_fleet.h"

static struct cluster cluster;
static struct fleet_me a, b; /* two nodes */

static inline int join_both(struct world *w)
{
    a = (struct fleet_me){.node = "host-a:4000"};
    b = (struct fleet_me){.node = "host-b:4000"};
    OK(w, store_fleet_join(w->store, 1, "10.0.0.1:4000", "1.0", &a));
    OK(w, store_fleet_join(w->store, 2, "10.0.0.2:4000", "1.0", &b));
    return 0;
}

static inline int set_up_sqlite(void **state)
{
    static struct world world;

    world_init(&world, NULL);
    *state = &world;
    return join_both(&world);
}

static inline int set_up_postgres(void **state)
{
    static struct world world;

    *state = NULL;
    if (!cluster.there)
        return 0;
    world_init(&world, &cluster);
    *state = &world;
    return join_both(&world);
}

static inline int tear_down(void **state)
{
    if (*state != NULL)
        world_deinit(*state);
    return 0;
}

#define WORLD(w)                                                                                   \
    struct world *w = *state;                                                                      \
    if ((w) == NULL)                                                                               \
    skip()

/* ---- what the tests ask ---- */

#define LIMIT 1000

/* A create of so many tokens, at one deployment, of one key and team, each with LIMIT. */
static inline struct fleet_intent create_of(const char *id, uint64_t tokens)
{
    struct fleet_intent intent = {.id = id,
                                  .token = 77,
                                  .nonce = id,
                                  .account = 5,
                                  .deployment = 6,
                                  .tokens = tokens,
                                  .busy_ms = 60000};

    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        intent.scopes[i] = (struct fleet_scope){0xd0 + i, LIMIT, RIGHTS_UNLIMITED, INT64_MAX, 0};
    return intent;
}

/* The same with an Idempotency-Key. */
static inline struct fleet_intent keyed(const char *id, const char *claim, const char *key)
{
    struct fleet_intent intent = create_of(id, 10);

    intent.claim = claim;
    intent.key = key;
    intent.request = UINT64_MAX - 3; /* more than a signed number has */
    intent.owner = UINT64_MAX - 9;
    return intent;
}

static inline struct fleet_answer ask(struct world *w, const struct fleet_me *me,
                                      const struct fleet_intent *intent)
{
    struct fleet_answer answer;

    OK(w, store_fleet_intents(w->store, me, intent, 1, &answer));
    return answer;
}

static inline enum fleet_verdict verdict_on(struct world *w, const struct fleet_me *me,
                                            const struct fleet_intent *intent)
{
    struct fleet_answer answer = ask(w, me, intent);
    enum fleet_verdict verdict = answer.verdict;

    fleet_answer_deinit(&answer);
    return verdict;
}

#define ASK(w, me, intent, expected) assert_int_equal(verdict_on(w, me, &(intent)), expected)

static inline void drop(struct world *w, const struct fleet_me *me, const char *id,
                        const char *claim, enum fleet_end end)
{
    struct fleet_drop drop = {.of = {.id = id, .claim = claim}, .end = end};

    OK(w, store_fleet_drop(w->store, me, &drop, 1));
}

static inline void live(struct world *w, const struct fleet_me *me, const struct fleet_live *live,
                        bool missing)
{
    bool found;

    OK(w, store_fleet_live(w->store, me, live, 1, &found));
    assert_int_equal(found, missing);
}

/* By the provider's id. */
static inline struct freed end_of(struct world *w, const char *native, int64_t spent)
{
    struct fleet_name name = {.native = native, .account = 5};
    struct freed freed;

    OK(w, work_begin(w->store, WORK_WRITE));
    OK(w, work_end(w->store, work_free_reservation(w->store, &name, spent, &freed)));
    return freed;
}

struct sums {
    struct fleet_sum of[64];
    size_t num;
};

static inline void on_sum(void *arg, const struct fleet_sum *sum)
{
    struct sums *sums = arg;

    assert_true(sums->num < 64);
    sums->of[sums->num++] = *sum;
}

static inline struct fleet_sum sum_of(struct world *w, unsigned kind, uint64_t name)
{
    struct sums sums = {.num = 0};
    int64_t since = 0;

    OK(w, store_fleet_sums(w->store, &since, on_sum, &sums));
    assert_true(since > 0);
    for (size_t i = 0; i < sums.num; i++)
        if (sums.of[i].kind == kind && sums.of[i].name == name)
            return sums.of[i];
    return (struct fleet_sum){.kind = kind, .name = name};
}

static inline void assert_held(struct world *w, uint64_t tokens, uint64_t batches)
{
    for (unsigned i = 0; i < FLEET_SCOPES; i++) {
        struct fleet_sum sum = sum_of(w, i, 0xd0 + i);

        assert_int_equal(sum.tokens, tokens);
        assert_int_equal(sum.batches, batches);
    }
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#define HAMMERS 4
#define ROUNDS  12
