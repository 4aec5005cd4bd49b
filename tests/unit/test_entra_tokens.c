/* Cells of tokens as workers read them while a prober writes, and whose cells they are. */
#include "balancer/entra_tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/shm_region.h"

#define FP    UINT64_C(0xabcdef0123456789)
#define OTHER UINT64_C(0x1122334455667788)

static struct entra_tokens *tokens;
static struct entra_tokens_cell *cell;
static char text[ENTRA_TOKENS_TEXT + 1];
static struct entra_tokens_view view;

static int setup(void **state)
{
    (void)state;
    if (entra_tokens_new(&tokens) != 0 || entra_tokens_bind(tokens, FP, 0) != 0)
        return -1;
    cell = entra_tokens_find(tokens, FP);
    return cell == NULL;
}

static int teardown(void **state)
{
    (void)state;
    entra_tokens_free(tokens);
    return 0;
}

static uint64_t publish(struct entra_tokens_cell *to, const char *token, uint64_t obtained_ms,
                        uint64_t ends_ms)
{
    struct entra_state state = {.obtained_ms = obtained_ms,
                                .renew_ms = (obtained_ms + ends_ms) / 2,
                                .fresh_until_ms = ends_ms - 10,
                                .ends_ms = ends_ms,
                                .last = ENTRA_OK};

    return entra_tokens_publish(to, token, strlen(token), &state);
}

static bool region_holds(const char *needle)
{
    const struct shm_head *head = (const struct shm_head *)(const void *)tokens;

    return memmem(tokens, head->size, needle, strlen(needle)) != NULL;
}

/* --- a token --- */

static void before_the_first_answer_there_is_no_token(void **state)
{
    (void)state;
    strcpy(text, "old");
    assert_false(entra_tokens_read(cell, 1, text, &view));
    assert_string_equal(text, "");
    assert_int_equal(view.number, 0);
    assert_int_equal(entra_tokens_wait_ms(cell, 1), 0);
}

static void a_token_is_read_until_its_end_and_no_longer(void **state)
{
    (void)state;
    assert_int_equal(publish(cell, "first", 1000, 5000), 1);
    assert_true(entra_tokens_read(cell, 4999, text, &view));
    assert_string_equal(text, "first");
    assert_int_equal(view.number, 1);
    assert_int_equal(view.len, 5);
    assert_int_equal(view.obtained_ms, 1000);
    assert_int_equal(view.renew_ms, 3000);
    assert_int_equal(view.ends_ms, 5000);
    assert_false(view.refused);
    assert_false(entra_tokens_read(cell, 5000, text, &view));
    assert_string_equal(text, "");
}

static void only_numbers_are_read_where_no_text_is_wanted(void **state)
{
    (void)state;
    publish(cell, "first", 1000, 5000);
    assert_true(entra_tokens_read(cell, 1000, NULL, &view));
    assert_int_equal(view.number, 1);
}

static void test_entra_22_a_token_of_16_kib_comes_back_whole(void **state)
{
    struct entra_state times = {.obtained_ms = 1, .ends_ms = 5000};
    char *token = malloc(ENTRA_TOKENS_TEXT);

    (void)state;
    assert_non_null(token);
    for (size_t i = 0; i < ENTRA_TOKENS_TEXT; i++)
        token[i] = (char)('!' + i % 90);
    for (unsigned n = 1; n <= 2; n++) {
        assert_int_equal(entra_tokens_publish(cell, token, ENTRA_TOKENS_TEXT, &times), n);
        assert_true(entra_tokens_read(cell, 1, text, &view));
        assert_int_equal(view.len, ENTRA_TOKENS_TEXT);
        assert_memory_equal(text, token, ENTRA_TOKENS_TEXT);
        assert_int_equal(text[ENTRA_TOKENS_TEXT], '\0');
    }
    free(token);
}

static void a_token_that_is_replaced_is_wiped_at_once(void **state)
{
    (void)state;
    publish(cell, "the-first-token", 1000, 5000);
    assert_true(region_holds("the-first-token"));
    assert_int_equal(publish(cell, "the-second-one", 2000, 6000), 2);
    assert_false(region_holds("the-first-token"));
    assert_true(entra_tokens_read(cell, 2000, text, &view));
    assert_string_equal(text, "the-second-one");
}

