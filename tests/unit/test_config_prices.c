/* What batches cost, as an operator writes it. */
#include "config_world.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#define ROWS                                                                                       \
    "model_list:\n"                                                                                \
    "- {model_name: own, litellm_params: {model: azure/a, api_base: 'https://a.test', api_key: "   \
    "k,\n"                                                                                         \
    "     input_cost_per_token: 2e-06, output_cost_per_token: 0.000008},\n"                        \
    "   model_info: {input_cost_per_token_batches: 1.0e-6, base_model: azure/gpt-4o}}\n"           \
    "- {model_name: mapped, litellm_params: {model: azure/b, api_base: 'https://a.test', "         \
    "api_key: k,\n"                                                                                \
    "     base_model: gpt-4o}}\n"
#define JOURNAL "tranche_settings:\n  database: sqlite:///tmp/x.db\n"

static const char map_text[] = "{\"gpt-4o\": {\"input_cost_per_token\": 5e-06, "
                               "\"output_cost_per_token\": 2e-05}, \"odd\": "
                               "{\"input_cost_per_token\": \"x\"}}";

static struct price_found price_of(const struct loaded *l, const char *group)
{
    const struct model_list *models = &l->config->models;
    struct price_found found = {0};

    for (size_t i = 0; i < models->num_deployments; i++)
        if (models->deployments[i].group != NULL &&
            strcmp(models->deployments[i].group, group) == 0)
            (void)price_book_find(&l->config->prices, models->deployments[i].fingerprint, "",
                                  &found);
    return found;
}

static void a_row_has_the_prices_of_its_model_info_then_of_its_params(void **state)
{
    struct loaded *l = *state;
    struct price_found found;

    load(l, ROWS JOURNAL);
    assert_int_equal(l->rc, 0);
    found = price_of(l, "own");
    assert_string_equal(found.from, "deployment");
    assert_int_equal(found.price.base.in, 1000000000);
    assert_int_equal(found.price.base.out, INT64_C(4000000000));
    assert_string_equal(price_of(l, "mapped").from, "");
    assert_null(strstr(strbuf_str(&l->text), "cost_per_token"));
}

static void what_a_row_lacks_is_in_the_price_map(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;
    struct price_found found;

    write_file(l, "b.yaml", map_text);
    load(l, ROWS JOURNAL "  price_map: b.yaml\n");
    assert_int_equal(l->rc, 0);
    found = price_of(l, "mapped");
    assert_int_equal(found.price.base.in, 2500000000);
    assert_non_null(strstr(found.from, ": gpt-4o"));
    assert_told(l, "price_map: = ");
    assert_told(l, "prices of 1 models");
    assert_told(l, "1 prices in it cannot be read and count as not given; the first: odd: "
                   "input_cost_per_token: \"x\" is no price");
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "price_map"));
    assert_non_null(
        strstr(strbuf_str(&text),
               "in batches a million tokens: $1 input, $1 cached, $4 output (deployment)"));
    assert_non_null(strstr(strbuf_str(&text), "$2.5 input, $2.5 cached, $10 output (price_map "));
    strbuf_deinit(&text);
}

static void a_price_that_is_none_is_told_with_its_place(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: m, litellm_params: {model: azure/a, api_base: 'https://a.test', "
            "api_key: k},\n"
            "   model_info: {input_cost_per_token_batches: cheap}}\n" JOURNAL);
    assert_told(l, "model_list[0].model_info.input_cost_per_token_batches: got \"cheap\", wanted "
                   "dollars for one token, such as 1.25e-06");
}

