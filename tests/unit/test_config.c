/* Files as operators write them: what becomes of them, and what they are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "config/config.h"

static const char *const variables[] = {"OPENAI_API_KEY",
                                        "OPENAI_BASE_URL",
                                        "OPENAI_API_BASE",
                                        "OPENAI_ORGANIZATION",
                                        "OPENAI_ORG_ID",
                                        "OPENAI_PROJECT_ID",
                                        "AZURE_API_KEY",
                                        "AZURE_OPENAI_API_KEY",
                                        "AZURE_API_BASE",
                                        "AZURE_API_VERSION",
                                        "AZURE_AD_TOKEN",
                                        "LITELLM_MASTER_KEY",
                                        "HOST",
                                        "PORT",
                                        "NUM_WORKERS",
                                        "TMPDIR"};

struct loaded {
    struct config *config;
    struct config_report report;
    struct strbuf text; /* the report, printed */
    char dir[64];
    int rc;
};

static void forget(struct loaded *l)
{
    config_free(l->config);
    config_report_free(&l->report);
    strbuf_deinit(&l->text);
    l->config = NULL;
}

static int set_up(void **state)
{
    struct loaded *l = calloc(1, sizeof(*l));

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    setenv("OPENAI_API_KEY", "sk-openai-secret", 1);
    setenv("LITELLM_MASTER_KEY", "sk-master-secret", 1);
    strcpy(l->dir, "/tmp/tranche-test-XXXXXX");
    *state = l;
    return mkdtemp(l->dir) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"main.yaml",  "a.yaml",   "b.yaml",
                                        "sub/c.yaml", "cert.pem", "key.pem"};
    struct loaded *l = *state;
    char path[128];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", l->dir, files[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/sub", l->dir);
    rmdir(path);
    rmdir(l->dir);
    forget(l);
    free(l);
    return 0;
}

static void write_bytes(const struct loaded *l, const char *name, const char *bytes, size_t len)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", l->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void write_file(const struct loaded *l, const char *name, const char *text)
{
    write_bytes(l, name, text, strlen(text));
}

static void load_with(struct loaded *l, const struct config_overrides *overrides)
{
    char path[128];

    forget(l);
    snprintf(path, sizeof(path), "%s/main.yaml", l->dir);
    l->rc = config_load(path, overrides, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc == 0, l->config != NULL);
    assert_int_equal(l->rc == 0, l->report.num_errors == 0);
}

static void load_bytes(struct loaded *l, const char *bytes, size_t len)
{
    write_bytes(l, "main.yaml", bytes, len);
    load_with(l, NULL);
}

static void load(struct loaded *l, const char *yaml)
{
    load_bytes(l, yaml, strlen(yaml));
}

#define assert_told(l, part)                                                                       \
    do {                                                                                           \
        if (strstr(strbuf_str(&(l)->text), part) == NULL)                                          \
            fail_msg("\"%s\" is not in:\n%s", part, strbuf_str(&(l)->text));                       \
    } while (0)
#define assert_not_told(l, part) assert_null(strstr(strbuf_str(&(l)->text), part))

/* Loads, and there is this one error. */
static void expect_error(struct loaded *l, const char *yaml, const char *part)
{
    load(l, yaml);
    assert_told(l, part);
    assert_int_equal(l->report.num_errors, 1);
    assert_int_equal(l->rc, ERR_INVALID);
}

static const struct model_deployment *deployment(const struct loaded *l, size_t i)
{
    assert_non_null(l->config);
    assert_true(i < l->config->models.num_deployments);
    return &l->config->models.deployments[i];
}

static const struct model_account *account_of(const struct loaded *l, size_t i)
{
    return &l->config->models.accounts[deployment(l, i)->account];
}

static const struct model_account *default_account(const struct loaded *l, enum provider provider)
{
    uint32_t i = l->config->models.default_deployment[provider];

    assert_true(i != MODEL_NO_INDEX);
    assert_null(deployment(l, i)->group);
    return account_of(l, i);
}

/* One Azure row with further fields in litellm_params. */
#define AZURE_ROW(name, fields)                                                                    \
    "- model_name: g\n"                                                                            \
    "  litellm_params: {model: azure/" name ", api_base: 'https://eu.openai.azure.com',\n"         \
    "    api_key: azure-secret-1" fields "}\n"

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
            "  model_info: {id: eu-1, mode: batch, base_model: azure/gpt-4o}\n");
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
            "- {model_name: i, litellm_params: {model: azure_ai/phi}}\n"
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
            "- {model_name: g, litellm_params: {model: gpt, base_url: 'http://localhost:1/v1'}}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(account_of(l, 0)->base, "http://localhost:1/v1");
    assert_not_told(l, "warning");
}

