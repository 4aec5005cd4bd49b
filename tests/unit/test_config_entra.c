/* Which credential of Entra ID a row has, and what is told of those that cannot be used. */
#include "config_entra_world.h"

/* --- (entra statement 1) --- */

static void test_entra_01_a_row_with_tenant_client_and_secret_gets_tokens(void **state)
{
    struct loaded *l = *state;
    const struct entra_credential *c;

    load(l, ROW(PRINCIPAL "    client_secret: " SECRET "\n"));
    assert_int_equal(l->rc, 0);
    c = credential(l, 0);
    assert_int_equal(c->kind, ENTRA_SECRET);
    assert_int_equal(c->source, ENTRA_SOURCE_NONE);
    assert_string_equal(c->authority, "https://login.microsoftonline.com");
    assert_string_equal(c->tenant, "contoso");
    assert_string_equal(c->client_id, "app-1");
    assert_string_equal(c->scope, "https://cognitiveservices.azure.com/.default");
    assert_string_equal(c->secret.data, SECRET);
    assert_string_equal(c->name, "client app-1 of tenant contoso, by secret");
    assert_string_equal(c->why, "client_secret");
    assert_null(c->path);
    assert_null(c->endpoint);
    assert_true(c->fingerprint != 0);
    assert_told(l, "azure deployment \"d\" of account eu.openai.azure.com, by Entra ID: client "
                   "app-1 of tenant contoso, by secret (client_secret)");
    assert_not_told(l, SECRET);
}

static void test_entra_01_a_credential_list_has_it_too(void **state)
{
    struct loaded *l = *state;

    load(l, "credential_list:\n"
            "- credential_name: eu\n"
            "  credential_values: {tenant_id: contoso, client_id: app-1, client_secret: " SECRET
            "}\n" ROW("    litellm_credential_name: eu\n"));
    assert_int_equal(l->rc, 0);
    assert_string_equal(credential(l, 0)->secret.data, SECRET);
    assert_not_told(l, SECRET);
}

static void test_entra_01_files_settings_have_it_too(void **state)
{
    struct loaded *l = *state;
    const struct model_list *models;

    load(l, "files_settings:\n- {custom_llm_provider: azure, api_base: '" BASE "', tenant_id: "
            "contoso, client_id: app-1, client_secret: " SECRET "}\n");
    assert_int_equal(l->rc, 0);
    models = &l->config->models;
    assert_int_equal(models->num_credentials, 1);
    assert_string_equal(models->credentials[0].secret.data, SECRET);
    assert_told(l,
                "azure account eu.openai.azure.com, by Entra ID: client app-1 of tenant contoso, "
                "by secret (client_secret), for calls that name no model");
}

static void test_entra_01_the_environment_has_it_too(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    load(l, ROW(""));
    assert_int_equal(l->rc, 0);
    assert_string_equal(credential(l, 0)->secret.data, SECRET);
    assert_string_equal(credential(l, 0)->why, "AZURE_CLIENT_SECRET");
}

static void test_entra_01_the_environment_alone_makes_an_account(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_API_BASE", BASE, 1);
    l->rc = config_load(NULL, NULL, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->models.num_credentials, 1);
    assert_told(l,
                "azure account eu.openai.azure.com, by Entra ID: client app-1 of tenant contoso, "
                "by secret (AZURE_CLIENT_SECRET), for calls that name no model");
}

static void test_entra_04_the_environments_resource_is_an_account_without_a_row(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_BASE", BASE, 1);
    load(l, REFRESH);
    assert_int_equal(l->rc, 0);
    assert_told(l,
                "azure account eu.openai.azure.com, by Entra ID: the machine's managed identity, "
                "by imds (enable_azure_ad_token_refresh");
    load(l, "litellm_settings: {enable_azure_ad_token_refresh: false}\n");
    assert_int_equal(l->config->models.num_credentials, 0);
}

