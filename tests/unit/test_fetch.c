/* Get, delete and cancel: whom they ask, what they make of the answers, and what is left when the
 * client leaves or memory is short. */
#define ACCOUNTS 2
#include "handler_world.h"

#include "read/fetch.h"

#define FILE_0 "{\"id\":\"file-x\",\"object\":\"file\",\"bytes\":7,\"purpose\":\"batch\"}"
#define NONE   "{\"error\":{\"message\":\"No such File object: file-x\"}}"

static int set_up(void **state)
{
    (void)state;
    world_begin();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_leaves();
    world_end();
    return 0;
}

static void ask(const char *method, const char *path)
{
    fetch_start(client_asks(method, path));
}

/* The id of an object at that account, with a tag that says so. */
static const char *tagged(enum id_kind kind, const char *native, uint32_t account)
{
    static char id[IDS_MAX + 1];
    struct id_tag tag = {.deployment = runtime_fingerprint(&rt, account)};

    assert_true(ids_mint_text(&seals, kind, native, strlen(native), &tag, id) > 0);
    return id;
}

static const char *path_of(const char *native, uint32_t account)
{
    static char path[IDS_MAX + 16];

    snprintf(path, sizeof(path), "/v1/files/%s", tagged(ID_FILE, native, account));
    return path;
}

/* --- where --- */

static void an_id_with_a_tag_is_asked_about_at_its_account_alone(void **state)
{
    (void)state;
    ask("GET", path_of("file-x", 1));
    assert_int_equal(in_flight(), 1);
    assert_non_null(open_call(1));
    assert_string_equal(open_call(1)->method, "GET");
    assert_non_null(strstr(open_call(1)->url, "/files/file-x"));
    assert_not_answered();
    answer(1, 200, FILE_0);
    assert_answered(200, "\"bytes\":7");
}

static void a_get_without_a_tag_is_answered_with_what_the_search_found(void **state)
{
    (void)state;
    ask("GET", "/v1/files/file-x");
    assert_int_equal(in_flight(), 2);
    answer(0, 404, NONE);
    assert_not_answered();
    answer(1, 200, FILE_0);
    assert_answered(200, "\"id\":\"file-x\"");
    assert_int_equal(num_calls, 2);
}

static void a_delete_without_a_tag_goes_to_the_account_that_has_the_file(void **state)
{
    (void)state;
    ask("DELETE", "/v1/files/file-x");
    assert_string_equal(open_call(0)->method, "GET");
    answer(0, 404, NONE);
    answer(1, 200, FILE_0);
    assert_int_equal(in_flight(), 1);
    assert_string_equal(open_call(1)->method, "DELETE");
    answer(1, 200, "{\"id\":\"file-x\",\"deleted\":true}");
    assert_answered(200, "\"deleted\":true");
}

static void what_no_account_has_is_one_404_that_names_no_account(void **state)
{
    (void)state;
    ask("GET", "/v1/files/file-x");
    answer(0, 404, NONE);
    answer(1, 404, "{}");
    assert_answered(404, "No such File object: file-x");
    assert_int_equal(client.relay->deployment, MODEL_NO_INDEX);
}

static void a_forged_tag_is_a_404_without_any_call(void **state)
{
    char path[IDS_MAX + 16];

    (void)state;
    snprintf(path, sizeof(path), "%s", path_of("file-x", 1));
    path[strlen(path) - 1] ^= 1;
    ask("GET", path);
    assert_answered(404, "No such File object");
    assert_int_equal(num_calls, 0);
}

/* --- again --- */

static void a_fault_is_asked_about_again_and_the_third_one_is_told(void **state)
{
    (void)state;
    ask("GET", path_of("file-x", 0));
    for (int i = 0; i < 2; i++) {
        answer(0, 500, "{}");
        assert_not_answered();
        assert_int_equal(num_timers(), 1);
        run_timers();
    }
    answer(0, 500, "{\"error\":{\"message\":\"the third\"}}");
    assert_answered(500, "the third");
    assert_int_equal(client.relay->deployment, 0);
}

