/* What the keeper makes of usage and of intents: prices, and what may be spent. */
#include "store_world.h"

#include "server/keeper/pricing.h"

#define TEST(name) cmocka_unit_test(name)

static struct price_book *book_of(void)
{
    static struct price_deployment deployments[2];
    static struct price_book book = {.deployments = deployments, .num_deployments = 2};

    for (size_t i = 0; i < 2; i++) {
        deployments[i] = (struct price_deployment){.fingerprint = (uint32_t)i + 1};
        price_list_init(&deployments[i].own);
    }
    deployments[0].own.of[PRICE_INPUT_BATCHES] = 1000000000; /* a dollar a million */
    deployments[0].own.of[PRICE_CACHED_BATCHES] = 100000000;
    deployments[0].own.of[PRICE_OUTPUT_BATCHES] = INT64_C(4000000000);
    return &book;
}

static void usage_is_priced_at_its_deployment(void **state)
{
    struct wire_seen seen = {.deployment = 1, .source = WIRE_USAGE_OUTPUT, .num_usage = 2};
    struct pricing *pricing;
    struct priced priced;

    (void)state;
    seen.usage[0] = (struct wire_usage){.model = "gpt-4o",
                                        .ok = 3,
                                        .bad = 1,
                                        .in = 1000,
                                        .cached = 800,
                                        .out = 200,
                                        .reasoning = 150,
                                        .unmeasured = 1};
    seen.usage[1] = (struct wire_usage){.model = "", .bad = 2};
    assert_int_equal(pricing_new(book_of(), NULL, &pricing), 0);
    pricing_usage(pricing, &seen, &priced);
    assert_int_equal(priced.num, 2);
    assert_string_equal(priced.rows[0].model, "gpt-4o");
    assert_int_equal(priced.rows[0].nano, 200000 + 80000 + 800000);
    assert_string_equal(priced.rows[0].price, "deployment");
    assert_string_equal(priced.rows[0].source, "output");
    assert_int_equal(priced.rows[0].tok_reason, 150);
    assert_int_equal(priced.rows[0].unpriced, 1);
    assert_int_equal(priced.rows[1].nano, 0);
    assert_int_equal(priced.rows[1].unpriced, 0);
    assert_null(priced.rows[1].price);
    pricing_free(pricing);
}

static void what_has_no_price_is_counted_and_unpriced(void **state)
{
    struct wire_seen seen = {.deployment = 2, .source = WIRE_USAGE_BATCH, .num_usage = 1};
    struct pricing *pricing;
    struct priced priced;

    (void)state;
    seen.usage[0] = (struct wire_usage){.model = "unheard-of", .ok = 3, .in = 1000, .out = 200};
    assert_int_equal(pricing_new(book_of(), NULL, &pricing), 0);
    pricing_usage(pricing, &seen, &priced);
    assert_int_equal(priced.rows[0].tok_in, 1000);
    assert_int_equal(priced.rows[0].nano, 0);
    assert_int_equal(priced.rows[0].unpriced, 3);
    assert_null(priced.rows[0].price);
    assert_string_equal(priced.rows[0].source, "batch");
    pricing_free(pricing);
}

static struct wire_intent intent_of(uint32_t deployment)
{
    struct wire_intent intent = {
        .kind = WIRE_CREATE, .deployment = deployment, .input = 1000, .output = 50};

    for (int i = 0; i < WIRE_SCOPES; i++)
        intent.scopes[i].nano = WIRE_UNLIMITED;
    intent.scopes[WIRE_KEY].name = 9;
    intent.scopes[WIRE_KEY].nano = 5;
    intent.who.group = "g";
    intent.who.owner = 5;
    return intent;
}

