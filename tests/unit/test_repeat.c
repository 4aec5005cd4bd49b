/* When a create that the table does not know is looked for upstream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "once/repeat.h"

#define SINCE_MS UINT64_C(5000)
#define DAY_MS   (UINT64_C(24) * 3600 * 1000)
#define WEEK_MS  (7 * DAY_MS)

static void an_announced_repeat_is_looked_for_however_long_the_node_is_up(void **state)
{
    (void)state;
    for (uint64_t up_ms = 0; up_ms <= WEEK_MS; up_ms += 60000) {
        assert_true(repeat_must_look(false, true, SINCE_MS + up_ms, SINCE_MS, 0));
        assert_true(repeat_must_look(true, true, SINCE_MS + up_ms, SINCE_MS, 0));
    }
}

static void a_key_is_looked_for_until_the_table_is_as_old_as_keys_are_kept(void **state)
{
    (void)state;
    assert_true(repeat_must_look(true, false, SINCE_MS, SINCE_MS, 0));
    assert_true(repeat_must_look(true, false, SINCE_MS + DAY_MS - 1, SINCE_MS, 0));
    assert_false(repeat_must_look(true, false, SINCE_MS + DAY_MS, SINCE_MS, 0));
}

static void a_key_is_looked_for_while_the_table_may_have_lost_one(void **state)
{
    uint64_t blind_until_ms = SINCE_MS + 3 * DAY_MS;

    (void)state;
    assert_true(repeat_must_look(true, false, blind_until_ms - 1, SINCE_MS, blind_until_ms));
    assert_false(repeat_must_look(true, false, blind_until_ms, SINCE_MS, blind_until_ms));
}

static void what_is_no_repeat_is_never_looked_for(void **state)
{
    (void)state;
    assert_false(repeat_must_look(false, false, SINCE_MS, SINCE_MS, SINCE_MS + DAY_MS));
    assert_false(repeat_must_look(false, false, SINCE_MS + WEEK_MS, SINCE_MS, 0));
}

/* Each try waits for its answer, and SDKs wait ten minutes. */
static void the_third_try_looks_back_over_two_time_outs(void **state)
{
    (void)state;
    assert_in_range(repeat_age_s(false, 1, 0), 600 + 60, 900);
    assert_in_range(repeat_age_s(false, 2, 0), 2 * (600 + 60), 1800);
    assert_int_equal(repeat_age_s(false, 1, 30), repeat_age_s(false, 1, 0));
    assert_in_range(repeat_age_s(false, 1, 3600), 3600 + 60, 4000);
    assert_int_equal(repeat_age_s(false, 99999, 99999), DAY_MS / 1000);
    assert_int_equal(repeat_age_s(true, 0, 0), DAY_MS / 1000);
}

/* Carried out 30 s after a crash, it is in no list that was read at 20 s. */
static void a_list_that_was_read_while_a_create_may_be_under_way_is_read_again(void **state)
{
    (void)state;
    assert_true(repeat_known_since_ms(SINCE_MS, SINCE_MS + 65000) >= SINCE_MS + 65000);
    assert_true(repeat_known_since_ms(SINCE_MS, 0) > SINCE_MS);
    assert_true(repeat_known_since_ms(SINCE_MS, 0) < SINCE_MS + 65000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_that_was_read_while_a_create_may_be_under_way_is_read_again),
        cmocka_unit_test(an_announced_repeat_is_looked_for_however_long_the_node_is_up),
        cmocka_unit_test(a_key_is_looked_for_until_the_table_is_as_old_as_keys_are_kept),
        cmocka_unit_test(a_key_is_looked_for_while_the_table_may_have_lost_one),
        cmocka_unit_test(what_is_no_repeat_is_never_looked_for),
        cmocka_unit_test(the_third_try_looks_back_over_two_time_outs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
