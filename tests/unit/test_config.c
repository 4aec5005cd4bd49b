/* Rows of model_list and files_settings: the accounts and deployments that become of them. */
#include "config_world.h"
#include "crypto/ids.h"

static void a_row_says_everything_about_a_deployment(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- model_name: gpt-4o-batch\n"
            "  litellm_params:\n"
            "    model: azure/gpt-4o-eu\n"
            "    api_base: https://eu.openai.azure.com/\n"
            "    api_key: azure-secret-1\n"
            "    api_version: 2025-04-01-preview\n"
            "    rpm: 600\n"
            "    tpm: 5_000_000\n"
            "    weight: 2.5\n"
            "    order: 1\n"
            "    timeout: 2.5\n"
            "    max_retries: 0\n"
            "  model_info: {id: eu-1, mode: batch, base_model: azure/gpt-4o}\n"
            "tranche_settings: {openai_path: openai}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->group, "gpt-4o-batch");
    assert_string_equal(deployment(l, 0)->id, "eu-1");
    assert_string_equal(deployment(l, 0)->upstream_model, "gpt-4o-eu");
    assert_string_equal(deployment(l, 0)->litellm_model, "azure/gpt-4o-eu");
    assert_string_equal(deployment(l, 0)->mode, "batch");
    assert_int_equal(deployment(l, 0)->rpm, 600);
    assert_int_equal(deployment(l, 0)->tpm, 5000000);
    assert_true(deployment(l, 0)->weight == 2.5);
    assert_int_equal(deployment(l, 0)->order, 1);
    assert_int_equal(deployment(l, 0)->timeout_ms, 2500);
    assert_int_equal(deployment(l, 0)->max_retries, 0);
    assert_string_equal(account_of(l, 0)->base, "https://eu.openai.azure.com");
    assert_string_equal(account_of(l, 0)->api_version, "2025-04-01-preview");
    assert_string_equal(account_of(l, 0)->key.data, "azure-secret-1");
    assert_not_told(l, "warning");
}

static void what_a_row_does_not_say_is_marked_as_such(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n" AZURE_ROW("d", ""));
    assert_int_equal(l->rc, 0);
    assert_null(deployment(l, 0)->mode);
    assert_int_equal(strlen(deployment(l, 0)->id), 32);
    assert_int_equal(deployment(l, 0)->rpm, 0);
    assert_int_equal(deployment(l, 0)->timeout_ms, 0);
    assert_int_equal(deployment(l, 0)->max_retries, UINT32_MAX);
    assert_string_equal(account_of(l, 0)->api_version, "2024-10-21");
    assert_int_equal(l->config->num_retries, UINT32_MAX);
    assert_int_equal(l->config->allowed_fails, UINT32_MAX);
    assert_int_equal(l->config->cooldown_ms, UINT32_MAX);
}

static void bare_names_and_wildcards_are_openais(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: gpt, litellm_params: {model: gpt-4o}}\n"
            "- {model_name: 'openai/*', litellm_params: {model: 'openai/*'}}\n"
            "- {model_name: '*', litellm_params: {model: '*'}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->upstream_model, "gpt-4o");
    assert_string_equal(deployment(l, 1)->group, "openai/*");
    assert_string_equal(deployment(l, 1)->upstream_model, "*");
    assert_string_equal(deployment(l, 2)->group, "*");
    assert_int_equal(account_of(l, 0)->provider, PROVIDER_OPENAI);
    assert_string_equal(account_of(l, 0)->key.data, "sk-openai-secret");
    assert_int_equal(l->config->models.num_accounts, 1);
}

