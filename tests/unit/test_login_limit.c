/* How often an address may fail to log in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ui/login_limit.h"

#define PLACES 64
#define NOW    UINT64_C(5000000)

static _Atomic uint64_t words[PLACES];

static int setup(void **state)
{
    (void)state;
    memset(words, 0, sizeof(words));
    return 0;
}

static unsigned tries(uint64_t peer, uint64_t now_ms)
{
    uint64_t wait_ms;
    unsigned n = 0;

    while (login_limit_take(words, PLACES, peer, now_ms, &wait_ms))
        n++;
    assert_in_range(wait_ms, 1, LOGIN_EACH_MS);
    return n;
}

static void some_tries_go_at_once_and_then_one_in_a_while(void **state)
{
    (void)state;
    assert_int_equal(tries(1, NOW), LOGIN_AT_ONCE);
    assert_int_equal(tries(1, NOW + LOGIN_EACH_MS - 1), 0);
    assert_int_equal(tries(1, NOW + LOGIN_EACH_MS), 1);
    assert_int_equal(tries(1, NOW + (UINT64_C(100) * LOGIN_EACH_MS)), LOGIN_AT_ONCE);
}

static void one_address_does_not_lock_out_all_others(void **state)
{
    unsigned free = 0;

    (void)state;
    (void)tries(1, NOW);
    for (uint64_t peer = 2; peer < 102; peer++) {
        setup(NULL);
        (void)tries(1, NOW);
        free += tries(peer, NOW) == LOGIN_AT_ONCE;
    }
    assert_true(free > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(some_tries_go_at_once_and_then_one_in_a_while, setup),
        cmocka_unit_test_setup(one_address_does_not_lock_out_all_others, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
