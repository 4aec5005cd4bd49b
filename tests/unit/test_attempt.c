/* How an ended call counts for its deployment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "calls/attempt.h"

static enum outcome of_status(int status, const char *code)
{
    struct upstream_result res = {.end = UPSTREAM_ANSWERED, .head.status = status};
    struct failure failure = {.status = status};

    strncpy(failure.code, code, sizeof(failure.code) - 1);
    return outcome_of(&res, &failure);
}

static void an_error_about_an_object_is_no_fault_of_the_deployment(void **state)
{
    static const int statuses[] = {200, 201, 204, 400, 404, 409, 413, 415, 416, 422};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_int_equal(of_status(statuses[i], ""), OUTCOME_OK);
}

static void faults_of_the_deployment_have_their_class(void **state)
{
    (void)state;
    assert_int_equal(of_status(401, ""), OUTCOME_AUTH);
    assert_int_equal(of_status(403, ""), OUTCOME_AUTH);
    assert_int_equal(of_status(408, ""), OUTCOME_TIMEOUT);
    assert_int_equal(of_status(429, ""), OUTCOME_RATE_LIMIT);
    assert_int_equal(of_status(500, ""), OUTCOME_SERVER_ERROR);
    assert_int_equal(of_status(503, ""), OUTCOME_SERVER_ERROR);
    assert_int_equal(of_status(302, ""), OUTCOME_BAD_ANSWER);
}

static void a_400_that_says_token_limit_exceeded_means_the_deployment_is_full(void **state)
{
    (void)state;
    assert_int_equal(of_status(400, "token_limit_exceeded"), OUTCOME_RATE_LIMIT);
}

static void a_400_that_says_the_file_quota_is_reached_means_the_account_is_full(void **state)
{
    (void)state;
    assert_int_equal(of_status(400, "quotaExceeded"), OUTCOME_RATE_LIMIT);
}

static void a_call_without_an_answer_counts_by_how_it_ended(void **state)
{
    struct upstream_result res = {0};
    struct failure failure = {0};
    static const struct {
        enum upstream_end end;
        enum outcome outcome;
    } cases[] = {
        {UPSTREAM_CONNECT_FAILED, OUTCOME_CONNECT}, {UPSTREAM_TIMEOUT, OUTCOME_TIMEOUT},
        {UPSTREAM_BROKEN, OUTCOME_BROKEN},          {UPSTREAM_TOO_LARGE, OUTCOME_BAD_ANSWER},
        {UPSTREAM_REFUSED, OUTCOME_CANCELLED},      {UPSTREAM_SOURCE_FAILED, OUTCOME_CANCELLED}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        res.end = cases[i].end;
        assert_int_equal(outcome_of(&res, &failure), cases[i].outcome);
    }
}

static void uploads_and_creates_have_breakers_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(outcome_class_of(CALL_FILE_CREATE), OP_UPLOAD);
    assert_int_equal(outcome_class_of(CALL_BATCH_CREATE), OP_CREATE);
    assert_int_equal(outcome_class_of(CALL_BATCH_CANCEL), OP_READ);
    assert_int_equal(outcome_class_of(CALL_FILE_CONTENT), OP_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_about_an_object_is_no_fault_of_the_deployment),
        cmocka_unit_test(faults_of_the_deployment_have_their_class),
        cmocka_unit_test(a_400_that_says_token_limit_exceeded_means_the_deployment_is_full),
        cmocka_unit_test(a_400_that_says_the_file_quota_is_reached_means_the_account_is_full),
        cmocka_unit_test(a_call_without_an_answer_counts_by_how_it_ended),
        cmocka_unit_test(uploads_and_creates_have_breakers_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