static void a_provider_of_its_own_field_needs_no_prefix(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: a, litellm_params: {model: d, custom_llm_provider: azure,\n"
            "   api_base: 'https://eu.openai.azure.com', api_key: k}}\n"
            "- {model_name: b, litellm_params: {model: org/m, custom_llm_provider: openai}}\n"
            "- {model_name: c, litellm_params: {model: azure/o_series/o3, api_key: k,\n"
            "   api_base: 'https://eu.openai.azure.com'}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(account_of(l, 0)->provider, PROVIDER_AZURE);
    assert_string_equal(deployment(l, 0)->upstream_model, "d");
    assert_int_equal(account_of(l, 1)->provider, PROVIDER_OPENAI);
    assert_string_equal(deployment(l, 1)->upstream_model, "org/m");
    assert_string_equal(deployment(l, 2)->upstream_model, "o3");
}

static void rows_of_other_providers_are_left_out_with_a_warning(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: c, litellm_params: {model: anthropic/claude, nonsense: 1}}\n"
            "- {model_name: v, litellm_params: {model: gpt, custom_llm_provider: vertex_ai}}\n"
            "- {model_name: i, litellm_params: {model: mistral/large}}\n"
            "- {model_name: g, litellm_params: {model: openai/gpt}}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":2: warning: model_list[0].litellm_params.model: got \"anthropic/claude\", "
                   "which is not a batch provider here");
    assert_told(l, ":4: warning: model_list[2]");
    assert_not_told(l, "nonsense");
    assert_int_equal(l->config->models.num_deployments, 2);
    assert_string_equal(deployment(l, 0)->group, "g");
}

static void deployments_of_one_resource_share_its_account(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: azure/a, api_key: k,\n"
            "   api_base: 'https://eu.openai.azure.com'}}\n"
            "- {model_name: g, litellm_params: {model: azure/b, api_key: k,\n"
            "   api_base: 'eu.openai.azure.com/openai/'}}\n"
            "- {model_name: g, litellm_params: {model: azure/c, api_key: other,\n"
            "   api_base: 'https://eu.openai.azure.com'}}\n"
            "- {model_name: g, litellm_params: {model: azure/d, api_key: k, api_version: v1,\n"
            "   api_base: 'https://eu.openai.azure.com'}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(deployment(l, 0)->account, deployment(l, 1)->account);
    assert_int_equal(l->config->models.num_accounts, 4); /* with OpenAI's of the environment */
    assert_string_equal(account_of(l, 0)->name, "eu.openai.azure.com");
    assert_string_equal(account_of(l, 2)->name, "eu.openai.azure.com#2");
    assert_string_equal(account_of(l, 3)->name, "eu.openai.azure.com#3");
    assert_null(account_of(l, 3)->api_version);
}

static void each_key_of_a_long_list_is_one_account_with_a_name_of_its_own(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;
    char name[64];

    strbuf_adds(&yaml, "model_list:\n");
    for (int i = 0; i < 400; i++)
        strbuf_addf(&yaml,
                    "- {model_name: g, litellm_params: {model: azure/a%d, api_key: key-%d,\n"
                    "   api_base: 'https://h%d.example'}}\n",
                    i, i, i % 3);
    load(l, strbuf_str(&yaml));
    strbuf_deinit(&yaml);
    assert_int_equal(l->rc, 0);
    for (uint32_t i = 0, of[3] = {0}; i < 400; i++) {
        uint32_t index = deployment(l, i)->account;
        uint32_t nth = ++of[i % 3];

        snprintf(name, sizeof(name), nth == 1 ? "h%u.example" : "h%u.example#%u", i % 3, nth);
        assert_string_equal(account_of(l, index)->name, name);
    }
    assert_int_equal(l->config->models.num_accounts, 401); /* with OpenAI's of the environment */
}

static void rows_of_a_long_list_with_one_key_share_its_account(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "model_list:\n");
    for (int i = 0; i < 400; i++)
        strbuf_addf(&yaml,
                    "- {model_name: g, litellm_params: {model: azure/a%d, api_key: key-%d,\n"
                    "   api_base: 'https://h.example'}}\n",
                    i, i % 100);
    load(l, strbuf_str(&yaml));
    strbuf_deinit(&yaml);
    assert_int_equal(l->rc, 0);
    for (uint32_t i = 100; i < 400; i++)
        assert_int_equal(deployment(l, i)->account, deployment(l, i % 100)->account);
    assert_string_equal(account_of(l, 99)->name, "h.example#100");
    assert_int_equal(l->config->models.num_accounts, 101);
}

