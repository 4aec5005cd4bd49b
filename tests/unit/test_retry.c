/* retry: the whole table of what happens after a try. The expectations are written down here a
 * second time, from the side of the money: which facts allow what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/retry.h"

static const int statuses[] = {0,   200, 201, 204, 301, 307, 400, 401, 403, 404, 408, 409,
                               413, 422, 425, 429, 431, 451, 499, 500, 501, 502, 503, 504,
                               505, 507, 520, 521, 522, 523, 524, 525, 526, 529, 530, 599};

#define NUM_STATUSES (sizeof(statuses) / sizeof(statuses[0]))

typedef void (*visit_cb)(const struct retry_question *q, struct retry_answer answer);

/* Ask every combination of everything that is not a plain number, for three counts of tries and two
 * of untried deployments. */
static void ask_everything(visit_cb visit)
{
    static const int64_t waits[] = {-1, 0, 1500, 2000, 2001, 300000};

    for (uint32_t bits = 0; bits < 64; bits++) {
        for (int op = 0; op < OP_CLASS_COUNT; op++) {
            for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
                for (size_t s = 0; s < NUM_STATUSES * 6 * 6; s++) {
                    struct retry_question q = {
                        .op = (enum op_class)op,
                        .pinned = bits & 1,
                        .idempotent = bits & 2,
                        .nothing_sent = bits & 4,
                        .answered = bits & 8,
                        .lost_behind = bits & 16,
                        .foreign = bits & 32,
                        .outcome = (enum outcome)outcome,
                        .status = statuses[s % NUM_STATUSES],
                        .tries = 1 + (uint32_t)(s / NUM_STATUSES % 3),
                        .max_tries = 3,
                        .untried = (uint32_t)(s / NUM_STATUSES / 3 % 2),
                        .retry_after_ms = waits[s / NUM_STATUSES / 6],
                    };

                    visit(&q, retry_decide(&q, 0.5));
                }
            }
        }
    }
}

/* Statuses whose meaning is that the request was not carried out. Kept apart from retry.c's list on
 * purpose. */
static bool means_not_executed(int status, bool lost_behind)
{
    switch (status) {
    case 400:
    case 401:
    case 403:
    case 404:
    case 409:
    case 413:
    case 422:
    case 425:
    case 429:
    case 431:
    case 451:
    case 501:
    case 505:
    case 521:
    case 523:
    case 525:
    case 526:
        return true;
    case 503:
        return !lost_behind;
    default:
        return false;
    }
}

/* A refusal of a create in somebody else's words may be told after the create was passed on. */
static bool is_hearsay(const struct retry_question *q)
{
    static const int first_hand[] = {401, 521, 523, 525, 526};

    for (size_t i = 0; i < sizeof(first_hand) / sizeof(first_hand[0]); i++)
        if (q->status == first_hand[i])
            return false;
    return q->op == OP_CREATE && q->foreign;
}

static bool may_have_executed(const struct retry_question *q)
{
    if (q->answered)
        return !means_not_executed(q->status, q->lost_behind) || is_hearsay(q);
    return !q->nothing_sent || q->status != 0;
}

static void check_money(const struct retry_question *q, struct retry_answer a)
{
    bool again = a.action == RETRY_SAME || a.action == RETRY_NEXT;

    if (again && may_have_executed(q))
        assert_true(q->op == OP_READ && q->idempotent);
    if (q->op != OP_READ)
        assert_int_not_equal(a.action, RETRY_SAME);
}

static void nothing_that_may_have_happened_is_repeated_but_idempotent_reads(void **state)
{
    (void)state;
    ask_everything(check_money);
}

static void check_reconcile(const struct retry_question *q, struct retry_answer a)
{
    bool usable =
        q->answered && q->outcome == OUTCOME_OK && (q->status < 400 || !may_have_executed(q));

    assert_int_equal(a.action == RETRY_RECONCILE,
                     q->op == OP_CREATE && may_have_executed(q) && !usable);
}

static void a_create_that_may_have_happened_is_reconciled_and_nothing_else_is(void **state)
{
    (void)state;
    ask_everything(check_reconcile);
}

static void check_upload(const struct retry_question *q, struct retry_answer a)
{
    if (q->op == OP_UPLOAD && may_have_executed(q))
        assert_int_equal(a.action, RETRY_GIVE_UP);
}

