/* See known.h. The names are those of LiteLLM's configuration reference; a missing one costs a
 * warning that says "unknown" instead of "ignored". */
#include "known.h"

#include <stdint.h>
#include <string.h>

#define MAX_NAME 64 /* longer names are not guessed at */

static const char *const top[] = {"assistant_settings",
                                  "callback_settings",
                                  "default_team_settings",
                                  "finetune_settings",
                                  "guardrails",
                                  "mcp_aliases",
                                  "mcp_servers",
                                  "mcp_tools",
                                  "policies",
                                  "prompts",
                                  "search_tools",
                                  "sso_settings",
                                  "vector_store_registry",
                                  "worker_registry",
                                  NULL};

static const char *const litellm_settings[] = {"aws_sqs_callback_params",
                                               "cache",
                                               "cache_params",
                                               "callback_settings",
                                               "callbacks",
                                               "content_policy_fallbacks",
                                               "context_window_fallbacks",
                                               "custom_provider_map",
                                               "datadog_params",
                                               "default_internal_user_params",
                                               "default_key_generate_params",
                                               "default_max_internal_user_budget",
                                               "default_redis_ttl",
                                               "default_team_params",
                                               "default_team_settings",
                                               "disable_add_transform_inline_image_block",
                                               "disable_copilot_system_to_assistant",
                                               "disable_end_user_cost_tracking",
                                               "disable_end_user_cost_tracking_prometheus_only",
                                               "disable_hf_tokenizer_download",
                                               "drop_params",
                                               "enable_json_schema_validation",
                                               "enable_key_alias_format_validation",
                                               "enable_preview_features",
                                               "enforced_file_expires_after",
                                               "enforced_batch_output_expires_after",
                                               "failure_callback",
                                               "force_ipv4",
                                               "guardrails",
                                               "global_prompt_directory",
                                               "internal_user_budget_duration",
                                               "json_logs",
                                               "key_generation_settings",
                                               "langfuse_default_tags",
                                               "max_budget",
                                               "max_end_user_budget",
                                               "max_internal_user_budget",
                                               "max_parallel_requests",
                                               "max_user_budget",
                                               "mcp_aliases",
                                               "model_group_settings",
                                               "modify_params",
                                               "num_retries_per_request",
                                               "post_call_rules",
                                               "priority_reservation",
                                               "priority_reservation_settings",
                                               "prometheus_metrics_config",
                                               "public_model_groups",
                                               "redact_messages_in_exceptions",
                                               "redact_user_api_key_info",
                                               "responses",
                                               "s3_callback_params",
                                               "service_callback",
                                               "service_callbacks",
                                               "set_verbose",
                                               "ssl_certificate",
                                               "success_callback",
                                               "store_audit_logs",
                                               "telemetry",
                                               "tag_budget_config",
                                               "turn_off_message_logging",
                                               "upperbound_key_generate_params",
                                               "use_chat_completions_url_for_anthropic_messages",
                                               "use_client",
                                               "require_managed_files",
                                               "managed_files",
                                               "disable_batch_input_file_validation",
                                               "forward_traceparent_to_llm_provider",
                                               "enable_azure_ad_token_refresh",
                                               "default_in_memory_ttl",
                                               "request_timeout_by_model",
                                               "max_batch_file_size_mb",
                                               NULL};