static void a_token_that_was_written_by_two_at_once_is_none(void **state)
{
    char *at;

    (void)state;
    publish(cell, "the-first-token", 1000, 5000);
    at = memmem(tokens, ((const struct shm_head *)(const void *)tokens)->size, "the-first-token",
                15);
    assert_non_null(at);
    at[3] ^= 1;
    assert_false(entra_tokens_read(cell, 2000, text, &view));
    assert_int_equal(publish(cell, "the-second-one", 2000, 6000), 2);
    assert_true(entra_tokens_read(cell, 2000, text, &view));
}

/* --- a 401 --- */

static void a_refused_token_is_told_from_a_good_one_until_the_next_one_is_there(void **state)
{
    (void)state;
    publish(cell, "first", 1000, 5000);
    entra_tokens_refuse(cell, 1);
    assert_true(entra_tokens_read(cell, 2000, text, &view));
    assert_true(view.refused);
    assert_int_equal(publish(cell, "second", 2000, 6000), 2);
    assert_true(entra_tokens_read(cell, 2000, text, &view));
    assert_false(view.refused);
}

static void test_entra_17_a_401_for_a_replaced_token_leaves_the_new_one_alone(void **state)
{
    (void)state;
    publish(cell, "first", 1000, 5000);
    publish(cell, "second", 2000, 6000);
    entra_tokens_refuse(cell, 1);
    assert_true(entra_tokens_read(cell, 2000, text, &view));
    assert_int_equal(view.number, 2);
    assert_false(view.refused);
    entra_tokens_refuse(cell, 2);
    entra_tokens_refuse(cell, 1); /* a late one does not take it back */
    assert_true(entra_tokens_read(cell, 2000, text, &view));
    assert_true(view.refused);
}

/* --- the bell, the lease, failures --- */

static void who_rings_is_heard(void **state)
{
    uint64_t first = entra_tokens_ring(cell), second = entra_tokens_ring(cell);

    (void)state;
    assert_int_equal(entra_tokens_rung(cell), second);
    assert_false(entra_tokens_is_heard(cell, first));
    entra_tokens_hear(cell, first);
    assert_true(entra_tokens_is_heard(cell, first));
    assert_false(entra_tokens_is_heard(cell, second));
    entra_tokens_hear(cell, second);
    entra_tokens_hear(cell, first); /* of a prober that came later: nobody waits again */
    assert_int_equal(entra_tokens_heard(cell), second);
}

static void one_process_at_a_time_asks_for_a_token(void **state)
{
    (void)state;
    assert_true(entra_tokens_lease(cell, 3, 1000, 500));
    assert_false(entra_tokens_lease(cell, 4, 1499, 500));
    assert_true(entra_tokens_lease(cell, 3, 1400, 500)); /* longer */
    assert_false(entra_tokens_lease(cell, 4, 1899, 500));
    entra_tokens_release(cell, 4); /* not his */
    assert_false(entra_tokens_lease(cell, 4, 1899, 500));
    assert_true(entra_tokens_lease(cell, 4, 1900, 500)); /* it ended by itself */
    entra_tokens_release(cell, 4);
    assert_true(entra_tokens_lease(cell, 5, 1900, 500));
    entra_tokens_clear_holder(tokens, 4);
    assert_false(entra_tokens_lease(cell, 4, 1901, 500));
    entra_tokens_clear_holder(tokens, 5); /* it died */
    assert_true(entra_tokens_lease(cell, 0, 1901, 500));
}

static struct entra_tokens_error refusal(void)
{
    struct entra_tokens_error error = {.unix_s = 1800000000,
                                       .status = 401,
                                       .outcome = ENTRA_FINAL,
                                       .number = 7000215,
                                       .code = "invalid_client"};

    return error;
}

static void fail_until(uint64_t wait_ms)
{
    struct entra_tokens_error error = refusal();
    struct entra_state after;

    entra_tokens_state(cell, &after);
    after.failures++;
    after.wait_ms = wait_ms;
    after.last = ENTRA_FINAL;
    entra_tokens_fail(cell, &after, &error);
}

