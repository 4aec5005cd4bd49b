/* What a tenant's list leaves open is closed when the providers have no file of that time that is
 * not known. */
#include "upkeep_world.h"

#include "balancer/registry.h"
#include "upkeep/gaps.h"

static struct registry *registry;

static int set_up(void **state)
{
    (void)world_begin(state);
    assert_int_equal(registry_new(100, time(NULL), &registry), 0);
    w->inherited.registry = registry;
    return secret_set(&w->config.database, "x", 1);
}

static int tear_down(void **state)
{
    registry_free(registry);
    secret_clear(&w->config.database);
    return world_end(state);
}

static void add_file(unsigned account, const char *id, const char *purpose, uint64_t age_s)
{
    struct thing *t = &w->things[w->num_things++];

    *t = (struct thing){.file = true, .account = account, .purpose = purpose, .age_s = age_s};
    snprintf(t->id, sizeof(t->id), "%s", id);
}

static void know(unsigned account, const char *id)
{
    struct registry_row row = {
        .kind = ID_FILE, .account = w->upkeep.accounts[account].fingerprint, .owner = 7};

    snprintf(row.native, sizeof(row.native), "%s", id);
    assert_int_equal(registry_put(registry, &row, time(NULL)), 0);
}

/* @return what the lists leave open: an hour, two hours ago */
static struct registry_gaps open_gap(void)
{
    struct registry_gaps gaps = {.lost_from_unix_s = time(NULL) - 7200,
                                 .lost_until_unix_s = time(NULL) - 3600};

    registry_set_gaps(registry, &gaps);
    return gaps;
}

static void begin(void)
{
    assert_int_equal(gaps_start(&w->upkeep), 0);
    pass(&w->loop, GAPS_FIRST_MS + 3 * SECOND);
}

static void what_counts_as_missing(void **state)
{
    struct registry_gaps gaps = {
        .since_unix_s = 100, .lost_from_unix_s = 200, .lost_until_unix_s = 300};

    (void)state;
    assert_true(gaps_cover(&gaps, 0)); /* it does not say when */
    assert_true(gaps_cover(&gaps, 99));
    assert_false(gaps_cover(&gaps, 100));
    assert_false(gaps_cover(&gaps, 199));
    assert_true(gaps_cover(&gaps, 200) && gaps_cover(&gaps, 300));
    assert_false(gaps_cover(&gaps, 301));
    assert_true(gaps_count_purpose("batch") && gaps_count_purpose(NULL) && gaps_count_purpose(""));
    assert_true(gaps_count_purpose("assistants"));
    assert_false(gaps_count_purpose("batch_output") || gaps_count_purpose("assistants_output") ||
                 gaps_count_purpose("fine-tune-results"));
}

static void a_gap_of_which_all_files_are_known_is_none(void **state)
{
    struct registry_gaps gaps = open_gap();

    (void)state;
    add_file(0, "file-a", "batch", 5000);
    add_file(2, "file-b", "batch", 100);         /* later */
    add_file(2, "file-c", "batch_output", 5000); /* the provider's own */
    add_file(2, "file-d", "batch", 90000);       /* earlier */
    know(0, "file-a");
    begin();
    assert_true(registry_gaps_are_closed(registry, &gaps));
}

static void a_file_that_is_nobodys_keeps_it_open_until_it_is_deleted(void **state)
{
    struct registry_gaps gaps = open_gap();

    (void)state;
    add_file(2, "file-b", "batch", 5000);
    begin();
    assert_false(registry_gaps_are_closed(registry, &gaps));
    pass(&w->loop, 5 * 60 * MINUTE);
    assert_true(lists_of(2) > 8 && lists_of(2) < 20); /* less and less often */
    w->num_things = 0;
    pass(&w->loop, GAPS_SELDOM_MS + MINUTE);
    assert_true(registry_gaps_are_closed(registry, &gaps));
}

static void an_account_that_does_not_answer_closes_nothing(void **state)
{
    struct registry_gaps gaps = open_gap();

    (void)state;
    w->fail_status = 500;
    w->fail_times = 100;
    begin();
    assert_false(registry_gaps_are_closed(registry, &gaps));
    w->fail_times = 0;
    pass(&w->loop, 5 * MINUTE);
    assert_true(registry_gaps_are_closed(registry, &gaps));
}

static void without_a_gap_nobody_is_asked(void **state)
{
    (void)state;
    registry_set_gaps(registry, &(struct registry_gaps){0});
    begin();
    pass(&w->loop, MINUTE);
    assert_int_equal(w->num_calls, 0);
}

static void without_a_database_nobody_is_asked(void **state)
{
    (void)state;
    secret_clear(&w->config.database);
    (void)open_gap();
    begin();
    pass(&w->loop, MINUTE);
    assert_int_equal(w->num_calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_counts_as_missing),
        TEST(a_gap_of_which_all_files_are_known_is_none),
        TEST(a_file_that_is_nobodys_keeps_it_open_until_it_is_deleted),
        TEST(an_account_that_does_not_answer_closes_nothing),
        TEST(without_a_gap_nobody_is_asked),
        TEST(without_a_database_nobody_is_asked),
    };

    return cmocka_run_group_tests_name("gaps", tests, NULL, NULL);
}
