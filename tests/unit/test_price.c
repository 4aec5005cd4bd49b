/* What tokens cost: hand-made cases. Against Python's decimal numbers: tests/price. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "price/budget.h"
#include "price/price.h"
#include "price/usage_count.h"

#define TEST(name) cmocka_unit_test(name)

static int64_t parsed(const char *text)
{
    int64_t nano = -1;

    if (price_parse(text, strlen(text), &nano) != 0)
        fail_msg("\"%s\" is refused", text);
    return nano;
}

static void a_price_is_read_whatever_way_it_is_written(void **state)
{
    static const struct {
        const char *text;
        int64_t nano;
    } cases[] = {{"0", 0},
                 {"0.0", 0},
                 {"0e9", 0},
                 {"1e-06", 1000000000},
                 {"1E-06", 1000000000},
                 {"1.0e-6", 1000000000},
                 {"0.000001", 1000000000},
                 {"+0.000001", 1000000000},
                 {".000001", 1000000000},
                 {"10.e-7", 1000000000},
                 {"1.25e-06", 1250000000},
                 {"7.5e-08", 75000000},
                 {"3e-08", 30000000},
                 {"1.23456789e-6", 1234567890},
                 {"0.000000000000000000001e15", 1000000000},
                 {"1000000000000000000000e-27", 1000000000},
                 {"1e-15", 1},
                 {"1", INT64_C(1000000000000000)},
                 {"1e3", PRICE_MOST},
                 {"1000.0000000000000004", PRICE_MOST}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (parsed(cases[i].text) != cases[i].nano)
            fail_msg("\"%s\" is %lld", cases[i].text, (long long)parsed(cases[i].text));
}

static void a_text_that_is_finer_than_a_price_is_rounded_half_up(void **state)
{
    (void)state;
    assert_int_equal(parsed("5e-16"), 1);
    assert_int_equal(parsed("4.9999999999999999999999999999e-16"), 0);
    assert_int_equal(parsed("1.5e-15"), 2);
    assert_int_equal(parsed("1.49e-15"), 1);
    assert_int_equal(parsed("2.5e-15"), 3);
    assert_int_equal(parsed("9.5e-15"), 10);
    assert_int_equal(parsed("1e-99999999999999999999"), 0);
    assert_int_equal(parsed("0.00000000000000049999999999999999999999999999999999"), 0);
}

static void what_is_no_price_is_refused(void **state)
{
    static const char *const wrong[] = {"",      " 1",    "1 ",   "-1",    "-0",  "1e",   "1e+",
                                        "e5",    ".",     "1..2", "1.2.3", "abc", "0x10", "1e-6x",
                                        "1_000", "1e2e3", "inf",  "nan",   "NaN", "$1",   "1,5"};
    static const char *const large[] = {"1000.1", "1e4", "999999999999999999999", "1e99999999999",
                                        "18446744073709551616"};
    int64_t nano;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (price_parse(wrong[i], strlen(wrong[i]), &nano) != ERR_SYNTAX)
            fail_msg("\"%s\" is taken", wrong[i]);
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        if (price_parse(large[i], strlen(large[i]), &nano) != ERR_LIMIT)
            fail_msg("\"%s\" is no limit", large[i]);
}

static void dollars_of_a_budget_are_read_to_the_nano(void **state)
{
    int64_t nano;
    char text[PRICE_DOLLARS_BYTES];

    (void)state;
    assert_int_equal(price_parse_dollars("250", 3, &nano), 0);
    assert_int_equal(nano, INT64_C(250000000000));
    assert_int_equal(price_parse_dollars("0.5", 3, &nano), 0);
    assert_int_equal(nano, 500000000);
    assert_int_equal(price_parse_dollars("1e9", 3, &nano), 0);
    assert_int_equal(nano, INT64_C(1000000000000000000));
    assert_int_equal(price_parse_dollars("1e10", 4, &nano), ERR_LIMIT);
    assert_int_equal(price_parse_dollars("-5", 2, &nano), ERR_SYNTAX);
    assert_string_equal(price_dollars(340, text), "0.000000340");
    assert_string_equal(price_dollars(INT64_C(12345678901234), text), "12345.678901234");
    assert_string_equal(price_dollars(INT64_MAX, text), "9223372036.854775807");
}

/* ---- which price counts ---- */

