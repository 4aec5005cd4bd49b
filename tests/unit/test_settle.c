/* When a file that changes is read (settle), and how what is wrong with it is told (problem). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/problem.h"
#include "keeper/settle.h"

#define NOW UINT64_C(100000)

static struct settle_look look_of(int64_t modified_ns)
{
    return (struct settle_look){.inode = 7, .size = 100, .modified_ns = modified_ns};
}

static void a_file_that_stays_as_it_was_read_is_not_read_again(void **state)
{
    struct settle_look look = look_of(1);
    struct settle settle = {.since_ms = 0};

    (void)state;
    settle_read(&settle, &look);
    for (uint64_t t = NOW; t < NOW + 100000; t += 500)
        assert_false(settle_is_due(&settle, &look, t));
    assert_false(settle_is_restless(&settle));
}

static void a_change_is_read_a_second_after_the_last_one(void **state)
{
    struct settle_look old = look_of(1), first = look_of(2), second = look_of(3);
    struct settle settle = {.since_ms = 0};

    (void)state;
    settle_read(&settle, &old);
    assert_false(settle_is_due(&settle, &first, NOW));
    assert_true(settle_is_restless(&settle));
    assert_false(settle_is_due(&settle, &first, NOW + SETTLE_MS - 1));
    assert_false(settle_is_due(&settle, &second, NOW + SETTLE_MS)); /* it changed again */
    assert_false(settle_is_due(&settle, &second, NOW + 2 * SETTLE_MS - 1));
    assert_true(settle_is_due(&settle, &second, NOW + 2 * SETTLE_MS));
    settle_read(&settle, &second);
    assert_false(settle_is_due(&settle, &second, NOW + 9 * SETTLE_MS));
}

static void a_change_that_is_taken_back_is_none(void **state)
{
    struct settle_look old = look_of(1), other = look_of(2);
    struct settle settle = {.since_ms = 0};

    (void)state;
    settle_read(&settle, &old);
    assert_false(settle_is_due(&settle, &other, NOW));
    assert_false(settle_is_due(&settle, &old, NOW + 10));
    assert_false(settle_is_restless(&settle));
    assert_false(settle_is_due(&settle, &old, NOW + 9 * SETTLE_MS));
}

static void a_file_that_goes_is_a_change_and_so_is_each_thing_that_tells_it(void **state)
{
    struct stat st = {.st_dev = 1, .st_ino = 2, .st_size = 3, .st_mtim = {4, 5}, .st_ctim = {6, 7}};
    struct settle_look look = settle_look_of(&st), others[6];
    struct settle settle = {.since_ms = 0};

    (void)state;
    for (unsigned i = 0; i < 6; i++)
        others[i] = look;
    others[0] = settle_look_of(NULL);
    others[1].device++;
    others[2].inode++;
    others[3].size++;
    others[4].modified_ns++;
    others[5].changed_ns++;
    for (unsigned i = 0; i < 6; i++) {
        settle_read(&settle, &look);
        assert_false(settle_is_due(&settle, &others[i], NOW));
        assert_true(settle_is_due(&settle, &others[i], NOW + SETTLE_MS));
    }
}

static void a_problem_is_there_until_it_is_cleared(void **state)
{
    static struct problem problem;
    char text[PROBLEM_BYTES], longest[400];

    (void)state;
    assert_false(problem_get(&problem, text));
    problem_set(&problem, "keys.yaml:3: keys[0].hash");
    assert_true(problem_get(&problem, text));
    assert_string_equal(text, "keys.yaml:3: keys[0].hash");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    problem_set(&problem, longest);
    assert_true(problem_get(&problem, text));
    assert_int_equal(strlen(text), PROBLEM_BYTES - 1);
    atomic_fetch_add(&problem.text[0], 1); /* its writer was killed in the middle */
    assert_true(problem_get(&problem, text));
    assert_string_equal(text, "the log says which");
    problem_clear(&problem);
    assert_false(problem_get(&problem, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_stays_as_it_was_read_is_not_read_again),
        cmocka_unit_test(a_change_is_read_a_second_after_the_last_one),
        cmocka_unit_test(a_change_that_is_taken_back_is_none),
        cmocka_unit_test(a_file_that_goes_is_a_change_and_so_is_each_thing_that_tells_it),
        cmocka_unit_test(a_problem_is_there_until_it_is_cleared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