static void an_upload_that_may_have_happened_is_given_up(void **state)
{
    (void)state;
    ask_everything(check_upload);
}

static void check_bounds(const struct retry_question *q, struct retry_answer a)
{
    bool again = a.action == RETRY_SAME || a.action == RETRY_NEXT;

    if (again) {
        assert_true(q->tries < q->max_tries);
        assert_true(q->outcome != OUTCOME_OK && q->outcome != OUTCOME_CANCELLED);
    }
    if (a.action == RETRY_NEXT)
        assert_true(!q->pinned && q->untried > 0);
    if (a.action == RETRY_SAME) {
        assert_true(q->pinned || q->untried == 0);
        assert_in_range(a.delay_ms, q->retry_after_ms > 0 ? (uint64_t)q->retry_after_ms : 1, 2000);
    } else {
        assert_int_equal(a.delay_ms, 0);
    }
}

static void tries_pins_and_waits_are_kept_to(void **state)
{
    (void)state;
    ask_everything(check_bounds);
}

static void check_next(const struct retry_question *q, struct retry_answer a)
{
    bool may_repeat = (q->op == OP_READ && q->idempotent) || !may_have_executed(q);
    bool failed = q->outcome != OUTCOME_OK && q->outcome != OUTCOME_CANCELLED;

    if (may_repeat && failed && !q->pinned && q->untried > 0 && q->tries < q->max_tries)
        assert_int_equal(a.action, RETRY_NEXT);
}

static void whatever_may_be_repeated_goes_to_the_next_deployment_while_there_is_one(void **state)
{
    (void)state;
    ask_everything(check_next);
}

/* --- the same in examples that people ask about --- */

static struct retry_question question(enum op_class op, enum outcome outcome, int status)
{
    return (struct retry_question){.op = op,
                                   .idempotent = op == OP_READ,
                                   .answered = status != 0,
                                   .outcome = outcome,
                                   .status = status,
                                   .tries = 1,
                                   .max_tries = 3,
                                   .untried = 1,
                                   .retry_after_ms = -1};
}

static enum retry_action action(struct retry_question q)
{
    return retry_decide(&q, 0.5).action;
}

static void a_good_answer_is_answered(void **state)
{
    (void)state;
    for (int op = 0; op < OP_CLASS_COUNT; op++)
        assert_int_equal(action(question((enum op_class)op, OUTCOME_OK, 200)), RETRY_GIVE_UP);
}

static void a_mistake_of_the_client_is_answered(void **state)
{
    (void)state;
    for (int op = 0; op < OP_CLASS_COUNT; op++) {
        assert_int_equal(action(question((enum op_class)op, OUTCOME_OK, 400)), RETRY_GIVE_UP);
        assert_int_equal(action(question((enum op_class)op, OUTCOME_OK, 404)), RETRY_GIVE_UP);
    }
}

static void a_create_refused_for_quota_goes_to_the_next_deployment(void **state)
{
    (void)state;
    assert_int_equal(action(question(OP_CREATE, OUTCOME_RATE_LIMIT, 429)), RETRY_NEXT);
    assert_int_equal(action(question(OP_CREATE, OUTCOME_RATE_LIMIT, 400)), RETRY_NEXT);
    assert_int_equal(action(question(OP_CREATE, OUTCOME_SERVER_ERROR, 503)), RETRY_NEXT);
}

static void a_create_refused_where_its_file_is_pinned_is_answered(void **state)
{
    struct retry_question q = question(OP_CREATE, OUTCOME_RATE_LIMIT, 429);

    (void)state;
    q.pinned = true;
    q.retry_after_ms = 100;
    assert_int_equal(action(q), RETRY_GIVE_UP);
}

static void a_create_answered_by_500_502_504_or_408_is_reconciled(void **state)
{
    (void)state;
    assert_int_equal(action(question(OP_CREATE, OUTCOME_SERVER_ERROR, 500)), RETRY_RECONCILE);
    assert_int_equal(action(question(OP_CREATE, OUTCOME_SERVER_ERROR, 502)), RETRY_RECONCILE);
    assert_int_equal(action(question(OP_CREATE, OUTCOME_SERVER_ERROR, 504)), RETRY_RECONCILE);
    assert_int_equal(action(question(OP_CREATE, OUTCOME_TIMEOUT, 408)), RETRY_RECONCILE);
}

