/* memo: what is remembered comes back whole or not at all. The table is compiled into this file, so
 * that an entry can be left as a killed writer leaves it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/memo.c"

#define NOW 1000000u

static struct memo *m;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(memo_new(64, &m), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    memo_free(m);
    return 0;
}

static void put_n(uint64_t key, uint64_t n, uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS];

    for (unsigned i = 0; i < MEMO_WORDS; i++)
        value[i] = n * (i + 1);
    memo_put(m, key, value, now_ms);
}

static bool get(uint64_t key, uint64_t *n)
{
    uint64_t value[MEMO_WORDS];

    if (!memo_get(m, key, 0, NOW, value))
        return false;
    for (unsigned i = 0; i < MEMO_WORDS; i++)
        assert_true(value[i] == value[0] * (i + 1));
    *n = value[0];
    return true;
}

static bool has(uint64_t key, uint64_t n)
{
    uint64_t found;

    return get(key, &found) && found == n;
}

/* Keys that share the places of key 64. */
static uint64_t rival(uint64_t n)
{
    return 64 * (n + 1);
}

static void what_was_put_is_there_until_it_is_dropped(void **state)
{
    uint64_t n;

    (void)state;
    assert_false(get(5, &n));
    put_n(5, 7, NOW);
    put_n(6, 8, NOW);
    assert_true(has(5, 7));
    put_n(5, 9, NOW + 1);
    assert_true(has(5, 9));
    memo_drop(m, 5);
    assert_false(get(5, &n));
    assert_true(has(6, 8));
    memo_drop(m, 5);
}

static void a_value_of_zeroes_is_a_value(void **state)
{
    uint64_t n;

    (void)state;
    put_n(5, 0, 0);
    assert_true(get(5, &n));
    assert_int_equal(n, 0);
}

static void what_is_older_than_wanted_is_not_there(void **state)
{
    uint64_t value[MEMO_WORDS];

    (void)state;
    put_n(5, 7, NOW);
    assert_true(memo_get(m, 5, 100, NOW + 100, value));
    assert_false(memo_get(m, 5, 100, NOW + 101, value));
    assert_true(memo_get(m, 5, 0, NOW + 1000000, value));
    assert_true(memo_get(m, 5, 100, NOW - 1, value)); /* another one's clock is ahead of ours */
}

static void of_those_that_share_their_places_the_one_written_longest_ago_goes(void **state)
{
    uint64_t n;

    (void)state;
    for (uint64_t i = 0; i < WAYS; i++)
        put_n(rival(i), i, NOW + (i == 2 ? 0 : 10 + i));
    put_n(rival(9), 9, NOW + 20);
    assert_false(get(rival(2), &n));
    for (uint64_t i = 0; i < WAYS; i++)
        assert_true(i == 2 || has(rival(i), i));
    assert_true(has(rival(9), 9));
}

static void a_freed_place_is_taken_before_anything_is_given_up(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < WAYS; i++)
        put_n(rival(i), i, NOW + i);
    memo_drop(m, rival(3));
    put_n(rival(9), 9, NOW + 20);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(has(rival(i), i));
    assert_true(has(rival(9), 9));
}

/* A writer is killed after any number of its words, over an empty place and over another entry. */
static void
what_a_killed_writer_left_is_no_entry_and_its_place_is_the_next_to_be_taken(void **state)
{
    struct entry *e = bucket_of(m, 64);
    uint64_t n;

    (void)state;
    for (unsigned words = 1; words < 8; words++) {
        for (unsigned over = 0; over < 2; over++) {
            struct entry whole;

            memset(bucket_of(m, 64), 0, WAYS * sizeof(struct entry));
            put_n(rival(1), 5, NOW + 9);
            memcpy(&whole, e, sizeof(whole));
            memset(e, 0, sizeof(*e));
            if (over)
                put_n(rival(2), 6, NOW);
            for (unsigned i = 0; i < words; i++)
                store_relaxed((_Atomic uint64_t *)e + i,
                              load_relaxed((_Atomic uint64_t *)&whole + i));
            assert_false(get(rival(1), &n));
            assert_false(get(rival(2), &n));
            for (uint64_t i = 3; i < 3 + WAYS; i++)
                put_n(rival(i), i, NOW);
            for (uint64_t i = 3; i < 3 + WAYS; i++)
                assert_true(has(rival(i), i));
        }
    }
}