static void an_address_is_taken_in_every_form_that_is_pasted(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: azure/a, api_key: k, api_base: "
            "'https://eu.openai.azure.com/openai/deployments/real/chat/completions?"
            "api-version=2025-01-01-preview'}}\n"
            "- {model_name: g, litellm_params: {model: azure/b, api_key: k, api_version: "
            "2024-10-21, api_base: 'https://eu.openai.azure.com/openai/v1/'}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->upstream_model, "real");
    assert_string_equal(account_of(l, 0)->base, "https://eu.openai.azure.com");
    assert_string_equal(account_of(l, 0)->api_version, "2025-01-01-preview");
    assert_told(l, "the address names the deployment \"real\", the model \"a\"");
    assert_null(account_of(l, 1)->api_version);
    assert_told(l, ":3: warning: model_list[1].litellm_params.api_version: got \"2024-10-21\", "
                   "not used: the address is of the v1 form");
}

static void base_url_is_another_name_of_api_base(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: openai/gpt, base_url: "
            "'http://localhost:1/v1'}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account_of(l, 0)->base, "http://localhost:1/v1");
    assert_not_told(l, "warning");
}

static void a_row_takes_the_credential_that_it_names(void **state)
{
    struct loaded *l = *state;

    setenv("CREDENTIAL_KEY", "azure-secret-9", 1);
    setenv("AZURE_API_KEY", "key-of-another-resource", 1);
    setenv("AZURE_API_BASE", "https://another.openai.azure.com", 1);
    load(
        l,
        "credential_list:\n"
        "- credential_name: eu\n"
        "  credential_values:\n"
        "    api_key: os.environ/CREDENTIAL_KEY\n"
        "    api_base: https://eu.openai.azure.com\n"
        "    api_version: 2025-04-01-preview\n"
        "  credential_info: {description: production}\n"
        "model_list:\n"
        "- model_name: a\n"
        "  litellm_params: {model: azure/a, litellm_credential_name: eu, api_version: 2024-10-21}\n"
        "- {model_name: b, litellm_params: {model: azure/b, litellm_credential_name: eu}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account_of(l, 0)->base, "https://eu.openai.azure.com");
    assert_string_equal(account_of(l, 0)->key.data, "azure-secret-9");
    assert_string_equal(account_of(l, 0)->api_version, "2024-10-21");
    assert_string_equal(account_of(l, 1)->api_version, "2025-04-01-preview");
    assert_not_told(l, "credential");
    assert_not_told(l, "azure-secret-9");
}

static void a_credential_that_is_not_there_is_an_error_and_no_other_key_is_taken(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_KEY", "key-of-another-resource", 1);
    setenv("AZURE_API_BASE", "https://another.openai.azure.com", 1);
    load(l, "model_list:\n"
            "- {model_name: a, litellm_params: {model: azure/a, litellm_credential_name: eu}}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l,
                "main.yaml:2: skipped: model_list[0].litellm_params.litellm_credential_name: got "
                "\"eu\", wanted a credential_name of credential_list");
}

static void missing_credentials_name_the_variable(void **state)
{
    struct loaded *l = *state;

    unsetenv("OPENAI_API_KEY");
    load(l, "model_list:\n"
            "- model_name: o\n"
            "  litellm_params: {model: openai/gpt}\n"
            "- model_name: a\n"
            "  litellm_params: {model: azure/d}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l,
                ":3: skipped: model_list[0].litellm_params.api_key: missing: give the key here or "
                "in the environment variable OPENAI_API_KEY");
    assert_told(l, ":5: skipped: model_list[1].litellm_params.api_base: missing");
    assert_told(l, "AZURE_API_BASE");
    assert_told(l, ":5: skipped: model_list[1].litellm_params.api_key: missing");
    assert_told(l, "AZURE_API_KEY");
    assert_not_told(l, "no provider");
}

static void azure_rows_fall_back_on_litellms_variables(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_KEY", "k", 1);
    setenv("AZURE_API_BASE", "https://env.openai.azure.com", 1);
    setenv("AZURE_API_VERSION", "2025-03-01-preview", 1);
    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: azure/d}}\n"
            "- {model_name: g, litellm_params: {model: azure/e, azure_ad_token: tok}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account_of(l, 0)->base, "https://env.openai.azure.com");
    assert_string_equal(account_of(l, 0)->api_version, "2025-03-01-preview");
    assert_int_equal(account_of(l, 1)->auth, ACCOUNT_AUTH_BEARER);
    assert_string_equal(account_of(l, 1)->key.data, "tok");
}

