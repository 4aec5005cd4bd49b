/* What a node may grant alone while the database is away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/rights.h"
#include "server/keeper/shares.h"

#define NOW     UINT64_C(5000000)
#define GOOD_MS 600000

static struct shares *shares;

static int setup(void **state)
{
    (void)state;
    return shares_new(GOOD_MS, &shares);
}

static int teardown(void **state)
{
    (void)state;
    shares_free(shares);
    return 0;
}

/* Of key 7, with a limit of tokens, and of team 9 without any. */
static struct wire_intent intent_of(uint64_t tokens)
{
    struct wire_intent intent = {.tokens = tokens};

    for (unsigned i = 0; i < WIRE_SCOPES; i++)
        intent.scopes[i] =
            (struct wire_scope){5 + 2 * i, WIRE_UNLIMITED, WIRE_UNLIMITED, WIRE_UNLIMITED, 0};
    intent.scopes[WIRE_KEY].tokens = 1000;
    return intent;
}

static void renew(uint64_t tokens, uint64_t batches, int64_t nano, uint64_t now_ms)
{
    struct fleet_lease lease[2];
    size_t at = 0;

    assert_int_equal(shares_due(shares, &at, now_ms, lease, 2), 1);
    assert_int_equal(lease[0].kind, FLEET_KEY);
    assert_int_equal(lease[0].name, 7);
    lease[0].tokens = tokens;
    lease[0].batches = batches;
    lease[0].nano = nano;
    shares_renew(shares, lease, 1, now_ms);
    assert_int_equal(shares_due(shares, &at, now_ms, lease, 2), 0);
}

static void who_has_no_limit_needs_no_share(void **state)
{
    struct wire_intent intent = intent_of(10);

    (void)state;
    assert_true(shares_are_needed(&intent));
    intent.scopes[WIRE_KEY].tokens = WIRE_UNLIMITED;
    intent.scopes[WIRE_DEPLOYMENT].tokens = 1; /* the ledger's */
    assert_false(shares_are_needed(&intent));
    intent.scopes[WIRE_TEAM].nano = 5;
    assert_true(shares_are_needed(&intent));
    intent.scopes[WIRE_TEAM].name = 0;
    assert_false(shares_are_needed(&intent));
}

static void a_share_is_what_was_free_and_no_more(void **state)
{
    struct wire_intent intent = intent_of(60);

    (void)state;
    assert_false(shares_take(shares, &intent, NOW)); /* nobody asked before the outage */
    shares_note(shares, &intent, NOW);
    assert_false(shares_take(shares, &intent, NOW));
    renew(100, RIGHTS_UNLIMITED, INT64_MAX, NOW);
    assert_true(shares_take(shares, &intent, NOW));
    assert_false(shares_take(shares, &intent, NOW));
    intent.tokens = 40;
    assert_true(shares_take(shares, &intent, NOW));
    intent.tokens = 1;
    assert_false(shares_take(shares, &intent, NOW));
}

static void all_limits_of_a_create_have_a_share_or_it_gets_none(void **state)
{
    struct wire_intent intent = intent_of(10);

    (void)state;
    shares_note(shares, &intent, NOW);
    renew(100, 2, 50, NOW);
    intent.scopes[WIRE_KEY].batches = 9;
    intent.scopes[WIRE_KEY].nano = 500;
    intent.nano = 51;
    assert_false(shares_take(shares, &intent, NOW)); /* of money */
    intent.nano = 20;
    assert_true(shares_take(shares, &intent, NOW));
    assert_true(shares_take(shares, &intent, NOW));
    intent.nano = 0;
    assert_false(shares_take(shares, &intent, NOW)); /* of batches */
    renew(100, 2, 50, NOW);
    intent.scopes[WIRE_TEAM].tokens = 1000; /* of which nothing is known */
    assert_false(shares_take(shares, &intent, NOW));
    intent.scopes[WIRE_TEAM].tokens = WIRE_UNLIMITED;
    intent.tokens = 100;
    assert_true(shares_take(shares, &intent, NOW)); /* what was refused took nothing */
}

static void a_limit_that_the_database_did_not_know_has_no_share(void **state)
{
    struct wire_intent intent = intent_of(10);

    (void)state;
    shares_note(shares, &intent, NOW);
    renew(RIGHTS_UNLIMITED, RIGHTS_UNLIMITED, INT64_MAX, NOW);
    assert_false(shares_take(shares, &intent, NOW));
}