static void a_delete_whose_answer_was_lost_is_done_when_the_file_is_gone(void **state)
{
    (void)state;
    ask("DELETE", path_of("file-x", 0));
    answer(0, 0, NULL); /* no answer in time */
    run_timers();
    assert_string_equal(open_call(0)->method, "DELETE");
    answer(0, 404, NONE);
    assert_answered(200, "\"deleted\":true");
}

static void a_delete_of_what_was_never_there_is_a_404(void **state)
{
    (void)state;
    ask("DELETE", path_of("file-x", 0));
    answer(0, 404, NONE);
    assert_answered(404, "No such File object");
}

static void a_cancel_whose_answer_was_lost_and_that_conflicts_looks_at_the_batch(void **state)
{
    char path[IDS_MAX + 32];

    (void)state;
    snprintf(path, sizeof(path), "/v1/batches/%s/cancel", tagged(ID_BATCH, "batch_x", 0));
    ask("POST", path);
    assert_string_equal(open_call(0)->method, "POST");
    answer(0, 0, NULL);
    run_timers();
    answer(0, 409, "{\"error\":{\"message\":\"is cancelled\"}}");
    assert_string_equal(open_call(0)->method, "GET");
    answer(0, 200, "{\"id\":\"batch_x\",\"object\":\"batch\",\"status\":\"completed\"}");
    assert_answered(409, "is cancelled");
}

static void a_cancel_that_was_done_before_its_answer_was_lost_is_answered_as_done(void **state)
{
    char path[IDS_MAX + 32];

    (void)state;
    snprintf(path, sizeof(path), "/v1/batches/%s/cancel", tagged(ID_BATCH, "batch_x", 0));
    ask("POST", path);
    answer(0, 500, "{}");
    run_timers();
    answer(0, 409, "{}");
    answer(0, 200, "{\"id\":\"batch_x\",\"object\":\"batch\",\"status\":\"cancelling\"}");
    assert_answered(200, "\"status\":\"cancelling\"");
}

/* --- the client leaves --- */

static void a_client_that_leaves_while_its_file_is_looked_for_leaves_nothing(void **state)
{
    (void)state;
    ask("DELETE", "/v1/files/file-x");
    assert_int_equal(in_flight(), 2);
    client_leaves();
    assert_int_equal(in_flight(), 0);
    assert_int_equal(rt.operations, 0);
}

static void a_client_that_leaves_during_a_get_ends_its_call(void **state)
{
    (void)state;
    ask("GET", path_of("file-x", 0));
    client_leaves();
    assert_int_equal(in_flight(), 0);
}

static void a_client_that_leaves_during_the_pause_before_another_try_ends_it(void **state)
{
    (void)state;
    ask("DELETE", path_of("file-x", 0));
    answer(0, 500, "{}");
    assert_int_equal(num_timers(), 1);
    client_leaves();
    assert_int_equal(num_timers(), 0);
}

static void a_delete_that_is_under_way_goes_on_without_its_client(void **state)
{
    (void)state;
    ask("DELETE", path_of("file-x", 0));
    client_leaves();
    assert_int_equal(in_flight(), 1);
    assert_int_equal(rt.operations, 1); /* a worker that drains waits for it */
    answer(0, 500, "{}");
    assert_int_equal(rt.operations, 0);
    assert_int_equal(num_timers(), 0); /* nobody waits: it is not asked again */
}

/* --- out of memory --- */

static void a_call_that_cannot_begin_is_a_500(void **state)
{
    (void)state;
    calls_are_refused = true;
    ask("GET", path_of("file-x", 0));
    assert_answered(500, "\"out_of_memory\"");
}