static void a_map_that_is_none_is_an_error_with_its_place(void **state)
{
    struct loaded *l = *state;

    load(l, ROWS JOURNAL "  price_map: nowhere.yaml\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "nowhere.yaml cannot be read: No such file");
    write_file(l, "b.yaml", "{\"a\":\n 1,}");
    load(l, ROWS JOURNAL "  price_map: b.yaml\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "b.yaml:2:");
    write_file(l, "b.yaml", "{}");
    load(l, ROWS JOURNAL "  price_map: b.yaml\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "has no price of any model");
}

static void without_a_journal_prices_are_told_to_have_no_effect(void **state)
{
    struct loaded *l = *state;

    write_file(l, "b.yaml", map_text);
    load(l, ROWS "tranche_settings: {price_map: b.yaml}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "price_map: ignored: prices are the journal's");
    assert_told(l, "litellm_params.input_cost_per_token: ignored: prices are the journal's");
}

static void the_status_of_a_spent_budget_and_the_series_are_settings(void **state)
{
    struct loaded *l = *state;

    load(l, ROWS JOURNAL);
    assert_int_equal(l->config->budget_exceeded_status, 422);
    assert_int_equal(l->config->metrics_max_series, 1000);
    load(l, ROWS JOURNAL "  budget_exceeded_status: 402\n  metrics_max_series: 7\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->budget_exceeded_status, 402);
    assert_int_equal(l->config->metrics_max_series, 7);
    load(l, ROWS JOURNAL "  budget_exceeded_status: 418\n");
    assert_told(l, "budget_exceeded_status: got \"418\", wanted 400, 402, 422 or 429");
}

#define HASH(d) "'sha256:" d d d d d d d d "'"
#define HASH_A  HASH("aaaaaaaa")
#define HASH_B  HASH("bbbbbbbb")
#define COUNTED ROWS JOURNAL "  keys:\n"

static void a_budget_is_dollars_for_a_period_where_there_is_a_journal(void **state)
{
    struct loaded *l = *state;

    load(l,
         COUNTED "  - {hash: " HASH_A ", models: ['*'], max_budget: 10.5, budget_duration: 30d}\n"
                 "  - {hash: " HASH_B ", models: ['*'], max_budget: 1e-3}\n"
                 "  teams: [{team_id: t, max_budget: 0, budget_duration: 1h}, {team_id: u}]\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->keys.keys[0].limits.budget_nano, INT64_C(10500000000));
    assert_int_equal(l->config->keys.keys[0].limits.budget_period_s, 30 * 86400);
    assert_int_equal(l->config->keys.keys[1].limits.budget_nano, 1000000);
    assert_int_equal(l->config->keys.keys[1].limits.budget_period_s, 0);
    assert_int_equal(l->config->keys.teams[0].limits.budget_nano, 0);
    assert_int_equal(l->config->keys.teams[0].limits.budget_period_s, 3600);
    assert_true(l->config->keys.teams[1].limits.budget_nano == RIGHTS_UNLIMITED);
    expect_error(l, COUNTED "  - {hash: " HASH_A ", models: ['*'], max_budget: -1}\n",
                 "max_budget: got \"-1\", wanted dollars, such as 250 or 0.5");
    expect_error(l, COUNTED "  - {hash: " HASH_A ", models: ['*'], max_budget: []}\n",
                 "max_budget: got a list, wanted dollars");
    expect_error(
        l, COUNTED "  - {hash: " HASH_A ", models: ['*'], max_budget: 1, budget_duration: soon}\n",
        "budget_duration: got \"soon\", wanted a duration");
    load(l, COUNTED "  - {hash: " HASH_A ", models: ['*'], budget_duration: 1d}\n");
    assert_told(l, "budget_duration: without effect: give max_budget");
    expect_error(l, COUNTED "  - {hash: " HASH_A ", admin: true, max_budget: 5}\n",
                 "max_budget: batches of an admin key are the operator's");
}

static void tags_of_usage_are_keys_of_metadata(void **state)
{
    struct loaded *l = *state;

    load(l, ROWS JOURNAL "  usage_tags: [project, run]\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_usage_tags, 2);
    assert_string_equal(l->config->usage_tags[1], "run");
    load(l, ROWS JOURNAL "  usage_tags: ['']\n");
    assert_told(l, "usage_tags[0]: got \"\", wanted the key of a metadata pair");
    load(l, ROWS "tranche_settings: {usage_tags: [project]}\n");
    assert_told(l, "usage_tags: ignored: prices are the journal's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_has_the_prices_of_its_model_info_then_of_its_params),
        TEST(what_a_row_lacks_is_in_the_price_map),
        TEST(a_price_that_is_none_is_told_with_its_place),
        TEST(a_map_that_is_none_is_an_error_with_its_place),
        TEST(without_a_journal_prices_are_told_to_have_no_effect),
        TEST(the_status_of_a_spent_budget_and_the_series_are_settings),
        TEST(tags_of_usage_are_keys_of_metadata),
        TEST(a_budget_is_dollars_for_a_period_where_there_is_a_journal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
