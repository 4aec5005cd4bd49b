/* What clients' calls show of batches is told to the keeper when it is news, and not once a poll. */
#include "upkeep_world.h"

#include "balancer/memo.h"
#include "journal/journal.h"
#include "objects/reported.h"

static struct {
    unsigned num;
    struct wire_seen last;
    char status[32];
} told;

int journal_seen(struct journal *journal, const struct wire_seen *seen)
{
    (void)journal;
    told.num++;
    told.last = *seen;
    snprintf(told.status, sizeof(told.status), "%s", seen->status);
    return ERR_FULL; /* which nobody is kept up by */
}

static struct memo *memo;
static char journal; /* which is not looked into */

static int begin(void **state)
{
    int ret = world_begin(state);

    memset(&told, 0, sizeof(told));
    assert_int_equal(memo_new(64, &memo), 0);
    w->inherited.memo = memo;
    w->upkeep.rt.config = &w->config;
    w->upkeep.rt.journal = (struct journal *)&journal;
    return ret;
}

static int end(void **state)
{
    memo_free(memo);
    return world_end(state);
}

static const struct marker ours = {.owner = 5, .nonce = "n", .deployment = 1000, .tokens = 7};

static void show(const char *text, const struct marker *marker)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;

    reported_batch(&w->upkeep.rt, 0, marker, json_parse(doc, text, strlen(text), &error));
    json_doc_free(doc);
}

static void a_status_is_told_once(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        show("{\"id\":\"batch_1\",\"status\":\"validating\"}", &ours);
    assert_int_equal(told.num, 1);
    assert_int_equal(told.last.by, WIRE_BY_POLL);
    assert_int_equal(told.last.deployment, 1000);
    assert_int_equal(told.last.account, w->upkeep.accounts[0].fingerprint);
    for (int i = 0; i < 10; i++)
        show("{\"id\":\"batch_1\",\"status\":\"in_progress\",\"request_counts\":{\"completed\":1}}",
             &ours);
    assert_int_equal(told.num, 2);
    show("{\"id\":\"batch_2\",\"status\":\"in_progress\"}", &ours);
    assert_int_equal(told.num, 3);
}

static void an_end_is_told_again_when_its_output_has_come(void **state)
{
    (void)state;
    show("{\"id\":\"batch_1\",\"status\":\"completed\",\"request_counts\":{\"completed\":1}}",
         &ours);
    assert_int_equal(told.last.source, WIRE_USAGE_UNKNOWN);
    for (int i = 0; i < 2; i++)
        show("{\"id\":\"batch_1\",\"status\":\"completed\",\"output_file_id\":\"file-out\","
             "\"request_counts\":{\"completed\":1}}",
             &ours);
    assert_int_equal(told.num, 2);
}

static void what_a_batch_says_that_it_used_goes_along(void **state)
{
    (void)state;
    show("{\"id\":\"batch_1\",\"status\":\"completed\",\"output_file_id\":\"file-out\",\"model\":"
         "\"gpt-4o\",\"request_counts\":{\"completed\":2},\"usage\":{\"input_tokens\":10,"
         "\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":5}}",
         &ours);
    assert_int_equal(told.last.source, WIRE_USAGE_BATCH);
    assert_int_equal(told.last.num_usage, 1);
    assert_int_equal(told.last.usage[0].in, 10);
    assert_int_equal(told.last.usage[0].cached, 4);
    show("{\"id\":\"batch_2\",\"status\":\"failed\"}", &ours);
    assert_int_equal(told.last.source, WIRE_USAGE_NONE);
}

static void an_end_of_long_ago_is_no_news(void **state)
{
    char text[128];

    (void)state;
    snprintf(text, sizeof(text), "{\"id\":\"batch_1\",\"status\":\"expired\",\"expired_at\":%lld}",
             (long long)time(NULL) - REPORTED_LATE_S - 60);
    show(text, &ours);
    assert_int_equal(told.num, 0);
}

static void what_was_not_made_here_is_not_told(void **state)
{
    (void)state;
    show("{\"id\":\"batch_1\",\"status\":\"completed\"}", NULL);
    show("{\"status\":\"completed\"}", &ours);
    assert_int_equal(told.num, 0);
    w->upkeep.rt.journal = NULL; /* and without a journal nothing is */
    show("{\"id\":\"batch_1\",\"status\":\"completed\"}", &ours);
    assert_int_equal(told.num, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_status_is_told_once),
        TEST(an_end_is_told_again_when_its_output_has_come),
        TEST(what_a_batch_says_that_it_used_goes_along),
        TEST(an_end_of_long_ago_is_no_news),
        TEST(what_was_not_made_here_is_not_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