static const char *const general_settings[] = {"admin_only_routes",
                                               "alert_to_webhook_url",
                                               "alert_types",
                                               "alerting",
                                               "alerting_args",
                                               "alerting_threshold",
                                               "allow_client_side_credentials",
                                               "allow_requests_on_db_unavailable",
                                               "allow_user_auth",
                                               "allowed_ips",
                                               "allowed_routes",
                                               "always_include_stream_usage",
                                               "background_health_checks",
                                               "completion_model",
                                               "coordination_redis",
                                               "custom_auth",
                                               "custom_key_generate",
                                               "custom_sso",
                                               "database_connection_pool_limit",
                                               "database_connection_timeout",
                                               "database_type",
                                               "database_args",
                                               "database_url",
                                               "default_team_disabled",
                                               "disable_adding_master_key_hash_to_db",
                                               "disable_error_logs",
                                               "disable_master_key_return",
                                               "disable_prisma_schema_update",
                                               "disable_reset_budget",
                                               "disable_responses_id_security",
                                               "disable_retry_on_max_parallel_request_limit_error",
                                               "disable_spend_logs",
                                               "disable_spend_updates",
                                               "embedding_model",
                                               "enable_health_check_routing",
                                               "enable_jwt_auth",
                                               "enable_oauth2_auth",
                                               "enable_oauth2_proxy_auth",
                                               "enforce_user_param",
                                               "enforced_params",
                                               "forward_client_headers_to_llm_api",
                                               "forward_openai_org_id",
                                               "global_max_parallel_requests",
                                               "health_check_concurrency",
                                               "health_check_details",
                                               "health_check_interval",
                                               "health_check_ignore_transient_errors",
                                               "image_generation_model",
                                               "infer_model_from_keys",
                                               "key_management_settings",
                                               "key_management_system",
                                               "litellm_jwtauth",
                                               "litellm_license",
                                               "max_parallel_requests",
                                               "max_request_size_mb",
                                               "max_response_size_mb",
                                               "maximum_spend_logs_cleanup_cron",
                                               "maximum_spend_logs_retention_interval",
                                               "maximum_spend_logs_retention_period",
                                               "moderation_model",
                                               "oauth2_config_mappings",
                                               "otel",
                                               "pass_through_endpoints",
                                               "proxy_batch_polling_interval",
                                               "proxy_batch_write_at",
                                               "proxy_budget_rescheduler_max_time",
                                               "proxy_budget_rescheduler_min_time",
                                               "public_routes",
                                               "reject_clientside_metadata_tags",
                                               "role_permissions",
                                               "search_tools",
                                               "service_account_settings",
                                               "spend_report_frequency",
                                               "store_model_in_db",
                                               "store_prompts_in_spend_logs",
                                               "supported_db_objects",
                                               "ui_access_mode",
                                               "use_azure_key_vault",
                                               "use_client_credentials_pass_through_routes",
                                               "use_google_kms",
                                               "use_redis_transaction_buffer",
                                               "use_shared_health_check",
                                               "use_x_forwarded_for",
                                               "user_api_key_cache_ttl",
                                               "user_header_mappings",
                                               "user_header_name",
                                               "user_mcp_management_mode",
                                               "max_batch_file_size_mb",
                                               "disable_batch_input_file_rate_limiting",
                                               "skip_batch_input_file_rate_limiting_for_providers",
                                               "health_check_staleness_threshold",
                                               "batch_rate_limiter",
                                               "disable_batch_rate_limiter",
                                               "enforce_batch_rate_limits",
                                               "custom_ui_sso_sign_in_handler",
                                               NULL};

static const char *const router_settings[] = {"alerting_config",
                                              "assistants_config",
                                              "cache_kwargs",
                                              "cache_responses",
                                              "caching_groups",
                                              "client_ttl",
                                              "content_policy_fallbacks",
                                              "context_window_fallbacks",
                                              "debug_level",
                                              "default_litellm_params",
                                              "default_max_parallel_requests",
                                              "default_priority",
                                              "deployment_affinity_ttl_seconds",
                                              "enable_pre_call_check",
                                              "enable_pre_call_checks",
                                              "enable_tag_filtering",
                                              "guardrail_list",
                                              "ignore_invalid_deployments",
                                              "optional_pre_call_checks",
                                              "polling_interval",
                                              "provider_budget_config",
                                              "redis_db",
                                              "redis_host",
                                              "redis_password",
                                              "redis_port",
                                              "redis_url",
                                              "router_general_settings",
                                              "search_tools",
                                              "set_verbose",
                                              "stream_timeout",
                                              "tag_filtering_match_any",
                                              "enable_health_check_routing",
                                              "routing_groups",
                                              "deployment_affinity",
                                              "model_rate_limits",
                                              NULL};

