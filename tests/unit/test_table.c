/* table: lookups in a built table, whatever its size. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/table.h"

#define MAX_ROWS 10000

static struct model_account accounts[2] = {{.provider = PROVIDER_OPENAI},
                                           {.provider = PROVIDER_AZURE}};
static struct model_deployment rows[MAX_ROWS];
static struct model_list list;

static int setup(void **state)
{
    (void)state;
    memset(rows, 0, sizeof(rows));
    list = (struct model_list){.accounts = accounts, .num_accounts = 2, .deployments = rows};
    return 0;
}

/* One more row; strings are borrowed. Its fingerprint is 1000 and its place in the list. */
static struct model_deployment *add(const char *group, const char *id)
{
    struct model_deployment *d = &rows[list.num_deployments];

    d->group = (char *)(uintptr_t)group;
    d->id = (char *)(uintptr_t)id;
    d->upstream_model = (char *)(uintptr_t) "up";
    d->litellm_model = (char *)(uintptr_t) "azure/up";
    d->fingerprint = 1000 + (uint32_t)list.num_deployments++;
    return d;
}

static struct table *build(void)
{
    struct table *table = NULL;

    assert_int_equal(table_build(&list, 7, &table), 0);
    return table;
}

static uint32_t find(const struct table *table, const char *model)
{
    return table_find_group(table, model, strlen(model));
}

static const char *name_of(const struct table *table, const char *model)
{
    uint32_t group = find(table, model);

    return group != MODEL_NO_INDEX ? table_group_name(table, group) : "none";
}

static void a_deployment_is_copied_with_all_that_it_has(void **state)
{
    struct model_deployment *d = add("gpt", "id-1");
    const struct table_deployment *copy;
    struct table *table;

    (void)state;
    d->mode = (char *)(uintptr_t) "batch";
    d->account = 1;
    d->weight = 2.5;
    d->rpm = 10;
    d->tpm = INT64_C(5000000000);
    d->order = 3;
    d->timeout_ms = 1234;
    d->cooldown_ms = 4321;
    d->max_retries = 7;
    table = build();
    copy = table_deployment(table, 0);
    assert_int_equal(copy->fingerprint, 1000);
    assert_int_equal(copy->account, 1);
    assert_int_equal(copy->provider, PROVIDER_AZURE);
    assert_string_equal(table_str(table, copy->id), "id-1");
    assert_string_equal(table_str(table, copy->upstream_model), "up");
    assert_string_equal(table_str(table, copy->litellm_model), "azure/up");
    assert_int_equal(copy->batch, 1);
    assert_true(copy->weight == 2.5 && copy->rpm == 10 && copy->tpm == INT64_C(5000000000));
    assert_int_equal(copy->order, 3);
    assert_int_equal(copy->timeout_ms, 1234);
    assert_int_equal(copy->cooldown_ms, 4321);
    assert_int_equal(copy->max_retries, 7);
    assert_int_equal(table_generation(table), 7);
    table_free(table);
}

static void the_table_keeps_no_pointer_into_the_list(void **state)
{
    char group[] = "gpt", id[] = "id-1";
    struct table *table;

    (void)state;
    add(group, id);
    table = build();
    memset(group, 'x', 3);
    memset(id, 'x', 4);
    memset(rows, 0xff, sizeof(rows[0]));
    assert_int_equal(find(table, "gpt"), 0);
    assert_string_equal(table_str(table, table_deployment(table, 0)->id), "id-1");
    table_free(table);
}

static void groups_and_their_members_stay_in_file_order(void **state)
{
    static const char *const order[] = {"b", "a", "b", "c", "a", "b"};
    const uint32_t *members;
    struct table *table;
    uint32_t num;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        add(order[i], "");
    table = build();
    assert_int_equal(table_num_groups(table), 3);
    assert_string_equal(table_group_name(table, 0), "b");
    assert_string_equal(table_group_name(table, 1), "a");
    assert_string_equal(table_group_name(table, 2), "c");
    members = table_group_members(table, find(table, "b"), &num);
    assert_int_equal(num, 3);
    assert_int_equal(members[0], 0);
    assert_int_equal(members[1], 2);
    assert_int_equal(members[2], 5);
    members = table_group_members(table, find(table, "c"), &num);
    assert_int_equal(num, 1);
    assert_int_equal(members[0], 3);
    assert_int_equal(table_deployment(table, 4)->group, 1);
    table_free(table);
}

static void an_account_as_a_whole_is_in_no_group_but_found_by_its_fingerprint(void **state)
{
    struct table *table;

    (void)state;
    add("gpt", "");
    add(NULL, "")->upstream_model = (char *)(uintptr_t) "";
    table = build();
    assert_int_equal(table_num_groups(table), 1);
    assert_int_equal(table_deployment(table, 1)->group, MODEL_NO_INDEX);
    assert_string_equal(table_str(table, table_deployment(table, 1)->upstream_model), "");
    assert_int_equal(table_find_fingerprint(table, 1001), 1);
    table_free(table);
}

