/* What of the file is used, as libcyaml tables. Every scalar is loaded as text (scalar.h says why);
 * NULL: not given. Mappings whose keys are the operator's own names (fallbacks,
 * model_group_retry_policy) are not loaded but read from the tree (fallbacks.h, group_retries.h).
 * The same tables tell wrong types and unknown keys with their lines, which libcyaml alone does
 * not. */
#pragma once

#include <stdint.h>

#include "config/report.h"
#include "config/tree.h"

/* litellm_params of a row of model_list, and a row of files_settings. */
struct raw_params {
    char *model; /* model_list only */
    char *custom_llm_provider;
    char *api_key;
    char *api_base;
    char *api_version;
    char *azure_ad_token;
    /* Entra ID: entra_fields.c says what they are called elsewhere */
    char *tenant_id, *client_id, *client_secret, *client_secret_path;
    char *client_certificate_path, *client_certificate_password, *client_send_certificate_chain;
    char *azure_federated_token_file, *azure_scope, *azure_authority_host, *azure_credential;
    char *managed_identity_client_id, *managed_identity_object_id, *managed_identity_resource_id;
    char *azure_username, *azure_password; /* refused */
    char *organization;
    char *project;
    char *rpm, *tpm, *weight, *order, *max_retries, *num_retries,
        *cooldown_time; /* model_list only */
    char *timeout;
};

struct raw_info {
    char *id, *mode, *enqueued_token_limit, *rpm, *tpm;
};

struct raw_row {
    char *model_name, *rpm, *tpm;
    struct raw_params params;
    struct raw_info info;
};

/* A number for each of LiteLLM's classes of failures. */
struct raw_policy {
    char *bad_request, *authentication, *timeout, *rate_limit, *content_policy, *internal_server;
};

struct raw_litellm {
    char *enable_azure_ad_token_refresh;
    char *enable_loadbalancing_on_batch_endpoints, *require_auth_for_metrics_endpoint;
    char *request_timeout, *num_retries, *allowed_fails, *cooldown_time, *retry_after,
        *max_fallbacks;
    struct raw_policy allowed_fails_policy;
};

struct raw_strategy_args {
    char *lowest_latency_buffer, *ttl, *max_latency_list_size;
};

struct raw_router {
    char *routing_strategy;
    struct raw_strategy_args routing_strategy_args;
    char *timeout, *num_retries, *allowed_fails, *cooldown_time, *retry_after, *max_fallbacks;
    char *disable_cooldowns;
    struct raw_policy allowed_fails_policy, retry_policy;
};

struct raw_general {
    char *master_key;
    char *health_check_interval;
};

struct raw_tls {
    char *cert_file, *key_file;
};

/* A number that differs between the providers. */
struct raw_per_provider {
    char *openai, *azure;
};

struct raw_limits {
    struct raw_per_provider max_file_bytes, max_lines, max_embedding_inputs, max_files,
        max_expiring_files;
    char *max_other_file_bytes, *max_line_bytes, *max_depth, *max_json_bytes, *spool_bytes;
    char *json_memory_bytes, *upload_memory_bytes;
    char *max_connections, *max_connections_per_address, *min_body_rate, *body_grace_ms;
    char *min_read_rate, *read_grace_ms, *max_upstream_calls, *max_calls_per_connection;
    char *max_open_uploads, *max_downloads, *max_downloads_per_connection;
};

struct raw_timeouts {
    char *connect_ms, *first_byte_ms, *json_total_ms, *low_speed_ms, *paused_ms, *list_ms;
    char *shutdown_grace_ms;
    char *watch_ms, *long_poll_ms, *count_files_ms, *database_ms;
};

/* A row of tranche_settings.quotas. */
struct raw_quota {
    char *deployment, *model_name, *enqueued_tokens;
};

struct raw_tranche {
    char *host, *port, *health_port, *num_workers;
    char *spool_dir, *spool_limit, *state_dir;
    char *upstream_ca_file, *allow_insecure_upstream, *log_level, *core_dumps, *openai_path;
    char *permit_weak_or_unset_master_key;
    char *log_priority, *access_log, *error_log, *user, *seccomp;
    char **allowed_hosts;
    uint32_t allowed_hosts_count;
    char **usage_tags;
    uint32_t usage_tags_count;
    char **seal_keys;
    uint32_t seal_keys_count;
    char **proxies;
    uint32_t proxies_count;
    struct raw_quota *quotas;
    uint32_t quotas_count;
    struct raw_per_provider count_output_tokens;
    char *azure_min_expires_after;
    char *azure_file_expires_after, *delete_moved_copies, *move_failed, *poll_cache_ms, *refund_at;
    char *keys_file, *max_keys, *keys_when_down, *key_max_stale, *journal, *price_map,
        *metrics_max_series, *budget_exceeded_status;
    char *outage_window, *leases, *limits_when_down, *idempotency_when_down;
    char *max_known_files, *ui;
    struct raw_tls tls;
    struct raw_limits limits;
    struct raw_timeouts timeouts;
};

struct raw_config {
    struct raw_row *rows; /* as many as model_list has items, the skipped ones empty */
    uint32_t rows_count;
    struct raw_params *files;
    uint32_t files_count;
    struct raw_litellm litellm;
    struct raw_router router;
    struct raw_general general;
    struct raw_tranche tranche;
};

/**
 * Hold the tree against the tables: unknown keys become warnings (with a guess), wrong types and
 * unset variables errors; whatever is not to be loaded is marked as skipped. Parts that are skipped
 * already are passed by.
 */
void schema_check(struct node *root, struct reporter *reporter);

/** The same for one row of model_list, of which so much is missing that it is passed by later: the
 * missing key may stand there with a letter wrong. */
void schema_check_row(struct node *row, struct reporter *reporter);

/** The same for one policy of model_group_retry_policy, whose keys are the operator's own names and
 * are therefore not in the tables. */
void schema_check_retries(struct node *policy, struct reporter *reporter);

/**
 * Load what is left of a checked tree.
 *
 * @param out  on 0 free with schema_free(), which wipes
 * @return 0; ERR_SYNTAX (reported; the tree was not checked); ERR_NOMEM
 */
MUST_USE int schema_load(const struct node *root, struct reporter *reporter,
                         struct raw_config **out);
void schema_free(struct raw_config *raw);