static struct price price_of(const char *const *pairs)
{
    struct price_list list;
    struct price price;

    price_list_init(&list);
    assert_true(price_list_is_empty(&list));
    for (; *pairs != NULL; pairs += 2) {
        enum price_name name = price_name_find(pairs[0], strlen(pairs[0]));

        assert_int_not_equal(name, PRICE_NAMES);
        list.of[name] = parsed(pairs[1]);
    }
    assert_true(price_of_list(&list, &price));
    return price;
}

#define PRICE(...) price_of((const char *const[]){__VA_ARGS__, NULL})

static void a_batch_pays_the_batch_price_else_half_of_the_ordinary_one(void **state)
{
    struct price p =
        PRICE("input_cost_per_token", "2.5e-06", "input_cost_per_token_batches", "1e-06",
              "output_cost_per_token", "1e-05", "cache_read_input_token_cost", "1.25e-06");

    (void)state;
    assert_int_equal(p.base.in, 1000000000);
    assert_int_equal(p.base.out, 5000000000);
    assert_int_equal(p.base.cached, 625000000);
    assert_false(p.tiered);
    p = PRICE("input_cost_per_token", "3e-15", "output_cost_per_token", "1e-15");
    assert_int_equal(p.base.in, 2); /* half of an odd price is rounded half up */
    assert_int_equal(p.base.out, 1);
}

static void a_cached_price_that_nobody_gives_is_the_inputs(void **state)
{
    struct price p = PRICE("input_cost_per_token_batches", "1e-06");

    (void)state;
    assert_int_equal(p.base.cached, p.base.in);
    assert_int_equal(p.base.out, PRICE_NONE);
}

static void without_a_price_of_input_there_is_none(void **state)
{
    struct price_list list;
    struct price price;

    (void)state;
    price_list_init(&list);
    list.of[PRICE_OUTPUT] = 5;
    assert_false(price_of_list(&list, &price));
}

static void long_requests_have_prices_of_their_own(void **state)
{
    struct price p = PRICE("input_cost_per_token_batches", "1e-06", "output_cost_per_token_batches",
                           "4e-06", "input_cost_per_token_above_272k_tokens_batches", "2e-06",
                           "output_cost_per_token_above_272k_tokens", "1.2e-05");

    (void)state;
    assert_true(p.tiered);
    assert_int_equal(p.above.in, 2000000000);
    assert_int_equal(p.above.cached, 2000000000);
    assert_int_equal(p.above.out, 6000000000);
    p = PRICE("input_cost_per_token_batches", "1e-06", "cache_read_input_token_cost_batches",
              "1e-07", "input_cost_per_token_above_272k_tokens_batches", "2e-06",
              "cache_read_input_token_cost_above_272k_tokens_batches", "2e-07");
    assert_int_equal(p.base.cached, 100000000);
    assert_int_equal(p.above.cached, 200000000);
}

static void all_names_of_the_map_are_known(void **state)
{
    (void)state;
    for (int i = 0; i < PRICE_NAMES; i++)
        assert_int_equal(
            price_name_find(price_name((enum price_name)i), strlen(price_name((enum price_name)i))),
            i);
    assert_int_equal(price_name_find("input_cost_per_second", 21), PRICE_NAMES);
    assert_int_equal(price_name_find("input_cost_per_token_", 21), PRICE_NAMES);
}

/* ---- what it comes to ---- */

static int64_t cost(const struct price *price, struct price_tokens tokens)
{
    int64_t nano = -1;

    assert_true(price_cost(price, &tokens, &nano));
    return nano;
}