static void every_one_of_10000_groups_and_fingerprints_is_found(void **state)
{
    static char names[MAX_ROWS][24];
    struct table *table;
    uint32_t num;

    (void)state;
    for (uint32_t i = 0; i < MAX_ROWS; i++) {
        snprintf(names[i], sizeof(names[i]), "model-%u", i);
        add(names[i], names[i])->fingerprint = i * 2654435761u + 1;
    }
    table = build();
    assert_int_equal(table_num_groups(table), MAX_ROWS);
    for (uint32_t i = 0; i < MAX_ROWS; i++) {
        assert_int_equal(find(table, names[i]), i);
        assert_int_equal(table_group_members(table, i, &num)[0], i);
        assert_int_equal(num, 1);
        assert_int_equal(table_find_fingerprint(table, i * 2654435761u + 1), i);
    }
    assert_int_equal(find(table, "model-10000"), MODEL_NO_INDEX);
    assert_int_equal(table_find_fingerprint(table, 0), MODEL_NO_INDEX);
    table_free(table);
}

static void fingerprints_that_fall_into_one_slot_are_told_apart(void **state)
{
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < 16; i++)
        add("gpt", "")->fingerprint = i << 20 | 5;
    table = build();
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(table_find_fingerprint(table, i << 20 | 5), i);
    assert_int_equal(table_find_fingerprint(table, 16 << 20 | 5), MODEL_NO_INDEX);
    table_free(table);
}

static void two_equal_fingerprints_refuse_the_table(void **state)
{
    struct table *table = NULL;

    (void)state;
    add("a", "");
    add("b", "")->fingerprint = 1000;
    assert_int_equal(table_build(&list, 1, &table), ERR_DUPLICATE);
    assert_null(table);
}

static void an_empty_list_makes_a_table_in_which_nothing_is_found(void **state)
{
    struct table *table = build();

    (void)state;
    assert_int_equal(table_num_deployments(table), 0);
    assert_int_equal(find(table, "gpt"), MODEL_NO_INDEX);
    assert_int_equal(find(table, ""), MODEL_NO_INDEX);
    assert_int_equal(table_find_fingerprint(table, 1), MODEL_NO_INDEX);
    table_free(table);
    table_free(NULL);
}

static void a_name_is_found_by_its_bytes_and_length_alone(void **state)
{
    struct table *table;

    (void)state;
    add("gpt-4o", "");
    table = build();
    assert_int_equal(table_find_group(table, "gpt-4o-mini", 6), 0);
    assert_int_equal(find(table, "gpt-4"), MODEL_NO_INDEX);
    assert_int_equal(find(table, "GPT-4o"), MODEL_NO_INDEX);
    assert_int_equal(table_find_group(table, "gpt-4o\0", 7), MODEL_NO_INDEX);
    table_free(table);
}

/* FNV-1a gives the two words of each pair one hash; those of the first pair have one length too. */
static void names_of_one_hash_are_told_apart(void **state)
{
    static const char *const pairs[][2] = {{"declinate", "macallums"}, {"costarring", "liquid"}};

    for (size_t i = 0; i < 2; i++) {
        struct table *table;

        setup(state);
        add(pairs[i][0], "");
        table = build();
        assert_int_equal(find(table, pairs[i][1]), MODEL_NO_INDEX);
        table_free(table);
        add(pairs[i][1], "");
        table = build();
        assert_int_equal(find(table, pairs[i][0]), 0);
        assert_int_equal(find(table, pairs[i][1]), 1);
        table_free(table);
    }
}

static void
the_exact_name_wins_over_wildcards_and_the_most_specific_wildcard_over_others(void **state)
{
    struct table *table;

    (void)state;
    add("*", "");
    add("azure/*", "");
    add("azure/gpt-*", "");
    add("azure/gpt-4o", "");
    add("*-batch", "");
    table = build();
    assert_string_equal(name_of(table, "azure/gpt-4o"), "azure/gpt-4o");
    assert_string_equal(name_of(table, "azure/gpt-4o-mini"), "azure/gpt-*");
    assert_string_equal(name_of(table, "azure/o3"), "azure/*");
    assert_string_equal(name_of(table, "o3-batch"), "*-batch");
    assert_string_equal(name_of(table, "anything"), "*");
    assert_string_equal(name_of(table, ""), "*");
    table_free(table);
}