static void missing_credentials_name_the_variable(void **state)
{
    struct loaded *l = *state;

    unsetenv("OPENAI_API_KEY");
    load(l, "model_list:\n"
            "- model_name: o\n"
            "  litellm_params: {model: gpt}\n"
            "- model_name: a\n"
            "  litellm_params: {model: azure/d}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, ":3: error: model_list[0].litellm_params.api_key: missing: give the key here or "
                   "in the environment variable OPENAI_API_KEY");
    assert_told(l, ":5: error: model_list[1].litellm_params.api_base: missing");
    assert_told(l, "AZURE_API_BASE");
    assert_told(l, ":5: error: model_list[1].litellm_params.api_key: missing");
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

    expect_error(l, "model_list:\n" AZURE_ROW("d", "") AZURE_ROW("d", ", rpm: 5"),
                 ":5: error: model_list[1]: the same deployment as model_list[0]");
}

/* Found by trying names; 32 bits are met by chance among some 77,000. */
static void deployments_with_one_fingerprint_by_chance_are_refused(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "model_list:\n" AZURE_ROW("d152113", "") AZURE_ROW("d329263", ""),
                 ":5: error: model_list: the fingerprints of deployments ");
    load(l, "model_list:\n" AZURE_ROW("d152113", "") AZURE_ROW("d329264", ""));
    assert_int_equal(l->rc, 0);
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

    expect_error(
        l,
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: x}, model_info: {id: one}}\n"
        "- {model_name: b, litellm_params: {model: y}, model_info: {id: one}}\n",
        ":3: error: model_list[1].model_info.id: the id is taken by another row, in line 2");
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
    static const char row[] = "model_list:\n- {model_name: g, litellm_params: {model: gpt, "
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
    static const char *const hosts[] = {"127.0.0.1:8080", "127.1.2.3", "localhost:1", "[::1]:80"};
    struct loaded *l = *state;
    char yaml[256];

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        snprintf(yaml, sizeof(yaml),
                 "model_list:\n- {model_name: g, litellm_params: {model: gpt, api_base: "
                 "'http://%s/v1'}}\n",
                 hosts[i]);
        load(l, yaml);
        assert_int_equal(l->rc, 0);
    }
}

static void wrong_values_say_file_line_field_got_and_wanted(void **state)
{
    struct loaded *l = *state;
    char start[128];

    load(l, "model_list:\n" AZURE_ROW(
                "d", ",\n    rpm: 600.5") "router_settings:\n"
                                          "  num_retries: 5abc\n"
                                          "litellm_settings:\n"
                                          "  enable_loadbalancing_on_batch_endpoints: nope\n");
    assert_int_equal(l->report.num_errors, 3);
    snprintf(start, sizeof(start), "%s/main.yaml:5: error: ", l->dir);
    assert_told(l, start);
    assert_told(l, "model_list[0].litellm_params.rpm: got \"600.5\", wanted an integer of 0 or "
                   "more\n");
    assert_told(l, "main.yaml:7: error: router_settings.num_retries: got \"5abc\"");
    assert_told(l, "main.yaml:9: error: "
                   "litellm_settings.enable_loadbalancing_on_batch_endpoints: got \"nope\", wanted "
                   "true or false");
}

static void notes_come_in_the_order_of_the_file(void **state)
{
    struct loaded *l = *state;
    unsigned line = 0;

    load(l, "tranche_settings: {port: x, hosst: y}\n"
            "model_list:\n" AZURE_ROW("d", ", rpm: x") "nonsense: 1\n"
                                                       "general_settings: {master_key: k}\n");
    assert_true(l->report.num_notes >= 5);
    for (size_t i = 0; i < l->report.num_notes; i++) {
        if (l->report.notes[i].file == NULL)
            continue;
        assert_true(l->report.notes[i].line >= line);
        line = l->report.notes[i].line;
    }
}

static void misspelt_keys_get_a_guess(void **state)
{
    struct loaded *l = *state;

    load(l, "model_lits: []\n"
            "litellm_settings: {enable_loadbalancing_on_batch_endpoint: true}\n"
            "router_settings: {routing_stratgey: least-busy}\n"
            "general_settings: {drop_params: true, Master_key: x}\n"
            "tranche_settings: {limits: {max_line: {azure: 1}}, connect_ms: 5}\n"
            "zzz: 1\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":1: warning: model_lits: unknown key, did you mean \"model_list\"?");
    assert_told(l, "did you mean \"enable_loadbalancing_on_batch_endpoints\"?");
    assert_told(l, ":3: warning: router_settings.routing_stratgey: unknown key, did you mean "
                   "\"routing_strategy\"?");
    assert_told(l, "general_settings.Master_key: unknown key, did you mean \"master_key\"?");
    assert_told(l, "max_line: unknown key, did you mean \"max_lines\"?");
    assert_told(l, "tranche_settings.connect_ms: unknown key here, it belongs under \"timeouts\"");
    assert_told(l, ":6: warning: zzz: unknown key, ignored");
}