/* (journal statement B2) */
static void cached_tokens_pay_their_own_price_and_reasoning_is_not_added(void **state)
{
    struct price p =
        PRICE("input_cost_per_token_batches", "1e-06", "cache_read_input_token_cost_batches",
              "1e-07", "output_cost_per_token_batches", "4e-06");

    (void)state;
    /* 200 at 1 dollar a million, 800 at 0.1, 200 at 4; the 150 of reasoning are of the 200 */
    assert_int_equal(cost(&p, (struct price_tokens){.in = 1000, .cached = 800, .out = 200}),
                     200000 + 80000 + 800000);
}

static void a_sum_is_rounded_once(void **state)
{
    struct price p =
        PRICE("input_cost_per_token_batches", "1e-15", "output_cost_per_token_batches", "1e-15");

    (void)state; /* a millionth of a nano-dollar a token */
    assert_int_equal(cost(&p, (struct price_tokens){.in = 499999}), 0);
    assert_int_equal(cost(&p, (struct price_tokens){.in = 500000}), 1);
    assert_int_equal(cost(&p, (struct price_tokens){.in = 250000, .out = 250000}), 1);
    assert_int_equal(cost(&p, (struct price_tokens){.in = 1499999}), 1);
    assert_int_equal(cost(&p, (struct price_tokens){.in = 1500000}), 2);
}

static void no_number_of_tokens_is_too_large_to_be_summed(void **state)
{
    struct price p =
        PRICE("input_cost_per_token_batches", "1000", "output_cost_per_token_batches", "1000");
    struct price_tokens sum = {.in = UINT64_MAX - 1, .out = 7};
    const struct price_tokens more = {.in = 5, .out = 7};

    (void)state;
    assert_int_equal(cost(&p, (struct price_tokens){.in = UINT64_MAX,
                                                    .cached = UINT64_MAX,
                                                    .out = UINT64_MAX,
                                                    .long_in = UINT64_MAX,
                                                    .long_out = UINT64_MAX}),
                     INT64_MAX);
    p = PRICE("input_cost_per_token_batches", "1.25e-06");
    assert_int_equal(
        cost(&p, (struct price_tokens){.in = UINT64_C(4000000000000)}),
        INT64_C(5000000000000000)); /* four million million tokens, five million dollars */
    price_tokens_add(&sum, &more);
    assert_true(sum.in == UINT64_MAX && sum.out == 14);
}

static void long_requests_are_billed_apart(void **state)
{
    struct price p = PRICE("input_cost_per_token_batches", "1e-06", "output_cost_per_token_batches",
                           "4e-06", "input_cost_per_token_above_272k_tokens_batches", "2e-06",
                           "output_cost_per_token_above_272k_tokens_batches", "6e-06");
    const struct price_tokens tokens = {
        .in = 401000, .cached = 0, .out = 300, .long_in = 400000, .long_out = 100};

    (void)state;
    assert_int_equal(cost(&p, tokens), 1000 * 1000 + 400000 * 2000 + 200 * 4000 + 100 * 6000);
}

static void parts_that_are_larger_than_the_whole_bill_the_whole(void **state)
{
    struct price p =
        PRICE("input_cost_per_token_batches", "1e-06", "cache_read_input_token_cost_batches",
              "5e-07", "output_cost_per_token_batches", "4e-06");

    (void)state;
    assert_int_equal(cost(&p, (struct price_tokens){.in = 10, .cached = 99}), 10 * 500);
    assert_int_equal(
        cost(&p, (struct price_tokens){.in = 10, .out = 5, .long_in = 99, .long_out = 99}),
        10 * 1000 + 5 * 4000);
    /* all of the long ones' tokens were cached, and more are than the others have */
    assert_int_equal(
        cost(&p, (struct price_tokens){.in = 10, .cached = 10, .long_in = 8, .long_cached = 1}),
        10 * 500);
}

