/* Starting from the environment alone, and values that come from it into a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "config_env.h"

struct loaded {
    struct config *config;
    struct config_report report;
    struct strbuf text; /* the report, printed */
    char path[64];
    int rc;
};

static int set_up(void **state)
{
    struct loaded *l = calloc(1, sizeof(*l));

    env_clean();
    *state = l;
    return l == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct loaded *l = *state;

    config_free(l->config);
    config_report_free(&l->report);
    strbuf_deinit(&l->text);
    if (l->path[0] != '\0')
        unlink(l->path);
    free(l);
    return 0;
}

static void load(struct loaded *l, const char *path)
{
    l->rc = config_load(path, NULL, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc == 0, l->config != NULL);
    assert_int_equal(l->rc == 0, l->report.num_errors == 0);
}

/* Another one in its place. */
static void load_again(struct loaded *l, const char *path)
{
    config_free(l->config);
    config_report_free(&l->report);
    strbuf_reset(&l->text);
    l->report = (struct config_report){0};
    load(l, path);
}

static void load_text(struct loaded *l, const char *yaml)
{
    FILE *file;
    int fd;

    strcpy(l->path, "/tmp/tranche-test-XXXXXX");
    fd = mkstemp(l->path);
    assert_true(fd != -1);
    file = fdopen(fd, "w");
    assert_true(fputs(yaml, file) >= 0);
    assert_int_equal(fclose(file), 0);
    load(l, l->path);
}

static const struct model_account *account(const struct loaded *l, size_t i)
{
    assert_non_null(l->config);
    assert_true(i < l->config->models.num_accounts);
    return &l->config->models.accounts[i];
}

#define assert_told(l, part)     assert_non_null(strstr(strbuf_str(&(l)->text), part))
#define assert_not_told(l, part) assert_null(strstr(strbuf_str(&(l)->text), part))

static void nothing_at_all_names_the_variables_that_would_help(void **state)
{
    struct loaded *l = *state;

    load(l, NULL);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "OPENAI_API_KEY");
    assert_told(l, "AZURE_API_KEY and AZURE_API_BASE");
}

static void an_openai_key_is_enough(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "sk-secret-1", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->base, "https://api.openai.com/v1");
    assert_string_equal(account(l, 0)->name, "api.openai.com");
    assert_string_equal(account(l, 0)->key.data, "sk-secret-1");
    assert_int_equal(l->config->models.num_deployments, 1);
    assert_null(l->config->models.deployments[0].group);
    assert_string_equal(l->config->models.deployments[0].upstream_model, "");
    assert_int_equal(l->config->models.default_deployment[PROVIDER_OPENAI], 0);
    assert_int_equal(l->config->models.default_deployment[PROVIDER_AZURE], MODEL_NO_INDEX);
    assert_string_equal(l->config->host, "0.0.0.0");
    assert_int_equal(l->config->port, 4000);
    assert_true(l->config->num_workers >= 1);
}

static void openai_base_url_moves_the_account(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1/", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->base, "http://127.0.0.1:9000/v1");
    assert_string_equal(account(l, 0)->name, "127.0.0.1:9000");
}

static void clear_text_to_another_machine_is_refused(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("OPENAI_BASE_URL", "http://127.0.0.1.example.com/v1", 1);
    load(l, NULL);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "environment: error: OPENAI_BASE_URL: got \"http://127.0.0.1.example.com/v1\", "
                   "wanted https://");
}

static void azure_wants_its_address_with_its_key(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_KEY", "k", 1);
    load(l, NULL);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "AZURE_API_KEY: set, but AZURE_API_BASE is not");
}

static void azure_has_a_default_version(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_OPENAI_API_KEY", "k", 1);
    setenv("AZURE_API_BASE", "https://eu.openai.azure.com/", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->base, "https://eu.openai.azure.com");
    assert_string_equal(account(l, 0)->api_version, "2024-10-21");
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_API_KEY);
    assert_int_equal(l->config->models.default_deployment[PROVIDER_AZURE], 0);
}

static void an_azure_token_is_a_bearer(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_AD_TOKEN", "token-1", 1);
    setenv("AZURE_API_BASE", "https://eu.openai.azure.com", 1);
    setenv("AZURE_API_VERSION", "v1", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_BEARER);
    assert_string_equal(account(l, 0)->key.data, "token-1");
    assert_null(account(l, 0)->api_version);
}

