/* slots: how many files an account holds, as far as anybody knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#include <cmocka.h>

#include "balancer/slots.h"

#define NOW 1000000u

static struct slots *s;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(slots_new(3, &s), 0);
    for (uint32_t c = 0; c < 3; c++)
        slots_bind(s, c, 100 + c);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    slots_free(s);
    return 0;
}

static void what_was_never_counted_is_no_obstacle(void **state)
{
    (void)state;
    assert_true(slots_held(s, 0, SLOTS_LASTING) == UINT64_MAX);
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    slots_add(s, 0, SLOTS_LASTING, 1);
    assert_true(slots_held(s, 0, SLOTS_LASTING) == UINT64_MAX);
    slots_set(s, 0, SLOTS_LASTING, 4);
    slots_set(s, 0, SLOTS_LASTING, UINT64_MAX);
    assert_true(slots_held(s, 0, SLOTS_LASTING) == UINT64_MAX);
}

static void an_account_is_open_until_it_holds_as_many_files_as_it_may(void **state)
{
    (void)state;
    slots_set(s, 0, SLOTS_LASTING, 498);
    slots_add(s, 0, SLOTS_LASTING, 1);
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    slots_add(s, 0, SLOTS_LASTING, 1);
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 500);
    assert_false(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    assert_true(slots_open(s, 0, SLOTS_LASTING, 0, NOW));
    slots_add(s, 0, SLOTS_LASTING, -1);
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
}

static void the_two_kinds_and_the_columns_are_counted_apart(void **state)
{
    (void)state;
    slots_set(s, 1, SLOTS_LASTING, 7);
    slots_set(s, 1, SLOTS_EXPIRING, 9);
    slots_set(s, 2, SLOTS_LASTING, 11);
    slots_refused(s, 1, SLOTS_LASTING, NOW);
    assert_int_equal(slots_held(s, 1, SLOTS_LASTING), 7);
    assert_int_equal(slots_held(s, 1, SLOTS_EXPIRING), 9);
    assert_int_equal(slots_held(s, 2, SLOTS_LASTING), 11);
    assert_false(slots_open(s, 1, SLOTS_LASTING, 500, NOW));
    assert_true(slots_open(s, 1, SLOTS_EXPIRING, 10000, NOW));
    assert_true(slots_open(s, 2, SLOTS_LASTING, 500, NOW));
}

static void a_number_never_goes_below_nothing(void **state)
{
    (void)state;
    slots_set(s, 0, SLOTS_LASTING, 2);
    slots_add(s, 0, SLOTS_LASTING, -5);
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 0);
    slots_add(s, 0, SLOTS_LASTING, INT32_MIN);
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 0);
    slots_set(s, 0, SLOTS_LASTING, UINT64_MAX - 1);
    slots_add(s, 0, SLOTS_LASTING, 1);
    assert_true(slots_held(s, 0, SLOTS_LASTING) == UINT64_MAX - 1);
}

static void a_refusal_keeps_files_away_for_a_minute_whatever_the_count_says(void **state)
{
    (void)state;
    slots_set(s, 0, SLOTS_LASTING, 3);
    slots_refused(s, 0, SLOTS_LASTING, NOW);
    assert_false(slots_open(s, 0, SLOTS_LASTING, 0, NOW));
    assert_false(slots_open(s, 0, SLOTS_LASTING, 500, NOW + SLOTS_REFUSED_MS - 1));
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW + SLOTS_REFUSED_MS));
    slots_refused(s, 0, SLOTS_LASTING, 0); /* the clock may begin at 0 */
    assert_false(slots_open(s, 0, SLOTS_LASTING, 500, 0));
}

