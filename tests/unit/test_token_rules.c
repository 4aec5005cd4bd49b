/* What a call does without a token, and after a 401: every answer of the two decisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calls/token_rules.h"

#define NO_LIMIT UINT64_MAX

static const struct token_view live = {.there = true, .number = 7},
                               spent = {.there = true, .number = 7, .refused = true}, none = {0};

static enum token_step step(struct token_view view, uint64_t refused_here, uint64_t waited_ms)
{
    return token_step(&view, refused_here, waited_ms, NO_LIMIT);
}

static struct token_view heard(struct token_view view)
{
    view.heard = true;
    return view;
}

static struct token_view backs_off(struct token_view view)
{
    view.failing = true;
    view.wait_ms = 1;
    return view;
}

static struct token_view is_asked_again(struct token_view view)
{
    view.failing = true;
    return view;
}

static void a_live_token_is_sent(void **state)
{
    (void)state;
    assert_int_equal(step(live, 0, 0), TOKEN_SEND);
    assert_int_equal(step(live, 6, 9999999), TOKEN_SEND);
    assert_int_equal(step(backs_off(live), 0, 0),
                     TOKEN_SEND);                   /* a renewal failed: it still lives */
    assert_int_equal(step(live, 7, 0), TOKEN_WAIT); /* but not one that was refused here */
}

static void without_one_a_call_waits_as_long_as_one_may_come(void **state)
{
    (void)state;
    assert_int_equal(step(none, 0, 0), TOKEN_WAIT);
    assert_int_equal(step(none, 0, 9999), TOKEN_WAIT);
    assert_int_equal(step(none, 0, 10000), TOKEN_NONE);
    assert_int_equal(step(heard(none), 0, 0), TOKEN_NONE);
    assert_int_equal(step(backs_off(none), 0, 0), TOKEN_NONE);
    assert_int_equal(step(is_asked_again(none), 0, 1499), TOKEN_WAIT);
    assert_int_equal(step(is_asked_again(none), 0, 1500), TOKEN_NONE);
    assert_int_equal(token_step(&none, 0, 0, 501), TOKEN_WAIT);
    assert_int_equal(token_step(&none, 0, 0, 500), TOKEN_NONE);
}

static void what_has_waited_too_long_is_not_sent_to_be_late(void **state)
{
    (void)state;
    assert_int_equal(token_step(&live, 0, 1, 500), TOKEN_SEND);
    assert_int_equal(token_step(&live, 0, 1, 499), TOKEN_NONE);
    assert_int_equal(token_step(&live, 0, 0, 1), TOKEN_SEND); /* it came with so little */
}

static void one_that_was_refused_elsewhere_is_sent_when_no_other_will_come(void **state)
{
    (void)state;
    assert_int_equal(step(spent, 0, 0), TOKEN_WAIT);
    assert_int_equal(step(heard(spent), 0, 0), TOKEN_SEND);
    assert_int_equal(step(backs_off(spent), 0, 0), TOKEN_SEND);
    assert_int_equal(step(spent, 0, 10000), TOKEN_SEND);
    assert_int_equal(step(heard(spent), 7, 0), TOKEN_NONE);
    assert_int_equal(step(backs_off(spent), 7, 0), TOKEN_NONE);
}

static const struct token_refusal dead = {
    .can_go_back = true, .number = 7, .age_ms = TOKEN_YOUNG_MS, .current = 7};

static void judges(struct token_refusal refusal, bool discard, bool again)
{
    struct token_verdict verdict = token_judge(&refusal);

    assert_int_equal(verdict.discard, discard);
    assert_int_equal(verdict.again, again);
}

static struct token_refusal with(int which)
{
    struct token_refusal r = dead;

    r.denied = which == 1;
    r.sent_again = which == 2;
    r.can_go_back = which != 3;
    r.age_ms -= which == 4;
    return r;
}

static void an_old_token_is_thrown_away_and_the_request_sent_once_more(void **state)
{
    (void)state;
    judges(dead, true, true);
    judges(with(1), false, false); /* a role is missing */
    judges(with(2), true, false);  /* once is enough, but the next call shall not meet it */
    judges(with(3), true, false);  /* it cannot go back */
    judges(with(4), false, false); /* too young to be dead */
}

static void a_token_that_was_replaced_is_left_alone(void **state)
{
    (void)state;
    for (int which = 0; which <= 4; which++) {
        struct token_refusal r = with(which);

        r.current = 8;
        judges(r, false, which == 0 || which == 4);
        r.current = 0; /* it has ended since */
        judges(r, false, which == 0 || which == 4);
    }
}

static void a_client_comes_back_when_the_next_token_call_is_due(void **state)
{
    (void)state;
    assert_int_equal(token_retry_after_ms(0), 1000);
    assert_int_equal(token_retry_after_ms(60000), 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_token_is_sent),
        cmocka_unit_test(without_one_a_call_waits_as_long_as_one_may_come),
        cmocka_unit_test(what_has_waited_too_long_is_not_sent_to_be_late),
        cmocka_unit_test(one_that_was_refused_elsewhere_is_sent_when_no_other_will_come),
        cmocka_unit_test(an_old_token_is_thrown_away_and_the_request_sent_once_more),
        cmocka_unit_test(a_token_that_was_replaced_is_left_alone),
        cmocka_unit_test(a_client_comes_back_when_the_next_token_call_is_due),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
