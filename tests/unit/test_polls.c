/* What a batch is taken for, by what it was seen as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "objects/polls.h"

#define NOW     UINT64_C(100000000)
#define ACCOUNT 7

static struct config config;
static struct inherited inherited = {.config = &config};
static struct json_doc *doc;

static int set_up(void **state)
{
    (void)state;
    config.poll_cache_ms = 0;
    doc = json_doc_new();
    return doc == NULL || poll_cache_new(64, &inherited.poll_cache) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_doc_free(doc);
    poll_cache_free(inherited.poll_cache);
    return 0;
}

static struct json *batch(const char *status, const char *word)
{
    struct json_error error;
    char text[200];

    snprintf(text, sizeof(text), "{\"id\":\"b1\",\"status\":\"%s\",\"word\":\"%s\"}", status, word);
    return json_parse(doc, text, strlen(text), &error);
}

static const char *word_of(const struct json *object)
{
    return json_get_str(object, "word");
}

/* What one that is seen at that time is taken for. */
static const char *believed(const char *status, const char *word, uint64_t now_ms)
{
    return word_of(polls_believe(&inherited, ACCOUNT, doc, batch(status, word), now_ms,
                                 polls_moment(&inherited)));
}

static void one_that_runs_is_what_it_looks_like(void **state)
{
    (void)state;
    assert_string_equal(believed("validating", "1", NOW), "1");
    assert_string_equal(believed("in_progress", "2", NOW + 1), "2");
    assert_string_equal(believed("cancelling", "3", NOW + 2), "3");
    assert_string_equal(believed("something_new", "4", NOW + 3), "4");
}

static void each_way_to_end_is_for_ever(void **state)
{
    static const char *const ends[] = {"completed", "failed", "expired", "cancelled", "Completed"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        assert_string_equal(believed(ends[i], "end", NOW), "end");
        assert_string_equal(believed("in_progress", "again", NOW + 1), "end");
        assert_true(polls_is_outdated(&inherited, ACCOUNT, batch("finalizing", ""), NOW + 2));
        assert_false(polls_is_outdated(&inherited, ACCOUNT, batch(ends[i], ""), NOW + 2));
        assert_false(polls_is_outdated(&inherited, ACCOUNT + 1, batch("finalizing", ""), NOW + 2));
        assert_string_equal(believed("in_progress", "again", NOW + UINT32_MAX), "end");
        tear_down(state);
        assert_int_equal(set_up(state), 0);
    }
}

static void what_an_ended_one_got_later_is_kept_within_a_minute(void **state)
{
    (void)state;
    (void)believed("completed", "at first", NOW);
    assert_string_equal(believed("completed", "with usage", NOW + 61000), "with usage");
    assert_string_equal(believed("in_progress", "again", NOW + 61001), "with usage");
}

static void two_batches_of_one_key_are_told_apart_by_their_ids(void **state)
{
    static const char other[] = "{\"id\":\"b2\",\"status\":\"completed\",\"word\":\"other\"}";
    uint64_t key = poll_cache_key(ACCOUNT, "b1", 2);

    (void)state;
    poll_cache_put(inherited.poll_cache, key, true, other, strlen(other), NOW, 0);
    assert_string_equal(believed("in_progress", "mine", NOW), "mine");
    config.poll_cache_ms = 1000;
    assert_null(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW));
}

static void only_who_wants_it_is_answered_from_memory_and_only_for_so_long(void **state)
{
    (void)state;
    (void)believed("completed", "end", NOW);
    assert_null(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW));
    config.poll_cache_ms = 1000;
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW + 999)), "end");
    assert_null(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW + 1000));
    assert_null(polls_recall(&inherited, ACCOUNT, "b3", doc, NOW));
    assert_null(polls_recall(&inherited, ACCOUNT + 1, "b1", doc, NOW));
}

static void a_running_one_is_kept_where_polls_are_answered_from_memory(void **state)
{
    (void)state;
    (void)believed("in_progress", "not kept", NOW);
    config.poll_cache_ms = 1000;
    assert_null(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW));
    (void)believed("in_progress", "10 of 20", NOW);
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW)), "10 of 20");
    (void)believed("cancelling", "15 of 20", NOW + 1);
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW + 1)), "15 of 20");
    (void)believed("cancelled", "end", NOW + 2);
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW + 2)), "end");
}

static void what_was_asked_for_before_a_cancel_is_not_remembered_behind_it(void **state)
{
    uint64_t before = polls_moment(&inherited);
    struct json *late = batch("in_progress", "late");

    (void)state;
    config.poll_cache_ms = 1000;
    (void)believed("in_progress", "it runs", NOW);
    polls_changed(&inherited, ACCOUNT, "b1");
    assert_null(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW));
    (void)believed("cancelling", "it is cancelled", NOW);
    /* Who asked then is told what it was then, and nobody else is. */
    assert_ptr_equal(polls_believe(&inherited, ACCOUNT, doc, late, NOW, before), late);
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW)),
                        "it is cancelled");
    (void)polls_believe(&inherited, ACCOUNT, doc, batch("completed", "done before"), NOW, before);
    assert_string_equal(word_of(polls_recall(&inherited, ACCOUNT, "b1", doc, NOW)), "done before");
}

static void what_has_no_id_is_what_it_is(void **state)
{
    struct json_error error;
    struct json *odd = json_parse(doc, "{\"status\":\"completed\"}", 22, &error);

    (void)state;
    assert_ptr_equal(polls_believe(&inherited, ACCOUNT, doc, odd, NOW, 0), odd);
    assert_false(polls_is_outdated(&inherited, ACCOUNT, odd, NOW));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_runs_is_what_it_looks_like),
        TEST(each_way_to_end_is_for_ever),
        TEST(what_an_ended_one_got_later_is_kept_within_a_minute),
        TEST(two_batches_of_one_key_are_told_apart_by_their_ids),
        TEST(only_who_wants_it_is_answered_from_memory_and_only_for_so_long),
        TEST(a_running_one_is_kept_where_polls_are_answered_from_memory),
        TEST(what_was_asked_for_before_a_cancel_is_not_remembered_behind_it),
        TEST(what_has_no_id_is_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
