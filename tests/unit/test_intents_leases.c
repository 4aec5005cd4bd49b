/* Creates where leases are counted (`leases: counted`), as the keeper serves them. */
#include "intents_world.h"

static int set_up_counted(void **state)
{
    int rc = setup(state);

    stop_keeper();
    config.count_leases = true;
    start_keeper();
    return rc;
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

/* What the database has of leases; -1: there is none. */
static int64_t leased(void)
{
    struct store *store = world_open(w.url);
    int64_t number = -1;

    assert_int_equal(work_begin(store, WORK_READ), 0);
    assert_int_equal(work_end(store, work_run(store,
                                              "select coalesce(sum(tokens), -1) from @lease"
                                              " where node like 'here:4000/%'",
                                              NULL, 0, on_number, &number)),
                     0);
    store_free(store);
    return number;
}

static void what_was_granted_alone_is_taken_out_of_the_lease_when_it_arrives(void **state)
{
    struct wire_intent first = limited("r1", 10), alone = limited("r2", 60);
    struct wire_intent more = limited("r3", 31);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    intents_step(intents, now_ms);
    assert_int_equal(leased(), 90);
    take_database_away();
    assert_int_equal(end_of(&alone), WIRE_GRANTED);
    assert_int_equal(end_of(&more), WIRE_DOWN);
    assert_int_equal(leased(), 90);
    bring_database_back();
    more.id = more.nonce = "r4";
    assert_int_equal(end_of(&more), WIRE_FULL); /* that was told first */
    assert_int_equal(leased(), 30);
    assert_int_equal(held().tokens, 70);
}

static void a_keeper_that_ends_gives_its_lease_back_and_grants_nothing_alone(void **state)
{
    struct wire_intent first = limited("r1", 10), alone = limited("r2", 10);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    intents_step(intents, now_ms);
    assert_int_equal(leased(), 90);
    intents_end(intents);
    intents_step(intents, now_ms);
    assert_int_equal(leased(), -1);
    take_database_away();
    assert_int_equal(end_of(&alone), WIRE_DOWN);
    bring_database_back();
    alone.id = alone.nonce = "r3";
    assert_int_equal(end_of(&alone), WIRE_GRANTED); /* by the database */
    intents_step(intents, now_ms + SHARES_EVERY_MS);
    assert_int_equal(leased(), -1);
}

/* --- an answer that does not arrive --- */

static struct {
    struct engine_ops ops;
    const struct engine_ops *of;
    bool deaf; /* it is committed, and nobody hears of it */
} line;

static int run_deaf(struct engine *engine, const char *sql, const struct value *values, size_t num,
                    uint64_t until_ms, row_cb on_row, void *arg)
{
    int rc = line.of->run(engine, sql, values, num, until_ms, on_row, arg);

    return rc == 0 && line.deaf && strcmp(sql, "commit") == 0
               ? engine_fail(engine, ERR_IO, STORE_DOWN, "the line is cut")
               : rc;
}

static void a_grant_that_nobody_heard_of_is_taken_out_of_what_the_node_grants_alone(void **state)
{
    struct wire_intent first = limited("r1", 10), second = limited("r2", 50);
    struct wire_intent unheard = limited("r3", 80), alone = limited("r4", 30);
    struct engine *engine = w.store->engine;

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    intents_step(intents, now_ms);
    assert_int_equal(end_of(&second), WIRE_GRANTED);
    (void)tell_drop("r2", WIRE_NOT_MADE);
    run_turn_of_loop();
    assert_int_equal(leased(), 40); /* so much may be granted alone */
    line.of = engine->ops;
    line.ops = *engine->ops;
    line.ops.run = run_deaf;
    line.deaf = true;
    engine->ops = &line.ops;
    assert_int_equal(end_of(&unheard), WIRE_DOWN);
    engine->ops = line.of;
    take_database_away();
    assert_int_equal(leased(), 0);
    assert_int_equal(held().tokens, 90);
    assert_int_equal(end_of(&alone), WIRE_DOWN); /* 120 of 100 it would have been */
    bring_database_back();
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, set_up_counted, teardown)
    const struct CMUnitTest tests[] = {
        T(what_was_granted_alone_is_taken_out_of_the_lease_when_it_arrives),
        T(a_keeper_that_ends_gives_its_lease_back_and_grants_nothing_alone),
        T(a_grant_that_nobody_heard_of_is_taken_out_of_what_the_node_grants_alone)};

    return cmocka_run_group_tests_name("intents_leases", tests, NULL, NULL);
}