static void settings_that_only_litellm_has_are_told_as_ignored(void **state)
{
    struct loaded *l = *state;

    load(l, "litellm_settings: {drop_params: true, callbacks: [prometheus]}\n"
            "general_settings: {database_url: 'postgresql://u:hunter2@h/d'}\n"
            "model_list:\n" AZURE_ROW("d", ", temperature: 0.5") "guardrails: []\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":1: warning: litellm_settings.drop_params: ignored");
    assert_told(l, ":1: warning: litellm_settings.callbacks: ignored");
    assert_told(l, ":2: warning: general_settings.database_url: ignored");
    assert_told(l, "model_list[0].litellm_params.temperature: ignored");
    assert_told(l, "warning: guardrails: ignored");
    assert_not_told(l, "hunter2");
}

static void router_settings_win_over_litellm_settings(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings: {num_retries: 1, timeout: 30, routing_strategy: least-busy}\n"
            "litellm_settings: {num_retries: 2, request_timeout: 60, allowed_fails: 4,\n"
            "  cooldown_time: 0.5}\n"
            "model_list:\n" AZURE_ROW("d", "") AZURE_ROW("e", ", timeout: 10s"));
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, 1);
    assert_int_equal(l->config->allowed_fails, 4);
    assert_int_equal(l->config->cooldown_ms, 500);
    assert_string_equal(l->config->routing_strategy, "least-busy");
    assert_int_equal(deployment(l, 0)->timeout_ms, 30000);
    assert_int_equal(deployment(l, 1)->timeout_ms, 10000);
}

static void a_strategy_nobody_knows_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "router_settings:\n  routing_strategy: simple-shufle\n",
                 ":2: error: router_settings.routing_strategy: got \"simple-shufle\", wanted one "
                 "of simple-shuffle, least-busy");
    load(l, "router_settings:\n  routing_strategy: cost-based-routing\n");
    assert_int_equal(l->rc, 0);
    assert_null(l->config->routing_strategy);
    assert_told(l, ":2: warning:");
}

static void every_setting_of_ours_is_taken_over(void **state)
{
    struct loaded *l = *state;
    char wanted[128];

    write_file(l, "cert.pem", "c");
    write_file(l, "key.pem", "k");
    load(l, "tranche_settings:\n"
            "  host: 127.0.0.9\n"
            "  port: 4001\n"
            "  num_workers: 3\n"
            "  spool_dir: .\n"
            "  spool_limit: 1GiB\n"
            "  upstream_ca_file: cert.pem\n"
            "  allow_insecure_upstream: yes\n"
            "  log_level: debug\n"
            "  seal_keys: [0123456789abcdef, fedcba9876543210]\n"
            "  tls: {cert_file: cert.pem, key_file: key.pem}\n"
            "  limits:\n"
            "    max_file_bytes: {openai: 1MB, azure: 2MB}\n"
            "    max_lines: {openai: 3, azure: 4}\n"
            "    max_other_file_bytes: 5MB\n"
            "    max_line_bytes: 6MiB\n"
            "    max_json_bytes: 7MiB\n"
            "    max_connections: 8\n"
            "    max_connections_per_address: 9\n"
            "    min_body_rate: 10\n"
            "  timeouts:\n"
            "    connect_ms: 11\n"
            "    first_byte_ms: 12s\n"
            "    json_total_ms: 13\n"
            "    low_speed_ms: 14\n"
            "    list_ms: 15\n"
            "    shutdown_grace_ms: 0\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->host, "127.0.0.9");
    assert_int_equal(l->config->port, 4001);
    assert_int_equal(l->config->num_workers, 3);
    snprintf(wanted, sizeof(wanted), "%s/.", l->dir);
    assert_string_equal(l->config->spool_dir, wanted);
    snprintf(wanted, sizeof(wanted), "%s/cert.pem", l->dir);
    assert_string_equal(l->config->upstream_ca_file, wanted);
    assert_string_equal(l->config->tls_cert_file, wanted);
    snprintf(wanted, sizeof(wanted), "%s/key.pem", l->dir);
    assert_string_equal(l->config->tls_key_file, wanted);
    assert_int_equal(l->config->limits.spool_bytes, 1 << 30);
    assert_true(l->config->allow_insecure_upstream);
    assert_int_equal(l->config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(l->config->num_seal_keys, 2);
    assert_string_equal(l->config->seal_keys[1].data, "fedcba9876543210");
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_OPENAI], 1000000);
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_AZURE], 2000000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_OPENAI], 3);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_AZURE], 4);
    assert_int_equal(l->config->limits.max_other_file_bytes, 5000000);
    assert_int_equal(l->config->limits.max_line_bytes, 6 << 20);
    assert_int_equal(l->config->limits.max_json_bytes, 7 << 20);
    assert_int_equal(l->config->limits.max_connections, 8);
    assert_int_equal(l->config->limits.max_connections_per_address, 9);
    assert_int_equal(l->config->limits.min_body_rate, 10);
    assert_int_equal(l->config->timeouts.connect_ms, 11);
    assert_int_equal(l->config->timeouts.first_byte_ms, 12000);
    assert_int_equal(l->config->timeouts.json_total_ms, 13);
    assert_int_equal(l->config->timeouts.low_speed_ms, 14);
    assert_int_equal(l->config->timeouts.list_ms, 15);
    assert_int_equal(l->config->timeouts.shutdown_grace_ms, 0);
}

