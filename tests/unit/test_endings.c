/* endings: what an account's list of models says reaches each of its deployments, and no other's;
 * of however many rows and models. The comparisons of names are counted: endings.c is compiled into
 * this file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned long compared;

static int counted_strcmp(const char *a, const char *b)
{
    compared++;
    return strcmp(a, b);
}

#define strcmp counted_strcmp
#include "server/upkeep/endings.c"
#undef strcmp

#define ACCOUNTS 3
#define MANY     10000
#define MODELS   100
#define NOW_S    INT64_C(1796000000)
#define SOON_S   UINT64_C(1796947200) /* 2026-12-11 */
#define NAME     24

static struct model_account accounts[ACCOUNTS];
static struct model_deployment *deployments;
static struct config config;
static struct inherited inherited;
static struct upkeep upkeep;
static struct table *table;
static unsigned timers;

static uint64_t fake_now_ms(struct loop *loop)
{
    (void)loop;
    return 0;
}

static int fake_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    (void)timer;
    (void)delay_ms;
    timers++;
    return 0;
}

static const struct loop_ops fake_ops = {.now_ms = fake_now_ms, .timer_start = fake_start};
static struct loop loop = {.ops = &fake_ops};

/* Row i is at account i % ACCOUNTS, for model number (i * 7) % models. */
static void start(uint32_t num, unsigned models)
{
    char(*names)[NAME] = calloc(num, sizeof(*names));

    deployments = calloc(num, sizeof(*deployments));
    assert_non_null(names);
    assert_non_null(deployments);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        accounts[i] = (struct model_account){
            .provider = PROVIDER_OPENAI, .base = (char *)"https://a", .name = (char *)"an account"};
    accounts[2].provider = PROVIDER_AZURE;
    for (uint32_t i = 0; i < num; i++) {
        snprintf(names[i], NAME, "model-%u", i * 7 % models);
        deployments[i] = (struct model_deployment){.group = (char *)"g",
                                                   .upstream_model = names[i],
                                                   .litellm_model = names[i],
                                                   .account = i % ACCOUNTS,
                                                   .fingerprint = 1000 + i};
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = deployments,
                                        .num_deployments = num};
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    free(names);
    free(deployments);
    inherited = (struct inherited){
        .config = &config, .table = table, .probes = calloc(num, sizeof(*inherited.probes))};
    upkeep = (struct upkeep){.rt = {.inherited = &inherited, .loop = &loop},
                             .accounts = calloc(ACCOUNTS, sizeof(*upkeep.accounts)),
                             .num_accounts = ACCOUNTS};
    assert_non_null(inherited.probes);
    assert_non_null(upkeep.accounts);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        upkeep.accounts[i] =
            (struct upkeep_account){.upkeep = &upkeep, .account = i, .deployment = i};
    timers = 0;
    assert_int_equal(endings_start(&upkeep), 0);
    assert_int_equal(timers, 2); /* not of the account that is Azure's */
}

static int teardown(void **state)
{
    (void)state;
    free(upkeep.endings->rows);
    free(upkeep.endings);
    free(upkeep.accounts);
    free(inherited.probes);
    table_free(table);
    return 0;
}

static unsigned take(uint32_t account, const char *text)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    unsigned soon =
        endings_take(&upkeep.accounts[account], json_parse(doc, text, strlen(text), &error), NOW_S);

    json_doc_free(doc);
    return soon;
}

static uint64_t end_of(uint32_t deployment)
{
    return atomic_load(&inherited.probes[deployment].ends_unix_s);
}

static void each_deployment_of_the_account_for_the_model_learns_its_end_and_no_other(void **state)
{
    (void)state;
    start(60, 10);
    assert_int_equal(take(1,
                          "[{\"id\":\"model-3\",\"shutdown_date\":\"2026-12-11\"},"
                          "{\"id\":\"model-30\",\"shutdown_date\":\"2026-12-11\"},"
                          "{\"id\":\"model\",\"shutdown_date\":\"2026-12-11\"},"
                          "{\"id\":\"zzz\",\"shutdown_date\":\"2026-12-11\"},"
                          "{\"id\":\"model-4\",\"shutdown_date\":null}, {\"object\":\"model\"}]"),
                     1);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(end_of(i), i % ACCOUNTS == 1 && i * 7 % 10 == 3 ? SOON_S : 0);
}

static void an_end_that_is_taken_back_is_forgotten(void **state)
{
    (void)state;
    start(60, 10);
    assert_int_equal(take(0, "[{\"id\":\"model-0\",\"shutdown_date\":\"2026-12-11\"}]"), 1);
    assert_int_equal(end_of(0), SOON_S);
    assert_int_equal(take(0, "[{\"id\":\"model-0\",\"shutdown_date\":null}]"), 0);
    assert_int_equal(end_of(0), 0);
}

static void a_hundred_models_among_ten_thousand_rows_take_no_million_comparisons(void **state)
{
    struct strbuf list = STRBUF_INIT;

    (void)state;
    start(MANY, MODELS);
    strbuf_adds(&list, "[");
    for (unsigned i = 0; i < MODELS; i++)
        strbuf_addf(&list, "%s{\"id\":\"model-%u\",\"shutdown_date\":\"2026-12-11\"}",
                    i > 0 ? "," : "", i);
    strbuf_adds(&list, "]");
    compared = 0;
    assert_int_equal(take(0, strbuf_str(&list)), MODELS);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(end_of(i), i % ACCOUNTS == 0 ? SOON_S : 0);
    print_message("%lu comparisons\n", compared);
    assert_true(compared < MANY);
    strbuf_deinit(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(
            each_deployment_of_the_account_for_the_model_learns_its_end_and_no_other, teardown),
        cmocka_unit_test_teardown(an_end_that_is_taken_back_is_forgotten, teardown),
        cmocka_unit_test_teardown(
            a_hundred_models_among_ten_thousand_rows_take_no_million_comparisons, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
