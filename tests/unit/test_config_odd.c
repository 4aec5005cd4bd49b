/* Wrong kinds and odd values at every place, and damaged files: told or loaded, never worse. */
#include "config_world.h"

/* Each field, and what it is made of. */
static const char *const scalars[] = {"model_list.0.model_name",
                                      "model_list.0.litellm_params.model",
                                      "model_list.0.litellm_params.custom_llm_provider",
                                      "model_list.0.litellm_params.api_key",
                                      "model_list.0.litellm_params.api_base",
                                      "model_list.0.litellm_params.api_version",
                                      "model_list.0.litellm_params.azure_ad_token",
                                      "model_list.0.litellm_params.tenant_id",
                                      "model_list.0.litellm_params.client_id",
                                      "model_list.0.litellm_params.client_secret",
                                      "model_list.0.litellm_params.client_secret_path",
                                      "model_list.0.litellm_params.client_certificate_path",
                                      "model_list.0.litellm_params.client_certificate_password",
                                      "model_list.0.litellm_params.client_send_certificate_chain",
                                      "model_list.0.litellm_params.azure_federated_token_file",
                                      "model_list.0.litellm_params.azure_scope",
                                      "model_list.0.litellm_params.azure_authority_host",
                                      "model_list.0.litellm_params.azure_credential",
                                      "model_list.0.litellm_params.managed_identity_client_id",
                                      "model_list.0.litellm_params.managed_identity_object_id",
                                      "model_list.0.litellm_params.managed_identity_resource_id",
                                      "model_list.0.litellm_params.azure_username",
                                      "model_list.0.litellm_params.azure_password",
                                      "model_list.0.litellm_params.organization",
                                      "files_settings.0.tenant_id",
                                      "files_settings.0.managed_identity_client_id",
                                      "litellm_settings.enable_azure_ad_token_refresh",
                                      "model_list.0.litellm_params.project",
                                      "model_list.0.litellm_params.rpm",
                                      "model_list.0.litellm_params.tpm",
                                      "model_list.0.litellm_params.weight",
                                      "model_list.0.litellm_params.order",
                                      "model_list.0.litellm_params.timeout",
                                      "model_list.0.litellm_params.max_retries",
                                      "model_list.0.litellm_params.cooldown_time",
                                      "model_list.0.model_info.enqueued_token_limit",
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
                                      "router_settings.retry_after",
                                      "router_settings.max_fallbacks",
                                      "router_settings.retry_policy.TimeoutErrorRetries",
                                      ("litellm_settings.allowed_fails_policy."
                                       "RateLimitErrorAllowedFails"),
                                      "router_settings.default_fallbacks.0",
                                      "tranche_settings.quotas.0.deployment",
                                      "tranche_settings.quotas.0.model_name",
                                      "tranche_settings.quotas.0.enqueued_tokens",
                                      "tranche_settings.count_output_tokens.azure",
                                      "tranche_settings.azure_file_expires_after",
                                      "tranche_settings.delete_moved_copies",
                                      "tranche_settings.move_failed",
                                      "tranche_settings.refund_at",
                                      "tranche_settings.limits.max_files.azure",
                                      "tranche_settings.limits.body_grace_ms",
                                      "general_settings.master_key",
                                      "tranche_settings.host",
                                      "tranche_settings.port",
                                      "tranche_settings.health_port",
                                      "tranche_settings.num_workers",
                                      "tranche_settings.spool_dir",
                                      "tranche_settings.spool_limit",
                                      "tranche_settings.state_dir",
                                      "tranche_settings.upstream_ca_file",
                                      "tranche_settings.allow_insecure_upstream",
                                      "tranche_settings.core_dumps",
                                      "tranche_settings.permit_weak_or_unset_master_key",
                                      "tranche_settings.allowed_hosts.0",
                                      "tranche_settings.log_level",
                                      "tranche_settings.seccomp",
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
                                         "router_settings.retry_policy",
                                         "router_settings.fallbacks",
                                         "router_settings.fallbacks.0",
                                         "tranche_settings.quotas",
                                         "tranche_settings.quotas.0",
                                         "tranche_settings.count_output_tokens",
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
            strbuf_adds(yaml, "litellm_params: {model: openai/gpt}, ");
        else if (params && strcmp(path, "model") != 0)
            strbuf_adds(yaml, "model: openai/gpt, ");
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
    char sample[32768], bytes[32768];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_or_a_mapping_where_a_value_belongs_is_an_error),
        TEST(a_value_where_a_section_belongs_is_an_error),
        TEST(odd_values_anywhere_do_no_harm),
        TEST(damaged_files_load_or_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