static void output_without_a_price_cannot_be_billed(void **state)
{
    struct price p = PRICE("input_cost_per_token_batches", "1e-06");
    const struct price_tokens none = {.in = 1000}, some = {.in = 1000, .out = 1},
                              others = {.in = 9, .out = 1, .long_in = 9, .long_out = 1};
    int64_t nano;

    (void)state;
    assert_true(price_cost(&p, &none, &nano));
    assert_int_equal(nano, 1000000);
    assert_false(price_cost(&p, &some, &nano));
    assert_false(price_cost(&p, &others, &nano));
    assert_int_equal(nano, 0);
}

/* ---- budgets ---- */

static void a_budgets_period_is_read_as_litellm_writes_it(void **state)
{
    static const struct {
        const char *text;
        uint32_t seconds;
    } cases[] = {{"30s", 30},   {"5m", 300},     {"30min", 1800},  {"1h", 3600},
                 {"1d", 86400}, {"2w", 1209600}, {"1mo", 2592000}, {"12mo", 31104000}};
    static const char *const wrong[] = {
        "", "30", "d", "0d", "-1d", "1y", "1.5d", " 1d", "1d ", "99999999999999999999d", "9999mo"};
    uint32_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(budget_period_read(cases[i].text, &seconds));
        assert_int_equal(seconds, cases[i].seconds);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (budget_period_read(wrong[i], &seconds))
            fail_msg("\"%s\" is taken", wrong[i]);
}

/* (journal statement B10) */
static void what_a_batch_may_cost_is_its_input_and_its_most_output(void **state)
{
    struct price p = PRICE("input_cost_per_token_batches", "1e-06", "output_cost_per_token_batches",
                           "4e-06", "cache_read_input_token_cost_batches", "1e-09");
    struct budget_job job = {.input = 1000, .output = 50, .seen_in = 100, .seen_out = 30};

    (void)state;
    assert_int_equal(budget_estimate(&p, &job), 1000 * 1000 + 50 * 4000);
    job.output = 0; /* as such batches had it: 30 for 100 */
    assert_int_equal(budget_estimate(&p, &job), 1000 * 1000 + 300 * 4000);
    job.seen_in = 0; /* none was seen yet: one for one */
    assert_int_equal(budget_estimate(&p, &job), 1000 * 1000 + 1000 * 4000);
    job = (struct budget_job){.input = 10, .seen_in = 3, .seen_out = 1};
    assert_int_equal(budget_estimate(&p, &job), 10 * 1000 + 4 * 4000);
    job = (struct budget_job){.input = UINT64_MAX, .seen_in = 1, .seen_out = UINT64_MAX};
    assert_int_equal(budget_estimate(&p, &job), INT64_MAX);
    p = PRICE("input_cost_per_token_batches", "1e-06");
    job = (struct budget_job){.input = 1000};
    assert_int_equal(budget_estimate(&p, &job), 1000 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_price_is_read_whatever_way_it_is_written),
        TEST(a_text_that_is_finer_than_a_price_is_rounded_half_up),
        TEST(what_is_no_price_is_refused),
        TEST(dollars_of_a_budget_are_read_to_the_nano),
        TEST(a_batch_pays_the_batch_price_else_half_of_the_ordinary_one),
        TEST(a_cached_price_that_nobody_gives_is_the_inputs),
        TEST(without_a_price_of_input_there_is_none),
        TEST(long_requests_have_prices_of_their_own),
        TEST(all_names_of_the_map_are_known),
        TEST(cached_tokens_pay_their_own_price_and_reasoning_is_not_added),
        TEST(a_sum_is_rounded_once),
        TEST(no_number_of_tokens_is_too_large_to_be_summed),
        TEST(long_requests_are_billed_apart),
        TEST(parts_that_are_larger_than_the_whole_bill_the_whole),
        TEST(output_without_a_price_cannot_be_billed),
        TEST(a_budgets_period_is_read_as_litellm_writes_it),
        TEST(what_a_batch_may_cost_is_its_input_and_its_most_output),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