static void the_defaults_are_those_of_the_header(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list: []\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->host, "0.0.0.0");
    assert_int_equal(l->config->port, 4000);
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_AZURE], 200000000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_OPENAI], 50000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_AZURE], 100000);
    assert_int_equal(l->config->limits.max_line_bytes, 4 << 20);
    assert_true(l->config->limits.spool_bytes == (uint64_t)10 << 30);
    assert_int_equal(l->config->timeouts.list_ms, 3000);
    assert_null(l->config->routing_strategy);
    assert_string_equal(l->config->spool_dir, "/tmp");
    assert_false(l->config->balance_batches);
    assert_null(l->config->tls_cert_file);
}

static void the_command_line_wins_over_the_file_over_the_environment(void **state)
{
    const struct config_overrides overrides = {"127.0.0.3", 0, 7};
    const struct config_overrides wrong = {"", 65536, 0};
    struct loaded *l = *state;

    setenv("PORT", "1", 1);
    setenv("HOST", "127.0.0.1", 1);
    setenv("NUM_WORKERS", "1", 1);
    load(l, "tranche_settings: {port: 2, host: 127.0.0.2}\n");
    assert_string_equal(l->config->host, "127.0.0.2");
    assert_int_equal(l->config->port, 2);
    assert_int_equal(l->config->num_workers, 1);
    load_with(l, &overrides);
    assert_string_equal(l->config->host, "127.0.0.3");
    assert_int_equal(l->config->port, 0);
    assert_int_equal(l->config->num_workers, 7);
    load_with(l, &wrong);
    assert_int_equal(l->report.num_errors, 3);
    assert_told(l, "command line: error: --port: got 65536, wanted an integer from 0 to 65535");
}

static void half_a_tls_pair_is_an_error(void **state)
{
    struct loaded *l = *state;

    write_file(l, "cert.pem", "c");
    expect_error(l, "tranche_settings:\n  tls:\n    cert_file: cert.pem\n",
                 "tranche_settings.tls.key_file: missing");
    expect_error(l, "tranche_settings:\n  upstream_ca_file: nowhere.pem\n",
                 ":2: error: tranche_settings.upstream_ca_file: got \"");
}

static void a_spool_that_cannot_be_written_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "tranche_settings:\n  spool_dir: /nonexistent\n",
                 ":2: error: tranche_settings.spool_dir: got \"/nonexistent\", wanted a directory");
}

