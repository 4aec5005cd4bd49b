/* The steps of a download, and which may follow which: download_step.h has the drawing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "read/download_step.h"

static void no_step_leads_out_of_an_end(void **state)
{
    (void)state;
    for (int to = 0; to < DOWNLOAD_STEPS; to++) {
        assert_false(download_step_may(DOWNLOAD_WHOLE, (enum download_step)to));
        assert_false(download_step_may(DOWNLOAD_SHORT, (enum download_step)to));
    }
}

/* Before that it answers with an error instead. */
static void a_transfer_ends_only_after_its_head_went_out(void **state)
{
    (void)state;
    for (int from = 0; from < DOWNLOAD_STREAM; from++) {
        assert_false(download_step_may((enum download_step)from, DOWNLOAD_WHOLE));
        assert_false(download_step_may((enum download_step)from, DOWNLOAD_SHORT));
    }
    for (int from = DOWNLOAD_STREAM; from < DOWNLOAD_WHOLE; from++)
        assert_true(download_step_may((enum download_step)from, DOWNLOAD_SHORT));
}

/* The head of the rest has to say that it is of the same file. */
static void a_call_that_was_left_streams_again_only_through_the_question_for_the_rest(void **state)
{
    (void)state;
    assert_false(download_step_may(DOWNLOAD_LEFT, DOWNLOAD_STREAM));
    assert_false(download_step_may(DOWNLOAD_RESUME, DOWNLOAD_WHOLE));
    assert_true(download_step_may(DOWNLOAD_LEFT, DOWNLOAD_RESUME));
    assert_true(download_step_may(DOWNLOAD_RESUME, DOWNLOAD_STREAM));
}

static void only_a_pause_is_left(void **state)
{
    (void)state;
    for (int from = 0; from < DOWNLOAD_STEPS; from++)
        assert_int_equal(download_step_may((enum download_step)from, DOWNLOAD_LEFT),
                         from == DOWNLOAD_PAUSE);
}

static void each_step_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < DOWNLOAD_STEPS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(download_step_name((enum download_step)i),
                                    download_step_name((enum download_step)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_step_leads_out_of_an_end),
        cmocka_unit_test(a_transfer_ends_only_after_its_head_went_out),
        cmocka_unit_test(a_call_that_was_left_streams_again_only_through_the_question_for_the_rest),
        cmocka_unit_test(only_a_pause_is_left),
        cmocka_unit_test(each_step_has_a_name_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