static void a_failure_says_when_the_next_call_is_made_and_what_was_said(void **state)
{
    struct entra_tokens_error error = refusal();
    struct entra_tokens_report report;

    (void)state;
    publish(cell, "first", 1000, 500000);
    fail_until(62000);
    fail_until(63000);
    assert_int_equal(entra_tokens_wait_ms(cell, 3000), 60000);
    assert_int_equal(entra_tokens_wait_ms(cell, 63000), 0);
    assert_int_equal(entra_tokens_failures(cell), 2);
    assert_true(entra_tokens_read(cell, 3000, text, &view)); /* the old token goes on */
    entra_tokens_report(cell, &report);
    assert_memory_equal(&report.error, &error, sizeof(error));
    assert_int_equal(report.calls[ENTRA_OK], 1);
    assert_int_equal(report.calls[ENTRA_FINAL], 2);
}

static void a_good_call_ends_the_back_off_and_the_last_error_can_still_be_read(void **state)
{
    struct entra_tokens_report report;

    (void)state;
    fail_until(62000);
    publish(cell, "first", 1000, 500000);
    assert_int_equal(entra_tokens_wait_ms(cell, 3000), 0);
    entra_tokens_report(cell, &report);
    assert_int_equal(report.failures, 0);
    assert_int_equal(report.error.number, 7000215);
}

static void what_decides_about_the_next_call_is_kept(void **state)
{
    struct entra_state is = {
        .last = ENTRA_OUT_OF_TIME, .failures = 2, .wait_ms = 70, .tried_again = true};
    struct entra_tokens_error error = {.outcome = ENTRA_OUT_OF_TIME};
    struct entra_state out;

    (void)state;
    publish(cell, "first", 1000, 5000);
    entra_tokens_fail(cell, &is, &error);
    entra_tokens_state(cell, &out);
    assert_int_equal(out.obtained_ms, 1000);
    assert_int_equal(out.renew_ms, 3000);
    assert_int_equal(out.fresh_until_ms, 4990);
    assert_int_equal(out.ends_ms, 5000);
    assert_int_equal(out.last, ENTRA_OUT_OF_TIME);
    assert_int_equal(out.failures, 2);
    assert_int_equal(out.wait_ms, 70);
    assert_true(out.tried_again);
    entra_tokens_refuse(cell, 1);
    entra_tokens_state(cell, &out);
    assert_int_equal(out.obtained_ms, 0); /* a new one is due when the wait is over */
    assert_int_equal(entra_when_next(&out, 10), 70);
}

/* --- whose cells --- */

static void a_credential_has_one_cell_whoever_binds_it(void **state)
{
    (void)state;
    publish(cell, "first", 1000, 5000);
    assert_int_equal(entra_tokens_bind(tokens, FP, 0), 0);
    assert_int_equal(entra_tokens_bind(tokens, FP, 1), 0);
    assert_int_equal(entra_tokens_bind(tokens, OTHER, 0), 0);
    assert_ptr_equal(entra_tokens_find(tokens, FP), cell);
    assert_ptr_not_equal(entra_tokens_find(tokens, OTHER), cell);
    assert_true(entra_tokens_read(cell, 1000, text, &view));
    assert_false(entra_tokens_read(entra_tokens_find(tokens, OTHER), 1000, text, &view));
    assert_null(entra_tokens_find(tokens, 5));
    assert_null(entra_tokens_find(NULL, FP));
}

static void
test_entra_20_a_credential_that_goes_is_wiped_and_another_one_keeps_its_token(void **state)
{
    uint64_t kept[] = {OTHER, OTHER};

    (void)state;
    assert_int_equal(entra_tokens_bind(tokens, OTHER, 0), 0);
    publish(cell, "token-of-the-gone-one", 1000, 5000);
    publish(entra_tokens_find(tokens, OTHER), "token-that-stays", 1000, 5000);
    entra_tokens_keep(tokens, kept, 2, 0);
    assert_null(entra_tokens_find(tokens, FP));
    assert_false(region_holds("token-of-the-gone-one"));
    assert_true(entra_tokens_read(entra_tokens_find(tokens, OTHER), 1000, text, &view));
    assert_string_equal(text, "token-that-stays");
    assert_int_equal(entra_tokens_bind(tokens, FP, 0), 0); /* it comes back without anything */
    assert_false(entra_tokens_read(entra_tokens_find(tokens, FP), 1000, text, &view));
}

static void test_entra_20_what_the_other_program_uses_stays(void **state)
{
    (void)state;
    assert_int_equal(entra_tokens_bind(tokens, FP, 1), 0);
    publish(cell, "of-both-programs", 1000, 5000);
    entra_tokens_keep(tokens, NULL, 0, 0);
    assert_ptr_equal(entra_tokens_find(tokens, FP), cell);
    assert_true(entra_tokens_read(cell, 1000, text, &view));
    entra_tokens_clear_side(tokens, 1);
    assert_null(entra_tokens_find(tokens, FP));
    assert_false(region_holds("of-both-programs"));
}

