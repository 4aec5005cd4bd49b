/* What a file's prompts are taken to count, and what they count for certain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/features.h"

static void each_kind_counts_by_its_own_rate(void **state)
{
    const struct features all = {{[FEATURE_TEXT] = 1001,
                                  [FEATURE_IMAGES] = FEATURES_IMAGE + 1,
                                  [FEATURE_AUDIO] = 3,
                                  [FEATURE_FILES] = 2,
                                  [FEATURE_IDS] = 7}};
    const double rates[NUM_FEATURES] = {1, 2, 3, 4, 5};

    (void)state;
    assert_int_equal(features_tokens(&all, NULL), 251 + 850 + 6 + 32 + 7);
    assert_int_equal(features_tokens(&all, rates), 1001 + 20 + 9 + 8 + 35);
}

static void only_text_images_and_ids_are_certain_to_some_degree(void **state)
{
    const struct features all = {{[FEATURE_TEXT] = 1600,
                                  [FEATURE_IMAGES] = 2 * FEATURES_IMAGE,
                                  [FEATURE_AUDIO] = 1000,
                                  [FEATURE_FILES] = 1000,
                                  [FEATURE_IDS] = 7}};

    (void)state;
    assert_int_equal(features_least(&all), 12 + 2 + 7);
}

static void what_is_least_is_never_more_than_what_can_be_learned(void **state)
{
    (void)state;
    for (int f = 0; f < NUM_FEATURES; f++) {
        const struct feature_rate *rate = feature_rate((enum feature)f);

        assert_true(rate->least <= rate->prior && rate->prior > 0);
        if (rate->max > 0)
            assert_true(rate->least <= rate->min && rate->min < rate->prior &&
                        rate->prior < rate->max);
    }
}

static void nine_tenths_are_nearly_alone(void **state)
{
    const struct features text = {{[FEATURE_TEXT] = 3600, [FEATURE_IDS] = 100}};
    const struct features mixed = {{[FEATURE_TEXT] = 3600, [FEATURE_IDS] = 101}};
    const struct features nothing = {{0}};
    double rest = -1;

    (void)state;
    assert_int_equal(features_dominant(&mixed, (const double[]){0.25, 85, 2, 16, 1}, &rest),
                     NUM_FEATURES);
    assert_int_equal(features_dominant(&nothing, (const double[]){1, 1, 1, 1, 1}, &rest),
                     NUM_FEATURES);
    assert_true(rest == -1);
    assert_int_equal(features_dominant(&text, (const double[]){0.25, 85, 2, 16, 1}, &rest),
                     FEATURE_TEXT);
    assert_true(rest == 100);
}

static void a_few_images_of_an_unknown_price_keep_text_from_being_learned(void **state)
{
    const struct features mostly_text = {{[FEATURE_TEXT] = 20000, [FEATURE_IMAGES] = 1}};
    double rest;

    (void)state;
    assert_int_equal(features_dominant(&mostly_text, (const double[]){0.25, 85, 2, 16, 1}, &rest),
                     NUM_FEATURES); /* gpt-4o-mini counts 2,833 for that image */
}

static void a_size_that_no_file_has_does_not_overflow(void **state)
{
    const struct features most = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

    (void)state;
    assert_true(features_tokens(&most, NULL) == UINT64_C(1) << 60);
    assert_true(features_least(&most) == UINT64_C(1) << 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_counts_by_its_own_rate),
        cmocka_unit_test(only_text_images_and_ids_are_certain_to_some_degree),
        cmocka_unit_test(what_is_least_is_never_more_than_what_can_be_learned),
        cmocka_unit_test(nine_tenths_are_nearly_alone),
        cmocka_unit_test(a_few_images_of_an_unknown_price_keep_text_from_being_learned),
        cmocka_unit_test(a_size_that_no_file_has_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
