/* How many files an account holds, and how often that is asked. */
#include "upkeep_world.h"

#include "upkeep/file_count.h"

static void add_files(unsigned account, unsigned num, const char *purpose, const char *expires)
{
    for (unsigned i = 0; i < num; i++) {
        struct thing *t = &w->things[w->num_things++];

        assert_true(w->num_things < MAX_THINGS);
        *t = (struct thing){
            .file = true, .account = account, .purpose = purpose, .expires = expires};
        snprintf(t->id, sizeof(t->id), "file-%u-%zu-", account, w->num_things);
    }
}

static void begin(uint64_t ms)
{
    assert_int_equal(file_count_start(&w->upkeep), 0);
    pass(&w->loop, ms);
}

static uint64_t held(uint32_t deployment, enum slots_kind kind)
{
    return slots_held(w->slots, w->columns[deployment], kind);
}

static struct file_count_tally tally_of(const char *text)
{
    struct file_count_tally tally = {0};
    struct json_doc *doc = json_doc_new();
    struct json_error error;

    file_count_take(&tally, json_parse(doc, text, strlen(text), &error));
    json_doc_free(doc);
    return tally;
}

static void only_input_files_are_counted(void **state)
{
    static const char *const others[] = {
        "{\"id\":\"f\",\"purpose\":\"batch_output\"}", "{\"id\":\"f\",\"purpose\":\"fine-tune\"}",
        "{\"id\":\"f\"}", "{\"id\":\"f\",\"purpose\":\"batch\",\"status\":\"Deleted\"}", "[]"};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct file_count_tally tally = tally_of(others[i]);

        assert_int_equal(tally.held[SLOTS_LASTING] + tally.held[SLOTS_EXPIRING], 0);
    }
}

static void a_file_expires_when_it_says_when(void **state)
{
    static const char *const expiring[] = {"1900000000", "\"2030-01-01T00:00:00Z\""};
    static const char *const lasting[] = {"null", "0", "\"\""};
    char text[128];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), "{\"purpose\":\"batch\",\"expires_at\":%s}", expiring[i]);
        assert_int_equal(tally_of(text).held[SLOTS_EXPIRING], 1);
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "{\"purpose\":\"batch\",\"expires_at\":%s}", lasting[i]);
        assert_int_equal(tally_of(text).held[SLOTS_LASTING], 1);
    }
    assert_int_equal(tally_of("{\"purpose\":\"batch\"}").held[SLOTS_LASTING], 1);
}

static void near_a_limit_it_is_counted_more_often(void **state)
{
    static const uint64_t limits[SLOTS_KINDS] = {500, 10000}, none[SLOTS_KINDS] = {0};
    struct file_count_tally tally = {.held = {450, 9000}};

    (void)state;
    assert_int_equal(file_count_next_ms(&tally, limits, 600000), 600000);
    tally.held[SLOTS_LASTING] = 451;
    assert_int_equal(file_count_next_ms(&tally, limits, 600000), 60000);
    assert_int_equal(file_count_next_ms(&tally, none, 600000), 600000);
    tally = (struct file_count_tally){.held = {0, 9001}};
    assert_int_equal(file_count_next_ms(&tally, limits, 600000), 60000);
}

static void the_number_stands_for_all_deployments_of_the_account(void **state)
{
    (void)state;
    add_files(0, 120, "batch", NULL);
    add_files(0, 50, "batch_output", NULL);
    add_files(0, 30, "batch", "1900000000");
    begin(SECOND);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(held(i, SLOTS_LASTING), 120);
        assert_int_equal(held(i, SLOTS_EXPIRING), 30);
    }
}

static void two_keys_of_one_resource_are_counted_once_for_both(void **state)
{
    (void)state;
    add_files(1, 7, "batch", NULL);
    begin(SECOND);
    assert_int_equal(held(2, SLOTS_LASTING), 7);
    assert_int_equal(held(4, SLOTS_LASTING), 7);
    assert_int_equal(calls_to(1) + calls_to(3), 1);
}

static void an_account_without_a_limit_is_not_counted(void **state)
{
    (void)state;
    begin(SECOND);
    assert_int_equal(calls_to(2), 0);
    assert_true(held(3, SLOTS_LASTING) == UINT64_MAX);
    w->config.limits.max_files[PROVIDER_AZURE] = 0;
    w->config.limits.max_expiring_files[PROVIDER_AZURE] = 0;
    w->num_calls = 0;
    w->loop.num = 0;
    begin(SECOND);
    assert_int_equal(w->num_calls, 0);
}

static void it_is_counted_every_ten_minutes(void **state)
{
    (void)state;
    begin(9 * MINUTE);
    assert_int_equal(calls_to(0), 1);
    pass(&w->loop, 3 * MINUTE);
    assert_int_equal(calls_to(0), 2);
}

static void a_nearly_full_account_is_counted_every_minute(void **state)
{
    (void)state;
    add_files(0, 480, "batch", NULL);
    begin(2 * MINUTE);
    assert_int_equal(calls_to(0), 2);
    w->num_things = 100;
    pass(&w->loop, 2 * MINUTE);
    assert_int_equal(held(0, SLOTS_LASTING), 100);
    w->num_calls = 0;
    pass(&w->loop, 8 * MINUTE);
    assert_in_range(calls_to(0), 0, 1);
}

static void a_count_that_fails_leaves_the_last_one_and_is_tried_again(void **state)
{
    (void)state;
    add_files(0, 3, "batch", NULL);
    w->fail_status = 500;
    w->fail_times = 2; /* both resources */
    begin(SECOND);
    assert_true(held(0, SLOTS_LASTING) == UINT64_MAX);
    pass(&w->loop, 90 * SECOND);
    assert_int_equal(held(0, SLOTS_LASTING), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_input_files_are_counted),
        cmocka_unit_test(a_file_expires_when_it_says_when),
        cmocka_unit_test(near_a_limit_it_is_counted_more_often),
        T(the_number_stands_for_all_deployments_of_the_account),
        T(two_keys_of_one_resource_are_counted_once_for_both),
        T(an_account_without_a_limit_is_not_counted),
        T(it_is_counted_every_ten_minutes),
        T(a_nearly_full_account_is_counted_every_minute),
        T(a_count_that_fails_leaves_the_last_one_and_is_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