static void test_entra_20_the_next_program_finds_the_token(void **state)
{
    struct entra_tokens *next;

    (void)state;
    publish(cell, "live", 1000, 5000);
    assert_int_equal(entra_tokens_adopt(dup(shm_fd(tokens)), &next), 0);
    assert_int_equal(entra_tokens_bind(next, FP, 1), 0);
    entra_tokens_clear_side(next, 0);
    assert_true(entra_tokens_read(entra_tokens_find(next, FP), 1000, text, &view));
    assert_string_equal(text, "live");
    entra_tokens_free(next);
    assert_int_equal(entra_tokens_adopt(-1, &next), ERR_NOT_FOUND);
}

static void the_fingerprints_that_look_like_no_key_have_cells_too(void **state)
{
    (void)state;
    for (uint64_t fp = 0; fp < 4; fp++) {
        assert_int_equal(entra_tokens_bind(tokens, fp, 1), 0);
        assert_non_null(entra_tokens_find(tokens, fp));
    }
    entra_tokens_keep(tokens, NULL, 0, 1);
    assert_null(entra_tokens_find(tokens, 0));
    assert_non_null(entra_tokens_find(tokens, FP));
}

static void more_credentials_than_cells_are_refused(void **state)
{
    (void)state;
    for (uint64_t i = 1; i < ENTRA_TOKENS_CELLS; i++)
        assert_int_equal(entra_tokens_bind(tokens, i << 8, 0), 0);
    assert_int_equal(entra_tokens_bind(tokens, OTHER, 0), ERR_FULL);
    assert_int_equal(entra_tokens_bind(tokens, FP, 1), 0);
}

/* --- while it is written --- */

static char letter_of(uint64_t number)
{
    return (char)('a' + number % 26);
}

static void *write_tokens(void *arg)
{
    static char next[4000];

    (void)arg;
    for (uint64_t i = 1; i <= 3000; i++) {
        struct entra_state times = {.obtained_ms = i, .ends_ms = 5000000};
        size_t len = 1000 + i % 3000;

        memset(next, letter_of(i), len);
        assert_int_equal(entra_tokens_publish(cell, next, len, &times), i);
    }
    return NULL;
}

static void who_reads_meanwhile_sees_one_whole_token(void **state)
{
    pthread_t writer;

    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, write_tokens, NULL), 0);
    do {
        if (!entra_tokens_read(cell, 1, text, &view))
            continue;
        assert_int_equal(view.obtained_ms, view.number);
        assert_int_equal(strlen(text), 1000 + view.number % 3000);
        for (size_t i = 0; i < view.len; i++)
            assert_int_equal(text[i], letter_of(view.number));
    } while (view.number < 3000);
    pthread_join(writer, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(before_the_first_answer_there_is_no_token),
        TEST(a_token_is_read_until_its_end_and_no_longer),
        TEST(only_numbers_are_read_where_no_text_is_wanted),
        TEST(test_entra_22_a_token_of_16_kib_comes_back_whole),
        TEST(a_token_that_is_replaced_is_wiped_at_once),
        TEST(a_token_that_was_written_by_two_at_once_is_none),
        TEST(a_refused_token_is_told_from_a_good_one_until_the_next_one_is_there),
        TEST(test_entra_17_a_401_for_a_replaced_token_leaves_the_new_one_alone),
        TEST(who_rings_is_heard),
        TEST(one_process_at_a_time_asks_for_a_token),
        TEST(a_failure_says_when_the_next_call_is_made_and_what_was_said),
        TEST(a_good_call_ends_the_back_off_and_the_last_error_can_still_be_read),
        TEST(what_decides_about_the_next_call_is_kept),
        TEST(a_credential_has_one_cell_whoever_binds_it),
        TEST(test_entra_20_a_credential_that_goes_is_wiped_and_another_one_keeps_its_token),
        TEST(test_entra_20_what_the_other_program_uses_stays),
        TEST(test_entra_20_the_next_program_finds_the_token),
        TEST(the_fingerprints_that_look_like_no_key_have_cells_too),
        TEST(more_credentials_than_cells_are_refused),
        TEST(who_reads_meanwhile_sees_one_whole_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