static void both_providers_live_side_by_side(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "o", 1);
    setenv("AZURE_API_KEY", "a", 1);
    setenv("AZURE_API_BASE", "eu.openai.azure.com", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->models.num_accounts, 2);
    for (int p = 0; p < PROVIDER_COUNT; p++) {
        uint32_t i = l->config->models.default_deployment[p];

        assert_int_equal(account(l, l->config->models.deployments[i].account)->provider, p);
    }
}

static void a_key_that_no_header_can_carry_is_refused_unseen(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "sec\nret", 1);
    load(l, NULL);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "OPENAI_API_KEY: got ***");
    assert_not_told(l, "sec");
}

static void where_to_listen_comes_from_the_environment(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("HOST", "127.0.0.1", 1);
    setenv("PORT", "0", 1);
    setenv("NUM_WORKERS", "3", 1);
    setenv("LITELLM_MASTER_KEY", "sk-master-of-nobody-2718", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->host, "127.0.0.1");
    assert_int_equal(l->config->port, 0);
    assert_int_equal(l->config->num_workers, 3);
    assert_string_equal(l->config->master_key.data, "sk-master-of-nobody-2718");
    assert_not_told(l, "warning");
}

static void a_wrong_port_in_the_environment_is_named(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("PORT", "70000", 1);
    setenv("NUM_WORKERS", "two", 1);
    load(l, NULL);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "environment: error: PORT: got \"70000\", wanted an integer from 0 to 65535");
    assert_told(l, "NUM_WORKERS: got \"two\"");
}