static void weak_seal_keys_are_warned_about_unseen(void **state)
{
    struct loaded *l = *state;

    load(l, "tranche_settings:\n  seal_keys:\n  - short-secret\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":3: warning: tranche_settings.seal_keys[0]: shorter than 16 bytes");
    assert_not_told(l, "short-secret");
    expect_error(l, "tranche_settings:\n  seal_keys: ['']\n",
                 "seal_keys[0]: got ***, wanted a random text");
}

static void includes_append_lists_and_merge_maps(void **state)
{
    struct loaded *l = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/sub", l->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(l, "a.yaml",
               "model_list:\n- {model_name: a, litellm_params: {model: a}}\n"
               "include: [sub/c.yaml]\n");
    write_file(l, "sub/c.yaml",
               "model_list:\n- {model_name: c, litellm_params: {model: c, rpm: x}}\n"
               "router_settings: {num_retries: 7}\n");
    load(l, "include:\n- a.yaml\n"
            "model_list:\n- {model_name: m, litellm_params: {model: m}}\n"
            "router_settings: {num_retries: 1, allowed_fails: 2}\n");
    assert_int_equal(l->report.num_errors, 1);
    assert_told(l, "sub/c.yaml:2: error: model_list[2].litellm_params.rpm: got \"x\"");
    write_file(l, "sub/c.yaml",
               "model_list:\n- {model_name: c, litellm_params: {model: c}}\n"
               "router_settings: {num_retries: 7}\n");
    load_with(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->group, "m");
    assert_string_equal(deployment(l, 1)->group, "a");
    assert_string_equal(deployment(l, 2)->group, "c");
    assert_int_equal(l->config->num_retries, 7);
    assert_int_equal(l->config->allowed_fails, 2);
    assert_told(l, "main.yaml:5: warning: ");
    assert_told(l, "the included file wins");
}

static void circles_of_includes_end(void **state)
{
    struct loaded *l = *state;

    write_file(l, "a.yaml",
               "include: b.yaml\nmodel_list:\n- {model_name: a, litellm_params: {model: a}}\n");
    write_file(l, "b.yaml", "include: [a.yaml, main.yaml, b.yaml]\n");
    load(l, "include: [a.yaml]\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->group, "a");
    assert_told(l, "was read before; not read again");
}

static void a_missing_include_blames_the_line_that_names_it(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "include:\n- nowhere.yaml\n", "main.yaml:2: error: include[0]: cannot read ");
    expect_error(l, "include: {a: b}\n",
                 ":1: error: include: got a mapping, wanted a list of files");
}

static void anchors_and_merge_keys_work_as_in_litellms_loader(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- model_name: a\n"
            "  litellm_params: &base\n"
            "    model: azure/a\n"
            "    api_base: https://eu.openai.azure.com\n"
            "    api_key: k\n"
            "    rpm: 5\n"
            "- model_name: b\n"
            "  litellm_params:\n"
            "    model: azure/b\n"
            "    <<: *base\n"
            "- model_name: c\n"
            "  litellm_params:\n"
            "    <<: [{model: azure/c}, *base]\n"
            "    rpm: 6\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 1)->upstream_model, "b");
    assert_int_equal(deployment(l, 1)->rpm, 5);
    assert_string_equal(deployment(l, 2)->upstream_model, "c");
    assert_int_equal(deployment(l, 2)->rpm, 6);
    assert_int_equal(deployment(l, 0)->account, deployment(l, 2)->account);
}

static void the_last_of_doubled_keys_counts_with_a_warning(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings:\n  num_retries: 1\n  num_retries: 2\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, 2);
    assert_told(l, ":3: warning: ");
    assert_told(l, "given before in line 2");
}

static void null_means_not_given(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list: ~\nfiles_settings:\nrouter_settings: {num_retries: null}\n"
            "general_settings: {master_key: }\ntranche_settings: {limits: , host: 'null'}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, UINT32_MAX);
    assert_string_equal(l->config->master_key.data, "sk-master-secret");
    assert_string_equal(l->config->host, "null");
}