static void a_create_answered_by_460_or_499_is_reconciled(void **state)
{
    (void)state;
    for (int status = 452; status < 500; status++) {
        assert_int_equal(action(question(OP_CREATE, OUTCOME_OK, status)), RETRY_RECONCILE);
        assert_int_equal(action(question(OP_UPLOAD, OUTCOME_OK, status)), RETRY_GIVE_UP);
        assert_int_equal(action(question(OP_READ, OUTCOME_OK, status)), RETRY_GIVE_UP);
    }
}

static void a_create_whose_answer_was_lost_is_reconciled_even_at_the_last_try(void **state)
{
    struct retry_question q = question(OP_CREATE, OUTCOME_BROKEN, 0);

    (void)state;
    q.tries = q.max_tries;
    q.pinned = true;
    assert_int_equal(action(q), RETRY_RECONCILE);
    q.outcome = OUTCOME_TIMEOUT;
    assert_int_equal(action(q), RETRY_RECONCILE);
    q.outcome = OUTCOME_CANCELLED;
    assert_int_equal(action(q), RETRY_RECONCILE);
    q.outcome = OUTCOME_BAD_ANSWER;
    q.status = 200;
    q.answered = true;
    assert_int_equal(action(q), RETRY_RECONCILE);
}

static void a_create_that_found_nobody_goes_to_the_next_deployment(void **state)
{
    struct retry_question q = question(OP_CREATE, OUTCOME_CONNECT, 0);

    (void)state;
    q.nothing_sent = true;
    assert_int_equal(action(q), RETRY_NEXT);
}

/* The word of the connection counts, not the class of the failure. */
static void
a_failed_connection_that_does_not_say_that_nothing_was_sent_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(action(question(OP_CREATE, OUTCOME_CONNECT, 0)), RETRY_RECONCILE);
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_CONNECT, 0)), RETRY_GIVE_UP);
}

static void a_503_of_a_proxy_that_lost_its_server_is_no_refusal(void **state)
{
    struct retry_question q = question(OP_CREATE, OUTCOME_SERVER_ERROR, 503);

    (void)state;
    q.lost_behind = true;
    assert_int_equal(action(q), RETRY_RECONCILE);
    q.op = OP_UPLOAD;
    assert_int_equal(action(q), RETRY_GIVE_UP);
}

static void a_refusal_that_is_not_the_providers_proves_nothing_of_a_create(void **state)
{
    static const int refused[] = {403, 404, 429, 501, 503, 505};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct retry_question q = question(OP_CREATE, OUTCOME_SERVER_ERROR, refused[i]);

        assert_false(retry_is_doubtful(&q));
        q.foreign = true;
        assert_true(retry_is_doubtful(&q));
        assert_int_equal(action(q), RETRY_RECONCILE);
        q.op = OP_UPLOAD; /* no matter of money */
        assert_int_equal(action(q), RETRY_NEXT);
    }
}

static void an_upload_refused_moves_and_one_lost_is_answered(void **state)
{
    (void)state;
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_RATE_LIMIT, 429)), RETRY_NEXT);
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_SERVER_ERROR, 503)), RETRY_NEXT);
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_AUTH, 401)), RETRY_NEXT);
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_SERVER_ERROR, 500)), RETRY_GIVE_UP);
    assert_int_equal(action(question(OP_UPLOAD, OUTCOME_BROKEN, 0)), RETRY_GIVE_UP);
}

static void a_read_of_a_pinned_object_is_tried_there_again(void **state)
{
    static const enum outcome passing[] = {OUTCOME_RATE_LIMIT,   OUTCOME_TIMEOUT,
                                           OUTCOME_CONNECT,      OUTCOME_BROKEN,
                                           OUTCOME_SERVER_ERROR, OUTCOME_BAD_ANSWER};

    (void)state;
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        struct retry_question q = question(OP_READ, passing[i], 0);

        q.pinned = true;
        assert_int_equal(action(q), RETRY_SAME);
        q.tries = 3;
        assert_int_equal(action(q), RETRY_GIVE_UP);
    }
}

static void what_no_waiting_mends_is_not_tried_again_there(void **state)
{
    struct retry_question q = question(OP_READ, OUTCOME_AUTH, 401);

    (void)state;
    q.pinned = true;
    assert_int_equal(action(q), RETRY_GIVE_UP);
    q.outcome = OUTCOME_BAD_ANSWER;
    q.status = 302;
    assert_int_equal(action(q), RETRY_GIVE_UP);
    q.outcome = OUTCOME_SERVER_ERROR;
    q.status = 501;
    assert_int_equal(action(q), RETRY_GIVE_UP);
}