static void without_memory_for_the_pause_the_fault_is_told_at_once(void **state)
{
    (void)state;
    timers_are_refused = true;
    ask("GET", path_of("file-x", 0));
    answer(0, 500, "{\"error\":{\"message\":\"the first\"}}");
    assert_answered(500, "the first");
}

static void what_is_no_json_is_a_bad_answer(void **state)
{
    (void)state;
    ask("GET", path_of("file-x", 0));
    answer(0, 200, "<html>");
    assert_answered(502, "\"bad_upstream_answer\"");
}

/* --- ?expand=events --- */

#define BATCH_X "{\"id\":\"batch_x\",\"object\":\"batch\",\"status\":\"in_progress\"}"

static void poll(const char *query)
{
    char path[IDS_MAX + 64];

    snprintf(path, sizeof(path), "/v1/batches/%s%s", tagged(ID_BATCH, "batch_x", 0), query);
    ask("GET", path);
    answer(0, 200, BATCH_X);
}

/* "": there is none */
static const char *partial(void)
{
    static char text[256];
    ssize_t at =
        h2o_find_header_by_str(&client.req.res.headers, H2O_STRLIT("x-tranche-partial"), -1);
    h2o_iovec_t value =
        at == -1 ? h2o_iovec_init(H2O_STRLIT("")) : client.req.res.headers.entries[at].value;

    snprintf(text, sizeof(text), "%.*s", (int)value.len, value.base);
    return text;
}

static void an_ordinary_poll_has_no_events(void **state)
{
    static const char *const queries[] = {"", "?expand=other", "?expand=eventss", "?strict=true"};

    (void)state;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        poll(queries[i]);
        assert_answered(200, "\"status\":\"in_progress\"");
        assert_null(strstr(client.body, "events"));
        assert_string_equal(partial(), "");
        client_leaves();
    }
}

static void without_a_journal_the_batch_says_what_it_lacks(void **state)
{
    static const char *const queries[] = {"?expand=events", "?expand%5B%5D=events",
                                          "?expand=usage,events"};

    (void)state;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        poll(queries[i]);
        assert_answered(200, "\"events\":null");
        assert_string_equal(partial(), "events: no journal is kept (tranche_settings.database)");
        client_leaves();
    }
}

static void who_wants_all_or_nothing_gets_a_503_that_names_the_setting(void **state)
{
    (void)state;
    poll("?expand=events&strict=true");
    assert_answered(503, "tranche_settings.database");
    assert_answered(503, "\"no_db_connection\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_id_with_a_tag_is_asked_about_at_its_account_alone),
        TEST(a_get_without_a_tag_is_answered_with_what_the_search_found),
        TEST(a_delete_without_a_tag_goes_to_the_account_that_has_the_file),
        TEST(what_no_account_has_is_one_404_that_names_no_account),
        TEST(a_forged_tag_is_a_404_without_any_call),
        TEST(a_fault_is_asked_about_again_and_the_third_one_is_told),
        TEST(a_delete_whose_answer_was_lost_is_done_when_the_file_is_gone),
        TEST(a_delete_of_what_was_never_there_is_a_404),
        TEST(a_cancel_whose_answer_was_lost_and_that_conflicts_looks_at_the_batch),
        TEST(a_cancel_that_was_done_before_its_answer_was_lost_is_answered_as_done),
        TEST(a_client_that_leaves_while_its_file_is_looked_for_leaves_nothing),
        TEST(a_client_that_leaves_during_a_get_ends_its_call),
        TEST(a_client_that_leaves_during_the_pause_before_another_try_ends_it),
        TEST(a_delete_that_is_under_way_goes_on_without_its_client),
        TEST(a_call_that_cannot_begin_is_a_500),
        TEST(without_memory_for_the_pause_the_fault_is_told_at_once),
        TEST(what_is_no_json_is_a_bad_answer),
        TEST(an_ordinary_poll_has_no_events),
        TEST(without_a_journal_the_batch_says_what_it_lacks),
        TEST(who_wants_all_or_nothing_gets_a_503_that_names_the_setting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
