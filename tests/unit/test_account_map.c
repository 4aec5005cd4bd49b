/* What ids say of accounts: which are one place, which are two, and how a place is found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/account_map.h"
#include "common/ids.h"

#define MAX 8

static struct model_account accounts[MAX];
static struct model_deployment rows[MAX];
static struct model_list list;
static struct account_map map;

static int set_up(void **state)
{
    (void)state;
    memset(accounts, 0, sizeof(accounts));
    memset(rows, 0, sizeof(rows));
    list = (struct model_list){.accounts = accounts, .deployments = rows};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    account_map_deinit(&map);
    return 0;
}

static void add_account(enum provider provider, const char *base)
{
    accounts[list.num_accounts++] =
        (struct model_account){.provider = provider, .base = (char *)(uintptr_t)base};
}

static void add_row(uint32_t account, const char *group, uint32_t fingerprint)
{
    rows[list.num_deployments++] = (struct model_deployment){
        .account = account, .group = (char *)(uintptr_t)group, .fingerprint = fingerprint};
}

static void an_account_is_found_by_the_fingerprint_of_its_address(void **state)
{
    (void)state;
    add_account(PROVIDER_AZURE, "https://a.example");
    add_account(PROVIDER_AZURE, "https://b.example");
    add_account(PROVIDER_OPENAI, "https://b.example");
    add_row(1, "g", 11);
    add_row(1, "g", 12);
    assert_int_equal(account_map_init(&map, &list, true), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(
            map.fingerprint[i],
            ids_deployment_fingerprint(provider_name(accounts[i].provider), accounts[i].base, ""));
        assert_int_equal(account_map_find(&map, map.fingerprint[i]), i);
        assert_int_equal(map.twin[i], i);
    }
    assert_int_equal(account_map_find(&map, 11), MODEL_NO_INDEX);
    assert_int_equal(map.first[1], 0);
    assert_int_equal(map.first[0], MODEL_NO_INDEX);
}

static void two_keys_of_an_azure_resource_are_one_place(void **state)
{
    (void)state;
    add_account(PROVIDER_AZURE, "https://z.example");
    add_account(PROVIDER_AZURE, "https://a.example");
    add_account(PROVIDER_AZURE, "https://a.example");
    add_row(2, "g", 11);
    assert_int_equal(account_map_init(&map, &list, true), 0);
    assert_int_equal(map.twin[2], 1);
    assert_int_equal(account_map_find(&map, map.fingerprint[2]), 1);
    assert_true(map.balanced[1]); /* what one key balances, the other one shows */
    assert_false(map.balanced[0]);
}

static void two_keys_at_openai_are_two_places_named_by_their_rows(void **state)
{
    (void)state;
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_row(1, "g", 11);
    add_row(0, "g", 12);
    assert_int_equal(account_map_init(&map, &list, true), 0);
    assert_int_equal(account_map_find(&map, 11), 1);
    assert_int_equal(account_map_find(&map, 12), 0);
    assert_int_equal(map.twin[1], 1);
}

static void nothing_is_balanced_where_balancing_is_off_or_no_group_is(void **state)
{
    (void)state;
    add_account(PROVIDER_AZURE, "https://a.example");
    add_row(0, NULL, 11);
    assert_int_equal(account_map_init(&map, &list, true), 0);
    assert_false(map.balanced[0]);
    account_map_deinit(&map);
    add_row(0, "g", 12);
    assert_int_equal(account_map_init(&map, &list, false), 0);
    assert_false(map.balanced[0]);
    account_map_deinit(&map);
    assert_int_equal(account_map_init(&map, &list, true), 0);
    assert_true(map.balanced[0]);
}

/* Found by trying names. */
static void two_addresses_with_one_fingerprint_are_a_clash(void **state)
{
    (void)state;
    add_account(PROVIDER_AZURE, "https://r242477.openai.azure.com");
    add_account(PROVIDER_AZURE, "https://other.openai.azure.com");
    add_account(PROVIDER_AZURE, "https://r374442.openai.azure.com");
    assert_int_equal(account_map_init(&map, &list, true), ERR_DUPLICATE);
    assert_int_equal(map.clash[0], 0);
    assert_int_equal(map.clash[1], 2);
}

static void a_row_with_the_fingerprint_of_another_address_is_a_clash(void **state)
{
    (void)state;
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_account(PROVIDER_AZURE, "https://b.example");
    add_row(0, "g", ids_deployment_fingerprint("azure", "https://b.example", ""));
    add_row(1, "g", 12);
    assert_int_equal(account_map_init(&map, &list, true), ERR_DUPLICATE);
    assert_int_equal(map.clash[0] + map.clash[1], 2);
}

static void no_account_at_all_is_no_fault(void **state)
{
    (void)state;
    assert_int_equal(account_map_init(&map, &list, true), 0);
    assert_int_equal(account_map_find(&map, 1), MODEL_NO_INDEX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_account_is_found_by_the_fingerprint_of_its_address),
        TEST(two_keys_of_an_azure_resource_are_one_place),
        TEST(two_keys_at_openai_are_two_places_named_by_their_rows),
        TEST(nothing_is_balanced_where_balancing_is_off_or_no_group_is),
        TEST(two_addresses_with_one_fingerprint_are_a_clash),
        TEST(a_row_with_the_fingerprint_of_another_address_is_a_clash),
        TEST(no_account_at_all_is_no_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