/* A POST that follows an id and is not known to be idempotent is as careful as an upload. */
static void a_read_that_is_not_idempotent_is_repeated_only_when_nothing_happened(void **state)
{
    struct retry_question q = question(OP_READ, OUTCOME_BROKEN, 0);

    (void)state;
    q.idempotent = false;
    assert_int_equal(action(q), RETRY_GIVE_UP);
    q.nothing_sent = true;
    assert_int_equal(action(q), RETRY_NEXT);
    q.pinned = true;
    assert_int_equal(action(q), RETRY_SAME);
}

static void delays_double_up_to_two_seconds_and_are_spread(void **state)
{
    struct retry_question q = question(OP_READ, OUTCOME_BROKEN, 0);

    (void)state;
    q.pinned = true;
    q.max_tries = UINT32_MAX;
    for (uint32_t tries = 1, whole = 200; tries < 40; tries++) {
        q.tries = tries;
        assert_int_equal(retry_decide(&q, 0).delay_ms, whole / 2);
        assert_in_range(retry_decide(&q, 0.999).delay_ms, whole * 9 / 10, whole);
        whole = whole * 2 < 2000 ? whole * 2 : 2000;
    }
    q.tries = 0;
    assert_int_equal(retry_decide(&q, 0).delay_ms, 100);
}

static void a_short_retry_after_is_waited_for_and_a_long_one_is_the_clients(void **state)
{
    struct retry_question q = question(OP_READ, OUTCOME_RATE_LIMIT, 429);

    (void)state;
    q.pinned = true;
    q.retry_after_ms = 1700;
    assert_int_equal(retry_decide(&q, 0.5).action, RETRY_SAME);
    assert_int_equal(retry_decide(&q, 0.5).delay_ms, 1700);
    q.retry_after_ms = 2001;
    assert_int_equal(retry_decide(&q, 0.5).action, RETRY_GIVE_UP);
}

static void the_operators_least_delay_is_waited_for_whatever_the_back_off(void **state)
{
    struct retry_question q = question(OP_READ, OUTCOME_RATE_LIMIT, 429);

    (void)state;
    q.pinned = true;
    q.least_delay_ms = 150;
    assert_int_equal(retry_decide(&q, 0).delay_ms, 150);
    q.least_delay_ms = 5000;
    assert_int_equal(retry_decide(&q, 0.5).delay_ms, 5000);
    q.retry_after_ms = 4000; /* he has more patience than the provider asks for */
    assert_int_equal(retry_decide(&q, 0.5).action, RETRY_SAME);
    assert_int_equal(retry_decide(&q, 0.5).delay_ms, 5000);
    q.retry_after_ms = 5001;
    assert_int_equal(retry_decide(&q, 0.5).action, RETRY_GIVE_UP);
    q.pinned = false;
    q.retry_after_ms = -1;
    assert_int_equal(retry_decide(&q, 0.5).action, RETRY_NEXT); /* others are asked at once */
    assert_int_equal(retry_decide(&q, 0.5).delay_ms, 0);
}

static struct retry_policy no_policy(void)
{
    struct retry_policy policy = {.num_retries = RETRY_NOT_GIVEN};

    for (int i = 0; i < OUTCOME_COUNT; i++)
        policy.retries_of[i] = RETRY_NOT_GIVEN;
    return policy;
}

static void tries_are_the_callers_where_the_operator_says_nothing(void **state)
{
    const struct retry_policy policy = no_policy();

    (void)state;
    for (int i = 0; i < OUTCOME_COUNT; i++)
        assert_int_equal(retry_max_tries(&policy, RETRY_NOT_GIVEN, (enum outcome)i, 3), 3);
}

