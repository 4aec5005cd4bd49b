/* The name that the lines of a file get at a deployment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "calls/send_file.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* nobody writes it */

static struct model_account account;
static struct model_deployment rows[] = {
    {.group = TEXT("gpt-4o"), .upstream_model = TEXT("gpt-4o-eu"), .fingerprint = 1},
    {.group = TEXT("openai/*"), .upstream_model = TEXT("*"), .fingerprint = 2},
    {.group = TEXT("team/*"), .upstream_model = TEXT("ft:*:acme"), .fingerprint = 3},
    {.upstream_model = TEXT(""), .fingerprint = 4},
};
static struct runtime worker;
static char buf[64];

static int setup(void **state)
{
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = 4};
    struct table *table;

    (void)state;
    assert_int_equal(table_build(&list, 1, &table), 0);
    worker.table = table;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_free((struct table *)(uintptr_t)worker.table);
    return 0;
}

static const char *name(uint32_t deployment, const char *pattern, const char *model)
{
    return send_file_name(&worker, deployment, pattern, model, buf, sizeof(buf));
}

static void a_deployment_with_a_name_gives_it_to_every_line(void **state)
{
    (void)state;
    assert_string_equal(name(0, "gpt-4o", "gpt-4o"), "gpt-4o-eu");
    assert_string_equal(name(0, "gpt-4o", NULL), "gpt-4o-eu");
    assert_string_equal(name(0, "*", "anything"), "gpt-4o-eu");
}

static void what_the_star_of_the_group_took_takes_the_place_of_the_deployments(void **state)
{
    (void)state;
    assert_string_equal(name(1, "openai/*", "openai/gpt-4o"), "gpt-4o");
    assert_string_equal(name(2, "team/*", "team/gpt-4o"), "ft:gpt-4o:acme");
    assert_string_equal(name(2, "*-batch", "gpt-4o-batch"), "ft:gpt-4o:acme");
    assert_string_equal(name(1, "openai/*", "openai/"), "");
}

static void lines_that_came_in_otherwise_stay_as_they_are(void **state)
{
    (void)state;
    assert_null(name(1, "openai/*", "azure/gpt-4o"));
    assert_null(name(1, "openai/*", "openai"));
    assert_null(name(1, "openai/*", NULL));
    assert_null(name(1, "gpt-4o", "gpt-4o")); /* no star, so nothing to fill in */
    assert_null(name(1, "a*a", "a"));         /* head and tail may not overlap */
    assert_null(name(3, "gpt-4o", "gpt-4o")); /* an account as a whole */
}

static void a_name_that_is_too_long_is_not_cut(void **state)
{
    char model[128] = "openai/";

    (void)state;
    memset(model + 7, 'x', 100);
    assert_null(name(1, "openai/*", model));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment_with_a_name_gives_it_to_every_line),
        cmocka_unit_test(what_the_star_of_the_group_took_takes_the_place_of_the_deployments),
        cmocka_unit_test(lines_that_came_in_otherwise_stay_as_they_are),
        cmocka_unit_test(a_name_that_is_too_long_is_not_cut),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