static void the_same_deployment_twice_is_refused(void **state)
{
    struct loaded *l = *state;

    expect_skipped(l, "model_list:\n" AZURE_ROW("d", "") AZURE_ROW("d", ", rpm: 5"),
                   ":5: skipped: model_list[1]: the same deployment as model_list[0]");
}

/* Found by trying names; 32 bits are met by chance among some 77,000. */
static void deployments_with_one_fingerprint_by_chance_are_served(void **state)
{
    struct loaded *l = *state;
    const struct model_deployment *rows;

    load(l, "model_list:\n" AZURE_ROW("d152113", "") AZURE_ROW("d329263", "")
                AZURE_ROW("d329264", ""));
    assert_int_equal(l->rc, 0);
    rows = l->config->models.deployments;
    assert_int_equal(rows[0].fingerprint,
                     ids_deployment_fingerprint("azure", account_of(l, 0)->base, "d152113"));
    assert_int_not_equal(rows[1].fingerprint, rows[0].fingerprint);
    assert_int_equal(rows[1].real, rows[1].fingerprint);
    assert_int_not_equal(rows[2].fingerprint, rows[1].fingerprint);
}

static void a_row_like_one_whose_fingerprint_was_taken_is_known_as_the_same(void **state)
{
    struct loaded *l = *state;
    const struct model_deployment *rows;

    expect_skipped(l,
                   "model_list:\n" AZURE_ROW("d152113", "") AZURE_ROW("d329263", "")
                       AZURE_ROW("d329263", ", rpm: 5"),
                   "skipped: model_list[2]: the same deployment as model_list[1]");
    load(l, "model_list:\n" AZURE_ROW("d152113", "") AZURE_ROW(
                "d329263",
                "") "- {model_name: other, litellm_params: {model: azure/d329263, api_key: k,\n"
                    "   api_base: 'https://eu.openai.azure.com'}}\n");
    assert_int_equal(l->rc, 0);
    rows = l->config->models.deployments;
    assert_int_equal(rows[2].real, rows[1].fingerprint);
    assert_int_not_equal(rows[2].fingerprint, rows[1].fingerprint);
}

static void accounts_with_one_fingerprint_by_chance_are_refused(void **state)
{
    struct loaded *l = *state;

    expect_error(
        l,
        "model_list:\n"
        "- {model_name: g, litellm_params: {model: azure/d, api_key: a,\n"
        "   api_base: 'https://r242477.openai.azure.com'}}\n"
        "- {model_name: g, litellm_params: {model: azure/d, api_key: b,\n"
        "   api_base: 'https://r374442.openai.azure.com'}}\n",
        "model_list: the fingerprints of https://r242477.openai.azure.com and "
        "https://r374442.openai.azure.com are equal by chance, so ids could not tell them apart");
}

static void without_any_key_to_seal_ids_the_operator_is_told_what_that_means(void **state)
{
    static const char balanced[] =
        "model_list:\n" AZURE_ROW("d", "") "litellm_settings:\n"
                                           "  enable_loadbalancing_on_batch_endpoints: true\n";
    static const char warning[] = "warning: tranche_settings.seal_keys: missing, and there is no "
                                  "master key to derive one from";
    struct loaded *l = *state;
    char text[1024];

    load(l, balanced);
    assert_not_told(l, warning); /* there is a master key */
    unsetenv("LITELLM_MASTER_KEY");
    load(l, balanced);
    assert_int_equal(l->rc, 0);
    assert_told(l, warning);
    assert_told(l, "cannot outlive a restart, and no other node understands them");
    snprintf(text, sizeof(text), "%stranche_settings: {seal_keys: [0123456789abcdef]}\n", balanced);
    load(l, text);
    assert_not_told(l, warning);
}