static void the_kind_of_failure_goes_before_the_deployment_before_all(void **state)
{
    struct retry_policy policy = no_policy();

    (void)state;
    policy.num_retries = 2;
    assert_int_equal(retry_max_tries(&policy, RETRY_NOT_GIVEN, OUTCOME_TIMEOUT, 9), 3);
    assert_int_equal(retry_max_tries(&policy, 5, OUTCOME_TIMEOUT, 9), 6);
    policy.retries_of[OUTCOME_TIMEOUT] = 7;
    assert_int_equal(retry_max_tries(&policy, 5, OUTCOME_TIMEOUT, 9), 8);
    assert_int_equal(retry_max_tries(&policy, 5, OUTCOME_AUTH, 9), 6);
    policy.retries_of[OUTCOME_TIMEOUT] = 0;
    assert_int_equal(retry_max_tries(&policy, 5, OUTCOME_TIMEOUT, 9), 1);
    assert_int_equal(retry_max_tries(&policy, 0, OUTCOME_CONNECT, 9), 1);
}

/* However many tries the operator allows: what may have happened is not repeated. */
static void no_number_of_retries_repeats_what_may_have_happened(void **state)
{
    struct retry_question q = question(OP_CREATE, OUTCOME_BROKEN, 0);

    (void)state;
    q.max_tries = 1000;
    assert_int_equal(action(q), RETRY_RECONCILE);
    q.op = OP_UPLOAD;
    assert_int_equal(action(q), RETRY_GIVE_UP);
}

static void envoys_text_is_recognised_anywhere_in_a_body(void **state)
{
    static const char reset[] = "upstream connect error or disconnect/reset before headers. reset "
                                "reason: connection termination";
    static const char json[] = "{\"error\":{\"message\":\"upstream request timeout\"}}";
    static const char overloaded[] =
        "{\"error\":{\"message\":\"The server is overloaded or not ready yet.\"}}";

    (void)state;
    assert_true(retry_is_lost_behind(reset, strlen(reset)));
    assert_true(retry_is_lost_behind(json, strlen(json)));
    assert_false(retry_is_lost_behind(reset, 30));
    assert_false(retry_is_lost_behind(overloaded, strlen(overloaded)));
    assert_false(retry_is_lost_behind("", 0));
    assert_false(retry_is_lost_behind(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_that_may_have_happened_is_repeated_but_idempotent_reads),
        cmocka_unit_test(a_create_that_may_have_happened_is_reconciled_and_nothing_else_is),
        cmocka_unit_test(an_upload_that_may_have_happened_is_given_up),
        cmocka_unit_test(tries_pins_and_waits_are_kept_to),
        cmocka_unit_test(whatever_may_be_repeated_goes_to_the_next_deployment_while_there_is_one),
        cmocka_unit_test(a_good_answer_is_answered),
        cmocka_unit_test(a_mistake_of_the_client_is_answered),
        cmocka_unit_test(a_create_refused_for_quota_goes_to_the_next_deployment),
        cmocka_unit_test(a_create_refused_where_its_file_is_pinned_is_answered),
        cmocka_unit_test(a_create_answered_by_500_502_504_or_408_is_reconciled),
        cmocka_unit_test(a_create_answered_by_460_or_499_is_reconciled),
        cmocka_unit_test(a_create_whose_answer_was_lost_is_reconciled_even_at_the_last_try),
        cmocka_unit_test(a_create_that_found_nobody_goes_to_the_next_deployment),
        cmocka_unit_test(
            a_failed_connection_that_does_not_say_that_nothing_was_sent_is_not_believed),
        cmocka_unit_test(a_503_of_a_proxy_that_lost_its_server_is_no_refusal),
        cmocka_unit_test(a_refusal_that_is_not_the_providers_proves_nothing_of_a_create),
        cmocka_unit_test(an_upload_refused_moves_and_one_lost_is_answered),
        cmocka_unit_test(a_read_of_a_pinned_object_is_tried_there_again),
        cmocka_unit_test(what_no_waiting_mends_is_not_tried_again_there),
        cmocka_unit_test(a_read_that_is_not_idempotent_is_repeated_only_when_nothing_happened),
        cmocka_unit_test(delays_double_up_to_two_seconds_and_are_spread),
        cmocka_unit_test(a_short_retry_after_is_waited_for_and_a_long_one_is_the_clients),
        cmocka_unit_test(the_operators_least_delay_is_waited_for_whatever_the_back_off),
        cmocka_unit_test(tries_are_the_callers_where_the_operator_says_nothing),
        cmocka_unit_test(the_kind_of_failure_goes_before_the_deployment_before_all),
        cmocka_unit_test(no_number_of_retries_repeats_what_may_have_happened),
        cmocka_unit_test(envoys_text_is_recognised_anywhere_in_a_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
