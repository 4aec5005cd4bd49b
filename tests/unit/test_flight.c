/* Calls that several requests share: one call for all, whoever leaves, and none that began before
 * the object changed. */
#define ACCOUNTS 2
#include "handler_world.h"

#include "calls/flight.h"

#define MANY (FLIGHT_MOST_USERS + 1)

struct asker {
    struct flight_user *user; /* NULL: it waits for nothing */
    struct asker *other;      /* leaves when this one is told; NULL: nobody does */
    bool enters;              /* asks again when it is told */
    uint64_t moment;
    unsigned told;
    int status;
    char body[16];
};

static struct asker askers[MANY];

/* How it waits. */
enum way { NONE, BEGUN, JOINED };

static void leave(struct asker *asker)
{
    flight_leave(asker->user);
    asker->user = NULL;
}

static int set_up(void **state)
{
    (void)state;
    world_begin();
    memset(askers, 0, sizeof(askers));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        leave(&askers[i]);
    assert_int_equal(rt.calls_shared, 0);
    world_end();
    return 0;
}

static enum way enter(struct asker *asker, uint32_t deployment, enum provider_call call,
                      const char *id);

static void on_told(void *arg, const struct attempt_result *result)
{
    struct asker *asker = arg;

    asker->user = NULL;
    asker->told++;
    asker->status = result->upstream->head.status;
    snprintf(asker->body, sizeof(asker->body), "%.*s", (int)result->upstream->body_len,
             result->upstream->body != NULL ? result->upstream->body : "");
    if (asker->other != NULL)
        leave(asker->other);
    if (asker->enters)
        assert_int_equal(enter(asker, 0, CALL_BATCH_GET, "batch_x"), BEGUN);
    asker->enters = false;
}

static enum way enter(struct asker *asker, uint32_t deployment, enum provider_call call,
                      const char *id)
{
    struct attempt_spec spec = {
        .deployment = deployment, .call = call, .id = id, .on_done = on_told, .arg = asker};

    struct flight_entered entered;

    asker->user = flight_enter(&rt, &spec, &entered);
    if (asker->user == NULL)
        return NONE;
    asker->moment = entered.moment;
    return entered.joined ? JOINED : BEGUN;
}

/* As answer(), and the turns of the loop in which all hear of it. */
static void answer_all(unsigned account, int status, const char *body)
{
    answer(account, status, body);
    while (rt.slices.first != NULL)
        run_timers();
}

static enum way poll(struct asker *asker)
{
    return enter(asker, 0, CALL_BATCH_GET, "batch_x");
}

static void changes(const char *id)
{
    poll_cache_change(inherited.poll_cache,
                      poll_cache_key(runtime_fingerprint(&rt, 0), id, strlen(id)));
}

static void all_who_ask_meanwhile_are_told_by_one_call(void **state)
{
    (void)state;
    assert_int_equal(poll(&askers[0]), BEGUN);
    assert_int_equal(poll(&askers[1]), JOINED);
    assert_int_equal(poll(&askers[2]), JOINED);
    assert_int_equal(rt.calls_shared, 2);
    answer_all(0, 200, "{}");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(askers[i].told, 1);
        assert_int_equal(askers[i].status, 200);
        assert_string_equal(askers[i].body, "{}");
    }
    assert_int_equal(num_calls, 1);
    assert_int_equal(rt.calls_shared, 0);
}

/* However large it is, a turn of the loop is not longer for it. */
static void the_others_hear_of_it_in_the_turns_behind_the_first_ones(void **state)
{
    char body[] = "{\"n\":1}";

    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)poll(&askers[i]);
    answer(0, 200, body);
    memset(body, 'x', sizeof(body) - 1); /* it is the call's, which is gone */
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(askers[1].told, 0);
    leave(&askers[1]);
    assert_int_equal(enter(&askers[3], 0, CALL_BATCH_GET, "batch_x"), BEGUN);
    while (rt.slices.first != NULL)
        run_timers();
    assert_int_equal(askers[1].told, 0);
    assert_int_equal(askers[2].told, 1);
    assert_string_equal(askers[2].body, "{\"n\":1}");
    assert_int_equal(askers[3].told, 0);
}

static void nobody_waits_for_a_turn_when_all_have_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)poll(&askers[i]);
    answer(0, 200, "{}");
    leave(&askers[2]);
    leave(&askers[1]);
    assert_null(rt.slices.first);
    assert_int_equal(num_timers(), 0);
}

static void without_a_timer_all_hear_of_it_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)poll(&askers[i]);
    timers_are_refused = true;
    answer(0, 200, "{}");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(askers[i].told, 1);
}