static void two_keys_of_one_resource_live_side_by_side_with_ids(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n" AZURE_ROW(
                "d",
                "") "- model_name: g\n"
                    "  litellm_params: {model: azure/d, api_base: 'https://eu.openai.azure.com',\n"
                    "    api_key: second}\n"
                    "  model_info: {id: second}\n");
    assert_int_equal(l->rc, 0);
    assert_true(deployment(l, 0)->fingerprint != deployment(l, 1)->fingerprint);
    assert_int_equal(deployment(l, 1)->real, deployment(l, 0)->fingerprint);
}

/* An Azure deployment is where it is; at OpenAI another key may be another organisation's. */
static void rows_are_one_deployment_when_their_batches_stand_in_one_queue(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: a, litellm_params: {model: openai/m, api_key: one}}\n"
            "- {model_name: b, litellm_params: {model: openai/m, api_key: two}}\n"
            "- {model_name: c, litellm_params: {model: openai/m, api_key: one}}\n"
            "- {model_name: d, litellm_params: {model: openai/m, api_key: two}}\n"
            "- {model_name: d, litellm_params: {model: openai/n, api_key: two}}\n");
    assert_int_equal(l->rc, 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(deployment(l, i)->real, deployment(l, i < 4 ? i % 2 : i)->fingerprint);
}

static void one_deployment_may_stand_in_two_groups(void **state)
{
    struct loaded *l = *state;
    uint32_t first;

    load(l, "model_list:\n"
            "- {model_name: gpt-4o, litellm_params: {model: gpt-4o}}\n");
    first = deployment(l, 0)->fingerprint;
    load(l, "model_list:\n"
            "- {model_name: gpt-4o, litellm_params: {model: gpt-4o}}\n"
            "- {model_name: gpt-4o-batch, litellm_params: {model: gpt-4o}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(deployment(l, 0)->fingerprint, first);
    assert_true(deployment(l, 1)->fingerprint != first);
    assert_string_not_equal(deployment(l, 0)->id, deployment(l, 1)->id);
}

static void rotating_a_key_keeps_fingerprints_and_ids(void **state)
{
    struct loaded *l = *state;
    uint32_t fingerprint;
    char id[64];

    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: azure/d, api_key: old,\n"
            "   api_base: 'https://eu.openai.azure.com/openai'}}\n");
    fingerprint = deployment(l, 0)->fingerprint;
    strcpy(id, deployment(l, 0)->id);
    load(l, "model_list:\n"
            "- {model_name: g, litellm_params: {model: azure/d, api_key: new,\n"
            "   api_base: 'eu.openai.azure.com', rpm: 5}}\n");
    assert_int_equal(deployment(l, 0)->fingerprint, fingerprint);
    assert_string_equal(deployment(l, 0)->id, id);
}

static void equal_ids_are_refused(void **state)
{
    struct loaded *l = *state;

    expect_skipped(
        l,
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: openai/x}, model_info: {id: one}}\n"
        "- {model_name: b, litellm_params: {model: openai/y}, model_info: {id: one}}\n",
        ":3: skipped: model_list[1].model_info.id: the id is taken by another row, in line 2");
}

