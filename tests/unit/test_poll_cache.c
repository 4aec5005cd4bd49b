/* poll_cache: what is remembered comes back whole or not at all, and what has ended has ended. The
 * table is compiled into this file, so that an entry can be left as a killed writer leaves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/hammer.h"

#include "balancer/poll_cache.c"

#define ENTRIES 64u
#define NOW     1000000u

static struct poll_cache *c;

static int setup(void **state)
{
    (void)state;
    return poll_cache_new(ENTRIES, &c);
}

static int teardown(void **state)
{
    (void)state;
    poll_cache_free(c);
    return 0;
}

/* Keys of one bucket. */
static uint64_t rival(uint64_t n)
{
    return ENTRIES * (n + 1);
}

static void put_text(uint64_t key, bool ended, const char *text, uint64_t now_ms)
{
    poll_cache_put(c, key, ended, text, strlen(text), now_ms, poll_cache_moment(c));
}

static bool has(uint64_t key, bool ended, const char *text)
{
    struct poll_seen seen;
    uint64_t age_ms;
    bool had_ended;

    if (!poll_cache_get(c, key, NOW, &seen) || !poll_cache_peek(c, key, NOW, &had_ended, &age_ms))
        return false;
    return seen.ended == ended && had_ended == ended && seen.age_ms == age_ms &&
           seen.len == strlen(text) && memcmp(seen.text, text, seen.len) == 0;
}

static bool knows(uint64_t key)
{
    struct poll_seen seen;

    if (!poll_cache_get(c, key, NOW, &seen))
        return false;
    assert_true(poll_cache_peek(c, key, NOW, &(bool){false}, &(uint64_t){0}));
    return true;
}

static void what_was_seen_last_is_there_with_its_age(void **state)
{
    struct poll_seen seen;

    (void)state;
    assert_false(knows(rival(0)));
    put_text(rival(0), false, "it runs", NOW - 30);
    assert_true(has(rival(0), false, "it runs"));
    put_text(rival(0), false, "it still runs", NOW - 20);
    assert_true(poll_cache_get(c, rival(0), NOW, &seen));
    assert_int_equal(seen.age_ms, 20);
    assert_true(has(rival(0), false, "it still runs"));
    assert_true(poll_cache_get(c, rival(0), NOW - 25, &seen)); /* another one's clock is ahead */
    assert_int_equal(seen.age_ms, 0);
    assert_false(knows(rival(1)));
}

static void one_that_has_ended_never_runs_again(void **state)
{
    (void)state;
    put_text(rival(0), false, "runs", NOW);
    put_text(rival(0), true, "ended", NOW);
    put_text(rival(0), false, "runs again", NOW + 1);
    assert_true(has(rival(0), true, "ended"));
    put_text(rival(0), true, "ended, with its usage", NOW + 2);
    assert_true(has(rival(0), true, "ended, with its usage"));
}

static void texts_of_every_length_come_back_and_longer_ones_are_not_kept(void **state)
{
    char text[POLL_CACHE_TEXT + 2];

    (void)state;
    for (size_t len = 0; len <= POLL_CACHE_TEXT; len++) {
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + (i * 7 + len) % 26);
        text[len] = '\0';
        put_text(rival(0), true, text, NOW);
        assert_true(has(rival(0), true, text));
    }
    memset(text, 'x', sizeof(text));
    poll_cache_put(c, rival(1), true, text, POLL_CACHE_TEXT + 1, NOW, 0);
    assert_false(knows(rival(1)));
}

/* Eight to a bucket. */
static void a_running_one_goes_first_then_the_ended_one_seen_longest_ago(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < WAYS; i++)
        put_text(rival(i), i != 5 && i != 6, "text", NOW - 100 + (i == 2 ? 0 : 10 + i));
    put_text(rival(20), true, "first", NOW);
    assert_false(knows(rival(5)));
    put_text(rival(21), true, "second", NOW);
    assert_false(knows(rival(6)));
    put_text(rival(22), true, "third", NOW);
    assert_false(knows(rival(2)));
    for (uint64_t i = 0; i < WAYS; i++)
        assert_int_equal(knows(rival(i)), i != 5 && i != 6 && i != 2);
}

/* A writer is killed after any number of its words, over another entry. */
static void what_a_killed_writer_left_is_no_entry_and_is_written_over(void **state)
{
    struct entry whole;

    (void)state;
    put_text(rival(1), true, "the text of the second", NOW + 1);
    memcpy(&whole, entry_at(c, rival(1), 0), sizeof(whole));
    for (unsigned words = 1; words < 5 + 3; words++) {
        _Atomic uint64_t *e = (_Atomic uint64_t *)entry_at(c, rival(0), 0);

        memset(bucket_of(c, rival(0)), 0, sizeof(struct bucket));
        put_text(rival(0), true, "the words of the first", NOW);
        for (unsigned i = 0; i < words; i++)
            if (i != 4) /* the sum is written last */
                store_relaxed(e + i, load_relaxed((_Atomic uint64_t *)&whole + i));
        assert_false(knows(rival(0)));
        store_relaxed(&bucket_of(c, rival(0))->key[0], rival(1));
        assert_int_equal(knows(rival(1)), false);
        put_text(rival(1), false, "anew", NOW);
        assert_true(has(rival(1), false, "anew"));
    }
}

static void a_key_that_two_wrote_at_once_is_there_once_after_the_next_put(void **state)
{
    (void)state;
    put_text(rival(0), true, "old", NOW);
    memcpy(entry_at(c, rival(0), 3), entry_at(c, rival(0), 0), sizeof(struct entry));
    store_relaxed(&bucket_of(c, rival(0))->key[3], rival(0));
    put_text(rival(0), true, "new", NOW);
    memset(entry_at(c, rival(0), 0), 0, sizeof(struct entry));
    assert_false(knows(rival(0)));
}