static void files_that_are_no_settings_are_refused(void **state)
{
    static const struct {
        const char *yaml, *told;
    } cases[] = {
        {"", ":1: error: the file is empty"},
        {"# nothing\n\n# here\n", ":1: error: the file is empty"},
        {"---\n...\n", ":1: error: the file is empty"},
        {"- a\n- b\n", ":1: error: got a list or a text, wanted a mapping"},
        {"just text\n", "wanted a mapping"},
        {"a: 1\n---\nb: 2\n", ":2: error: a second document"},
        {"a:\n\t- b\n", ":2: error: not YAML"},
        {"a: [1, 2\nb: 3\n", ": error: not YAML"},
        {"a: 'open\n", ": error: not YAML"},
        {"a: *nowhere\n", ":1: error: an alias without its anchor"},
        {"a: &x [*x]\n", ":1: error: an alias without its anchor"},
        {"a: !python/object:os.system x\n", ":1: error: got a tag"},
        {"? [a, b]\n: c\n", ":1: error: got a list or a mapping as a key"},
        {"a: \"x\\0y\"\n", ":1: error: got a NUL byte"},
        {"<<: 5\n", ":1: error: a merge key"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(l, cases[i].yaml, cases[i].told);
}

static void bytes_of_a_program_are_refused(void **state)
{
    static const char elf[] = "\x7f"
                              "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    static const char latin1[] = "a: 1\nb: caf\xe9\n";
    struct loaded *l = *state;

    load_bytes(l, elf, sizeof(elf) - 1);
    assert_told(l, ":1: error: not YAML");
    load_bytes(l, latin1, sizeof(latin1) - 1);
    assert_told(l, ":2: error: not YAML");
}

static void an_alias_bomb_is_stopped(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c < 'k'; c++) {
        strbuf_addf(&yaml, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++)
            strbuf_addf(&yaml, "%s*%c", i == 0 ? "" : ",", c - 1);
        strbuf_adds(&yaml, "]\n");
    }
    expect_error(l, strbuf_str(&yaml), "aliases unfold to more than 10000 values");
    strbuf_deinit(&yaml);
}

static void depth_and_size_are_bounded(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "a: ");
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&yaml, '[');
    expect_error(l, strbuf_str(&yaml), ":1: error: nested deeper than 64 levels");
    strbuf_reset(&yaml);
    for (int i = 0; i < 5000; i++)
        strbuf_addf(&yaml, "k%d: 1\n", i);
    expect_error(l, strbuf_str(&yaml), ":4097: error: more than 4096 keys");
    strbuf_reset(&yaml);
    strbuf_adds(&yaml, "a:\n");
    for (int i = 0; i < 250000; i++)
        strbuf_adds(&yaml, "- x\n");
    expect_error(l, strbuf_str(&yaml), "more than 200000 values");
    strbuf_reset(&yaml);
    strbuf_adds(&yaml, "a: 1\n");
    while (yaml.len <= 1 << 20)
        strbuf_adds(&yaml, "# filling up the file line by line\n");
    expect_error(l, strbuf_str(&yaml), "longer than 1 MiB");
    strbuf_deinit(&yaml);
}

static void a_directory_is_no_file(void **state)
{
    struct loaded *l = *state;

    forget(l);
    l->rc = config_load(l->dir, NULL, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "error: cannot read: Is a directory");
}

/* Each field, and what it is made of. */
static const char *const scalars[] = {"model_list.0.model_name",
                                      "model_list.0.litellm_params.model",
                                      "model_list.0.litellm_params.custom_llm_provider",
                                      "model_list.0.litellm_params.api_key",
                                      "model_list.0.litellm_params.api_base",
                                      "model_list.0.litellm_params.api_version",
                                      "model_list.0.litellm_params.azure_ad_token",
                                      "model_list.0.litellm_params.organization",
                                      "model_list.0.litellm_params.project",
                                      "model_list.0.litellm_params.rpm",
                                      "model_list.0.litellm_params.tpm",
                                      "model_list.0.litellm_params.weight",
                                      "model_list.0.litellm_params.order",
                                      "model_list.0.litellm_params.timeout",
                                      "model_list.0.litellm_params.max_retries",
                                      "model_list.0.model_info.id",
                                      "model_list.0.model_info.mode",
                                      "files_settings.0.custom_llm_provider",
                                      "files_settings.0.api_key",
                                      "files_settings.0.api_base",
                                      "files_settings.0.api_version",
                                      "litellm_settings.enable_loadbalancing_on_batch_endpoints",
                                      "litellm_settings.request_timeout",
                                      "litellm_settings.num_retries",
                                      "router_settings.routing_strategy",
                                      "router_settings.timeout",
                                      "router_settings.num_retries",
                                      "router_settings.allowed_fails",
                                      "router_settings.cooldown_time",
                                      "general_settings.master_key",
                                      "tranche_settings.host",
                                      "tranche_settings.port",
                                      "tranche_settings.num_workers",
                                      "tranche_settings.spool_dir",
                                      "tranche_settings.spool_limit",
                                      "tranche_settings.upstream_ca_file",
                                      "tranche_settings.allow_insecure_upstream",
                                      "tranche_settings.log_level",
                                      "tranche_settings.tls.cert_file",
                                      "tranche_settings.limits.max_file_bytes.azure",
                                      "tranche_settings.limits.max_lines.openai",
                                      "tranche_settings.limits.max_line_bytes",
                                      "tranche_settings.limits.max_connections",
                                      "tranche_settings.timeouts.connect_ms",
                                      "tranche_settings.timeouts.shutdown_grace_ms",
                                      "environment_variables.X"};

static const char *const containers[] = {"model_list",
                                         "model_list.0",
                                         "model_list.0.litellm_params",
                                         "model_list.0.model_info",
                                         "files_settings",
                                         "files_settings.0",
                                         "litellm_settings",
                                         "router_settings",
                                         "general_settings",
                                         "tranche_settings",
                                         "tranche_settings.tls",
                                         "tranche_settings.limits",
                                         "tranche_settings.limits.max_lines",
                                         "tranche_settings.timeouts"};

