/* share: what a tenant may hold of a worker's budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/share.h"

#define BUDGET 1000

static struct shares shares;

static int teardown(void **state)
{
    (void)state;
    shares_deinit(&shares);
    return 0;
}

/* Take one at a time until the rule says no. */
static uint64_t fill(struct share *share, uint64_t *total)
{
    uint64_t taken = 0;

    while (*total < BUDGET && share_may(share, SHARE_CALLS, 1, *total, BUDGET)) {
        share_add(share, SHARE_CALLS, 1);
        ++*total;
        taken++;
    }
    return taken;
}

static void a_single_tenant_takes_three_quarters(void **state)
{
    struct share *ann = share_get(&shares, 11);
    uint64_t total = 0;

    (void)state;
    assert_int_equal(fill(ann, &total), 750);
    share_sub(ann, SHARE_CALLS, 750);
    share_put(ann);
}

static void when_four_take_all_they_may_the_next_one_finds_room(void **state)
{
    struct share *all[4], *last = share_get(&shares, 999);
    uint64_t total = 0;

    (void)state;
    for (uint64_t i = 0; i < 4; i++) {
        all[i] = share_get(&shares, i + 1);
        assert_true(fill(all[i], &total) > 0);
    }
    assert_true(total < BUDGET);
    assert_true(fill(last, &total) >= 1);
    for (int i = 0; i < 4; i++) {
        share_sub(all[i], SHARE_CALLS, all[i]->held[SHARE_CALLS]);
        share_put(all[i]);
    }
    share_sub(last, SHARE_CALLS, last->held[SHARE_CALLS]);
    share_put(last);
}

static void who_holds_nothing_may_have_the_last_one(void **state)
{
    (void)state;
    assert_true(share_rule(0, 1, 999, 1000));
    assert_true(share_rule(0, 1, 0, 1)); /* a budget of one */
    assert_false(share_rule(1, 1, 999, 1000));
    assert_false(share_rule(1, UINT64_MAX, 1, 1000));
    assert_true(share_rule(UINT64_MAX, UINT64_MAX, UINT64_MAX, 0)); /* no limit */
    assert_true(share_rule(3, 3, 3, 8));
    assert_false(share_rule(3, 4, 3, 8));
}

static void the_master_key_has_no_share_and_is_not_bounded(void **state)
{
    (void)state;
    assert_null(share_get(&shares, 0));
    assert_true(share_may(NULL, SHARE_JSON, 1000, 1000, 1));
    share_add(NULL, SHARE_JSON, 5);
    share_sub(NULL, SHARE_JSON, 5);
    share_put(share_use(NULL));
}

static void a_share_is_one_for_each_tenant_and_goes_with_its_last_user(void **state)
{
    struct share *many[200];

    (void)state;
    for (uint64_t i = 0; i < 200; i++)
        many[i] = share_get(&shares, (i + 1) << 20); /* one bucket at first */
    for (uint64_t i = 0; i < 200; i++) {
        assert_ptr_equal(share_get(&shares, (i + 1) << 20), many[i]);
        share_put(many[i]);
    }
    assert_int_equal(shares.num, 200);
    for (int i = 0; i < 200; i++)
        share_put(many[i]);
    assert_int_equal(shares.num, 0);
}

/* --- requests that come at once --- */

static struct slices slices;

static void the_first_of_each_tenant_and_few_more_begin_at_once(void **state)
{
    struct share *ann = share_get(&shares, 11), *ben = share_get(&shares, 22);
    unsigned begun = 0;

    (void)state;
    shares.slices = &slices;
    for (int i = 0; i < 100; i++)
        begun += share_begins(ann, 1000);
    assert_int_equal(begun, SHARE_AT_ONCE);
    assert_true(share_begins(ben, 1000));
    assert_false(share_begins(ben, 1000));
    assert_true(share_begins(ann, 1001));
    assert_true(share_begins(NULL, 1001));
    share_put(ann);
    share_put(ben);
}

static void whose_turn_it_is_begins_one_request(void **state)
{
    struct share *ann = share_get(&shares, 11), *ben = share_get(&shares, 22);

    (void)state;
    shares.slices = &slices;
    while (share_begins(ann, 1000))
        continue;
    share_turn(ann);
    assert_true(share_begins(ben, 1000)); /* by his own right */
    assert_true(share_begins(ann, 1000));
    assert_false(share_begins(ann, 1000));
    share_turn(ann);
    share_end_turn(&shares); /* no request came of it */
    assert_false(share_begins(ann, 1000));
    share_put(ann);
    share_put(ben);
}

static int start_timer(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    (void)loop;
    (void)t;
    (void)delay_ms;
    return 0;
}

static void stop_timer(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    (void)t;
}

static void never(struct slice *slice)
{
    (void)slice;
    fail();
}

static void nothing_of_a_tenant_overtakes_what_waits_of_it(void **state)
{
    static const struct loop_ops ops = {.timer_start = start_timer, .timer_stop = stop_timer};
    struct loop loop = {&ops};
    struct share *ann = share_get(&shares, 11);
    struct slice slice = {.cb = never, .flow = share_flow(ann)};

    (void)state;
    shares.slices = &slices;
    assert_int_equal(slices_add(&slices, &loop, &slice), 0);
    assert_false(share_begins(ann, 1000));
    slices_remove(&slices, &slice);
    assert_true(share_begins(ann, 1000));
    share_put(ann);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_single_tenant_takes_three_quarters, teardown),
        cmocka_unit_test_teardown(when_four_take_all_they_may_the_next_one_finds_room, teardown),
        cmocka_unit_test_teardown(who_holds_nothing_may_have_the_last_one, teardown),
        cmocka_unit_test_teardown(the_master_key_has_no_share_and_is_not_bounded, teardown),
        cmocka_unit_test_teardown(a_share_is_one_for_each_tenant_and_goes_with_its_last_user,
                                  teardown),
        cmocka_unit_test_teardown(the_first_of_each_tenant_and_few_more_begin_at_once, teardown),
        cmocka_unit_test_teardown(whose_turn_it_is_begins_one_request, teardown),
        cmocka_unit_test_teardown(nothing_of_a_tenant_overtakes_what_waits_of_it, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
