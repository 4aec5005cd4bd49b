/* How often an address may ask for keys that nobody knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/misses.h"

#define NOW_MS 5000000

static struct misses misses;

static int anew(void **state)
{
    (void)state;
    misses = (struct misses){0};
    return 0;
}

static unsigned passed(uint64_t peer, unsigned tries, uint64_t now_ms)
{
    unsigned num = 0;

    for (unsigned i = 0; i < tries; i++)
        num += misses_pass(&misses, peer, now_ms);
    return num;
}

static void so_many_at_once_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(passed(7, 1000, NOW_MS), MISSES_AT_ONCE);
}

static void the_bucket_fills_again(void **state)
{
    (void)state;
    (void)passed(7, 1000, NOW_MS);
    assert_int_equal(passed(7, 10, NOW_MS + MISSES_EACH_MS - 1), 0);
    assert_int_equal(passed(7, 10, NOW_MS + MISSES_EACH_MS), 1);
    assert_int_equal(passed(7, 10, NOW_MS + 6 * MISSES_EACH_MS), 5);
    assert_int_equal(passed(7, 1000, NOW_MS + 1000 * MISSES_EACH_MS), MISSES_AT_ONCE);
}

static void another_address_has_a_bucket_of_its_own(void **state)
{
    unsigned whole = 0;

    (void)state;
    (void)passed((uint64_t)1 << 16 | 4, 1000, NOW_MS);
    for (uint64_t v4 = 2; v4 < 202; v4++) /* as guard_peers_key() has IPv4 */
        whole += passed(v4 << 16 | 4, 1000, NOW_MS) == MISSES_AT_ONCE;
    assert_in_range(whole, 150, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(so_many_at_once_and_no_more, anew),
        cmocka_unit_test_setup(the_bucket_fills_again, anew),
        cmocka_unit_test_setup(another_address_has_a_bucket_of_its_own, anew),
    };

    return cmocka_run_group_tests_name("misses", tests, NULL, NULL);
}