static void a_key_that_two_wrote_at_once_is_there_once_after_the_next_put(void **state)
{
    uint64_t n;

    (void)state;
    put_n(rival(0), 1, NOW);
    memcpy(bucket_of(m, 64) + 2, bucket_of(m, 64), sizeof(struct entry));
    put_n(rival(0), 2, NOW + 1);
    memset(bucket_of(m, 64), 0, sizeof(struct entry));
    assert_false(get(rival(0), &n));
    put_n(rival(0), 1, NOW);
    memcpy(bucket_of(m, 64) + 2, bucket_of(m, 64), sizeof(struct entry));
    memo_drop(m, rival(0));
    assert_false(get(rival(0), &n));
}

static void keys_differ_by_kind_place_and_every_byte(void **state)
{
    char text[] = "file-0123456789abcdef0123";
    uint64_t seen[4 * sizeof(text) + 3];
    size_t n = 0;

    (void)state;
    seen[n++] = memo_key(2, 7, text, sizeof(text) - 1);
    seen[n++] = memo_key(1, 8, text, sizeof(text) - 1);
    seen[n++] = memo_key(7, 1, text, sizeof(text) - 1);
    for (size_t len = 0; len < sizeof(text); len++)
        seen[n++] = memo_key(1, 7, text, len);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        text[i] ^= 1;
        seen[n++] = memo_key(1, 7, text, sizeof(text) - 1);
        text[i] ^= 1;
    }
    for (size_t i = 0; i < n; i++) {
        assert_true(seen[i] != 0);
        for (size_t k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
    }
    assert_true(memo_key(1, 7, text, 5) == memo_key(1, 7, "file-", 5));
}

/* Ids that count up must not crowd in few buckets. */
static void a_table_as_large_as_the_ids_that_are_put_holds_most_of_them(void **state)
{
    unsigned found = 0;
    uint64_t n;
    char id[32];

    (void)state;
    memo_free(m);
    assert_int_equal(memo_new(4096, &m), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 4096; i++) {
            uint64_t key = memo_key(1, 7, id, (uint64_t)snprintf(id, sizeof(id), "file-%08u", i));

            if (round == 0)
                put_n(key, i, NOW);
            else
                found += get(key, &n) && n == i;
        }
    }
    assert_in_range(found, 4096 * 3 / 4, 4096);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct memo *none = NULL;

    (void)state;
    assert_int_equal(memo_new(0, &none), ERR_INVALID);
    assert_int_equal(memo_new((1u << 24) + 1, &none), ERR_INVALID);
    assert_null(none);
    memo_free(NULL);
    assert_int_equal(memo_new(1, &none), 0);
    memo_free(none);
}

#define ROUNDS 200000u

/* Few places, many writers of the same keys: all that anybody sees is whole. */
static void *write_and_read(void *arg)
{
    uint32_t x = (uint32_t)(uintptr_t)arg;
    uint64_t hits = 0, n;

    for (unsigned i = 0; i < ROUNDS; i++) {
        x = x * 1664525u + 1013904223u;
        if (x >> 29 == 0)
            memo_drop(m, rival(x >> 16 & 7));
        else if (x >> 31 != 0)
            put_n(rival(x >> 16 & 7), x, NOW + i);
        else
            hits += get(rival(x >> 16 & 7), &n);
    }
    return (void *)(uintptr_t)hits;
}

static void writers_and_readers_at_full_speed_see_whole_values_only(void **state)
{
    pthread_t threads[4];
    uint64_t hits = 0;

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_read, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++) {
        void *result;

        pthread_join(threads[i], &result);
        hits += (uintptr_t)result;
    }
    assert_in_range(hits, ROUNDS / 10, 4 * ROUNDS);
}

static void writers_that_are_killed_leave_a_table_that_works(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 30; round++) {
        pid_t pid = fork();
        uint64_t n;

        assert_true(pid != -1);
        if (pid == 0) {
            for (;;)
                write_and_read((void *)(uintptr_t)(round + 1));
        }
        for (unsigned i = 0; i < 2000; i++)
            get(rival(i & 7), &n);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        for (uint64_t i = 0; i < WAYS; i++)
            put_n(rival(20 + i), i, NOW + 2 * ROUNDS + round);
        for (uint64_t i = 0; i < WAYS; i++)
            assert_true(has(rival(20 + i), i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_put_is_there_until_it_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_of_zeroes_is_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_older_than_wanted_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(
            of_those_that_share_their_places_the_one_written_longest_ago_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_freed_place_is_taken_before_anything_is_given_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            what_a_killed_writer_left_is_no_entry_and_its_place_is_the_next_to_be_taken, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            a_key_that_two_wrote_at_once_is_there_once_after_the_next_put, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_differ_by_kind_place_and_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_as_large_as_the_ids_that_are_put_holds_most_of_them,
                                        setup, teardown),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
        cmocka_unit_test_setup_teardown(writers_and_readers_at_full_speed_see_whole_values_only,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(writers_that_are_killed_leave_a_table_that_works, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
