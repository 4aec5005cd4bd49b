/* fallback: which groups a request goes through when one after the other refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/fallback.h"
#include "common/model.h"

#define MAX_CHAIN 101

/* Groups are letters here, "*" is any: "ab" as a rule says that a falls back to b. */
static void expect_at_most(const char *const *texts, uint32_t max_fallbacks, char group,
                           const char *wanted)
{
    struct fallback_rule rules[16];
    uint32_t to[16][16], chain[MAX_CHAIN + 1], num;
    size_t n = 0;
    char got[MAX_CHAIN + 1];

    for (; texts[n] != NULL; n++) {
        rules[n].group = texts[n][0] == '*' ? MODEL_NO_INDEX : (uint32_t)texts[n][0];
        rules[n].num_to = (uint32_t)strlen(texts[n]) - 1;
        rules[n].to = to[n];
        for (uint32_t i = 0; i < rules[n].num_to; i++)
            to[n][i] = (uint32_t)texts[n][1 + i];
    }
    memset(chain, 0xee, sizeof(chain));
    num = fallback_chain(rules, n, (uint32_t)group, max_fallbacks, chain);
    assert_in_range(num, 1, max_fallbacks + 1);
    assert_int_equal(chain[max_fallbacks + 1], 0xeeeeeeee);
    for (uint32_t i = 0; i < num; i++)
        got[i] = (char)chain[i];
    got[num] = '\0';
    assert_string_equal(got, wanted);
}

#define expect(group, wanted, ...)                                                                 \
    expect_at_most((const char *const[]){__VA_ARGS__, NULL}, 5, group, wanted)

static void without_a_rule_a_group_stands_alone(void **state)
{
    (void)state;
    expect_at_most((const char *const[]){NULL}, 5, 'a', "a");
    expect('a', "a", "bc");
}

static void groups_are_tried_in_the_order_of_the_rule(void **state)
{
    (void)state;
    expect('a', "acb", "acb");
}

static void a_group_brings_its_own_fallbacks_before_the_next_one(void **state)
{
    (void)state;
    expect('a', "abdec", "abc", "bd", "de");
}

static void what_holds_for_any_group_comes_last(void **state)
{
    (void)state;
    expect('a', "abcx", "*x", "abc");
    expect('z', "zx", "*x", "abc");
    expect('z', "zyx", "*y", "*x");
    expect('z', "zabc", "*a", "abc");
}

static void no_group_comes_twice_and_circles_end(void **state)
{
    (void)state;
    expect('a', "ab", "ab", "ba");
    expect('a', "a", "a");
    expect('a', "ab", "aabab");
    expect('x', "xa", "*xa");
    expect('a', "abc", "abc", "bc", "ca");
}

static void the_first_of_two_rules_for_a_group_counts(void **state)
{
    (void)state;
    expect('a', "ab", "ab", "ac");
}

static void a_chain_ends_after_max_fallbacks_however_they_were_found(void **state)
{
    static const char *const wide[] = {"abcdefgh", "*xyz", NULL};
    static const char *const deep[] = {"ab", "bc", "cd", "de", "ef", "fg", "*x", NULL};

    (void)state;
    expect_at_most(wide, 5, 'a', "abcdef");
    expect_at_most(deep, 5, 'a', "abcdef");
    expect_at_most(deep, 100, 'a', "abcdefgx");
    expect_at_most(wide, 1, 'a', "ab");
    expect_at_most(wide, 0, 'a', "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rule_a_group_stands_alone),
        cmocka_unit_test(groups_are_tried_in_the_order_of_the_rule),
        cmocka_unit_test(a_group_brings_its_own_fallbacks_before_the_next_one),
        cmocka_unit_test(what_holds_for_any_group_comes_last),
        cmocka_unit_test(no_group_comes_twice_and_circles_end),
        cmocka_unit_test(the_first_of_two_rules_for_a_group_counts),
        cmocka_unit_test(a_chain_ends_after_max_fallbacks_however_they_were_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
