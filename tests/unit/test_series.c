/* Counters with labels: who adds finds the same row, and what has no room counts as "other". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

#include "balancer/series.h"

#define TEST(name) cmocka_unit_test(name)

static struct series *made(uint32_t max)
{
    struct series *s;

    assert_int_equal(series_new(max, &s), 0);
    return s;
}

static struct series_name spend_of(const char *alias, const char *model)
{
    return (struct series_name){SERIES_SPEND, {alias, model, NULL, NULL}};
}

static bool find(const struct series *s, enum series_family family, const char *first,
                 struct series_sample *out)
{
    for (uint32_t i = 0; i < series_room(s); i++)
        if (series_read(s, i, out) && out->family == family && strcmp(out->labels[0], first) == 0)
            return true;
    return false;
}

static uint32_t count(const struct series *s)
{
    struct series_sample sample;
    uint32_t n = 0;

    for (uint32_t i = 0; i < series_room(s); i++)
        n += series_read(s, i, &sample);
    return n;
}

static void a_series_is_one_row_whoever_adds(void **state)
{
    struct series *s = made(10);
    const struct series_name a = spend_of("a", "m"), b = spend_of("b", "m");
    struct series_sample sample;

    (void)state;
    series_add(s, &a, 0, 3);
    series_add(s, &b, 0, 5);
    series_add(s, &a, 0, 4);
    assert_int_equal(count(s), 2);
    assert_true(find(s, SERIES_SPEND, "a", &sample));
    assert_int_equal(sample.numbers[0], 7);
    assert_string_equal(sample.labels[1], "m");
    assert_string_equal(sample.labels[2], "");
    series_set(s, &a, 1, 9);
    series_set(s, &a, 1, 2);
    assert_true(find(s, SERIES_SPEND, "a", &sample));
    assert_int_equal(sample.numbers[1], 2);
    series_free(s);
}

static void labels_do_not_run_into_one_another(void **state)
{
    struct series *s = made(10);
    const struct series_name one = spend_of("ab", "c"), other = spend_of("a", "bc");
    const struct series_name family = {SERIES_BATCHES, {"ab", "c", NULL, NULL}};

    (void)state;
    series_add(s, &one, 0, 1);
    series_add(s, &other, 0, 1);
    series_add(s, &family, 0, 1);
    assert_int_equal(count(s), 3);
    series_free(s);
}

/* (journal statement B11) */
static void what_has_no_room_counts_as_other(void **state)
{
    struct series *s = made(3);
    struct series_sample sample;
    char alias[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct series_name name;

        snprintf(alias, sizeof(alias), "key-%d", i);
        name = spend_of(alias, "m");
        series_add(s, &name, 0, 1);
    }
    assert_int_equal(count(s), 4);
    assert_true(find(s, SERIES_SPEND, "other", &sample));
    assert_int_equal(sample.numbers[0], 997);
    assert_string_equal(sample.labels[1], "other");
    assert_true(find(s, SERIES_SPEND, "key-2", &sample));
    assert_int_equal(sample.numbers[0], 1);
    series_free(s);
}

static void a_long_label_is_cut_at_a_character(void **state)
{
    struct series *s = made(3);
    struct series_sample sample;
    char text[80];
    struct series_name name;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[79] = '\0';
    memcpy(text + 62, "\xc3\xa9", 2); /* its second byte has no room */
    name = spend_of(text, "m");
    series_add(s, &name, 0, 1);
    text[62] = '\0';
    assert_true(find(s, SERIES_SPEND, text, &sample));
    series_free(s);
}

static void a_histogram_counts_each_value_once(void **state)
{
    static const uint64_t bounds[] = {10, 100};
    struct series *s = made(3);
    const struct series_name name = {SERIES_DURATION, {"m", NULL, NULL, NULL}};
    const uint64_t values[] = {0, 10, 11, 100, 101, 5000};
    struct series_sample sample;

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        series_observe(s, &name, values[i], bounds, 2);
    assert_true(find(s, SERIES_DURATION, "m", &sample));
    assert_int_equal(sample.numbers[0], 6);
    assert_int_equal(sample.numbers[1], 0 + 10 + 11 + 100 + 101 + 5000);
    assert_int_equal(sample.numbers[2], 2);
    assert_int_equal(sample.numbers[3], 2);
    series_free(s);
}

static void nobody_counts_where_there_is_no_region(void **state)
{
    const struct series_name name = spend_of("a", "m");

    (void)state;
    series_add(NULL, &name, 0, 1);
    series_set(NULL, &name, 0, 1);
    series_observe(NULL, &name, 1, NULL, 0);
}

static void a_size_that_is_none_is_refused(void **state)
{
    struct series *s;

    (void)state;
    assert_int_equal(series_new(0, &s), ERR_INVALID);
    assert_int_equal(series_new(1000001, &s), ERR_INVALID);
}

#define THREADS 4
#define ROUNDS  20000

static void *hammer(void *arg)
{
    struct series *s = arg;
    char alias[16];

    for (int i = 0; i < ROUNDS; i++) {
        struct series_name name;

        snprintf(alias, sizeof(alias), "key-%d", i % 40);
        name = spend_of(alias, "m");
        series_add(s, &name, 0, 1);
    }
    return NULL;
}

static void many_at_once_lose_nothing(void **state)
{
    struct series *s = made(32);
    pthread_t threads[THREADS];
    struct series_sample sample;
    uint64_t sum = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, s), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < series_room(s); i++)
        sum += series_read(s, i, &sample) ? sample.numbers[0] : 0;
    assert_int_equal(sum, THREADS * ROUNDS);
    assert_true(count(s) <= 32 + THREADS + 1);
    series_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_series_is_one_row_whoever_adds),   TEST(labels_do_not_run_into_one_another),
        TEST(what_has_no_room_counts_as_other),   TEST(a_long_label_is_cut_at_a_character),
        TEST(a_histogram_counts_each_value_once), TEST(nobody_counts_where_there_is_no_region),
        TEST(a_size_that_is_none_is_refused),     TEST(many_at_once_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