static void who_asks_afterwards_or_for_something_else_has_its_own(void **state)
{
    (void)state;
    assert_int_equal(poll(&askers[0]), BEGUN);
    assert_int_equal(enter(&askers[1], 0, CALL_BATCH_GET, "batch_y"), BEGUN);
    assert_int_equal(enter(&askers[2], 0, CALL_FILE_GET, "batch_x"), BEGUN);
    assert_int_equal(enter(&askers[3], 1, CALL_BATCH_GET, "batch_x"), BEGUN);
    answer_all(1, 200, "{}");
    for (size_t i = 0; i < 3; i++)
        answer_all(0, 200, "{}");
    assert_int_equal(poll(&askers[0]), BEGUN);
    assert_int_equal(num_calls, 5);
}

static void a_failure_is_shared_as_it_is(void **state)
{
    (void)state;
    for (int status = 0; status < 1000; status += 503) {
        (void)poll(&askers[0]);
        (void)poll(&askers[1]);
        answer_all(0, status, status != 0 ? "{}" : NULL);
        assert_int_equal(askers[0].status, status);
        assert_int_equal(askers[1].status, status);
        assert_string_equal(askers[1].body, askers[0].body);
    }
    assert_int_equal(askers[1].told, 2);
}

static void who_leaves_takes_nothing_from_the_others(void **state)
{
    (void)state;
    (void)poll(&askers[0]);
    (void)poll(&askers[1]);
    leave(&askers[0]);
    assert_int_equal(in_flight(), 1);
    assert_int_equal(rt.calls_shared, 0);
    answer_all(0, 200, "{}");
    assert_int_equal(askers[0].told, 0);
    assert_int_equal(askers[1].told, 1);
}

static void the_last_one_that_leaves_ends_the_call(void **state)
{
    (void)state;
    (void)poll(&askers[0]);
    (void)poll(&askers[1]);
    leave(&askers[1]);
    leave(&askers[0]);
    leave(&askers[0]); /* it waits for nothing */
    assert_int_equal(in_flight(), 0);
    assert_int_equal(poll(&askers[0]), BEGUN);
    assert_int_equal(num_calls, 2);
}

static void who_is_told_may_make_another_one_leave_or_ask_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        (void)poll(&askers[i]);
    askers[0].other = &askers[1];
    askers[2].enters = true;
    answer_all(0, 200, "{}");
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(askers[1].told, 0);
    assert_int_equal(askers[2].told, 1);
    assert_int_equal(askers[3].told, 1);
    assert_int_equal(in_flight(), 1);
    answer_all(0, 200, "{}");
    assert_int_equal(askers[2].told, 2);
}

static void a_call_that_began_before_a_change_tells_nobody_who_asks_after_it(void **state)
{
    (void)state;
    (void)poll(&askers[0]);
    changes("batch_x");
    assert_int_equal(poll(&askers[1]), BEGUN);
    assert_int_equal(poll(&askers[2]), JOINED); /* the newer one */
    assert_true(askers[0].moment < askers[1].moment);
    answer_all(0, 200, "{}");
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(askers[1].told, 0);
    changes("batch_y");
    answer_all(0, 404, "{}");
    assert_int_equal(askers[1].status, 404);
    assert_int_equal(askers[2].status, 404);
    assert_int_equal(num_calls, 2);
}

/* What it keeps of the answer is as old as the call, not as its own question. */
static void who_joins_a_call_knows_when_that_began(void **state)
{
    (void)state;
    (void)poll(&askers[0]);
    changes("batch_y");
    assert_int_equal(poll(&askers[1]), JOINED);
    assert_true(askers[1].moment == askers[0].moment);
    assert_true(askers[1].moment < poll_cache_moment(inherited.poll_cache));
}

static void so_many_share_a_call_and_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLIGHT_MOST_USERS; i++)
        assert_int_equal(poll(&askers[i]), i == 0 ? BEGUN : JOINED);
    assert_int_equal(poll(&askers[FLIGHT_MOST_USERS]), BEGUN);
    assert_int_equal(num_calls, 2);
    answer_all(0, 200, "{}");
    answer_all(0, 200, "{}");
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(askers[i].told, 1);
}

static void without_memory_nobody_waits(void **state)
{
    (void)state;
    calls_are_refused = true;
    assert_int_equal(poll(&askers[0]), NONE);
    assert_null(askers[0].user);
    calls_are_refused = false;
    assert_int_equal(poll(&askers[0]), BEGUN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_who_ask_meanwhile_are_told_by_one_call),
        TEST(the_others_hear_of_it_in_the_turns_behind_the_first_ones),
        TEST(nobody_waits_for_a_turn_when_all_have_left),
        TEST(without_a_timer_all_hear_of_it_at_once),
        TEST(who_asks_afterwards_or_for_something_else_has_its_own),
        TEST(a_failure_is_shared_as_it_is),
        TEST(who_leaves_takes_nothing_from_the_others),
        TEST(the_last_one_that_leaves_ends_the_call),
        TEST(who_is_told_may_make_another_one_leave_or_ask_again),
        TEST(a_call_that_began_before_a_change_tells_nobody_who_asks_after_it),
        TEST(who_joins_a_call_knows_when_that_began),
        TEST(so_many_share_a_call_and_no_more),
        TEST(without_memory_nobody_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
