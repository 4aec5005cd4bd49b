/* The sample files load as they are, without a warning: what people copy works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "config_env.h"

#define SAMPLES    SOURCE_DIR "/config/samples/"
#define MASTER_KEY "sk-9f86d081884c7d659a2feaa0c55ad015"
#define SEAL_KEY   "2c26b46b68ffc68ff99b453c1d304134"

static struct config *load(const char *path)
{
    struct config_report report;
    struct strbuf text = STRBUF_INIT;
    struct config *config;
    int rc = config_load(path, NULL, &config, &report);

    config_report_print(&report, &text);
    for (size_t i = 0; i < report.num_notes; i++) {
        if (report.notes[i].severity != CONFIG_HONOURED)
            fail_msg("%s", strbuf_str(&text));
    }
    assert_int_equal(rc, 0);
    strbuf_deinit(&text);
    config_report_free(&report);
    return config;
}

static void the_minimal_file_serves_one_model_of_openai(void **state)
{
    struct config *config;

    (void)state;
    env_clean();
    setenv("OPENAI_API_KEY", "sk-openai", 1);
    setenv("LITELLM_MASTER_KEY", MASTER_KEY, 1);
    config = load(SAMPLES "minimal-openai.yaml");
    assert_int_equal(config->models.num_accounts, 1);
    assert_int_equal(config->models.num_deployments, 2);
    assert_string_equal(config->models.deployments[0].group, "gpt-4o-mini");
    assert_string_equal(config->master_key.data, MASTER_KEY);
    config_free(config);
}

static void the_azure_file_spreads_one_model_over_three_resources(void **state)
{
    static const char *const places[] = {"EU", "US", "ASIA"};
    struct config *config;
    char name[32], value[64];

    (void)state;
    env_clean();
    for (int i = 0; i < 3; i++) {
        strcat(strcpy(name, "AZURE_API_BASE_"), places[i]);
        strcat(strcat(strcpy(value, "https://"), places[i]), ".openai.azure.com");
        setenv(name, value, 1);
        strcat(strcpy(name, "AZURE_API_KEY_"), places[i]);
        setenv(name, places[i], 1);
    }
    setenv("LITELLM_MASTER_KEY", MASTER_KEY, 1);
    setenv("TRANCHE_SEAL_KEY", SEAL_KEY, 1);
    config = load(SAMPLES "three-azure.yaml");
    assert_int_equal(config->num_seal_keys, 1);
    assert_true(config->balance_batches);
    assert_int_equal(config->models.num_accounts, 3);
    assert_int_equal(config->models.num_deployments, 4);
    for (int i = 0; i < 3; i++) {
        const struct model_deployment *d = &config->models.deployments[i];

        assert_string_equal(d->group, "gpt-4o-batch");
        assert_string_equal(d->mode, "batch");
        assert_string_equal(config->models.accounts[d->account].key.data, places[i]);
        assert_string_equal(config->models.accounts[d->account].api_version, "2024-10-21");
    }
    assert_int_equal(config->models.default_deployment[PROVIDER_AZURE], 3);
    config_free(config);
}

static void the_full_file_is_honoured_whole(void **state)
{
    struct config *config;

    (void)state;
    env_clean();
    setenv("AZURE_API_KEY_EU", "azure", 1);
    setenv("BATCH_WEBHOOK_SECRET", "a-secret-of-25-characters", 1);
    setenv("AZURE_AD_TOKEN_US", "token", 1);
    setenv("AZURE_CLIENT_SECRET_SW", "secret", 1);
    setenv("OPENAI_API_KEY", "sk-openai", 1);
    setenv("LITELLM_MASTER_KEY", MASTER_KEY, 1);
    setenv("TRANCHE_SEAL_KEY", SEAL_KEY, 1);
    config = load(SAMPLES "full.yaml");
    assert_int_equal(config->models.num_accounts, 4);
    assert_int_equal(config->models.num_deployments, 6);
    assert_int_equal(config->models.accounts[1].auth, ACCOUNT_AUTH_BEARER);
    assert_null(config->models.accounts[1].api_version);
    assert_int_equal(config->models.accounts[2].auth, ACCOUNT_AUTH_ENTRA);
    assert_string_equal(config->models.credentials[0].secret.data, "secret");
    assert_string_equal(config->models.accounts[3].organization, "org-example");
    assert_int_equal(config->num_retries, 3);
    assert_int_equal(config->cooldown_ms, 60000);
    assert_int_equal(config->num_seal_keys, 1);
    assert_int_equal(config->num_workers, 2);
    assert_int_equal(config->models.deployments[0].enqueued_token_limit, 200000000);
    assert_int_equal(config->models.deployments[1].enqueued_token_limit, 1000000000);
    assert_int_equal(config->models.deployments[3].enqueued_token_limit, 90000);
    assert_int_equal(config->models.deployments[0].cooldown_ms, 30000);
    assert_int_equal(config->azure_file_expiry_s, 2592000);
    assert_int_equal(config->retries_of[CONFIG_AUTHENTICATION], 0);
    assert_int_equal(config->num_fallbacks, 1);
    assert_int_equal(config->num_group_retries, 1);
    assert_string_equal(config->group_retries[0].group, "gpt-4o-batch");
    assert_int_equal(config->group_retries[0].retries_of[CONFIG_RATE_LIMIT], 5);
    assert_false(config->disable_cooldowns);
    assert_int_equal(config->max_keys, 200000);
    assert_int_equal(config->keys.num_keys, 1);
    assert_int_equal(config->keys.num_teams, 1);
    config_free(config);
}

/* Files of assertions and secrets need not be there. */
static struct config *load_without_files(const char *path, size_t missing)
{
    struct config_report report;
    struct strbuf text = STRBUF_INIT;
    struct config *config;
    int rc = config_load(path, NULL, &config, &report);