static const char *const litellm_params[] = {"additional_drop_params",
                                             "allowed_fails",
                                             "allowed_openai_params",
                                             "api_type",
                                             "aws_access_key_id",
                                             "aws_region_name",
                                             "aws_secret_access_key",
                                             "aws_session_token",
                                             "azure_password",
                                             "azure_scope",
                                             "azure_username",
                                             "base_model",
                                             "base_url",
                                             "budget_duration",
                                             "cache_control_injection_points",
                                             "client_id",
                                             "client_secret",
                                             "configurable_clientside_auth_params",
                                             "deployment_id",
                                             "drop_params",
                                             "dimensions",
                                             "extra_body",
                                             "frequency_penalty",
                                             "gcs_bucket_name",
                                             "initial_prompt_value",
                                             "input_cost_per_second",
                                             "input_cost_per_token",
                                             "keepalive_timeout",
                                             "litellm_trace_id",
                                             "logprobs",
                                             "max_budget",
                                             "max_completion_tokens",
                                             "max_file_size_mb",
                                             "max_parallel_requests",
                                             "max_tokens",
                                             "merge_reasoning_content_in_choices",
                                             "metadata",
                                             "mock_response",
                                             "model_info",
                                             "n",
                                             "output_cost_per_second",
                                             "output_cost_per_token",
                                             "parallel_tool_calls",
                                             "presence_penalty",
                                             "reasoning_effort",
                                             "region_name",
                                             "response_format",
                                             "roles",
                                             "seed",
                                             "service_tier",
                                             "ssl_verify",
                                             "stop",
                                             "stream",
                                             "stream_timeout",
                                             "supports_system_message",
                                             "tags",
                                             "temperature",
                                             "tenant_id",
                                             "tool_choice",
                                             "tools",
                                             "top_k",
                                             "top_p",
                                             "use_chat_completions_api",
                                             "use_in_pass_through",
                                             "use_litellm_proxy",
                                             "user",
                                             "verbosity",
                                             "vertex_credentials",
                                             "vertex_location",
                                             "vertex_project",
                                             "azure_deployment",
                                             "enable_azure_ad_token_refresh",
                                             "azure_credential",
                                             "azure_federated_token_file",
                                             "azure_ad_token_provider",
                                             "blocked",
                                             "allowed_team_ids",
                                             "input_cost_per_token_batches",
                                             "output_cost_per_token_batches",
                                             "litellm_proxy_api_key",
                                             "batch_api_base",
                                             NULL};

/* Their meaning is the operator's own; LiteLLM hands them through to /model/info. */
static const char *const model_info[] = {"access_groups",
                                         "base_model",
                                         "cache_read_input_token_cost",
                                         "db_model",
                                         "description",
                                         "health_check_max_tokens",
                                         "health_check_model",
                                         "health_check_timeout",
                                         "input_cost_per_token",
                                         "litellm_provider",
                                         "max_input_tokens",
                                         "max_output_tokens",
                                         "max_tokens",
                                         "output_cost_per_token",
                                         "supported_environments",
                                         "supports_function_calling",
                                         "supports_vision",
                                         "team_id",
                                         "tier",
                                         NULL};

static const char *const retry_policy[] = {"DefaultRetries", "NotFoundErrorRetries",
                                           "ServiceUnavailableErrorRetries", NULL};
static const char *const allowed_fails_policy[] = {"BadGatewayErrorAllowedFails",
                                                   "NotFoundErrorAllowedFails",
                                                   "ServiceUnavailableErrorAllowedFails", NULL};

static const struct {
    const char *path;
    const char *const *names;
} places[] = {{"", top},
              {"litellm_settings", litellm_settings},
              {"general_settings", general_settings},
              {"router_settings", router_settings},
              {"retry_policy", retry_policy},
              {"allowed_fails_policy", allowed_fails_policy},
              {"litellm_params", litellm_params},
              {"model_info", model_info}};

static const char *const *names_at(const char *path)
{
    static const char *const none[] = {NULL};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (strcmp(places[i].path, path) == 0)
            return places[i].names;
    }
    return none;
}

bool known_litellm(const char *path, const char *key)
{
    for (const char *const *name = names_at(path); *name != NULL; name++) {
        if (strcmp(*name, key) == 0)
            return true;
    }
    return false;
}

#define NO_TOKENS "tokens of Entra ID are not fetched here; give api_key or azure_ad_token"
#define VERIFIED                                                                                   \
    "certificates are always verified; upstream_ca_file of tranche_settings names another "        \
    "authority"
#define ONE_KEY "who may call is decided by the master key alone"

