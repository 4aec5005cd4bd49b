/* What ids say of accounts: which are one place, which are two, and how a place is found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/account_map.h"
#include "crypto/ids.h"

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
        assert_int_equal(map.same_resource[i], i);
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
    assert_int_equal(map.same_resource[2], 1);
    assert_int_equal(account_map_find(&map, map.fingerprint[2]), 1);
    assert_true(map.balanced[1]); /* what one key balances, the other one shows */
    assert_false(map.balanced[0]);
}

static uint32_t places[MAX], num_places;
static bool sure;

/* How it lets us in is no part of what a place is: ids, files and quota are the same. */
static void test_entra_21_a_resource_by_key_and_by_entra_id_is_one_place(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        add_account(PROVIDER_AZURE, "https://a.example");
        add_row(i, "g", 11 + i);
        accounts[i].auth = i == 0 ? ACCOUNT_AUTH_API_KEY : ACCOUNT_AUTH_ENTRA;
        accounts[i].entra = i == 0 ? MODEL_NO_INDEX : i - 1; /* two clients */
    }
    assert_int_equal(account_map_init(&map, &list, true), 0);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(map.same_resource[i], 0);
        assert_int_equal(map.fingerprint[i], map.fingerprint[0]);
    }
    assert_int_equal(account_map_pinned(&map, map.fingerprint[0]), 0);
}

static void look_up(uint32_t fingerprint)
{
    num_places = account_map_candidates(&map, fingerprint, places, &sure);
}

static uint32_t address_of(const char *base)
{
    return ids_deployment_fingerprint("openai", base, "");
}

/* Two accounts of OpenAI, the rows' ids as given; the first row is the first account's. */
static void two_at_openai(const char *one, const char *two)
{
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    accounts[0].name = (char *)(uintptr_t) "a.example";
    accounts[1].name = (char *)(uintptr_t) "a.example#2";
    add_row(0, "g", 11);
    add_row(1, "g", 12);
    rows[0].id = (char *)(uintptr_t)(one != NULL ? one : "digest-1");
    rows[1].id = (char *)(uintptr_t)(two != NULL ? two : "digest-2");
    rows[0].own_id = one != NULL;
    rows[1].own_id = two != NULL;
}

static void make(void)
{
    account_map_deinit(&map);
    assert_int_equal(account_map_init(&map, &list, true), 0);
}

static void an_openai_account_is_found_by_its_name_wherever_it_stands_in_the_file(void **state)
{
    uint32_t first, second;

    (void)state;
    two_at_openai("one", "two");
    make();
    first = map.fingerprint[0];
    second = map.fingerprint[1];
    assert_int_not_equal(first, second);
    assert_int_equal(account_map_pinned(&map, first), 0);
    assert_int_equal(account_map_pinned(&map, second), 1);
    rows[0].id = (char *)(uintptr_t) "two"; /* swapped */
    rows[1].id = (char *)(uintptr_t) "one";
    make();
    assert_int_equal(account_map_pinned(&map, first), 1);
    assert_int_equal(account_map_pinned(&map, second), 0);
    add_account(PROVIDER_OPENAI, "https://a.example/v1"); /* one more, without a name */
    accounts[2].name = (char *)(uintptr_t) "a.example#3";
    make();
    assert_int_equal(account_map_pinned(&map, first), 1);
    assert_int_equal(account_map_pinned(&map, second), 0);
}

static void organization_project_and_credential_name_an_account_before_its_rows_do(void **state)
{
    uint32_t plain, with_org, with_project, with_credential;

    (void)state;
    two_at_openai("one", "two");
    make();
    plain = map.fingerprint[0];
    accounts[0].credential = (char *)(uintptr_t) "c";
    make();
    with_credential = map.fingerprint[0];
    accounts[0].organization = (char *)(uintptr_t) "c";
    accounts[0].credential = NULL;
    make();
    with_org = map.fingerprint[0];
    accounts[0].project = (char *)(uintptr_t) "p";
    make();
    with_project = map.fingerprint[0];
    assert_int_not_equal(plain, with_credential);
    assert_int_not_equal(with_credential, with_org); /* one text, two kinds of names */
    assert_int_not_equal(with_org, with_project);
    rows[0].id = (char *)(uintptr_t) "other";
    accounts[0].credential = (char *)(uintptr_t) "other";
    make();
    assert_int_equal(map.fingerprint[0], with_project);
}