static void a_share_ends_a_little_before_its_time(void **state)
{
    struct wire_intent intent = intent_of(1);

    (void)state;
    shares_note(shares, &intent, NOW);
    renew(100, RIGHTS_UNLIMITED, INT64_MAX, NOW);
    assert_true(shares_take(shares, &intent, NOW + GOOD_MS - SHARES_SKEW_MS - 1));
    assert_false(shares_take(shares, &intent, NOW + GOOD_MS - SHARES_SKEW_MS));
}

static void a_share_is_good_for_as_long_as_the_operator_says(void **state)
{
    struct wire_intent intent = intent_of(1);

    (void)state;
    shares_free(shares);
    assert_int_equal(shares_new(6 * GOOD_MS, &shares), 0);
    shares_note(shares, &intent, NOW);
    renew(100, RIGHTS_UNLIMITED, INT64_MAX, NOW);
    assert_true(shares_take(shares, &intent, NOW + 6 * GOOD_MS - SHARES_SKEW_MS - 1));
    assert_false(shares_take(shares, &intent, NOW + 6 * GOOD_MS - SHARES_SKEW_MS));
}

static void what_the_database_grants_is_not_free_any_more(void **state)
{
    struct wire_intent intent = intent_of(70);

    (void)state;
    shares_note(shares, &intent, NOW);
    renew(100, 5, INT64_MAX, NOW);
    shares_spend(shares, &intent);
    assert_false(shares_take(shares, &intent, NOW));
    intent.tokens = 30;
    assert_true(shares_take(shares, &intent, NOW));
    intent.tokens = 500; /* more than the share: others have less by it, and this node nothing */
    shares_spend(shares, &intent);
    intent.tokens = 1;
    assert_false(shares_take(shares, &intent, NOW));
}

static void what_may_be_granted_alone_is_added_up(void **state)
{
    struct wire_intent intent = intent_of(30);
    struct shares_sum sum;

    (void)state;
    shares_note(shares, &intent, NOW);
    shares_add_up(shares, WIRE_KEY, NOW, &sum);
    assert_int_equal(sum.scopes, 0); /* it has no share yet */
    renew(100, 5, INT64_MAX, NOW);
    intent.scopes[WIRE_KEY].name = 8;
    shares_note(shares, &intent, NOW);
    shares_renew(
        shares,
        &(struct fleet_lease){
            .kind = WIRE_KEY, .name = 8, .tokens = RIGHTS_UNLIMITED, .batches = 2, .nano = 7},
        1, NOW);
    intent.scopes[WIRE_KEY].name = 7;
    assert_true(shares_take(shares, &intent, NOW));
    shares_add_up(shares, WIRE_KEY, NOW, &sum);
    assert_int_equal(sum.scopes, 2);
    assert_int_equal(sum.tokens, 70); /* what has no limit adds nothing */
    assert_int_equal(sum.batches, 6);
    assert_int_equal(sum.nano, 7);
    shares_add_up(shares, WIRE_TEAM, NOW, &sum);
    assert_int_equal(sum.scopes, 0);
    shares_add_up(shares, WIRE_KEY, NOW + GOOD_MS, &sum);
    assert_int_equal(sum.scopes + sum.tokens, 0); /* it is over */
}

static void a_scope_that_is_not_used_is_not_renewed(void **state)
{
    struct wire_intent intent = intent_of(1);
    struct fleet_lease lease;
    size_t at = 0;

    (void)state;
    shares_note(shares, &intent, NOW);
    assert_int_equal(shares_due(shares, &at, NOW + SHARES_USED_MS, &lease, 1), 0);
    for (uint64_t i = 0; i < SHARES_MOST + 10; i++) { /* the longest unused one makes room */
        intent.scopes[WIRE_KEY].name = 100 + i;
        shares_note(shares, &intent, NOW + 1 + i);
    }
    at = 0;
    for (uint64_t i = 0; i < SHARES_MOST; i++) {
        assert_int_equal(shares_due(shares, &at, NOW + 2000, &lease, 1), 1);
        assert_true(lease.name >= 110);
    }
    assert_int_equal(shares_due(shares, &at, NOW + 2000, &lease, 1), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {T(who_has_no_limit_needs_no_share),
                                       T(a_share_is_what_was_free_and_no_more),
                                       T(all_limits_of_a_create_have_a_share_or_it_gets_none),
                                       T(a_limit_that_the_database_did_not_know_has_no_share),
                                       T(a_share_ends_a_little_before_its_time),
                                       T(a_share_is_good_for_as_long_as_the_operator_says),
                                       T(what_the_database_grants_is_not_free_any_more),
                                       T(what_may_be_granted_alone_is_added_up),
                                       T(a_scope_that_is_not_used_is_not_renewed)};

    return cmocka_run_group_tests_name("shares", tests, NULL, NULL);
}