static void a_file_that_is_deleted_makes_room_at_once(void **state)
{
    (void)state;
    slots_refused(s, 0, SLOTS_LASTING, NOW);
    slots_add(s, 0, SLOTS_LASTING, 1);
    assert_false(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    slots_add(s, 0, SLOTS_LASTING, -1);
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
}

static void
a_known_deployment_keeps_its_numbers_over_reloads_and_another_one_starts_unknown(void **state)
{
    (void)state;
    slots_set(s, 0, SLOTS_EXPIRING, 3);
    slots_refused(s, 0, SLOTS_LASTING, NOW);
    slots_bind(s, 0, 100);
    assert_int_equal(slots_held(s, 0, SLOTS_EXPIRING), 3);
    assert_false(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    slots_bind(s, 0, 555);
    assert_true(slots_held(s, 0, SLOTS_EXPIRING) == UINT64_MAX);
    assert_true(slots_open(s, 0, SLOTS_LASTING, 500, NOW));
    slots_set(s, 1, SLOTS_EXPIRING, 3);
    slots_bind(s, 1, 0); /* a fingerprint like any other */
    assert_true(slots_held(s, 1, SLOTS_EXPIRING) == UINT64_MAX);
    slots_set(s, 1, SLOTS_EXPIRING, 4);
    slots_bind(s, 1, 0);
    assert_int_equal(slots_held(s, 1, SLOTS_EXPIRING), 4);
}

static void a_region_without_columns_is_refused(void **state)
{
    struct slots *none = NULL;

    (void)state;
    assert_int_equal(slots_new(0, &none), ERR_INVALID);
    assert_null(none);
    slots_free(NULL);
}

static struct slots_news take(uint32_t column, enum slots_kind kind, bool any)
{
    struct slots_news news;

    assert_int_equal(slots_take_news(s, column, kind, &news), any);
    return news;
}

static void what_comes_and_goes_is_news_once(void **state)
{
    struct slots_news news;

    (void)state;
    slots_add(s, 0, SLOTS_LASTING, 3);
    slots_add(s, 0, SLOTS_LASTING, -1);
    news = take(0, SLOTS_LASTING, true);
    assert_false(news.counted);
    assert_int_equal(news.change, 2);
    assert_true(news.held == UINT64_MAX); /* others may know how many there are */
    (void)take(0, SLOTS_LASTING, false);
    (void)take(0, SLOTS_EXPIRING, false);
    slots_return_news(s, 0, SLOTS_LASTING, &news);
    slots_add(s, 0, SLOTS_LASTING, -7);
    assert_int_equal(take(0, SLOTS_LASTING, true).change, -5);
}

static void a_count_is_news_while_it_is_fresh(void **state)
{
    struct slots_news news;

    (void)state;
    slots_add(s, 0, SLOTS_LASTING, 3);
    slots_set(s, 0, SLOTS_LASTING, 10);
    slots_add(s, 0, SLOTS_LASTING, 1);
    news = take(0, SLOTS_LASTING, true);
    assert_true(news.counted);
    assert_int_equal(news.held, 11);
    slots_return_news(s, 0, SLOTS_LASTING, &news); /* the database is away */
    news = take(0, SLOTS_LASTING, true);
    assert_false(news.counted);
    assert_int_equal(news.change, 4);
    slots_set(s, 0, SLOTS_LASTING, UINT64_MAX); /* it could not be counted */
    (void)take(0, SLOTS_LASTING, false);
}

static void what_all_nodes_have_is_held_and_no_news(void **state)
{
    struct slots_news news;

    (void)state;
    slots_set(s, 0, SLOTS_LASTING, 10);
    news = take(0, SLOTS_LASTING, true);
    slots_add(s, 0, SLOTS_LASTING, 2); /* while it was told */
    slots_share(s, 0, SLOTS_LASTING, &news, 15);
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 17);
    news = take(0, SLOTS_LASTING, true);
    assert_int_equal(news.change, 2);
    slots_share(s, 0, SLOTS_LASTING, &news, 4); /* others deleted many */
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 4);
    (void)take(0, SLOTS_LASTING, false);
    slots_share(s, 0, SLOTS_LASTING, &news, UINT64_MAX); /* nobody knows */
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 4);
    news = take(1, SLOTS_LASTING, false);
    slots_share(s, 1, SLOTS_LASTING, &news, 20); /* another node has counted it */
    assert_int_equal(slots_held(s, 1, SLOTS_LASTING), 20);
    news.held = 20;
    slots_add(s, 1, SLOTS_LASTING, -20);
    slots_share(s, 1, SLOTS_LASTING, &news, 3);
    assert_int_equal(slots_held(s, 1, SLOTS_LASTING), 0);
}

static void *add_many(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        slots_add(s, 0, SLOTS_LASTING, 3);
        slots_add(s, 0, SLOTS_LASTING, -1);
    }
    return arg;
}

static void uploads_and_deletes_at_the_same_time_are_all_counted(void **state)
{
    pthread_t threads[3];

    (void)state;
    slots_set(s, 0, SLOTS_LASTING, 5);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(slots_held(s, 0, SLOTS_LASTING), 5 + 3 * 20000 * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_never_counted_is_no_obstacle, setup, teardown),
        cmocka_unit_test_setup_teardown(an_account_is_open_until_it_holds_as_many_files_as_it_may,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_two_kinds_and_the_columns_are_counted_apart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_number_never_goes_below_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_refusal_keeps_files_away_for_a_minute_whatever_the_count_says, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_deleted_makes_room_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_known_deployment_keeps_its_numbers_over_reloads_and_another_one_starts_unknown, setup,
            teardown),
        cmocka_unit_test(a_region_without_columns_is_refused),
        cmocka_unit_test_setup_teardown(what_comes_and_goes_is_news_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_count_is_news_while_it_is_fresh, setup, teardown),
        cmocka_unit_test_setup_teardown(what_all_nodes_have_is_held_and_no_news, setup, teardown),
        cmocka_unit_test_setup_teardown(uploads_and_deletes_at_the_same_time_are_all_counted, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
