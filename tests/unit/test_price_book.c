/* The price map, and whose prices count at a deployment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "price/price_book.h"

#define TEST(name) cmocka_unit_test(name)

static const char map_text[] =
    "{\"sample_spec\":{\"input_cost_per_token\":0.5},"
    "\"azure/gpt-4o\":{\"input_cost_per_token_batches\":1.25e-06,\"mode\":\"chat\","
    "\"output_cost_per_token_batches\":5e-06},"
    "\"gpt-4o\":{\"input_cost_per_token\":2e-06,\"output_cost_per_token\":8e-06},"
    "\"gpt-4o-2024\":{\"input_cost_per_token\":\"3e-06\"},"
    "\"broken\":{\"input_cost_per_token\":\"free\",\"output_cost_per_token\":true},"
    "\"long\":{\"input_cost_per_token\":2e-06,\"input_cost_per_token_above_272k_tokens\":4e-06},"
    "\"image\":{\"input_cost_per_pixel\":1}, \"odd\": 5}";

static struct price_map *parse(const char *text, struct price_map_faults *faults)
{
    struct price_map *map;
    struct json_error error;

    assert_int_equal(price_map_parse(text, strlen(text), &map, faults, &error), 0);
    return map;
}

static void a_map_has_what_has_a_price(void **state)
{
    struct price_map_faults faults;
    struct price_map *map = parse(map_text, &faults);

    (void)state;
    assert_int_equal(price_map_size(map), 4);
    assert_non_null(price_map_find(map, "gpt-4o"));
    assert_int_equal(price_map_find(map, "gpt-4o")->of[PRICE_INPUT], 2000000000);
    assert_int_equal(price_map_find(map, "gpt-4o-2024")->of[PRICE_INPUT], 3000000000);
    assert_null(price_map_find(map, "sample_spec"));
    assert_null(price_map_find(map, "image"));
    assert_null(price_map_find(map, "gpt"));
    assert_null(price_map_find(NULL, "gpt-4o"));
    assert_int_equal(faults.num, 2);
    assert_string_equal(faults.first, "broken: input_cost_per_token: \"free\" is no price");
    price_map_free(map);
}

static void what_is_no_map_is_refused_with_its_place(void **state)
{
    static const char *const wrong[] = {"", "[]", "{\"a\":\n{]", "{} {}", "5"};
    struct price_map_faults faults;
    struct price_map *map;
    struct json_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(price_map_parse(wrong[i], strlen(wrong[i]), &map, &faults, &error),
                         ERR_SYNTAX);
        assert_true(error.line >= 1 && error.message[0] != '\0');
    }
    map = parse("{}", &faults);
    assert_int_equal(price_map_size(map), 0);
    assert_null(price_map_find(map, "a"));
    price_map_free(map);
}

static struct price_deployment deployment(uint32_t fingerprint, bool is_azure, const char *base,
                                          const char *upstream, const char *litellm)
{
    struct price_deployment d = {.fingerprint = fingerprint, .is_azure = is_azure};

    price_list_init(&d.own);
    d.base_model = base != NULL ? strdup(base) : NULL;
    d.upstream_model = strdup(upstream);
    d.litellm_model = strdup(litellm);
    return d;
}

static int set_up(void **state)
{
    static struct price_book book;
    struct price_map_faults faults;

    book.map = parse(map_text, &faults);
    price_map_set_date(book.map, INT64_C(1793491200000)); /* 2026-11-01 */
    book.deployments = calloc(4, sizeof(*book.deployments));
    assert_non_null(book.deployments);
    book.deployments[0] = deployment(1, true, "azure/gpt-4o", "my-eu", "azure/my-eu");
    book.deployments[1] = deployment(2, true, NULL, "my-us", "azure/my-us");
    book.deployments[2] = deployment(3, false, NULL, "gpt-4o", "openai/gpt-4o");
    book.deployments[3] = deployment(4, false, "gpt-4o", "gpt-4o", "gpt-4o");
    book.deployments[3].own.of[PRICE_INPUT_BATCHES] = 77;
    book.num_deployments = 4;
    *state = &book;
    return 0;
}

static int tear_down(void **state)
{
    price_book_deinit(*state);
    return 0;
}

static int64_t input_price(const struct price_book *book, uint32_t fingerprint, const char *model,
                           const char *from)
{
    struct price_found found;

    if (!price_book_find(book, fingerprint, model, &found)) {
        assert_string_equal(found.from, "");
        return PRICE_NONE;
    }
    assert_string_equal(found.from, from);
    return found.price.base.in;
}

/* (journal statement B3) */
static void prices_of_the_row_win_over_the_map(void **state)
{
    assert_int_equal(input_price(*state, 4, "gpt-4o-2024", "deployment"), 77);
}

static void a_base_model_wins_over_the_model_that_answered(void **state)
{
    assert_int_equal(input_price(*state, 1, "gpt-4o-2024", "price_map 2026-11-01: azure/gpt-4o"),
                     1250000000);
}

static void the_model_that_answered_is_looked_up_at_azure_under_its_name_there_first(void **state)
{
    assert_int_equal(input_price(*state, 2, "gpt-4o", "price_map 2026-11-01: azure/gpt-4o"),
                     1250000000);
    assert_int_equal(input_price(*state, 2, "gpt-4o-2024", "price_map 2026-11-01: gpt-4o-2024"),
                     1500000000);
    assert_int_equal(input_price(*state, 3, "gpt-4o-2024", "price_map 2026-11-01: gpt-4o-2024"),
                     1500000000);
    assert_int_equal(input_price(*state, 3, "unheard-of", "price_map 2026-11-01: gpt-4o"),
                     1000000000);
    assert_int_equal(input_price(*state, 3, "", "price_map 2026-11-01: gpt-4o"), 1000000000);
}

static void what_nobody_knows_has_no_price(void **state)
{
    assert_int_equal(input_price(*state, 2, "unheard-of", ""), PRICE_NONE);
    assert_int_equal(input_price(*state, 2, "", ""), PRICE_NONE);
}

/* Its batches still run when it was taken out of the configuration. */
static void a_deployment_that_is_gone_is_priced_by_the_model_that_answered(void **state)
{
    assert_int_equal(input_price(*state, 99, "gpt-4o", "price_map 2026-11-01: gpt-4o"), 1000000000);
    assert_int_equal(input_price(*state, 99, "", ""), PRICE_NONE);
}

static void it_is_told_whether_long_requests_cost_something_else(void **state)
{
    assert_true(price_book_is_tiered(*state, 3, "long"));
    assert_false(price_book_is_tiered(*state, 3, "gpt-4o"));
    assert_false(price_book_is_tiered(*state, 2, "unheard-of"));
}

static void an_empty_book_knows_nothing(void **state)
{
    static const struct price_book empty;

    (void)state;
    assert_int_equal(input_price(&empty, 1, "gpt-4o", ""), PRICE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_map_has_what_has_a_price),
        TEST(what_is_no_map_is_refused_with_its_place),
        TEST(prices_of_the_row_win_over_the_map),
        TEST(a_base_model_wins_over_the_model_that_answered),
        TEST(the_model_that_answered_is_looked_up_at_azure_under_its_name_there_first),
        TEST(what_nobody_knows_has_no_price),
        TEST(a_deployment_that_is_gone_is_priced_by_the_model_that_answered),
        TEST(it_is_told_whether_long_requests_cost_something_else),
        TEST(an_empty_book_knows_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