static void no_master_key_is_a_warning_not_an_error(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("LITELLM_MASTER_KEY", "", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_false(secret_is_set(&l->config->master_key));
    assert_told(l, "warning: general_settings.master_key");
    assert_told(l, "only this machine is served");
    assert_true(l->config->weak_master_key);
    assert_false(l->config->permit_weak_master_key);
}

static void a_weak_master_key_is_told_and_a_random_one_is_not(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv("LITELLM_MASTER_KEY", "sk-1234", 1);
    load(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_true(l->config->weak_master_key);
    assert_told(l, "warning: general_settings.master_key: weak");
    setenv("LITELLM_MASTER_KEY", "sk-5b1d09e7c3f82a46", 1);
    load_again(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_false(l->config->weak_master_key);
    assert_null(strstr(strbuf_str(&l->text), "warning"));
}

static void only_true_permits_to_serve_everybody_without_a_key(void **state)
{
    static const char name[] = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY";
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    setenv(name, "true", 1);
    load(l, NULL);
    assert_true(l->config->permit_weak_master_key);
    assert_told(l, "everybody who reaches the port may use");
    setenv(name, "false", 1);
    load_again(l, NULL);
    assert_false(l->config->permit_weak_master_key);
    setenv(name, "maybe", 1);
    load_again(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_false(l->config->permit_weak_master_key);
    assert_told(l, "PERMIT_WEAK_OR_UNSET_MASTER_KEY: not \"true\", so it permits nothing");
    setenv(name, "true", 1);
    config_free(l->config);
    config_report_free(&l->report);
    l->report = (struct config_report){0};
    load_text(l, "tranche_settings: {permit_weak_or_unset_master_key: false}\n");
    assert_false(l->config->permit_weak_master_key);
}

static void a_reference_takes_the_variables_value(void **state)
{
    struct loaded *l = *state;

    setenv("TEST_KEY", "key-1", 1);
    setenv("TEST_BASE", "https://eu.openai.azure.com", 1);
    setenv("TEST_RPM", "60", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params:\n"
                 "    model: azure/d\n"
                 "    api_key: os.environ/TEST_KEY\n"
                 "    api_base: os.environ/TEST_BASE\n"
                 "    rpm: os.environ/TEST_RPM\n"
                 "general_settings: {master_key: os.environ/TEST_KEY}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->key.data, "key-1");
    assert_string_equal(account(l, 0)->base, "https://eu.openai.azure.com");
    assert_int_equal(l->config->models.deployments[0].rpm, 60);
    assert_string_equal(l->config->master_key.data, "key-1");
}

static void an_unset_reference_is_an_error_with_its_line(void **state)
{
    struct loaded *l = *state;

    /* A default that would silently be another key must not step in. */
    setenv("AZURE_API_KEY", "other", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params:\n"
                 "    model: azure/d\n"
                 "    api_base: https://eu.openai.azure.com\n"
                 "    api_key: os.environ/TEST_KEY\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_int_equal(l->report.num_errors, 1);
    assert_told(l, ":6: skipped: model_list[0].litellm_params.api_key: the environment variable "
                   "TEST_KEY is not set");
}

static void an_unset_master_key_does_not_open_the_door(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    load_text(l, "general_settings:\n  master_key: os.environ/TEST_KEY\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, ":2: error: general_settings.master_key: the environment variable TEST_KEY");
}

static void references_of_ignored_rows_and_settings_may_be_unset(void **state)
{
    struct loaded *l = *state;

    setenv("OPENAI_API_KEY", "k", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: anthropic/claude, api_key: os.environ/TEST_KEY}\n"
                 "litellm_settings: {cache_params: {password: os.environ/TEST_KEY}}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "model_list[0].litellm_params.model: got \"anthropic/claude\", which is not a "
                   "batch provider here");
}

static void a_value_from_a_variable_is_not_shown_when_it_is_wrong(void **state)
{
    struct loaded *l = *state;

    setenv("TEST_RPM", "hunter2", 1);
    setenv("OPENAI_API_KEY", "k", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/gpt, rpm: os.environ/TEST_RPM}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "got *** (from os.environ/TEST_RPM), wanted an integer of 0 or more");
    assert_not_told(l, "hunter2");
}

static void the_newline_of_a_key_file_is_cut_off_with_a_warning(void **state)
{
    struct loaded *l = *state;

    setenv("TEST_KEY", "key-1\n", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/gpt, api_key: os.environ/TEST_KEY}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->key.data, "key-1");
    assert_told(l, "white space around the value of the environment variable TEST_KEY");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    struct loaded *l = *state;

    setenv("TEST_KEY", "k\xff\xfe", 1);
    load_text(l, "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/gpt, api_key: os.environ/TEST_KEY}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_int_equal(l->report.num_errors, 1);
    assert_told(l, "TEST_KEY holds bytes that are not text");
}

static void environment_variables_of_the_file_count_and_are_not_exported(void **state)
{
    struct loaded *l = *state;

    setenv("TEST_KEY", "from-shell", 1);
    load_text(l, "environment_variables:\n"
                 "  OPENAI_API_KEY: os.environ/TEST_KEY\n"
                 "  TEST_BASE: http://localhost:1/v1\n"
                 "  NUM_WORKERS: 2\n"
                 "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/gpt, api_base: os.environ/TEST_BASE}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account(l, 0)->key.data, "from-shell");
    assert_string_equal(account(l, 0)->base, "http://localhost:1/v1");
    assert_int_equal(l->config->num_workers, 2);
    assert_null(getenv("TEST_BASE"));
    assert_null(getenv("OPENAI_API_KEY"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_at_all_names_the_variables_that_would_help),
        TEST(an_openai_key_is_enough),
        TEST(openai_base_url_moves_the_account),
        TEST(clear_text_to_another_machine_is_refused),
        TEST(azure_wants_its_address_with_its_key),
        TEST(azure_has_a_default_version),
        TEST(an_azure_token_is_a_bearer),
        TEST(both_providers_live_side_by_side),
        TEST(a_key_that_no_header_can_carry_is_refused_unseen),
        TEST(where_to_listen_comes_from_the_environment),
        TEST(a_wrong_port_in_the_environment_is_named),
        TEST(no_master_key_is_a_warning_not_an_error),
        TEST(a_weak_master_key_is_told_and_a_random_one_is_not),
        TEST(only_true_permits_to_serve_everybody_without_a_key),
        TEST(a_reference_takes_the_variables_value),
        TEST(an_unset_reference_is_an_error_with_its_line),
        TEST(an_unset_master_key_does_not_open_the_door),
        TEST(references_of_ignored_rows_and_settings_may_be_unset),
        TEST(a_value_from_a_variable_is_not_shown_when_it_is_wrong),
        TEST(the_newline_of_a_key_file_is_cut_off_with_a_warning),
        TEST(bytes_that_are_no_text_are_refused),
        TEST(environment_variables_of_the_file_count_and_are_not_exported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