static void a_star_stands_for_any_characters_and_for_none(void **state)
{
    static const struct {
        const char *pattern, *model;
        bool fits;
    } cases[] = {
        {"a*", "a", true},           {"a*", "abc", true},    {"a*", "ba", false},
        {"*a", "cba", true},         {"*a", "ab", false},    {"a*c", "ac", true},
        {"a*c", "abcbc", true},      {"a*c", "abcb", false}, {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxcyyb", false}, {"**", "x", true},      {"a**b", "ab", true},
        {"a*b", "a*b", true},        {"a?*", "abc", false},  {"*/*", "azure/x", true},
        {"*/*", "azure", false},     {"*aab", "aaab", true}, {"a.*", "axb", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct table *table;

        setup(state);
        add(cases[i].pattern, "");
        table = build();
        assert_int_equal(find(table, cases[i].model), cases[i].fits ? 0 : MODEL_NO_INDEX);
        table_free(table);
    }
}

static void wildcards_of_equal_length_are_asked_in_file_order(void **state)
{
    struct table *table;

    (void)state;
    add("ab*", "");
    add("*yz", "");
    table = build();
    assert_string_equal(name_of(table, "ab-yz"), "ab*");
    table_free(table);
}

static struct model_name names[3];

static void name(const char *text, const char *target)
{
    names[list.num_names].name = (char *)(uintptr_t)text;
    names[list.num_names++].target = (char *)(uintptr_t)target;
    list.names = names;
}

static void the_name_of_a_row_that_is_not_served_answers_to_nothing(void **state)
{
    struct table_name found;
    struct table *table;

    (void)state;
    memset(names, 0, sizeof(names));
    add("*", "1");
    add("claude-mine", "2");
    name("claude", NULL);
    name("claude-*", NULL);
    table = build();
    assert_int_equal(find(table, "claude"), MODEL_NO_INDEX); /* nor is it the pattern's */
    assert_int_equal(find(table, "claude-x"), MODEL_NO_INDEX);
    assert_true(table_find_name(table, "claude-x", 8, &found));
    assert_false(table_is_served(table, found.group));
    assert_string_equal(name_of(table, "claude-mine"), "claude-mine");
    assert_string_equal(name_of(table, "gpt"), "*");
    table_free(table);
}

static void an_alias_is_another_name_of_its_group_and_goes_first(void **state)
{
    struct table *table;

    (void)state;
    memset(names, 0, sizeof(names));
    add("a", "1");
    add("b", "2");
    name("short", "a");
    name("b", "a");
    table = build();
    assert_string_equal(name_of(table, "short"), "a");
    assert_string_equal(name_of(table, "b"), "a");
    assert_int_equal(table_num_groups(table), 2);
    table_free(table);
}

static void the_id_of_a_row_means_that_row_unless_a_group_has_the_name(void **state)
{
    struct table_name found;
    struct table *table;

    (void)state;
    add("a", "row-1");
    add("a", "row-2");
    add("b", "a");
    add("*", "3");
    table = build();
    assert_true(table_find_name(table, "row-2", 5, &found));
    assert_int_equal(found.row, 1);
    assert_string_equal(table_group_name(table, found.group), "a");
    assert_true(table_find_name(table, "a", 1, &found));
    assert_int_equal(found.row, MODEL_NO_INDEX);
    assert_string_equal(table_group_name(table, found.group), "a");
    table_free(table);
}

static void a_long_name_of_one_letter_does_not_stall_a_wildcard(void **state)
{
    static char model[100000];
    struct table *table;

    (void)state;
    memset(model, 'a', sizeof(model));
    add("*a*a*a*a*a*a*a*a*a*a*b", "");
    table = build();
    assert_int_equal(table_find_group(table, model, sizeof(model)), MODEL_NO_INDEX);
    table_free(table);
}

/* The master seals it before it forks: a worker that writes by mistake dies alone instead of
 * misleading all. */
static void a_process_that_writes_into_the_table_is_killed(void **state)
{
    struct table *table;
    int status = 0;
    pid_t pid;

    (void)state;
    add("gpt", "");
    table = build();
    pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would print a page */
        *(volatile uint32_t *)(uintptr_t)table_deployment(table, 0) = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_deployment_is_copied_with_all_that_it_has, setup),
        cmocka_unit_test_setup(the_table_keeps_no_pointer_into_the_list, setup),
        cmocka_unit_test_setup(groups_and_their_members_stay_in_file_order, setup),
        cmocka_unit_test_setup(an_account_as_a_whole_is_in_no_group_but_found_by_its_fingerprint,
                               setup),
        cmocka_unit_test_setup(every_one_of_10000_groups_and_fingerprints_is_found, setup),
        cmocka_unit_test_setup(fingerprints_that_fall_into_one_slot_are_told_apart, setup),
        cmocka_unit_test_setup(two_equal_fingerprints_refuse_the_table, setup),
        cmocka_unit_test_setup(an_empty_list_makes_a_table_in_which_nothing_is_found, setup),
        cmocka_unit_test_setup(a_name_is_found_by_its_bytes_and_length_alone, setup),
        cmocka_unit_test_setup(names_of_one_hash_are_told_apart, setup),
        cmocka_unit_test_setup(
            the_exact_name_wins_over_wildcards_and_the_most_specific_wildcard_over_others, setup),
        cmocka_unit_test_setup(a_star_stands_for_any_characters_and_for_none, setup),
        cmocka_unit_test_setup(wildcards_of_equal_length_are_asked_in_file_order, setup),
        cmocka_unit_test_setup(the_name_of_a_row_that_is_not_served_answers_to_nothing, setup),
        cmocka_unit_test_setup(an_alias_is_another_name_of_its_group_and_goes_first, setup),
        cmocka_unit_test_setup(the_id_of_a_row_means_that_row_unless_a_group_has_the_name, setup),
        cmocka_unit_test_setup(a_long_name_of_one_letter_does_not_stall_a_wildcard, setup),
        cmocka_unit_test_setup(a_process_that_writes_into_the_table_is_killed, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