/* {a: {b: [{c: VALUE}]}} for a.b.0.c; a row of model_list stays otherwise complete. */
static void write_nested(struct strbuf *yaml, const char *path, const char *value, bool params)
{
    size_t len = strcspn(path, ".");
    bool item = strncmp(path, "0", len) == 0;

    if (*path == '\0') {
        strbuf_adds(yaml, value);
        return;
    }
    strbuf_adds(yaml, item ? "[" : "{");
    if (!item) {
        if (strncmp(path, "litellm_params", 14) == 0)
            strbuf_adds(yaml, "model_name: g, ");
        else if (strncmp(path, "model_info", 10) == 0 || strcmp(path, "model_name") == 0)
            strbuf_adds(yaml, "litellm_params: {model: gpt}, ");
        else if (params && strcmp(path, "model") != 0)
            strbuf_adds(yaml, "model: gpt, ");
        strbuf_add(yaml, path, len);
        strbuf_adds(yaml, ": ");
    }
    write_nested(yaml, path + len + (path[len] == '.'), value,
                 strncmp(path, "litellm_params", 14) == 0);
    strbuf_adds(yaml, item ? "]" : "}");
}

static void load_nested(struct loaded *l, const char *path, const char *value)
{
    struct strbuf yaml = STRBUF_INIT;

    write_nested(&yaml, path, value, false);
    load(l, strbuf_str(&yaml));
    strbuf_deinit(&yaml);
}

static void a_list_or_a_mapping_where_a_value_belongs_is_an_error(void **state)
{
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        load_nested(l, scalars[i], "[1, 2]");
        if (l->rc != ERR_INVALID || strstr(strbuf_str(&l->text), "got a list, wanted") == NULL)
            fail_msg("%s: a list passed\n%s", scalars[i], strbuf_str(&l->text));
        load_nested(l, scalars[i], "{a: b}");
        if (l->rc != ERR_INVALID || strstr(strbuf_str(&l->text), "got a mapping, wanted") == NULL)
            fail_msg("%s: a mapping passed\n%s", scalars[i], strbuf_str(&l->text));
    }
}

static void a_value_where_a_section_belongs_is_an_error(void **state)
{
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
        load_nested(l, containers[i], "5");
        if (l->rc != ERR_INVALID || strstr(strbuf_str(&l->text), "wanted a") == NULL)
            fail_msg("%s: a value passed\n%s", containers[i], strbuf_str(&l->text));
    }
}

static void odd_values_anywhere_do_no_harm(void **state)
{
    static const char *const values[] = {"''",
                                         "~",
                                         "abc",
                                         "-1",
                                         "1e309",
                                         "99999999999999999999",
                                         "\"\\x01\\x7f\\u2028\"",
                                         "os.environ/",
                                         "os.environ/NOT_SET_ANYWHERE",
                                         "\" \"",
                                         "!!int 5",
                                         "!!null x",
                                         "|\n  a\n",
                                         "0x10",
                                         "%s%n",
                                         "../../../../etc/passwd",
                                         "azure/",
                                         "/",
                                         "azure/o_series/",
                                         "'*'",
                                         "http://",
                                         "https://user:pass@host/",
                                         "https://[::1",
                                         "\"\\uFEFF\"",
                                         "2024-13-99",
                                         "[]",
                                         "{}"};
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++)
            load_nested(l, scalars[i], values[k]);
    }
    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
        for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++)
            load_nested(l, containers[i], values[k]);
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Truncated, overwritten, doubled: whatever an editor or a full disk leaves. A fixed seed, so that
 * a failure comes again. */
static void damaged_files_load_or_are_refused(void **state)
{
    static const char path[] = SOURCE_DIR "/config/samples/full.yaml";
    struct loaded *l = *state;
    FILE *file = fopen(path, "r");
    uint32_t seed = 20241021;
    char sample[16384], bytes[16384];
    size_t len;

    assert_non_null(file);
    len = fread(sample, 1, sizeof(sample), file);
    fclose(file);
    assert_in_range(len, 1000, sizeof(sample) - 1);
    for (int round = 0; round < 600; round++) {
        size_t size = len;

        memcpy(bytes, sample, len);
        for (uint32_t n = next_random(&seed) % 8; n > 0; n--) {
            static const char spice[] = "&*:-[]{}#|>'\"%@!?,\n\t \0\xff\x80<~0";

            bytes[next_random(&seed) % len] = spice[next_random(&seed) % (sizeof(spice) - 1)];
        }
        if (round % 3 == 0)
            size = next_random(&seed) % len;
        load_bytes(l, bytes, size);
    }
}