#define MONEY   "no money is counted here: nothing ends at a budget"
#define TENANTS "callers are not told apart: whoever has the master key may do all"
#define MANAGED "ids are the provider's own or tranche's, never LiteLLM's managed ones"
#define LIMITED "enqueued tokens bound batches here, not requests or tokens a minute"
#define VAULT   "secrets come from the file and the environment; no vault is asked"
#define PROBED  "the prober's round decides what is healthy"

static const struct {
    const char *path, *key, *loss;
} losses[] = {
    {"litellm_params", "azure_password", NO_TOKENS},
    {"litellm_params", "azure_scope", NO_TOKENS},
    {"litellm_params", "azure_username", NO_TOKENS},
    {"litellm_params", "client_id", NO_TOKENS},
    {"litellm_params", "client_secret", NO_TOKENS},
    {"litellm_params", "tenant_id", NO_TOKENS},
    {"litellm_params", "max_file_size_mb",
     "limits of tranche_settings say how large a file may be"},
    {"litellm_params", "ssl_verify", VERIFIED},
    {"litellm_params", "tags", "requests are not told apart by tags"},
    {"litellm_settings", "ssl_certificate", "calls carry no client certificate"},
    {"litellm_settings", "enforced_batch_output_expires_after",
     "what a client says of output_expires_after counts"},
    {"litellm_settings", "enforced_file_expires_after",
     "what a client says of expires_after counts; azure_file_expires_after of tranche_settings is "
     "for files of which it says nothing"},
    {"router_settings", "default_litellm_params", "give them in each row of model_list"},
    {"router_settings", "enable_tag_filtering", "requests are not told apart by tags"},
    {"general_settings", "admin_only_routes", ONE_KEY},
    {"general_settings", "allowed_ips", ONE_KEY},
    {"general_settings", "allowed_routes", ONE_KEY},
    {"general_settings", "custom_auth", ONE_KEY},
    {"general_settings", "database_url", "keys in LiteLLM's database are not known here; " ONE_KEY},
    {"general_settings", "enable_jwt_auth", ONE_KEY},
    {"general_settings", "enable_oauth2_auth", ONE_KEY},
    {"general_settings", "enable_oauth2_proxy_auth", ONE_KEY},
    {"general_settings", "litellm_jwtauth", ONE_KEY},
    {"general_settings", "max_request_size_mb",
     "limits of tranche_settings say how large a file may be"},
    {"general_settings", "public_routes", ONE_KEY},
    {"litellm_params", "azure_deployment", "the name behind azure/ in model is the deployment"},
    {"litellm_params", "enable_azure_ad_token_refresh", NO_TOKENS},
    {"litellm_params", "azure_credential", NO_TOKENS},
    {"litellm_params", "azure_federated_token_file", NO_TOKENS},
    {"litellm_params", "azure_ad_token_provider", NO_TOKENS},
    {"litellm_params", "budget_duration", MONEY},
    {"litellm_params", "max_budget", MONEY},
    {"litellm_params", "use_in_pass_through", "there are no pass-through routes"},
    {"litellm_params", "allowed_team_ids", TENANTS},
    {"litellm_settings", "enable_azure_ad_token_refresh", NO_TOKENS},
    {"litellm_settings", "require_managed_files", MANAGED},
    {"litellm_settings", "managed_files", MANAGED},
    {"litellm_settings", "disable_batch_input_file_validation",
     "files are always checked before they are sent"},
    {"litellm_settings", "forward_traceparent_to_llm_provider",
     "calls carry no headers of the client"},
    {"litellm_settings", "upperbound_key_generate_params", TENANTS},
    {"litellm_settings", "default_key_generate_params", TENANTS},
    {"litellm_settings", "default_internal_user_params", TENANTS},
    {"litellm_settings", "default_team_params", TENANTS},
    {"litellm_settings", "default_team_settings", TENANTS},
    {"litellm_settings", "key_generation_settings", TENANTS},
    {"litellm_settings", "default_max_internal_user_budget", MONEY},
    {"litellm_settings", "max_budget", MONEY},
    {"litellm_settings", "max_end_user_budget", MONEY},
    {"litellm_settings", "max_internal_user_budget", MONEY},
    {"litellm_settings", "max_user_budget", MONEY},
    {"litellm_settings", "tag_budget_config", MONEY},
    {"litellm_settings", "internal_user_budget_duration", MONEY},
    {"litellm_settings", "max_parallel_requests", LIMITED},
    {"litellm_settings", "max_batch_file_size_mb",
     "limits of tranche_settings say how large a file may be"},
    {"general_settings", "max_batch_file_size_mb",
     "limits of tranche_settings say how large a file may be"},
    {"general_settings", "disable_batch_input_file_rate_limiting", LIMITED},
    {"general_settings", "skip_batch_input_file_rate_limiting_for_providers", LIMITED},
    {"general_settings", "batch_rate_limiter", LIMITED},
    {"general_settings", "disable_batch_rate_limiter", LIMITED},
    {"general_settings", "enforce_batch_rate_limits", LIMITED},
    {"general_settings", "max_parallel_requests", LIMITED},
    {"general_settings", "global_max_parallel_requests", LIMITED},
    {"general_settings", "health_check_staleness_threshold", PROBED},
    {"general_settings", "enable_health_check_routing", PROBED},
    {"general_settings", "background_health_checks", PROBED},
    {"general_settings", "enforced_params",
     "no members are asked for beyond those of the providers"},
    {"general_settings", "enforce_user_param",
     "no members are asked for beyond those of the providers"},
    {"general_settings", "allow_client_side_credentials",
     "credentials that clients send are never used"},
    {"general_settings", "pass_through_endpoints", "there are no pass-through routes"},
    {"general_settings", "use_azure_key_vault", VAULT},
    {"general_settings", "use_google_kms", VAULT},
    {"general_settings", "key_management_system", VAULT},
    {"general_settings", "key_management_settings", VAULT},
    {"general_settings", "store_model_in_db", "models come from this file alone"},
    {"router_settings", "enable_health_check_routing", PROBED},
    {"router_settings", "routing_groups", "one strategy is for all groups"},
    {"router_settings", "provider_budget_config", MONEY},
    {"router_settings", "optional_pre_call_checks", "what a file needs is checked always"},
    {"router_settings", "model_rate_limits", LIMITED},
    {"router_settings", "default_max_parallel_requests", LIMITED},
    {"", "default_team_settings", TENANTS},
    {"", "finetune_settings", "fine-tuning is not served"},
    {"", "guardrails", "what lines contain is not looked at"},
    {"", "sso_settings", TENANTS}};

