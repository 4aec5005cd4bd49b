/* What a keeper may grant alone, as the database has it: renewed, given back, and at its end. */
#include "store_world.h"

#include "common/rights.h"
#include "server/keeper/leases.h"
#include "server/store/store_impl.h"

#define NOW     UINT64_C(5000000)
#define GOOD_MS 600000

static struct world w;
static struct leases leases;
static struct fleet_me me;

static int setup(void **state)
{
    (void)state;
    world_init(&w, NULL);
    me = (struct fleet_me){.node = "here:4000", .holder = "here:4000/1.7"};
    OK(&w, store_fleet_join(w.store, 1, "", "", &me));
    return leases_init(&leases, GOOD_MS);
}

static int teardown(void **state)
{
    (void)state;
    leases_deinit(&leases);
    world_deinit(&w);
    return 0;
}

/* Of a key with a limit of 100 tokens. */
static struct wire_intent create_of(uint64_t key, uint64_t tokens)
{
    struct wire_intent intent = {.tokens = tokens};

    for (unsigned i = 0; i < WIRE_SCOPES; i++)
        intent.scopes[i] =
            (struct wire_scope){1 + i, WIRE_UNLIMITED, WIRE_UNLIMITED, WIRE_UNLIMITED, 0};
    intent.scopes[WIRE_KEY].name = key;
    intent.scopes[WIRE_KEY].tokens = 100;
    return intent;
}

/* The database has granted a create of 10 tokens. */
static void use(uint64_t key, uint64_t now_ms)
{
    struct wire_intent wire = create_of(key, 10);
    struct fleet_intent intent = {.tokens = 10};
    struct fleet_answer answer;
    char id[32];

    snprintf(id, sizeof(id), "r-%llu-%llu", (unsigned long long)key, (unsigned long long)now_ms);
    intent.id = id;
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        intent.scopes[i] = (struct fleet_scope){wire.scopes[i].name, wire.scopes[i].tokens,
                                                RIGHTS_UNLIMITED, INT64_MAX, 0};
    shares_note(leases.shares, &wire, now_ms);
    OK(&w, store_fleet_intents(w.store, &me, &intent, 1, &answer));
    assert_int_equal(answer.verdict, FLEET_GRANTED);
    shares_spend(leases.shares, &wire);
}

static bool may_grant(uint64_t key, uint64_t tokens, uint64_t now_ms)
{
    struct wire_intent wire = create_of(key, tokens);

    return shares_take(leases.shares, &wire, now_ms);
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

/* What the database has of all that is leased; -1: there is nothing. */
static int64_t leased(void)
{
    int64_t number = -1;

    OK(&w, work_begin(w.store, WORK_READ));
    OK(&w, work_end(w.store, work_run(w.store, "select coalesce(sum(tokens), -1) from @lease", NULL,
                                      0, on_number, &number)));
    return number;
}

static void shares_are_renewed_in_their_time_and_the_database_knows(void **state)
{
    (void)state;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_int_equal(leased(), 90);
    use(7, NOW + 1);
    assert_int_equal(leased(), 80); /* it was taken out of this node's own */
    assert_true(may_grant(7, 80, NOW + 1));
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS - 1));
    assert_false(may_grant(7, 1, NOW + SHARES_EVERY_MS - 1));
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS));
    assert_true(may_grant(7, 80, NOW + SHARES_EVERY_MS));
    leases_are_due(&leases, &me); /* the database was away */
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS + 1));
    assert_true(may_grant(7, 80, NOW + SHARES_EVERY_MS + 1));
}

static void what_became_less_is_free_for_others_at_once(void **state)
{
    struct fleet_me other = {.node = "there:4000"};

    (void)state;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    OK(&w, store_fleet_join(w.store, 2, "", "", &other)); /* now they are two */
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS));
    assert_int_equal(leased(), 90); /* this node may not have heard */
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS + 1));
    assert_int_equal(leased(), 45);
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS + 2));
    assert_true(may_grant(7, 45, NOW + SHARES_EVERY_MS + 2));
    assert_false(may_grant(7, 1, NOW + SHARES_EVERY_MS + 2));
}