static void secrets_are_nowhere_in_what_is_printed(void **state)
{
    static const char yaml[] =
        "environment_variables: {AZURE_API_KEY: env-hunter2, X: hunter2}\n"
        "model_list:\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: key-hunter2, rpm: sk-hunter2,\n"
        "    api_base: 'https://user:hunter2@eu.openai.azure.com', client_secret: hunter2}\n"
        "- model_name: h\n"
        "  litellm_params: {model: azure/e, api_key: 'hunter2 ', azure_ad_token: hunter2,\n"
        "    api_base: 'http://eu.example/?code=hunter2'}\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: [hunter2], api_base: eu.openai.azure.com}\n"
        "general_settings: {master_key: 'hunter2 hunter2'}\n"
        "tranche_settings: {seal_keys: [hunter2]}\n"
        "router_settings: {redis_password: hunter2}\n";
    static const char good[] =
        "model_list:\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: key-hunter2, api_base: eu.openai.azure.com}\n"
        "general_settings: {master_key: sk-hunter2}\n"
        "tranche_settings: {seal_keys: [hunter2hunter2hunter2]}\n";
    struct loaded *l = *state;
    struct strbuf description = STRBUF_INIT;

    load(l, yaml);
    assert_true(l->report.num_errors >= 4);
    assert_not_told(l, "hunter2");
    load(l, good);
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &description);
    assert_null(strstr(strbuf_str(&description), "hunter2"));
    assert_not_told(l, "hunter2");
    assert_non_null(strstr(strbuf_str(&description), "***"));
    strbuf_deinit(&description);
}

static void a_description_shows_each_deployments_address(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, "model_list:\n" AZURE_ROW("d", ", rpm: 5"));
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "listen                         0.0.0.0:4000\n"));
    assert_non_null(
        strstr(strbuf_str(&text), "azure, account eu.openai.azure.com, upstream name d"));
    assert_non_null(strstr(strbuf_str(&text), "https://eu.openai.azure.com/openai/files/"));
    assert_non_null(strstr(strbuf_str(&text), "https://api.openai.com/v1/files/"));
    strbuf_deinit(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_says_everything_about_a_deployment),
        TEST(what_a_row_does_not_say_is_marked_as_such),
        TEST(bare_names_and_wildcards_are_openais),
        TEST(a_provider_of_its_own_field_needs_no_prefix),
        TEST(rows_of_other_providers_are_left_out_with_a_warning),
        TEST(deployments_of_one_resource_share_its_account),
        TEST(an_address_is_taken_in_every_form_that_is_pasted),
        TEST(base_url_is_another_name_of_api_base),
        TEST(missing_credentials_name_the_variable),
        TEST(azure_rows_fall_back_on_litellms_variables),
        TEST(the_same_deployment_twice_is_refused),
        TEST(deployments_with_one_fingerprint_by_chance_are_refused),
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
        TEST(wrong_values_say_file_line_field_got_and_wanted),
        TEST(notes_come_in_the_order_of_the_file),
        TEST(misspelt_keys_get_a_guess),
        TEST(settings_that_only_litellm_has_are_told_as_ignored),
        TEST(router_settings_win_over_litellm_settings),
        TEST(a_strategy_nobody_knows_is_an_error),
        TEST(every_setting_of_ours_is_taken_over),
        TEST(the_defaults_are_those_of_the_header),
        TEST(the_command_line_wins_over_the_file_over_the_environment),
        TEST(half_a_tls_pair_is_an_error),
        TEST(a_spool_that_cannot_be_written_is_an_error),
        TEST(weak_seal_keys_are_warned_about_unseen),
        TEST(includes_append_lists_and_merge_maps),
        TEST(circles_of_includes_end),
        TEST(a_missing_include_blames_the_line_that_names_it),
        TEST(anchors_and_merge_keys_work_as_in_litellms_loader),
        TEST(the_last_of_doubled_keys_counts_with_a_warning),
        TEST(null_means_not_given),
        TEST(files_that_are_no_settings_are_refused),
        TEST(bytes_of_a_program_are_refused),
        TEST(an_alias_bomb_is_stopped),
        TEST(depth_and_size_are_bounded),
        TEST(a_directory_is_no_file),
        TEST(a_list_or_a_mapping_where_a_value_belongs_is_an_error),
        TEST(a_value_where_a_section_belongs_is_an_error),
        TEST(odd_values_anywhere_do_no_harm),
        TEST(damaged_files_load_or_are_refused),
        TEST(secrets_are_nowhere_in_what_is_printed),
        TEST(a_description_shows_each_deployments_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