static void what_a_create_may_cost_is_reckoned_where_a_budget_asks(void **state)
{
    struct wire_intent intent = intent_of(1);
    struct pricing *pricing;

    (void)state;
    assert_int_equal(pricing_new(book_of(), NULL, &pricing), 0);
    assert_int_equal(pricing_intent(pricing, &intent, 1), 1000 * 1000 + 50 * 4000);
    intent.output = 0; /* nothing is known of such batches */
    assert_int_equal(pricing_intent(pricing, &intent, 1), 1000 * 1000 + 1000 * 4000);
    intent.scopes[WIRE_KEY].nano = WIRE_UNLIMITED;
    assert_int_equal(pricing_intent(pricing, &intent, 1), 0);
    intent.scopes[WIRE_TEAM].name = 8;
    intent.scopes[WIRE_TEAM].nano = 0;
    assert_int_equal(pricing_intent(pricing, &intent, 1), 1000 * 1000 + 1000 * 4000);
    intent.deployment = 2; /* no price */
    assert_int_equal(pricing_intent(pricing, &intent, 1), 0);
    pricing_free(pricing);
}

static void what_a_team_has_left_is_shown(void **state)
{
    struct wire_intent intent = intent_of(1);
    struct series_sample sample;
    struct pricing *pricing;
    struct series *series;
    unsigned seen = 0;

    (void)state;
    intent.scopes[WIRE_TEAM].name = 8;
    intent.scopes[WIRE_TEAM].nano = 1000;
    intent.who.team_id = "red";
    assert_int_equal(pricing_new(book_of(), NULL, &pricing), 0);
    assert_int_equal(series_new(10, &series), 0);
    pricing_sum(pricing, series, 8, 1, 2); /* nobody has asked for it yet */
    (void)pricing_intent(pricing, &intent, 1);
    pricing_sum(pricing, series, 8, 300, 450);
    pricing_sum(pricing, series, 9, 1, 2);
    for (uint32_t i = 0; i < series_room(series); i++) {
        if (!series_read(series, i, &sample))
            continue;
        seen++;
        assert_int_equal(sample.family, SERIES_BUDGET);
        assert_string_equal(sample.labels[0], "red");
        assert_int_equal(sample.numbers[0], 250);
    }
    assert_int_equal(seen, 1);
    pricing_sum(pricing, series, 8, 900, 450);
    for (uint32_t i = 0; i < series_room(series); i++)
        if (series_read(series, i, &sample))
            assert_int_equal(sample.numbers[0], 0);
    series_free(series);
    pricing_free(pricing);
}

static void add_usage(const struct world *w, const char *batch, int owner, int in, int out, int seq)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "insert into @usage(batch_id, part, model, owner, deployment, model_group, ok, bad,"
             " tok_in, tok_cached, tok_out, tok_reason, nano, source, created, finished, seq)"
             " values('%s', 0, '', %d, 1, 'g', 1, 0, %d, 0, %d, 0, 0, 'batch', 1, 1, %d)",
             batch, owner, in, out, seq);
    world_do(w, sql);
}

static void output_that_is_not_bounded_is_expected_as_it_was_before(void **state)
{
    static struct world w;
    struct wire_intent intent = intent_of(1);
    struct pricing *pricing;
    uint64_t gen;

    (void)state;
    world_init(&w, NULL);
    OK(&w, store_generation(w.store, &gen));
    add_usage(&w, "a", 7, 100, 50, 1);
    intent.output = 0;
    assert_int_equal(pricing_new(book_of(), w.store, &pricing), 0);
    /* nobody's own batches yet: those of the group */
    assert_int_equal(pricing_intent(pricing, &intent, 1), 1000 * 1000 + 500 * 4000);
    add_usage(&w, "b", 5, 100, 200, 2);
    assert_int_equal(pricing_intent(pricing, &intent, 60000), 1000 * 1000 + 500 * 4000);
    assert_int_equal(pricing_intent(pricing, &intent, 60001), 1000 * 1000 + 2000 * 4000);
    pricing_free(pricing);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(usage_is_priced_at_its_deployment),
        TEST(what_has_no_price_is_counted_and_unpriced),
        TEST(what_a_create_may_cost_is_reckoned_where_a_budget_asks),
        TEST(what_a_team_has_left_is_shown),
        TEST(output_that_is_not_bounded_is_expected_as_it_was_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