const char *known_loss(const char *path, const char *key)
{
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        if (strcmp(losses[i].path, path) == 0 && strcmp(losses[i].key, key) == 0)
            return losses[i].loss;
    }
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: inserted, lost, wrong and swapped letters cost one each. Both at most
 * MAX_NAME long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_NAME + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2], *spare;
    size_t len_a = strlen(a), len_b = strlen(b);

    for (size_t j = 0; j <= len_b; j++)
        last[j] = j;
    for (size_t i = 1; i <= len_a; i++) {
        now[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            now[j] = least(last[j - 1] + (a[i - 1] != b[j - 1]), least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[len_b];
}

void known_guess_init(struct known_guess *guess, const char *key)
{
    *guess = (struct known_guess){.key = key};
}

void known_guess_offer(struct known_guess *guess, const char *candidate)
{
    size_t len = strlen(guess->key);
    size_t allowed = len < 3 ? 0 : len < 6 ? 1 : len < 12 ? 2 : 3;
    size_t distance;

    if (len > MAX_NAME || strlen(candidate) > MAX_NAME)
        return;
    distance = edit_distance(guess->key, candidate);
    if (distance > allowed && len > 2 && strncmp(candidate, guess->key, len) == 0 &&
        candidate[len] == '_' && guess->best == NULL) {
        guess->best = candidate; /* its first word: "cert" for "cert_file", if nothing is nearer */
        guess->distance = SIZE_MAX;
    }
    if (distance <= allowed && (guess->best == NULL || distance < guess->distance)) {
        guess->best = candidate;
        guess->distance = distance;
    }
}

void known_guess_offer_litellm(struct known_guess *guess, const char *path)
{
    for (const char *const *name = names_at(path); *name != NULL; name++)
        known_guess_offer(guess, *name);
}