static void two_keys_of_one_openai_project_are_one_place(void **state)
{
    (void)state;
    two_at_openai("one", "two");
    accounts[0].project = accounts[1].project = (char *)(uintptr_t) "p";
    make();
    assert_int_equal(map.same_resource[1], 0);
    assert_int_equal(account_map_pinned(&map, map.fingerprint[1]), 0);
    accounts[1].project = (char *)(uintptr_t) "q";
    make();
    assert_int_equal(map.same_resource[1], 1);
    accounts[0].project = accounts[1].project =
        NULL; /* of one organization, perhaps two projects */
    accounts[0].organization = accounts[1].organization = (char *)(uintptr_t) "o";
    make();
    assert_int_equal(map.same_resource[1], 1);
    assert_int_equal(account_map_pinned(&map, map.fingerprint[0]), MODEL_NO_INDEX);
    look_up(map.fingerprint[0]);
    assert_int_equal(num_places, 2);
}

static void accounts_without_a_name_share_what_ids_say_and_are_told_apart_all_the_same(void **state)
{
    (void)state;
    two_at_openai(NULL, NULL);
    make();
    assert_int_equal(map.fingerprint[0], map.fingerprint[1]);
    assert_int_equal(map.fingerprint[0], address_of("https://a.example/v1"));
    assert_int_not_equal(map.key[0], map.key[1]);
    assert_int_equal(map.same_resource[1], 1);
    assert_int_equal(account_map_pinned(&map, map.fingerprint[0]), MODEL_NO_INDEX);
    look_up(map.fingerprint[0]);
    assert_true(sure);
    assert_int_equal(num_places, 2);
}

static void an_id_from_when_there_was_one_account_may_be_of_any_at_its_address(void **state)
{
    (void)state;
    two_at_openai("one", "two");
    add_account(PROVIDER_OPENAI, "https://b.example/v1");
    add_account(PROVIDER_AZURE, "https://c.example");
    make();
    look_up(address_of("https://a.example/v1"));
    assert_true(sure);
    assert_int_equal(num_places, 2);
    assert_int_equal(places[0] + places[1], 1);
    assert_true(account_map_may_mean(&map, address_of("https://a.example/v1"), 1));
    assert_false(account_map_may_mean(&map, address_of("https://a.example/v1"), 2));
}

static void an_id_that_carries_a_row_begins_with_the_rows_account(void **state)
{
    (void)state;
    two_at_openai("one", "two");
    add_account(PROVIDER_AZURE, "https://c.example");
    add_row(2, "g", 13);
    make();
    look_up(12);
    assert_true(sure);
    assert_int_equal(num_places, 2);
    assert_int_equal(places[0], 1);
    look_up(13); /* a resource's row names the resource */
    assert_int_equal(num_places, 1);
    assert_int_equal(places[0], 2);
}

static void an_id_that_nothing_explains_is_looked_for_at_openai_only(void **state)
{
    (void)state;
    add_account(PROVIDER_AZURE, "https://c.example");
    make();
    look_up(99);
    assert_int_equal(num_places, 0);
    assert_false(sure);
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    make();
    look_up(99);
    assert_int_equal(num_places, 1);
    assert_int_equal(places[0], 1);
    assert_false(sure);
}

static void the_only_account_of_an_address_is_pinned_by_it(void **state)
{
    (void)state;
    add_account(PROVIDER_OPENAI, "https://a.example/v1");
    add_account(PROVIDER_OPENAI, "https://b.example/v1");
    make();
    assert_int_equal(account_map_pinned(&map, address_of("https://b.example/v1")), 1);
    assert_int_equal(account_map_pinned(&map, 99), MODEL_NO_INDEX);
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
        TEST(test_entra_21_a_resource_by_key_and_by_entra_id_is_one_place),
        TEST(an_openai_account_is_found_by_its_name_wherever_it_stands_in_the_file),
        TEST(organization_project_and_credential_name_an_account_before_its_rows_do),
        TEST(two_keys_of_one_openai_project_are_one_place),
        TEST(accounts_without_a_name_share_what_ids_say_and_are_told_apart_all_the_same),
        TEST(an_id_from_when_there_was_one_account_may_be_of_any_at_its_address),
        TEST(an_id_that_carries_a_row_begins_with_the_rows_account),
        TEST(an_id_that_nothing_explains_is_looked_for_at_openai_only),
        TEST(the_only_account_of_an_address_is_pinned_by_it),
        TEST(nothing_is_balanced_where_balancing_is_off_or_no_group_is),
        TEST(two_addresses_with_one_fingerprint_are_a_clash),
        TEST(no_account_at_all_is_no_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