static void keys_are_of_an_account_and_an_id(void **state)
{
    (void)state;
    assert_true(poll_cache_key(1, "batch_1", 7) == poll_cache_key(1, "batch_1", 7));
    assert_true(poll_cache_key(1, "batch_1", 7) != poll_cache_key(2, "batch_1", 7));
    assert_true(poll_cache_key(1, "batch_1", 7) != poll_cache_key(1, "batch_2", 7));
    assert_true(poll_cache_key(1, "batch_1", 7) != memo_key('b', 1, "batch_1", 7));
}

#define ROUNDS 5000

/* A text is its key's letter, as often as the round says. */
static void *put_and_get(void *arg)
{
    uint64_t wrong = 0;
    struct poll_seen seen;
    char text[200];

    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t n = (i * 7 + (uintptr_t)arg) % 12;
        size_t len = 1 + (i * 13 + (uintptr_t)arg) % sizeof(text);

        if (poll_cache_get(c, rival(n), NOW, &seen)) {
            for (size_t k = 0; k < seen.len; k++)
                wrong += seen.text[k] != (char)('a' + n);
        }
        memset(text, (int)('a' + n), len);
        poll_cache_put(c, rival(n), i % 3 == 0, text, len, i, 0);
    }
    return (void *)(uintptr_t)wrong;
}

static void of_many_that_write_at_once_nobody_reads_what_was_not_put(void **state)
{
    (void)state;
    hammer(put_and_get);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct poll_cache *none = NULL;

    (void)state;
    assert_int_equal(poll_cache_new(0, &none), ERR_INVALID);
    assert_int_equal(poll_cache_new((1u << 20) + 1, &none), ERR_INVALID);
    assert_null(none);
    poll_cache_free(NULL);
    assert_int_equal(poll_cache_new(1, &none), 0);
    poll_cache_free(none);
}

static void put_at(uint64_t key, bool ended, const char *text, uint64_t moment)
{
    poll_cache_put(c, key, ended, text, strlen(text), NOW, moment);
}

static void a_running_one_is_forgotten_when_it_is_changed(void **state)
{
    (void)state;
    put_text(rival(0), false, "it runs", NOW);
    put_text(rival(1), true, "it has ended", NOW);
    poll_cache_change(c, rival(0));
    poll_cache_change(c, rival(1));
    assert_false(knows(rival(0)));
    assert_true(has(rival(1), true, "it has ended"));
}

static void what_was_asked_for_before_a_change_is_not_kept_after_it(void **state)
{
    uint64_t before = poll_cache_moment(c), key = rival(0), after;

    (void)state;
    assert_true(poll_cache_is_current(c, key, before));
    put_at(key, false, "it runs", before);
    assert_true(has(key, false, "it runs"));
    poll_cache_change(c, key);
    assert_false(poll_cache_is_current(c, key, before));
    put_at(key, false, "it runs", before);
    assert_false(knows(key));
    after = poll_cache_moment(c);
    assert_true(after > before);
    put_at(key, false, "it is cancelling", after);
    assert_true(has(key, false, "it is cancelling"));
    put_at(key, false, "it runs", before);
    assert_true(has(key, false, "it is cancelling"));
    put_at(key, true, "it was done", before);
    assert_true(has(key, true, "it was done"));
}

/* It had looked for a change, found none, and was overtaken by one before it wrote. */
static void what_a_writer_that_was_overtaken_leaves_is_nobodys_answer(void **state)
{
    uint64_t before = poll_cache_moment(c), key = rival(0);

    (void)state;
    poll_cache_change(c, key);
    put_text(key, false, "it is cancelling", NOW);
    write_entry(entry_at(c, key, 0), key, false, "it runs", 7, NOW, before);
    assert_false(knows(key));
    put_text(key, false, "it is cancelling", NOW);
    assert_true(has(key, false, "it is cancelling"));
}

static void a_change_counts_from_the_last_one_on(void **state)
{
    uint64_t first, second;

    (void)state;
    poll_cache_change(c, rival(0));
    first = poll_cache_moment(c);
    poll_cache_change(c, rival(0));
    second = poll_cache_moment(c);
    assert_false(poll_cache_is_current(c, rival(0), first));
    assert_true(poll_cache_is_current(c, rival(0), second));
}

static void a_change_is_of_its_own_object(void **state)
{
    uint64_t before = poll_cache_moment(c), other = UINT64_C(1) << 32 | rival(0);

    (void)state;
    poll_cache_change(c, rival(0));
    assert_true(poll_cache_is_current(c, other, before));
    poll_cache_change(c, other);
    assert_false(poll_cache_is_current(c, other, before));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_seen_last_is_there_with_its_age),
        TEST(one_that_has_ended_never_runs_again),
        TEST(texts_of_every_length_come_back_and_longer_ones_are_not_kept),
        TEST(a_running_one_goes_first_then_the_ended_one_seen_longest_ago),
        TEST(what_a_killed_writer_left_is_no_entry_and_is_written_over),
        TEST(a_key_that_two_wrote_at_once_is_there_once_after_the_next_put),
        TEST(keys_are_of_an_account_and_an_id),
        TEST(of_many_that_write_at_once_nobody_reads_what_was_not_put),
        TEST(a_running_one_is_forgotten_when_it_is_changed),
        TEST(what_was_asked_for_before_a_change_is_not_kept_after_it),
        TEST(what_a_writer_that_was_overtaken_leaves_is_nobodys_answer),
        TEST(a_change_counts_from_the_last_one_on),
        TEST(a_change_is_of_its_own_object),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
