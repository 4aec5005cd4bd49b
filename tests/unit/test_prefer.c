/* The Prefer header: which fields ask for a wait, and for how long (RFC 7240 sections 2 and 4.3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exact.h"
#include "request/prefer.h"

#define NONE UINT32_MAX

static uint32_t wait_in(const char *field)
{
    size_t len = strlen(field);
    char *exact = exact_copy(field, len);
    uint32_t seconds = NONE;
    bool there = prefer_wait(exact, len, &seconds);

    free(exact);
    assert_true(there == (seconds != NONE));
    return seconds;
}

static void a_wait_is_read_wherever_it_stands(void **state)
{
    (void)state;
    assert_int_equal(wait_in("wait=10"), 10);
    assert_int_equal(wait_in("WAIT=10"), 10);
    assert_int_equal(wait_in(" wait = 10 "), 10);
    assert_int_equal(wait_in("wait=\"10\""), 10);
    assert_int_equal(wait_in("wait=007"), 7);
    assert_int_equal(wait_in("respond-async, wait=10"), 10);
    assert_int_equal(wait_in("respond-async;wait=5,\twait=10;foo=bar"), 10);
    assert_int_equal(wait_in("foo=\"a, wait=5 \\\", wait=6\", wait=10"), 10);
    assert_int_equal(wait_in(", ,wait=10,"), 10);
}

static void a_wait_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(wait_in("wait=60"), PREFER_WAIT_MOST);
    assert_int_equal(wait_in("wait=61"), PREFER_WAIT_MOST);
    assert_int_equal(wait_in("wait=99999999999999999999999999999999"), PREFER_WAIT_MOST);
}

static void the_first_one_counts(void **state)
{
    (void)state;
    assert_int_equal(wait_in("wait=5, wait=10"), 5);
    assert_int_equal(wait_in("wait=soon, wait=10"), 0);
}

static void what_is_no_number_is_no_wait(void **state)
{
    static const char *const fields[] = {"wait",     "wait=",    "wait=soon",  "wait=-1",
                                         "wait=1.5", "wait=1 2", "wait=\"1",   "wait=\"",
                                         "wait=0",   "wait;x=1", "wait=\"1\"2"};

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        assert_int_equal(wait_in(fields[i]), 0);
}

static void other_names_ask_for_nothing(void **state)
{
    static const char *const fields[] = {
        "",    " ",          ",",         "waits=10",    "await=10",
        "wai", "wait10",     "x;wait=10", "\"wait=10\"", "handling=lenient",
        "\"",  "x=\"wait=1", "wait:10"};

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        assert_int_equal(wait_in(fields[i]), NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_is_read_wherever_it_stands),
        cmocka_unit_test(a_wait_is_bounded),
        cmocka_unit_test(the_first_one_counts),
        cmocka_unit_test(what_is_no_number_is_no_wait),
        cmocka_unit_test(other_names_ask_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