    config_report_print(&report, &text);
    for (size_t i = 0; i < report.num_notes; i++) {
        if (report.notes[i].severity == CONFIG_HONOURED)
            continue;
        if (missing-- == 0 || strstr(report.notes[i].text, "cannot be read now") == NULL)
            fail_msg("%s", strbuf_str(&text));
    }
    assert_int_equal(rc, 0);
    strbuf_deinit(&text);
    config_report_free(&report);
    return config;
}

static void the_azure_file_without_keys_has_each_way_to_get_tokens(void **state)
{
    static const enum entra_kind kinds[] = {
        ENTRA_SECRET,  ENTRA_SECRET,  ENTRA_ASSERTION_FILE, ENTRA_ASSERTION_FILE,
        ENTRA_MANAGED, ENTRA_MANAGED, ENTRA_SECRET};
    const struct model_list *models;
    struct config *config;

    (void)state;
    env_clean();
    setenv("AZURE_BATCH_SECRET", "secret", 1);
    setenv("AZURE_GOV_SECRET", "secret", 1);
    setenv("LITELLM_MASTER_KEY", MASTER_KEY, 1);
    setenv("TRANCHE_SEAL_KEY", SEAL_KEY, 1);
    config = load_without_files(SAMPLES "azure-entra.yaml", 3);
    models = &config->models;
    assert_int_equal(models->num_credentials, 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(
            models->credentials[models->accounts[models->deployments[i].account].entra].kind,
            kinds[i]);
    assert_string_equal(models->credentials[6].authority, "https://login.microsoftonline.us");
    config_free(config);
}

static void the_keys_file_has_a_team_and_an_admin_key(void **state)
{
    struct config *config;
    const struct rights_key *keys;

    (void)state;
    env_clean();
    setenv("AZURE_API_KEY_EU", "azure", 1);
    setenv("BATCH_WEBHOOK_SECRET", "a-secret-of-25-characters", 1);
    setenv("AZURE_AD_TOKEN_US", "token", 1);
    setenv("AZURE_CLIENT_SECRET_SW", "secret", 1);
    setenv("OPENAI_API_KEY", "sk-openai", 1);
    setenv("LITELLM_MASTER_KEY", MASTER_KEY, 1);
    setenv("TRANCHE_SEAL_KEY", SEAL_KEY, 1);
    config = load(SAMPLES "full.yaml");
    keys = config->file_keys.keys;
    assert_int_equal(config->file_keys.num_teams, 1);
    assert_int_equal(config->file_keys.teams[0].limits.open_batches, 100);
    assert_int_equal(config->file_keys.num_keys, 4);
    assert_true(keys[0].models.of_team);
    assert_int_equal(keys[0].limits.request_burst, 40);
    assert_string_equal(keys[1].id, "partner");
    assert_int_equal(keys[1].limits.enqueued_tokens, 50000000);
    assert_true(keys[2].blocked);
    assert_true(keys[3].admin);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_minimal_file_serves_one_model_of_openai),
        cmocka_unit_test(the_azure_file_spreads_one_model_over_three_resources),
        cmocka_unit_test(the_full_file_is_honoured_whole),
        cmocka_unit_test(the_azure_file_without_keys_has_each_way_to_get_tokens),
        cmocka_unit_test(the_keys_file_has_a_team_and_an_admin_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