static void files_settings_come_before_the_environment(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_KEY", "env", 1);
    setenv("AZURE_API_BASE", "https://env.openai.azure.com", 1);
    load(l, "files_settings:\n"
            "- custom_llm_provider: azure\n"
            "  api_base: https://res.openai.azure.com\n"
            "  api_key: k\n"
            "  api_version: 2024-07-01-preview\n"
            "- {custom_llm_provider: azure, api_base: 'https://late.openai.azure.com'}\n"
            "- {custom_llm_provider: vertex_ai}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(default_account(l, PROVIDER_AZURE)->name, "res.openai.azure.com");
    assert_string_equal(default_account(l, PROVIDER_OPENAI)->key.data, "sk-openai-secret");
    assert_told(l, ":6: warning: files_settings[1]: ignored");
    assert_told(l, ":7: warning: files_settings[2]");
}

static void bare_calls_go_to_the_first_account_of_the_list(void **state)
{
    struct loaded *l = *state;

    load(l,
         "model_list:\n" AZURE_ROW(
             "d",
             "") "- model_name: g\n"
                 "  litellm_params: {model: azure/e, api_base: us.openai.azure.com, api_key: k}\n");
    assert_int_equal(l->rc, 0);
    assert_ptr_equal(default_account(l, PROVIDER_AZURE), account_of(l, 0));
    assert_told(l, ":2: honoured: model_list[0]: calls that name no model go to account "
                   "eu.openai.azure.com, the first of 2 for azure");
}

static void clear_text_upstream_needs_permission(void **state)
{
    static const char permission[] = "tranche_settings: {allow_insecure_upstream: true}\n";
    static const char row[] = "model_list:\n- {model_name: g, litellm_params: {model: openai/gpt, "
                              "api_base: 'http://gateway.internal/v1'}}\n";
    struct loaded *l = *state;
    char both[512];

    expect_error(l, row,
                 "litellm_params.api_base: got \"http://gateway.internal/v1\", wanted "
                 "https://");
    snprintf(both, sizeof(both), "%s%s", row, permission);
    load(l, both);
    assert_int_equal(l->rc, 0);
}

static void loopback_needs_no_permission(void **state)
{
    static const char *const hosts[] = {"127.0.0.1:8080", "127.1.2.3",    "localhost:1",
                                        "[::1]:80",       "0.0.0.0:4000", "0.0.0.0"};
    struct loaded *l = *state;
    char yaml[256];

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        snprintf(yaml, sizeof(yaml),
                 "model_list:\n- {model_name: g, litellm_params: {model: openai/gpt, api_base: "
                 "'http://%s/v1'}}\n",
                 hosts[i]);
        load(l, yaml);
        assert_int_equal(l->rc, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_says_everything_about_a_deployment),
        TEST(what_a_row_does_not_say_is_marked_as_such),
        TEST(bare_names_and_wildcards_are_openais),
        TEST(a_provider_of_its_own_field_needs_no_prefix),
        TEST(rows_of_other_providers_are_left_out_with_a_warning),
        TEST(deployments_of_one_resource_share_its_account),
        TEST(each_key_of_a_long_list_is_one_account_with_a_name_of_its_own),
        TEST(rows_of_a_long_list_with_one_key_share_its_account),
        TEST(an_address_is_taken_in_every_form_that_is_pasted),
        TEST(base_url_is_another_name_of_api_base),
        TEST(a_row_takes_the_credential_that_it_names),
        TEST(a_credential_that_is_not_there_is_an_error_and_no_other_key_is_taken),
        TEST(missing_credentials_name_the_variable),
        TEST(azure_rows_fall_back_on_litellms_variables),
        TEST(the_same_deployment_twice_is_refused),
        TEST(rows_are_one_deployment_when_their_batches_stand_in_one_queue),
        TEST(deployments_with_one_fingerprint_by_chance_are_served),
        TEST(a_row_like_one_whose_fingerprint_was_taken_is_known_as_the_same),
        TEST(accounts_with_one_fingerprint_by_chance_are_refused),
        TEST(without_any_key_to_seal_ids_the_operator_is_told_what_that_means),
        TEST(two_keys_of_one_resource_live_side_by_side_with_ids),
        TEST(one_deployment_may_stand_in_two_groups),
        TEST(rotating_a_key_keeps_fingerprints_and_ids),
        TEST(equal_ids_are_refused),
        TEST(files_settings_come_before_the_environment),
        TEST(bare_calls_go_to_the_first_account_of_the_list),
        TEST(clear_text_upstream_needs_permission),
        TEST(loopback_needs_no_permission),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