static void what_is_not_used_any_more_is_given_back(void **state)
{
    uint64_t later = NOW + SHARES_USED_MS;

    (void)state;
    use(7, NOW);
    use(8, NOW + 1000);
    OK(&w, leases_step(&leases, w.store, &me, NOW + 1000));
    assert_int_equal(leased(), 180);
    world_do(&w, "update @lease set until = until - 20000"); /* so long ago */
    OK(&w, leases_step(&leases, w.store, &me, later));
    assert_int_equal(leased(), 90);
    assert_false(may_grant(7, 1, later));
    assert_true(may_grant(8, 90, later));
    world_do(&w, "update @lease set until = until - 20000");
    OK(&w, leases_step(&leases, w.store, &me, later + SHARES_EVERY_MS));
    assert_int_equal(leased(), -1); /* nothing is used */
}

static void what_made_room_for_another_scope_is_given_back(void **state)
{
    (void)state;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    for (uint64_t i = 0; i < SHARES_MOST; i++) {
        struct wire_intent wire = create_of(100 + i, 1);

        shares_note(leases.shares, &wire, NOW + 1);
    }
    world_do(&w, "update @lease set until = until - 20000");
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS));
    assert_int_equal(leased(), -1);
}

static void operators_see_what_may_be_granted_alone(void **state)
{
    static struct database_words words;

    (void)state;
    use(7, NOW);
    use(8, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_true(may_grant(7, 20, NOW));
    leases_show(&leases, &me, &words, NOW);
    assert_int_equal(load_relaxed_32(&words.leases_counted), 1);
    assert_int_equal(load_relaxed(&words.key_leases.scopes), 2);
    assert_int_equal(load_relaxed(&words.key_leases.tokens), 160);
    assert_int_equal(load_relaxed(&words.team_leases.scopes), 0);
    leases_end(&leases, &me);
    leases_show(&leases, &me, &words, NOW);
    assert_int_equal(load_relaxed(&words.key_leases.tokens), 0);
    store_relaxed(&words.key_leases.tokens, 5); /* the next generation's keeper has told */
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    leases_show(&leases, &me, &words, NOW);
    assert_int_equal(load_relaxed(&words.key_leases.tokens), 5);
}

static void a_keeper_that_ends_has_nothing_left(void **state)
{
    struct store *away = world_open("sqlite:///nonexistent/folder/tranche.db");

    (void)state;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_int_equal(leased(), 90);
    leases_end(&leases, &me);
    assert_false(may_grant(7, 1, NOW)); /* whether the database has heard of it or not */
    assert_int_not_equal(leases_step(&leases, away, &me, NOW), 0);
    assert_false(leases.ended);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_true(leases.ended);
    assert_int_equal(leased(), -1);
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_EVERY_MS)); /* nothing is renewed */
    assert_int_equal(leased(), -1);
    store_free(away);
}

static void a_renewal_that_fails_changes_nothing(void **state)
{
    struct store *away = world_open("sqlite:///nonexistent/folder/tranche.db");

    (void)state;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_int_not_equal(leases_step(&leases, away, &me, NOW + SHARES_EVERY_MS), 0);
    assert_true(may_grant(7, 90, NOW + SHARES_EVERY_MS));
    store_free(away);
}

static void where_leases_are_not_counted_they_are_as_ever(void **state)
{
    (void)state;
    me.holder = NULL;
    use(7, NOW);
    OK(&w, leases_step(&leases, w.store, &me, NOW));
    assert_int_equal(leased(), 90);
    use(7, NOW + 1);
    assert_int_equal(leased(), 90);
    leases_end(&leases, &me);
    assert_true(may_grant(7, 80, NOW + 1));
    OK(&w, leases_step(&leases, w.store, &me, NOW + SHARES_USED_MS + 1));
    assert_int_equal(leased(), 90);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {T(shares_are_renewed_in_their_time_and_the_database_knows),
                                       T(what_became_less_is_free_for_others_at_once),
                                       T(what_is_not_used_any_more_is_given_back),
                                       T(what_made_room_for_another_scope_is_given_back),
                                       T(operators_see_what_may_be_granted_alone),
                                       T(a_keeper_that_ends_has_nothing_left),
                                       T(a_renewal_that_fails_changes_nothing),
                                       T(where_leases_are_not_counted_they_are_as_ever)};

    return cmocka_run_group_tests_name("leases", tests, NULL, NULL);
}
