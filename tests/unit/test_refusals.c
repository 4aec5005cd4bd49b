/* Which job keeps away from where it was refused, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "objects/facts.h"
#include "objects/refusals.h"

#define NOW    UINT64_C(100000000)
#define MINUTE UINT64_C(60000)
#define HERE   11
#define THERE  12

static struct memo *memo;

static int setup(void **state)
{
    (void)state;
    return memo_new(64, &memo);
}

static int teardown(void **state)
{
    (void)state;
    memo_free(memo);
    return 0;
}

static uint64_t wait_at(uint64_t place, uint64_t now_ms)
{
    struct refusal refusal;

    (void)refusals_find(memo, 7, place, now_ms, &refusal);
    return refusal.for_ms;
}

static void a_refused_job_keeps_away_from_there_and_from_nowhere_else(void **state)
{
    struct refusal refusal;

    (void)state;
    assert_false(refusals_any(memo, 7, NOW));
    assert_true(refusals_note(memo, 7, HERE, false, NOW));
    assert_true(refusals_any(memo, 7, NOW));
    assert_int_equal(wait_at(HERE, NOW), MINUTE);
    assert_int_equal(wait_at(THERE, NOW), 0);
    assert_false(refusals_find(memo, 8, HERE, NOW, &refusal)); /* another job */
    assert_false(refusals_any(memo, 8, NOW));
}

static void only_the_first_refusal_is_the_first(void **state)
{
    (void)state;
    assert_true(refusals_note(memo, 7, HERE, false, NOW));
    assert_false(refusals_note(memo, 7, THERE, false, NOW));
    assert_false(refusals_note(memo, 7, HERE, false, NOW + 40 * MINUTE));
    assert_true(refusals_note(memo, 8, HERE, false, NOW));
}

static void a_job_that_is_tried_for_ever_is_sent_every_sixteen_minutes(void **state)
{
    static const uint64_t minutes[] = {1, 2, 4, 8, 16, 16, 16};
    uint64_t now_ms = NOW;

    (void)state;
    for (size_t i = 0; i < sizeof(minutes) / sizeof(minutes[0]); i++) {
        (void)refusals_note(memo, 7, HERE, false, now_ms);
        (void)refusals_note(memo, 7, HERE, false, now_ms + 1); /* was under way with it */
        assert_int_equal(wait_at(HERE, now_ms), minutes[i] * MINUTE);
        now_ms += minutes[i] * MINUTE;
        assert_int_equal(wait_at(HERE, now_ms), 0);
    }
}

static void what_was_refused_with_nothing_enqueued_stays_known_as_such_for_a_while(void **state)
{
    struct refusal refusal;

    (void)state;
    (void)refusals_note(memo, 7, HERE, true, NOW);
    assert_true(refusals_find(memo, 7, HERE, NOW + 2 * MINUTE, &refusal));
    assert_true(refusal.hopeless && refusal.for_ms == 0);
    assert_false(refusals_find(memo, 7, HERE, NOW + 4 * MINUTE, &refusal));
    assert_false(refusal.hopeless);
    (void)refusals_note(memo, 7, HERE, false, NOW + 4 * MINUTE); /* another story */
    assert_int_equal(wait_at(HERE, NOW + 4 * MINUTE), MINUTE);
}

static void an_accepted_job_is_forgotten(void **state)
{
    (void)state;
    (void)refusals_note(memo, 7, HERE, true, NOW);
    refusals_forget(memo, 7, HERE);
    assert_int_equal(wait_at(HERE, NOW), 0);
}

/* Who is refused and uploads the file anew has the same job. */
static void a_file_is_the_same_job_under_another_name(void **state)
{
    struct facts one = {.deployment = 1, .model = 5, .bytes = 100, .lines = 2, .prompt = {{80}}};
    struct facts other = one;

    (void)state;
    other.deployment = 2;
    other.model = 6;
    other.counted = other.expected = other.guessed = true;
    assert_true(facts_job(&one, 3) == facts_job(&other, 3));
    other.prompt.units[FEATURE_IMAGES]++;
    assert_false(facts_job(&one, 3) == facts_job(&other, 3));
    other = one;
    other.bytes++;
    assert_false(facts_job(&one, 3) == facts_job(&other, 3));
}

static void what_one_tenants_file_met_keeps_no_other_tenants_equal_file_away(void **state)
{
    struct facts facts = {.deployment = 1, .model = 5, .bytes = 100, .lines = 2, .prompt = {{80}}};
    struct refusal refusal;

    (void)state;
    assert_true(refusals_note(memo, facts_job(&facts, 3), HERE, false, NOW));
    assert_true(refusals_find(memo, facts_job(&facts, 3), HERE, NOW, &refusal));
    assert_false(refusals_find(memo, facts_job(&facts, 4), HERE, NOW, &refusal));
    assert_false(refusals_find(memo, facts_job(&facts, 0), HERE, NOW, &refusal));
    assert_false(refusals_any(memo, facts_job(&facts, 4), NOW));
}

/* SIGUSR2 hands the memo to the next program: version 0.1.0 kept facts in other words. */
static void what_the_program_before_kept_in_another_layout_is_not_read(void **state)
{
    uint64_t words[MEMO_WORDS] = {1, 2, 3, 4, 5};

    (void)state;
    memo_put(memo, memo_key('f', 9, "file-1", 6), words, NOW);
    assert_true(facts_job_of(memo, 9, "file-1", 3, NOW) == 0);
    memo_put(memo, memo_key('F', 9, "file-1", 6), words, NOW);
    assert_true(facts_job_of(memo, 9, "file-1", 3, NOW) != 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_refused_job_keeps_away_from_there_and_from_nowhere_else),
        T(only_the_first_refusal_is_the_first),
        T(a_job_that_is_tried_for_ever_is_sent_every_sixteen_minutes),
        T(what_was_refused_with_nothing_enqueued_stays_known_as_such_for_a_while),
        T(an_accepted_job_is_forgotten),
        T(a_file_is_the_same_job_under_another_name),
        T(what_one_tenants_file_met_keeps_no_other_tenants_equal_file_away),
        T(what_the_program_before_kept_in_another_layout_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