static void test_entra_01_a_key_goes_before_everything_else(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_USERNAME", "somebody", 1);
    setenv("AZURE_PASSWORD", "hunter2-hunter2", 1);
    load(l, ROW("    api_key: key-1\n    client_secret: " SECRET "\n"
                "    azure_ad_token: oidc/env/NOT_SET\n    azure_username: x\n"));
    assert_int_equal(l->rc, 0);
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_API_KEY);
    assert_int_equal(account(l, 0)->entra, MODEL_NO_INDEX);
    assert_int_equal(l->config->models.num_credentials, 0);
    assert_told(l, "client_secret: ignored: the row has an api_key");
    assert_told(l, "azure_ad_token: ignored: the row has an api_key");
    assert_told(l, "by the key of api_key");
}

static void test_entra_01_the_environments_key_goes_before_its_principal(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_API_KEY", "key-of-env", 1);
    load(l, ROW("") REFRESH);
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_API_KEY);
    assert_told(l, "by the key of AZURE_API_KEY");
    unsetenv("AZURE_API_KEY");
    setenv("AZURE_AD_TOKEN", "a-pasted-token", 1);
    load(l, ROW("") REFRESH);
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_BEARER);
    assert_told(l, "by the token of AZURE_AD_TOKEN");
}

static void test_entra_01_a_rows_own_credential_goes_before_the_environments_key(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_API_KEY", "key-of-another-resource", 1);
    setenv("AZURE_AD_TOKEN", "token-of-another-resource", 1);
    load(l, ROW(PRINCIPAL "    client_secret: " SECRET "\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_SECRET);
    load(l, ROW("    managed_identity_client_id: mi-1\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    /* One that is not complete is no reason to use another resource's key. */
    expect_left_out(l, ROW("    client_secret: " SECRET "\n"), "tenant_id: missing: give");
    expect_left_out(l, ROW("    azure_scope: https://ai.azure.com/.default\n"),
                    "no credential of Entra ID is complete");
}

static void test_entra_01_parts_come_from_the_row_or_the_environment(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_TENANT_ID", "fabrikam", 1);
    load(l, ROW(PRINCIPAL));
    assert_string_equal(credential(l, 0)->tenant, "contoso");
    assert_string_equal(credential(l, 0)->secret.data, SECRET);
    load(l, ROW("    tenant_id: null\n    client_id: app-1\n"));
    assert_string_equal(credential(l, 0)->tenant, "fabrikam");
}

static void test_entra_01_a_row_of_openai_takes_none_of_it(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n- {model_name: g, litellm_params: {model: openai/gpt-4o, tenant_id: t, "
            "client_id: c, client_secret: " SECRET "}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(account(l, 0)->auth, ACCOUNT_AUTH_API_KEY);
    assert_told(l, "tenant_id: ignored: this row is not of Azure");
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    set_principal();
    expect_left_out(l,
                    "model_list:\n- {model_name: g, litellm_params: {model: hosted_vllm/x, "
                    "api_base: 'http://127.0.0.1:9'}}\n",
                    "gets no key of the environment's");
}

static void a_part_that_is_wrong_leaves_the_row_out(void **state)
{
    static const struct {
        const char *row, *told;
    } cases[] = {
        {ROW("    tenant_id: a/b\n    client_id: c\n    client_secret: s\n"),
         "tenant_id: got \"a/b\", wanted the id of a directory"},
        {ROW("    tenant_id: Common\n    client_id: c\n    client_secret: s\n"),
         "tenant_id: got \"Common\", wanted one directory"},
        {ROW("    tenant_id: t\n    client_id: a b\n    client_secret: s\n"),
         "client_id: got \"a b\", wanted the id of an application"},
        {ROW("    tenant_id: t\n    client_id: c\n    client_secret: '  '\n"),
         "client_secret: got blanks, wanted a text"},
        {ROW(PRINCIPAL "    client_secret: os.environ/TEST_KEY\n"),
         "client_secret: the environment variable TEST_KEY is not set"},
        {ROW(PRINCIPAL "    client_secret: s\n    client_certificate_path: /c.pem\n"),
         "client_certificate_path: the row names two credentials"},
        {ROW(PRINCIPAL "    client_secret: s\n    client_secret_path: /s\n"),
         "client_secret_path: the row names two credentials"},
        {ROW(PRINCIPAL "    client_secret: s\n    managed_identity_object_id: o\n"),
         "managed_identity_object_id: the row names two credentials"},
        {ROW(PRINCIPAL "    client_secret: s\n    azure_credential: ManagedIdentityCredential\n"),
         "azure_credential: the row names another kind of credential beside it"},
        {ROW("    azure_credential: AzureCliCredential\n"),
         "azure_credential: got \"AzureCliCredential\", wanted ClientSecretCredential"},
        {ROW("    azure_credential: WorkloadIdentityCredential\n"),
         "neither azure_federated_token_file nor"},
        {ROW(PRINCIPAL), "no credential of Entra ID is complete"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_left_out(l, cases[i].row, cases[i].told);
    expect_error(l, ROW(PRINCIPAL "    client_secret: [a]\n"), "client_secret: got a list");
}

static void one_row_that_is_left_out_does_not_stop_the_others(void **state)
{
    struct loaded *l = *state;

    expect_skipped(l, ROW(PRINCIPAL) "- {model_name: h, litellm_params: {model: openai/gpt-4o}}\n",
                   ":6: skipped: model_list[0].litellm_params.tenant_id: the row is left out");
    assert_int_equal(l->config->models.num_rows, 1);
}

/* --- (entra statements 2, 3) --- */

static void test_entra_02_scope_and_authority_follow_the_host(void **state)
{
    static const struct {
        const char *base, *authority, *scope;
    } cases[] = {
        {"https://eu.services.ai.azure.com", "https://login.microsoftonline.com",
         "https://cognitiveservices.azure.com/.default"},
        {"https://eu.openai.azure.us", "https://login.microsoftonline.us",
         "https://cognitiveservices.azure.us/.default"},
        {"https://eu.openai.azure.cn", "https://login.partner.microsoftonline.cn",
         "https://cognitiveservices.azure.cn/.default"},
        {"https://private.example", "https://login.microsoftonline.com",
         "https://cognitiveservices.azure.com/.default"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char yaml[512];

        snprintf(yaml, sizeof(yaml),
                 "model_list:\n- {model_name: g, litellm_params: {model: azure/d, api_base: '%s', "
                 "tenant_id: t, client_id: c, client_secret: s}}\n",
                 cases[i].base);
        load(l, yaml);
        assert_string_equal(credential(l, 0)->authority, cases[i].authority);
        assert_string_equal(credential(l, 0)->scope, cases[i].scope);
    }
}

static void test_entra_02_a_scope_that_is_given_is_used(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_SCOPE", "https://env.example/.default", 1);
    load(l, ROW(PRINCIPAL "    client_secret: s\n"));
    assert_string_equal(credential(l, 0)->scope, "https://env.example/.default");
    load(l,
         ROW(PRINCIPAL "    client_secret: s\n    azure_scope: https://ai.azure.com/.default\n"));
    assert_string_equal(credential(l, 0)->scope, "https://ai.azure.com/.default");
    unsetenv("AZURE_SCOPE");
    load(l, ROW(PRINCIPAL "    client_secret: s\n    azure_scope: null\n"));
    assert_string_equal(credential(l, 0)->scope, "https://cognitiveservices.azure.com/.default");
}

static void test_entra_02_a_scope_that_is_none_is_an_error_with_its_place(void **state)
{
    struct loaded *l = *state;

    load(l, ROW(PRINCIPAL "    client_secret: s\n    azure_scope: https://ai.azure.com\n"));
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, ":9: error: model_list[0].litellm_params.azure_scope: got "
                   "\"https://ai.azure.com\", wanted a resource that ends in /.default");
    assert_told(l, "(column 18)");
    load(l, ROW(PRINCIPAL "    client_secret: s\n"
                          "    azure_scope: https://a.test/.default https://b.test/.default\n"));
    assert_told(l, "wanted one resource");
    setenv("AZURE_SCOPE", "everything", 1);
    load(l, ROW(PRINCIPAL "    client_secret: s\n"));
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "environment: error: AZURE_SCOPE: got \"everything\", wanted a resource");
}

static void test_entra_03_the_authority_may_be_told(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/", 1);
    load(l, "model_list:\n- {model_name: g, litellm_params: {model: azure/d, api_base: "
            "'https://private.example', tenant_id: t, client_id: c, client_secret: s}}\n");
    assert_string_equal(credential(l, 0)->authority, "https://login.microsoftonline.us");
    assert_string_equal(credential(l, 0)->scope, "https://cognitiveservices.azure.us/.default");
    load(l, ROW(PRINCIPAL "    client_secret: s\n"));
    assert_told(l, "AZURE_AUTHORITY_HOST: got \"https://login.microsoftonline.us/\", which is of "
                   "the US Government cloud, and the resource of the global one");
    assert_string_equal(credential(l, 0)->scope, "https://cognitiveservices.azure.com/.default");
    load(l,
         ROW(PRINCIPAL "    client_secret: s\n    azure_authority_host: 'http://127.0.0.1:9'\n"));
    assert_string_equal(credential(l, 0)->authority, "http://127.0.0.1:9");
    load(l, ROW(PRINCIPAL "    client_secret: s\n    azure_authority_host: 'http://a.test'\n"));
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "azure_authority_host: got \"http://a.test\", wanted https://");
}

/* --- (entra statement 4) --- */

static void test_entra_04_the_environments_order(void **state)
{
    struct loaded *l = *state;
    EVP_PKEY *key = make_rsa(2048);
    X509 *x = make_certificate(key, "app", key, "app");
    char path[128];

    write_proof(l, key, NULL, x);
    X509_free(x);
    EVP_PKEY_free(key);
    snprintf(path, sizeof(path), "%s/proof", l->dir);
    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_FEDERATED_TOKEN_FILE", "/dev/null", 1);
    setenv("AZURE_CERTIFICATE_PATH", path, 1);
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_SECRET);
    unsetenv("AZURE_CLIENT_SECRET");
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_ASSERTION_FILE);
    assert_string_equal(credential(l, 0)->path, "/dev/null");
    assert_string_equal(credential(l, 0)->why, "AZURE_FEDERATED_TOKEN_FILE");
    unsetenv("AZURE_FEDERATED_TOKEN_FILE");
    /* LiteLLM never gets here: a client id is a managed identity there. */
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_CERTIFICATE);
    assert_string_equal(credential(l, 0)->why, "AZURE_CERTIFICATE_PATH");
    unsetenv("AZURE_CERTIFICATE_PATH");
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    assert_int_equal(credential(l, 0)->selector, ENTRA_BY_CLIENT_ID);
    assert_string_equal(credential(l, 0)->selector_value, "app-1");
    assert_null(credential(l, 0)->client_id);
    assert_told(l, "by Entra ID: managed identity of client app-1, by imds "
                   "(enable_azure_ad_token_refresh, and the environment has no complete secret");
    unsetenv("AZURE_CLIENT_ID");
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->selector, ENTRA_SELECT_NONE);
    assert_string_equal(credential(l, 0)->name, "the machine's managed identity, by imds");
}

static void test_entra_04_without_the_setting_a_secret_alone_is_taken(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_FEDERATED_TOKEN_FILE", "/dev/null", 1);
    expect_left_out(l, ROW(""),
                    "api_key: missing; AZURE_FEDERATED_TOKEN_FILE is set, and "
                    "litellm_settings.enable_azure_ad_token_refresh: true would use it");
    load(l, ROW(PRINCIPAL));
    assert_int_equal(credential(l, 0)->kind, ENTRA_ASSERTION_FILE);
}

static void test_entra_04_a_half_secret_is_told_before_the_machines_identity_is_used(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    assert_told(l,
                "warning: AZURE_CLIENT_SECRET: not used: AZURE_TENANT_ID and AZURE_CLIENT_ID are "
                "not both set");
}

static void test_entra_04_a_class_goes_before_the_order(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET, 1);
    setenv("AZURE_FEDERATED_TOKEN_FILE", "/dev/null", 1);
    setenv("AZURE_CREDENTIAL", "WorkloadIdentityCredential", 1);
    load(l, ROW("    azure_scope: https://ai.azure.com/.default\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_ASSERTION_FILE);
    setenv("AZURE_CREDENTIAL", "ManagedIdentityCredential", 1);
    load(l, ROW("    azure_scope: https://ai.azure.com/.default\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    assert_string_equal(credential(l, 0)->why, "AZURE_CREDENTIAL");
    load(l, ROW("    azure_credential: EnvironmentCredential\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_SECRET);
    load(l, ROW("    azure_credential: DefaultAzureCredential\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_SECRET);
    setenv("AZURE_CREDENTIAL", "AzureCliCredential", 1);
    load(l, ROW("    azure_scope: https://ai.azure.com/.default\n"));
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "AZURE_CREDENTIAL: got \"AzureCliCredential\", wanted");
}

/* --- (entra statements 5, 6) --- */

static void test_entra_05_references_name_an_assertion(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_FEDERATED_TOKEN_FILE", "/dev/null", 1);
    load(l, ROW(PRINCIPAL "    azure_ad_token: oidc/azure/api://x\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_ASSERTION_FILE);
    assert_string_equal(credential(l, 0)->path, "/dev/null");
    load(l, ROW(PRINCIPAL "    azure_ad_token: oidc/azure/\n"));
    assert_string_equal(credential(l, 0)->why, "azure_ad_token: oidc/azure");
    load(l, ROW(PRINCIPAL "    azure_ad_token: oidc/file//dev/zero\n"));
    assert_string_equal(credential(l, 0)->path, "/dev/zero");
    setenv("TEST_KEY", "head.claims.signature\n", 1);
    load(l, ROW(PRINCIPAL "    azure_ad_token: oidc/env/TEST_KEY\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_ASSERTION_ENV);
    assert_string_equal(credential(l, 0)->secret.data, "head.claims.signature");
    assert_not_told(l, "head.claims");
    setenv("TEST_KEY", "/dev/full", 1);
    load(l, ROW(PRINCIPAL "    azure_ad_token: oidc/env_path/TEST_KEY\n"));
    assert_string_equal(credential(l, 0)->path, "/dev/full");
    set_principal();
    setenv("AZURE_AD_TOKEN", "oidc/env_path/TEST_KEY", 1);
    load(l, ROW(""));
    assert_string_equal(credential(l, 0)->path, "/dev/full");
}

static void test_entra_05_other_references_are_errors(void **state)
{
    static const struct {
        const char *reference, *told;
    } cases[] = {
        {"oidc/github/x", "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or"},
        {"oidc/google/x", "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or"},
        {"oidc/circleci/x", "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or"},
        {"oidc/circleci_v2/x", "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or"},
        {"oidc/", "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or"},
        {"oidc/azure/x", "AZURE_FEDERATED_TOKEN_FILE is not set"},
        {"oidc/file/var/run/token", "wanted a path from the root"},
        {"oidc/env/TEST_KEY", "the environment variable that it names is not set"},
        {"oidc/env/", "the environment variable that it names is not set"},
        {"oidc/env_path/TEST_KEY", "the environment variable that it names is not set"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char yaml[512];

        snprintf(yaml, sizeof(yaml), ROW(PRINCIPAL "    azure_ad_token: %s\n"), cases[i].reference);
        expect_left_out(l, yaml, cases[i].told);
        assert_told(l, "azure_ad_token: got ***");
    }
    setenv("TEST_KEY", "no assertion", 1);
    expect_left_out(l, ROW(PRINCIPAL "    azure_ad_token: oidc/env/TEST_KEY\n"),
                    "holds no assertion");
    expect_left_out(l, ROW("    azure_ad_token: oidc/file//dev/zero\n"), "tenant_id: missing");
    expect_left_out(l, ROW("    api_key: oidc/file//dev/zero\n"), "stand in azure_ad_token");
}

static void test_entra_06_an_assertions_file_may_come_later(void **state)
{
    struct loaded *l = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/proof", l->dir);
    load(l, ROW(PRINCIPAL "    azure_federated_token_file: proof\n"));
    assert_int_equal(l->rc, 0);
    assert_string_equal(credential(l, 0)->path, path);
    assert_told(l, "warning: model_list[0].litellm_params.azure_federated_token_file: the file /");
    assert_told(l, "/proof cannot be read now: No such file");
    write_file(l, "proof", "assertion\n");
    load(l, ROW(PRINCIPAL "    azure_federated_token_file: proof\n"));
    assert_not_told(l, "cannot be read");
    setenv("AZURE_KUBERNETES_TOKEN_PROXY", "https://proxy", 1);
    load(l, ROW(PRINCIPAL "    azure_federated_token_file: proof\n"));
    assert_told(l, "AZURE_KUBERNETES_TOKEN_PROXY: ignored: identity bindings");
}

/* --- (entra statement 21) --- */

static void test_entra_21_equal_rows_are_one_credential_and_one_account(void **state)
{
    struct loaded *l = *state;

    load(l,
         ROW(PRINCIPAL
             "    client_secret: s\n") "- {model_name: h, litellm_params: {model: azure/e, "
                                       "api_base: '" BASE "/', tenant_id: "
                                       "contoso, client_id: app-1, client_secret: s}}\n"
                                       "- {model_name: i, litellm_params: {model: azure/d, "
                                       "api_base: 'https://us.openai.azure"
                                       ".com', tenant_id: contoso, client_id: app-1, "
                                       "client_secret: s}}\n"
                                       "- {model_name: j, litellm_params: {model: azure/d, "
                                       "api_base: '" BASE "', tenant_id: "
                                       "contoso, client_id: app-1, client_secret: s, azure_scope: "
                                       "'https://ai.azure.com/.default'}}\n"
                                       "- {model_name: k, litellm_params: {model: azure/d, "
                                       "api_base: '" BASE "', api_key: k}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->models.num_credentials, 2);
    assert_int_equal(deployment(l, 0)->account, deployment(l, 1)->account);
    assert_true(deployment(l, 0)->account != deployment(l, 2)->account);
    assert_int_equal(account(l, 0)->entra, account(l, 2)->entra);
    assert_true(account(l, 0)->entra != account(l, 3)->entra);
    assert_string_equal(credential(l, 3)->name, "client app-1 of tenant contoso, by secret #2");
    assert_int_equal(account(l, 4)->auth, ACCOUNT_AUTH_API_KEY);
    /* One deployment whatever opens it: its tokens are counted once. */
    assert_int_equal(deployment(l, 3)->real, deployment(l, 0)->fingerprint);
    assert_int_equal(deployment(l, 4)->real, deployment(l, 0)->fingerprint);
}

static void test_entra_21_no_secret_is_part_of_an_id(void **state)
{
    struct loaded *l = *state;
    uint64_t credential_before;
    uint32_t before;
    char id[64];

    load(l, ROW(PRINCIPAL "    client_secret: one\n"));
    snprintf(id, sizeof(id), "%s", deployment(l, 0)->id);
    before = deployment(l, 0)->fingerprint;
    credential_before = credential(l, 0)->fingerprint;
    load(l, ROW(PRINCIPAL "    client_secret: two\n"));
    assert_string_equal(deployment(l, 0)->id, id);
    assert_int_equal(deployment(l, 0)->fingerprint, before);
    assert_true(credential(l, 0)->fingerprint != credential_before);
    load(l, ROW("    api_key: k\n"));
    assert_string_equal(deployment(l, 0)->id, id);
    assert_int_equal(deployment(l, 0)->fingerprint, before);
}

static void more_credentials_than_there_is_room_for_are_an_error(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "model_list:\n");
    for (int i = 0; i < ENTRA_MAX_CREDENTIALS; i++)
        strbuf_addf(&yaml,
                    "- {model_name: g%d, litellm_params: {model: azure/d, api_base: '" BASE
                    "', tenant_id: t, client_id: c%d, client_secret: s}}\n",
                    i, i);
    load(l, strbuf_str(&yaml));
    assert_int_equal(l->rc, 0);
    strbuf_adds(&yaml, "- {model_name: g, litellm_params: {model: azure/d, api_base: '" BASE
                       "', tenant_id: t, client_id: c, client_secret: s}}\n");
    expect_error(l, strbuf_str(&yaml),
                 ":1: error: model_list: the rows have 1025 credentials of Entra ID, wanted 1024");
    strbuf_deinit(&yaml);
}

/* --- (entra statements 25, 26) --- */

static void test_entra_25_the_line_end_of_a_mounted_secret_is_cut_off_with_a_warning(void **state)
{
    struct loaded *l = *state;

    set_principal();
    setenv("AZURE_CLIENT_SECRET", SECRET "\n", 1);
    load(l, ROW(""));
    assert_string_equal(credential(l, 0)->secret.data, SECRET);
    assert_told(l, "warning: AZURE_CLIENT_SECRET: white space around its value is cut off");
    load(l, ROW(PRINCIPAL "    client_secret: |\n      " SECRET "\n"));
    assert_string_equal(credential(l, 0)->secret.data, SECRET);
    assert_told(l, "client_secret: white space around the value is cut off");
    assert_not_told(l, SECRET);
    setenv("AZURE_CLIENT_SECRET", "two words", 1);
    load(l, ROW(""));
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "AZURE_CLIENT_SECRET: got ***, wanted visible ASCII");
}

static void test_entra_25_a_file_may_have_the_secret(void **state)
{
    struct loaded *l = *state;
    char path[128];

    write_file(l, "proof", SECRET "\n");
    snprintf(path, sizeof(path), "%s/proof", l->dir);
    load(l, ROW(PRINCIPAL "    client_secret_path: proof\n"));
    assert_int_equal(l->rc, 0);
    assert_int_equal(credential(l, 0)->kind, ENTRA_SECRET);
    assert_string_equal(credential(l, 0)->path, path);
    assert_false(secret_is_set(&credential(l, 0)->secret));
    load(l, ROW(PRINCIPAL "    client_secret: /run/secrets/azure\n"));
    assert_told(l, "client_secret: got ***, which looks like a path: client_secret_path names");
}

static void test_entra_26_user_and_password_are_refused(void **state)
{
    struct loaded *l = *state;

    expect_left_out(l, ROW("    client_id: c\n    azure_username: u\n    azure_password: p\n"),
                    "azure_username: the row is left out: a user's name and password get no token");
    expect_left_out(l, ROW(PRINCIPAL "    client_secret: s\n    azure_password: hunter2-hunter2\n"),
                    "azure_password: the row is left out");
    assert_not_told(l, "hunter2");
}

static void test_entra_26_the_environments_user_is_told_and_not_used(void **state)
{
    struct loaded *l = *state;

    setenv("AZURE_CLIENT_ID", "app-1", 1);
    setenv("AZURE_USERNAME", "somebody", 1);
    setenv("AZURE_PASSWORD", "hunter2-hunter2", 1);
    expect_left_out(l, ROW(""),
                    "api_key: missing; the user's name and password of AZURE_USERNAME and "
                    "AZURE_PASSWORD get no token here");
    load(l, ROW("") REFRESH);
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    assert_told(l, "warning: AZURE_USERNAME: ignored, as AZURE_PASSWORD is");
    load(l, ROW("    managed_identity_client_id: m\n"));
    assert_int_equal(credential(l, 0)->kind, ENTRA_MANAGED);
    assert_not_told(l, "AZURE_USERNAME");
    assert_not_told(l, "hunter2");
}

/* --- what is told --- */

static void what_describes_a_row_names_its_credential_and_no_secret(void **state)
{
    struct loaded *l = *state;
    struct strbuf out = STRBUF_INIT;

    load(l, ROW(PRINCIPAL "    client_secret: " SECRET "\n"));
    config_describe(l->config, &out);
    assert_non_null(strstr(out.data,
                           "tokens of Entra ID: client app-1 of tenant contoso, by secret, "
                           "because of client_secret"));
    assert_non_null(strstr(out.data, "from https://login.microsoftonline.com for "
                                     "https://cognitiveservices.azure.com/.default"));
    assert_null(strstr(out.data, SECRET));
    strbuf_deinit(&out);
}

static void a_secret_in_the_wrong_field_is_not_shown(void **state)
{
    struct loaded *l = *state;

    load(l, ROW("    tenant_id: contoso\n"
                "    client_id: sk-0123456789abcdef0123456789abcdef\n    client_secret: s\n"));
    assert_int_equal(l->rc, 0);
    assert_string_equal(credential(l, 0)->name, "client *** of tenant contoso, by secret");
    assert_not_told(l, "0123456789abcdef");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENTRA_TEST(test_entra_01_a_row_with_tenant_client_and_secret_gets_tokens),
        ENTRA_TEST(test_entra_01_a_credential_list_has_it_too),
        ENTRA_TEST(test_entra_01_files_settings_have_it_too),
        ENTRA_TEST(test_entra_01_the_environment_has_it_too),
        ENTRA_TEST(test_entra_01_the_environment_alone_makes_an_account),
        ENTRA_TEST(test_entra_04_the_environments_resource_is_an_account_without_a_row),
        ENTRA_TEST(test_entra_01_a_key_goes_before_everything_else),
        ENTRA_TEST(test_entra_01_the_environments_key_goes_before_its_principal),
        ENTRA_TEST(test_entra_01_a_rows_own_credential_goes_before_the_environments_key),
        ENTRA_TEST(test_entra_01_parts_come_from_the_row_or_the_environment),
        ENTRA_TEST(test_entra_01_a_row_of_openai_takes_none_of_it),
        ENTRA_TEST(a_part_that_is_wrong_leaves_the_row_out),
        ENTRA_TEST(one_row_that_is_left_out_does_not_stop_the_others),
        ENTRA_TEST(test_entra_02_scope_and_authority_follow_the_host),
        ENTRA_TEST(test_entra_02_a_scope_that_is_given_is_used),
        ENTRA_TEST(test_entra_02_a_scope_that_is_none_is_an_error_with_its_place),
        ENTRA_TEST(test_entra_03_the_authority_may_be_told),
        ENTRA_TEST(test_entra_04_the_environments_order),
        ENTRA_TEST(test_entra_04_without_the_setting_a_secret_alone_is_taken),
        ENTRA_TEST(test_entra_04_a_half_secret_is_told_before_the_machines_identity_is_used),
        ENTRA_TEST(test_entra_04_a_class_goes_before_the_order),
        ENTRA_TEST(test_entra_05_references_name_an_assertion),
        ENTRA_TEST(test_entra_05_other_references_are_errors),
        ENTRA_TEST(test_entra_06_an_assertions_file_may_come_later),
        ENTRA_TEST(test_entra_21_equal_rows_are_one_credential_and_one_account),
        ENTRA_TEST(test_entra_21_no_secret_is_part_of_an_id),
        ENTRA_TEST(more_credentials_than_there_is_room_for_are_an_error),
        ENTRA_TEST(test_entra_25_the_line_end_of_a_mounted_secret_is_cut_off_with_a_warning),
        ENTRA_TEST(test_entra_25_a_file_may_have_the_secret),
        ENTRA_TEST(test_entra_26_user_and_password_are_refused),
        ENTRA_TEST(test_entra_26_the_environments_user_is_told_and_not_used),
        ENTRA_TEST(what_describes_a_row_names_its_credential_and_no_secret),
        ENTRA_TEST(a_secret_in_the_wrong_field_is_not_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
